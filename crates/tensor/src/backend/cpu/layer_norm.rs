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
