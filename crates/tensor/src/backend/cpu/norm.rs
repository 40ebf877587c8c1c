//! The norm of many tensors taken as one vector.

use super::{
    element::{Input, Output},
    lanes,
    parallel::{TASK, TILE, for_blocks, tiles},
    shared::Shared,
};
use crate::{error::Result, tensor::Tensor};

pub fn norm(chunks: &[Tensor], y: &Tensor) -> Result<()> {
    let mut total = 0.0;
    for chunk in chunks {
        total += squares(Input::new(chunk)?);
    }
    Output::new(y)?.store(0, &[total.sqrt()]);
    Ok(())
}

/// `Σ x²` in f64: by tiles within a task, tasks in order.
fn squares(x: Input) -> f64 {
    let mut partial = vec![0.0; x.len.div_ceil(TASK)];
    let sums = Shared::new(&mut partial);
    for_blocks(
        x.len,
        TASK,
        #[inline(always)]
        |block| {
            let mut tile = [0.0; TILE];
            let mut sum = 0.0;
            let index = block.start / TASK;
            for range in tiles(block) {
                let part = x.run(range.start, range.len(), &mut tile);
                sum += lanes::sum_by(part, |x: f64| x * x);
            }
            // This task's own element.
            let part = unsafe { sums.part(index, 1) };
            part[0] = sum;
        },
    );
    partial.iter().sum()
}

#[cfg(test)]
mod tests {
    use crate::{
        DType,
        backend::cpu::testing::{FLOATS, assert_close, assert_same_on_threads, random, run, tensor, to_vec},
    };

    #[test]
    fn over_all_chunks() {
        for dtype in FLOATS {
            let chunks = [random(&[70_001], 1, dtype), random(&[0], 2, dtype), random(&[3, 5], 3, dtype)];
            let expected = chunks.iter().flat_map(to_vec).map(|v| v * v).sum::<f64>().sqrt();
            let to = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
            let norm = || run(&[1], to, |b, y| b.norm(&chunks, y));
            assert_close(&norm(), &[expected], 1.0);
            assert_same_on_threads(|| vec![norm()]);
        }
        assert_eq!(to_vec(&run(&[1], DType::F32, |b, y| b.norm(&[], y))), [0.0]);
    }

    #[test]
    fn large_gradients_do_not_overflow_and_bad_ones_show() {
        let large = tensor(&[4], &[1e30; 4], DType::F32);
        let norm = to_vec(&run(&[1], DType::F32, |b, y| b.norm(std::slice::from_ref(&large), y)))[0];
        assert!((norm / 2e30 - 1.0).abs() < 1e-6);
        for bad in [f64::NAN, f64::INFINITY] {
            let x = tensor(&[3], &[1.0, bad, 2.0], DType::F32);
            assert!(!to_vec(&run(&[1], DType::F32, |b, y| b.norm(&[large.clone(), x.clone()], y)))[0].is_finite());
        }
    }
}
