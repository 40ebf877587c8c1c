//! Matrix products.

use super::{
    Wgpu,
    adapter::Matrices,
    call::{Call, Family, by_fours, family},
    lock,
    memory::Block,
    source::Access,
    stream::Download,
};
use crate::{
    backend::{Epilogue, Gemm, Layout},
    dtype::DType,
    error::{Code, Result},
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

    /// By the adapter and the type alone: f16 is for what is rounded to bfloat16 anyway.
    fn variant(&self, compute: DType) -> Variant {
        let Matrices { f32, f16, threads } = self.matrices;
        match (compute, f16, f32) {
            (DType::BF16, Some(side), _) => Variant::Matrices { side, f16: true, threads },
            (_, _, Some(side)) => Variant::Matrices { side, f16: false, threads },
            _ => Variant::Registers,
        }
    }

    /// The adapter's cooperative matrices, without those by which a product of whole numbers is not exact or cannot be compiled: drivers
    /// are new to them, and some have lost sums.
    ///
    /// # Errors
    /// Those of a device that cannot go on.
    pub(super) fn proven_matrices(&self) -> Result<Matrices> {
        let Matrices { f32, f16, threads } = self.gpu.matrices;
        let proven = |side: Option<u32>, f16| {
            let Some(side) = side else { return Ok(None) };
            for layout in [Layout::NT, Layout::NN, Layout::TN] {
                let exact = match self.is_exact(Variant::Matrices { side, f16, threads }, layout) {
                    // The kernel was refused, and nothing else is wrong.
                    Err(error) if error.code == Code::Device && self.gpu.check().is_ok() => false,
                    Err(error) if error.code == Code::Device => {
                        return Err(
                            error.hint("AVJEPA_WGPU_FAULT=without:matrices opens it without cooperative matrices")
                        );
                    }
                    exact => exact?,
                };
                if !exact {
                    return Ok(None);
                }
            }
            Ok(Some(side))
        };
        Ok(Matrices { f32: proven(f32, false)?, f16: proven(f16, true)?, threads })
    }

    /// Multiplies small whole numbers, over several tiles along k and ragged edges.
    fn is_exact(&self, variant: Variant, layout: Layout) -> Result<bool> {
        let [m, n, k] = [61, 37, 90];
        let number = |i: usize| (i * 7 % 13) as f32 - 6.0;
        let table = |count: usize| self.table(&(0..count).map(|i| number(i).to_bits()).collect::<Vec<_>>());
        let (a, b, c) = (table(m * k)?, table(n * k)?, self.scratch(m * n)?);
        let mut call = variant.call(self);
        for (name, block) in [("a", &a), ("b", &b), ("bias", &b), ("extra", &b)] {
            call = call.block(name, block, DType::F32, Access::Read)?;
        }
        for name in ["c", "pre"] {
            call = call.block(name, &c, DType::F32, Access::Write)?;
        }
        for name in ["A_FOURS", "B_FOURS", "ROUND_A", "ROUND_B", "HAS_BIAS", "SPLIT"] {
            call = call.constant(name, false);
        }
        call = call.constant("LAYOUT", number_of(layout)).constant("EPILOGUE", "0u");
        call = call.constant("HIGH", "2u").constant("WIDE", "2u");
        call.word("m", m).word("n", n).word("k", k).word("count", 1).word("stretch", k).run(1)?;
        let mut bytes = vec![0; 4 * m * n];
        lock(&self.stream).download(vec![Download { block: &c, at: 0, bytes: &mut bytes }])?;
        let got = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let left = |row: usize, j: usize| number(if matches!(layout, Layout::TN) { j * m + row } else { row * k + j });
        let right = |col: usize, j: usize| number(if matches!(layout, Layout::NT) { col * k + j } else { j * n + col });
        let wanted = (0..m * n).map(|i| (0..k).map(|j| left(i / n, j) * right(i % n, j)).sum::<f32>());
        Ok(got.eq(wanted))
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
        let variant = self.variant(d.compute);
        let mut call = variant.call(self);
        let (a_fours, b_fours) = (by_fours(&d.a, a_width), by_fours(&d.b, b_width));
        call = call.rows_input("a", &d.a, a_fours)?.rows_input("b", &d.b, b_fours)?;
        call = call.constant("A_FOURS", a_fours).constant("B_FOURS", b_fours);
        let (count, split) = match target {
            Target::Tensor => {
                call = call.output("c", &d.c, d.accumulate)?;
                (d.batch, d.k)
            }
            Target::Parts(parts, splits) => {
                call = call.block("c", parts, DType::F32, Access::Write)?;
                // Whole tiles of k: only the last stretch is ragged.
                (splits, d.k.div_ceil(splits).next_multiple_of(variant.depth()))
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
        let rounds = |t: &Tensor| d.compute == DType::BF16 && t.dtype == DType::F32;
        call = call.constant("LAYOUT", number_of(d.layout)).constant("EPILOGUE", format!("{number}u"));
        call = call.constant("ROUND_A", rounds(&d.a)).constant("ROUND_B", rounds(&d.b));
        call = call.constant("HAS_BIAS", d.bias.is_some()).constant("SPLIT", matches!(target, Target::Parts(..)));
        call = call.word("m", d.m).word("n", d.n).word("k", d.k).word("count", count).word("stretch", split);
        let (high, wide) = (blocks(d.m), blocks(d.n));
        call = call.constant("HIGH", format!("{high}u")).constant("WIDE", format!("{wide}u"));
        call.run(d.m.div_ceil(BLOCK * high) * d.n.div_ceil(BLOCK * wide) * count)
    }
}

/// How tiles are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    /// In registers of threads.
    Registers,
    /// By cooperative matrices of so many rows and columns, their operands in f16 scaled or in f32, on so many threads.
    Matrices { side: u32, f16: bool, threads: u32 },
}

impl Variant {
    /// Elements along k of an operand's tile.
    fn depth(self) -> usize {
        match self {
            Variant::Registers | Variant::Matrices { f16: false, .. } => 16,
            Variant::Matrices { f16: true, .. } => 32,
        }
    }

    fn call(self, on: &Wgpu) -> Call<'_> {
        let (call, threads) = match self {
            Variant::Registers => (Call::new(on, GEMM, "gemm"), 64),
            Variant::Matrices { side, f16, threads } => {
                let element = if f16 { "f16" } else { "f32" };
                let matrix = |element: &str, role: char| format!("coop_mat{side}x{side}<{element}, {role}>");
                let call = Call::new(on, GEMM, "matrices").enable("wgpu_cooperative_matrix");
                let call = if f16 { call.enable("f16") } else { call };
                let call = call.constant("SIZE", format!("{side}u")).constant("SCALED", f16);
                let call = call.constant("Element", element).constant("MatrixA", matrix(element, 'A'));
                (call.constant("MatrixB", matrix(element, 'B')).constant("MatrixC", matrix("f32", 'C')), threads)
            }
        };
        call.constant("DEPTH", format!("{}u", self.depth())).constant("THREADS", format!("{threads}u"))
    }
}

/// What the kernel calls a layout.
fn number_of(layout: Layout) -> &'static str {
    match layout {
        Layout::NT => "0u",
        Layout::NN => "1u",
        Layout::TN => "2u",
    }
}

/// Blocks to a side of a tile of a matrix with so many rows or columns.
fn blocks(side: usize) -> usize {
    if side > BLOCK { 2 } else { 1 }
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
