//! What the forward and the backward pass share: their tile sizes and products.

use crate::backend::cpu::gemm::Operand;
use crate::backend::cpu::gemm::micro::{Columns, Multiply, Product, Rows, multiply};
use crate::backend::cpu::isa::{Float, Simd, Vector, prefetch};

/// Units between rows of packed K and V, and of the weights in the backward pass; also the most queries of a block there.
pub const STRIDE: usize = 128;
/// Queries of a block of the backward pass.
pub const QUERIES: usize = STRIDE;

/// Keys of a block: whole register tiles, an even number, whose scores against a panel of queries fit the first-level cache.
pub const fn block_keys<S: Simd>() -> usize {
    112 / S::ROWS * S::ROWS
}

/// Queries of a panel: two vectors.
pub const fn panel_width<S: Simd, P: Product>() -> usize {
    2 * <<P::E as Float>::V<S> as Vector>::LANES
}

/// Vectors that `queries` queries of a panel take, 1 or 2.
pub const fn vectors<S: Simd, P: Product>(queries: usize) -> usize {
    if queries > <<P::E as Float>::V<S> as Vector>::LANES { 2 } else { 1 }
}

/// How `total` rows are cut into register tiles of nearly equal height: first row and height of tile `i`.
#[inline(always)]
pub fn row_tile(total: usize, tiles: usize, i: usize) -> (usize, usize) {
    let (base, more) = (total / tiles, total % tiles);
    (i * base + i.min(more), base + usize::from(i < more))
}

/// Asks for one head's part of some rows.
#[inline(always)]
pub unsafe fn prefetch_rows(matrices: &[Operand], first: usize, count: usize, column: usize, head_dim: usize) {
    for matrix in matrices {
        for row in first..first + count {
            prefetch(unsafe { matrix.at(row, column) }, head_dim * matrix.dtype.size());
        }
    }
}

/// `tile[i][j] (+)= Σ_k a[i·STRIDE + k] · b[k][j]` for the rows of one register tile.
#[inline(always)]
pub unsafe fn rows_times<S: Simd, P: Product>(rows: usize, vectors: usize, x: &Multiply<P::E>) {
    unsafe {
        if vectors == 2 {
            multiply::<S, P, Rows<STRIDE>, 2>(rows, x);
        } else {
            multiply::<S, P, Rows<STRIDE>, 1>(rows, x);
        }
    }
}

/// `tile[i][j] (+)= Σ_k a[k][i] · b[k][j]` for `rows` rows, any number.
#[inline(always)]
pub unsafe fn columns_times<S: Simd, P: Product>(rows: usize, vectors: usize, x: &Multiply<P::E>) {
    let tiles = rows.div_ceil(S::ROWS);
    for i in 0..tiles {
        let (first, count) = row_tile(rows, tiles, i);
        unsafe {
            let x = Multiply { a: x.a.add(first), tile: x.tile.add(first * x.tile_ld), ..*x };
            if vectors == 2 {
                multiply::<S, P, Columns, 2>(count, &x);
            } else {
                multiply::<S, P, Columns, 1>(count, &x);
            }
        }
    }
}

/// Writes two rows of numbers as one row of units (`DotBf16`), or each as its own.
#[inline(always)]
pub unsafe fn store_units<S: Simd, P: Product>(
    first: <P::E as Float>::V<S>,
    second: <P::E as Float>::V<S>,
    dst: *mut P::E,
    ld: usize,
    has_second: bool,
) {
    unsafe {
        if P::PAIR == 2 {
            S::pair_bf16(to_f32::<S, P>(first), to_f32::<S, P>(second)).store(dst.cast());
        } else {
            rounded::<S, P>(first).store(dst);
            if has_second {
                rounded::<S, P>(second).store(dst.add(ld));
            }
        }
    }
}

/// Rounded to bfloat16 where the product works with such numbers one by one.
#[inline(always)]
pub fn rounded<S: Simd, P: Product>(v: <P::E as Float>::V<S>) -> <P::E as Float>::V<S> {
    if P::BF16 && P::PAIR == 1 { v.round_bf16() } else { v }
}

/// The f32 vector that a `DotBf16` product's vector is.
#[inline(always)]
fn to_f32<S: Simd, P: Product>(v: <P::E as Float>::V<S>) -> S::F32 {
    const { assert!(P::PAIR == 1 || size_of::<P::E>() == 4) };
    // SAFETY: with pairs P::E is f32, so this is S::F32.
    unsafe { std::mem::transmute_copy(&v) }
}
