//! Sums in an order that vectors can follow: element i goes to lane `i mod 32`, and the lanes are added pairwise at the end.

use super::element::Real;

const LANES: usize = 32;

/// `Σ x`.
#[inline(always)]
pub fn sum<A: Real>(x: &[A]) -> A {
    fold(A::ZERO, x, |s, x| s + x, |a, b| a + b)
}

/// `Σ f(x)`.
#[inline(always)]
pub fn sum_by<A: Real>(x: &[A], f: impl Fn(A) -> A) -> A {
    fold(A::ZERO, x, |s, x| s + f(x), |a, b| a + b)
}

/// `Σ f(x, y)`.
#[inline(always)]
pub fn sum_by2<A: Real>(x: &[A], y: &[A], f: impl Fn(A, A) -> A) -> A {
    let y = &y[..x.len()];
    let mut lanes = [A::ZERO; LANES];
    let (mut xs, mut ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    for (x, y) in xs.by_ref().zip(ys.by_ref()) {
        for l in 0..LANES {
            lanes[l] += f(x[l], y[l]);
        }
    }
    for ((lane, &x), &y) in lanes.iter_mut().zip(xs.remainder()).zip(ys.remainder()) {
        *lane += f(x, y);
    }
    halve(&mut lanes, |a, b| a + b)
}

/// The largest element, or NaN where there is one; −∞ of nothing.
#[inline(always)]
pub fn max<A: Real>(x: &[A]) -> A {
    fold(-A::INFINITY, x, |m, x| m.greater(x), |a, b| a.greater(b))
}

/// The smallest element, or NaN where there is one; ∞ of nothing.
#[inline(always)]
pub fn min<A: Real>(x: &[A]) -> A {
    fold(A::INFINITY, x, |m, x| m.smaller(x), |a, b| a.smaller(b))
}

#[inline(always)]
fn fold<A: Real>(start: A, x: &[A], step: impl Fn(A, A) -> A, join: impl Fn(A, A) -> A) -> A {
    let mut lanes = [start; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in chunks.by_ref() {
        for l in 0..LANES {
            lanes[l] = step(lanes[l], chunk[l]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = step(*lane, x);
    }
    halve(&mut lanes, join)
}

#[inline(always)]
fn halve<A: Real>(lanes: &mut [A; LANES], join: impl Fn(A, A) -> A) -> A {
    let mut half = LANES / 2;
    while half > 0 {
        for l in 0..half {
            lanes[l] = join(lanes[l], lanes[l + half]);
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_counts_once() {
        for n in [0usize, 1, 31, 32, 33, 100, 1000] {
            let x: Vec<f64> = (0..n).map(|i| i as f64).collect();
            let total = (n * n.saturating_sub(1) / 2) as f64;
            assert_eq!(sum(&x), total);
            assert_eq!(sum_by(&x, |x| 2.0 * x), 2.0 * total);
            assert_eq!(sum_by2(&x, &x, |x, y| x + y), 2.0 * total);
            assert_eq!(max(&x), if n == 0 { f64::NEG_INFINITY } else { n as f64 - 1.0 });
            assert_eq!(min(&x), if n == 0 { f64::INFINITY } else { 0.0 });
        }
        assert!(max(&[1.0, f64::NAN, 3.0]).is_nan() && min(&[f64::NAN, 3.0]).is_nan());
    }
}
