//! Shape and type checks that several operations share. Each error names the operation and the shapes.

use crate::{
    dtype::DType,
    error::{Error, Result},
    tensor::Tensor,
};

/// The type in which sums, statistics and losses over `dtype` are kept.
pub fn statistics(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

pub fn float(op: &str, what: &str, t: &Tensor) -> Result<()> {
    match t.dtype.is_float() {
        true => Ok(()),
        false => Err(Error::dtype(op, format!("{what} is {}, but a float type is needed", t.dtype))),
    }
}

pub fn dtype(op: &str, what: &str, t: &Tensor, want: DType) -> Result<()> {
    match t.dtype == want {
        true => Ok(()),
        false => Err(Error::dtype(op, format!("{what} is {}, but {want} is needed", t.dtype))),
    }
}

pub fn shape(op: &str, what: &str, t: &Tensor, want: &[usize]) -> Result<()> {
    match t.shape == want {
        true => Ok(()),
        false => Err(Error::shape(op, format!("{what} is {:?}, but {want:?} is needed", t.shape))),
    }
}

/// An I32 vector of `len` indices.
pub fn indices(op: &str, what: &str, t: &Tensor, len: usize) -> Result<()> {
    dtype(op, what, t, DType::I32)?;
    shape(op, what, t, &[len])
}

/// The axis, counted from the end when negative.
pub fn axis(op: &str, t: &Tensor, axis: i64) -> Result<usize> {
    let n = t.shape.len() as i64;
    let i = if axis < 0 { axis + n } else { axis };
    match (0..n).contains(&i) {
        true => Ok(i as usize),
        false => Err(Error::argument(op, format!("axis {axis} of a tensor of shape {:?}", t.shape))),
    }
}
