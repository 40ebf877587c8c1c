//! AdamW (Loshchilov & Hutter, arXiv 1711.05101) on one chunk of parameters, with clipping, the moving average of the target
//! encoder, the bf16 copy and the clearing of gradients in the same pass. The formula stands at [`AdamW`].

use super::check;
use crate::{
    backend::AdamW,
    dtype::DType,
    error::{Error, Result},
    tensor::Tensor,
};

/// One step. Tensors are of one shape and type, float32 or float64 (the bf16 copy apart); all but `clip` are changed in place.
pub fn adamw(d: AdamW) -> Result<()> {
    let param = &d.param;
    let like = [("the gradient", Some(&d.grad)), ("the first moment", Some(&d.m)), ("the second moment", Some(&d.v))];
    if !matches!(param.dtype, DType::F32 | DType::F64) {
        return Err(Error::dtype("adamw", format!("parameters are {}, but float32 or float64 is needed", param.dtype)));
    }
    for (what, t) in like.into_iter().chain([("the moving average", d.ema.as_ref())]) {
        if let Some(t) = t {
            check::shape("adamw", what, t, &param.shape)?;
            check::dtype("adamw", what, t, param.dtype)?;
        }
    }
    if let Some(shadow) = &d.shadow {
        check::shape("adamw", "the bf16 copy", shadow, &param.shape)?;
        check::dtype("adamw", "the bf16 copy", shadow, DType::BF16)?;
    }
    if let Some((norm, limit)) = &d.clip {
        check::shape("adamw", "the gradients' norm", norm, &[1])?;
        check::dtype("adamw", "the gradients' norm", norm, param.dtype)?;
        if limit.is_nan() || *limit <= 0.0 {
            return Err(Error::argument("adamw", format!("gradients cannot be clipped to {limit}")));
        }
    }
    let tensors: Vec<&Tensor> = [
        Some(param),
        Some(&d.grad),
        Some(&d.m),
        Some(&d.v),
        d.ema.as_ref(),
        d.shadow.as_ref(),
        d.clip.as_ref().map(|c| &c.0),
    ]
    .into_iter()
    .flatten()
    .collect();
    check::same_device("adamw", tensors)?;
    for (what, value, allowed) in [
        ("the learning rate", d.lr, d.lr >= 0.0),
        ("weight decay", d.weight_decay, d.weight_decay >= 0.0),
        ("beta1", d.beta1, (0.0..1.0).contains(&d.beta1)),
        ("beta2", d.beta2, (0.0..1.0).contains(&d.beta2)),
        ("eps", d.eps, d.eps >= 0.0),
        ("the momentum", d.momentum, d.ema.is_none() || (0.0..=1.0).contains(&d.momentum)),
    ] {
        if !allowed || (value.is_infinite() && what != "the momentum") {
            return Err(Error::argument("adamw", format!("{what} is {value}")));
        }
    }
    if d.step == 0 {
        return Err(Error::argument("adamw", "the first step is 1, not 0"));
    }
    d.param.device().clone().submit("adamw", move |b| b.adamw(&d));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{
        arithmetic, norm,
        testing::{close, from_f64, random, to_f64},
    };

    fn chunk(n: usize, dtype: DType) -> AdamW {
        let t = |seed| arithmetic::cast(&random(&[n], seed), dtype);
        AdamW {
            param: t(1),
            grad: t(2),
            m: t(3),
            v: arithmetic::unary(crate::backend::Unary::Square, &t(4)),
            ema: Some(t(5)),
            shadow: Some(Tensor::zeros(t(1).device(), &[n], DType::BF16)),
            clip: None,
            lr: 0.01,
            weight_decay: 0.1,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            step: 3,
            momentum: 0.99,
            zero_grad: false,
        }
    }

    #[test]
    fn the_formula() {
        for (n, clip, zero_grad) in [(1, None, false), (37, Some(0.5), true), (1000, Some(1e9), false), (0, None, true)]
        {
            let mut d = chunk(n, DType::F64);
            let [p, g, m, v, ema] = [&d.param, &d.grad, &d.m, &d.v, d.ema.as_ref().unwrap()].map(to_f64);
            d.zero_grad = zero_grad;
            d.clip = clip.map(|limit| (norm(std::slice::from_ref(&d.grad)).unwrap(), limit));
            let length = g.iter().map(|g| g * g).sum::<f64>().sqrt();
            let factor = clip.map_or(1.0, |limit: f64| (limit / (length + 1e-6)).min(1.0));
            adamw(d.clone()).unwrap();
            let (mut expected, mut averages) = (vec![], vec![]);
            for i in 0..n {
                let g = g[i] * factor;
                let m = 0.9 * m[i] + 0.1 * g;
                let v = 0.95 * v[i] + 0.05 * g * g;
                let decayed = p[i] * (1.0 - 0.01 * 0.1);
                let p = decayed - 0.01 * (m / (1.0 - 0.9f64.powi(3))) / ((v / (1.0 - 0.95f64.powi(3))).sqrt() + 1e-8);
                expected.push(p);
                averages.push(0.99 * ema[i] + (1.0 - 0.99) * p);
            }
            close(&d.param, &expected, 1e-12);
            close(d.ema.as_ref().unwrap(), &averages, 1e-12);
            assert_eq!(to_f64(d.shadow.as_ref().unwrap()), to_f64(&arithmetic::cast(&d.param, DType::BF16)));
            assert_eq!(to_f64(&d.grad), if zero_grad { vec![0.0; n] } else { g });
        }
    }

    #[test]
    fn refusals() {
        let message = |change: fn(&mut AdamW)| {
            let mut d = chunk(4, DType::F32);
            change(&mut d);
            adamw(d).expect_err("not allowed").message
        };
        assert_eq!(message(|d| d.grad = random(&[4], 1)), "adamw: the gradient is float64, but float32 is needed");
        assert_eq!(message(|d| d.grad = random(&[2, 2], 1)), "adamw: the gradient is [2, 2], but [4] is needed");
        assert_eq!(message(|d| d.m = random(&[5], 1)), "adamw: the first moment is [5], but [4] is needed");
        assert_eq!(message(|d| d.v = random(&[3], 1)), "adamw: the second moment is [3], but [4] is needed");
        assert_eq!(message(|d| d.ema = Some(random(&[], 1))), "adamw: the moving average is [], but [4] is needed");
        assert_eq!(message(|d| d.shadow = Some(random(&[8], 1))), "adamw: the bf16 copy is [8], but [4] is needed");
        assert_eq!(
            message(|d| d.clip = Some((random(&[2], 1), 1.0))),
            "adamw: the gradients' norm is [2], but [1] is needed"
        );
        assert_eq!(
            message(|d| d.shadow = Some(d.param.clone())),
            "adamw: the bf16 copy is float32, but bfloat16 is needed"
        );
        assert_eq!(message(|d| d.lr = f64::NAN), "adamw: the learning rate is NaN");
        assert_eq!(message(|d| d.beta2 = 1.0), "adamw: beta2 is 1");
        assert_eq!(message(|d| d.step = 0), "adamw: the first step is 1, not 0");
        assert_eq!(message(|d| d.momentum = 2.0), "adamw: the momentum is 2");
        assert_eq!(
            message(|d| d.clip = Some((arithmetic::cast(&from_f64(&[1], &[1.0]), DType::F32), 0.0))),
            "adamw: gradients cannot be clipped to 0"
        );
    }
}
