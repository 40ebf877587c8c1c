//! Sums, means and extrema over one axis (or several neighbouring ones taken as one).

use super::{
    element::{Input, Output, Real, with_real},
    gemm::{ColumnSum, Operand, column_sum},
    isa::Isa,
    lanes,
    parallel::{TASK, for_blocks, for_rows},
    shared::Shared,
};
use crate::{
    backend::{Reduce, Reduction},
    dtype::DType,
    error::Result,
};

/// Columns that are summed at a time.
const COLUMNS: usize = 512;
/// Elements of a long row, or of a block of rows, that are reduced by one task.
const BLOCK: usize = 2 * TASK;

pub fn reduce(d: &Reduce) -> Result<()> {
    let (x, y) = (Input::new(&d.x)?, Output::add_to(&d.y, d.accumulate)?);
    if d.op == Reduction::Sum && d.outer == 1 && d.inner > 1 && (x.dtype == DType::F64) == (y.dtype == DType::F64) {
        // The gradient of a bias.
        let a = Operand { ptr: x.ptr(), dtype: x.dtype, ld: d.inner };
        let sum = ColumnSum { m: d.n, n: d.inner, a, out: y.ptr(), out_dtype: y.dtype, accumulate: d.accumulate };
        // x is `[n, inner]` and y `[inner]`.
        unsafe { column_sum(Isa::current(), &sum) };
        return Ok(());
    }
    with_real!(x.dtype, A => match d.inner {
        1 => along_rows::<A>(d, x, y),
        _ => down_columns::<A>(d, x, y),
    });
    Ok(())
}

#[inline(always)]
fn start<A: Real>(op: Reduction) -> A {
    match op {
        Reduction::Sum | Reduction::Mean => A::ZERO,
        Reduction::Max => -A::INFINITY,
        Reduction::Min => A::INFINITY,
    }
}

#[inline(always)]
fn join<A: Real>(op: Reduction, a: A, b: A) -> A {
    match op {
        Reduction::Sum | Reduction::Mean => a + b,
        Reduction::Max => a.greater(b),
        Reduction::Min => a.smaller(b),
    }
}

#[inline(always)]
fn finish<A: Real>(op: Reduction, total: A, n: usize) -> A {
    if op == Reduction::Mean { total / A::of(n as f64) } else { total }
}

/// Of a run of a row, at most `BLOCK` long.
#[inline(always)]
fn of_run<A: Real>(op: Reduction, x: &[A]) -> A {
    match op {
        Reduction::Sum | Reduction::Mean => lanes::sum(x),
        Reduction::Max => lanes::max(x),
        Reduction::Min => lanes::min(x),
    }
}

fn along_rows<A: Real>(d: &Reduce, x: Input, y: Output) {
    let (op, n) = (d.op, d.n);
    if n <= BLOCK {
        return for_rows(
            d.outer,
            n,
            #[inline(always)]
            |rows| {
                let mut scratch = vec![A::ZERO; n];
                for row in rows {
                    let total = of_run(op, x.run(row * n, n, &mut scratch));
                    y.store(row, &[finish(op, total, n)]);
                }
            },
        );
    }
    // Long rows in blocks; their results are joined in order.
    let blocks = n.div_ceil(BLOCK);
    let mut partial = vec![0.0; d.outer * blocks];
    let totals = Shared::new(&mut partial);
    for_blocks(
        d.outer * blocks,
        1,
        #[inline(always)]
        |task| {
            let (row, from) = (task.start / blocks, task.start % blocks * BLOCK);
            let len = BLOCK.min(n - from);
            let mut scratch = vec![A::ZERO; len];
            let total = of_run(op, x.run(row * n + from, len, &mut scratch));
            // This task's own element.
            let part = unsafe { totals.part(task.start, 1) };
            part[0] = total.to_f64();
        },
    );
    for (row, parts) in partial.chunks_exact(blocks).enumerate() {
        let total = parts.iter().fold(start::<f64>(op), |a, &b| join(op, a, b));
        y.store(row, &[finish(op, total, n)]);
    }
}

/// Inner axes of more than one element: rows are added to each other, a tile of columns at a time.
fn down_columns<A: Real>(d: &Reduce, x: Input, y: Output) {
    let (op, n, inner) = (d.op, d.n, d.inner);
    let width = COLUMNS.min(inner).max(1);
    let tiles = inner.div_ceil(width);
    let height = (BLOCK / width).max(4) / 4 * 4;
    let blocks = n.div_ceil(height).max(1);
    let units = d.outer * blocks * tiles;
    let mut partial = vec![A::ZERO; if blocks > 1 { d.outer * blocks * inner } else { 0 }];
    let sums = Shared::new(&mut partial);
    for_blocks(
        units,
        (TASK / (width * height.min(n.max(1)))).max(1),
        #[inline(always)]
        |task| {
            let mut sum = [A::ZERO; COLUMNS];
            for unit in task {
                let (tile, block, outer) = (unit % tiles, unit / tiles % blocks, unit / tiles / blocks);
                let column = tile * width;
                let sum = &mut sum[..width.min(inner - column)];
                let rows = block * height..((block + 1) * height).min(n);
                add_rows(op, x, outer * n * inner + column, inner, rows, sum);
                if blocks == 1 {
                    sum.iter_mut().for_each(|s| *s = finish(op, *s, n));
                    y.store(outer * inner + column, sum);
                } else {
                    // Its own part of `partial`.
                    unsafe { sums.part((outer * blocks + block) * inner + column, sum.len()) }.copy_from_slice(sum);
                }
            }
        },
    );
    if blocks > 1 {
        for_rows(
            d.outer * tiles,
            width * blocks,
            #[inline(always)]
            |units| {
                let mut sum = [A::ZERO; COLUMNS];
                for unit in units {
                    let (tile, outer) = (unit % tiles, unit / tiles);
                    let column = tile * width;
                    let sum = &mut sum[..width.min(inner - column)];
                    sum.fill(start(op));
                    for block in 0..blocks {
                        let from = (outer * blocks + block) * inner + column;
                        // Written above, by tasks that are over.
                        let part: &[A] = unsafe { sums.part(from, sum.len()) };
                        for (s, &p) in sum.iter_mut().zip(part) {
                            *s = join(op, *s, p);
                        }
                    }
                    sum.iter_mut().for_each(|s| *s = finish(op, *s, n));
                    y.store(outer * inner + column, sum);
                }
            },
        );
    }
}

/// Reduces `rows` of a tile of columns that starts at element `from`, four rows at a time.
#[inline(always)]
fn add_rows<A: Real>(op: Reduction, x: Input, from: usize, stride: usize, rows: std::ops::Range<usize>, sum: &mut [A]) {
    let width = sum.len();
    let mut scratch = [[A::ZERO; COLUMNS]; 4];
    let [s0, s1, s2, s3] = &mut scratch;
    sum.fill(start(op));
    let mut row = rows.start;
    while row + 4 <= rows.end {
        let at = from + row * stride;
        let a = x.run(at, width, s0);
        let b = x.run(at + stride, width, s1);
        let c = x.run(at + 2 * stride, width, s2);
        let d = x.run(at + 3 * stride, width, s3);
        for ((((s, &a), &b), &c), &d) in sum.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *s = join(op, *s, join(op, join(op, a, b), join(op, c, d)));
        }
        row += 4;
    }
    for row in row..rows.end {
        for (s, &a) in sum.iter_mut().zip(x.run(from + row * stride, width, s0)) {
            *s = join(op, *s, a);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::testing::{FLOATS, assert_close, assert_same_on_threads, random, run, tensor, to_vec};
    use crate::tensor::Tensor;

    const SHAPES: [[usize; 3]; 15] = [
        [1, 1, 1],
        [3, 5, 1],
        [700, 33, 1],
        [1, 70_001, 1],
        [3, 140_000, 1],
        [1, 300, 7],
        [1, 2500, 192],
        [1, 1, 600],
        [4, 513, 3],
        [2, 3, 1025],
        [5, 1000, 70],
        [0, 4, 3],
        [2, 4, 0],
        [2, 0, 3],
        [2, 0, 1],
    ];
    const ALL: [Reduction; 4] = [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::Min];

    fn descriptor(op: Reduction, x: &Tensor, [outer, n, inner]: [usize; 3], y: &Tensor) -> Reduce {
        Reduce { op, x: x.clone(), outer, n, inner, y: y.clone(), accumulate: false }
    }

    fn naive(op: Reduction, x: &Tensor, [outer, n, inner]: [usize; 3]) -> Vec<f64> {
        let x = to_vec(x);
        (0..outer * inner)
            .map(|i| {
                let (o, c) = (i / inner, i % inner);
                let values = (0..n).map(|j| x[(o * n + j) * inner + c]);
                match op {
                    Reduction::Sum => values.sum(),
                    Reduction::Mean => values.sum::<f64>() / n as f64,
                    Reduction::Max => values.fold(f64::NEG_INFINITY, f64::max),
                    Reduction::Min => values.fold(f64::INFINITY, f64::min),
                }
            })
            .collect()
    }

    #[test]
    fn shapes_against_the_formula() {
        for dtype in FLOATS {
            for shape in SHAPES {
                let x = random(&shape, 1, dtype);
                let out = [shape[0], shape[2]];
                for op in ALL {
                    let to = if dtype == DType::BF16 { DType::F32 } else { dtype };
                    let y = run(&out, to, |b, y| b.reduce(&descriptor(op, &x, shape, y)));
                    // Sums of many terms that cancel.
                    let scale = if op == Reduction::Sum { 1.0 + (shape[1] as f64).sqrt() } else { 1.0 };
                    assert_close(&y, &naive(op, &x, shape), scale);
                }
            }
        }
    }

    #[test]
    fn adding_and_threads() {
        for shape in SHAPES {
            let x = random(&shape, 1, DType::F32);
            let out = [shape[0], shape[2]];
            for op in ALL {
                assert_same_on_threads(|| vec![run(&out, DType::F32, |b, y| b.reduce(&descriptor(op, &x, shape, y)))]);
            }
            let expected: Vec<f64> = naive(Reduction::Sum, &x, shape).iter().map(|v| v + 2.0).collect();
            let y = run(&out, DType::F32, |b, y| {
                b.fill(y, 2.0)?;
                b.reduce(&Reduce { accumulate: true, ..descriptor(Reduction::Sum, &x, shape, y) })
            });
            assert_close(&y, &expected, 1.0 + (shape[1] as f64).sqrt());
        }
    }

    #[test]
    fn nan_wins() {
        let x = tensor(&[2, 3], &[1.0, f64::NAN, 3.0, 1.0, 2.0, 3.0], DType::F32);
        for op in ALL {
            let rows = to_vec(&run(&[2], DType::F32, |b, y| b.reduce(&descriptor(op, &x, [2, 3, 1], y))));
            assert!(rows[0].is_nan() && !rows[1].is_nan());
            let columns = to_vec(&run(&[3], DType::F32, |b, y| b.reduce(&descriptor(op, &x, [1, 2, 3], y))));
            assert!(!columns[0].is_nan() && columns[1].is_nan());
        }
    }
}
