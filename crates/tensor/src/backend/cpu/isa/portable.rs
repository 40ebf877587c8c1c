//! Plain Rust, in vectors of 128 bits that any compiler target can map to registers.

use super::{Kernel, Simd, Vector};

#[derive(Clone, Copy)]
pub struct Portable;

impl Simd for Portable {
    type F32 = Array<f32, 4>;
    type F64 = Array<f64, 2>;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) -> K::Output {
        #[inline(never)]
        unsafe fn compiled<K: Kernel>(kernel: K) -> K::Output {
            unsafe { kernel.run::<Portable>() }
        }
        unsafe { compiled(kernel) }
    }
}

#[derive(Clone, Copy)]
pub struct Array<T, const N: usize>(pub [T; N]);

macro_rules! array {
    ($t:ty, $bits:ty, $n:literal, $mantissa:literal, $bias:literal, $magic:literal) => {
        impl Array<$t, $n> {
            #[inline(always)]
            fn zip(self, o: Self, f: impl Fn($t, $t) -> $t) -> Self {
                Array(std::array::from_fn(|i| f(self.0[i], o.0[i])))
            }
        }

        impl Vector for Array<$t, $n> {
            type Elem = $t;
            const LANES: usize = $n;

            #[inline(always)]
            fn splat(x: $t) -> Self {
                Array([x; $n])
            }
            #[inline(always)]
            unsafe fn load(p: *const $t) -> Self {
                Array(unsafe { p.cast::<[$t; $n]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t) {
                unsafe { p.cast::<[$t; $n]>().write_unaligned(self.0) }
            }
            #[inline(always)]
            unsafe fn load_part(p: *const $t, n: usize) -> Self {
                if n >= $n {
                    return unsafe { Self::load(p) };
                }
                Array(std::array::from_fn(|i| if i < n { unsafe { p.add(i).read_unaligned() } } else { 0.0 }))
            }
            #[inline(always)]
            unsafe fn store_part(self, p: *mut $t, n: usize) {
                if n >= $n {
                    return unsafe { self.store(p) };
                }
                for (i, x) in self.0.iter().enumerate().take(n) {
                    unsafe { p.add(i).write_unaligned(*x) };
                }
            }
            #[inline(always)]
            fn add(self, o: Self) -> Self {
                self.zip(o, |a, b| a + b)
            }
            #[inline(always)]
            fn sub(self, o: Self) -> Self {
                self.zip(o, |a, b| a - b)
            }
            #[inline(always)]
            fn mul(self, o: Self) -> Self {
                self.zip(o, |a, b| a * b)
            }
            #[inline(always)]
            fn div(self, o: Self) -> Self {
                self.zip(o, |a, b| a / b)
            }
            // `mul_add` of the standard library is a call where the target has no instruction for it.
            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                self.mul(a).add(b)
            }
            #[inline(always)]
            fn neg_mul_add(self, a: Self, b: Self) -> Self {
                b.sub(self.mul(a))
            }
            #[inline(always)]
            fn max(self, o: Self) -> Self {
                self.zip(o, |a, b| if a > b { a } else { b })
            }
            #[inline(always)]
            fn min(self, o: Self) -> Self {
                self.zip(o, |a, b| if a < b { a } else { b })
            }
            #[inline(always)]
            fn abs(self) -> Self {
                self.zip(self, |a, _| a.abs())
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                self.zip(self, |a, _| a.sqrt())
            }
            // Adding 1.5·2^mantissa leaves no fraction bits; larger numbers are integers already.
            #[inline(always)]
            fn round(self) -> Self {
                self.zip(self, |a, _| if a.abs() < $magic / 3.0 { (a + $magic) - $magic } else { a })
            }
            #[inline(always)]
            fn scale2(self, n: Self) -> Self {
                self.zip(n, |a, n| {
                    let exponent = (n as i32 + $bias - 1).max(0) as $bits;
                    a * <$t>::from_bits(exponent << $mantissa) * 2.0
                })
            }
            #[inline(always)]
            fn select_lt(a: Self, b: Self, x: Self, y: Self) -> Self {
                Array(std::array::from_fn(|i| if a.0[i] < b.0[i] { x.0[i] } else { y.0[i] }))
            }
            #[inline(always)]
            fn sum(self) -> $t {
                let mut lanes = self.0;
                let mut half = $n / 2;
                while half > 0 {
                    for i in 0..half {
                        lanes[i] += lanes[i + half];
                    }
                    half /= 2;
                }
                lanes[0]
            }
            #[inline(always)]
            fn max_lane(self) -> $t {
                self.0.iter().fold(<$t>::NEG_INFINITY, |m, x| if *x > m || x.is_nan() { *x } else { m })
            }
        }
    };
}

array!(f32, u32, 4, 23, 127, 12_582_912.0);
array!(f64, u64, 2, 52, 1023, 6_755_399_441_055_744.0);
#[cfg(test)]
array!(f32, u32, 16, 23, 127, 12_582_912.0);
#[cfg(test)]
array!(f64, u64, 8, 52, 1023, 6_755_399_441_055_744.0);
