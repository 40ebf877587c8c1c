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
