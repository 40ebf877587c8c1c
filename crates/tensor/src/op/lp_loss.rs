//! The JEPA regression loss, a line of it a token: `y[m] = mean_d |z[m,d] − t[m,d]|^p / p`.
//!
//! z `[M, D]` are the predictions, t the targets: row `rows[m]` of h `[R, D]` after a layer norm without weights (with `norm_eps`; as
//! it is without). y `[M]` is float32 (float64 for float64). The target is a constant: only z gets a gradient,
//! `dy[m]/D·|z − t|^(p−1)·sign(z − t)`, which is 0 where z = t.

use super::check;
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    backend::{self, LpLossGrad},
    error::{Error, Result},
    tensor::Tensor,
};

#[derive(Clone, Copy, Debug)]
pub struct LpLoss {
    pub p: f64,
    pub norm_eps: Option<f64>,
}

/// See the module.
pub fn lp_loss(z: &Var, h: &Var, rows: &Tensor, p: f64, norm_eps: Option<f64>) -> Result<Var> {
    apply1(LpLoss { p, norm_eps }, &[z, &h.detach(), &Var::constant(rows.clone())])
}

impl LpLoss {
    fn descriptor(&self, inputs: &[Tensor]) -> Result<backend::LpLoss> {
        let name = "lpLoss";
        let [z, h, rows] = inputs else { unreachable!("applied to three") };
        check::float(name, "z", z)?;
        check::float(name, "h", h)?;
        check::precision(name, &[("z", z.dtype), ("h", h.dtype)])?;
        let ([m, d], [_, columns]) = (check::matrix(name, "z", z)?, check::matrix(name, "h", h)?);
        if d != columns || d == 0 {
            return Err(Error::shape(name, format!("z is {:?} but h {:?} (expected [R, {d}])", z.shape, h.shape)));
        }
        check::indices(name, "rows", rows, m)?;
        if !(self.p > 0.0 && self.p.is_finite()) {
            return Err(Error::argument(name, format!("p is {}, but must be above 0", self.p)));
        }
        if let Some(eps) = self.norm_eps
            && !(eps >= 0.0 && eps.is_finite())
        {
            return Err(Error::argument(name, format!("the layer norm's eps is {eps}")));
        }
        let y = Tensor::empty(z.device(), &[m], check::statistics(z.dtype));
        Ok(backend::LpLoss { z: z.clone(), h: h.clone(), rows: rows.clone(), p: self.p, norm_eps: self.norm_eps, y })
    }
}

impl Op for LpLoss {
    fn name(&self) -> &'static str {
        "lpLoss"
    }

    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>> {
        let d = self.descriptor(inputs)?;
        inputs.iter().for_each(|t| saved.push(t));
        let y = d.y.clone();
        y.device().submit("lpLoss", move |b| b.lp_loss(&d));
        Ok(vec![y])
    }

    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        let (forward, dy) = (self.descriptor(saved)?, grads.dy());
        if let Some(sink) = grads.sink(0)? {
            let d = LpLossGrad { forward, dy, dz: sink.into() };
            saved[0].device().submit("lpLoss", move |b| b.lp_loss_grad(&d));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        autograd::backward,
        op::testing::{close, cpu, fault, from_f64, from_i32, gradient_check, random, to_f64},
    };

    #[test]
    fn by_hand() {
        let z = Var::constant(from_f64(&[2, 2], &[1.0, 2.0, -1.0, 0.0]));
        let h = Var::constant(from_f64(&[3, 2], &[9.0, 9.0, 0.0, 4.0, 3.0, 3.0]));
        let rows = from_i32(&[1, 0]);
        let loss = |p, eps| lp_loss(&z, &h, &rows, p, eps).unwrap().tensor;
        close(&loss(1.0, None), &[1.5, 9.5], 1e-12);
        close(&loss(2.0, None), &[1.25, (100.0 + 81.0) / 4.0], 1e-12);
        // The layer norm of (0, 4) with eps 0 is (−1, 1), that of (9, 9) with any other is 0.
        close(&lp_loss(&z, &h, &from_i32(&[1, 1]), 1.0, Some(0.0)).unwrap().tensor, &[1.5, 0.5], 1e-12);
        close(&loss(1.0, Some(1e-6)).view(1, &[1]).unwrap(), &[0.5], 1e-12);
    }

    #[test]
    fn gradients() {
        for (m, d) in [(1, 1), (4, 3), (3, 17), (0, 2)] {
            let h = Var::constant(random(&[5, d], 2));
            let rows = from_i32(&(0..m).map(|i| (i * 3 % 5) as i32).collect::<Vec<_>>());
            for p in [1.0, 1.5, 2.0, 3.0] {
                for eps in [None, Some(1e-2)] {
                    gradient_check(&[random(&[m, d], 1)], |v| lp_loss(&v[0], &h, &rows, p, eps));
                }
            }
        }
    }

    #[test]
    fn no_gradient_where_equal_nor_for_the_target() {
        let z = Var::leaf(from_f64(&[1, 2], &[1.0, 3.0]), None).unwrap();
        let h = Var::leaf(from_f64(&[1, 2], &[1.0, 2.0]), None).unwrap();
        let y = lp_loss(&z, &h, &from_i32(&[0]), 1.0, None).unwrap();
        backward(&[(y, from_f64(&[1], &[1.0]))]).unwrap();
        assert_eq!(to_f64(&z.grad().unwrap()), [0.0, 0.5]);
        assert!(h.grad().is_none());
    }

    #[test]
    fn refusals() {
        let zeros = |shape: &[usize]| Var::constant(Tensor::zeros(&cpu(), shape, DType::F32));
        let message = |r: Result<Var>| r.expect_err("it does not fit").message;
        let rows = from_i32(&[0, 0]);
        let z = zeros(&[2, 3]);
        assert_eq!(
            message(lp_loss(&z, &zeros(&[2, 4]), &rows, 1.0, None)),
            "lpLoss: z is [2, 3] but h [2, 4] (expected [R, 3])"
        );
        assert_eq!(message(lp_loss(&z, &z, &from_i32(&[0]), 1.0, None)), "lpLoss: rows is [1], but [2] is needed");
        assert_eq!(message(lp_loss(&z, &z, &rows, 0.0, None)), "lpLoss: p is 0, but must be above 0");
        fault("lpLoss: ", || {
            let z = Var::constant(random(&[2, 3], 1));
            lp_loss(&z, &z, &from_i32(&[0, 2]), 1.0, None)
        });
    }
}
