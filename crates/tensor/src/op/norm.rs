//! The Euclidean norm of several tensors together: `sqrt(Σ x²)`, summed in f64 in a fixed order; Inf or NaN when any element is.

use super::check;
use crate::{
    error::{Error, Result},
    tensor::Tensor,
};

/// The norm of all the chunks (a clipped group's gradients), `[1]` in float32 (float64 for float64).
pub fn norm(chunks: &[Tensor]) -> Result<Tensor> {
    let Some(first) = chunks.first() else { return Err(Error::argument("norm", "there is nothing to measure")) };
    check::same_device("norm", chunks)?;
    for chunk in chunks {
        check::float("norm", "a tensor", chunk)?;
        check::precision("norm", &[("one tensor", first.dtype), ("another", chunk.dtype)])?;
    }
    let y = Tensor::empty(first.device(), &[1], check::statistics(first.dtype));
    let (chunks, out) = (chunks.to_vec(), y.clone());
    y.device().submit("norm", move |b| b.norm(&chunks, &out));
    Ok(y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        op::{
            arithmetic,
            testing::{close, from_f64, from_i32, random, to_f64},
        },
    };

    #[test]
    fn over_chunks() {
        let y = norm(&[from_f64(&[2], &[1.0, -2.0]), from_f64(&[0], &[]), from_f64(&[1, 1], &[2.0])]).unwrap();
        close(&y, &[3.0], 1e-15);
        let x = random(&[3, 1001], 1);
        let expected = to_f64(&x).iter().map(|v| v * v).sum::<f64>().sqrt();
        let y = norm(&[arithmetic::cast(&x, DType::F32)]).unwrap();
        assert_eq!(y.dtype, DType::F32);
        close(&y, &[expected], expected * 1e-6);
        // Squares that f32 cannot hold.
        close(&norm(&[arithmetic::cast(&from_f64(&[1], &[1e30]), DType::F32)]).unwrap(), &[1e30], 1e24);
    }

    #[test]
    fn what_is_not_finite_shows() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let y = to_f64(&norm(&[random(&[100], 1), from_f64(&[3], &[0.0, bad, 0.0])]).unwrap());
            assert!(!y[0].is_finite());
        }
    }

    #[test]
    fn refusals() {
        let message = |chunks: &[Tensor]| norm(chunks).expect_err("not allowed").message;
        assert_eq!(message(&[]), "norm: there is nothing to measure");
        assert_eq!(message(&[from_i32(&[1])]), "norm: a tensor is int32, but a float type is needed");
        let narrow = arithmetic::cast(&random(&[2], 1), DType::F32);
        assert_eq!(message(&[random(&[2], 1), narrow]), "norm: another is float32 but one tensor is float64");
    }
}
