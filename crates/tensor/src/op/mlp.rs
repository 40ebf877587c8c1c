//! Two-layer perceptron of a transformer block: `y = gelu(x·W₁ᵀ + b₁)·W₂ᵀ + b₂ + residual`, exact GELU.
//!
//! x `[…, K]`, W₁ `[H, K]`, b₁ `[H]`, W₂ `[N, H]`, b₂ `[N]`, residual and y `[…, N]`. Products are taken in `compute`, the type of
//! the hidden layer too; y has the residual's type, or `compute` where there is none. Backward keeps x and the pre-activation only:
//! the hidden layer is made again from it.

use super::{
    arithmetic, check,
    linear::{linear_backward, output_shape},
};
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    backend::{Epilogue, Gemm, Layout, Reduce, Reduction, Unary},
    dtype::DType,
    error::{Error, Result},
    tensor::Tensor,
};

#[derive(Clone, Copy, Debug)]
pub struct Mlp {
    pub compute: DType,
    bias1: bool,
    bias2: bool,
    residual: bool,
}

/// See the module.
pub fn mlp(
    x: &Var,
    w1: &Var,
    b1: Option<&Var>,
    w2: &Var,
    b2: Option<&Var>,
    residual: Option<&Var>,
    compute: DType,
) -> Result<Var> {
    let op = Mlp { compute, bias1: b1.is_some(), bias2: b2.is_some(), residual: residual.is_some() };
    let inputs: Vec<&Var> = [Some(x), Some(w1), Some(w2), b1, b2, residual].into_iter().flatten().collect();
    apply1(op, &inputs)
}

/// The numbers of the inputs.
const X: usize = 0;
const W1: usize = 1;
const W2: usize = 2;

impl Mlp {
    fn b1(&self) -> Option<usize> {
        self.bias1.then_some(3)
    }

    fn b2(&self) -> Option<usize> {
        self.bias2.then_some(3 + usize::from(self.bias1))
    }

    fn residual(&self) -> Option<usize> {
        self.residual.then_some(3 + usize::from(self.bias1) + usize::from(self.bias2))
    }

    fn check(&self, inputs: &[Tensor]) -> Result<()> {
        let (x, w1, w2) = (&inputs[X], &inputs[W1], &inputs[W2]);
        let mut types = vec![("the type of the product", self.compute)];
        for (what, t) in [("the input", x), ("the first weight", w1), ("the second weight", w2)] {
            check::float("mlp", what, t)?;
            types.push((what, t.dtype));
        }
        if !self.compute.is_float() {
            return Err(Error::dtype("mlp", format!("cannot compute in {}", self.compute)));
        }
        if x.shape.is_empty() || w1.shape.len() != 2 || w1.shape[1] != x.columns() {
            let message = format!(
                "the input is {:?} but the first weight {:?} (expected [H, {}])",
                x.shape,
                w1.shape,
                x.columns()
            );
            return Err(Error::shape("mlp", message));
        }
        if w2.shape.len() != 2 || w2.shape[1] != w1.shape[0] {
            let message = format!(
                "the first weight is {:?} but the second {:?} (expected [N, {}])",
                w1.shape, w2.shape, w1.shape[0]
            );
            return Err(Error::shape("mlp", message));
        }
        for (what, bias, w) in [("the first bias", self.b1(), w1), ("the second bias", self.b2(), w2)] {
            if let Some(i) = bias {
                check::shape("mlp", what, &inputs[i], &w.shape[..1])?;
                check::dtype("mlp", what, &inputs[i], check::statistics(self.compute))?;
            }
        }
        if let Some(i) = self.residual() {
            check::float("mlp", "the residual", &inputs[i])?;
            check::shape("mlp", "the residual", &inputs[i], &output_shape(x, w2))?;
            types.push(("the residual", inputs[i].dtype));
        }
        check::precision("mlp", &types)
    }

    /// `C = op(A)·op(B)`, plain.
    fn gemm(&self, layout: Layout, [m, n, k]: [usize; 3], a: &Tensor, b: &Tensor, c: &Tensor) -> Gemm {
        Gemm {
            layout,
            batch: 1,
            m,
            n,
            k,
            a: a.clone(),
            b: b.clone(),
            c: c.clone(),
            compute: self.compute,
            bias: None,
            epilogue: Epilogue::None,
            accumulate: false,
        }
    }
}

impl Op for Mlp {
    fn name(&self) -> &'static str {
        "mlp"
    }

    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>> {
        self.check(inputs)?;
        let (x, w1, w2) = (&inputs[X], &inputs[W1], &inputs[W2]);
        let (m, k, h, n) = (x.rows(), x.columns(), w1.shape[0], w2.shape[0]);
        let device = x.device();
        let pre = Tensor::empty(device, &[m, h], self.compute);
        let hidden = pre.empty_like();
        let residual = self.residual().map(|i| inputs[i].clone());
        let y = Tensor::empty(device, &output_shape(x, w2), residual.as_ref().map_or(self.compute, |r| r.dtype));
        [x, w1, w2, &pre].into_iter().for_each(|t| saved.push(t));
        let first = Gemm {
            bias: self.b1().map(|i| inputs[i].clone()),
            epilogue: Epilogue::Gelu { pre },
            ..self.gemm(Layout::NT, [m, h, k], x, w1, &hidden)
        };
        let second = Gemm {
            bias: self.b2().map(|i| inputs[i].clone()),
            epilogue: residual.map_or(Epilogue::None, |residual| Epilogue::Residual { residual }),
            ..self.gemm(Layout::NT, [m, n, h], &hidden, w2, &y)
        };
        device.submit("mlp", move |b| b.gemm(&first));
        device.submit("mlp", move |b| b.gemm(&second));
        Ok(vec![y])
    }

    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        let [x, w1, w2, pre] = saved else { unreachable!("forward keeps four") };
        let (m, h, n) = (x.rows(), w1.shape[0], w2.shape[0]);
        let dy = grads.dy();
        let device = dy.device().clone();
        if let Some(sink) = grads.sink(W2)? {
            let hidden = arithmetic::unary(Unary::Gelu, pre);
            let gemm = self.gemm(Layout::TN, [n, h, m], &dy, &hidden, &sink.tensor);
            let d = Gemm { accumulate: sink.accumulate, ..gemm };
            device.submit("mlp", move |b| b.gemm(&d));
        }
        if let Some(i) = self.b2()
            && let Some(sink) = grads.sink(i)?
        {
            let (y, accumulate) = sink.into();
            let d = Reduce { op: Reduction::Sum, x: dy.clone(), outer: 1, n: m, inner: n, y, accumulate };
            device.submit("mlp", move |b| b.reduce(&d));
        }
        if grads.needs(X) || grads.needs(W1) || self.b1().is_some_and(|i| grads.needs(i)) {
            let dpre = pre.empty_like();
            let gemm = self.gemm(Layout::NN, [m, h, n], &dy, w2, &dpre);
            let d = Gemm { epilogue: Epilogue::GeluGrad { pre: pre.clone() }, ..gemm };
            device.submit("mlp", move |b| b.gemm(&d));
            linear_backward(grads, &dpre, x, w1, self.compute, [X, W1], self.b1())?;
        }
        match self.residual() {
            Some(i) => grads.pass(i, 0),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        autograd::backward,
        op::{
            linear,
            testing::{cpu, from_f64, gradient_check, random, to_f64},
        },
    };

    #[test]
    fn one_number() {
        let one = |v| Var::constant(from_f64(&[1, 1], &[v]));
        let bias = |v| Var::constant(from_f64(&[1], &[v]));
        let y =
            mlp(&one(2.0), &one(0.5), Some(&bias(-1.0)), &one(3.0), Some(&bias(0.25)), Some(&one(10.0)), DType::F64);
        // gelu(0) = 0: only the second bias and the residual are left.
        assert_eq!(to_f64(&y.unwrap().tensor), [10.25]);
        let y = mlp(&one(2.0), &one(0.5), None, &one(3.0), None, None, DType::F64).unwrap();
        let gelu_1 = 0.841344746068543;
        assert!((to_f64(&y.tensor)[0] - 3.0 * gelu_1).abs() < 1e-14);
    }

    #[test]
    fn gradients() {
        for (m, k, h, n) in [(1, 1, 1, 1), (5, 3, 7, 4), (0, 2, 3, 2)] {
            for (bias, residual) in [(false, false), (true, false), (false, true), (true, true)] {
                let mut inputs = vec![random(&[m, k], 1), random(&[h, k], 2), random(&[n, h], 3)];
                if bias {
                    inputs.extend([random(&[h], 4), random(&[n], 5)]);
                }
                if residual {
                    inputs.push(random(&[m, n], 6));
                }
                gradient_check(&inputs, |v| {
                    let (b1, b2) = (bias.then(|| &v[3]), bias.then(|| &v[4]));
                    mlp(&v[0], &v[1], b1, &v[2], b2, residual.then(|| &v[v.len() - 1]), DType::F64)
                });
            }
        }
    }

    /// Values and gradients are those of the two linear layers it fuses, with mixed types and a residual that is the input itself.
    #[test]
    fn equals_two_linear_layers() {
        let leaf = |shape: &[usize], seed| Var::leaf(arithmetic::cast(&random(shape, seed), DType::F32), None).unwrap();
        for compute in [DType::F32, DType::BF16] {
            let make = || (leaf(&[2, 9, 8], 1), leaf(&[33, 8], 2), leaf(&[33], 3), leaf(&[8, 33], 4), leaf(&[8], 5));
            let (x, w1, b1, w2, b2) = make();
            let fused = mlp(&x, &w1, Some(&b1), &w2, Some(&b2), Some(&x), compute).unwrap();
            let (x_, w1_, b1_, w2_, b2_) = make();
            let hidden = linear(&x_, &w1_, Some(&b1_), None, true, compute).unwrap();
            let plain = linear(&hidden, &w2_, Some(&b2_), Some(&x_), false, compute).unwrap();
            assert_eq!((fused.tensor.dtype, &fused.tensor.shape[..]), (DType::F32, &[2, 9, 8][..]));
            assert_eq!(to_f64(&fused.tensor), to_f64(&plain.tensor));
            let dy = arithmetic::cast(&random(&[2, 9, 8], 6), DType::F32);
            backward(&[(fused, dy.clone()), (plain, dy)]).unwrap();
            let bound = if compute == DType::F32 { 1e-5 } else { 1.0 / 128.0 };
            for (a, b) in [(x, x_), (w1, w1_), (b1, b1_), (w2, w2_), (b2, b2_)] {
                let (a, b) = (to_f64(&a.grad().unwrap()), to_f64(&b.grad().unwrap()));
                let difference: f64 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum();
                let scale: f64 = b.iter().map(|b| b * b).sum();
                assert!((difference / scale).sqrt() < bound, "{compute}: {}", (difference / scale).sqrt());
            }
        }
    }

    #[test]
    fn refusals() {
        let device = cpu();
        let zeros = |shape: &[usize]| Var::constant(Tensor::zeros(&device, shape, DType::F32));
        let x = zeros(&[2, 3]);
        let message = |r: Result<Var>| r.expect_err("it does not fit").message;
        assert_eq!(
            message(mlp(&x, &zeros(&[4, 5]), None, &zeros(&[3, 4]), None, None, DType::F32)),
            "mlp: the input is [2, 3] but the first weight [4, 5] (expected [H, 3])"
        );
        assert_eq!(
            message(mlp(&x, &zeros(&[4, 3]), None, &zeros(&[3, 5]), None, None, DType::F32)),
            "mlp: the first weight is [4, 3] but the second [3, 5] (expected [N, 4])"
        );
        assert_eq!(
            message(mlp(&x, &zeros(&[4, 3]), None, &zeros(&[3, 4]), None, Some(&zeros(&[2, 4])), DType::F32)),
            "mlp: the residual is [2, 4], but [2, 3] is needed"
        );
        assert_eq!(
            message(mlp(&x, &zeros(&[4, 3]), None, &zeros(&[3, 4]), None, None, DType::F64)),
            "mlp: the input is float32 but the type of the product is float64"
        );
    }
}
