//! One operation a file, each with its formula, shapes, forward, backward and tests.

mod check;
pub mod linear;
#[cfg(test)]
pub mod testing;

use crate::{
    backend::{Backend, Binary, Broadcast},
    error::Result,
    tensor::Tensor,
};

/// `y = a·b`, elementwise, for tensors of one shape; b of another float type is cast on the way.
pub(crate) fn multiply_into(backend: &dyn Backend, a: &Tensor, b: &Tensor, y: &Tensor) -> Result<()> {
    let flat = [a.len()];
    let b = match b.dtype == a.dtype {
        true => b.clone(),
        false => {
            let cast = Tensor::empty(a.device(), &b.shape, a.dtype);
            backend.cast(b, &cast)?;
            cast
        }
    };
    backend.broadcast(&Broadcast {
        op: Binary::Mul,
        a: a.reshape(&flat)?,
        a_strides: vec![1],
        b: b.reshape(&flat)?,
        b_strides: vec![1],
        y: y.reshape(&flat)?,
        accumulate: false,
    })
}
