//! Random tensors, drawn on the device: the same bytes as the CPU's, since both work in double precision in the same order.

mod steps;
#[cfg(test)]
mod tests;

use super::{
    Wgpu,
    call::{Call, Family, no_float64},
    source::Access,
};
use crate::{backend::Distribution, dtype::DType, error::Result, philox::Stream, tensor::Tensor};

const RANDOM: Family = Family {
    name: "random",
    source: concat!(
        include_str!("kernels/float64.wgsl"),
        include_str!("kernels/philox.wgsl"),
        include_str!("kernels/random.wgsl")
    ),
};

impl Wgpu {
    pub(super) fn draw(&self, y: &Tensor, distribution: Distribution, seed: u64, counter: u64) -> Result<()> {
        if y.dtype == DType::F64 {
            return Err(no_float64(&self.gpu.name));
        }
        let (from, to, mirrored) = Stream::new(distribution, seed, counter).tail();
        // What is not cut is cut at infinity; a uniform is its lower limit and a share of its width.
        let (uniform, [mean, std, low, high]) = match distribution {
            Distribution::Uniform { low, high } => (true, [low, high - low, low, high]),
            Distribution::Normal { mean, std } => (false, [mean, std, f64::NEG_INFINITY, f64::INFINITY]),
            Distribution::TruncatedNormal { mean, std, low, high } => (false, [mean, std, low, high]),
        };
        let numbers = steps::numbers([mean, std, low, high, from, to - from]).into_iter();
        let words: Vec<u32> = numbers.flat_map(|v| [v.to_bits() as u32, (v.to_bits() >> 32) as u32]).collect();
        let (numbers, steps) = (self.table(&words)?, self.table(steps::steps())?);
        // Block by block of four: a part begins where a block does.
        for part in self.parts(y.len().div_ceil(4), &[4 * y.dtype.size()]) {
            let elements = 4 * part.start..(4 * part.end).min(y.len());
            let counter = counter.wrapping_add(part.start as u64);
            let y = y.view(elements.start, &[elements.len()])?;
            let call = Call::new(self, RANDOM, "draw").output_bits("y", &y)?;
            let call = call.block("numbers", &numbers, DType::I32, Access::Table)?;
            let call = call.block("steps", &steps, DType::I32, Access::Table)?;
            let call = steps::constants().fold(call, |call, (name, value)| call.constant(name, value));
            let call = call.constant("BF16", y.dtype == DType::BF16).word("uniform", uniform.into());
            let call = call.word("seed_low", seed as u32 as usize).word("seed_high", (seed >> 32) as usize);
            let call = call.word("counter_low", counter as u32 as usize).word("counter_high", (counter >> 32) as usize);
            let call = call.word("mirrored", mirrored.into()).word("open", (low < high).into());
            call.word("count", y.len()).run(y.len().div_ceil(128))?;
        }
        Ok(())
    }
}
