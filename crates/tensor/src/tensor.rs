//! A tensor: where its bytes lie, its shape and its element type. Always contiguous, row-major.

use crate::{
    device::Device,
    dtype::DType,
    error::{Error, Result},
};
use std::{
    any::Any,
    fmt,
    sync::{Arc, OnceLock},
};

/// Memory of one backend. Dropping it frees it.
pub trait Allocation: Send + Sync {
    fn as_any(&self) -> &dyn Any;
}

/// Bytes on a device. They are allocated when the first kernel that writes them runs, not when that kernel is enqueued, so that
/// a whole step can be enqueued ahead of the device without holding all of its intermediates at once.
pub struct Buffer {
    pub device: Arc<Device>,
    pub bytes: usize,
    allocation: OnceLock<Box<dyn Allocation>>,
}

impl Buffer {
    pub fn new(device: &Arc<Device>, bytes: usize) -> Arc<Self> {
        Arc::new(Buffer { device: device.clone(), bytes, allocation: OnceLock::new() })
    }

    /// The memory, allocated now if it is not yet. Only the device's queue calls it.
    pub fn allocate(&self) -> Result<&dyn Allocation> {
        if self.allocation.get().is_none() {
            let allocation = self.device.backend().alloc(self.bytes)?;
            if self.allocation.set(allocation).is_ok() {
                self.device.count_alloc(self.bytes);
            }
        }
        Ok(self.allocation.get().expect("set above").as_ref())
    }

    /// The memory, if anything has been written to it.
    pub fn allocation(&self) -> Option<&dyn Allocation> {
        self.allocation.get().map(|a| a.as_ref())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.allocation.take().is_some() {
            self.device.count_free(self.bytes);
        }
    }
}

/// See the module. Cloning shares the bytes.
#[derive(Clone)]
pub struct Tensor {
    pub buffer: Arc<Buffer>,
    /// First byte within the buffer.
    pub offset: usize,
    pub shape: Vec<usize>,
    pub dtype: DType,
}

/// Elements of a shape; `usize::MAX` where there are more than can be counted (no device has memory for those, so that the first
/// kernel to write them fails). Sizes before and after a 0 count for nothing.
pub fn count(shape: &[usize]) -> usize {
    match shape.contains(&0) {
        true => 0,
        false => shape.iter().fold(1, |product: usize, &size| product.saturating_mul(size)),
    }
}

impl Tensor {
    /// Undefined contents: the caller enqueues the kernel that writes them.
    pub fn empty(device: &Arc<Device>, shape: &[usize], dtype: DType) -> Tensor {
        let bytes = count(shape).saturating_mul(dtype.size());
        Tensor { buffer: Buffer::new(device, bytes), offset: 0, shape: shape.to_vec(), dtype }
    }

    pub fn empty_like(&self) -> Tensor {
        Tensor::empty(self.device(), &self.shape, self.dtype)
    }

    pub fn full(device: &Arc<Device>, shape: &[usize], dtype: DType, value: f64) -> Tensor {
        let y = Tensor::empty(device, shape, dtype);
        let out = y.clone();
        device.submit("fill", move |b| b.fill(&out, value));
        y
    }

    pub fn zeros(device: &Arc<Device>, shape: &[usize], dtype: DType) -> Tensor {
        Tensor::full(device, shape, dtype, 0.0)
    }

    /// Copies host bytes (little endian, C order) to the device.
    pub fn from_bytes(device: &Arc<Device>, shape: &[usize], dtype: DType, bytes: Vec<u8>) -> Result<Tensor> {
        let y = Tensor::empty(device, shape, dtype);
        if bytes.len() != y.bytes() {
            let (got, want) = (bytes.len(), y.bytes());
            return Err(Error::shape("tensor", format!("{shape:?} {dtype} takes {want} bytes, but {got} were given")));
        }
        let out = y.clone();
        device.submit("upload", move |b| b.write(&out, &bytes));
        Ok(y)
    }

    pub fn device(&self) -> &Arc<Device> {
        &self.buffer.device
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        count(&self.shape)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn bytes(&self) -> usize {
        self.len().saturating_mul(self.dtype.size())
    }

    /// Size of the last axis (1 for a scalar).
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Elements before the last axis, as rows.
    pub fn rows(&self) -> usize {
        count(&self.shape[..self.shape.len().saturating_sub(1)])
    }

    /// The same bytes under another shape of as many elements.
    pub fn reshape(&self, shape: &[usize]) -> Result<Tensor> {
        if count(shape) != self.len() {
            return Err(Error::shape(
                "reshape",
                format!("{:?} has {} elements, {shape:?} does not", self.shape, self.len()),
            ));
        }
        Ok(Tensor { shape: shape.to_vec(), ..self.clone() })
    }

    /// A window of `len` elements starting at element `start`, as a view of the same bytes.
    pub fn view(&self, start: usize, shape: &[usize]) -> Result<Tensor> {
        let end = start.saturating_add(count(shape));
        if end > self.len() {
            return Err(Error::shape("view", format!("elements {start}..{end} of {:?}", self.shape)));
        }
        Ok(Tensor { offset: self.offset + start * self.dtype.size(), shape: shape.to_vec(), ..self.clone() })
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({:?}, {})", self.shape, self.dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{backend::cpu, error::Code};

    #[test]
    fn sizes_that_overflow_are_never_taken_for_small_ones() {
        assert_eq!([count(&[]), count(&[2, 3]), count(&[1 << 40, 0, 1 << 40])], [1, 6, 0]);
        assert_eq!(count(&[1 << 32, 1 << 32]), usize::MAX);
        let device = cpu::device();
        let huge = Tensor::zeros(&device, &[1 << 32, 1 << 32], DType::F32);
        assert_eq!(device.read_now(&huge).unwrap_err().code, Code::Memory);
        let empty = Tensor::zeros(&device, &[0], DType::F32);
        assert!(empty.reshape(&[1 << 32, 1 << 32]).is_err());
        let four = Tensor::zeros(&device, &[4], DType::F32);
        for (start, shape) in [(0, [1 << 32, 1 << 32]), (usize::MAX, [2, 2]), (3, [1, 2])] {
            assert_eq!(four.view(start, &shape).unwrap_err().code, Code::Shape);
        }
        assert!(Tensor::from_bytes(&device, &[1 << 32, 1 << 32], DType::F32, vec![]).is_err());
    }
}
