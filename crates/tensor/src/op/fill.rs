//! Sets every element of a tensor, in place and outside the graph. Any type; integers take the value truncated.

use crate::{error::Result, tensor::Tensor};

/// `x = value`.
pub fn fill_(x: &Tensor, value: f64) -> Result<()> {
    let x = x.clone();
    x.device().clone().submit("fill_", move |b| b.fill(&x, value));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Code, DType,
        op::testing::{device, from_f64, from_i32, to_f64},
    };

    #[test]
    fn part_of_a_tensor() {
        let x = from_f64(&[4], &[1.0, 2.0, 3.0, 4.0]);
        fill_(&x.view(1, &[2]).unwrap(), -0.5).unwrap();
        assert_eq!(to_f64(&x), [1.0, -0.5, -0.5, 4.0]);
        let x = from_i32(&[1, 2]);
        assert_eq!(x.dtype, DType::I32);
        fill_(&x, 7.0).unwrap();
        assert_eq!(to_f64(&x), [7.0, 7.0]);
    }

    /// Any shape can be filled; what no device has memory for is an error at the next read, and the device goes on.
    #[test]
    fn shapes_without_bound() {
        let device = device();
        let x = Tensor::empty(&device, &[1 << 40, 1 << 40], DType::F32);
        fill_(&x, 1.0).unwrap();
        let error = device.read_now(&Tensor::zeros(&device, &[1], DType::F32)).expect_err("no machine has so much");
        // A device that counts elements in 32 bits refuses the shape before it looks for memory.
        assert!(matches!(error.code, Code::Memory | Code::Shape), "{error}");
        assert!(error.message.starts_with("fill_: "), "{error}");
        assert_eq!(to_f64(&Tensor::full(&device, &[1], DType::F32, 2.0)), [2.0]);
    }
}
