//! Sum over rows: the gradient of a bias.

use super::Operand;
use super::pack::{load_as, store_as};
use crate::backend::cpu::isa::{Float, Isa, Kernel, Simd, Vector};
use crate::backend::cpu::pool::parallel_for;
use crate::backend::cpu::scratch::Scratch;
use crate::dtype::DType;

/// `out[n] (+)= Σ_m a[m,n]`, in f32, or f64 when `out` is F64.
#[derive(Clone, Copy, Debug)]
pub struct ColumnSum {
    pub m: usize,
    pub n: usize,
    pub a: Operand,
    /// F32, BF16 or F64.
    pub out: *mut u8,
    pub out_dtype: DType,
    /// Add to what `out` holds.
    pub accumulate: bool,
}

// SAFETY: as for `Gemm`.
unsafe impl Send for ColumnSum {}
unsafe impl Sync for ColumnSum {}

/// Rows that are summed one after another; the sums of such blocks are then added in order.
const BLOCK: usize = 64;

/// Sums columns on the pool; the order depends on the shape only.
///
/// # Safety
/// `a` holds `m` rows of `n` numbers, `out` `n`.
pub unsafe fn column_sum(isa: Isa, x: &ColumnSum) {
    if x.out_dtype == DType::F64 {
        isa.run(Run::<f64>(x, std::marker::PhantomData));
    } else {
        isa.run(Run::<f32>(x, std::marker::PhantomData));
    }
}

struct Run<'a, E>(&'a ColumnSum, std::marker::PhantomData<E>);

impl<E: Float> Kernel for Run<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let x = self.0;
        let blocks = x.m.div_ceil(BLOCK);
        let partial = Scratch::take::<E>(blocks * x.n);
        let address = partial.ptr::<E>() as usize;
        // Few blocks a task when there is little to do, one otherwise.
        let group = (32768 / (BLOCK * x.n).max(1)).max(1);
        parallel_for(blocks.div_ceil(group), |t| unsafe {
            for b in t * group..((t + 1) * group).min(blocks) {
                let (first, end) = (b * BLOCK, x.m.min((b + 1) * BLOCK));
                S::call(Rows { x, first, count: end - first, out: (address as *mut E).add(b * x.n) });
            }
        });
        unsafe { S::call(Total { x, partial: partial.ptr::<E>().cast_const(), blocks }) };
    }
}

/// Sums of `count` rows from `first`.
struct Rows<'a, E> {
    x: &'a ColumnSum,
    first: usize,
    count: usize,
    out: *mut E,
}

impl<E: Float> Kernel for Rows<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Rows { x, first, count, out } = self;
        let lanes = E::V::<S>::LANES;
        unsafe {
            let mut j = 0;
            // Four vectors side by side hide the latency of adding.
            while j + 4 * lanes <= x.n {
                let mut sum = [E::V::<S>::zero(); 4];
                for i in 0..count {
                    for (v, sum) in sum.iter_mut().enumerate() {
                        *sum = sum.add(load_as(x.a.at(first + i, j + v * lanes), x.a.dtype, lanes));
                    }
                }
                for (v, sum) in sum.iter().enumerate() {
                    sum.store(out.add(j + v * lanes));
                }
                j += 4 * lanes;
            }
            while j < x.n {
                let mut sum = E::V::<S>::zero();
                for i in 0..count {
                    sum = sum.add(load_as(x.a.at(first + i, j), x.a.dtype, x.n - j));
                }
                sum.store_part(out.add(j), x.n - j);
                j += lanes;
            }
        }
    }
}

struct Total<'a, E> {
    x: &'a ColumnSum,
    partial: *const E,
    blocks: usize,
}

impl<E: Float> Kernel for Total<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let x = self.x;
        let mut j = 0;
        while j < x.n {
            unsafe {
                let out = x.out.add(j * x.out_dtype.size());
                let mut sum = E::V::<S>::zero();
                for b in 0..self.blocks {
                    sum = sum.add(E::V::<S>::load_part(self.partial.add(b * x.n + j), x.n - j));
                }
                if x.accumulate {
                    sum = sum.add(load_as(out, x.out_dtype, x.n - j));
                }
                store_as(sum, out, x.out_dtype, x.n - j);
            }
            j += E::V::<S>::LANES;
        }
    }
}
