//! Matrix product, `C[m,n] = A·B`, with what follows it folded in.
//!
//! B is packed once a call into panels two vectors wide, shared by the threads; each task packs a few rows of A at a time and runs
//! them against a block of B that stays in its core's cache. Every element of C is one sum over k from first to last, however the
//! work is cut, so neither block sizes nor threads change a bit, and all instruction sets with fused multiply-add agree in f32.

mod column_sum;
mod driver;
mod finish;
pub(super) mod micro;
pub(super) mod pack;

pub use column_sum::{ColumnSum, column_sum};

use super::isa::Isa;
use super::pool;
use crate::dtype::DType;

/// How the operands of `C[m,n] = A·B` are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A `[m,k]`, B `[n,k]`.
    NT,
    /// A `[m,k]`, B `[k,n]`.
    NN,
    /// A `[k,m]`, B `[k,n]`.
    TN,
}

/// A matrix in memory: F32, BF16 or F64, rows `ld` elements apart.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    pub ptr: *const u8,
    pub dtype: DType,
    pub ld: usize,
}

impl Operand {
    /// Address of an element.
    #[inline(always)]
    pub unsafe fn at(&self, row: usize, column: usize) -> *const u8 {
        unsafe { self.ptr.add((row * self.ld + column) * self.dtype.size()) }
    }

    fn offset(self, elements: usize) -> Operand {
        Operand { ptr: self.ptr.wrapping_add(elements * self.dtype.size()), ..self }
    }
}

/// What is done to `v = alpha·(A·B) + bias` before it is written. The matrices are `[m,n]` like C.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue {
    None,
    /// `pre = v; c = gelu(pre)` (exact, by erf), from the unrounded v.
    Gelu {
        pre: *mut u8,
        dtype: DType,
        ld: usize,
    },
    /// `c = v · gelu'(pre)`.
    GeluGrad(Operand),
    /// `c = v + residual`, which may be C itself.
    Residual(Operand),
}

/// `C = epilogue(alpha·A·B + bias) (+ C)`.
#[derive(Clone, Copy, Debug)]
pub struct Gemm {
    pub layout: Layout,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Operand,
    pub b: Operand,
    pub c: *mut u8,
    pub c_dtype: DType,
    pub ldc: usize,
    /// F32; BF16: operands rounded to it, sums in f32; or F64.
    pub compute: DType,
    pub alpha: f64,
    /// `[n]`: F32 or F64.
    pub bias: Option<(*const u8, DType)>,
    pub epilogue: Epilogue,
    /// Add to what C holds.
    pub accumulate: bool,
}

// SAFETY: pointers to memory that the caller of `gemm` vouches for on whichever thread it is used.
unsafe impl Send for Gemm {}
unsafe impl Sync for Gemm {}

/// Computes one product on the pool. Any of m, n, k may be 0 (k = 0: a product of zeros).
///
/// # Safety
/// Operands, C, bias and the epilogue's matrices hold what their shapes, strides and types say; C and `pre` overlap nothing else that is
/// read, but a residual may be C.
pub unsafe fn gemm(isa: Isa, g: &Gemm) {
    if g.m == 0 || g.n == 0 {
        return;
    }
    unsafe { driver::run(isa, g) };
}

/// `batch` products; matrices of one operand are `stride_a`, `stride_b`, `stride_c` elements apart (0: the same for all). Bias is shared;
/// the matrices of an epilogue are `stride_c` apart too.
///
/// # Safety
/// That of [`gemm`] for each, and no two write the same memory.
pub unsafe fn gemm_batched(isa: Isa, g: &Gemm, batch: usize, stride_a: usize, stride_b: usize, stride_c: usize) {
    let one = |i: usize| {
        let epilogue = match g.epilogue {
            Epilogue::None => Epilogue::None,
            Epilogue::Gelu { pre, dtype, ld } => {
                Epilogue::Gelu { pre: pre.wrapping_add(i * stride_c * dtype.size()), dtype, ld }
            }
            Epilogue::GeluGrad(pre) => Epilogue::GeluGrad(pre.offset(i * stride_c)),
            Epilogue::Residual(residual) => Epilogue::Residual(residual.offset(i * stride_c)),
        };
        let c = g.c.wrapping_add(i * stride_c * g.c_dtype.size());
        Gemm { a: g.a.offset(i * stride_a), b: g.b.offset(i * stride_b), c, epilogue, ..*g }
    };
    // Small products go side by side, large ones are each cut up.
    if batch >= 8 || g.m * g.n * g.k < 1 << 20 {
        pool::parallel_for(batch, |i| unsafe { gemm(isa, &one(i)) });
    } else {
        for i in 0..batch {
            unsafe { gemm(isa, &one(i)) };
        }
    }
}

#[cfg(test)]
mod tests;
