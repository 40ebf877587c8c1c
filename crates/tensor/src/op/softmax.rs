//! Softmax over the last axis: `y = exp(x − max x) / Σ exp(x − max x)`, of x's shape and type; sums in f32 (f64 for float64).

use super::check;
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    error::{Error, Result},
    tensor::Tensor,
};

#[derive(Clone, Copy, Debug)]
pub struct Softmax;

/// See the module.
pub fn softmax(x: &Var) -> Result<Var> {
    apply1(Softmax, &[x])
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>> {
        let x = &inputs[0];
        check::float("softmax", "the input", x)?;
        if x.shape.is_empty() || x.columns() == 0 {
            return Err(Error::shape("softmax", format!("{:?} has nothing to divide one among", x.shape)));
        }
        let (x, y) = (x.clone(), x.empty_like());
        saved.push(&y);
        let out = y.clone();
        y.device().submit("softmax", move |b| b.softmax(&x, &out));
        Ok(vec![y])
    }

    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        let (y, dy, dx) = (saved[0].clone(), grads.dy(), saved[0].empty_like());
        let out = dx.clone();
        dx.device().submit("softmax", move |b| b.softmax_grad(&y, &dy, &out));
        grads.give(0, dx)
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
        let x = Var::constant(from_f64(&[2, 2], &[1000.0, 1000.0, 0.0, 3f64.ln()]));
        close(&softmax(&x).unwrap().tensor, &[0.5, 0.5, 0.25, 0.75], 1e-12);
    }

    #[test]
    fn gradients() {
        for shape in [vec![1], vec![7], vec![3, 5], vec![2, 3, 17], vec![0, 3]] {
            gradient_check(&[random(&shape, 1)], |v| softmax(&v[0]));
        }
    }

    #[test]
    fn refusals() {
        let refused = |shape: &[usize], dtype| {
            softmax(&Var::constant(Tensor::zeros(&cpu(), shape, dtype))).expect_err("not allowed").message
        };
        assert_eq!(refused(&[2, 0], DType::F32), "softmax: [2, 0] has nothing to divide one among");
        assert_eq!(refused(&[2], DType::I32), "softmax: the input is int32, but a float type is needed");
    }
}
