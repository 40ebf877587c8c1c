//! Rows picked from several sources, and their gradients sent back.

use super::{
    Wgpu,
    call::{Call, Family, family},
    indices::lists,
    rows::rows_of,
    source::Access,
};
use crate::{
    backend::{Assemble, ScatterAdd},
    dtype::DType,
    error::Result,
};

const ASSEMBLE: Family = family!("assemble");

impl Wgpu {
    pub(super) fn gather(&self, d: &Assemble) -> Result<()> {
        let (rows, columns) = (d.y.rows(), d.y.columns());
        let total = d.sources.iter().map(|s| s.rows()).sum();
        self.below(&d.rows, total, "row")?;
        if let Some((table, positions)) = &d.table {
            self.below(positions, table.rows(), "position")?;
        }
        let nothing = d.rows.view(0, &[0])?;
        let mut first = 0;
        for source in d.sources.iter().filter(|s| s.rows() > 0) {
            for part in self.parts(rows, &[columns * d.y.dtype.size()]) {
                let call = Call::new(self, ASSEMBLE, "gather").input("source", source)?;
                let call = call.input("rows", &rows_of(&d.rows, &part, 1)?)?;
                let call = match &d.table {
                    Some((table, positions)) => {
                        call.input("table", table)?.input("positions", &rows_of(positions, &part, 1)?)?
                    }
                    None => call.input("table", &source.view(0, &[0])?)?.input("positions", &nothing)?,
                };
                let call = call.output("y", &rows_of(&d.y, &part, columns)?, false)?;
                let call = call.constant("HAS_TABLE", d.table.is_some()).word("count", part.len());
                let call = call.word("columns", columns).word("first", first).word("rows_here", source.rows());
                call.run((part.len() * columns.div_ceil(2)).div_ceil(256))?;
            }
            first += source.rows();
        }
        Ok(())
    }

    /// Rows of dst are shared out among the threads; each collects what is sent to it, in the order of m.
    pub(super) fn scatter(&self, d: &ScatterAdd) -> Result<()> {
        let (rows, columns) = (d.dst.rows(), d.dst.columns());
        let sent = self.values(&d.rows)?;
        let table = sent.table(self, "senders", [d.first, rows], |sent| lists(sent, d.first, rows))?;
        let call = Call::new(self, ASSEMBLE, "scatter").input("src", &d.src)?.output("dst", &d.dst, d.accumulate)?;
        let call = call.block("lists", &table, DType::I32, Access::Table)?;
        call.word("rows", rows).word("columns", columns).run((rows * columns.div_ceil(2)).div_ceil(256))
    }
}
