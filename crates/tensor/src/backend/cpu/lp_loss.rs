//! The JEPA loss, with the layer norm of the targets and their gathering.

use super::{
    element::{Input, Output, Real, indices_below, with_real},
    lanes,
    layer_norm::statistics,
    parallel::for_rows,
};
use crate::{
    backend::{LpLoss, LpLossGrad},
    error::Result,
};

pub fn lp_loss(d: &LpLoss) -> Result<()> {
    with_real!(d.y.dtype, A => forward::<A>(d))
}

/// The targets: row `rows[m]` of h, normalised.
struct Targets<'a, A> {
    h: Input<'a>,
    rows: &'a [i32],
    columns: usize,
    eps: Option<A>,
}

impl<'a, A: Real> Targets<'a, A> {
    fn new(d: &'a LpLoss) -> Result<Self> {
        let rows = indices_below(&d.rows, d.h.rows(), "row")?;
        Ok(Targets { h: Input::new(&d.h)?, rows, columns: d.z.columns(), eps: d.norm_eps.map(A::of) })
    }

    #[inline(always)]
    fn load(&self, m: usize, out: &mut [A]) {
        self.h.load(self.rows[m] as usize * self.columns, out);
        if let Some(eps) = self.eps {
            let (mean, rstd) = statistics(out, eps);
            out.iter_mut().for_each(|v| *v = (*v - mean) * rstd);
        }
    }
}

fn forward<A: Real>(d: &LpLoss) -> Result<()> {
    let (rows, columns) = (d.z.rows(), d.z.columns());
    let targets = Targets::<A>::new(d)?;
    let (z, y) = (Input::new(&d.z)?, Output::new(&d.y)?);
    let p = A::of(d.p);
    let scale = A::ONE / (p * A::of(columns as f64));
    for_rows(
        rows,
        columns,
        #[inline(always)]
        |block| {
            let (mut t, mut wide) = (vec![A::ZERO; columns], vec![A::ZERO; columns]);
            for m in block {
                targets.load(m, &mut t);
                let z = z.run(m * columns, columns, &mut wide);
                let sum = match d.p {
                    1.0 => lanes::sum_by2(z, &t, |z, t| (z - t).abs()),
                    2.0 => lanes::sum_by2(z, &t, |z, t| (z - t) * (z - t)),
                    _ => lanes::sum_by2(z, &t, |z, t| (z - t).abs().powf(p)),
                };
                y.store(m, &[sum * scale]);
            }
        },
    );
    Ok(())
}

pub fn lp_loss_grad(d: &LpLossGrad) -> Result<()> {
    with_real!(d.forward.y.dtype, A => backward::<A>(d))
}

fn backward<A: Real>(d: &LpLossGrad) -> Result<()> {
    let (rows, columns) = (d.forward.z.rows(), d.forward.z.columns());
    let targets = Targets::<A>::new(&d.forward)?;
    let (z, dy) = (Input::new(&d.forward.z)?, Input::new(&d.dy)?);
    let dz = Output::add_to(&d.dz.0, d.dz.1)?;
    let p = d.forward.p;
    let power = A::of(p - 1.0);
    let n = A::of(columns as f64);
    for_rows(
        rows,
        columns,
        #[inline(always)]
        |block| {
            let (mut t, mut wide) = (vec![A::ZERO; columns], vec![A::ZERO; columns]);
            for m in block {
                targets.load(m, &mut t);
                let z = z.run(m * columns, columns, &mut wide);
                let mut scale = [A::ZERO];
                dy.load(m, &mut scale);
                let scale = scale[0] / n;
                let pairs = t.iter_mut().zip(z);
                match p {
                    1.0 => pairs.for_each(|(t, &z)| *t = (z - *t).sign() * scale),
                    2.0 => pairs.for_each(|(t, &z)| *t = (z - *t) * scale),
                    _ => pairs.for_each(|(t, &z)| {
                        let d = z - *t;
                        // 0 where z = t, whatever the power says.
                        *t = if d == A::ZERO { A::ZERO } else { d.abs().powf(power) * d.sign() * scale };
                    }),
                }
                dz.store(m * columns, &t);
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
        backend::cpu::testing::{FLOATS, assert_close, assert_same_on_threads, empty, int, random, run, to_vec},
        tensor::Tensor,
    };

    fn targets(h: &Tensor, rows: &[i32], eps: Option<f64>) -> Vec<f64> {
        let (n, h) = (h.shape[1], to_vec(h));
        rows.iter()
            .flat_map(|&r| {
                let row = &h[r as usize * n..(r as usize + 1) * n];
                let mean = row.iter().sum::<f64>() / n as f64;
                let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
                row.iter().map(|v| eps.map_or(*v, |eps| (v - mean) / (variance + eps).sqrt())).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn loss_and_gradient_against_the_formula() {
        for (z_type, h_type) in
            [(DType::F32, DType::F32), (DType::BF16, DType::F32), (DType::BF16, DType::BF16), (DType::F64, DType::F64)]
        {
            for [m, r, n] in [[1, 1, 2], [7, 3, 33], [500, 90, 192], [0, 3, 4]] {
                for p in [1.0, 2.0, 1.5] {
                    for eps in [Some(1e-6), None] {
                        let (z, h) = (random(&[m, n], 1, z_type), random(&[r, n], 2, h_type));
                        let rows: Vec<i32> = (0..m).map(|i| (i * 7 % r) as i32).collect();
                        let t = targets(&h, &rows, eps);
                        let kept = if z_type == DType::F64 { DType::F64 } else { DType::F32 };
                        let (dy, zs) = (random(&[m], 3, kept), to_vec(&z));
                        let slopes = to_vec(&dy);
                        let loss: Vec<f64> = (0..m)
                            .map(|i| {
                                (0..n).map(|c| (zs[i * n + c] - t[i * n + c]).abs().powf(p)).sum::<f64>()
                                    / (p * n as f64)
                            })
                            .collect();
                        let before = to_vec(&random(&[m, n], 4, z_type));
                        let gradient: Vec<f64> = (0..m * n)
                            .map(|i| {
                                let d = zs[i] - t[i];
                                // 0.0 has a sign, but no slope.
                                let slope = if d == 0.0 { 0.0 } else { d.abs().powf(p - 1.0) * d.signum() };
                                before[i] + slopes[i / n] / n as f64 * slope
                            })
                            .collect();
                        let both = || {
                            let (y, dz) = (empty(&[m], kept), random(&[m, n], 4, z_type));
                            let forward =
                                LpLoss { z: z.clone(), h: h.clone(), rows: int(&rows), p, norm_eps: eps, y: y.clone() };
                            let grad = LpLossGrad { forward: forward.clone(), dy: dy.clone(), dz: (dz.clone(), true) };
                            run(&[1], kept, |b, _| {
                                b.lp_loss(&forward)?;
                                b.lp_loss_grad(&grad)
                            });
                            vec![y, dz]
                        };
                        let got = both();
                        // The normalisation of two elements amplifies rounding.
                        let scale = if n == 2 { 50.0 } else { 2.0 };
                        assert_close(&got[0], &loss, scale);
                        assert_close(&got[1], &gradient, scale);
                        assert_same_on_threads(both);
                    }
                }
            }
        }
    }

    #[test]
    fn no_gradient_where_they_are_equal() {
        for dtype in FLOATS {
            for p in [0.5, 1.0, 1.5, 2.0] {
                let z = random(&[2, 3], 1, dtype);
                let kept = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
                let forward =
                    LpLoss { z: z.clone(), h: z.clone(), rows: int(&[0, 1]), p, norm_eps: None, y: empty(&[2], kept) };
                let (dy, dz) = (random(&[2], 3, kept), empty(&[2, 3], dtype));
                let grad = LpLossGrad { forward, dy, dz: (dz.clone(), false) };
                run(&[1], kept, |b, _| b.lp_loss_grad(&grad));
                assert_eq!(to_vec(&dz), [0.0; 6], "p = {p}");
            }
        }
    }
}
