//! Statistics of representations: the deviation within sequences, and how far columns are from a normal distribution.

use super::{
    Wgpu,
    call::{Call, Family, family},
    memory::Block,
    source::Access,
};
use crate::{
    backend::{EppsPulley, EppsPulleyGrad, SegmentStd},
    dtype::DType,
    error::Result,
    tensor::Tensor,
};

const SEGMENT_STD: Family = family!("segment_std");
const EPPS_PULLEY: Family = family!("epps_pulley");

impl Wgpu {
    fn segment_call(&self, entry: &'static str, d: &SegmentStd) -> Result<Call<'_>> {
        let columns = d.x.columns();
        self.offsets(&d.offsets, d.x.rows(), "offsets")?;
        let call = Call::new(self, SEGMENT_STD, entry).input("x", &d.x)?.input("offsets", &d.offsets)?;
        Ok(call.word("columns", columns.max(1)).word("sequences", d.offsets.len() - 1).float("eps", d.eps))
    }

    pub(super) fn segment_deviation(&self, d: &SegmentStd) -> Result<()> {
        self.segment_call("forward", d)?.output("y", &d.y, false)?.run(d.y.len().div_ceil(64))
    }

    pub(super) fn segment_deviation_grad(
        &self,
        d: &SegmentStd,
        dy: &Tensor,
        dx: &Tensor,
        accumulate: bool,
    ) -> Result<()> {
        let call = self.segment_call("backward", d)?.input("y", &d.y)?.input("dy", dy)?;
        call.output("dx", dx, accumulate)?.run(d.y.len().div_ceil(64))
    }

    /// Knots with their weights and what a normal distribution's mean cosine is there.
    fn knots(&self, d: &EppsPulley) -> Result<Block> {
        let words: Vec<u32> = (d.knots.iter().zip(&d.weights))
            .flat_map(|(t, weight)| [*t, *weight, (-0.5 * t * t).exp()])
            .map(|v| (v as f32).to_bits())
            .collect();
        self.table(&words)
    }

    pub(super) fn normality(&self, d: &EppsPulley) -> Result<()> {
        let (rows, columns, count) = (d.x.rows(), d.x.columns(), d.knots.len());
        let knots = self.knots(d)?;
        let call = Call::new(self, EPPS_PULLEY, "means").input("x", &d.x)?.output("means", &d.means, false)?;
        let call = call.block("knots", &knots, DType::F32, Access::Read)?;
        call.word("rows", rows).word("columns", columns).word("count", count).run(columns * count)?;
        let call = Call::new(self, EPPS_PULLEY, "statistic").input("means", &d.means)?.output("y", &d.y, false)?;
        let call = call.block("knots", &knots, DType::F32, Access::Read)?;
        call.word("rows", rows).word("columns", columns).word("count", count).run(columns.div_ceil(128))
    }

    pub(super) fn normality_grad(&self, d: &EppsPulleyGrad) -> Result<()> {
        let f = &d.forward;
        // Held until the kernel is encoded: memory that is freed before may be written by others.
        let knots = self.knots(f)?;
        let call = Call::new(self, EPPS_PULLEY, "backward").input("x", &f.x)?.input("means", &f.means)?;
        let call = call.input("dy", &d.dy)?.output("dx", &d.dx.0, d.dx.1)?;
        let call = call.block("knots", &knots, DType::F32, Access::Read)?;
        let call = call.word("rows", f.x.rows()).word("columns", f.x.columns()).word("count", f.knots.len());
        call.run(f.x.len().div_ceil(128))
    }
}
