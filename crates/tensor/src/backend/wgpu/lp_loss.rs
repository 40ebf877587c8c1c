//! The JEPA loss.

use super::{
    Wgpu,
    call::{Call, Family, family},
    rows::{groups, rows_of, width},
};
use crate::{
    backend::{LpLoss, LpLossGrad},
    error::Result,
};
use std::ops::Range;

const LP_LOSS: Family = family!("lp_loss");

impl Wgpu {
    /// Some rows; all of the targets are seen.
    fn lp_loss_call(&self, entry: &'static str, d: &LpLoss, part: &Range<usize>) -> Result<Call<'_>> {
        let columns = d.z.columns();
        let call = Call::new(self, LP_LOSS, entry).input("z", &rows_of(&d.z, part, columns)?)?.input("h", &d.h)?;
        let call = call.input("rows", &rows_of(&d.rows, part, 1)?)?;
        let power = if d.p == 1.0 || d.p == 2.0 { d.p as u32 } else { 0 };
        let call = call.constant("WIDTH", format!("{}u", width(columns))).constant("POWER", format!("{power}u"));
        let call = call.constant("NORMALISE", d.norm_eps.is_some()).float("eps", d.norm_eps.unwrap_or(0.0));
        Ok(call.float("power", d.p).word("rows", part.len()).word("columns", columns))
    }

    pub(super) fn lp_losses(&self, d: &LpLoss) -> Result<()> {
        let columns = d.z.columns();
        self.below(&d.rows, d.h.rows(), "row")?;
        for part in self.parts(d.z.rows(), &[columns * d.z.dtype.size()]) {
            let call = self.lp_loss_call("forward", d, &part)?.output("y", &rows_of(&d.y, &part, 1)?, false)?;
            call.run(groups(part.len(), columns))?;
        }
        Ok(())
    }

    pub(super) fn lp_losses_grad(&self, d: &LpLossGrad) -> Result<()> {
        let (f, (dz, accumulate)) = (&d.forward, &d.dz);
        let columns = f.z.columns();
        self.below(&f.rows, f.h.rows(), "row")?;
        for part in self.parts(f.z.rows(), &[f.z.dtype.size(), dz.dtype.size()].map(|size| columns * size)) {
            let call = self.lp_loss_call("backward", f, &part)?.input("dy", &rows_of(&d.dy, &part, 1)?)?;
            let call = call.output("dz", &rows_of(dz, &part, columns)?, *accumulate)?;
            call.run(groups(part.len(), columns))?;
        }
        Ok(())
    }
}
