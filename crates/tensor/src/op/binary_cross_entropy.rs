//! Binary cross-entropy of logits, element by element: `y = max(x, 0) − x·t + log(1 + exp(−|x|))`, the stable form of
//! `−t·log σ(x) − (1−t)·log(1 − σ(x))`.
//!
//! x of any shape and float type, targets t (constants, usually in 0..1) and y of its shape in float32 (float64 for float64).

use super::check;
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    backend,
    error::Result,
    tensor::Tensor,
};

#[derive(Clone, Copy, Debug)]
pub struct BinaryCrossEntropy;

/// See the module.
pub fn binary_cross_entropy(x: &Var, targets: &Tensor) -> Result<Var> {
    apply1(BinaryCrossEntropy, &[x, &Var::constant(targets.clone())])
}

impl Op for BinaryCrossEntropy {
    fn name(&self) -> &'static str {
        "binaryCrossEntropy"
    }

    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>> {
        let (x, targets) = (&inputs[0], &inputs[1]);
        check::float("binaryCrossEntropy", "the input", x)?;
        check::shape("binaryCrossEntropy", "targets", targets, &x.shape)?;
        check::dtype("binaryCrossEntropy", "targets", targets, check::statistics(x.dtype))?;
        let loss = targets.empty_like();
        [x, targets, &loss].into_iter().for_each(|t| saved.push(t));
        let d = backend::BinaryCrossEntropy { x: x.clone(), targets: targets.clone(), loss: loss.clone() };
        x.device().submit("binaryCrossEntropy", move |b| b.binary_cross_entropy(&d));
        Ok(vec![loss])
    }

    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        let [x, targets, loss] = saved else { unreachable!("forward keeps three") };
        let d = backend::BinaryCrossEntropy { x: x.clone(), targets: targets.clone(), loss: loss.clone() };
        let dy = grads.dy();
        if let Some(sink) = grads.sink(0)? {
            x.device().submit("binaryCrossEntropy", move |b| {
                b.binary_cross_entropy_grad(&d, &dy, &sink.tensor, sink.accumulate)
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        op::testing::{close, cpu, from_f64, gradient_check, random},
    };

    #[test]
    fn by_hand() {
        let x = Var::constant(from_f64(&[4], &[0.0, 1000.0, -1000.0, 3.0]));
        let y = binary_cross_entropy(&x, &from_f64(&[4], &[0.5, 0.0, 0.0, 1.0])).unwrap();
        close(&y.tensor, &[2f64.ln(), 1000.0, 0.0, (1.0 + (-3f64).exp()).ln()], 1e-12);
    }

    #[test]
    fn gradients() {
        for shape in [vec![1], vec![3, 5], vec![0, 2], vec![]] {
            let targets = random(&shape, 2);
            gradient_check(&[random(&shape, 1)], |v| binary_cross_entropy(&v[0], &targets));
        }
    }

    #[test]
    fn refusals() {
        let message = |r: Result<Var>| r.expect_err("it does not fit").message;
        let x = Var::constant(Tensor::zeros(&cpu(), &[2, 3], DType::BF16));
        assert_eq!(
            message(binary_cross_entropy(&x, &Tensor::zeros(&cpu(), &[3, 2], DType::F32))),
            "binaryCrossEntropy: targets is [3, 2], but [2, 3] is needed"
        );
        assert_eq!(
            message(binary_cross_entropy(&x, &x.tensor)),
            "binaryCrossEntropy: targets is bfloat16, but float32 is needed"
        );
    }
}
