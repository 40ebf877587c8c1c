//! AVX-512: 512-bit vectors, 32 of them, with masks for the ends of rows.
#![cfg(target_arch = "x86_64")]

use super::{Kernel, Simd, Vector};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub struct Avx512;

/// AVX-512 with the bfloat16 dot product.
#[derive(Clone, Copy)]
pub struct Avx512Bf16;

impl Simd for Avx512 {
    type F32 = F32x16;
    type F64 = F64x8;
    const ROWS: usize = 14;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
        #[inline(never)]
        unsafe fn compiled<K: Kernel>(kernel: K) -> K::Output {
            unsafe { kernel.run::<Avx512>() }
        }
        unsafe { compiled(kernel) }
    }
}

impl Simd for Avx512Bf16 {
    type F32 = F32x16;
    type F64 = F64x8;
    const ROWS: usize = 14;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,bmi2")]
        #[inline(never)]
        unsafe fn compiled<K: Kernel>(kernel: K) -> K::Output {
            unsafe { kernel.run::<Avx512Bf16>() }
        }
        unsafe { compiled(kernel) }
    }

    #[inline(always)]
    fn dot_bf16(a: F32x16, b: F32x16, acc: F32x16) -> F32x16 {
        // SAFETY: reached only through `call`; the types are the same 512 bits.
        unsafe {
            let (a, b) = (std::mem::transmute::<__m512, __m512bh>(a.0), std::mem::transmute::<__m512, __m512bh>(b.0));
            F32x16(_mm512_dpbf16_ps(acc.0, a, b))
        }
    }

    #[inline(always)]
    fn pair_bf16(low: F32x16, high: F32x16) -> F32x16 {
        // SAFETY: reached only through `call`. Lanes 0..16 of the conversion are `low`'s.
        unsafe {
            let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high.0, low.0));
            let mut order = [0u16; 32];
            let mut i = 0;
            while i < 16 {
                order[2 * i] = i as u16;
                order[2 * i + 1] = 16 + i as u16;
                i += 1;
            }
            F32x16(_mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_loadu_si512(order.as_ptr().cast()), both)))
        }
    }
}

#[derive(Clone, Copy)]
pub struct F32x16(__m512);
#[derive(Clone, Copy)]
pub struct F64x8(__m512d);

#[inline(always)]
fn mask16(n: usize) -> __mmask16 {
    if n >= 16 { u16::MAX } else { (1u16 << n) - 1 }
}

#[inline(always)]
fn mask8(n: usize) -> __mmask8 {
    if n >= 8 { u8::MAX } else { (1u8 << n) - 1 }
}

/// The arithmetic both widths share. SAFETY of every body: reached only through `call`, so the machine has the instructions.
macro_rules! arithmetic {
    ($t:ty, $e:ty, $lanes:literal, $mask:ident, $full:ident, $splat:ident, $load:ident, $store:ident, $load_part:ident,
     $store_part:ident, $add:ident, $sub:ident, $mul:ident, $div:ident, $fma:ident, $fnma:ident, $max:ident, $min:ident, $abs:ident,
     $sqrt:ident, $round:ident, $scale:ident, $cmp:ident, $blend:ident, $sum:ident, $maxl:ident) => {
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
            Self(unsafe { $load_part($mask(n), p) })
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
            Self(unsafe { $abs(self.0) })
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
        fn scale2(self, n: Self) -> Self {
            Self(unsafe { $scale(self.0, n.0) })
        }
        #[inline(always)]
        fn select_lt(a: Self, b: Self, x: Self, y: Self) -> Self {
            Self(unsafe { $blend($cmp::<_CMP_LT_OQ>(a.0, b.0), y.0, x.0) })
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

impl Vector for F32x16 {
    arithmetic!(
        F32x16,
        f32,
        16,
        mask16,
        u16,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_maskz_loadu_ps,
        _mm512_mask_storeu_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_mul_ps,
        _mm512_div_ps,
        _mm512_fmadd_ps,
        _mm512_fnmadd_ps,
        _mm512_max_ps,
        _mm512_min_ps,
        _mm512_abs_ps,
        _mm512_sqrt_ps,
        _mm512_roundscale_ps,
        _mm512_scalef_ps,
        _mm512_cmp_ps_mask,
        _mm512_mask_blend_ps,
        _mm512_reduce_add_ps,
        _mm512_reduce_max_ps
    );

    #[inline(always)]
    unsafe fn load_bf16(p: *const u16, n: usize) -> Self {
        unsafe {
            let half = _mm256_maskz_loadu_epi16(mask16(n), p.cast());
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half))))
        }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut u16, n: usize) {
        unsafe {
            _mm256_mask_storeu_epi16(
                p.cast(),
                mask16(n),
                _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded_bits(self.0))),
            )
        }
    }

    #[inline(always)]
    fn round_bf16(self) -> Self {
        unsafe {
            Self(_mm512_castsi512_ps(_mm512_and_si512(rounded_bits(self.0), _mm512_set1_epi32(0xffff_0000_u32 as i32))))
        }
    }

    #[inline(always)]
    unsafe fn transpose(src: *const f32, src_bytes: usize, dst: *mut f32, dst_ld: usize) {
        unsafe { transpose16(src, src_bytes, dst, dst_ld) }
    }
}

/// The 32 bits of each float after rounding to bfloat16 in the upper half (the lower half is left over).
#[inline(always)]
unsafe fn rounded_bits(x: __m512) -> __m512i {
    unsafe {
        let bits = _mm512_castps_si512(x);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x40_0000))
    }
}

/// 16 × 16 transpose: pairs of rows by unpacking, then 128-bit quarters by shuffling.
#[inline(always)]
unsafe fn transpose16(src: *const f32, src_bytes: usize, dst: *mut f32, dst_ld: usize) {
    unsafe {
        let mut quads = [_mm512_setzero_ps(); 16];
        for g in 0..4 {
            let (a, b) = (
                _mm512_loadu_ps(src.byte_add(4 * g * src_bytes)),
                _mm512_loadu_ps(src.byte_add((4 * g + 1) * src_bytes)),
            );
            let (c, d) = (
                _mm512_loadu_ps(src.byte_add((4 * g + 2) * src_bytes)),
                _mm512_loadu_ps(src.byte_add((4 * g + 3) * src_bytes)),
            );
            let (ab_lo, ab_hi) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let (cd_lo, cd_hi) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            quads[4 * g] = _mm512_shuffle_ps::<0x44>(ab_lo, cd_lo);
            quads[4 * g + 1] = _mm512_shuffle_ps::<0xee>(ab_lo, cd_lo);
            quads[4 * g + 2] = _mm512_shuffle_ps::<0x44>(ab_hi, cd_hi);
            quads[4 * g + 3] = _mm512_shuffle_ps::<0xee>(ab_hi, cd_hi);
        }
        // quads[4g + c] holds, in its quarter q, rows 4g..4g+4 of column 4q + c.
        for c in 0..4 {
            let (a, b, d, e) = (quads[c], quads[4 + c], quads[8 + c], quads[12 + c]);
            let (ab_even, ab_odd) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
            let (de_even, de_odd) = (_mm512_shuffle_f32x4::<0x88>(d, e), _mm512_shuffle_f32x4::<0xdd>(d, e));
            _mm512_storeu_ps(dst.add(c * dst_ld), _mm512_shuffle_f32x4::<0x88>(ab_even, de_even));
            _mm512_storeu_ps(dst.add((4 + c) * dst_ld), _mm512_shuffle_f32x4::<0x88>(ab_odd, de_odd));
            _mm512_storeu_ps(dst.add((8 + c) * dst_ld), _mm512_shuffle_f32x4::<0xdd>(ab_even, de_even));
            _mm512_storeu_ps(dst.add((12 + c) * dst_ld), _mm512_shuffle_f32x4::<0xdd>(ab_odd, de_odd));
        }
    }
}

impl Vector for F64x8 {
    arithmetic!(
        F64x8,
        f64,
        8,
        mask8,
        u8,
        _mm512_set1_pd,
        _mm512_loadu_pd,
        _mm512_storeu_pd,
        _mm512_maskz_loadu_pd,
        _mm512_mask_storeu_pd,
        _mm512_add_pd,
        _mm512_sub_pd,
        _mm512_mul_pd,
        _mm512_div_pd,
        _mm512_fmadd_pd,
        _mm512_fnmadd_pd,
        _mm512_max_pd,
        _mm512_min_pd,
        _mm512_abs_pd,
        _mm512_sqrt_pd,
        _mm512_roundscale_pd,
        _mm512_scalef_pd,
        _mm512_cmp_pd_mask,
        _mm512_mask_blend_pd,
        _mm512_reduce_add_pd,
        _mm512_reduce_max_pd
    );
}
