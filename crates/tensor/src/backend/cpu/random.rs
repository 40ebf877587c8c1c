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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::testing::{FLOATS, assert_close, assert_same_on_threads, run, to_vec};

    #[test]
    fn elements_are_those_of_the_stream() {
        for distribution in [
            Distribution::Uniform { low: -1.0, high: 1.0 },
            Distribution::Normal { mean: 0.0, std: 0.5 },
            Distribution::TruncatedNormal { mean: 0.0, std: 0.02, low: -2.0, high: 2.0 },
        ] {
            let stream = Stream::new(distribution, 5, 9);
            for dtype in FLOATS {
                for n in [0, 1, 20_003] {
                    let expected: Vec<f64> = (0..n as u64).map(|i| stream.f64(i)).collect();
                    let drawn = || run(&[n], dtype, |b, y| b.random(y, distribution, 5, 9));
                    assert_close(&drawn(), &expected, 0.5);
                    assert_same_on_threads(|| vec![drawn()]);
                }
            }
        }
        let d = Distribution::Uniform { low: 0.0, high: 1.0 };
        let of = |seed, counter| to_vec(&run(&[8], DType::F32, |b, y| b.random(y, d, seed, counter)));
        assert_eq!(of(1, 0)[4..], of(1, 1)[..4]);
        assert_ne!(of(1, 0), of(2, 0));
    }
}
