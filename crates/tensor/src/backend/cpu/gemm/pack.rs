//! Copying operands into the order the register tile reads them in, converted to the type it multiplies.

use super::micro::Product;
use crate::backend::cpu::isa::{Float, Kernel, Simd, Vector, prefetch};
use crate::dtype::DType;
use std::marker::PhantomData;

/// Loads up to `n` numbers of any float type.
#[inline(always)]
pub unsafe fn load_as<V: Vector>(p: *const u8, dtype: DType, n: usize) -> V {
    unsafe {
        if dtype == V::Elem::DTYPE {
            return if n >= V::LANES { V::load(p.cast()) } else { V::load_part(p.cast(), n) };
        }
        if dtype == DType::BF16 {
            return V::load_bf16(p.cast(), n);
        }
        let mut lanes = [V::Elem::ZERO; crate::backend::cpu::isa::MAX_LANES];
        for (i, lane) in lanes.iter_mut().enumerate().take(n.min(V::LANES)) {
            *lane = match dtype {
                DType::F32 => V::Elem::from_f64(f64::from(p.cast::<f32>().add(i).read_unaligned())),
                _ => V::Elem::from_f64(p.cast::<f64>().add(i).read_unaligned()),
            };
        }
        V::load(lanes.as_ptr())
    }
}

/// Stores up to `n` numbers as any float type.
#[inline(always)]
pub unsafe fn store_as<V: Vector>(v: V, p: *mut u8, dtype: DType, n: usize) {
    unsafe {
        if dtype == V::Elem::DTYPE {
            return if n >= V::LANES { v.store(p.cast()) } else { v.store_part(p.cast(), n) };
        }
        if dtype == DType::BF16 {
            return v.store_bf16(p.cast(), n);
        }
        let mut lanes = [V::Elem::ZERO; crate::backend::cpu::isa::MAX_LANES];
        v.store(lanes.as_mut_ptr());
        for (i, lane) in lanes.iter().enumerate().take(n.min(V::LANES)) {
            match dtype {
                DType::F32 => p.cast::<f32>().add(i).write_unaligned(lane.to_f64() as f32),
                _ => p.cast::<f64>().add(i).write_unaligned(lane.to_f64()),
            }
        }
    }
}

/// Loads as the product multiplies: rounded to bfloat16 if it does, never in pairs.
#[inline(always)]
unsafe fn load_rounded<S: Simd, P: Product>(p: *const u8, dtype: DType, n: usize) -> <P::E as Float>::V<S> {
    let v = unsafe { load_as::<<P::E as Float>::V<S>>(p, dtype, n) };
    if P::BF16 && dtype != DType::BF16 { v.round_bf16() } else { v }
}

/// Units that `k` numbers make.
pub const fn units<P: Product>(k: usize) -> usize {
    k.div_ceil(P::PAIR)
}

/// One run of `k` numbers to units, the last pair filled up with zero.
#[inline(always)]
unsafe fn convert_run<S: Simd, P: Product>(src: *const u8, dtype: DType, k: usize, dst: *mut P::E) {
    let lanes = <P::E as Float>::V::<S>::LANES;
    unsafe {
        if P::PAIR == 1 {
            let mut i = 0;
            while i < k {
                let v = load_rounded::<S, P>(src.add(i * dtype.size()), dtype, k - i);
                if i + lanes <= k {
                    v.store(dst.add(i))
                } else {
                    v.store_part(dst.add(i), k - i)
                }
                i += lanes;
            }
        } else {
            if dtype == DType::BF16 {
                // Pairs as they are. Runs are short: calls of memcpy would cost more than the copying.
                for i in (0..k / 2).step_by(lanes) {
                    let left = k / 2 - i;
                    <P::E as Float>::V::<S>::load_part(src.cast::<P::E>().add(i), left).store_part(dst.add(i), left);
                }
                if k % 2 == 1 {
                    dst.cast::<u16>().add(k - 1).write(src.cast::<u16>().add(k - 1).read_unaligned());
                }
            }
            let dst = dst.cast::<u16>();
            if dtype != DType::BF16 {
                let mut i = 0;
                while i < k {
                    load_as::<<P::E as Float>::V<S>>(src.add(i * dtype.size()), dtype, k - i)
                        .store_bf16(dst.add(i), k - i);
                    i += lanes;
                }
            }
            if k % 2 == 1 {
                dst.add(k).write(0);
            }
        }
    }
}

/// Rows of k numbers each, `row_bytes` apart, to rows of units `dst_ld` apart.
pub struct PackRows<P: Product> {
    pub src: *const u8,
    pub dtype: DType,
    pub row_bytes: usize,
    pub rows: usize,
    pub k: usize,
    pub dst: *mut P::E,
    pub dst_ld: usize,
}

impl<P: Product> Kernel for PackRows<P> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for i in 0..self.rows {
            unsafe {
                convert_run::<S, P>(self.src.add(i * self.row_bytes), self.dtype, self.k, self.dst.add(i * self.dst_ld))
            };
        }
    }
}

/// Rows as in [`PackRows`], turned: unit `u` of row `i` goes to `dst[u·width + i]`, rows up to `width` (whole vectors) become zero.
pub struct PackTurned<P: Product> {
    pub src: *const u8,
    pub dtype: DType,
    pub row_bytes: usize,
    pub rows: usize,
    pub k: usize,
    pub dst: *mut P::E,
    pub width: usize,
}

/// Units that are converted at a time before they are turned.
const TURN: usize = 64;

impl<P: Product> Kernel for PackTurned<P> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let lanes = <P::E as Float>::V::<S>::LANES;
        let native = if P::BF16 { DType::BF16 } else { P::E::DTYPE };
        let direct = self.dtype == native && (P::PAIR == 2 || !P::BF16);
        let size = self.dtype.size();
        let mut staged = [P::E::ZERO; crate::backend::cpu::isa::MAX_LANES * TURN];
        unsafe {
            let mut i = 0;
            while i < self.width {
                let rows = self.rows.saturating_sub(i).min(lanes);
                let src = self.src.add(i * self.row_bytes);
                let mut u = 0;
                while u * P::PAIR < self.k {
                    let left = self.k - u * P::PAIR; // numbers
                    let dst = self.dst.add(u * self.width + i);
                    if direct && rows == lanes && left >= lanes * P::PAIR {
                        <P::E as Float>::V::<S>::transpose(
                            src.add(u * P::PAIR * size).cast(),
                            self.row_bytes,
                            dst,
                            self.width,
                        );
                        u += lanes;
                        continue;
                    }
                    let count = left.min(TURN * P::PAIR);
                    for r in 0..rows {
                        let from = src.add(r * self.row_bytes + u * P::PAIR * size);
                        convert_run::<S, P>(from, self.dtype, count, staged.as_mut_ptr().add(r * TURN));
                    }
                    for r in rows..lanes {
                        staged[r * TURN..(r + 1) * TURN].fill(P::E::ZERO);
                    }
                    let count = units::<P>(count);
                    let whole = count / lanes * lanes;
                    for c in (0..whole).step_by(lanes) {
                        let from = staged.as_ptr().add(c);
                        <P::E as Float>::V::<S>::transpose(
                            from,
                            TURN * size_of::<P::E>(),
                            dst.add(c * self.width),
                            self.width,
                        );
                    }
                    for c in whole..count {
                        for r in 0..lanes {
                            dst.add(c * self.width + r).write(staged[r * TURN + c]);
                        }
                    }
                    u += count;
                }
                i += lanes;
            }
        }
    }
}

/// k rows of `columns` numbers each, `row_bytes` apart: units of rows go to `dst[u·width ..]`, columns up to `width` (whole vectors)
/// become zero.
pub struct PackColumns<P: Product> {
    pub src: *const u8,
    pub dtype: DType,
    pub row_bytes: usize,
    pub columns: usize,
    pub k: usize,
    pub dst: *mut P::E,
    pub width: usize,
    pub product: PhantomData<P>,
}

impl<P: Product> Kernel for PackColumns<P> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let lanes = <P::E as Float>::V::<S>::LANES;
        let size = self.dtype.size();
        unsafe {
            for u in 0..units::<P>(self.k) {
                let src = self.src.add(u * P::PAIR * self.row_bytes);
                let dst = self.dst.add(u * self.width);
                let mut j = 0;
                while j < self.width {
                    let n = self.columns.saturating_sub(j);
                    let last = u * P::PAIR + 1 == self.k;
                    vector_of_units::<S, P>(
                        src.wrapping_add(j * size),
                        self.dtype,
                        self.row_bytes,
                        last,
                        n,
                        dst.add(j),
                    );
                    j += lanes;
                }
            }
        }
    }
}

/// Rows between the one that is copied and the one that is asked for.
const AHEAD: usize = 8;

/// k rows of `columns` numbers each, `row_bytes` apart, cut into panels of `height` columns: units of a row go to
/// `dst[p·panel + u·height ..]`. Whole vectors are written, so a panel needs room for one more behind its last row.
pub struct PackPanels<P: Product> {
    pub src: *const u8,
    pub dtype: DType,
    pub row_bytes: usize,
    pub columns: usize,
    pub k: usize,
    pub dst: *mut P::E,
    /// Units from one panel to the next.
    pub panel: usize,
    pub height: usize,
}

impl<P: Product> Kernel for PackPanels<P> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let lanes = <P::E as Float>::V::<S>::LANES;
        let size = self.dtype.size();
        unsafe {
            for u in 0..units::<P>(self.k) {
                let src = self.src.add(u * P::PAIR * self.row_bytes);
                // Rows lie far apart, on pages of their own: nobody else sees them coming.
                prefetch(src.wrapping_add(AHEAD * self.row_bytes), self.columns * size);
                for first in (0..self.columns).step_by(self.height) {
                    let dst = self.dst.add(first / self.height * self.panel + u * self.height);
                    // What a vector holds beyond the panel is overwritten by the next row.
                    for j in (0..self.height).step_by(lanes) {
                        let (src, n) = (src.wrapping_add((first + j) * size), self.columns.saturating_sub(first + j));
                        let last = u * P::PAIR + 1 == self.k;
                        vector_of_units::<S, P>(src, self.dtype, self.row_bytes, last, n, dst.add(j));
                    }
                }
            }
        }
    }
}

/// A vector of units from up to `n` numbers of a row, or where units are pairs of it and the next, unless it is the last.
#[inline(always)]
unsafe fn vector_of_units<S: Simd, P: Product>(
    src: *const u8,
    dtype: DType,
    row_bytes: usize,
    last: bool,
    n: usize,
    dst: *mut P::E,
) {
    unsafe {
        if P::PAIR == 1 {
            load_rounded::<S, P>(src, dtype, n).store(dst);
        } else {
            pair_rows::<S, P>(src, dtype, row_bytes, !last, n, dst);
        }
    }
}

/// Interleaves up to a vector of two rows (the second may be missing) as pairs of bfloat16.
#[inline(always)]
unsafe fn pair_rows<S: Simd, P: Product>(
    src: *const u8,
    dtype: DType,
    row_bytes: usize,
    second: bool,
    n: usize,
    dst: *mut P::E,
) {
    unsafe {
        let low = load_as::<S::F32>(src, dtype, n);
        let high = if second { load_as(src.wrapping_add(row_bytes), dtype, n) } else { S::F32::zero() };
        S::pair_bf16(low, high).store(dst.cast());
    }
}
