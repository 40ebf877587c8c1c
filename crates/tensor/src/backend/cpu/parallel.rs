//! How kernels are cut into tasks, and compiled for the machine's vectors.

use super::{
    isa::{Isa, Kernel, Simd},
    pool::parallel_for,
};
use std::ops::Range;

/// Elements a task takes: enough to be worth handing out, few enough to share among many threads and to lie in the L2 cache.
pub const TASK: usize = 1 << 15;
/// Elements that are widened, worked on and rounded at a time: they stay in the L1 cache.
pub const TILE: usize = 512;

/// Runs `f` (a closure marked `#[inline(always)]`, or its loops stay scalar) on consecutive ranges of `0..n`, each of `block` but the last. The cut does not depend on the number of threads.
pub fn for_blocks(n: usize, block: usize, f: impl Fn(Range<usize>) + Sync) {
    parallel_for(n.div_ceil(block), |i| {
        vectorised(
            #[inline(always)]
            || f(i * block..((i + 1) * block).min(n)),
        )
    });
}

/// The number of rows of `columns` elements that make a task.
pub fn rows_per_task(columns: usize) -> usize {
    (TASK / columns.max(1)).max(1)
}

/// [`for_blocks`] over rows of `columns` elements.
pub fn for_rows(rows: usize, columns: usize, f: impl Fn(Range<usize>) + Sync) {
    for_blocks(rows, rows_per_task(columns), f);
}

/// Consecutive parts of a range, each of `TILE` but the last.
#[inline(always)]
pub fn tiles(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(TILE).map(move |start| start..(start + TILE).min(end))
}

struct Body<F>(F);

impl<R, F: FnOnce() -> R> Kernel for Body<F> {
    type Output = R;
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> R {
        (self.0)()
    }
}

/// Compiles `f`, and all that is inlined into it, for the machine's instruction set, so that its loops become vector code. The
/// arithmetic is that of the source in every case (nothing is reassociated or fused): results do not depend on the instruction set.
#[inline(always)]
pub fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    Isa::current().run(Body(f))
}
