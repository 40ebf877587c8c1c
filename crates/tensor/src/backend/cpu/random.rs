//! Random tensors.

use super::{
    element::{Output, Real, with_real},
    parallel::{TASK, TILE, for_blocks, tiles},
};
use crate::{backend::Distribution, dtype::DType, error::Result, philox::Stream, tensor::Tensor};

pub fn random(y: &Tensor, distribution: Distribution, seed: u64, counter: u64) -> Result<()> {
    let stream = Stream::new(distribution, seed, counter);
    let y = Output::new(y)?;
    with_real!(y.dtype, A => run::<A>(&stream, y));
    Ok(())
}

fn run<A: Real>(stream: &Stream, y: Output) {
    for_blocks(y.len, TASK / 4, |block| {
        let mut tile = [A::ZERO; TILE];
        for range in tiles(block) {
            let part = &mut tile[..range.len()];
            for (i, v) in range.clone().zip(&mut *part) {
                *v = match y.dtype {
                    DType::F64 => A::of(stream.f64(i as u64)),
                    DType::BF16 => A::of_f32(crate::dtype::bf16_to_f32(stream.bf16(i as u64))),
                    _ => A::of_f32(stream.f32(i as u64)),
                };
            }
            y.store(range.start, part);
        }
    });
}
