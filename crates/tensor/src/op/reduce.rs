//! Sum, mean, largest or smallest over some axes.
//!
//! x of any shape and float type; y has its type (bf16 is summed in f32). No axes means all of them; `keepdim` leaves the axes with
//! size 1. The sum of nothing is 0, its mean NaN; it has no largest element. The gradient of max and min goes to the first of equal
//! elements (row by row), as in PyTorch's `max` over one axis, and to none where the result is NaN.

use super::{arithmetic as raw, arithmetic::Run, cast::cast, check, reshape::reshape};
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    backend::{self, Binary, Reduction},
    dtype::DType,
    error::{Error, Result},
    tensor::Tensor,
};

/// One stretch of neighbouring axes.
#[derive(Clone, Debug)]
struct Reduce {
    op: Reduction,
    run: Run,
    from: DType,
    to: DType,
}

fn name(op: Reduction) -> &'static str {
    match op {
        Reduction::Sum => "sum",
        Reduction::Mean => "mean",
        Reduction::Max => "max",
        Reduction::Min => "min",
    }
}

/// See the module. Axes count from the end when negative.
pub fn reduce(x: &Var, axes: &[i64], keepdim: bool, op: Reduction) -> Result<Var> {
    check::float(name(op), "the input", &x.tensor)?;
    let shape = x.tensor.shape.clone();
    let mut reduced = vec![axes.is_empty(); shape.len()];
    for &a in axes {
        let axis = check::axis(name(op), &x.tensor, a)?;
        if std::mem::replace(&mut reduced[axis], true) {
            return Err(Error::argument(name(op), format!("axis {axis} is named twice in {axes:?}")));
        }
    }
    if matches!(op, Reduction::Max | Reduction::Min) && shape.iter().zip(&reduced).any(|(&n, &r)| r && n == 0) {
        return Err(Error::shape(name(op), format!("{shape:?} has an axis of no elements to choose from")));
    }
    let dtype = x.tensor.dtype;
    let mut runs = raw::runs(&shape, &reduced);
    if runs.is_empty() {
        // Axes of size 1 only: a copy.
        runs.push(Run { outer: 1, n: 1, inner: x.tensor.len() });
    }
    let sums = match op {
        Reduction::Sum | Reduction::Mean => check::statistics(dtype),
        Reduction::Max | Reduction::Min => dtype,
    };
    let last = runs.len() - 1;
    let mut y = x.clone();
    for (i, run) in runs.into_iter().enumerate() {
        let from = y.tensor.dtype;
        let to = if i == last && from == dtype { dtype } else { sums };
        y = apply1(Reduce { op, run, from, to }, &[&y])?;
    }
    let left = shape.iter().zip(&reduced).filter(|(_, r)| keepdim || !**r);
    let left: Vec<i64> = left.map(|(&n, &r)| if r { 1 } else { n as i64 }).collect();
    reshape(&cast(&y, dtype)?, &left)
}

impl Reduce {
    fn grid(&self) -> [usize; 3] {
        [self.run.outer, self.run.n, self.run.inner]
    }

    /// 1 at the first of the elements that `y` was chosen for, else 0.
    fn chosen(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let Run { outer, n, inner } = self.run;
        let sums = check::statistics(x.dtype);
        let equal = raw::binary(Binary::Equal, &x.reshape(&self.grid())?, &y.reshape(&[outer, 1, inner])?)?;
        let equal = raw::cast(&equal, sums);
        // n for the first element down to 1 for the last: the first of the equal ones has the most.
        let bytes =
            |v: f64| if sums == DType::F64 { v.to_le_bytes().to_vec() } else { (v as f32).to_le_bytes().to_vec() };
        let order = (0..n).flat_map(|i| bytes((n - i) as f64)).collect();
        let order = raw::multiply(&equal, &Tensor::from_bytes(x.device(), &[n, 1], sums, order)?)?;
        let most = Tensor::empty(x.device(), &[outer, 1, inner], sums);
        let d = backend::Reduce {
            op: Reduction::Max,
            x: order.clone(),
            outer,
            n,
            inner,
            y: most.clone(),
            accumulate: false,
        };
        x.device().submit("max", move |b| b.reduce(&d));
        let first = raw::binary(Binary::Equal, &order, &most)?;
        Ok(raw::cast(&raw::multiply(&first, &equal)?, x.dtype))
    }
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        name(self.op)
    }

    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>> {
        let Run { outer, n, inner } = self.run;
        let x = &inputs[0];
        let y = Tensor::empty(x.device(), &[outer, inner], self.to);
        if matches!(self.op, Reduction::Max | Reduction::Min) {
            saved.push(x);
            saved.push(&y);
        }
        let d = backend::Reduce { op: self.op, x: x.clone(), outer, n, inner, y: y.clone(), accumulate: false };
        y.device().submit(self.name(), move |b| b.reduce(&d));
        Ok(vec![y])
    }

    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        let Run { outer, n, inner } = self.run;
        let mut dy = grads.dy();
        if self.op == Reduction::Mean {
            dy = raw::affine(&dy, 1.0 / n as f64, 0.0);
        }
        let dy = raw::cast(&dy, self.from).reshape(&[outer, 1, inner])?;
        let factor = match self.op {
            Reduction::Sum | Reduction::Mean => Tensor::full(dy.device(), &[1], self.from, 1.0),
            Reduction::Max | Reduction::Min => self.chosen(&saved[0], &saved[1])?,
        };
        if let Some(sink) = grads.sink(0)? {
            let dx = sink.tensor.reshape(&self.grid())?;
            raw::binary_into(Binary::Mul, &dy, &factor, &dx, sink.accumulate);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        autograd::backward,
        op::testing::{close, cpu, from_f64, gradient_check, random, to_f64},
    };

    const ALL: [Reduction; 4] = [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::Min];

    #[test]
    fn values_and_shapes() {
        let x = Var::constant(from_f64(&[2, 3, 2], &[1., 2., 3., 4., 5., 6., -1., -2., -3., -4., -5., -6.]));
        let check = |axes: &[i64], keepdim, op, shape: &[usize], expected: &[f64]| {
            let y = reduce(&x, axes, keepdim, op).unwrap().tensor;
            assert_eq!(y.shape, shape);
            close(&y, expected, 1e-12);
        };
        check(&[], false, Reduction::Sum, &[], &[0.0]);
        check(&[], true, Reduction::Max, &[1, 1, 1], &[6.0]);
        check(&[1], false, Reduction::Sum, &[2, 2], &[9.0, 12.0, -9.0, -12.0]);
        check(&[-1], true, Reduction::Mean, &[2, 3, 1], &[1.5, 3.5, 5.5, -1.5, -3.5, -5.5]);
        check(&[0, 2], false, Reduction::Mean, &[3], &[0.0, 0.0, 0.0]);
        check(&[2, 0], false, Reduction::Max, &[3], &[2.0, 4.0, 6.0]);
        check(&[0, 2], true, Reduction::Min, &[1, 3, 1], &[-2.0, -4.0, -6.0]);
        check(&[0, 1], false, Reduction::Min, &[2], &[-5.0, -6.0]);
    }

    #[test]
    fn gradients() {
        for (shape, axes) in [
            (vec![], vec![]),
            (vec![1], vec![0]),
            (vec![7], vec![]),
            (vec![3, 5], vec![0]),
            (vec![3, 5], vec![1]),
            (vec![2, 3, 4], vec![0, 2]),
            (vec![2, 1, 3, 1, 2], vec![0, 3, 4]),
            (vec![2, 3, 2, 3], vec![1, 3]),
            (vec![2, 1, 3], vec![1]),
        ] {
            for op in ALL {
                for keepdim in [false, true] {
                    gradient_check(&[random(&shape, 1)], |v| reduce(&v[0], &axes, keepdim, op));
                }
            }
        }
        gradient_check(&[random(&[0, 3], 1)], |v| reduce(&v[0], &[0], false, Reduction::Sum));
    }

    #[test]
    fn of_nothing() {
        let x = Var::constant(random(&[2, 0], 1));
        assert_eq!(to_f64(&reduce(&x, &[1], false, Reduction::Sum).unwrap().tensor), [0.0, 0.0]);
        assert!(to_f64(&reduce(&x, &[1], false, Reduction::Mean).unwrap().tensor).iter().all(|v| v.is_nan()));
        assert_eq!(reduce(&x, &[0], false, Reduction::Max).unwrap().tensor.shape, [0]);
        let error = reduce(&x, &[1], false, Reduction::Max).expect_err("nothing to choose");
        assert_eq!(error.message, "max: [2, 0] has an axis of no elements to choose from");
    }

    #[test]
    fn equal_maxima_give_to_the_first() {
        let x = Var::leaf(from_f64(&[2, 3], &[1.0, 5.0, 5.0, 5.0, 0.0, 0.0]), None).unwrap();
        let gradient = |axes: &[i64], op| {
            x.set_grad(None).unwrap();
            let y = reduce(&x, axes, false, op).unwrap();
            let ones = Tensor::full(&cpu(), &y.tensor.shape, DType::F64, 1.0);
            backward(&[(y, ones)]).unwrap();
            to_f64(&x.grad().unwrap())
        };
        assert_eq!(gradient(&[1], Reduction::Max), [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
        assert_eq!(gradient(&[], Reduction::Max), [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(gradient(&[1], Reduction::Min), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(gradient(&[0], Reduction::Min), [1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    }

    /// Sums of bf16 numbers that bf16 could not count up to.
    #[test]
    fn bf16_is_summed_in_f32() {
        for (shape, axes) in [(vec![1000], vec![]), (vec![40, 2, 25], vec![0, 2])] {
            let x = Var::leaf(Tensor::full(&cpu(), &shape, DType::BF16, 1.0), None).unwrap();
            let y = reduce(&x, &axes, false, Reduction::Sum).unwrap();
            assert_eq!(y.tensor.dtype, DType::BF16);
            assert!(to_f64(&y.tensor).iter().all(|&v| v == 1000.0), "{:?}", to_f64(&y.tensor));
            let ones = Tensor::full(&cpu(), &y.tensor.shape, DType::BF16, 0.5);
            backward(&[(y, ones)]).unwrap();
            assert_eq!(x.grad().unwrap().dtype, DType::BF16);
            assert!(to_f64(&x.grad().unwrap()).iter().all(|&v| v == 0.5));
        }
    }

    #[test]
    fn refusals() {
        let x = Var::constant(random(&[2, 3], 1));
        let message = |axes: &[i64]| reduce(&x, axes, false, Reduction::Sum).expect_err("not allowed").message;
        assert_eq!(message(&[0, -2]), "sum: axis 0 is named twice in [0, -2]");
        assert_eq!(message(&[2]), "sum: there is no axis 2 in [2, 3]");
    }
}
