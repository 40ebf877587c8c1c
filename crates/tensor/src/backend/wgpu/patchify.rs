//! Patches as rows.

use super::{
    Wgpu,
    call::{Call, Family, family},
    elementwise::pairs,
    indices::lists,
    rows::rows_of,
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
        // Samples in parts; rows in order go with them, picked ones are left to the part that their sample is in.
        let (sample, own) = (d.x.len() / d.size[0].max(1), tokens(d) * columns * d.y.dtype.size());
        for samples in self.parts(d.size[0], &[sample * d.x.dtype.size(), if picked { 0 } else { own }]) {
            let here = samples.start * tokens(d)..samples.end * tokens(d);
            let parts = if picked { self.parts(rows, &[columns * d.y.dtype.size()]) } else { vec![here.clone()] };
            let x = d.x.view(samples.start * sample, &[samples.len() * sample])?;
            for part in parts {
                let call = Call::new(self, PATCHIFY, "forward").input("x", &x)?;
                let call = match &d.rows {
                    Some(rows) => call.input("rows", &rows.view(part.start, &[part.len()])?)?,
                    None => call.block("rows", &scale, DType::I32, Access::Read)?,
                };
                let call = call.block("scale", &scale, DType::F32, Access::Read)?;
                let y = d.y.view(part.start * columns, &[part.len() * columns])?;
                let call = call.output("y", if part.is_empty() { &nothing } else { &y }, false)?.grid(d);
                let call = call.constant("PIXELS", pixels).constant("PICKED", picked);
                let call = call.word("first", here.start).word("tokens", here.len());
                call.word("count", part.len() * columns).run(pairs(part.len() * columns))?;
            }
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
        // Samples in parts, with their rows; of picked rows, part by part what falls on each.
        let (picked, columns) = (d.rows.is_some(), d.y.columns());
        let row = columns * d.y.dtype.size();
        let sample = dx.len() / d.size[0].max(1);
        let mut picks = if picked { self.parts(d.y.rows(), &[row]) } else { vec![] };
        if picks.is_empty() {
            // Nothing is sent; zeros are written all the same.
            picks.push(0..0);
        }
        for samples in self.parts(d.size[0], &[sample * dx.dtype.size(), if picked { 0 } else { tokens(d) * row }]) {
            let here = dx.view(samples.start * sample, &[samples.len() * sample])?;
            let own = samples.start * tokens(d)..samples.end * tokens(d);
            for (i, picks) in picks.iter().enumerate() {
                let rows = if picked { picks } else { &own };
                let call = Call::new(self, PATCHIFY, "backward").input("dy", &rows_of(&d.y, rows, columns)?)?;
                let call = call.output("dx", &here, i > 0)?;
                let call = call.block("lists", &table, DType::I32, Access::Table)?.grid(d);
                let call = call.constant("PICKED", picked).word("tokens", count).word("first", own.start);
                let call = call.word("rows_first", rows.start).word("rows", rows.len());
                call.word("count", here.len()).run(pairs(here.len()))?;
            }
        }
        Ok(())
    }
}
