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
    /// Some rows, and some of the targets: rows whose targets are others are left to their own kernel.
    fn lp_loss_call(
        &self,
        entry: &'static str,
        d: &LpLoss,
        part: &Range<usize>,
        targets: &Range<usize>,
    ) -> Result<Call<'_>> {
        let columns = d.z.columns();
        let call = Call::new(self, LP_LOSS, entry).input("z", &rows_of(&d.z, part, columns)?)?;
        let call = call.input("h", &rows_of(&d.h, targets, columns)?)?.input("rows", &rows_of(&d.rows, part, 1)?)?;
        let call = call.word("targets_first", targets.start).word("targets", targets.len());
        let power = if d.p == 1.0 || d.p == 2.0 { d.p as u32 } else { 0 };
        let call = call.constant("WIDTH", format!("{}u", width(columns))).constant("POWER", format!("{power}u"));
        let call = call.constant("NORMALISE", d.norm_eps.is_some()).float("eps", d.norm_eps.unwrap_or(0.0));
        Ok(call.float("power", d.p).word("rows", part.len()).word("columns", columns))
    }

    pub(super) fn lp_losses(&self, d: &LpLoss) -> Result<()> {
        let columns = d.z.columns();
        self.below(&d.rows, d.h.rows(), "row")?;
        for targets in self.parts(d.h.rows(), &[columns * d.h.dtype.size()]) {
            for part in self.parts(d.z.rows(), &[columns * d.z.dtype.size()]) {
                let call = self.lp_loss_call("forward", d, &part, &targets)?;
                call.output("y", &rows_of(&d.y, &part, 1)?, false)?.run(groups(part.len(), columns))?;
            }
        }
        Ok(())
    }

    pub(super) fn lp_losses_grad(&self, d: &LpLossGrad) -> Result<()> {
        let (f, (dz, accumulate)) = (&d.forward, &d.dz);
        let columns = f.z.columns();
        self.below(&f.rows, f.h.rows(), "row")?;
        for targets in self.parts(f.h.rows(), &[columns * f.h.dtype.size()]) {
            for part in self.parts(f.z.rows(), &[f.z.dtype.size(), dz.dtype.size()].map(|size| columns * size)) {
                let call = self.lp_loss_call("backward", f, &part, &targets)?;
                let call = call.input("dy", &rows_of(&d.dy, &part, 1)?)?;
                let call = call.output("dz", &rows_of(dz, &part, columns)?, *accumulate)?;
                call.run(groups(part.len(), columns))?;
            }
        }
        Ok(())
    }
}
