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
        for (source, stretch) in d.sources.iter().flat_map(|s| {
            self.parts(s.rows(), &[columns * s.dtype.size()]).into_iter().map(move |stretch| (s, stretch))
        }) {
            let source = &rows_of(source, &stretch, columns)?;
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
        let mut from = self.parts(d.src.rows(), &[columns * d.src.dtype.size()]);
        if from.is_empty() {
            // Nothing is sent; zeros are written all the same.
            from.push(0..0);
        }
        for (i, senders) in from.iter().enumerate() {
            let src = rows_of(&d.src, senders, columns)?;
            for part in self.parts(rows, &[columns * d.dst.dtype.size()]) {
                let call = Call::new(self, ASSEMBLE, "scatter").input("src", &src)?;
                let call = call.output("dst", &rows_of(&d.dst, &part, columns)?, d.accumulate || i > 0)?;
                let call = call.block("lists", &table, DType::I32, Access::Table)?.word("all", rows);
                let call = call.word("senders_first", senders.start).word("senders", senders.len());
                let call = call.word("first", part.start).word("rows", part.len()).word("columns", columns);
                call.run((part.len() * columns.div_ceil(2)).div_ceil(256))?;
            }
        }
        Ok(())
    }
}
