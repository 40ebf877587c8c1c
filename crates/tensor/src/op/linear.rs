//! Linear layer: `y = act(x·Wᵀ + b) + residual`.
//!
//! x `[…, K]`, W `[N, K]`, b `[N]`, residual and y `[…, N]`; act is the identity or the exact GELU (not both a GELU and a residual).
//! x and W may be of any float type; the product is taken in `compute` (bf16 accumulates in f32). y is of type `compute`, or of the
//! residual's type where there is one.

use super::{arithmetic, check};
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    backend::{Epilogue, Gemm, Layout, Reduce, Reduction, Unary},
    dtype::DType,
    error::{Error, Result},
    tensor::Tensor,
};

#[derive(Clone, Copy, Debug)]
pub struct Linear {
    pub compute: DType,
    pub gelu: bool,
    bias: bool,
    residual: bool,
}

/// See the module.
pub fn linear(
    x: &Var,
    weight: &Var,
    bias: Option<&Var>,
    residual: Option<&Var>,
    gelu: bool,
    compute: DType,
) -> Result<Var> {
    let op = Linear { compute, gelu, bias: bias.is_some(), residual: residual.is_some() };
    let inputs: Vec<&Var> = [Some(x), Some(weight), bias, residual].into_iter().flatten().collect();
    apply1(op, &inputs)
}

impl Linear {
    fn check(&self, x: &Tensor, w: &Tensor, bias: Option<&Tensor>, residual: Option<&Tensor>) -> Result<()> {
        if !self.compute.is_float() {
            return Err(Error::dtype("linear", format!("cannot compute in {}", self.compute)));
        }
        check::float("linear", "the input", x)?;
        check::float("linear", "the weight", w)?;
        if x.shape.is_empty() || w.shape.len() != 2 || w.shape[1] != x.columns() {
            let message =
                format!("the input is {:?} but the weight {:?} (expected [N, {}])", x.shape, w.shape, x.columns());
            return Err(Error::shape("linear", message));
        }
        check::precision(
            "linear",
            &[("the type of the product", self.compute), ("the input", x.dtype), ("the weight", w.dtype)],
        )?;
        if let Some(b) = bias {
            check::shape("linear", "the bias", b, &w.shape[..1])?;
            check::dtype("linear", "the bias", b, check::statistics(self.compute))?;
        }
        if let Some(r) = residual {
            check::shape("linear", "the residual", r, &output_shape(x, w))?;
            check::float("linear", "the residual", r)?;
            check::precision("linear", &[("the type of the product", self.compute), ("the residual", r.dtype)])?;
            if self.gelu {
                return Err(Error::argument("linear", "a GELU and a residual at once"));
            }
        }
        Ok(())
    }
}

/// Shape of x with the last axis as long as the rows of `w`.
pub(super) fn output_shape(x: &Tensor, w: &Tensor) -> Vec<usize> {
    let mut shape = x.shape.clone();
    *shape.last_mut().expect("checked") = w.shape[0];
    shape
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>> {
        let (x, w) = (&inputs[0], &inputs[1]);
        let bias = self.bias.then(|| &inputs[2]);
        let residual = self.residual.then(|| inputs.last().expect("it is an input"));
        self.check(x, w, bias, residual)?;
        let device = x.device();
        let dtype = residual.map_or(self.compute, |r| r.dtype);
        let y = Tensor::empty(device, &output_shape(x, w), dtype);
        saved.push(x);
        saved.push(w);
        let epilogue = match (self.gelu, residual) {
            (true, _) => {
                let pre = Tensor::empty(device, &y.shape, self.compute);
                saved.push(&pre);
                Epilogue::Gelu { pre }
            }
            (false, Some(r)) => Epilogue::Residual { residual: r.clone() },
            (false, None) => Epilogue::None,
        };
        let gemm = Gemm {
            layout: Layout::NT,
            batch: 1,
            m: x.rows(),
            n: w.shape[0],
            k: x.columns(),
            a: x.clone(),
            b: w.clone(),
            c: y.clone(),
            compute: self.compute,
            bias: bias.cloned(),
            epilogue,
            accumulate: false,
        };
        device.submit("linear", move |b| b.gemm(&gemm));
        Ok(vec![y])
    }

    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        let (x, w) = (&saved[0], &saved[1]);
        let mut dy = grads.dy();
        if self.gelu {
            dy = gelu_backward(&dy, &saved[2])?;
        }
        linear_backward(grads, &dy, x, w, self.compute, [0, 1], self.bias.then_some(2))?;
        if self.residual {
            grads.pass(2 + usize::from(self.bias), 0)?;
        }
        Ok(())
    }
}

/// `dy · gelu'(pre)`.
fn gelu_backward(dy: &Tensor, pre: &Tensor) -> Result<Tensor> {
    arithmetic::multiply(dy, &arithmetic::unary(Unary::GeluGrad, pre))
}

/// `dx = dy·W`, `dW = dyᵀ·x`, `db = Σ dy`, each where it is wanted. `inputs` are the numbers of x and W, `bias` that of b.
pub(super) fn linear_backward(
    grads: &mut Grads,
    dy: &Tensor,
    x: &Tensor,
    w: &Tensor,
    compute: DType,
    inputs: [usize; 2],
    bias: Option<usize>,
) -> Result<()> {
    let (m, n, k) = (x.rows(), w.shape[0], x.columns());
    let gemm = |layout, m, n, k, a: &Tensor, b: &Tensor, (c, accumulate): (Tensor, bool)| Gemm {
        layout,
        batch: 1,
        m,
        n,
        k,
        a: a.clone(),
        b: b.clone(),
        c,
        compute,
        bias: None,
        epilogue: Epilogue::None,
        accumulate,
    };
    if let Some(sink) = grads.sink(inputs[1])? {
        let d = gemm(Layout::TN, n, k, m, dy, x, sink.into());
        dy.device().submit("linear", move |b| b.gemm(&d));
    }
    if let Some(i) = bias
        && let Some(sink) = grads.sink(i)?
    {
        let d = Reduce {
            op: Reduction::Sum,
            x: dy.clone(),
            outer: 1,
            n: m,
            inner: n,
            y: sink.tensor,
            accumulate: sink.accumulate,
        };
        dy.device().submit("linear", move |b| b.reduce(&d));
    }
    if let Some(sink) = grads.sink(inputs[0])? {
        let d = gemm(Layout::NN, m, k, n, dy, w, sink.into());
        dy.device().submit("linear", move |b| b.gemm(&d));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{cpu, gradient_check, random};

    #[test]
    fn gradients() {
        for (bias, residual, gelu) in
            [(false, false, false), (true, false, false), (true, false, true), (true, true, false)]
        {
            for (m, n, k) in [(1, 1, 1), (5, 3, 7), (17, 33, 9)] {
                let mut inputs = vec![random(&[m, k], 1), random(&[n, k], 2)];
                if bias {
                    inputs.push(random(&[n], 3));
                }
                if residual {
                    inputs.push(random(&[m, n], 4));
                }
                gradient_check(&inputs, |v| {
                    let b = bias.then(|| &v[2]);
                    linear(&v[0], &v[1], b, residual.then(|| &v[v.len() - 1]), gelu, DType::F64)
                });
            }
        }
    }

    #[test]
    fn refuses_other_widths() {
        let device = cpu();
        let x = Var::constant(Tensor::zeros(&device, &[2, 3], DType::F32));
        let w = Var::constant(Tensor::zeros(&device, &[4, 5], DType::F32));
        let error = linear(&x, &w, None, None, false, DType::F32).expect_err("3 is not 5");
        assert_eq!(error.message, "linear: the input is [2, 3] but the weight [4, 5] (expected [N, 3])");
    }
}
