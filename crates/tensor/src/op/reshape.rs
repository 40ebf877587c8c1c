//! The same bytes under another shape of as many elements; one size may be −1: what is left over. Nothing is copied.

use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    error::{Error, Result},
    tensor::{Tensor, count},
};

#[derive(Clone, Debug)]
pub struct Reshape {
    pub shape: Vec<usize>,
}

/// See the module.
pub fn reshape(x: &Var, shape: &[i64]) -> Result<Var> {
    apply1(Reshape { shape: complete(&x.tensor, shape)? }, &[x])
}

/// Replaces the −1.
fn complete(x: &Tensor, shape: &[i64]) -> Result<Vec<usize>> {
    let unfit =
        || Error::shape("reshape", format!("{:?} has {} elements, which {shape:?} cannot hold", x.shape, x.len()));
    if shape.iter().any(|&n| n < -1) || shape.iter().filter(|&&n| n == -1).count() > 1 {
        return Err(Error::argument("reshape", format!("{shape:?} is no shape (one size may be -1)")));
    }
    let known = count(&shape.iter().filter(|&&n| n >= 0).map(|&n| n as usize).collect::<Vec<_>>());
    let rest = match (shape.contains(&-1), known) {
        (true, 0) => return Err(Error::argument("reshape", format!("the -1 of {shape:?} could be anything"))),
        (true, _) if x.len().is_multiple_of(known) => x.len() / known,
        (false, _) if known == x.len() => 0,
        _ => return Err(unfit()),
    };
    Ok(shape.iter().map(|&n| if n == -1 { rest } else { n as usize }).collect())
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn forward(&self, inputs: &[Tensor], _: &mut Saved) -> Result<Vec<Tensor>> {
        Ok(vec![inputs[0].reshape(&self.shape)?])
    }

    fn backward(&self, _: &[Tensor], grads: &mut Grads) -> Result<()> {
        grads.pass(0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backend::Binary,
        op::{
            binary,
            testing::{gradient_check, random, to_f64},
        },
    };

    #[test]
    fn shapes() {
        let x = Var::constant(random(&[2, 3, 4], 1));
        for (shape, expected) in
            [(&[6, -1][..], &[6, 4][..]), (&[-1], &[24]), (&[4, 3, 2], &[4, 3, 2]), (&[24, 1, -1], &[24, 1, 1])]
        {
            let y = reshape(&x, shape).unwrap().tensor;
            assert_eq!((&y.shape[..], to_f64(&y)), (expected, to_f64(&x.tensor)));
        }
        let empty = Var::constant(random(&[0, 3], 1));
        assert_eq!(reshape(&empty, &[-1, 5]).unwrap().tensor.shape, [0, 5]);
        assert_eq!(reshape(&Var::constant(random(&[1], 1)), &[]).unwrap().tensor.shape, []);
    }

    #[test]
    fn gradients() {
        // The same bytes in two shapes, each with a gradient of its own.
        gradient_check(&[random(&[2, 6], 1)], |v| {
            let (a, b) = (reshape(&v[0], &[3, 4])?, reshape(&v[0], &[12])?);
            binary(&a, &reshape(&binary(&b, &b, Binary::Mul)?, &[3, 4])?, Binary::Add)
        });
    }

    #[test]
    fn refusals() {
        let x = Var::constant(random(&[2, 3], 1));
        let message = |shape: &[i64]| reshape(&x, shape).expect_err("it does not fit").message;
        assert_eq!(message(&[4, -1]), "reshape: [2, 3] has 6 elements, which [4, -1] cannot hold");
        assert_eq!(message(&[7]), "reshape: [2, 3] has 6 elements, which [7] cannot hold");
        assert_eq!(message(&[-1, -1]), "reshape: [-1, -1] is no shape (one size may be -1)");
        assert_eq!(message(&[0, -1]), "reshape: the -1 of [0, -1] could be anything");
        let empty = Var::constant(random(&[0], 1));
        assert!(reshape(&empty, &[1 << 32, 1 << 32]).is_err());
    }
}
