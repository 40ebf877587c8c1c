//! Patches as rows.

use super::{
    Wgpu,
    call::{Call, Family, family},
    elementwise::pairs,
    indices::lists,
    source::Access,
};
use crate::{backend::Patchify, dtype::DType, error::Result, tensor::Tensor};

const PATCHIFY: Family = family!("patchify");

impl<'a> Call<'a> {
    fn grid(self, d: &Patchify) -> Self {
        let [_, channels, frames, height, width] = d.size;
        let [tubelet, patch_h, patch_w] = d.patch;
        let call = self.word("channels", channels).word("frames", frames).word("height", height).word("width", width);
        let call = call.word("tubelet", tubelet).word("patch_h", patch_h).word("patch_w", patch_w);
        let call = call.word("grid_t", frames / tubelet).word("grid_h", height / patch_h);
        call.word("grid_w", width / patch_w).word("columns", channels * tubelet * patch_h * patch_w)
    }
}

/// Tokens of a sample.
fn tokens(d: &Patchify) -> usize {
    (d.size[2] / d.patch[0]) * (d.size[3] / d.patch[1]) * (d.size[4] / d.patch[2])
}

impl Wgpu {
    pub(super) fn cut(&self, d: &Patchify) -> Result<()> {
        let count = d.size[0] * tokens(d);
        let (rows, columns) = (d.y.rows(), d.y.columns());
        let nothing = d.y.view(0, &[0])?;
        let pixels = d.x.dtype == DType::U8;
        let picked = d.rows.is_some();
        if let Some(rows) = &d.rows {
            self.below(rows, count, "row")?;
        }
        let scale: Vec<u32> =
            d.mean.iter().zip(&d.std).flat_map(|(m, s)| [(*m as f32).to_bits(), (*s as f32).to_bits()]).collect();
        let scale = self.table(&scale)?;
        // Rows in order may be cut where a sample ends, and x with them; picked ones see all of x.
        let sample = d.x.len() / d.size[0].max(1);
        let chunks = match picked {
            true => self.parts(rows, &[columns * d.y.dtype.size()]),
            false => {
                let bytes = [tokens(d) * columns * d.y.dtype.size(), sample * d.x.dtype.size()];
                let scaled = |r: std::ops::Range<usize>| r.start * tokens(d)..r.end * tokens(d);
                self.parts(d.size[0], &bytes).into_iter().map(scaled).collect()
            }
        };
        for part in chunks {
            let samples = if picked { 0..d.size[0] } else { part.start / tokens(d)..part.end / tokens(d) };
            let x = d.x.view(samples.start * sample, &[samples.len() * sample])?;
            let call = Call::new(self, PATCHIFY, "forward").input("x", &x)?;
            let call = match &d.rows {
                Some(rows) => call.input("rows", &rows.view(part.start, &[part.len()])?)?,
                None => call.block("rows", &scale, DType::I32, Access::Read)?,
            };
            let call = call.block("scale", &scale, DType::F32, Access::Read)?;
            let y = d.y.view(part.start * columns, &[part.len() * columns])?;
            let call = call.output("y", if part.is_empty() { &nothing } else { &y }, false)?.grid(d);
            let call = call.constant("PIXELS", pixels).constant("PICKED", picked);
            let call = call.word("first", if picked { 0 } else { part.start });
            let call = call.word("skipped", if picked { 0 } else { part.start });
            call.word("count", part.len() * columns).run(pairs(part.len() * columns))?;
        }
        Ok(())
    }

    pub(super) fn cut_grad(&self, d: &Patchify, dx: &Tensor) -> Result<()> {
        let count = d.size[0] * tokens(d);
        let table = match &d.rows {
            Some(rows) => {
                let rows = self.below(rows, count, "row")?;
                rows.table(self, "rows of tokens", [0, count], |rows| lists(rows, 0, count))?
            }
            None => self.scratch(1)?,
        };
        // Sample by sample where they are too many to be seen at once; of picked rows, all are seen.
        let (picked, columns) = (d.rows.is_some(), d.y.columns());
        let sample = dx.len() / d.size[0].max(1);
        let rows = if picked { 0 } else { tokens(d) * columns * d.y.dtype.size() };
        for part in self.parts(d.size[0], &[sample * dx.dtype.size(), rows]) {
            let dy = match picked {
                true => d.y.clone(),
                false => d.y.view(part.start * tokens(d) * columns, &[part.len() * tokens(d) * columns])?,
            };
            let here = dx.view(part.start * sample, &[part.len() * sample])?;
            let call = Call::new(self, PATCHIFY, "backward").input("dy", &dy)?.output("dx", &here, false)?;
            let call = call.block("lists", &table, DType::I32, Access::Table)?.grid(d);
            let call = call.constant("PICKED", picked).word("tokens", count).word("first", part.start * tokens(d));
            call.word("count", here.len()).run(pairs(here.len()))?;
        }
        Ok(())
    }
}
