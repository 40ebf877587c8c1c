//! Statistics of representations: the deviation within sequences, and how far columns are from a normal distribution.

use super::{
    Wgpu,
    call::{Call, Family, family},
    memory::Block,
    rows::rows_of,
    source::Access,
};
use crate::{
    backend::{EppsPulley, EppsPulleyGrad, SegmentStd},
    dtype::DType,
    error::Result,
    tensor::Tensor,
};
use std::{ops::Range, sync::Arc};

const SEGMENT_STD: Family = family!("segment_std");
const EPPS_PULLEY: Family = family!("epps_pulley");

/// What a kernel of [`Wgpu::segments`] sees.
struct Segments {
    sequences: Range<usize>,
    /// All tokens of these sequences, in parts.
    tokens: Vec<Range<usize>>,
}

impl Wgpu {
    /// Sequences in parts, and their tokens in parts, so that each is seen; `token` and `sequence` are the most bytes of either.
    fn segments(&self, d: &SegmentStd, token: usize, sequence: usize) -> Result<Vec<Segments>> {
        let offsets = self.offsets(&d.offsets, d.x.rows(), "offsets")?.values;
        let whole = |sequences: Range<usize>| {
            let (first, end) = (offsets[sequences.start] as usize, offsets[sequences.end] as usize);
            let parts = self.parts(end - first, &[token]).into_iter();
            let mut tokens: Vec<_> = parts.map(|part| first + part.start..first + part.end).collect();
            if tokens.is_empty() {
                // Sequences without tokens have a deviation too.
                tokens.push(first..first);
            }
            Segments { sequences, tokens }
        };
        Ok(self.parts(d.offsets.len() - 1, &[sequence]).into_iter().map(whole).collect())
    }

    fn segment_call(&self, entry: &'static str, d: &SegmentStd, s: &Segments, part: usize) -> Result<Call<'_>> {
        let (columns, tokens) = (d.x.columns(), &s.tokens[part]);
        let offsets = d.offsets.view(s.sequences.start, &[s.sequences.len() + 1])?;
        let call = Call::new(self, SEGMENT_STD, entry).input("x", &rows_of(&d.x, tokens, columns)?)?;
        let call = call.input("offsets", &offsets)?.word("columns", columns.max(1)).float("eps", d.eps);
        let call = call.word("sequences", s.sequences.len()).word("first", tokens.start).word("end", tokens.end);
        Ok(call.word("begins", (part == 0).into()).word("ends", (part + 1 == s.tokens.len()).into()))
    }

    /// The sum over the tokens of each of the sequences, column by column.
    fn segment_sums(&self, d: &SegmentStd, s: &Segments) -> Result<Arc<Block>> {
        let count = s.sequences.len() * d.x.columns();
        let sums = self.scratch(count)?;
        for part in 0..s.tokens.len() {
            let call = self.segment_call("sums", d, s, part)?.block("sums", &sums, DType::F32, Access::Write)?;
            call.run(count.div_ceil(64))?;
        }
        Ok(sums)
    }

    pub(super) fn segment_deviation(&self, d: &SegmentStd) -> Result<()> {
        let columns = d.x.columns();
        for s in self.segments(d, columns * d.x.dtype.size(), columns * 4)? {
            let (sums, count) = (self.segment_sums(d, &s)?, s.sequences.len() * columns);
            let y = rows_of(&d.y, &s.sequences, columns)?;
            let squares = self.scratch(count)?;
            for part in 0..s.tokens.len() {
                let call = self.segment_call("forward", d, &s, part)?;
                let call = call.block("sums", &sums, DType::F32, Access::Read)?;
                let call = call.block("squares", &squares, DType::F32, Access::Write)?;
                call.output("y", &y, false)?.run(count.div_ceil(64))?;
            }
        }
        Ok(())
    }

    pub(super) fn segment_deviation_grad(
        &self,
        d: &SegmentStd,
        dy: &Tensor,
        dx: &Tensor,
        accumulate: bool,
    ) -> Result<()> {
        let columns = d.x.columns();
        for s in self.segments(d, columns * d.x.dtype.size().max(dx.dtype.size()), columns * 4)? {
            let (sums, count) = (self.segment_sums(d, &s)?, s.sequences.len() * columns);
            let [y, dy] = [rows_of(&d.y, &s.sequences, columns)?, rows_of(dy, &s.sequences, columns)?];
            for (part, tokens) in s.tokens.iter().enumerate() {
                let call = self.segment_call("backward", d, &s, part)?;
                let call = call.block("sums", &sums, DType::F32, Access::Read)?.input("y", &y)?.input("dy", &dy)?;
                call.output("dx", &rows_of(dx, tokens, columns)?, accumulate)?.run(count.div_ceil(64))?;
            }
        }
        Ok(())
    }

    /// Knots with their weights and what a normal distribution's mean cosine is there.
    fn knots(&self, d: &EppsPulley) -> Result<Block> {
        let words: Vec<u32> = (d.knots.iter().zip(&d.weights))
            .flat_map(|(t, weight)| [*t, *weight, (-0.5 * t * t).exp()])
            .map(|v| (v as f32).to_bits())
            .collect();
        self.table(&words)
    }

    /// A kernel on some columns; `rows` are all there are.
    fn normality_call(
        &self,
        entry: &'static str,
        d: &EppsPulley,
        knots: &Block,
        part: &Range<usize>,
    ) -> Result<Call<'_>> {
        let call = Call::new(self, EPPS_PULLEY, entry).block("knots", knots, DType::F32, Access::Read)?;
        let call = call.word("all_rows", d.x.rows()).word("columns", d.x.columns()).word("count", d.knots.len());
        Ok(call.word("first", part.start).word("here", part.len()))
    }

    /// Columns in parts of which all means are seen.
    fn columns_of_means(&self, d: &EppsPulley) -> Vec<Range<usize>> {
        self.parts(d.x.columns(), &[8 * d.knots.len()])
    }

    pub(super) fn normality(&self, d: &EppsPulley) -> Result<()> {
        let (columns, count) = (d.x.columns(), d.knots.len());
        let knots = self.knots(d)?;
        let rows = self.parts(d.x.rows(), &[columns * d.x.dtype.size()]);
        for part in self.columns_of_means(d) {
            let means = rows_of(&d.means, &part, 2 * count)?;
            for (i, rows_here) in rows.iter().enumerate() {
                let call = self.normality_call("means", d, &knots, &part)?;
                let call = call.input("x", &rows_of(&d.x, rows_here, columns)?)?.output("means", &means, false)?;
                let call = call.word("begins", (i == 0).into()).word("ends", (i + 1 == rows.len()).into());
                call.word("rows", rows_here.len()).run(part.len() * count)?;
            }
            let call = self.normality_call("statistic", d, &knots, &part)?.input("means", &means)?;
            call.output("y", &rows_of(&d.y, &part, 1)?, false)?.run(part.len().div_ceil(128))?;
        }
        Ok(())
    }

    pub(super) fn normality_grad(&self, d: &EppsPulleyGrad) -> Result<()> {
        let (f, (dx, accumulate)) = (&d.forward, &d.dx);
        let columns = f.x.columns();
        // Held until the kernel is encoded: memory that is freed before may be written by others.
        let knots = self.knots(f)?;
        let rows = self.parts(f.x.rows(), &[f.x.dtype.size(), dx.dtype.size()].map(|size| columns * size));
        for part in self.columns_of_means(f) {
            for rows in &rows {
                let call = self.normality_call("backward", f, &knots, &part)?;
                let call = call.input("x", &rows_of(&f.x, rows, columns)?)?;
                let call = call.input("means", &rows_of(&f.means, &part, 2 * f.knots.len())?)?;
                let call = call.input("dy", &rows_of(&d.dy, &part, 1)?)?;
                let call = call.output("dx", &rows_of(dx, rows, columns)?, *accumulate)?;
                call.word("rows", rows.len()).run((rows.len() * part.len()).div_ceil(128))?;
            }
        }
        Ok(())
    }
}
