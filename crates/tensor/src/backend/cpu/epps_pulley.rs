//! The Epps-Pulley statistic of SIGReg.

use super::{
    element::{Input, Output, Real, with_real},
    parallel::{TASK, for_blocks},
};
use crate::{
    backend::{EppsPulley, EppsPulleyGrad},
    error::Result,
};

/// Columns that are worked on at a time.
const COLUMNS: usize = 32;
/// Rows whose cosines are summed before they are added to the total: the sums stay short.
const ROWS: usize = 64;

pub fn epps_pulley(d: &EppsPulley) -> Result<()> {
    with_real!(d.y.dtype, A => forward::<A>(d))
}

/// `exp(−t²/2)`: the characteristic function of the standard normal.
fn normal<A: Real>(knots: &[f64]) -> Vec<A> {
    knots.iter().map(|t| A::of((-0.5 * t * t).exp())).collect()
}

fn forward<A: Real>(d: &EppsPulley) -> Result<()> {
    let (rows, columns, k) = (d.x.rows(), d.x.columns(), d.knots.len());
    let (x, y, means) = (Input::new(&d.x)?, Output::new(&d.y)?, Output::new(&d.means)?);
    let knots: Vec<A> = d.knots.iter().map(|&t| A::of(t)).collect();
    let expected = normal::<A>(&d.knots);
    let n = A::of(rows as f64);
    for_blocks(
        columns,
        COLUMNS,
        #[inline(always)]
        |tile| {
            let width = tile.len();
            let mut wide = [A::ZERO; COLUMNS];
            // Cosines and sines by knot.
            let mut block = vec![[[A::ZERO; COLUMNS]; 2]; k];
            let mut total = block.clone();
            for start in (0..rows).step_by(ROWS) {
                block.fill([[A::ZERO; COLUMNS]; 2]);
                for r in start..(start + ROWS).min(rows) {
                    x.load(r * columns + tile.start, &mut wide[..width]);
                    for (sums, &t) in block.iter_mut().zip(&knots) {
                        let [cosines, sines] = sums;
                        for ((c, s), &x) in cosines.iter_mut().zip(sines).zip(&wide) {
                            let (sin, cos) = (t * x).sin_cos();
                            *c += cos;
                            *s += sin;
                        }
                    }
                }
                for (total, block) in total.iter_mut().flatten().flatten().zip(block.iter().flatten().flatten()) {
                    *total += *block;
                }
            }
            for column in 0..width {
                let mut sum = A::ZERO;
                for (i, sums) in total.iter().enumerate() {
                    let (cos, sin) = (sums[0][column] / n, sums[1][column] / n);
                    let off = cos - expected[i];
                    sum += A::of(d.weights[i]) * (off * off + sin * sin);
                    means.store(((tile.start + column) * k + i) * 2, &[cos, sin]);
                }
                y.store(tile.start + column, &[sum * n]);
            }
        },
    );
    Ok(())
}

pub fn epps_pulley_grad(d: &EppsPulleyGrad) -> Result<()> {
    with_real!(d.forward.y.dtype, A => backward::<A>(d))
}

/// `dx[n,s] = dy[s] · Σ_k 2·weight[k]·t_k·(sin_k·cos(t_k x) − (cos_k − exp(−t_k²/2))·sin(t_k x))`.
fn backward<A: Real>(d: &EppsPulleyGrad) -> Result<()> {
    let f = &d.forward;
    let (rows, columns, k) = (f.x.rows(), f.x.columns(), f.knots.len());
    let (x, dy, means) = (Input::new(&f.x)?, Input::new(&d.dy)?.to_vec::<A>(), Input::new(&f.means)?.to_vec::<A>());
    let dx = Output::add_to(&d.dx.0, d.dx.1)?;
    let knots: Vec<A> = f.knots.iter().map(|&t| A::of(t)).collect();
    let expected = normal::<A>(&f.knots);
    let tiles = columns.div_ceil(COLUMNS);
    let height = (TASK / (COLUMNS * k.max(1))).max(1);
    for_blocks(
        rows.div_ceil(height) * tiles,
        1,
        #[inline(always)]
        |unit| {
            let (start, column) = (unit.start / tiles * height, unit.start % tiles * COLUMNS);
            let width = COLUMNS.min(columns - column);
            // The factors of cosine and sine by knot.
            let mut factors = vec![[[A::ZERO; COLUMNS]; 2]; k];
            for (i, factors) in factors.iter_mut().enumerate() {
                let scale = A::of(2.0 * f.weights[i] * f.knots[i]);
                for c in 0..width {
                    let mean = &means[((column + c) * k + i) * 2..];
                    factors[0][c] = dy[column + c] * scale * mean[1];
                    factors[1][c] = dy[column + c] * scale * (mean[0] - expected[i]);
                }
            }
            let mut wide = [A::ZERO; COLUMNS];
            for r in start..(start + height).min(rows) {
                let mut sum = [A::ZERO; COLUMNS];
                x.load(r * columns + column, &mut wide[..width]);
                for ([cosines, sines], &t) in factors.iter().zip(&knots) {
                    for (((o, &c), &s), &x) in sum.iter_mut().zip(cosines).zip(sines).zip(&wide) {
                        let (sin, cos) = (t * x).sin_cos();
                        *o += c * cos - s * sin;
                    }
                }
                dx.store(r * columns + column, &sum[..width]);
            }
        },
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        backend::cpu::testing::{FLOATS, assert_close, assert_same_on_threads, empty, random, run, to_vec},
    };

    #[test]
    fn statistic_and_gradient_against_the_formula() {
        for dtype in FLOATS {
            for [n, s, k] in [[1, 1, 1], [65, 33, 5], [300, 70, 17]] {
                let kept = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
                let (x, dy) = (random(&[n, s], 1, dtype), random(&[s], 2, kept));
                let knots: Vec<f64> = (0..k).map(|i| 0.3 + 5.0 * i as f64 / k as f64).collect();
                let weights: Vec<f64> = (0..k).map(|i| 1.0 / (1.0 + i as f64)).collect();
                let (values, slopes) = (to_vec(&x), to_vec(&dy));
                let (mut expected, mut gradient) = (vec![0.0; s], to_vec(&random(&[n, s], 3, dtype)));
                for c in 0..s {
                    for (t, w) in knots.iter().zip(&weights) {
                        let column = || (0..n).map(|r| t * values[r * s + c]);
                        let cos = column().map(f64::cos).sum::<f64>() / n as f64 - (-0.5 * t * t).exp();
                        let sin = column().map(f64::sin).sum::<f64>() / n as f64;
                        expected[c] += n as f64 * w * (cos * cos + sin * sin);
                        for (r, angle) in column().enumerate() {
                            gradient[r * s + c] += slopes[c] * 2.0 * w * t * (sin * angle.cos() - cos * angle.sin());
                        }
                    }
                }
                let both = || {
                    let (y, dx) = (empty(&[s], kept), random(&[n, s], 3, dtype));
                    let forward = EppsPulley {
                        x: x.clone(),
                        knots: knots.clone(),
                        weights: weights.clone(),
                        y: y.clone(),
                        means: empty(&[s, k, 2], kept),
                    };
                    let grad = EppsPulleyGrad { forward: forward.clone(), dy: dy.clone(), dx: (dx.clone(), true) };
                    run(&[1], kept, |b, _| {
                        b.epps_pulley(&forward)?;
                        b.epps_pulley_grad(&grad)
                    });
                    vec![y, dx]
                };
                let got = both();
                assert_close(&got[0], &expected, 8.0);
                assert_close(&got[1], &gradient, 8.0);
                assert_same_on_threads(both);
            }
        }
    }
}
