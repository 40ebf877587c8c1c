//! Random tensors: drawn on the host, in f64 that WGSL has not, so that they are the same on every device, and uploaded.

use super::{Wgpu, call::no_float64};
use crate::{
    backend::{Backend, Distribution},
    dtype::DType,
    error::Result,
    philox::Stream,
    tensor::Tensor,
};

/// Elements drawn before they are uploaded.
const PART: usize = 1 << 20;

impl Wgpu {
    pub(super) fn draw(&self, y: &Tensor, distribution: Distribution, seed: u64, counter: u64) -> Result<()> {
        let stream = Stream::new(distribution, seed, counter);
        for start in (0..y.len()).step_by(PART) {
            let range = start..(start + PART).min(y.len());
            let elements = range.clone().map(|i| i as u64);
            let bytes: Vec<u8> = match y.dtype {
                DType::BF16 => elements.flat_map(|i| stream.bf16(i).to_le_bytes()).collect(),
                DType::F64 => return Err(no_float64(&self.gpu.name)),
                _ => elements.flat_map(|i| stream.f32(i).to_le_bytes()).collect(),
            };
            self.write(&y.view(start, &[range.len()])?, &bytes)?;
        }
        Ok(())
    }
}
