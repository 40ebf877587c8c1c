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
        let lanes = E::V::<S>::LANES;
        let alpha = E::V::<S>::splat(E::from_f64(g.alpha));
        unsafe {
            for j in (0..self.columns).step_by(lanes) {
                let n = self.columns - j;
                let bias = match g.bias {
                    Some((bias, dtype)) => load_as(bias.add((self.j0 + j) * dtype.size()), dtype, n),
                    None => E::V::<S>::zero(),
                };
                for i in 0..self.rows {
                    let sum = E::V::<S>::load(self.tile.add(i * self.tile_ld + j));
                    let v = epilogue::<S, E>(&g.epilogue, sum.mul_add(alpha, bias), self.i0 + i, self.j0 + j, n);
                    let c = g.c.add(((self.i0 + i) * g.ldc + self.j0 + j) * g.c_dtype.size());
                    let v = if g.accumulate { v.add(load_as(c, g.c_dtype, n)) } else { v };
                    store_as(v, c, g.c_dtype, n);
                }
            }
        }
    }
}

/// The epilogue of `n` values from row `i`, column `j` of C.
#[inline(always)]
unsafe fn epilogue<S: Simd, E: Math>(which: &Epilogue, v: E::V<S>, i: usize, j: usize, n: usize) -> E::V<S> {
    unsafe {
        match *which {
            Epilogue::None => v,
            Epilogue::Gelu { pre, dtype, ld } => {
                store_as(v, pre.add((i * ld + j) * dtype.size()), dtype, n);
                gelu(v)
            }
            Epilogue::GeluGrad(pre) => v.mul(gelu_grad(load_as::<E::V<S>>(pre.at(i, j), pre.dtype, n))),
            Epilogue::Residual(x) => v.add(load_as(x.at(i, j), x.dtype, n)),
        }
    }
}
