//! Matrix product of the last two axes: a `[…, m, k]` times b `[…, k, n]` (`[…, n, k]` when transposed) is `[…, m, n]`.
//!
//! The leading axes are equal, or b is one matrix for all of them. Any float types; the product is taken in `compute`, which is the
//! type of the result (bf16 accumulates in f32).

use super::check;
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    backend::{Epilogue, Gemm, Layout},
    dtype::DType,
    error::{Error, Result},
    tensor::{Tensor, count},
};

#[derive(Clone, Copy, Debug)]
pub struct Matmul {
    pub transpose_b: bool,
    pub compute: DType,
}

/// See the module.
pub fn matmul(a: &Var, b: &Var, transpose_b: bool, compute: DType) -> Result<Var> {
    apply1(Matmul { transpose_b, compute }, &[a, b])
}

/// Number of products, and the sizes of each.
struct Sizes {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
}

impl Matmul {
    fn sizes(&self, a: &Tensor, b: &Tensor) -> Result<Sizes> {
        let unfit = || {
            let t = if self.transpose_b { " transposed" } else { "" };
            Error::shape("matmul", format!("{:?} and {:?}{t} have no product", a.shape, b.shape))
        };
        let ([batch @ .., m, k], [batch_b @ .., r, c]) = (&a.shape[..], &b.shape[..]) else { return Err(unfit()) };
        let (n, k_b) = if self.transpose_b { (*r, *c) } else { (*c, *r) };
        if *k != k_b || !(batch_b.is_empty() || batch == batch_b) {
            return Err(unfit());
        }
        let products = count(batch);
        // One b for all: their rows are those of one tall matrix.
        Ok(match batch_b.is_empty() {
            true => Sizes { batch: 1, m: products.saturating_mul(*m), n, k: *k },
            false => Sizes { batch: products, m: *m, n, k: *k },
        })
    }

    fn submit(
        &self,
        layout: Layout,
        batch: usize,
        [m, n, k]: [usize; 3],
        a: &Tensor,
        b: &Tensor,
        (c, accumulate): (Tensor, bool),
    ) {
        let d = Gemm {
            layout,
            batch,
            m,
            n,
            k,
            a: a.clone(),
            b: b.clone(),
            c,
            compute: self.compute,
            bias: None,
            epilogue: Epilogue::None,
            accumulate,
        };
        a.device().submit("matmul", move |b| b.gemm(&d));
    }
}

impl Op for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>> {
        let (a, b) = (&inputs[0], &inputs[1]);
        check::float("matmul", "the first matrix", a)?;
        check::float("matmul", "the second matrix", b)?;
        if !self.compute.is_float() {
            return Err(Error::dtype("matmul", format!("cannot compute in {}", self.compute)));
        }
        let types = [("the type of the product", self.compute), ("the first matrix", a.dtype), ("the second", b.dtype)];
        check::precision("matmul", &types)?;
        let Sizes { batch, m, n, k } = self.sizes(a, b)?;
        let mut shape = a.shape.clone();
        *shape.last_mut().expect("two axes at least") = n;
        let y = Tensor::empty(a.device(), &shape, self.compute);
        saved.push(a);
        saved.push(b);
        let layout = if self.transpose_b { Layout::NT } else { Layout::NN };
        self.submit(layout, batch, [m, n, k], a, b, (y.clone(), false));
        Ok(vec![y])
    }

    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        let (a, b) = (&saved[0], &saved[1]);
        let Sizes { batch, m, n, k } = self.sizes(a, b)?;
        let dy = grads.dy();
        if let Some(sink) = grads.sink(1)? {
            match self.transpose_b {
                true => self.submit(Layout::TN, batch, [n, k, m], &dy, a, sink.into()),
                false => self.submit(Layout::TN, batch, [k, n, m], a, &dy, sink.into()),
            }
        }
        if let Some(sink) = grads.sink(0)? {
            let layout = if self.transpose_b { Layout::NN } else { Layout::NT };
            self.submit(layout, batch, [m, k, n], &dy, b, sink.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{from_f64, gradient_check, random, to_f64};

    #[test]
    fn by_hand() {
        let a = Var::constant(from_f64(&[2, 2], &[1.0, 2.0, 3.0, 4.0]));
        let b = Var::constant(from_f64(&[2, 2], &[5.0, 6.0, 7.0, 8.0]));
        let values = |t| to_f64(&matmul(&a, &b, t, DType::F64).unwrap().tensor);
        assert_eq!(values(false), [19.0, 22.0, 43.0, 50.0]);
        assert_eq!(values(true), [17.0, 23.0, 39.0, 53.0]);
    }

    #[test]
    fn gradients() {
        for (a, b) in [
            (vec![1, 1], vec![1, 1]),
            (vec![3, 5], vec![5, 2]),
            (vec![2, 3, 5], vec![5, 4]),
            (vec![2, 3, 5], vec![2, 5, 4]),
            (vec![2, 2, 3, 1], vec![2, 2, 1, 4]),
            (vec![0, 3, 5], vec![0, 5, 4]),
            (vec![2, 0], vec![0, 3]),
        ] {
            for transpose in [false, true] {
                let mut b = b.clone();
                if transpose {
                    let last = b.len() - 1;
                    b.swap(last - 1, last);
                }
                gradient_check(&[random(&a, 1), random(&b, 2)], |v| matmul(&v[0], &v[1], transpose, DType::F64));
            }
        }
    }

    #[test]
    fn refusals() {
        let v = |shape: &[usize]| Var::constant(random(shape, 1));
        let message =
            |a: &[usize], b: &[usize], t| matmul(&v(a), &v(b), t, DType::F64).expect_err("no product").message;
        assert_eq!(message(&[2, 3], &[4, 5], false), "matmul: [2, 3] and [4, 5] have no product");
        assert_eq!(message(&[2, 3], &[3, 5], true), "matmul: [2, 3] and [3, 5] transposed have no product");
        assert_eq!(message(&[2, 2, 3], &[3, 3, 5], false), "matmul: [2, 2, 3] and [3, 3, 5] have no product");
        assert_eq!(message(&[3], &[3, 5], false), "matmul: [3] and [3, 5] have no product");
        let error = matmul(&v(&[2, 3]), &v(&[3, 2]), false, DType::F32).expect_err("float64");
        assert_eq!(error.message, "matmul: the first matrix is float64 but the type of the product is float32");
    }
}
