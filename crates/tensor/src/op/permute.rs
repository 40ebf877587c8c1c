//! The axes in another order: axis i of y is axis `axes[i]` of x, copied. Any type.

use super::check;
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    error::{Error, Result},
    tensor::Tensor,
};

#[derive(Clone, Debug)]
pub struct Permute {
    pub axes: Vec<usize>,
}

/// See the module. Axes count from the end when negative.
pub fn permute(x: &Var, axes: &[i64]) -> Result<Var> {
    let axes_: Vec<usize> = axes.iter().map(|&a| check::axis("permute", &x.tensor, a)).collect::<Result<_>>()?;
    let mut sorted = axes_.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..x.tensor.shape.len()) {
        return Err(Error::argument(
            "permute",
            format!("{axes:?} does not name every axis of {:?} once", x.tensor.shape),
        ));
    }
    apply1(Permute { axes: axes_ }, &[x])
}

fn run(x: &Tensor, axes: &[usize]) -> Tensor {
    let shape: Vec<usize> = axes.iter().map(|&a| x.shape[a]).collect();
    let (x, axes, y) = (x.clone(), axes.to_vec(), Tensor::empty(x.device(), &shape, x.dtype));
    let out = y.clone();
    y.device().submit("permute", move |b| b.permute(&x, &axes, &out));
    y
}

impl Op for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn forward(&self, inputs: &[Tensor], _: &mut Saved) -> Result<Vec<Tensor>> {
        Ok(vec![run(&inputs[0], &self.axes)])
    }

    fn backward(&self, _: &[Tensor], grads: &mut Grads) -> Result<()> {
        let mut inverse = vec![0; self.axes.len()];
        for (i, &axis) in self.axes.iter().enumerate() {
            inverse[axis] = i;
        }
        let dx = run(&grads.dy(), &inverse);
        grads.give(0, dx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{from_f64, from_i32, gradient_check, random, to_f64};

    #[test]
    fn by_hand() {
        let x = Var::constant(from_f64(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let y = permute(&x, &[1, 0]).unwrap().tensor;
        assert_eq!((&y.shape[..], to_f64(&y)), (&[3, 2][..], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
        let x = Var::constant(from_i32(&[1, 2, 3, 4, 5, 6]).reshape(&[1, 2, 3]).unwrap());
        let y = permute(&x, &[-1, 0, 1]).unwrap().tensor;
        assert_eq!((&y.shape[..], to_f64(&y)), (&[3, 1, 2][..], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
    }

    #[test]
    fn gradients() {
        for (shape, axes) in [
            (vec![], vec![]),
            (vec![5], vec![0]),
            (vec![2, 3], vec![1, 0]),
            (vec![2, 3, 4], vec![2, 0, 1]),
            (vec![2, 1, 3, 2], vec![3, 1, 0, 2]),
            (vec![2, 0, 3], vec![2, 1, 0]),
        ] {
            gradient_check(&[random(&shape, 1)], |v| permute(&v[0], &axes));
        }
    }

    #[test]
    fn refusals() {
        let x = Var::constant(random(&[2, 3], 1));
        let message = |axes: &[i64]| permute(&x, axes).expect_err("it does not fit").message;
        assert_eq!(message(&[0, 0]), "permute: [0, 0] does not name every axis of [2, 3] once");
        assert_eq!(message(&[0]), "permute: [0] does not name every axis of [2, 3] once");
        assert_eq!(message(&[0, 2]), "permute: there is no axis 2 in [2, 3]");
    }
}
