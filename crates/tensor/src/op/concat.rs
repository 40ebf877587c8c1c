//! Tensors one after another along an axis, copied. Any one type; the other axes agree.

use super::{check, slice::block};
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    error::{Error, Result},
    tensor::Tensor,
};

#[derive(Clone, Copy, Debug)]
pub struct Concat {
    pub axis: usize,
}

/// See the module. The axis counts from the end when negative.
pub fn concat(xs: &[&Var], axis: i64) -> Result<Var> {
    let Some(first) = xs.first() else { return Err(Error::argument("concat", "there is nothing to join")) };
    apply1(Concat { axis: check::axis("concat", &first.tensor, axis)? }, xs)
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn forward(&self, inputs: &[Tensor], _: &mut Saved) -> Result<Vec<Tensor>> {
        let (axis, first) = (self.axis, &inputs[0]);
        let mut shape = first.shape.clone();
        shape[axis] = 0;
        for x in inputs {
            check::dtype("concat", "a tensor", x, first.dtype)?;
            let apart = |(i, (a, b)): (usize, (&usize, &usize))| i != axis && a != b;
            if x.shape.len() != shape.len() || x.shape.iter().zip(&first.shape).enumerate().any(apart) {
                let message = format!("{:?} and {:?} differ in more than axis {axis}", first.shape, x.shape);
                return Err(Error::shape("concat", message));
            }
            shape[axis] += x.shape[axis];
        }
        let y = Tensor::empty(first.device(), &shape, first.dtype);
        let mut start = 0;
        for x in inputs {
            let d = block(&y, x, axis, start, false, false);
            y.device().submit("concat", move |b| b.copy_block(&d));
            start += x.shape[axis];
        }
        Ok(vec![y])
    }

    fn backward(&self, _: &[Tensor], grads: &mut Grads) -> Result<()> {
        let dy = grads.dy();
        let mut start = 0;
        for i in 0..grads.inputs() {
            if let Some(sink) = grads.sink(i)? {
                let d = block(&dy, &sink.tensor, self.axis, start, true, sink.accumulate);
                dy.device().submit("concat", move |b| b.copy_block(&d));
            }
            start += grads.shape(i)[self.axis];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{from_f64, from_i32, gradient_check, random, to_f64};

    #[test]
    fn by_hand() {
        let a = Var::constant(from_f64(&[2, 1], &[1.0, 2.0]));
        let b = Var::constant(from_f64(&[2, 2], &[3.0, 4.0, 5.0, 6.0]));
        let y = concat(&[&a, &b, &a], -1).unwrap().tensor;
        assert_eq!((&y.shape[..], to_f64(&y)), (&[2, 4][..], vec![1.0, 3.0, 4.0, 1.0, 2.0, 5.0, 6.0, 2.0]));
        let i = |v: &[i32]| Var::constant(from_i32(v));
        assert_eq!(to_f64(&concat(&[&i(&[1, 2]), &i(&[]), &i(&[3])], 0).unwrap().tensor), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn gradients() {
        for axis in [0, 1, 2] {
            let shape = |n| {
                let mut shape = vec![2, 3, 2];
                shape[axis as usize] = n;
                shape
            };
            let inputs = [random(&shape(1), 1), random(&shape(0), 2), random(&shape(4), 3)];
            gradient_check(&inputs, |v| concat(&[&v[0], &v[1], &v[2], &v[0]], axis));
        }
    }

    #[test]
    fn refusals() {
        let v = |shape: &[usize]| Var::constant(random(shape, 1));
        let message = |xs: &[&Var], axis| concat(xs, axis).expect_err("it does not fit").message;
        assert_eq!(message(&[], 0), "concat: there is nothing to join");
        assert_eq!(message(&[&v(&[2, 3]), &v(&[3, 3])], 1), "concat: [2, 3] and [3, 3] differ in more than axis 1");
        assert_eq!(message(&[&v(&[2, 3]), &v(&[2])], 0), "concat: [2, 3] and [2] differ in more than axis 0");
        assert_eq!(
            message(&[&v(&[2]), &Var::constant(from_i32(&[1]))], 0),
            "concat: a tensor is int32, but float64 is needed"
        );
    }
}
