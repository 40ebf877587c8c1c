//! Rotary position embedding.

use super::{
    Wgpu,
    call::{Call, Family, family},
    elementwise::pairs,
    rows::rows_of,
};
use crate::{backend::Rotary, error::Result};

const ROTARY: Family = family!("rotary");

impl Wgpu {
    pub(super) fn turn(&self, d: &Rotary) -> Result<()> {
        let columns = d.x.columns();
        for part in self.parts(d.x.rows(), &[columns * d.x.dtype.size(), d.head_dim * 4]) {
            let call = Call::new(self, ROTARY, "rotary").input("x", &rows_of(&d.x, &part, columns)?)?;
            let call = call.input("cosines", &rows_of(&d.cos, &part, d.head_dim)?)?;
            let call = call.input("sines", &rows_of(&d.sin, &part, d.head_dim)?)?;
            let call = call.output("y", &rows_of(&d.y, &part, columns)?, false)?.constant("TRANSPOSE", d.transpose);
            let call = call.word("rows", part.len()).word("columns", columns).word("first", d.column);
            let call = call.word("heads", d.heads).word("width", d.head_dim.max(1));
            call.run(pairs(part.len() * columns))?;
        }
        Ok(())
    }
}
