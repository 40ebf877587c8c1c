//! Exponential, error function and GELU on vectors, for f32 and f64.
//!
//! The polynomials are minimax (f32) and Chebyshev (f64) fits of relative error, made in 60 digits.

use super::isa::{Float, Kernel, Simd, Vector};

/// The constants of one element type.
pub trait Math: Float {
    /// 2^f for |f| ≤ 1/2, as good as the type.
    const EXP2: &'static [Self];
    /// The same with one unit in the last place more error in f32, and exact at 0: for softmax.
    const EXP2_FAST: &'static [Self];
    /// ln 2 in two parts; the first has trailing zeros, so that its product with an exponent is exact.
    const LN2: (Self, Self);
    const LOG2_E: Self;
    /// Below this, 2^x is zero; above the other, infinite.
    const EXP2_RANGE: (Self, Self);
    /// The normal distribution's upper tail Q(y), y ≥ 0: exp(-y²/2) / (y + c) · polynomial in 1 - 2c / (y + c).
    const TAIL_C: Self;
    const TAIL: &'static [Self];
    /// erf(x) / x for |x| ≤ 1 as a polynomial in x².
    const ERF: &'static [Self];
}

#[allow(clippy::approx_constant, reason = "fits: near such constants, not equal to them")]
impl Math for f32 {
    const EXP2: &'static [f32] =
        &[1.0, 0.693_147_2, 0.240_226_47, 0.055_503_29, 0.009_618_489, 0.001_339_993_2, 0.000_153_457_88];
    const EXP2_FAST: &'static [f32] = &[1.0, 0.693_147, 0.240_222_42, 0.055_507_34, 0.009_671_513, 0.001_326_472_9];
    const LN2: (f32, f32) = (0.693_145_75, 1.428_606_8e-6);
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const EXP2_RANGE: (f32, f32) = (-151.0, 129.0);
    const TAIL_C: f32 = 3.0;
    const TAIL: &'static [f32] = &[
        0.729_083_7,
        -0.509_332_3,
        0.230_019_35,
        -0.047_256_1,
        -0.010_479_937,
        0.006_923_923,
        0.001_076_039_8,
        -0.000_903_252_5,
        -0.000_266_767_66,
    ];
    const ERF: &'static [f32] = &[
        1.128_379_2,
        -0.376_126_26,
        0.112_835_85,
        -0.026_853_812,
        0.005_188_327_3,
        -0.000_801_018_9,
        0.000_078_538_44,
    ];
}

#[allow(clippy::approx_constant, clippy::excessive_precision, reason = "fits: near such constants, not equal to them")]
impl Math for f64 {
    const EXP2: &'static [f64] = &[
        1.0,
        0.6931471805599453,
        0.24022650695910072,
        0.055504108664821694,
        0.009618129107628309,
        0.0013333558146391244,
        0.0001540353039366215,
        1.525273385547822e-05,
        1.321548658447545e-06,
        1.0178051519352431e-07,
        7.054976867326908e-09,
        4.456627831066572e-10,
        2.5623417429354177e-11,
    ];
    const EXP2_FAST: &'static [f64] = Self::EXP2;
    const LN2: (f64, f64) = (0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10);
    const LOG2_E: f64 = std::f64::consts::LOG2_E;
    const EXP2_RANGE: (f64, f64) = (-1080.0, 1025.0);
    const TAIL_C: f64 = 4.0;
    const TAIL: &'static [f64] = &[
        0.7552851304157515,
        -0.6078966419718917,
        0.38713740074221886,
        -0.18652185795969417,
        0.06039657489069947,
        -0.007540188965593059,
        -0.0034796923622425332,
        0.0016308184418903596,
        0.00013334425401904912,
        -0.0002310948183193762,
        -1.9078665316613576e-06,
        3.5144181157760973e-05,
        7.150055959216099e-07,
        -5.918892731763236e-06,
        -6.25132104047868e-07,
        1.0198048518135172e-06,
        2.6368248576407624e-07,
        -1.5426320536771075e-07,
        -7.63808205349045e-08,
        1.457859334703646e-08,
        1.392402399350171e-08,
        7.26954547902669e-11,
        -9.653425420228504e-10,
    ];
    const ERF: &'static [f64] = &[
        1.1283791670955126,
        -0.37612638903183754,
        0.1128379167095512,
        -0.02686617064512984,
        0.0052239776254232985,
        -0.000854832702193483,
        0.00012055332902888736,
        -1.4925647567519332e-05,
        1.6462045441468418e-06,
        -1.6364642158167616e-07,
        1.4792401209404813e-08,
        -1.216456005728345e-09,
        8.709045129053106e-11,
        -4.230945824295338e-12,
    ];
}

/// Σ c_i x^i.
#[inline(always)]
fn polynomial<V: Vector>(x: V, c: &'static [V::Elem]) -> V {
    let mut i = c.len() - 1;
    let mut sum = V::splat(c[i]);
    while i > 0 {
        i -= 1;
        sum = sum.mul_add(x, V::splat(c[i]));
    }
    sum
}

/// 2^x for x ≤ 0 to 1e-7 relative: the weights of a softmax whose scores are in units of ln 2.
#[inline(always)]
pub fn exp2_softmax<V: Vector<Elem: Math>>(x: V) -> V {
    let x = V::splat(<V::Elem as Math>::EXP2_RANGE.0).max(x);
    let n = x.round();
    polynomial(x.sub(n), <V::Elem as Math>::EXP2_FAST).scale2(n)
}

/// e^x. Results below the normal range may be zero.
#[inline(always)]
pub fn exp<V: Vector<Elem: Math>>(x: V) -> V {
    let log2_e = V::splat(V::Elem::LOG2_E);
    let (ln2_high, ln2_low) = V::Elem::LN2;
    // Beyond the range the reduction would meet infinities.
    let (low, high) = V::Elem::EXP2_RANGE;
    let ln2 = V::splat(ln2_high);
    let x = V::splat(high).mul(ln2).min(V::splat(low).mul(ln2).max(x));
    let n = x.mul(log2_e).round();
    let r = n.neg_mul_add(V::splat(ln2_low), n.neg_mul_add(ln2, x));
    polynomial(r.mul(log2_e), V::Elem::EXP2).scale2(n)
}

/// The normal distribution's cumulative probability Φ(x), to a few units in the last place in both tails, and exp(-x²/2).
#[inline(always)]
pub fn normal<V: Vector<Elem: Math>>(x: V) -> (V, V) {
    let (one, zero) = (V::splat(V::Elem::from_f64(1.0)), V::zero());
    let y = x.abs();
    let bell = exp(y.mul(y).mul(V::splat(V::Elem::from_f64(-0.5))));
    let c = V::Elem::TAIL_C;
    let r = one.div(y.add(V::splat(c)));
    let u = r.neg_mul_add(V::splat(c + c), one);
    let tail = polynomial(u, V::Elem::TAIL).mul(r).mul(bell);
    (V::select_lt(x, zero, tail, one.sub(tail)), bell)
}

/// GELU with the exact error function: x·Φ(x).
#[inline(always)]
pub fn gelu<V: Vector<Elem: Math>>(x: V) -> V {
    x.mul(normal(x).0)
}

/// Its derivative: Φ(x) + x·φ(x).
#[inline(always)]
pub fn gelu_grad<V: Vector<Elem: Math>>(x: V) -> V {
    let (cdf, bell) = normal(x);
    let inv_sqrt_2pi = V::splat(V::Elem::from_f64(0.398_942_280_401_432_7));
    x.mul(bell).mul_add(inv_sqrt_2pi, cdf)
}

/// The error function.
#[inline(always)]
pub fn erf<V: Vector<Elem: Math>>(x: V) -> V {
    let one = V::splat(V::Elem::from_f64(1.0));
    let small = x.mul(polynomial(x.mul(x), V::Elem::ERF));
    // erf(x) = 2Φ(x√2) - 1
    let y = x.abs().mul(V::splat(V::Elem::from_f64(std::f64::consts::SQRT_2)));
    let large = normal(y).0.mul_add(V::splat(V::Elem::from_f64(2.0)), V::zero().sub(one));
    let large = V::select_lt(x, V::zero(), V::zero().sub(large), large);
    V::select_lt(x.abs(), one, small, large)
}

/// A function of one vector, to be applied to a run of elements by [`map`].
pub trait Unary: Copy {
    fn apply<V: Vector<Elem: Math>>(self, x: V) -> V;
}

macro_rules! unary {
    ($($name:ident = $f:ident),*) => {$(
        #[doc = concat!("[`", stringify!($f), "`], lane by lane.")]
        #[derive(Clone, Copy)]
        pub struct $name;
        impl Unary for $name {
            #[inline(always)]
            fn apply<V: Vector<Elem: Math>>(self, x: V) -> V {
                $f(x)
            }
        }
    )*};
}

unary!(Exp = exp, Erf = erf, Gelu = gelu, GeluGrad = gelu_grad);

struct Map<E, F> {
    f: F,
    src: *const E,
    dst: *mut E,
    n: usize,
}

impl<E: Math, F: Unary> Kernel for Map<E, F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let lanes = E::V::<S>::LANES;
        let whole = self.n / lanes * lanes;
        for i in (0..whole).step_by(lanes) {
            unsafe { self.f.apply(E::V::<S>::load(self.src.add(i))).store(self.dst.add(i)) };
        }
        if whole < self.n {
            let (src, dst, n) = (self.src.wrapping_add(whole), self.dst.wrapping_add(whole), self.n - whole);
            // Stores of a part are slow on some machines: for the last vector only.
            unsafe { self.f.apply(E::V::<S>::load_part(src, n)).store_part(dst, n) };
        }
    }
}

/// `dst[i] = f(src[i])`, on the calling thread; the two may be the same.
///
/// # Safety
/// Both hold `n` elements.
pub unsafe fn map<E: Math>(isa: super::isa::Isa, f: impl Unary, src: *const E, dst: *mut E, n: usize) {
    isa.run(Map { f, src, dst, n });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::isa::Isa;

    unary!(Exp2Softmax = exp2_softmax);

    fn apply<E: Math>(isa: Isa, f: impl Unary, x: &[E]) -> Vec<E> {
        let mut y = vec![E::ZERO; x.len()];
        unsafe { map(isa, f, x.as_ptr(), y.as_mut_ptr(), x.len()) };
        y
    }

    /// By the series of positive terms: slow and independent of the fits.
    fn erf_reference(x: f64) -> f64 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > 1e-18 * sum.abs() {
            n += 1.0;
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            sum += term;
        }
        std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
    }

    /// The same, or by the continued fraction where that would cancel.
    fn erfc_reference(x: f64) -> f64 {
        if x.abs() < 1.0 {
            return 1.0 - erf_reference(x);
        }
        if x < 0.0 {
            return 2.0 - erfc_reference(-x);
        }
        let fraction = (1..200).rev().fold(x, |fraction, k| x + 0.5 * f64::from(k) / fraction);
        (-x * x).exp() / fraction / std::f64::consts::PI.sqrt()
    }

    fn grid(from: f64, to: f64) -> Vec<f64> {
        (0..=4001).map(|i| from + (to - from) * f64::from(i) / 4001.0).collect()
    }

    fn check(
        f: impl Unary,
        reference: impl Fn(f64) -> f64,
        from: f64,
        to: f64,
        f32_tolerance: f64,
        f64_tolerance: f64,
    ) {
        for isa in Isa::available() {
            let x = grid(from, to);
            for (x, y) in x.iter().zip(apply(isa, f, &x)) {
                let want = reference(*x);
                assert!(
                    (y - want).abs() <= f64_tolerance * want.abs().max(1e-15),
                    "{isa:?} f64 at {x}: {y} for {want}"
                );
            }
            let x: Vec<f32> = x.iter().map(|&x| x as f32).collect();
            for (x, y) in x.iter().zip(apply(isa, f, &x)) {
                let want = reference(f64::from(*x));
                let error = (f64::from(y) - want).abs();
                assert!(error <= f32_tolerance * want.abs().max(1e-20), "{isa:?} f32 at {x}: {y} for {want}");
            }
        }
    }

    #[test]
    fn exponentials() {
        check(Exp, f64::exp, -80.0, 80.0, 2e-7, 4e-16);
        check(Exp2Softmax, f64::exp2, -120.0, 0.0, 3e-7, 4e-16);
        for isa in Isa::available() {
            assert_eq!(
                apply(isa, Exp, &[0.0f32, f32::NEG_INFINITY, -200.0, f32::INFINITY, 200.0])[..3],
                [1.0, 0.0, 0.0]
            );
            assert_eq!(apply(isa, Exp2Softmax, &[0.0f32, f32::NEG_INFINITY]), [1.0, 0.0]);
            assert_eq!(apply(isa, Exp2Softmax, &[0.0f64, f64::NEG_INFINITY]), [1.0, 0.0]);
            assert_eq!(apply(isa, Exp, &[f32::INFINITY, 200.0, 88.9]), [f32::INFINITY; 3]);
            assert!(apply(isa, Exp, &[f32::NAN, 1.0])[0].is_nan());
            assert!(apply(isa, Exp, &[f64::NAN, 1.0])[0].is_nan());
            assert_eq!(apply(isa, Exp, &[f64::NEG_INFINITY, 0.0, f64::INFINITY]), [0.0, 1.0, f64::INFINITY]);
            let largest = apply(isa, Exp, &[88.7f32])[0];
            assert!((largest / 88.7f32.exp() - 1.0).abs() < 1e-6, "{largest}");
        }
    }

    #[test]
    fn error_function() {
        check(Erf, erf_reference, -6.0, 6.0, 3e-7, 3e-15);
        for isa in Isa::available() {
            let tiny = apply(isa, Erf, &[1e-30f32, 0.0])[0];
            assert!((tiny / 1.128_379_2e-30 - 1.0).abs() < 3e-7);
        }
    }

    #[test]
    fn gelu_and_its_derivative() {
        let cdf = |x: f64| 0.5 * erfc_reference(-x * std::f64::consts::FRAC_1_SQRT_2);
        let pdf = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        check(Gelu, |x| x * cdf(x), -8.0, 12.0, 4e-6, 3e-14); // the rounding of x² in the tail
        check(Gelu, |x| x * cdf(x), -3.0, 12.0, 1e-6, 3e-15);
        // The derivative crosses zero near -0.75: there its error is that of its two terms.
        check(GeluGrad, |x| cdf(x) + x * pdf(x), -0.5, 8.0, 2e-6, 4e-15);
        check(GeluGrad, |x| cdf(x) + x * pdf(x), -6.0, -1.0, 1e-5, 1e-13);
    }
}
