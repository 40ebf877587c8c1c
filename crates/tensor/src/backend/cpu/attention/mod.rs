//! Attention over packed sequences of any lengths, in tiles: no matrix of scores is ever whole in memory.
//!
//! Queries lie in the lanes of vectors. A tile of scores is `[keys, queries]`, so the softmax over keys runs down the tile without
//! moving anything between lanes, and the rows of K and V are broadcast from memory as they are. Scores are kept in units of ln 2.
//!
//! Tasks are cut by shapes only and each sum has one order, so threads never change a bit.

mod backward;
mod forward;
mod tile;

pub use backward::{AttentionGrad, attention_backward};
pub use forward::attention_forward;

use super::gemm::Operand;
use crate::dtype::DType;

/// `out = softmax(scale·Q·Kᵀ)·V` for each sequence and head.
///
/// Tokens `q_offsets[s] .. q_offsets[s+1]` of q see tokens `kv_offsets[s] .. kv_offsets[s+1]` of k and v. Row t, columns
/// `h·head_dim .. (h+1)·head_dim` of each matrix are head h of token t. A query without keys gives 0 and a log-sum-exp of -∞.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    pub heads: usize,
    /// 1 to 128.
    pub head_dim: usize,
    /// Not negative.
    pub scale: f64,
    pub seqs: usize,
    /// `[seqs + 1]`, not decreasing.
    pub q_offsets: *const i32,
    pub kv_offsets: *const i32,
    pub q: Operand,
    pub k: Operand,
    pub v: Operand,
    /// F32; BF16: operands and weights rounded to it, sums in f32; or F64.
    pub compute: DType,
    pub out: Target,
    /// `[heads, q_offsets[seqs]]`: log Σ exp of the scaled scores, f32 (f64 when computing in F64).
    pub lse: *mut u8,
}

/// A matrix to be written: F32, BF16 or F64, rows `ld` elements apart.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub ptr: *mut u8,
    pub dtype: DType,
    pub ld: usize,
}

impl Target {
    #[inline(always)]
    unsafe fn at(&self, row: usize, column: usize) -> *mut u8 {
        unsafe { self.ptr.add((row * self.ld + column) * self.dtype.size()) }
    }
}

// SAFETY: pointers to memory that the caller vouches for on whichever thread it is used.
unsafe impl Send for Attention {}
unsafe impl Sync for Attention {}

impl Attention {
    /// First token and number of tokens of a sequence: of q, then of k and v.
    unsafe fn tokens(&self, seq: usize) -> [(usize, usize); 2] {
        [self.q_offsets, self.kv_offsets].map(|offsets| {
            let (from, to) = unsafe { (offsets.add(seq).read() as usize, offsets.add(seq + 1).read() as usize) };
            (from, to - from)
        })
    }

    /// Rows of the log-sum-exp's heads.
    unsafe fn total_queries(&self) -> usize {
        unsafe { self.q_offsets.add(self.seqs).read() as usize }
    }
}

#[cfg(test)]
mod tests;
