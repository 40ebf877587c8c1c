//! Epps-Pulley statistic of SIGReg (LeJEPA, arXiv 2511.08544): how far the columns of x are from a standard normal, by their
//! characteristic function at some knots t:
//! `y[s] = N · Σ_k weight[k] · ((mean_n cos(t_k x[n,s]) − exp(−t_k²/2))² + (mean_n sin(t_k x[n,s]))²)`.
//!
//! x `[N, S]` float (N samples, projected on S directions), y `[S]` in float32 (float64 for float64).

use super::check;
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    backend::{self, EppsPulleyGrad},
    error::{Error, Result},
    tensor::Tensor,
};

#[derive(Clone, Debug)]
pub struct EppsPulley {
    pub knots: Vec<f64>,
    pub weights: Vec<f64>,
}

/// See the module.
pub fn epps_pulley(x: &Var, knots: &[f64], weights: &[f64]) -> Result<Var> {
    apply1(EppsPulley { knots: knots.to_vec(), weights: weights.to_vec() }, &[x])
}

impl EppsPulley {
    fn descriptor(&self, x: &Tensor, y: &Tensor, means: &Tensor) -> backend::EppsPulley {
        let (knots, weights) = (self.knots.clone(), self.weights.clone());
        backend::EppsPulley { x: x.clone(), knots, weights, y: y.clone(), means: means.clone() }
    }
}

impl Op for EppsPulley {
    fn name(&self) -> &'static str {
        "eppsPulley"
    }

    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>> {
        let x = &inputs[0];
        check::float("eppsPulley", "the input", x)?;
        let [n, columns] = check::matrix("eppsPulley", "the input", x)?;
        if n == 0 {
            return Err(Error::shape("eppsPulley", format!("{:?} has no samples", x.shape)));
        }
        if self.knots.len() != self.weights.len() || self.knots.is_empty() {
            let message = format!("{} knots, but {} weights", self.knots.len(), self.weights.len());
            return Err(Error::argument("eppsPulley", message));
        }
        self.knots.iter().try_for_each(|t| check::finite("eppsPulley", "a knot", *t))?;
        self.weights.iter().try_for_each(|w| check::finite("eppsPulley", "a weight", *w))?;
        let dtype = check::statistics(x.dtype);
        let y = Tensor::empty(x.device(), &[columns], dtype);
        let means = Tensor::empty(x.device(), &[columns, self.knots.len(), 2], dtype);
        [x, &y, &means].into_iter().for_each(|t| saved.push(t));
        let d = self.descriptor(x, &y, &means);
        x.device().submit("eppsPulley", move |b| b.epps_pulley(&d));
        Ok(vec![y])
    }

    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        let [x, y, means] = saved else { unreachable!("forward keeps three") };
        let (forward, dy) = (self.descriptor(x, y, means), grads.dy());
        if let Some(sink) = grads.sink(0)? {
            let d = EppsPulleyGrad { forward, dy, dx: sink.into() };
            x.device().submit("eppsPulley", move |b| b.epps_pulley_grad(&d));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{close, from_f64, gradient_check, random};

    #[test]
    fn by_hand() {
        // Two samples ±a: the sines cancel, the cosines are equal.
        let x = Var::constant(from_f64(&[2, 1], &[0.5, -0.5]));
        let y = epps_pulley(&x, &[1.0, 2.0], &[0.25, 3.0]).unwrap();
        let term = |t: f64| ((0.5 * t).cos() - (-t * t / 2.0).exp()).powi(2);
        close(&y.tensor, &[2.0 * (0.25 * term(1.0) + 3.0 * term(2.0))], 1e-12);
        let y = epps_pulley(&Var::constant(from_f64(&[1, 1], &[0.5])), &[1.0], &[1.0]).unwrap();
        close(&y.tensor, &[term(1.0) + 0.5f64.sin().powi(2)], 1e-12);
    }

    #[test]
    fn gradients() {
        for (n, s) in [(1, 1), (5, 3), (3, 17), (2, 0)] {
            gradient_check(&[random(&[n, s], 1)], |v| epps_pulley(&v[0], &[0.2, 1.0, 2.5], &[0.1, 0.5, 2.0]));
        }
    }

    #[test]
    fn refusals() {
        let message = |r: Result<Var>| r.expect_err("it does not fit").message;
        let x = Var::constant(random(&[2, 3], 1));
        assert_eq!(message(epps_pulley(&x, &[1.0], &[])), "eppsPulley: 1 knots, but 0 weights");
        assert_eq!(message(epps_pulley(&x, &[f64::NAN], &[1.0])), "eppsPulley: a knot is NaN");
        let flat = Var::constant(random(&[6], 1));
        assert_eq!(message(epps_pulley(&flat, &[1.0], &[1.0])), "eppsPulley: the input is [6], but a matrix is needed");
        let x = Var::constant(random(&[0, 3], 1));
        assert_eq!(message(epps_pulley(&x, &[1.0], &[1.0])), "eppsPulley: [0, 3] has no samples");
    }
}
