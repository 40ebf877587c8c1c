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
