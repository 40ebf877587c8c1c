//! Elementary functions in f32 without branches, so that loops over them vectorise.

use std::f32::consts::LOG2_E;

/// `e^x` within 2 ulp: `2^n · e^r` with |r| ≤ ln 2 / 2 and the polynomial of Cephes' `expf`.
#[inline(always)]
#[allow(clippy::excessive_precision)]
pub fn exp(x: f32) -> f32 {
    // Beyond these the result is 0 or ∞ whatever the rest says; NaN stays NaN through it.
    let clamped = if x > 89.0 { 89.0 } else { x };
    let clamped = if clamped < -104.0 { -104.0 } else { clamped };
    let n = (clamped * LOG2_E + 12_582_912.0) - 12_582_912.0; // rounds to the nearest integer
    // ln 2 in two parts, of which the first has few enough bits for the product to be exact.
    let r = clamped - n * 0.693_359_375;
    let r = r + n * 2.121_944_40e-4;
    let p = 1.987_569_15e-4 * r + 1.398_199_95e-3;
    let p = p * r + 8.333_451_91e-3;
    let p = p * r + 4.166_579_59e-2;
    let p = p * r + 1.666_666_55e-1;
    let p = p * r + 0.5;
    let p = p * (r * r) + r + 1.0;
    // In two factors: 2^n alone may be out of range where the product is not.
    // n lies in −151 ..= 129.
    let n = n as i32;
    let half = n >> 1;
    let power = |k: i32| f32::from_bits(((k + 127) << 23) as u32);
    p * power(half) * power(n - half)
}

/// The error function within 3 ulp: an odd polynomial near zero, `1 − exp(polynomial)` further out (N. Juffa's coefficients).
#[inline(always)]
#[allow(clippy::excessive_precision)]
pub fn erf(x: f32) -> f32 {
    let t = x.abs();
    let s = x * x;
    let far = -1.728_534_70e-5 * t + 3.831_971_26e-4;
    let u = -3.883_964_38e-3 * t + 2.425_462_19e-2;
    let far = far * s + u;
    let far = far * t - 1.067_778_77e-1;
    let far = far * t - 6.348_466_87e-1;
    let far = far * t - 1.287_175_12e-1;
    let far = far * t - t;
    let far = (1.0 - exp(far)).copysign(x);
    let near = -5.967_617_03e-4 * s + 4.991_194_23e-3;
    let near = near * s - 2.676_813_49e-2;
    let near = near * s + 1.128_199_25e-1;
    let near = near * s - 3.761_253_36e-1;
    let near = near * s + 1.283_791_66e-1;
    let near = near * x + x;
    if t > 0.927_734_375 { far } else { near }
}

/// Sine and cosine at once.
#[inline(always)]
pub fn sin_cos(x: f32) -> (f32, f32) {
    x.sin_cos()
}
