//! AVX2 and FMA: 256-bit vectors, 16 of them.
#![cfg(target_arch = "x86_64")]

use super::{Kernel, Simd, Vector};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub struct Avx2;

impl Simd for Avx2 {
    type F32 = F32x8;
    type F64 = F64x4;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma")]
        #[inline(never)]
        unsafe fn compiled<K: Kernel>(kernel: K) -> K::Output {
            unsafe { kernel.run::<Avx2>() }
        }
        unsafe { compiled(kernel) }
    }
}

#[derive(Clone, Copy)]
pub struct F32x8(__m256);
#[derive(Clone, Copy)]
pub struct F64x4(__m256d);

/// Ones for the lanes that a `part` touches are read from here, zeros behind them.
static ONES_THEN_ZEROS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

#[inline(always)]
fn mask32(n: usize) -> __m256i {
    unsafe { _mm256_loadu_si256(ONES_THEN_ZEROS.as_ptr().add(8 - n.min(8)).cast()) }
}

#[inline(always)]
fn mask64(n: usize) -> __m256i {
    unsafe { _mm256_loadu_si256(ONES_THEN_ZEROS.as_ptr().add(8 - 2 * n.min(4)).cast()) }
}

/// The arithmetic both widths share. SAFETY of every body: reached only through `call`, so the machine has the instructions.
macro_rules! arithmetic {
    ($e:ty, $lanes:literal, $mask:ident, $splat:ident, $load:ident, $store:ident, $load_part:ident, $store_part:ident, $add:ident,
     $sub:ident, $mul:ident, $div:ident, $fma:ident, $fnma:ident, $max:ident, $min:ident, $andnot:ident, $sqrt:ident, $round:ident,
     $cmp:ident, $blend:ident) => {
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
            Self(unsafe { $load_part(p, $mask(n)) })
        }
        #[inline(always)]
        unsafe fn store_part(self, p: *mut $e, n: usize) {
            unsafe { $store_part(p, $mask(n), self.0) }
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
            Self(unsafe { $fma(self.0, a.0, b.0) })
        }
        #[inline(always)]
        fn neg_mul_add(self, a: Self, b: Self) -> Self {
            Self(unsafe { $fnma(self.0, a.0, b.0) })
        }
        #[inline(always)]
        fn max(self, o: Self) -> Self {
            Self(unsafe { $max(self.0, o.0) })
        }
        #[inline(always)]
        fn min(self, o: Self) -> Self {
            Self(unsafe { $min(self.0, o.0) })
        }
        #[inline(always)]
        fn abs(self) -> Self {
            Self(unsafe { $andnot($splat(-0.0), self.0) })
        }
        #[inline(always)]
        fn sqrt(self) -> Self {
            Self(unsafe { $sqrt(self.0) })
        }
        #[inline(always)]
        fn round(self) -> Self {
            Self(unsafe { $round::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
        }
        #[inline(always)]
        fn select_lt(a: Self, b: Self, x: Self, y: Self) -> Self {
            Self(unsafe { $blend(y.0, x.0, $cmp::<_CMP_LT_OQ>(a.0, b.0)) })
        }
        #[inline(always)]
        fn sum(self) -> $e {
            let mut lanes = [0.0; $lanes];
            unsafe { self.store(lanes.as_mut_ptr()) };
            let mut half = $lanes / 2;
            while half > 0 {
                for i in 0..half {
                    lanes[i] += lanes[i + half];
                }
                half /= 2;
            }
            lanes[0]
        }
        #[inline(always)]
        fn max_lane(self) -> $e {
            let mut lanes = [0.0; $lanes];
            unsafe { self.store(lanes.as_mut_ptr()) };
            lanes.into_iter().fold(<$e>::NEG_INFINITY, |m, x| if x > m || x.is_nan() { x } else { m })
        }
    };
}

impl Vector for F32x8 {
    arithmetic!(
        f32,
        8,
        mask32,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_maskload_ps,
        _mm256_maskstore_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_mul_ps,
        _mm256_div_ps,
        _mm256_fmadd_ps,
        _mm256_fnmadd_ps,
        _mm256_max_ps,
        _mm256_min_ps,
        _mm256_andnot_ps,
        _mm256_sqrt_ps,
        _mm256_round_ps,
        _mm256_cmp_ps,
        _mm256_blendv_ps
    );

    #[inline(always)]
    fn scale2(self, n: Self) -> Self {
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n.0), _mm256_set1_epi32(126));
            let half = _mm256_slli_epi32::<23>(_mm256_max_epi32(biased, _mm256_setzero_si256()));
            Self(_mm256_mul_ps(_mm256_mul_ps(self.0, _mm256_castsi256_ps(half)), _mm256_set1_ps(2.0)))
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const u16, n: usize) -> Self {
        unsafe {
            let half = if n >= 8 {
                _mm_loadu_si128(p.cast())
            } else {
                let mut bits = [0u16; 8];
                std::ptr::copy_nonoverlapping(p, bits.as_mut_ptr(), n);
                _mm_loadu_si128(bits.as_ptr().cast())
            };
            Self(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(half))))
        }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut u16, n: usize) {
        unsafe {
            let upper = _mm256_srli_epi32::<16>(rounded_bits(self.0));
            let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(upper, upper));
            let half = _mm256_castsi256_si128(packed);
            if n >= 8 {
                _mm_storeu_si128(p.cast(), half);
            } else {
                let mut bits = [0u16; 8];
                _mm_storeu_si128(bits.as_mut_ptr().cast(), half);
                std::ptr::copy_nonoverlapping(bits.as_ptr(), p, n);
            }
        }
    }

    #[inline(always)]
    fn round_bf16(self) -> Self {
        unsafe {
            Self(_mm256_castsi256_ps(_mm256_and_si256(rounded_bits(self.0), _mm256_set1_epi32(0xffff_0000_u32 as i32))))
        }
    }

    #[inline(always)]
    unsafe fn transpose(src: *const f32, src_bytes: usize, dst: *mut f32, dst_ld: usize) {
        unsafe {
            let mut quads = [_mm256_setzero_ps(); 8];
            for g in 0..2 {
                let (a, b) = (
                    _mm256_loadu_ps(src.byte_add(4 * g * src_bytes)),
                    _mm256_loadu_ps(src.byte_add((4 * g + 1) * src_bytes)),
                );
                let (c, d) = (
                    _mm256_loadu_ps(src.byte_add((4 * g + 2) * src_bytes)),
                    _mm256_loadu_ps(src.byte_add((4 * g + 3) * src_bytes)),
                );
                let (ab_lo, ab_hi) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let (cd_lo, cd_hi) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                quads[4 * g] = _mm256_shuffle_ps::<0x44>(ab_lo, cd_lo);
                quads[4 * g + 1] = _mm256_shuffle_ps::<0xee>(ab_lo, cd_lo);
                quads[4 * g + 2] = _mm256_shuffle_ps::<0x44>(ab_hi, cd_hi);
                quads[4 * g + 3] = _mm256_shuffle_ps::<0xee>(ab_hi, cd_hi);
            }
            for c in 0..4 {
                _mm256_storeu_ps(dst.add(c * dst_ld), _mm256_permute2f128_ps::<0x20>(quads[c], quads[4 + c]));
                _mm256_storeu_ps(dst.add((4 + c) * dst_ld), _mm256_permute2f128_ps::<0x31>(quads[c], quads[4 + c]));
            }
        }
    }
}

/// The 32 bits of each float after rounding to bfloat16 in the upper half (the lower half is left over).
#[inline(always)]
unsafe fn rounded_bits(x: __m256) -> __m256i {
    unsafe {
        let bits = _mm256_castps_si256(x);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
        _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x)))
    }
}

impl Vector for F64x4 {
    arithmetic!(
        f64,
        4,
        mask64,
        _mm256_set1_pd,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        _mm256_maskload_pd,
        _mm256_maskstore_pd,
        _mm256_add_pd,
        _mm256_sub_pd,
        _mm256_mul_pd,
        _mm256_div_pd,
        _mm256_fmadd_pd,
        _mm256_fnmadd_pd,
        _mm256_max_pd,
        _mm256_min_pd,
        _mm256_andnot_pd,
        _mm256_sqrt_pd,
        _mm256_round_pd,
        _mm256_cmp_pd,
        _mm256_blendv_pd
    );

    #[inline(always)]
    fn scale2(self, n: Self) -> Self {
        unsafe {
            let biased =
                _mm_max_epi32(_mm_add_epi32(_mm256_cvtpd_epi32(n.0), _mm_set1_epi32(1022)), _mm_setzero_si128());
            let half = _mm256_slli_epi64::<52>(_mm256_cvtepi32_epi64(biased));
            Self(_mm256_mul_pd(_mm256_mul_pd(self.0, _mm256_castsi256_pd(half)), _mm256_set1_pd(2.0)))
        }
    }
}
