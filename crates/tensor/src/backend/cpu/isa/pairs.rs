//! The shapes of AVX-512 with bfloat16 in plain Rust: 16 lanes, 14 rows of the register tile, products of pairs.
//!
//! For tests: how operands are rounded, paired, packed and cut into tiles is the same code as there, and machines without the
//! instructions run it too. What is left to a machine that has them are the two instructions themselves.

use super::{Kernel, Simd, portable::Array};
use crate::dtype::{bf16_to_f32, f32_to_bf16};

#[derive(Clone, Copy)]
pub struct Pairs;

/// The two bfloat16 in the bits of a lane, low half first.
fn halves(lane: f32) -> [f32; 2] {
    let bits = lane.to_bits();
    [bf16_to_f32(bits as u16), bf16_to_f32((bits >> 16) as u16)]
}

impl Simd for Pairs {
    type F32 = Array<f32, 16>;
    type F64 = Array<f64, 8>;
    const ROWS: usize = 14;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) -> K::Output {
        #[inline(never)]
        unsafe fn compiled<K: Kernel>(kernel: K) -> K::Output {
            unsafe { kernel.run::<Pairs>() }
        }
        unsafe { compiled(kernel) }
    }

    #[inline(always)]
    fn dot_bf16(a: Self::F32, b: Self::F32, acc: Self::F32) -> Self::F32 {
        Array(std::array::from_fn(|i| {
            let ([a0, a1], [b0, b1]) = (halves(a.0[i]), halves(b.0[i]));
            acc.0[i] + a1 * b1 + a0 * b0
        }))
    }

    #[inline(always)]
    fn pair_bf16(low: Self::F32, high: Self::F32) -> Self::F32 {
        Array(std::array::from_fn(|i| {
            f32::from_bits(u32::from(f32_to_bf16(low.0[i])) | u32::from(f32_to_bf16(high.0[i])) << 16)
        }))
    }
}
