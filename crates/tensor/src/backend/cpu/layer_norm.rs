//! Layer norm over rows.

use super::{
    element::{Input, Output, Real, with_real},
    lanes,
    parallel::{for_blocks, for_rows, rows_per_task},
    shared::Shared,
};
use crate::{
    backend::{LayerNorm, LayerNormGrad},
    error::Result,
};

pub fn layer_norm(d: &LayerNorm) -> Result<()> {
    with_real!(d.x.dtype, A => forward::<A>(d))
}

/// Mean and 1/sqrt(variance + eps) of a row.
#[inline(always)]
pub fn statistics<A: Real>(row: &[A], eps: A) -> (A, A) {
    let n = A::of(row.len() as f64);
    let mean = lanes::sum(row) / n;
    let variance = lanes::sum_by(row, |x| (x - mean) * (x - mean)) / n;
    (mean, A::ONE / (variance + eps).sqrt())
}

fn forward<A: Real>(d: &LayerNorm) -> Result<()> {
    let (rows, columns) = (d.x.rows(), d.x.columns());
    let weight = Input::optional(&d.weight)?.map(|w| w.to_vec::<A>());
    let bias = Input::optional(&d.bias)?.map(|b| b.to_vec::<A>());
    let (x, y) = (Input::new(&d.x)?, Output::new(&d.y)?);
    let (means, rstds) = (Output::new(&d.mean)?, Output::new(&d.rstd)?);
    let eps = A::of(d.eps);
    for_rows(
        rows,
        columns,
        #[inline(always)]
        |rows| {
            let (mut wide, mut out) = (vec![A::ZERO; columns], vec![A::ZERO; columns]);
            for r in rows {
                let row = x.run(r * columns, columns, &mut wide);
                let (mean, rstd) = statistics(row, eps);
                for (o, &x) in out.iter_mut().zip(row) {
                    *o = (x - mean) * rstd;
                }
                if let Some(w) = &weight {
                    out.iter_mut().zip(w).for_each(|(o, &w)| *o = *o * w);
                }
                if let Some(b) = &bias {
                    out.iter_mut().zip(b).for_each(|(o, &b)| *o += b);
                }
                y.store(r * columns, &out);
                means.store(r, &[mean]);
                rstds.store(r, &[rstd]);
            }
        },
    );
    Ok(())
}

pub fn layer_norm_grad(d: &LayerNormGrad) -> Result<()> {
    with_real!(d.x.dtype, A => backward::<A>(d))
}

/// With x̂ = (x − mean)·rstd and g = dy·weight: `dx = rstd·(g − mean(g) − x̂·mean(g·x̂))`, `dweight = Σ dy·x̂`, `dbias = Σ dy`. The sums
/// over rows are kept for each block of rows and added in order.
fn backward<A: Real>(d: &LayerNormGrad) -> Result<()> {
    let (rows, columns) = (d.x.rows(), d.x.columns());
    let weight = Input::optional(&d.weight)?.map(|w| w.to_vec::<A>());
    let (x, dy) = (Input::new(&d.x)?, Input::new(&d.dy)?);
    let (means, rstds) = (Input::new(&d.mean)?, Input::new(&d.rstd)?);
    let dx = Output::optional(&d.dx)?;
    let (dweight, dbias) = (Output::optional(&d.dweight)?, Output::optional(&d.dbias)?);
    let (want_weight, want_bias) = (dweight.is_some(), dbias.is_some());
    let height = rows_per_task(columns);
    let blocks = rows.div_ceil(height);
    let mut partial = vec![A::ZERO; if want_weight || want_bias { blocks * 2 * columns } else { 0 }];
    let sums = Shared::new(&mut partial);
    let n = A::of(columns as f64);
    for_blocks(
        rows,
        height,
        #[inline(always)]
        |block| {
            let (mut wide, mut gradient) = (vec![A::ZERO; columns], vec![A::ZERO; columns]);
            let (mut normal, mut out) = (vec![A::ZERO; columns], vec![A::ZERO; columns]);
            let index = block.start / height;
            for r in block {
                let row = x.run(r * columns, columns, &mut wide);
                let dy = dy.run(r * columns, columns, &mut gradient);
                let (mut mean, mut rstd) = ([A::ZERO], [A::ZERO]);
                means.load(r, &mut mean);
                rstds.load(r, &mut rstd);
                let (mean, rstd) = (mean[0], rstd[0]);
                for (o, &x) in normal.iter_mut().zip(row) {
                    *o = (x - mean) * rstd;
                }
                if want_weight {
                    // This block's own part.
                    let sum = unsafe { sums.part(index * 2 * columns, columns) };
                    for ((s, &g), &x) in sum.iter_mut().zip(dy).zip(&normal) {
                        *s += g * x;
                    }
                }
                if want_bias {
                    let sum = unsafe { sums.part((index * 2 + 1) * columns, columns) };
                    for (s, &g) in sum.iter_mut().zip(dy) {
                        *s += g;
                    }
                }
                let Some(dx) = dx else { continue };
                match &weight {
                    Some(w) => out.iter_mut().zip(dy).zip(w).for_each(|((o, &g), &w)| *o = g * w),
                    None => out.copy_from_slice(dy),
                }
                let shift = lanes::sum(&out) / n;
                let slope = lanes::sum_by2(&out, &normal, |g, x| g * x) / n;
                for (o, &x) in out.iter_mut().zip(&normal) {
                    *o = rstd * (*o - shift - x * slope);
                }
                dx.store(r * columns, &out);
            }
        },
    );
    for (which, output) in [dweight, dbias].into_iter().enumerate() {
        let Some(output) = output else { continue };
        let mut total = vec![A::ZERO; columns];
        for block in 0..blocks {
            let part = &partial[(block * 2 + which) * columns..][..columns];
            total.iter_mut().zip(part).for_each(|(t, &p)| *t += p);
        }
        output.store(0, &total);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        backend::cpu::testing::{FLOATS, assert_close, assert_same_on_threads, random, run, to_vec, tolerance},
        tensor::Tensor,
    };

    const SHAPES: [[usize; 2]; 6] = [[1, 1], [5, 7], [40, 192], [700, 65], [3, 2000], [0, 4]];

    fn statistics_type(dtype: DType) -> DType {
        if dtype == DType::F64 { DType::F64 } else { DType::F32 }
    }

    /// x, weight, bias, and what the forward pass gives.
    fn forward(x: &Tensor, affine: Option<&(Tensor, Tensor)>, out: DType) -> LayerNorm {
        let [rows, _] = x.shape[..] else { panic!("a matrix") };
        let kept = statistics_type(x.dtype);
        let empty = |shape: &[usize], dtype| Tensor::empty(x.device(), shape, dtype);
        let d = LayerNorm {
            x: x.clone(),
            weight: affine.map(|a| a.0.clone()),
            bias: affine.map(|a| a.1.clone()),
            eps: 1e-6,
            y: empty(&x.shape, out),
            mean: empty(&[rows], kept),
            rstd: empty(&[rows], kept),
        };
        run(&[1], DType::F32, |b, _| b.layer_norm(&d));
        d
    }

    /// x̂ and rstd in f64.
    fn normal(x: &Tensor) -> (Vec<f64>, Vec<f64>) {
        let n = x.shape[1];
        let (mut out, mut rstds) = (vec![], vec![]);
        for row in to_vec(x).chunks(n) {
            let mean = row.iter().sum::<f64>() / n as f64;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
            let rstd = 1.0 / (variance + 1e-6).sqrt();
            out.extend(row.iter().map(|v| (v - mean) * rstd));
            rstds.push(rstd);
        }
        (out, rstds)
    }

    #[test]
    fn formulae_in_every_mixture_of_types() {
        for from in FLOATS {
            for to in FLOATS {
                for [rows, n] in SHAPES {
                    // A single column has no variance: rstd is 1000, and so is the rounding.
                    let scale = if n == 1 { 2000.0 } else { 4.0 };
                    let x = random(&[rows, n], 1, from);
                    let affine = (random(&[n], 2, statistics_type(from)), random(&[n], 3, statistics_type(from)));
                    let dy = random(&[rows, n], 4, to);
                    let (hat, rstd) = normal(&x);
                    let (w, b, g) = (to_vec(&affine.0), to_vec(&affine.1), to_vec(&dy));
                    let d = forward(&x, Some(&affine), to);
                    let expected: Vec<f64> = hat.iter().enumerate().map(|(i, h)| h * w[i % n] + b[i % n]).collect();
                    // Rounding is that of the less exact type.
                    let bound = scale * tolerance(statistics_type(from)).max(tolerance(to)) / tolerance(to);
                    assert_close(&d.y, &expected, bound);
                    let plain = forward(&x, None, to);
                    assert_close(&plain.y, &hat, bound);

                    let mut expected = vec![];
                    for (r, rstd) in rstd.iter().enumerate() {
                        let at = r * n..(r + 1) * n;
                        let shift = at.clone().map(|i| g[i] * w[i % n]).sum::<f64>() / n as f64;
                        let slope = at.clone().map(|i| g[i] * w[i % n] * hat[i]).sum::<f64>() / n as f64;
                        expected.extend(at.map(|i| rstd * (g[i] * w[i % n] - shift - hat[i] * slope)));
                    }
                    let kept = statistics_type(from);
                    let (dx, dw, db) = (random(&x.shape, 5, from), random(&[n], 6, kept), random(&[n], 7, kept));
                    let before = to_vec(&dx);
                    let grad = LayerNormGrad {
                        x: x.clone(),
                        weight: d.weight.clone(),
                        mean: d.mean.clone(),
                        rstd: d.rstd.clone(),
                        dy: dy.clone(),
                        dx: Some((dx.clone(), true)),
                        dweight: Some((dw.clone(), false)),
                        dbias: Some((db.clone(), false)),
                    };
                    run(&[1], DType::F32, |b, _| b.layer_norm_grad(&grad));
                    let expected: Vec<f64> = expected.iter().zip(before).map(|(e, b)| e + b).collect();
                    assert_close(&dx, &expected, scale * if n == 1 { 1.0 } else { 2.0 });
                    let sum = |f: &dyn Fn(usize) -> f64| -> Vec<f64> {
                        (0..n).map(|c| (0..rows).map(|r| f(r * n + c)).sum()).collect()
                    };
                    assert_close(&dw, &sum(&|i| g[i] * hat[i]), scale * 20.0);
                    assert_close(&db, &sum(&|i| g[i]), 80.0);
                }
            }
        }
    }

    #[test]
    fn threads() {
        for [rows, n] in SHAPES {
            let x = random(&[rows, n], 1, DType::F32);
            let (weight, bias, dy) =
                (random(&[n], 2, DType::F32), random(&[n], 3, DType::F32), random(&[rows, n], 4, DType::BF16));
            assert_same_on_threads(|| {
                let d = forward(&x, Some(&(weight.clone(), bias.clone())), DType::BF16);
                let empty = |shape: &[usize]| Tensor::empty(x.device(), shape, DType::F32);
                let (dx, dw, db) = (empty(&x.shape), empty(&[n]), empty(&[n]));
                let grad = LayerNormGrad {
                    x: x.clone(),
                    weight: Some(weight.clone()),
                    mean: d.mean.clone(),
                    rstd: d.rstd.clone(),
                    dy: dy.clone(),
                    dx: Some((dx.clone(), false)),
                    dweight: Some((dw.clone(), false)),
                    dbias: Some((db.clone(), false)),
                };
                run(&[1], DType::F32, |b, _| b.layer_norm_grad(&grad));
                vec![d.y, d.mean, d.rstd, dx, dw, db]
            });
        }
    }
}
