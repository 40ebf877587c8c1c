//! The register tile: a few rows of A times two vectors of columns of B, kept in registers over all of k.

use crate::backend::cpu::isa::{Float, Kernel, Simd, Vector};
use std::marker::PhantomData;

/// How two numbers are multiplied and added. Operands come in units of k: one number, or a pair of bfloat16 in the bits of an f32.
pub trait Product: Copy + Send + Sync + 'static {
    type E: Float;
    /// The same element type without bfloat16.
    type Plain: Product<E = Self::E>;
    /// Numbers in a unit.
    const PAIR: usize;
    /// Whether operands are rounded to bfloat16 (and, if not in pairs, widened again).
    const BF16: bool;

    fn mul_add<S: Simd>(
        a: <Self::E as Float>::V<S>,
        b: <Self::E as Float>::V<S>,
        c: <Self::E as Float>::V<S>,
    ) -> <Self::E as Float>::V<S>;
}

macro_rules! product {
    ($(#[$doc:meta])* $name:ident, $plain:ident, $e:ty, $pair:literal, $bf16:literal, $s:ident, |$a:ident, $b:ident, $c:ident| $f:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name;
        impl Product for $name {
            type E = $e;
            type Plain = $plain;
            const PAIR: usize = $pair;
            const BF16: bool = $bf16;
            #[inline(always)]
            fn mul_add<$s: Simd>(
                $a: <$e as Float>::V<$s>,
                $b: <$e as Float>::V<$s>,
                $c: <$e as Float>::V<$s>,
            ) -> <$e as Float>::V<$s> {
                $f
            }
        }
    };
}

product!(
    /// f32 by f32.
    F32, F32, f32, 1, false, S, |a, b, c| a.mul_add(b, c)
);
product!(
    /// f64 by f64.
    F64, F64, f64, 1, false, S, |a, b, c| a.mul_add(b, c)
);
product!(
    /// Numbers rounded to bfloat16, multiplied as f32: for machines without the dot product.
    RoundedBf16, F32, f32, 1, true, S, |a, b, c| a.mul_add(b, c)
);
product!(
    /// Pairs of bfloat16.
    DotBf16, F32, f32, 2, true, S, |a, b, c| S::dot_bf16(a, b, c)
);

/// How the unit of A in tile row `i` at step `k` is found: `a[i·ROW + k·step]`.
pub trait RowStride: Copy + Send + Sync + 'static {
    const ROW: usize;
}

/// Rows side by side: `a[k][i]`.
#[derive(Clone, Copy)]
pub struct Columns;
impl RowStride for Columns {
    const ROW: usize = 1;
}

/// Rows one after another, a constant `N` units apart: constant distances need no registers.
#[derive(Clone, Copy)]
pub struct Rows<const N: usize>;
impl<const N: usize> RowStride for Rows<N> {
    const ROW: usize = N;
}

/// `tile[i][j] (+)= Σ_k a[i·ROW + k·a_step] · b[k·b_step + j]`, i below `ROWS`, j below `VECTORS` vectors.
struct Tile<P: Product, A, const ROWS: usize, const VECTORS: usize> {
    k: usize,
    a: *const P::E,
    a_step: usize,
    b: *const P::E,
    b_step: usize,
    tile: *mut P::E,
    tile_ld: usize,
    /// Start from what the tile holds.
    resume: bool,
    layout: PhantomData<A>,
}

impl<P: Product, A: RowStride, const ROWS: usize, const VECTORS: usize> Kernel for Tile<P, A, ROWS, VECTORS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            let lanes = <P::E as Float>::V::<S>::LANES;
            let mut acc = [[<P::E as Float>::V::<S>::zero(); VECTORS]; ROWS];
            if self.resume {
                for (i, row) in acc.iter_mut().enumerate() {
                    for (v, x) in row.iter_mut().enumerate() {
                        *x = <P::E as Float>::V::<S>::load(self.tile.add(i * self.tile_ld + v * lanes));
                    }
                }
            }
            let (mut a, mut b) = (self.a, self.b);
            for _ in 0..self.k {
                let mut bv = [<P::E as Float>::V::<S>::zero(); VECTORS];
                for (v, x) in bv.iter_mut().enumerate() {
                    *x = <P::E as Float>::V::<S>::load(b.add(v * lanes));
                }
                for (i, row) in acc.iter_mut().enumerate() {
                    let av = <P::E as Float>::V::<S>::splat(*a.add(i * A::ROW));
                    for (x, bv) in row.iter_mut().zip(bv) {
                        *x = P::mul_add::<S>(av, bv, *x);
                    }
                }
                a = a.add(self.a_step);
                b = b.add(self.b_step);
            }
            for (i, row) in acc.iter().enumerate() {
                for (v, x) in row.iter().enumerate() {
                    x.store(self.tile.add(i * self.tile_ld + v * lanes));
                }
            }
        }
    }
}

/// Operands of [`multiply`].
pub struct Multiply<E> {
    pub k: usize,
    pub a: *const E,
    pub a_step: usize,
    pub b: *const E,
    pub b_step: usize,
    pub tile: *mut E,
    pub tile_ld: usize,
    pub resume: bool,
}

/// `tile[i][j] (+)= Σ_k a(i,k) · b[k·b_step + j]` for `rows ≤ S::ROWS` and `VECTORS` whole vectors of columns.
///
/// # Safety
/// The operands hold what the strides reach.
#[inline(always)]
pub unsafe fn multiply<S: Simd, P: Product, A: RowStride, const VECTORS: usize>(rows: usize, x: &Multiply<P::E>) {
    macro_rules! arms {
        ($($rows:literal)*) => {
            match rows {
                $($rows if $rows <= S::ROWS => unsafe {
                    S::call(Tile::<P, A, $rows, VECTORS> {
                        k: x.k,
                        a: x.a,
                        a_step: x.a_step,
                        b: x.b,
                        b_step: x.b_step,
                        tile: x.tile,
                        tile_ld: x.tile_ld,
                        resume: x.resume,
                        layout: PhantomData,
                    })
                },)*
                _ => unreachable!("a register tile has 1 to ROWS rows"),
            }
        };
    }
    arms!(14 13 12 11 10 9 8 7 6 5 4 3 2 1)
}
