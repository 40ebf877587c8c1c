//! Cross-entropy of logits with class labels, a number a row: `y[m] = logsumexp(x[m]) − (1−s)·x[m, label[m]] − s·mean_c x[m, c]`,
//! s the label smoothing (Szegedy et al., arXiv 1512.00567; PyTorch's `cross_entropy`).
//!
//! x `[M, C]` float, labels I32 `[M]` in 0..C, y `[M]` in float32 (float64 for float64).

use super::check;
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    backend,
    error::{Error, Result},
    tensor::Tensor,
};

#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy {
    pub smoothing: f64,
}

/// See the module.
pub fn cross_entropy(x: &Var, labels: &Tensor, smoothing: f64) -> Result<Var> {
    apply1(CrossEntropy { smoothing }, &[x, &Var::constant(labels.clone())])
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "crossEntropy"
    }

    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>> {
        let (x, labels) = (&inputs[0], &inputs[1]);
        check::float("crossEntropy", "the input", x)?;
        let [m, classes] = check::matrix("crossEntropy", "the input", x)?;
        check::indices("crossEntropy", "labels", labels, m)?;
        if classes == 0 {
            return Err(Error::shape("crossEntropy", format!("{:?} has no classes", x.shape)));
        }
        if !(0.0..=1.0).contains(&self.smoothing) {
            return Err(Error::argument(
                "crossEntropy",
                format!("label smoothing is {}, not within 0..1", self.smoothing),
            ));
        }
        let loss = Tensor::empty(x.device(), &[m], check::statistics(x.dtype));
        let lse = loss.empty_like();
        [x, labels, &loss, &lse].into_iter().for_each(|t| saved.push(t));
        let d = self.descriptor(x, labels, &loss, &lse);
        loss.device().submit("crossEntropy", move |b| b.cross_entropy(&d));
        Ok(vec![loss])
    }

    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        let [x, labels, loss, lse] = saved else { unreachable!("forward keeps four") };
        let (d, dy) = (self.descriptor(x, labels, loss, lse), grads.dy());
        if let Some(sink) = grads.sink(0)? {
            x.device().submit("crossEntropy", move |b| b.cross_entropy_grad(&d, &dy, &sink.tensor, sink.accumulate));
        }
        Ok(())
    }
}

impl CrossEntropy {
    fn descriptor(&self, x: &Tensor, labels: &Tensor, loss: &Tensor, lse: &Tensor) -> backend::CrossEntropy {
        let (x, labels, loss, lse) = (x.clone(), labels.clone(), loss.clone(), lse.clone());
        backend::CrossEntropy { x, labels, smoothing: self.smoothing, loss, lse }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{close, fault, from_f64, from_i32, gradient_check, random};

    #[test]
    fn by_hand() {
        let x = Var::constant(from_f64(&[2, 3], &[0.0, 0.0, 0.0, 1000.0, 0.0, -1000.0]));
        let y = cross_entropy(&x, &from_i32(&[1, 2]), 0.0).unwrap();
        close(&y.tensor, &[3f64.ln(), 2000.0], 1e-12);
        // Smoothed by a half: 1000 − (½·(−1000) + ½·0).
        let y = cross_entropy(&x, &from_i32(&[1, 2]), 0.5).unwrap();
        close(&y.tensor, &[3f64.ln(), 1500.0], 1e-12);
    }

    #[test]
    fn gradients() {
        for (m, c) in [(1, 1), (3, 2), (2, 33), (0, 4)] {
            let labels = from_i32(&(0..m).map(|i| (i * 5 % c) as i32).collect::<Vec<_>>());
            for smoothing in [0.0, 0.1, 1.0] {
                gradient_check(&[random(&[m, c], 1)], |v| cross_entropy(&v[0], &labels, smoothing));
            }
        }
    }

    #[test]
    fn refusals() {
        let message = |r: Result<Var>| r.expect_err("it does not fit").message;
        let x = || Var::constant(random(&[2, 3], 1));
        assert_eq!(
            message(cross_entropy(&x(), &from_i32(&[1]), 0.0)),
            "crossEntropy: labels is [1], but [2] is needed"
        );
        assert_eq!(
            message(cross_entropy(&Var::constant(random(&[2, 3, 1], 1)), &from_i32(&[1, 1]), 0.0)),
            "crossEntropy: the input is [2, 3, 1], but a matrix is needed"
        );
        assert_eq!(
            message(cross_entropy(&Var::constant(random(&[2, 0], 1)), &from_i32(&[1, 1]), 0.0)),
            "crossEntropy: [2, 0] has no classes"
        );
        assert_eq!(
            message(cross_entropy(&x(), &from_i32(&[1, 1]), 1.5)),
            "crossEntropy: label smoothing is 1.5, not within 0..1"
        );
        for bad in [-1, 3] {
            fault("crossEntropy: ", || cross_entropy(&x(), &from_i32(&[0, bad]), 0.0));
        }
    }
}
