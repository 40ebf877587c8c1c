//! ARM's 128-bit vectors, 32 of them.
#![cfg(target_arch = "aarch64")]

use super::{Kernel, Simd, Vector};
use std::arch::aarch64::*;

#[derive(Clone, Copy)]
pub struct Neon;

impl Simd for Neon {
    type F32 = F32x4;
    type F64 = F64x2;
    const ROWS: usize = 12;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) -> K::Output {
        // NEON is part of every aarch64 target, so no feature has to be enabled.
        #[inline(never)]
        unsafe fn compiled<K: Kernel>(kernel: K) -> K::Output {
            unsafe { kernel.run::<Neon>() }
        }
        unsafe { compiled(kernel) }
    }
}

#[derive(Clone, Copy)]
pub struct F32x4(float32x4_t);
#[derive(Clone, Copy)]
pub struct F64x2(float64x2_t);

/// The arithmetic both widths share.
macro_rules! arithmetic {
    ($e:ty, $lanes:literal, $splat:ident, $load:ident, $store:ident, $add:ident, $sub:ident, $mul:ident, $div:ident, $fma:ident,
     $fms:ident, $gt:ident, $lt:ident, $select:ident, $abs:ident, $sqrt:ident, $round:ident, $sum:ident, $maxl:ident) => {
        type Elem = $e;
        const LANES: usize = $lanes;

        #[inline(always)]
        fn splat(x: $e) -> Self {
            Self(unsafe { $splat(x) })
        }
        #[inline(always)]
        unsafe fn load(p: *const $e) -> Self {
            Self(unsafe { $load(p) })
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut $e) {
            unsafe { $store(p, self.0) }
        }
        #[inline(always)]
        unsafe fn load_part(p: *const $e, n: usize) -> Self {
            if n >= $lanes {
                return unsafe { Self::load(p) };
            }
            let mut lanes = [0.0; $lanes];
            unsafe {
                std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), n);
                Self::load(lanes.as_ptr())
            }
        }
        #[inline(always)]
        unsafe fn store_part(self, p: *mut $e, n: usize) {
            if n >= $lanes {
                return unsafe { self.store(p) };
            }
            let mut lanes = [0.0; $lanes];
            unsafe {
                self.store(lanes.as_mut_ptr());
                std::ptr::copy_nonoverlapping(lanes.as_ptr(), p, n);
            }
        }
        #[inline(always)]
        fn add(self, o: Self) -> Self {
            Self(unsafe { $add(self.0, o.0) })
        }
        #[inline(always)]
        fn sub(self, o: Self) -> Self {
            Self(unsafe { $sub(self.0, o.0) })
        }
        #[inline(always)]
        fn mul(self, o: Self) -> Self {
            Self(unsafe { $mul(self.0, o.0) })
        }
        #[inline(always)]
        fn div(self, o: Self) -> Self {
            Self(unsafe { $div(self.0, o.0) })
        }
        #[inline(always)]
        fn mul_add(self, a: Self, b: Self) -> Self {
            Self(unsafe { $fma(b.0, self.0, a.0) })
        }
        #[inline(always)]
        fn neg_mul_add(self, a: Self, b: Self) -> Self {
            Self(unsafe { $fms(b.0, self.0, a.0) })
        }
        #[inline(always)]
        fn max(self, o: Self) -> Self {
            Self(unsafe { $select($gt(self.0, o.0), self.0, o.0) })
        }
        #[inline(always)]
        fn min(self, o: Self) -> Self {
            Self(unsafe { $select($lt(self.0, o.0), self.0, o.0) })
        }
        #[inline(always)]
        fn abs(self) -> Self {
            Self(unsafe { $abs(self.0) })
        }
        #[inline(always)]
        fn sqrt(self) -> Self {
            Self(unsafe { $sqrt(self.0) })
        }
        #[inline(always)]
        fn round(self) -> Self {
            Self(unsafe { $round(self.0) })
        }
        #[inline(always)]
        fn select_lt(a: Self, b: Self, x: Self, y: Self) -> Self {
            Self(unsafe { $select($lt(a.0, b.0), x.0, y.0) })
        }
        #[inline(always)]
        fn sum(self) -> $e {
            unsafe { $sum(self.0) }
        }
        #[inline(always)]
        fn max_lane(self) -> $e {
            unsafe { $maxl(self.0) }
        }
    };
}

impl Vector for F32x4 {
    arithmetic!(
        f32,
        4,
        vdupq_n_f32,
        vld1q_f32,
        vst1q_f32,
        vaddq_f32,
        vsubq_f32,
        vmulq_f32,
        vdivq_f32,
        vfmaq_f32,
        vfmsq_f32,
        vcgtq_f32,
        vcltq_f32,
        vbslq_f32,
        vabsq_f32,
        vsqrtq_f32,
        vrndnq_f32,
        vaddvq_f32,
        vmaxvq_f32
    );

    #[inline(always)]
    fn scale2(self, n: Self) -> Self {
        unsafe {
            let biased = vmaxq_s32(vaddq_s32(vcvtq_s32_f32(n.0), vdupq_n_s32(126)), vdupq_n_s32(0));
            let half = vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased));
            Self(vmulq_f32(vmulq_f32(self.0, half), vdupq_n_f32(2.0)))
        }
    }
}

impl Vector for F64x2 {
    arithmetic!(
        f64,
        2,
        vdupq_n_f64,
        vld1q_f64,
        vst1q_f64,
        vaddq_f64,
        vsubq_f64,
        vmulq_f64,
        vdivq_f64,
        vfmaq_f64,
        vfmsq_f64,
        vcgtq_f64,
        vcltq_f64,
        vbslq_f64,
        vabsq_f64,
        vsqrtq_f64,
        vrndnq_f64,
        vaddvq_f64,
        vmaxvq_f64
    );

    #[inline(always)]
    fn scale2(self, n: Self) -> Self {
        unsafe {
            let biased = vaddq_s64(vcvtq_s64_f64(n.0), vdupq_n_s64(1022));
            let positive = vbslq_s64(vcgtq_s64(biased, vdupq_n_s64(0)), biased, vdupq_n_s64(0));
            let half = vreinterpretq_f64_s64(vshlq_n_s64::<52>(positive));
            Self(vmulq_f64(vmulq_f64(self.0, half), vdupq_n_f64(2.0)))
        }
    }
}
