//! Shape and type checks that several operations share. Each error names the operation and the shapes.

use crate::{
    dtype::DType,
    error::{Error, Result},
    tensor::Tensor,
};
use std::sync::Arc;

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
        false => Err(Error::argument(op, format!("there is no axis {axis} in {:?}", t.shape))),
    }
}

/// float64 does not mix with the narrower floats: all of these are float64, or none is.
pub fn precision(op: &str, types: &[(&str, DType)]) -> Result<()> {
    let wide = |t: DType| t == DType::F64;
    match types.iter().find(|(_, t)| wide(*t) != wide(types[0].1)) {
        None => Ok(()),
        Some((what, t)) => {
            let (first, of) = types[0];
            Err(Error::dtype(op, format!("{what} is {t} but {first} is {of}")).hint("cast one of them first"))
        }
    }
}

/// I32 `[S+1]`: where each packed sequence starts, and the end of the last. Returns S. The values are checked when the kernel runs.
pub fn offsets(op: &str, what: &str, t: &Tensor) -> Result<usize> {
    dtype(op, what, t, DType::I32)?;
    match t.shape[..] {
        [n] if n > 0 => Ok(n - 1),
        _ => Err(Error::shape(op, format!("{what} is {:?}, but a vector of S + 1 numbers is needed", t.shape))),
    }
}

/// A matrix: its rows and columns.
pub fn matrix(op: &str, what: &str, t: &Tensor) -> Result<[usize; 2]> {
    match t.shape[..] {
        [rows, columns] => Ok([rows, columns]),
        _ => Err(Error::shape(op, format!("{what} is {:?}, but a matrix is needed", t.shape))),
    }
}

/// Everything an operation works on must lie on one device.
pub fn same_device<'a>(op: &str, tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<()> {
    let mut tensors = tensors.into_iter();
    let Some(first) = tensors.next() else { return Ok(()) };
    match tensors.find(|t| !Arc::ptr_eq(t.device(), first.device())) {
        None => Ok(()),
        Some(other) => {
            let (a, b) = (first.device().name(), other.device().name());
            Err(Error::argument(op, format!("its tensors lie on two devices, {a} and {b}"))
                .hint("copy them to one device first"))
        }
    }
}

/// A number that is neither infinite nor NaN.
pub fn finite(op: &str, what: &str, value: f64) -> Result<()> {
    match value.is_finite() {
        true => Ok(()),
        false => Err(Error::argument(op, format!("{what} is {value}"))),
    }
}
