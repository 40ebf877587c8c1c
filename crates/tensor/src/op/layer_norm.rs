//! Layer normalisation (Ba et al., arXiv 1607.06450): `y = (x − mean)/sqrt(var + eps)·weight + bias` over the last axis.
//!
//! x `[…, D]` of any float type, weight and bias `[D]` in float32 (float64 for float64) and each optional, y `[…, D]` in the type
//! `out`. Mean and (biased) variance are taken in f32 (f64 for float64) and kept for backward.

use super::check;
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    backend::{self, LayerNormGrad},
    dtype::DType,
    error::{Error, Result},
    tensor::Tensor,
};

#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    pub eps: f64,
    pub out: DType,
    weight: bool,
    bias: bool,
}

/// See the module.
pub fn layer_norm(x: &Var, weight: Option<&Var>, bias: Option<&Var>, eps: f64, out: DType) -> Result<Var> {
    let op = LayerNorm { eps, out, weight: weight.is_some(), bias: bias.is_some() };
    let inputs: Vec<&Var> = [Some(x), weight, bias].into_iter().flatten().collect();
    apply1(op, &inputs)
}

impl LayerNorm {
    fn weight(&self) -> Option<usize> {
        self.weight.then_some(1)
    }

    fn bias(&self) -> Option<usize> {
        self.bias.then_some(1 + usize::from(self.weight))
    }

    fn check(&self, inputs: &[Tensor]) -> Result<()> {
        let x = &inputs[0];
        check::float("layerNorm", "the input", x)?;
        if x.shape.is_empty() || x.columns() == 0 {
            return Err(Error::shape("layerNorm", format!("{:?} has nothing to normalise over", x.shape)));
        }
        for (what, i) in [("the weight", self.weight()), ("the bias", self.bias())] {
            if let Some(i) = i {
                check::shape("layerNorm", what, &inputs[i], &[x.columns()])?;
                check::dtype("layerNorm", what, &inputs[i], check::statistics(x.dtype))?;
            }
        }
        if !self.out.is_float() {
            return Err(Error::dtype("layerNorm", format!("the output cannot be {}", self.out)));
        }
        check::precision("layerNorm", &[("the input", x.dtype), ("the output", self.out)])?;
        match self.eps >= 0.0 && self.eps.is_finite() {
            true => Ok(()),
            false => Err(Error::argument("layerNorm", format!("eps is {}", self.eps))),
        }
    }
}

/// As rows of the last axis.
fn matrix(t: &Tensor) -> Result<Tensor> {
    t.reshape(&[t.rows(), t.columns()])
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layerNorm"
    }

    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>> {
        self.check(inputs)?;
        let x = &inputs[0];
        let y = Tensor::empty(x.device(), &x.shape, self.out);
        let mean = Tensor::empty(x.device(), &[x.rows()], check::statistics(x.dtype));
        let d = backend::LayerNorm {
            x: matrix(x)?,
            weight: self.weight().map(|i| inputs[i].clone()),
            bias: self.bias().map(|i| inputs[i].clone()),
            eps: self.eps,
            y: matrix(&y)?,
            rstd: mean.empty_like(),
            mean,
        };
        [Some(&d.x), Some(&d.mean), Some(&d.rstd), d.weight.as_ref()].into_iter().flatten().for_each(|t| saved.push(t));
        x.device().submit("layerNorm", move |b| b.layer_norm(&d));
        Ok(vec![y])
    }

    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        let [x, mean, rstd, weight @ ..] = saved else { unreachable!("forward keeps them") };
        let dy = matrix(&grads.dy())?;
        let mut sink = |i: Option<usize>| -> Result<Option<(Tensor, bool)>> {
            Ok(i.map(|i| grads.sink(i)).transpose()?.flatten().map(Into::into))
        };
        let d = LayerNormGrad {
            x: x.clone(),
            weight: weight.first().cloned(),
            mean: mean.clone(),
            rstd: rstd.clone(),
            dy,
            dx: sink(Some(0))?.map(|(dx, accumulate)| Ok::<_, Error>((matrix(&dx)?, accumulate))).transpose()?,
            dweight: sink(self.weight())?,
            dbias: sink(self.bias())?,
        };
        x.device().submit("layerNorm", move |b| b.layer_norm_grad(&d));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        autograd::backward,
        op::{
            arithmetic,
            testing::{close, cpu, from_f64, gradient_check, random, to_f64},
        },
    };

    #[test]
    fn one_row_by_hand() {
        let x = Var::constant(from_f64(&[1, 3], &[1.0, 2.0, 6.0]));
        let (w, b) =
            (Var::constant(from_f64(&[3], &[1.0, 2.0, 3.0])), Var::constant(from_f64(&[3], &[0.5, 0.0, -1.0])));
        // Mean 3, variance (4 + 1 + 9)/3.
        let rstd = 1.0 / (14f64 / 3.0 + 0.25).sqrt();
        let y = layer_norm(&x, Some(&w), Some(&b), 0.25, DType::F64).unwrap();
        close(&y.tensor, &[-2.0 * rstd + 0.5, -2.0 * rstd, 9.0 * rstd - 1.0], 1e-12);
        let y = layer_norm(&x, None, None, 0.25, DType::F64).unwrap();
        close(&y.tensor, &[-2.0 * rstd, -rstd, 3.0 * rstd], 1e-12);
    }

    #[test]
    fn gradients() {
        for (rows, columns) in [(1, 1), (3, 2), (2, 7), (5, 33), (0, 4)] {
            for (weight, bias) in [(false, false), (true, false), (true, true), (false, true)] {
                let mut inputs = vec![random(&[rows, columns], 1)];
                inputs.extend(weight.then(|| random(&[columns], 2)));
                inputs.extend(bias.then(|| random(&[columns], 3)));
                gradient_check(&inputs, |v| {
                    let b = bias.then(|| &v[v.len() - 1]);
                    layer_norm(&v[0], weight.then(|| &v[1]), b, 1e-2, DType::F64)
                });
            }
        }
    }

    #[test]
    fn types_mix() {
        let wide = random(&[4, 24], 1);
        let y = layer_norm(&Var::constant(wide.clone()), None, None, 1e-6, DType::F64).unwrap();
        // With equal weights dy = y is all but in the directions that dx has nothing of, and what is left of it is rounding.
        let weights: Vec<f64> = (0..24).map(|c| [1.0, 0.5, 0.75, 0.25][c % 4]).collect();
        let expected: Vec<f64> = to_f64(&y.tensor).iter().zip(weights.iter().cycle()).map(|(y, w)| y * w).collect();
        for (x, out, bound) in [
            (DType::F32, DType::F32, 1e-5),
            (DType::F32, DType::BF16, 8e-3),
            (DType::BF16, DType::F32, 1e-2),
            (DType::BF16, DType::BF16, 2e-2),
        ] {
            let x = Var::leaf(arithmetic::cast(&wide, x), None).unwrap();
            let w = Var::leaf(arithmetic::cast(&from_f64(&[24], &weights), DType::F32), None).unwrap();
            let y = layer_norm(&x, Some(&w), None, 1e-6, out).unwrap();
            assert_eq!(y.tensor.dtype, out);
            close(&y.tensor, &expected, bound * 3.0);
            backward(&[(y.clone(), y.tensor.clone())]).unwrap();
            assert_eq!(x.grad().unwrap().dtype, x.tensor.dtype);
            assert_eq!(w.grad().unwrap().dtype, DType::F32);
            // dweight = Σ x̂²·weight over the rows.
            let dw: f64 = to_f64(&w.grad().unwrap()).iter().zip(&weights).map(|(dw, w)| dw / w).sum();
            assert!((dw - 96.0).abs() < 96.0 * bound, "{dw}");
        }
    }

    #[test]
    fn refusals() {
        let zeros = |shape: &[usize], dtype| Var::constant(Tensor::zeros(&cpu(), shape, dtype));
        let message = |r: Result<Var>| r.expect_err("it does not fit").message;
        let x = zeros(&[2, 3], DType::F32);
        assert_eq!(
            message(layer_norm(&x, Some(&zeros(&[4], DType::F32)), None, 1e-6, DType::F32)),
            "layerNorm: the weight is [4], but [3] is needed"
        );
        assert_eq!(
            message(layer_norm(&x, Some(&zeros(&[3], DType::BF16)), None, 1e-6, DType::F32)),
            "layerNorm: the weight is bfloat16, but float32 is needed"
        );
        assert_eq!(message(layer_norm(&x, None, None, -1.0, DType::F32)), "layerNorm: eps is -1");
        assert_eq!(
            message(layer_norm(&zeros(&[2, 0], DType::F32), None, None, 1e-6, DType::F32)),
            "layerNorm: [2, 0] has nothing to normalise over"
        );
        assert_eq!(
            message(layer_norm(&zeros(&[2, 3], DType::I32), None, None, 1e-6, DType::F32)),
            "layerNorm: the input is int32, but a float type is needed"
        );
    }
}
