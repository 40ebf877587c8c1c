//! Copies one tensor over another of its shape, in place and outside the graph. Types may differ: numbers are cast.

use super::check;
use crate::{error::Result, tensor::Tensor};

/// `dst = src`.
pub fn copy_(dst: &Tensor, src: &Tensor) -> Result<()> {
    check::shape("copy_", "the source", src, &dst.shape)?;
    check::same_device("copy_", [dst, src])?;
    let (dst, src) = (dst.clone(), src.clone());
    dst.device().clone().submit("copy_", move |b| b.cast(&src, &dst));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{from_f64, from_i32, to_f64};

    #[test]
    fn over_another_type() {
        let x = from_f64(&[3], &[1.5, -2.5, 3.0]);
        let y = from_i32(&[9, 9, 9, 9]);
        copy_(&y.view(1, &[3]).unwrap(), &x).unwrap();
        assert_eq!(to_f64(&y), [9.0, 1.0, -2.0, 3.0]);
    }

    #[test]
    fn refusals() {
        let error = copy_(&from_i32(&[1]), &from_i32(&[1, 2])).expect_err("two into one");
        assert_eq!(error.message, "copy_: the source is [2], but [1] is needed");
        // As many elements are not the same shape.
        let error = copy_(&from_f64(&[2, 3], &[0.0; 6]), &from_f64(&[3, 2], &[0.0; 6])).expect_err("turned");
        assert_eq!(error.message, "copy_: the source is [3, 2], but [2, 3] is needed");
    }
}
