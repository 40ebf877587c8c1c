//! Kernels on bare tensors, for backward passes that are compositions: each call enqueues one kernel and returns what it will write.

use super::check;
use crate::{
    autograd::Grads,
    backend::{Binary, Broadcast, Reduce, Reduction, Unary},
    dtype::DType,
    error::{Error, Result},
    tensor::{Tensor, count},
};

/// x in the type `dtype`: x itself where it has it.
pub fn cast(x: &Tensor, dtype: DType) -> Tensor {
    if x.dtype == dtype {
        return x.clone();
    }
    let (x, y) = (x.clone(), Tensor::empty(x.device(), &x.shape, dtype));
    let out = y.clone();
    y.device().submit("cast", move |b| b.cast(&x, &out));
    y
}

pub fn unary(op: Unary, x: &Tensor) -> Tensor {
    let (x, y) = (x.clone(), x.empty_like());
    let out = y.clone();
    y.device().submit("unary", move |b| b.unary(op, &x, &out));
    y
}

pub fn affine(x: &Tensor, scale: f64, shift: f64) -> Tensor {
    unary(Unary::Affine { scale, shift }, x)
}

/// `op(a, b)` with broadcasting.
pub fn binary(op: Binary, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let y = Tensor::empty(a.device(), &broadcast_shape("broadcast", a, b)?, a.dtype);
    binary_into(op, a, b, &y, false);
    Ok(y)
}

pub fn multiply(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(Binary::Mul, a, b)
}

/// `y (+)= op(a, b)`; a and b broadcast to the shape of y. All of one type.
pub fn binary_into(op: Binary, a: &Tensor, b: &Tensor, y: &Tensor, accumulate: bool) {
    let (shape, a_strides, b_strides) = collapse(&y.shape, &strides(a, &y.shape), &strides(b, &y.shape));
    let y = Tensor { shape, ..y.clone() };
    let d = Broadcast { op, a: a.clone(), a_strides, b: b.clone(), b_strides, y, accumulate };
    a.device().submit(super::binary::name(op), move |b| b.broadcast(&d));
}

/// The shape of both operands together (NumPy's rules: aligned at the last axis, 1 stretches).
pub fn broadcast_shape(op: &str, a: &Tensor, b: &Tensor) -> Result<Vec<usize>> {
    let rank = a.shape.len().max(b.shape.len());
    let size = |t: &Tensor, i: usize| (i + t.shape.len()).checked_sub(rank).map_or(1, |i| t.shape[i]);
    (0..rank)
        .map(|i| match (size(a, i), size(b, i)) {
            (m, n) if m == n => Ok(m),
            (1, n) => Ok(n),
            (m, 1) => Ok(m),
            _ => Err(Error::shape(op, format!("{:?} and {:?} do not broadcast", a.shape, b.shape))),
        })
        .collect()
}

/// Elements between neighbours along each axis of `shape`; 0 where x is stretched.
fn strides(x: &Tensor, shape: &[usize]) -> Vec<usize> {
    let mut stride = 1;
    let mut strides = vec![0; shape.len()];
    for (s, &n) in strides.iter_mut().rev().zip(x.shape.iter().rev()) {
        *s = if n == 1 { 0 } else { stride };
        stride *= n;
    }
    strides
}

/// Joins neighbouring axes that both operands run through alike, so that kernels see as few as possible (at least one).
fn collapse(shape: &[usize], a: &[usize], b: &[usize]) -> (Vec<usize>, Vec<usize>, Vec<usize>) {
    let (mut s, mut sa, mut sb): (Vec<usize>, Vec<usize>, Vec<usize>) = (vec![], vec![], vec![]);
    for i in 0..shape.len() {
        let n = shape[i];
        if n == 1 {
            continue;
        }
        match s.len().checked_sub(1) {
            Some(l) if sa[l] == a[i] * n && sb[l] == b[i] * n => {
                s[l] *= n;
                sa[l] = a[i];
                sb[l] = b[i];
            }
            _ => {
                s.push(n);
                sa.push(a[i]);
                sb.push(b[i]);
            }
        }
    }
    if s.is_empty() {
        return (vec![1], vec![0], vec![0]);
    }
    (s, sa, sb)
}

/// One stretch of neighbouring axes to be reduced: `[outer, n, inner]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub outer: usize,
    pub n: usize,
    pub inner: usize,
}

/// The stretches of `reduced` axes, last first; each is given as it stands once those after it have been reduced. Axes of size 1
/// belong to any stretch.
pub fn runs(shape: &[usize], reduced: &[bool]) -> Vec<Run> {
    let mut runs = vec![];
    let mut inner = 1;
    let mut end = shape.len();
    while end > 0 {
        let kind = reduced[end - 1];
        let mut start = end - 1;
        while start > 0 && (reduced[start - 1] == kind || shape[start - 1] == 1) {
            start -= 1;
        }
        let n = count(&shape[start..end]);
        if kind && (n != 1 || shape[start..end].len() == shape.len()) {
            runs.push(Run { outer: count(&shape[..start]), n, inner });
        } else {
            inner *= n;
        }
        end = start;
    }
    runs
}

/// Input `i`'s gradient is `gradient` summed over the axes along which that input was stretched. `gradient` is nobody else's.
pub fn give_summed(grads: &mut Grads, i: usize, gradient: Tensor) -> Result<()> {
    if !grads.needs(i) {
        return Ok(());
    }
    let like = grads.like(i);
    if gradient.len() == like.len() {
        return grads.give(i, gradient.reshape(&like.shape)?);
    }
    let skip = gradient.shape.len() - like.shape.len();
    let reduced: Vec<bool> = (0..gradient.shape.len()).map(|a| a < skip || like.shape[a - skip] == 1).collect();
    let runs = runs(&gradient.shape, &reduced);
    let (last, first) = runs.split_last().expect("fewer elements come of a sum");
    let sums = check::statistics(gradient.dtype);
    let mut x = gradient;
    for run in first {
        x = sum(&x, *run, sums);
    }
    if like.dtype != sums {
        let x = cast(&sum(&x, *last, sums), like.dtype);
        return grads.give(i, x.reshape(&like.shape)?);
    }
    if let Some(sink) = grads.sink(i)? {
        reduce_into(&x, *last, &sink.tensor, sink.accumulate);
    }
    Ok(())
}

fn sum(x: &Tensor, run: Run, dtype: DType) -> Tensor {
    let y = Tensor::empty(x.device(), &[run.outer, run.inner], dtype);
    reduce_into(x, run, &y, false);
    y
}

fn reduce_into(x: &Tensor, Run { outer, n, inner }: Run, y: &Tensor, accumulate: bool) {
    let d = Reduce { op: Reduction::Sum, x: x.clone(), outer, n, inner, y: y.clone(), accumulate };
    x.device().submit("sum", move |b| b.reduce(&d));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_axes_join() {
        assert_eq!(collapse(&[2, 3, 4], &[12, 4, 1], &[12, 4, 1]), (vec![24], vec![1], vec![1]));
        assert_eq!(collapse(&[2, 3, 4], &[12, 4, 1], &[0, 0, 1]), (vec![6, 4], vec![4, 1], vec![0, 1]));
        assert_eq!(collapse(&[2, 1, 4], &[4, 0, 1], &[1, 0, 0]), (vec![2, 4], vec![4, 1], vec![1, 0]));
        assert_eq!(collapse(&[], &[], &[]), (vec![1], vec![0], vec![0]));
        assert_eq!(collapse(&[3, 5], &[0, 0], &[5, 1]), (vec![15], vec![0], vec![1]));
    }

    #[test]
    fn stretches_of_reduced_axes() {
        let run = |outer, n, inner| Run { outer, n, inner };
        assert_eq!(runs(&[2, 3, 4], &[false, true, false]), [run(2, 3, 4)]);
        assert_eq!(runs(&[2, 3, 4], &[true, false, true]), [run(6, 4, 1), run(1, 2, 3)]);
        assert_eq!(runs(&[2, 3, 4], &[true, true, true]), [run(1, 24, 1)]);
        assert_eq!(runs(&[2, 1, 4], &[true, false, true]), [run(1, 8, 1)]);
        assert_eq!(runs(&[2, 3], &[false, false]), []);
        assert_eq!(runs(&[], &[]), []);
        assert_eq!(runs(&[1, 1], &[true, true]), [run(1, 1, 1)]);
    }
}
