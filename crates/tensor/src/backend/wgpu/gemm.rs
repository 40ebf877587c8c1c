//! Matrix products.

use super::{
    Wgpu,
    call::{Call, Family, family},
    memory::Block,
    source::Access,
};
use crate::{
    backend::{Epilogue, Gemm, Layout},
    dtype::DType,
    error::Result,
    tensor::Tensor,
};
use std::{ops::Range, sync::Arc};

const GEMM: Family = family!("gemm");

/// Elements of a block's side: a workgroup makes a tile of one or two blocks along each side of C.
const BLOCK: usize = 32;
/// Workgroups that keep a device busy; fewer tiles than that, and a long sum is cut into stretches.
const BUSY: usize = 128;
/// The shortest stretch worth a pass of its own.
const STRETCH: usize = 512;

/// Where the product goes: C, or parts of sums.
enum Target<'a> {
    Tensor,
    Parts(&'a Arc<Block>, usize),
}

impl Wgpu {
    pub(super) fn product(&self, d: &Gemm) -> Result<()> {
        if d.batch == 0 || d.m == 0 || d.n == 0 {
            return Ok(());
        }
        let size = |t: &Tensor| t.dtype.size();
        let (a, b, c) = (size(&d.a), size(&d.b), size(&d.c).max(extra(&d.epilogue).map_or(0, size)));
        let [m, n, k] = [d.m, d.n, d.k];
        if d.batch > 1 {
            for part in self.parts(d.batch, &[m * k * a, n * k * b, m * n * c]) {
                self.one_product(&slices(d, &part)?)?;
            }
            return Ok(());
        }
        match d.layout {
            Layout::NT | Layout::NN => {
                for part in self.parts(m, &[k * a, n * c]) {
                    self.one_product(&rows(d, &part)?)?;
                }
            }
            Layout::TN => {
                for (i, part) in self.parts(k, &[m * a, n * b]).iter().enumerate() {
                    let d = Gemm { accumulate: d.accumulate || i > 0, ..stretch(d, part)? };
                    self.one_product(&d)?;
                }
                if k == 0 {
                    self.one_product(d)?;
                }
            }
        }
        Ok(())
    }

    fn one_product(&self, d: &Gemm) -> Result<()> {
        let tiles = d.m.div_ceil(BLOCK * blocks(d.m)) * d.n.div_ceil(BLOCK * blocks(d.n));
        let plain = d.batch == 1 && d.bias.is_none() && matches!(d.epilogue, Epilogue::None);
        let splits = BUSY.div_ceil(tiles).min(d.k / STRETCH);
        if !plain || splits < 2 {
            return self.tiles(d, Target::Tensor);
        }
        let parts = self.scratch(splits * d.m * d.n)?;
        self.tiles(d, Target::Parts(&parts, splits))?;
        self.sum_of_parts(&parts, splits, d.m * d.n, (d.c.clone(), d.accumulate))
    }

    fn tiles(&self, d: &Gemm, target: Target) -> Result<()> {
        let [a_width, b_width] = match d.layout {
            Layout::NT => [d.k, d.k],
            Layout::NN => [d.k, d.n],
            Layout::TN => [d.m, d.n],
        };
        let mut call = Call::new(self, GEMM, "gemm");
        let (a_fours, b_fours) = (aligned(&d.a, a_width), aligned(&d.b, b_width));
        call = if a_fours { call.input4("a", &d.a)? } else { call.input("a", &d.a)? };
        call = if b_fours { call.input4("b", &d.b)? } else { call.input("b", &d.b)? };
        call = call.constant("A_FOURS", a_fours).constant("B_FOURS", b_fours);
        let (count, split) = match target {
            Target::Tensor => {
                call = call.output("c", &d.c, d.accumulate)?;
                (d.batch, d.k)
            }
            Target::Parts(parts, splits) => {
                call = call.block("c", parts, DType::F32, Access::Write)?;
                // Whole tiles of k: only the last stretch is ragged.
                (splits, d.k.div_ceil(splits).next_multiple_of(16))
            }
        };
        let nothing = d.c.view(0, &[0])?;
        call = call.input("bias", d.bias.as_ref().unwrap_or(&nothing))?;
        let (number, pre, other) = match &d.epilogue {
            Epilogue::None => (0, &nothing, &nothing),
            Epilogue::Gelu { pre } => (1, pre, &nothing),
            Epilogue::GeluGrad { pre } => (2, &nothing, pre),
            Epilogue::Residual { residual } => (3, &nothing, residual),
        };
        call = call.output("pre", pre, false)?.input("extra", other)?;
        let layout = match d.layout {
            Layout::NT => "0u",
            Layout::NN => "1u",
            Layout::TN => "2u",
        };
        let rounds = |t: &Tensor| d.compute == DType::BF16 && t.dtype == DType::F32;
        call = call.constant("LAYOUT", layout).constant("EPILOGUE", format!("{number}u"));
        call = call.constant("ROUND_A", rounds(&d.a)).constant("ROUND_B", rounds(&d.b));
        call = call.constant("HAS_BIAS", d.bias.is_some()).constant("SPLIT", matches!(target, Target::Parts(..)));
        call = call.word("m", d.m).word("n", d.n).word("k", d.k).word("count", count).word("stretch", split);
        let (high, wide) = (blocks(d.m), blocks(d.n));
        call = call.constant("HIGH", format!("{high}u")).constant("WIDE", format!("{wide}u"));
        call.run(d.m.div_ceil(BLOCK * high) * d.n.div_ceil(BLOCK * wide) * count)
    }
}

/// Blocks to a side of a tile of a matrix with so many rows or columns.
fn blocks(side: usize) -> usize {
    if side > BLOCK { 2 } else { 1 }
}

/// Whether rows of `width` elements can be read by fours.
fn aligned(t: &Tensor, width: usize) -> bool {
    width.is_multiple_of(4) && t.offset.is_multiple_of(4 * t.dtype.size())
}

fn extra(epilogue: &Epilogue) -> Option<&Tensor> {
    match epilogue {
        Epilogue::None => None,
        Epilogue::Gelu { pre } | Epilogue::GeluGrad { pre } => Some(pre),
        Epilogue::Residual { residual } => Some(residual),
    }
}

/// What the epilogue sees of elements `range` of C.
fn epilogue(e: &Epilogue, range: &Range<usize>) -> Result<Epilogue> {
    let of = |t: &Tensor| t.view(range.start, &[range.len()]);
    Ok(match e {
        Epilogue::None => Epilogue::None,
        Epilogue::Gelu { pre } => Epilogue::Gelu { pre: of(pre)? },
        Epilogue::GeluGrad { pre } => Epilogue::GeluGrad { pre: of(pre)? },
        Epilogue::Residual { residual } => Epilogue::Residual { residual: of(residual)? },
    })
}

/// Some of the products of a batch.
fn slices(d: &Gemm, part: &Range<usize>) -> Result<Gemm> {
    let of = |t: &Tensor, size: usize| t.view(part.start * size, &[part.len() * size]);
    let c = part.start * d.m * d.n..part.end * d.m * d.n;
    Ok(Gemm {
        batch: part.len(),
        a: of(&d.a, d.m * d.k)?,
        b: of(&d.b, d.n * d.k)?,
        c: of(&d.c, d.m * d.n)?,
        epilogue: epilogue(&d.epilogue, &c)?,
        ..d.clone()
    })
}

/// Some rows of C.
fn rows(d: &Gemm, part: &Range<usize>) -> Result<Gemm> {
    let of = |t: &Tensor, size: usize| t.view(part.start * size, &[part.len() * size]);
    let epilogue = epilogue(&d.epilogue, &(part.start * d.n..part.end * d.n))?;
    Ok(Gemm { m: part.len(), a: of(&d.a, d.k)?, c: of(&d.c, d.n)?, epilogue, ..d.clone() })
}

/// A stretch of the sum, of a product by rows along it.
fn stretch(d: &Gemm, part: &Range<usize>) -> Result<Gemm> {
    let of = |t: &Tensor, size: usize| t.view(part.start * size, &[part.len() * size]);
    Ok(Gemm { k: part.len(), a: of(&d.a, d.m)?, b: of(&d.b, d.n)?, ..d.clone() })
}
