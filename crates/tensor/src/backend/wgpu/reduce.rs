//! Sums, means and extrema, in one pass or, of many elements, in several.

use super::{
    Wgpu,
    call::{Call, Family, family},
    memory::Block,
    source::Access,
};
use crate::{
    backend::{Reduce, Reduction},
    dtype::DType,
    error::Result,
    tensor::Tensor,
};
use std::sync::Arc;

const REDUCE: Family = family!("reduce");

/// Elements of a row, and rows of a column, that one workgroup, or thread, takes.
const LONG: usize = 8192;
const HIGH: usize = 128;

/// What is reduced, and where to.
#[derive(Clone)]
enum Place {
    Tensor(Tensor),
    /// Partial results, f32.
    Block(Arc<Block>),
}

impl Wgpu {
    pub(super) fn total(&self, d: &Reduce) -> Result<()> {
        let y = (d.y.clone(), d.accumulate);
        // Samples of the outer axis one after another where they are too many to be seen at once.
        let row = d.n * d.inner * d.x.dtype.size();
        for part in self.parts(d.outer, &[row]) {
            let x = d.x.view(part.start * d.n * d.inner, &[part.len() * d.n * d.inner])?;
            let y = (y.0.view(part.start * d.inner, &[part.len() * d.inner])?, y.1);
            self.sample(d, x, part.len(), y)?;
        }
        Ok(())
    }

    /// Samples of the outer axis; one that is larger than a binding in stretches of its own rows, whose results are reduced in turn.
    fn sample(&self, d: &Reduce, x: Tensor, outer: usize, y: (Tensor, bool)) -> Result<()> {
        let stretches = self.parts(d.n, &[d.inner * d.x.dtype.size()]);
        if outer != 1 || stretches.len() < 2 {
            return self.passes(d.op, Place::Tensor(x), [outer, d.n, d.inner], d.n, y);
        }
        // Sums until the last: only that knows how many elements a mean is of.
        let op = if d.op == Reduction::Mean { Reduction::Sum } else { d.op };
        let partial = Tensor::empty(x.device(), &[stretches.len(), d.inner], DType::F32);
        for (i, rows) in stretches.iter().enumerate() {
            let stretch = x.view(rows.start * d.inner, &[rows.len() * d.inner])?;
            let to = (partial.view(i * d.inner, &[d.inner])?, false);
            self.passes(op, Place::Tensor(stretch), [1, rows.len(), d.inner], rows.len(), to)?;
        }
        self.passes(d.op, Place::Tensor(partial), [1, stretches.len(), d.inner], d.n, y)
    }

    /// Reduces partial results `[n, inner]` into `y`.
    pub(super) fn sum_of_parts(&self, parts: &Arc<Block>, n: usize, inner: usize, y: (Tensor, bool)) -> Result<()> {
        self.passes(Reduction::Sum, Place::Block(parts.clone()), [1, n, inner], n, y)
    }

    /// A mean is the sum over `divisor`.
    fn passes(
        &self,
        op: Reduction,
        from: Place,
        [outer, n, inner]: [usize; 3],
        divisor: usize,
        y: (Tensor, bool),
    ) -> Result<()> {
        let (mut from, mut left) = (from, n);
        let height = if inner == 1 { LONG } else { HIGH };
        loop {
            let parts = left.div_ceil(height).max(1);
            let last = parts == 1;
            let to = match last {
                true => Place::Tensor(y.0.clone()),
                false => Place::Block(self.scratch(outer * parts * inner)?),
            };
            let number = match (op, last) {
                (Reduction::Sum, _) | (Reduction::Mean, false) => 0,
                (Reduction::Mean, true) => 1,
                (Reduction::Max, _) => 2,
                (Reduction::Min, _) => 3,
            };
            let call = Call::new(self, REDUCE, if inner == 1 { "rows" } else { "columns" });
            let call = match &from {
                Place::Tensor(x) => call.input("x", x)?,
                Place::Block(x) => call.block("x", x, DType::F32, Access::Read)?,
            };
            let call = match &to {
                Place::Tensor(t) => call.output("y", t, y.1)?,
                Place::Block(b) => call.block("y", b, DType::F32, Access::Write)?,
            };
            let call = if inner == 1 { call.constant("WIDTH", "256u") } else { call };
            let call = call.constant("OP", format!("{number}u")).float("divisor", divisor as f64);
            let call = call.word("outer", outer).word("n", left).word("inner", inner);
            let call = call.word("parts", parts).word("height", height);
            let count = outer * parts * inner;
            call.run(if inner == 1 { count } else { count.div_ceil(256) })?;
            if last {
                return Ok(());
            }
            (from, left) = (to, parts);
        }
    }
}
