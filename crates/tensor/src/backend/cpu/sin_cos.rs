//! Sine and cosine in f32 without branches, so that loops over them vectorise.

/// Both at once, within 1 ulp or so for |x| up to 10⁷; beyond, where neighbouring floats are farther apart than a tenth of a period,
/// some number in [−1, 1].
///
/// The argument is reduced to |r| ≤ π/4 in f64; the polynomials are those of Cephes' `sinf` and `cosf`.
#[inline(always)]
#[allow(clippy::excessive_precision)]
pub fn sin_cos(x: f32) -> (f32, f32) {
    /// Adding 1.5·2⁵² rounds to an integer, and leaves its low bits in those of the sum.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    let wide = f64::from(x);
    let sum = wide * std::f64::consts::FRAC_2_PI + MAGIC;
    let quadrant = sum.to_bits() as u32;
    let r = (wide - (sum - MAGIC) * std::f64::consts::FRAC_PI_2) as f32;
    // A no-op but for huge arguments; NaN stays.
    let r = if r > 0.8 { 0.8 } else { r };
    let r = if r < -0.8 { -0.8 } else { r };
    let s = r * r;
    let sine = -1.951_529_589_1e-4 * s + 8.332_160_873_6e-3;
    let sine = sine * s - 1.666_665_461_1e-1;
    let sine = sine * s * r + r;
    let cosine = 2.443_315_711_809_948e-5 * s - 1.388_731_625_493_765e-3;
    let cosine = cosine * s + 4.166_664_568_298_827e-2;
    let cosine = cosine * s * s - 0.5 * s + 1.0;
    // Quadrants 1 and 3 swap them; 2 and 3 turn the sine's sign, 1 and 2 the cosine's.
    let (a, b) = if quadrant & 1 == 0 { (sine, cosine) } else { (cosine, sine) };
    let turn = |v: f32, bit: u32| f32::from_bits(v.to_bits() ^ (bit & 2) << 30);
    (turn(a, quadrant), turn(b, quadrant.wrapping_add(1)))
}

#[cfg(test)]
mod tests {
    use super::sin_cos;

    #[test]
    fn against_the_library() {
        for i in -200_000..200_000 {
            for scale in [1e-3f32, 0.137, 41.3] {
                let x = i as f32 * scale;
                let (sin, cos) = sin_cos(x);
                let (s, c) = f64::from(x).sin_cos();
                assert!((f64::from(sin) - s).abs() < 1.2e-7 && (f64::from(cos) - c).abs() < 1.2e-7, "{x}: {sin} {cos}");
            }
        }
    }

    #[test]
    fn extremes() {
        for x in [1e9f32, -1e20, f32::MAX] {
            let (sin, cos) = sin_cos(x);
            assert!(sin.abs() <= 1.0 && cos.abs() <= 1.0, "{x}: {sin} {cos}");
        }
        for x in [f32::NAN, f32::INFINITY] {
            assert!(sin_cos(x).0.is_nan() && sin_cos(x).1.is_nan());
        }
        assert_eq!(sin_cos(0.0), (0.0, 1.0));
        assert_eq!(sin_cos(1e-20), (1e-20, 1.0));
    }
}
