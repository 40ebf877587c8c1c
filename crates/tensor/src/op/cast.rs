//! The same numbers in another element type: floats to integers truncate towards 0, bf16 rounds to nearest even.
//!
//! The gradient is cast back; there is none through an integer type.

use super::arithmetic;
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    dtype::DType,
    error::Result,
    tensor::Tensor,
};

#[derive(Clone, Copy, Debug)]
pub struct Cast {
    pub from: DType,
    pub to: DType,
}

/// x in the type `dtype`; x itself where it has it already.
pub fn cast(x: &Var, dtype: DType) -> Result<Var> {
    if x.tensor.dtype == dtype {
        return Ok(x.clone());
    }
    apply1(Cast { from: x.tensor.dtype, to: dtype }, &[x])
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn forward(&self, inputs: &[Tensor], _: &mut Saved) -> Result<Vec<Tensor>> {
        Ok(vec![arithmetic::cast(&inputs[0], self.to)])
    }

    fn backward(&self, _: &[Tensor], grads: &mut Grads) -> Result<()> {
        let dx = arithmetic::cast(&grads.dy(), self.from);
        grads.give(0, dx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        autograd::backward,
        op::testing::{cpu, from_f64, to_f64},
    };

    #[test]
    fn values() {
        let x = Var::constant(from_f64(&[5], &[-1.75, 0.0, 1.0 + 1.0 / 256.0, 3.99, 200.0]));
        let values = |dtype| to_f64(&cast(&x, dtype).unwrap().tensor);
        assert_eq!(values(DType::I32), [-1.0, 0.0, 1.0, 3.0, 200.0]);
        assert_eq!(values(DType::I64), [-1.0, 0.0, 1.0, 3.0, 200.0]);
        assert_eq!(values(DType::BF16), [-1.75, 0.0, 1.0, 3.984375, 200.0]);
        assert_eq!(values(DType::F32)[3], f64::from(3.99f32));
        assert_eq!(to_f64(&cast(&cast(&x, DType::U8).unwrap(), DType::F32).unwrap().tensor)[4], 200.0);
    }

    /// Differences by a step that both types hold, of numbers that they hold: nothing is rounded, so the gradient is met exactly.
    #[test]
    fn gradients() {
        let step = 0.25;
        for narrow in [DType::F32, DType::BF16] {
            for n in [1, 7, 1001] {
                let x: Vec<f64> = (0..n).map(|i| f64::from(i % 31) / 4.0 - 3.75).collect();
                let w: Vec<f64> = (0..n).map(|i| f64::from(i % 13) / 2.0 - 3.0).collect();
                let shape = [n as usize];
                let there_and_back = |x: &Var| cast(&cast(x, narrow).unwrap(), DType::F64).unwrap();
                let leaf = Var::leaf(from_f64(&shape, &x), None).unwrap();
                backward(&[(there_and_back(&leaf), from_f64(&shape, &w))]).unwrap();
                let at = |step: f64| {
                    let moved: Vec<f64> = x.iter().map(|x| x + step).collect();
                    to_f64(&there_and_back(&Var::constant(from_f64(&shape, &moved))).tensor)
                };
                let slopes = at(step).into_iter().zip(at(-step)).map(|(up, down)| (up - down) / (2.0 * step));
                let expected: Vec<f64> = slopes.zip(&w).map(|(slope, w)| slope * w).collect();
                assert_eq!(to_f64(&leaf.grad().unwrap()), expected);
            }
        }
    }

    #[test]
    fn gradients_have_the_type_of_their_tensor() {
        let x = Var::leaf(from_f64(&[2], &[1.0, 2.0]), None).unwrap();
        let y = cast(&x, DType::BF16).unwrap();
        backward(&[(y, Tensor::full(&cpu(), &[2], DType::BF16, 0.5))]).unwrap();
        let gradient = x.grad().unwrap();
        assert_eq!((gradient.dtype, to_f64(&gradient)), (DType::F64, vec![0.5, 0.5]));
        assert!(!cast(&x, DType::I32).unwrap().requires_grad());
        assert!(cast(&x, DType::F64).unwrap().is_leaf());
    }
}
