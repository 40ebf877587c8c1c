//! Standard deviation over the tokens of each packed sequence.

use super::{
    element::{Input, Output, Real, offsets, with_real},
    parallel::for_blocks,
};
use crate::{backend::SegmentStd, error::Result, tensor::Tensor};
use std::ops::Range;

/// Columns a task takes of one sequence.
const COLUMNS: usize = 128;

fn segments(d: &SegmentStd) -> Result<Vec<Range<usize>>> {
    let offsets = offsets(&d.offsets, d.x.rows(), "offsets")?;
    Ok(offsets.windows(2).map(|w| w[0] as usize..w[1] as usize).collect())
}

/// Calls `f(segment, its tokens, first column, number of columns)` for each tile.
fn for_tiles(segments: &[Range<usize>], columns: usize, f: impl Fn(usize, Range<usize>, usize, usize) + Sync) {
    let tiles = columns.div_ceil(COLUMNS);
    for_blocks(
        segments.len() * tiles,
        1,
        #[inline(always)]
        |unit| {
            let (s, column) = (unit.start / tiles, unit.start % tiles * COLUMNS);
            f(s, segments[s].clone(), column, COLUMNS.min(columns - column));
        },
    );
}

/// Mean over the tokens, of one tile.
#[inline(always)]
fn mean<A: Real>(x: Input, columns: usize, tokens: Range<usize>, column: usize, mean: &mut [A]) {
    let mut wide = [A::ZERO; COLUMNS];
    let n = A::of(tokens.len() as f64);
    mean.fill(A::ZERO);
    for m in tokens {
        let row = x.run(m * columns + column, mean.len(), &mut wide);
        mean.iter_mut().zip(row).for_each(|(s, &x)| *s += x);
    }
    mean.iter_mut().for_each(|s| *s = *s / n);
}

pub fn segment_std(d: &SegmentStd) -> Result<()> {
    with_real!(d.y.dtype, A => forward::<A>(d))
}

fn forward<A: Real>(d: &SegmentStd) -> Result<()> {
    let segments = segments(d)?;
    let columns = d.x.columns();
    let (x, y) = (Input::new(&d.x)?, Output::new(&d.y)?);
    let eps = A::of(d.eps);
    for_tiles(
        &segments,
        columns,
        #[inline(always)]
        |s, tokens, column, width| {
            let (mut wide, mut means, mut sums) = ([A::ZERO; COLUMNS], [A::ZERO; COLUMNS], [A::ZERO; COLUMNS]);
            let (means, sums) = (&mut means[..width], &mut sums[..width]);
            if tokens.len() > 1 {
                let scale = A::ONE / A::of(tokens.len() as f64 - 1.0);
                mean(x, columns, tokens.clone(), column, means);
                for m in tokens {
                    let row = x.run(m * columns + column, width, &mut wide);
                    for ((v, &x), &mean) in sums.iter_mut().zip(row).zip(&*means) {
                        *v += (x - mean) * (x - mean);
                    }
                }
                sums.iter_mut().for_each(|v| *v = *v * scale);
            }
            sums.iter_mut().for_each(|v| *v = (*v + eps).sqrt());
            y.store(s * columns + column, sums);
        },
    );
    Ok(())
}

pub fn segment_std_grad(d: &SegmentStd, dy: &Tensor, dx: &Tensor, accumulate: bool) -> Result<()> {
    with_real!(d.y.dtype, A => backward::<A>(d, dy, dx, accumulate))
}

fn backward<A: Real>(d: &SegmentStd, dy: &Tensor, dx: &Tensor, accumulate: bool) -> Result<()> {
    let segments = segments(d)?;
    let columns = d.x.columns();
    let (x, y, dy) = (Input::new(&d.x)?, Input::new(&d.y)?, Input::new(dy)?);
    let dx = Output::add_to(dx, accumulate)?;
    for_tiles(
        &segments,
        columns,
        #[inline(always)]
        |s, tokens, column, width| {
            let (mut out, mut means) = ([A::ZERO; COLUMNS], [A::ZERO; COLUMNS]);
            let (mut slope, mut std) = ([A::ZERO; COLUMNS], [A::ZERO; COLUMNS]);
            let (out, means, slope, std) =
                (&mut out[..width], &mut means[..width], &mut slope[..width], &mut std[..width]);
            mean(x, columns, tokens.clone(), column, means);
            dy.load(s * columns + column, slope);
            y.load(s * columns + column, std);
            // The one token of a sequence is its mean: its gradient is 0 whatever divides it.
            let n = A::of((tokens.len() as f64 - 1.0).max(1.0));
            slope.iter_mut().zip(&*std).for_each(|(g, &y)| *g = if y > A::ZERO { *g / (n * y) } else { A::ZERO });
            for m in tokens {
                x.load(m * columns + column, out);
                for ((o, &mean), &slope) in out.iter_mut().zip(&*means).zip(&*slope) {
                    *o = (*o - mean) * slope;
                }
                dx.store(m * columns + column, out);
            }
        },
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        backend::cpu::testing::{FLOATS, assert_close, assert_same_on_threads, empty, int, random, run, to_vec},
    };

    #[test]
    fn deviation_and_gradient_against_the_formula() {
        for dtype in FLOATS {
            for n in [1, 33, 300] {
                let offsets = [0, 40, 41, 41, 120];
                let kept = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
                let (x, dy) = (random(&[120, n], 1, dtype), random(&[4, n], 2, kept));
                let (values, slopes) = (to_vec(&x), to_vec(&dy));
                let before = to_vec(&random(&[120, n], 3, dtype));
                let (mut expected, mut gradient) = (vec![0.0; 4 * n], before);
                for s in 0..4 {
                    let tokens = offsets[s] as usize..offsets[s + 1] as usize;
                    let count = tokens.len() as f64;
                    for c in 0..n {
                        let column = || tokens.clone().map(|m| values[m * n + c]);
                        let mean = column().sum::<f64>() / count;
                        let variance = column().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
                        let y = (if count > 1.0 { variance } else { 0.0 } + 1e-4).sqrt();
                        expected[s * n + c] = y;
                        for m in tokens.clone().filter(|_| count > 1.0) {
                            gradient[m * n + c] += slopes[s * n + c] * (values[m * n + c] - mean) / ((count - 1.0) * y);
                        }
                    }
                }
                let both = || {
                    let (y, dx) = (empty(&[4, n], kept), random(&[120, n], 3, dtype));
                    let d = SegmentStd { x: x.clone(), offsets: int(&offsets), eps: 1e-4, y: y.clone() };
                    run(&[1], kept, |b, _| {
                        b.segment_std(&d)?;
                        b.segment_std_grad(&d, &dy, &dx, true)
                    });
                    vec![y, dx]
                };
                let got = both();
                assert_close(&got[0], &expected, 1.0);
                assert_close(&got[1], &gradient, 1.0);
                assert_same_on_threads(both);
            }
        }
    }
}
