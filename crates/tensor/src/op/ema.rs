//! Exponential moving average, in place and outside the graph: `target = momentum·target + (1 − momentum)·online`, each product
//! rounded before the sum, as PyTorch's `mul_` and `add_` do. Float tensors of one shape and type.
//!
//! [`super::adamw`] does the same in the optimizer's own pass.

use super::{arithmetic as raw, check};
use crate::{
    backend::Binary,
    error::{Error, Result},
    tensor::Tensor,
};

/// See the module.
pub fn ema_(target: &Tensor, online: &Tensor, momentum: f64) -> Result<()> {
    check::float("ema_", "the target", target)?;
    check::dtype("ema_", "the online tensor", online, target.dtype)?;
    check::shape("ema_", "the online tensor", online, &target.shape)?;
    check::same_device("ema_", [target, online])?;
    if !(0.0..=1.0).contains(&momentum) {
        return Err(Error::argument("ema_", format!("the momentum is {momentum}, not within 0..1")));
    }
    let (old, new) = (raw::affine(target, momentum, 0.0), raw::affine(online, 1.0 - momentum, 0.0));
    raw::binary_into(Binary::Add, &old, &new, target, false);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        op::testing::{random, to_f64},
    };

    #[test]
    fn rounds_as_pytorch_does() {
        let single = |seed| raw::cast(&random(&[101], seed), DType::F32);
        let (target, online) = (single(1), single(2));
        let (old, new) = (to_f64(&target), to_f64(&online));
        ema_(&target, &online, 0.998).unwrap();
        let (m, rest) = (0.998f64 as f32, (1.0 - 0.998f64) as f32);
        let expected: Vec<f64> =
            old.iter().zip(&new).map(|(&t, &o)| f64::from(t as f32 * m + o as f32 * rest)).collect();
        assert_eq!(to_f64(&target), expected);
        assert_eq!(to_f64(&online), new);
    }

    #[test]
    fn ends() {
        let (a, b) = (random(&[5], 1), random(&[5], 2));
        let (old, new) = (to_f64(&a), to_f64(&b));
        ema_(&a, &b, 1.0).unwrap();
        assert_eq!(to_f64(&a), old);
        ema_(&a, &b, 0.0).unwrap();
        assert_eq!(to_f64(&a), new);
    }

    #[test]
    fn refusals() {
        let error = ema_(&random(&[2], 1), &random(&[2], 1), 1.5).expect_err("not allowed");
        assert_eq!(error.message, "ema_: the momentum is 1.5, not within 0..1");
        let error = ema_(&random(&[2], 1), &random(&[3], 1), 0.5).expect_err("not allowed");
        assert_eq!(error.message, "ema_: the online tensor is [3], but [2] is needed");
        let narrow = raw::cast(&random(&[2], 1), DType::F32);
        let error = ema_(&random(&[2], 1), &narrow, 0.5).expect_err("not allowed");
        assert_eq!(error.message, "ema_: the online tensor is float32, but float64 is needed");
    }
}
