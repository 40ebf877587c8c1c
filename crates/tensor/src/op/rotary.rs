//! Rotary position embedding (Su et al., arXiv 2104.09864): rotates neighbouring pairs of columns of each head by an angle that
//! depends on the token. For a head's columns i = 2k and j = 2k + 1:
//! `y_i = x_i·cos[m,i] − x_j·sin[m,i]`, `y_j = x_j·cos[m,j] + x_i·sin[m,j]`; the last column of an odd head_dim is copied.
//!
//! x `[M, C]` float: the heads are its columns `column .. column + heads·head_dim`, the others are copied, so q or k may be turned
//! within a packed qkv. cos and sin `[M, head_dim]` are constants in float32 (float64 for float64). The two columns of a pair may
//! have angles of their own, as V-JEPA 2's weights ask for. Backward is the transposed rotation.

use super::check;
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    backend,
    error::{Error, Result},
    tensor::Tensor,
};

#[derive(Clone, Copy, Debug)]
pub struct Rotary {
    pub heads: usize,
    pub head_dim: usize,
    pub column: usize,
}

/// See the module.
pub fn rotary(x: &Var, heads: usize, head_dim: usize, column: usize, cos: &Tensor, sin: &Tensor) -> Result<Var> {
    let inputs = [x, &Var::constant(cos.clone()), &Var::constant(sin.clone())];
    apply1(Rotary { heads, head_dim, column }, &inputs)
}

impl Rotary {
    fn run(&self, x: &Tensor, cos: &Tensor, sin: &Tensor, transpose: bool) -> Tensor {
        let y = x.empty_like();
        let d = backend::Rotary {
            x: x.clone(),
            heads: self.heads,
            head_dim: self.head_dim,
            column: self.column,
            cos: cos.clone(),
            sin: sin.clone(),
            transpose,
            y: y.clone(),
        };
        x.device().submit("rotary", move |b| b.rotary(&d));
        y
    }
}

impl Op for Rotary {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>> {
        let [x, cos, sin] = inputs else { unreachable!("applied to three") };
        check::float("rotary", "the input", x)?;
        let [m, columns] = check::matrix("rotary", "the input", x)?;
        let end = self.column + self.heads * self.head_dim;
        if end > columns || self.heads == 0 || self.head_dim == 0 {
            let Rotary { heads, head_dim, column } = self;
            let message = format!(
                "{heads} heads of {head_dim} columns, from column {column} on, do not lie within {:?}",
                x.shape
            );
            return Err(Error::shape("rotary", message));
        }
        for (what, table) in [("cos", cos), ("sin", sin)] {
            check::dtype("rotary", what, table, check::statistics(x.dtype))?;
            check::shape("rotary", what, table, &[m, self.head_dim])?;
        }
        saved.push(cos);
        saved.push(sin);
        Ok(vec![self.run(x, cos, sin, false)])
    }

    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        let dx = self.run(&grads.dy(), &saved[0], &saved[1], true);
        grads.give(0, dx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{close, from_f64, gradient_check, random};

    #[test]
    fn by_hand() {
        // A column to copy, two heads of one pair each, a column to copy.
        let x = Var::constant(from_f64(&[1, 6], &[9.0, 1.0, 2.0, 3.0, 4.0, 8.0]));
        let (cos, sin) = (from_f64(&[1, 2], &[0.5, 0.25]), from_f64(&[1, 2], &[2.0, 4.0]));
        let y = rotary(&x, 2, 2, 1, &cos, &sin).unwrap();
        close(&y.tensor, &[9.0, 0.5 - 4.0, 0.5 + 4.0, 1.5 - 8.0, 1.0 + 12.0, 8.0], 1e-12);
        let x = Var::constant(from_f64(&[1, 3], &[1.0, 2.0, 3.0]));
        let (cos, sin) = (from_f64(&[1, 3], &[0.0, 0.0, 5.0]), from_f64(&[1, 3], &[1.0, 1.0, 5.0]));
        close(&rotary(&x, 1, 3, 0, &cos, &sin).unwrap().tensor, &[-2.0, 1.0, 3.0], 1e-12);
    }

    #[test]
    fn gradients() {
        for (m, heads, head_dim, column, columns) in
            [(1, 1, 2, 0, 2), (3, 2, 6, 0, 36), (2, 3, 5, 15, 45), (0, 1, 2, 0, 2), (2, 1, 1, 1, 3)]
        {
            let (cos, sin) = (random(&[m, head_dim], 2), random(&[m, head_dim], 3));
            gradient_check(&[random(&[m, columns], 1)], |v| rotary(&v[0], heads, head_dim, column, &cos, &sin));
        }
    }

    #[test]
    fn refusals() {
        let message = |r: Result<Var>| r.expect_err("it does not fit").message;
        let x = Var::constant(random(&[2, 8], 1));
        let table = random(&[2, 4], 1);
        assert_eq!(
            message(rotary(&x, 2, 4, 1, &table, &table)),
            "rotary: 2 heads of 4 columns, from column 1 on, do not lie within [2, 8]"
        );
        assert_eq!(message(rotary(&x, 4, 2, 0, &table, &table)), "rotary: cos is [2, 4], but [2, 2] is needed");
    }
}
