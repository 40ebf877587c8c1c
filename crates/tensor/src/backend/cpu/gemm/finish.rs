//! What happens to a finished tile on its way to C.

use super::pack::{load_as, store_as};
use super::{Epilogue, Gemm};
use crate::backend::cpu::isa::{Kernel, Simd, Vector};
use crate::backend::cpu::vmath::{Math, gelu, gelu_grad};

/// Writes a tile of sums, rows `tile_ld` apart, to rows `i0 .. i0 + rows` and columns `j0 .. j0 + columns` of C.
pub struct Finish<'a, E> {
    pub g: &'a Gemm,
    pub tile: *const E,
    pub tile_ld: usize,
    pub i0: usize,
    pub j0: usize,
    pub rows: usize,
    pub columns: usize,
}

impl<E: Math> Kernel for Finish<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let g = self.g;
        unsafe {
            match g.epilogue {
                Epilogue::None => self.rows::<S>(|v, _, _, _| v),
                Epilogue::Gelu { pre, dtype, ld } => self.rows::<S>(|v, i, j, n| {
                    store_as(v, pre.add((i * ld + j) * dtype.size()), dtype, n);
                    gelu(v)
                }),
                Epilogue::GeluGrad(pre) => {
                    self.rows::<S>(|v, i, j, n| v.mul(gelu_grad(load_as::<E::V<S>>(pre.at(i, j), pre.dtype, n))));
                }
                Epilogue::Residual(x) => self.rows::<S>(|v, i, j, n| v.add(load_as(x.at(i, j), x.dtype, n))),
            }
        }
    }
}

impl<E: Math> Finish<'_, E> {
    /// `f` takes the value, its row and column in C and how many lanes count.
    #[inline(always)]
    unsafe fn rows<S: Simd>(&self, f: impl Fn(E::V<S>, usize, usize, usize) -> E::V<S>) {
        let g = self.g;
        let lanes = E::V::<S>::LANES;
        let alpha = E::V::<S>::splat(E::from_f64(g.alpha));
        unsafe {
            let mut j = 0;
            while j < self.columns {
                let n = self.columns - j;
                let bias = match g.bias {
                    Some((bias, dtype)) => load_as(bias.add((self.j0 + j) * dtype.size()), dtype, n),
                    None => E::V::<S>::zero(),
                };
                for i in 0..self.rows {
                    let sum = E::V::<S>::load(self.tile.add(i * self.tile_ld + j));
                    let v = f(sum.mul_add(alpha, bias), self.i0 + i, self.j0 + j, n);
                    let c = g.c.add(((self.i0 + i) * g.ldc + self.j0 + j) * g.c_dtype.size());
                    let v = if g.accumulate { v.add(load_as(c, g.c_dtype, n)) } else { v };
                    store_as(v, c, g.c_dtype, n);
                }
                j += lanes;
            }
        }
    }
}
