//! Conversions between element types, and constants. x and y may be the same memory where their elements are of one size.

use super::{
    element::{Bf16, Float, Input, Output, Real, bytes, output_bytes, with_real},
    parallel::{TASK, TILE, for_blocks, tiles},
};
use crate::{
    dtype::{DType, f32_to_bf16},
    error::Result,
    tensor::Tensor,
};

/// Widest type that every element of a tensor fits in: floats pass through f64, integers through i64.
trait Element: Copy + Send + Sync + 'static {
    fn to_float(self) -> f64;
    fn to_integer(self) -> i64;
    fn of_float(x: f64) -> Self;
    fn of_integer(x: i64) -> Self;
    const INTEGER: bool;
}

macro_rules! element {
    ($t:ty, $integer:literal) => {
        impl Element for $t {
            const INTEGER: bool = $integer;
            #[inline(always)]
            fn to_float(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn to_integer(self) -> i64 {
                self as i64
            }
            #[inline(always)]
            fn of_float(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn of_integer(x: i64) -> Self {
                x as $t
            }
        }
    };
}
element!(f32, false);
element!(f64, false);
element!(i32, true);
element!(i64, true);
element!(u8, true);

impl Element for Bf16 {
    const INTEGER: bool = false;
    #[inline(always)]
    fn to_float(self) -> f64 {
        self.widen()
    }
    #[inline(always)]
    fn to_integer(self) -> i64 {
        self.widen::<f32>() as i64
    }
    #[inline(always)]
    fn of_float(x: f64) -> Self {
        Bf16(f32_to_bf16(round_to_odd(x)))
    }
    #[inline(always)]
    fn of_integer(x: i64) -> Self {
        Self::of_float(x as f64)
    }
}

/// An f64 cut to f32 so that rounding it once more gives what rounding once would have given: inexact results get an odd last bit.
#[inline(always)]
fn round_to_odd(x: f64) -> f32 {
    let y = x as f32;
    let back = f64::from(y);
    if back == x || y.is_nan() || y.is_infinite() {
        return y;
    }
    // Towards zero, then the last bit is set.
    let bits = if back.abs() > x.abs() { y.to_bits() - 1 } else { y.to_bits() };
    f32::from_bits(bits | 1)
}

macro_rules! with_element {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::BF16 => {
                type $T = Bf16;
                $body
            }
            DType::F64 => {
                type $T = f64;
                $body
            }
            DType::I32 => {
                type $T = i32;
                $body
            }
            DType::I64 => {
                type $T = i64;
                $body
            }
            DType::U8 => {
                type $T = u8;
                $body
            }
        }
    };
}

pub fn cast(x: &Tensor, y: &Tensor) -> Result<()> {
    if x.dtype == y.dtype {
        return copy(x, y);
    }
    if x.dtype.is_float() && y.dtype.is_float() && x.dtype != DType::F64 {
        let (x, y) = (Input::new(x)?, Output::new(y)?);
        with_real!(x.dtype, A => floats::<A>(x, y));
        return Ok(());
    }
    let n = x.len();
    let (from, to) = (Pointer(bytes(x)?.as_ptr().cast_mut()), Pointer(output_bytes(y)?));
    with_element!(x.dtype, S => with_element!(y.dtype, D => convert::<S, D>(from, to, n)));
    Ok(())
}

/// The common case, in f32 and without a detour.
fn floats<A: Real>(x: Input, y: Output) {
    for_blocks(
        x.len,
        TASK,
        #[inline(always)]
        |block| {
            let mut tile = [A::ZERO; TILE];
            for range in tiles(block) {
                let part = &mut tile[..range.len()];
                x.load(range.start, part);
                y.store(range.start, part);
            }
        },
    );
}

#[derive(Clone, Copy)]
struct Pointer(*mut u8);
// Tasks touch disjoint parts.
unsafe impl Send for Pointer {}
unsafe impl Sync for Pointer {}

impl Pointer {
    #[inline(always)]
    fn at<T>(&self, i: usize) -> *mut T {
        self.0.cast::<T>().wrapping_add(i)
    }
}

fn convert<S: Element, D: Element>(from: Pointer, to: Pointer, n: usize) {
    for_blocks(
        n,
        TASK,
        #[inline(always)]
        |block| {
            for i in block {
                // In bounds: x and y have n elements each. Read before written, so they may share memory.
                unsafe {
                    let x = from.at::<S>(i).read();
                    let y = if S::INTEGER && D::INTEGER {
                        D::of_integer(x.to_integer())
                    } else {
                        D::of_float(x.to_float())
                    };
                    to.at::<D>(i).write(y);
                }
            }
        },
    );
}

/// The same bytes.
pub fn copy(x: &Tensor, y: &Tensor) -> Result<()> {
    let n = x.bytes();
    let (from, to) = (Pointer(bytes(x)?.as_ptr().cast_mut()), Pointer(output_bytes(y)?));
    if from.0 == to.0 {
        return Ok(());
    }
    const BLOCK: usize = 1 << 20;
    super::pool::parallel_for(n.div_ceil(BLOCK), |i| {
        let start = i * BLOCK;
        // In bounds, and distinct tensors do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(from.at::<u8>(start), to.at::<u8>(start), BLOCK.min(n - start)) };
    });
    Ok(())
}

/// Every element becomes `value`, converted as a cast from f64 would.
pub fn fill(y: &Tensor, value: f64) -> Result<()> {
    let n = y.len();
    let to = Pointer(output_bytes(y)?);
    with_element!(y.dtype, D => {
        let value = D::of_float(value);
        for_blocks(n, TASK, #[inline(always)] |block| {
            // In bounds, and no other task's.
            unsafe { std::slice::from_raw_parts_mut(to.at::<D>(block.start), block.len()) }.fill(value);
        });
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::testing::{
        FLOATS, SIZES, assert_close, assert_same_on_threads, bits, random, run, tensor, to_vec,
    };

    #[test]
    fn every_pair_of_types() {
        let values = [0.0, 1.0, 2.5, 7.75, 100.0, 200.0];
        for from in DType::ALL {
            let x = tensor(&[6], &values, from);
            for to in DType::ALL {
                let expected: Vec<f64> =
                    to_vec(&x).iter().map(|v| if to.is_float() { *v } else { v.trunc() }).collect();
                assert_eq!(to_vec(&run(&[6], to, |b, y| b.cast(&x, y))), expected, "{from} to {to}");
            }
        }
    }

    #[test]
    fn sizes_and_threads() {
        for n in SIZES {
            for from in FLOATS {
                let x = random(&[n], 1, from);
                for to in FLOATS {
                    assert_close(&run(&[n], to, |b, y| b.cast(&x, y)), &to_vec(&x), 0.5);
                }
            }
            let x = random(&[n], 2, DType::F32);
            assert_same_on_threads(|| vec![run(&[n], DType::BF16, |b, y| b.cast(&x, y))]);
        }
    }

    #[test]
    fn bf16_is_rounded_once() {
        // Just above the middle of two bfloat16, by less than f32 can tell.
        let x = tensor(&[2], &[1.0 + 2f64.powi(-8) + 2f64.powi(-40), 1.0 + 2f64.powi(-8) - 2f64.powi(-40)], DType::F64);
        assert_eq!(to_vec(&run(&[2], DType::BF16, |b, y| b.cast(&x, y))), [1.0 + 2f64.powi(-7), 1.0]);
        let nan = tensor(&[3], &[f64::NAN, f64::INFINITY, 1e300], DType::F64);
        let y = to_vec(&run(&[3], DType::BF16, |b, y| b.cast(&nan, y)));
        assert!(y[0].is_nan() && y[1] == f64::INFINITY && y[2] == f64::INFINITY);
    }

    #[test]
    fn integers_keep_their_bits() {
        let bytes: Vec<u8> = [i64::MAX, i64::MIN, 1 << 40, -1].iter().flat_map(|v| v.to_le_bytes()).collect();
        let x = Tensor::from_bytes(&crate::op::testing::cpu(), &[4], DType::I64, bytes).unwrap();
        assert_eq!(to_vec(&run(&[4], DType::I32, |b, y| b.cast(&x, y))), [-1.0, 0.0, 0.0, -1.0]);
    }

    #[test]
    fn in_place_and_copies() {
        let x = random(&[3000], 3, DType::F32);
        let expected: Vec<f64> = to_vec(&x).iter().map(|v| v.trunc()).collect();
        let same = Tensor { dtype: DType::I32, ..x.clone() };
        run(&[1], DType::F32, |b, _| b.cast(&x, &same));
        assert_eq!(to_vec(&same), expected);
        let large = random(&[1 << 19], 4, DType::F64);
        assert!(bits(&run(&[1 << 19], DType::F64, |b, y| b.cast(&large, y))) == bits(&large));
    }

    #[test]
    fn fills() {
        for dtype in DType::ALL {
            for n in [0, 1, 70_001] {
                let y = run(&[n], dtype, |b, y| b.fill(y, 3.0));
                assert!(to_vec(&y).iter().all(|&v| v == 3.0));
            }
        }
    }
}
