//! Softmax and the losses over classes: WIDTH threads a row.

use super::{
    Wgpu,
    call::{Call, Family, family},
};
use crate::{
    backend::{BinaryCrossEntropy, CrossEntropy},
    error::Result,
    tensor::Tensor,
};
use std::ops::Range;

const SOFTMAX: Family = family!("softmax");

/// Threads for a row of so many columns.
pub fn width(columns: usize) -> usize {
    match columns {
        0..=256 => 8,
        257..=2048 => 32,
        _ => 256,
    }
}

/// Workgroups for `rows` rows of so many columns.
pub fn groups(rows: usize, columns: usize) -> usize {
    rows.div_ceil((64 / width(columns)).max(1))
}

/// Rows `range` of a matrix of so many columns.
pub fn rows_of(t: &Tensor, range: &Range<usize>, columns: usize) -> Result<Tensor> {
    t.view(range.start * columns, &[range.len(), columns])
}

impl Wgpu {
    pub(super) fn softmax_rows(&self, x: &Tensor, y: &Tensor) -> Result<()> {
        let columns = x.columns();
        for part in self.parts(x.rows(), &[columns * x.dtype.size(), columns * y.dtype.size()]) {
            let call = Call::new(self, SOFTMAX, "softmax").input("x", &rows_of(x, &part, columns)?)?;
            let call = call.output("y", &rows_of(y, &part, columns)?, false)?;
            let call = call.constant("WIDTH", format!("{}u", width(columns)));
            call.word("rows", part.len()).word("columns", columns).run(if columns == 0 {
                0
            } else {
                groups(part.len(), columns)
            })?;
        }
        Ok(())
    }

    pub(super) fn softmax_rows_grad(&self, y: &Tensor, dy: &Tensor, dx: &Tensor) -> Result<()> {
        let columns = y.columns();
        let bytes = [y, dy, dx].map(|t| columns * t.dtype.size());
        for part in self.parts(y.rows(), &bytes) {
            let call = Call::new(self, SOFTMAX, "softmax_grad").input("y", &rows_of(y, &part, columns)?)?;
            let call = call.input("dy", &rows_of(dy, &part, columns)?)?;
            let call = call.output("dx", &rows_of(dx, &part, columns)?, false)?;
            let call = call.constant("WIDTH", format!("{}u", width(columns)));
            call.word("rows", part.len()).word("columns", columns).run(if columns == 0 {
                0
            } else {
                groups(part.len(), columns)
            })?;
        }
        Ok(())
    }

    pub(super) fn cross_entropy_rows(&self, d: &CrossEntropy) -> Result<()> {
        let (rows, columns) = (d.x.rows(), d.x.columns());
        self.below(&d.labels, columns, "label")?;
        for part in self.parts(rows, &[columns * d.x.dtype.size()]) {
            let of = |t: &Tensor| t.view(part.start, &[part.len()]);
            let call = Call::new(self, SOFTMAX, "cross_entropy").input("x", &rows_of(&d.x, &part, columns)?)?;
            let call = call.input("labels", &of(&d.labels)?)?.output("loss", &of(&d.loss)?, false)?;
            let call = call.output("lse", &of(&d.lse)?, false)?;
            let call = call.constant("WIDTH", format!("{}u", width(columns))).float("smoothing", d.smoothing);
            call.word("rows", part.len()).word("columns", columns).run(groups(part.len(), columns))?;
        }
        Ok(())
    }

    pub(super) fn cross_entropy_rows_grad(
        &self,
        d: &CrossEntropy,
        dy: &Tensor,
        dx: &Tensor,
        accumulate: bool,
    ) -> Result<()> {
        let (rows, columns) = (d.x.rows(), d.x.columns());
        self.below(&d.labels, columns, "label")?;
        for part in self.parts(rows, &[d.x.dtype.size(), dx.dtype.size()].map(|size| columns * size)) {
            let of = |t: &Tensor| t.view(part.start, &[part.len()]);
            let call = Call::new(self, SOFTMAX, "cross_entropy_grad").input("x", &rows_of(&d.x, &part, columns)?)?;
            let call = call.input("labels", &of(&d.labels)?)?.input("lse", &of(&d.lse)?)?.input("dy", &of(dy)?)?;
            let call = call.output("dx", &rows_of(dx, &part, columns)?, accumulate)?;
            let call = call.constant("WIDTH", format!("{}u", width(columns))).float("smoothing", d.smoothing);
            call.word("rows", part.len()).word("columns", columns).run(groups(part.len(), columns))?;
        }
        Ok(())
    }

    pub(super) fn binary_losses(&self, d: &BinaryCrossEntropy) -> Result<()> {
        for part in self.parts(d.x.len(), &[4]) {
            let of = |t: &Tensor| t.view(part.start, &[part.len()]);
            let call = Call::new(self, SOFTMAX, "binary_cross_entropy").input("x", &of(&d.x)?)?;
            let call = call.input("targets", &of(&d.targets)?)?.output("loss", &of(&d.loss)?, false)?;
            call.constant("WIDTH", "256u").word("count", part.len()).run(part.len().div_ceil(256))?;
        }
        Ok(())
    }

    pub(super) fn binary_losses_grad(
        &self,
        d: &BinaryCrossEntropy,
        dy: &Tensor,
        dx: &Tensor,
        accumulate: bool,
    ) -> Result<()> {
        for part in self.parts(d.x.len(), &[4]) {
            let of = |t: &Tensor| t.view(part.start, &[part.len()]);
            let call = Call::new(self, SOFTMAX, "binary_cross_entropy_grad").input("x", &of(&d.x)?)?;
            let call = call.input("targets", &of(&d.targets)?)?.input("dy", &of(dy)?)?;
            let call = call.output("dx", &of(dx)?, accumulate)?;
            call.constant("WIDTH", "256u").word("count", part.len()).run(part.len().div_ceil(256))?;
        }
        Ok(())
    }
}
