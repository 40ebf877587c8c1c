//! Functions of two numbers, element by element, with NumPy's broadcasting (shapes aligned at the last axis, sizes of 1 stretch).
//!
//! Both of one type: float, or int32 (but for `pow`). Gradients are summed over the axes along which an operand was stretched.
//! `maximum` and `minimum` share the gradient evenly between equal operands, as PyTorch does; `equal` and `less` give 1 or 0 and have
//! no gradient.

use super::arithmetic as raw;
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    backend::{Binary, Unary},
    dtype::DType,
    error::{Error, Result},
    tensor::Tensor,
};

#[derive(Clone, Copy, Debug)]
struct Elementwise(Binary);

/// `y = op(a, b)`. See the module.
pub fn binary(a: &Var, b: &Var, op: Binary) -> Result<Var> {
    match op {
        Binary::Equal | Binary::Less => apply1(Elementwise(op), &[&a.detach(), &b.detach()]),
        _ => apply1(Elementwise(op), &[a, b]),
    }
}

/// What messages call it.
pub(super) fn name(op: Binary) -> &'static str {
    match op {
        Binary::Add => "add",
        Binary::Sub => "sub",
        Binary::Mul => "mul",
        Binary::Div => "div",
        Binary::Max => "maximum",
        Binary::Min => "minimum",
        Binary::Pow => "pow",
        Binary::Equal => "equal",
        Binary::Less => "less",
    }
}

impl Op for Elementwise {
    fn name(&self) -> &'static str {
        name(self.0)
    }

    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>> {
        let (name, a, b) = (self.name(), &inputs[0], &inputs[1]);
        if a.dtype != b.dtype {
            let message = format!("one operand is {} but the other {}", a.dtype, b.dtype);
            return Err(Error::dtype(name, message).hint("cast one of them first"));
        }
        if !(a.dtype.is_float() || a.dtype == DType::I32 && self.0 != Binary::Pow) {
            return Err(Error::dtype(name, format!("it does not take {}", a.dtype)).hint("cast to a float type first"));
        }
        let y = Tensor::empty(a.device(), &raw::broadcast_shape(name, a, b)?, a.dtype);
        match self.0 {
            Binary::Mul | Binary::Div | Binary::Max | Binary::Min | Binary::Pow => {
                saved.push(a);
                saved.push(b);
            }
            _ => {}
        }
        if matches!(self.0, Binary::Div | Binary::Pow) {
            saved.push(&y);
        }
        raw::binary_into(self.0, a, b, &y, false);
        Ok(vec![y])
    }

    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        match self.0 {
            Binary::Add => {
                pass(grads, 0, grads.needs(1))?;
                pass(grads, 1, false)
            }
            Binary::Sub => {
                if grads.needs(1) {
                    let db = raw::affine(&grads.dy(), -1.0, 0.0);
                    raw::give_summed(grads, 1, db)?;
                }
                pass(grads, 0, false)
            }
            Binary::Mul => {
                product(grads, 0, &saved[1])?;
                product(grads, 1, &saved[0])
            }
            Binary::Div => divide(saved, grads),
            Binary::Max | Binary::Min => extremum(self.0, saved, grads),
            Binary::Pow => power(saved, grads),
            Binary::Equal | Binary::Less => unreachable!("applied to constants only"),
        }
    }
}

/// Input `i`'s gradient is that of the output (which `shared` says another input will get too).
fn pass(grads: &mut Grads, i: usize, shared: bool) -> Result<()> {
    if !grads.needs(i) {
        return Ok(());
    }
    let dy = grads.dy();
    if grads.shape(i).iter().product::<usize>() != dy.len() {
        // A sum makes a tensor of its own, so that dy is not given away.
        return raw::give_summed(grads, i, dy);
    }
    match shared {
        true => grads.pass_shared(i, 0),
        false => grads.pass(i, 0),
    }
}

/// Input `i`'s gradient is `dy · other`.
fn product(grads: &mut Grads, i: usize, other: &Tensor) -> Result<()> {
    if !grads.needs(i) {
        return Ok(());
    }
    let dy = grads.dy();
    if grads.shape(i) != dy.shape {
        let gradient = raw::multiply(&dy, other)?;
        return raw::give_summed(grads, i, gradient);
    }
    if let Some(sink) = grads.sink(i)? {
        raw::binary_into(Binary::Mul, &dy, other, &sink.tensor, sink.accumulate);
    }
    Ok(())
}

/// `da = dy/b`, `db = −dy·y/b`.
fn divide(saved: &[Tensor], grads: &mut Grads) -> Result<()> {
    let (b, y) = (&saved[1], &saved[2]);
    let quotient = raw::binary(Binary::Div, &grads.dy(), b)?;
    if grads.needs(1) {
        let db = raw::affine(&raw::multiply(&quotient, y)?, -1.0, 0.0);
        raw::give_summed(grads, 1, db)?;
    }
    raw::give_summed(grads, 0, quotient)
}

/// All of the gradient to the operand that won, half to each where they are equal.
fn extremum(op: Binary, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
    let (a, b) = (&saved[0], &saved[1]);
    let half = raw::affine(&raw::binary(Binary::Equal, a, b)?, 0.5, 0.0);
    for (i, mine, other) in [(0, a, b), (1, b, a)] {
        if grads.needs(i) {
            let wins = match op {
                Binary::Max => raw::binary(Binary::Less, other, mine)?,
                _ => raw::binary(Binary::Less, mine, other)?,
            };
            let gradient = raw::multiply(&grads.dy(), &raw::binary(Binary::Add, &wins, &half)?)?;
            raw::give_summed(grads, i, gradient)?;
        }
    }
    Ok(())
}

/// `da = dy·b·a^(b−1)` (0 where b = 0), `db = dy·y·ln a` (0 where a = 0).
fn power(saved: &[Tensor], grads: &mut Grads) -> Result<()> {
    let (a, b, y) = (&saved[0], &saved[1], &saved[2]);
    let zero = Tensor::zeros(a.device(), &[1], a.dtype);
    if grads.needs(0) {
        // An exponent of 0 is left at 0, not −1, lest 0·0^−1 be no number.
        let exponent = raw::binary(Binary::Add, &raw::affine(b, 1.0, -1.0), &raw::binary(Binary::Equal, b, &zero)?)?;
        let slope = raw::multiply(&raw::binary(Binary::Pow, a, &exponent)?, b)?;
        let da = raw::multiply(&grads.dy(), &slope)?;
        raw::give_summed(grads, 0, da)?;
    }
    if grads.needs(1) {
        let base = raw::binary(Binary::Add, a, &raw::binary(Binary::Equal, a, &zero)?)?;
        let slope = raw::multiply(y, &raw::unary(Unary::Log, &base))?;
        let db = raw::multiply(&grads.dy(), &slope)?;
        raw::give_summed(grads, 1, db)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        autograd::backward,
        op::testing::{cpu, fault, from_f64, from_i32, gradient_check, random, to_f64},
    };

    const DIFFERENTIABLE: [Binary; 7] =
        [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min, Binary::Pow];

    /// Values in (1, 3): away from poles.
    fn positive(shape: &[usize], seed: u64) -> Tensor {
        raw::affine(&random(shape, seed), 1.0, 2.0)
    }

    #[test]
    fn values() {
        let a = Var::constant(from_f64(&[3], &[1.0, 2.0, 3.0]));
        let b = Var::constant(from_f64(&[2, 1], &[2.0, 4.0]));
        let values = |op| to_f64(&binary(&a, &b, op).unwrap().tensor);
        assert_eq!(values(Binary::Add), [3.0, 4.0, 5.0, 5.0, 6.0, 7.0]);
        assert_eq!(values(Binary::Sub), [-1.0, 0.0, 1.0, -3.0, -2.0, -1.0]);
        assert_eq!(values(Binary::Mul), [2.0, 4.0, 6.0, 4.0, 8.0, 12.0]);
        assert_eq!(values(Binary::Div), [0.5, 1.0, 1.5, 0.25, 0.5, 0.75]);
        assert_eq!(values(Binary::Max), [2.0, 2.0, 3.0, 4.0, 4.0, 4.0]);
        assert_eq!(values(Binary::Min), [1.0, 2.0, 2.0, 1.0, 2.0, 3.0]);
        assert_eq!(values(Binary::Pow), [1.0, 4.0, 9.0, 1.0, 16.0, 81.0]);
        assert_eq!(values(Binary::Equal), [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(values(Binary::Less), [1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let (a, b) = (Var::constant(from_i32(&[7, -7, 3])), Var::constant(from_i32(&[2])));
        let values = |op| to_f64(&binary(&a, &b, op).unwrap().tensor);
        assert_eq!(values(Binary::Add), [9.0, -5.0, 5.0]);
        assert_eq!(values(Binary::Max), [7.0, 2.0, 3.0]);
        assert_eq!(values(Binary::Less), [0.0, 1.0, 0.0]);
    }

    #[test]
    fn gradients() {
        let shapes: [(&[usize], &[usize]); 9] = [
            (&[], &[]),
            (&[5], &[5]),
            (&[2, 3], &[3]),
            (&[3], &[2, 3]),
            (&[2, 1, 4], &[3, 1]),
            (&[4, 1, 3, 1], &[4, 5, 1, 2]),
            (&[1], &[2, 3]),
            (&[2, 3], &[1, 1]),
            (&[0, 3], &[3]),
        ];
        for (a, b) in shapes {
            for op in DIFFERENTIABLE {
                gradient_check(&[positive(a, 1), positive(b, 2)], |v| binary(&v[0], &v[1], op));
                let constant = Var::constant(positive(b, 2));
                gradient_check(&[positive(a, 1)], |v| binary(&v[0], &constant, op));
                gradient_check(&[positive(a, 1)], |v| binary(&constant, &v[0], op));
            }
        }
        // The same operand twice.
        for op in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Pow] {
            gradient_check(&[positive(&[3], 1)], |v| binary(&v[0], &v[0], op));
        }
    }

    /// Gradients at (a, b).
    fn slopes(op: Binary, a: f64, b: f64) -> [f64; 2] {
        let (a, b) = (Var::leaf(from_f64(&[1], &[a]), None).unwrap(), Var::leaf(from_f64(&[1], &[b]), None).unwrap());
        backward(&[(binary(&a, &b, op).unwrap(), from_f64(&[1], &[1.0]))]).unwrap();
        [a, b].map(|v| to_f64(&v.grad().unwrap())[0])
    }

    #[test]
    fn at_the_edges() {
        assert_eq!(slopes(Binary::Max, 1.0, 1.0), [0.5, 0.5]);
        assert_eq!(slopes(Binary::Min, 1.0, 1.0), [0.5, 0.5]);
        assert_eq!(slopes(Binary::Max, 2.0, 1.0), [1.0, 0.0]);
        assert_eq!(slopes(Binary::Min, 2.0, 1.0), [0.0, 1.0]);
        assert_eq!(slopes(Binary::Pow, 0.0, 0.0), [0.0, 0.0]);
        assert_eq!(slopes(Binary::Pow, 0.0, 2.0), [0.0, 0.0]);
        assert_eq!(slopes(Binary::Pow, -2.0, 0.0)[0], 0.0);
        assert_eq!(slopes(Binary::Pow, -2.0, 3.0)[0], 12.0);
    }

    #[test]
    fn comparisons_have_no_gradient() {
        let a = Var::leaf(random(&[3], 1), None).unwrap();
        assert!(!binary(&a, &a, Binary::Equal).unwrap().requires_grad());
    }

    #[test]
    fn bf16_gradients_are_summed_in_f32() {
        let a = Var::constant(Tensor::zeros(&cpu(), &[1000, 3], DType::BF16));
        let b = Var::leaf(Tensor::zeros(&cpu(), &[3], DType::BF16), None).unwrap();
        let y = binary(&a, &b, Binary::Add).unwrap();
        backward(&[(y, Tensor::full(&cpu(), &[1000, 3], DType::BF16, 1.0))]).unwrap();
        let gradient = b.grad().unwrap();
        assert_eq!((gradient.dtype, to_f64(&gradient)), (DType::BF16, vec![1000.0; 3]));
    }

    #[test]
    fn refusals() {
        let v = |shape: &[usize], dtype| Var::constant(Tensor::zeros(&cpu(), shape, dtype));
        let message = |a: &Var, b: &Var, op| binary(a, b, op).expect_err("not allowed").message;
        let x = v(&[2, 3], DType::F32);
        assert_eq!(message(&x, &v(&[2], DType::F32), Binary::Add), "add: [2, 3] and [2] do not broadcast");
        assert_eq!(
            message(&x, &v(&[3], DType::BF16), Binary::Max),
            "maximum: one operand is float32 but the other bfloat16"
        );
        fault("div: ", || {
            let v = |values: &[i32]| Var::constant(from_i32(values));
            binary(&v(&[1, 2]), &v(&[1, 0]), Binary::Div)
        });
        let i = v(&[2], DType::I32);
        assert_eq!(message(&i, &i, Binary::Pow), "pow: it does not take int32");
    }
}
