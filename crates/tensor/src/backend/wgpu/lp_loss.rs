//! The JEPA loss.

use super::{
    Wgpu,
    call::{Call, Family, family},
    rows::width,
};
use crate::{
    backend::{LpLoss, LpLossGrad},
    error::Result,
};

const LP_LOSS: Family = family!("lp_loss");

impl Wgpu {
    fn lp_loss_call(&self, entry: &'static str, d: &LpLoss) -> Result<Call<'_>> {
        let columns = d.z.columns();
        self.below(&d.rows, d.h.rows(), "row")?;
        let call = Call::new(self, LP_LOSS, entry).input("z", &d.z)?.input("h", &d.h)?.input("rows", &d.rows)?;
        let power = if d.p == 1.0 || d.p == 2.0 { d.p as u32 } else { 0 };
        let call = call.constant("WIDTH", format!("{}u", width(columns))).constant("POWER", format!("{power}u"));
        let call = call.constant("NORMALISE", d.norm_eps.is_some()).float("eps", d.norm_eps.unwrap_or(0.0));
        Ok(call.float("power", d.p).word("rows", d.z.rows()).word("columns", columns))
    }

    pub(super) fn lp_losses(&self, d: &LpLoss) -> Result<()> {
        self.lp_loss_call("forward", d)?.output("y", &d.y, false)?.run(d.z.rows())
    }

    pub(super) fn lp_losses_grad(&self, d: &LpLossGrad) -> Result<()> {
        let call = self.lp_loss_call("backward", &d.forward)?.input("dy", &d.dy)?;
        call.output("dz", &d.dz.0, d.dz.1)?.run(d.forward.z.rows())
    }
}
