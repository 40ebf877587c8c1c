//! Layer norm: some threads a row, which they hold in registers, and two passes for the gradients of weight and bias.

use super::{
    Wgpu,
    call::{Call, Family, by_fours, family},
    rows::{groups, rows_of, width},
    source::Access,
};
use crate::{
    backend::{LayerNorm, LayerNormGrad},
    dtype::DType,
    error::Result,
};

const LAYER_NORM: Family = family!("layer_norm");

/// Rows of a column that one thread sums.
const HEIGHT: usize = 64;

/// How a row is shared out among threads.
fn shared_out(call: Call<'_>, columns: usize, fours: bool) -> Call<'_> {
    let each = columns.div_ceil(4 * width(columns)).max(1);
    let call = call.constant("WIDTH", format!("{}u", width(columns))).constant("EACH", format!("{each}u"));
    call.constant("FOURS", fours)
}

impl Wgpu {
    pub(super) fn normalise(&self, d: &LayerNorm) -> Result<()> {
        let (rows, columns) = (d.x.rows(), d.x.columns());
        for part in self.parts(rows, &[columns * d.x.dtype.size(), columns * d.y.dtype.size()]) {
            let fours = by_fours(&d.x, columns);
            let mut call = Call::new(self, LAYER_NORM, "forward");
            call = call.rows_input("x", &rows_of(&d.x, &part, columns)?, fours)?;
            call = call.output("y", &rows_of(&d.y, &part, columns)?, false)?;
            call = call.output("mean", &rows_of(&d.mean, &part, 1)?, false)?;
            call = call.output("rstd", &rows_of(&d.rstd, &part, 1)?, false)?;
            // Functions are compiled whether they are called or not: `mean` stands in for what is not there.
            call = call.input("weight", d.weight.as_ref().unwrap_or(&d.mean.view(0, &[0])?))?;
            call = call.input("bias", d.bias.as_ref().unwrap_or(&d.mean.view(0, &[0])?))?;
            call = shared_out(call, columns, fours);
            call = call.constant("HAS_WEIGHT", d.weight.is_some()).constant("HAS_BIAS", d.bias.is_some());
            call = call.word("rows", part.len()).word("columns", columns).float("eps", d.eps);
            call.run(groups(part.len(), columns))?;
        }
        Ok(())
    }

    pub(super) fn normalise_grad(&self, d: &LayerNormGrad) -> Result<()> {
        let (rows, columns) = (d.x.rows(), d.x.columns());
        let parts = self.parts(rows, &[columns * d.x.dtype.size(), columns * d.dy.dtype.size()]);
        if let Some((dx, accumulate)) = &d.dx {
            for part in self.parts(rows, &[d.x.dtype.size(), d.dy.dtype.size(), dx.dtype.size()].map(|n| n * columns)) {
                let fours = by_fours(&d.x, columns) && by_fours(&d.dy, columns);
                let mut call = Call::new(self, LAYER_NORM, "input_grad");
                call = call.rows_input("x", &rows_of(&d.x, &part, columns)?, fours)?;
                call = call.input("mean", &rows_of(&d.mean, &part, 1)?)?;
                call = call.input("rstd", &rows_of(&d.rstd, &part, 1)?)?;
                call = call.rows_input("dy", &rows_of(&d.dy, &part, columns)?, fours)?;
                call = call.input("weight", d.weight.as_ref().unwrap_or(&d.mean.view(0, &[0])?))?;
                call = call.output("dx", &rows_of(dx, &part, columns)?, *accumulate)?;
                call = shared_out(call, columns, fours).constant("HAS_WEIGHT", d.weight.is_some());
                call.word("rows", part.len()).word("columns", columns).run(groups(part.len(), columns))?;
            }
        }
        for (of_weight, sink) in [(true, &d.dweight), (false, &d.dbias)] {
            let Some(sink) = sink else { continue };
            let count: usize = parts.iter().map(|part| part.len().div_ceil(HEIGHT)).sum();
            let sums = self.scratch(count * columns)?;
            let mut first = 0;
            for part in &parts {
                let blocks = part.len().div_ceil(HEIGHT);
                let mut call = Call::new(self, LAYER_NORM, "weight_grad");
                call = call.input("x", &rows_of(&d.x, part, columns)?)?;
                call = call.input("mean", &rows_of(&d.mean, part, 1)?)?;
                call = call.input("rstd", &rows_of(&d.rstd, part, 1)?)?;
                call = call.input("dy", &rows_of(&d.dy, part, columns)?)?;
                call = call.block("sums", &sums, DType::F32, Access::Write)?;
                // For functions that other entries call.
                call = call.input("weight", &d.mean.view(0, &[0])?)?.constant("HAS_WEIGHT", false);
                call = call.constant("FOURS", false);
                call = call.constant("WIDTH", "64u").constant("OF_WEIGHT", of_weight);
                call = call.word("rows", part.len()).word("columns", columns).word("height", HEIGHT);
                call = call.word("parts", blocks).word("first", first);
                call.run((blocks * columns).div_ceil(64))?;
                first += blocks * columns;
            }
            self.sum_of_parts(&sums, count, columns, sink.clone())?;
        }
        Ok(())
    }
}
