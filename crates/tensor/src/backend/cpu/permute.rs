//! Axes in another order.

use super::{
    element::{bytes, output_bytes},
    parallel::{TASK, for_blocks},
};
use crate::{error::Result, tensor::Tensor};

/// Rows and columns of a block that is transposed at once.
const BLOCK: usize = 16;

pub fn permute(x: &Tensor, axes: &[usize], y: &Tensor) -> Result<()> {
    if x.is_empty() {
        return Ok(());
    }
    let axes = merge(&x.shape, axes);
    let (from, to) = (bytes(x)?.as_ptr(), output_bytes(y)?);
    match x.dtype.size() {
        1 => run(from, &axes, to),
        2 => run(from.cast::<u16>(), &axes, to.cast()),
        4 => run(from.cast::<u32>(), &axes, to.cast()),
        _ => run(from.cast::<u64>(), &axes, to.cast()),
    }
    Ok(())
}

/// An axis of the output: its size, and its strides in x and y.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    size: usize,
    from: usize,
    to: usize,
}

/// The axes of the output, outermost first, with those merged that stay neighbours.
fn merge(shape: &[usize], axes: &[usize]) -> Vec<Axis> {
    let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>();
    let mut merged: Vec<Axis> = vec![];
    for &axis in axes.iter().filter(|&&a| shape[a] != 1) {
        let (size, from) = (shape[axis], stride(axis));
        match merged.last_mut() {
            Some(last) if last.from == from * size => *last = Axis { size: last.size * size, from, to: 0 },
            _ => merged.push(Axis { size, from, to: 0 }),
        }
    }
    let mut to = 1;
    for axis in merged.iter_mut().rev() {
        axis.to = to;
        to *= axis.size;
    }
    merged
}

struct Memory<T>(*const T, *mut T);
// Tasks write disjoint parts.
unsafe impl<T> Send for Memory<T> {}
unsafe impl<T> Sync for Memory<T> {}

fn run<T: Copy>(from: *const T, axes: &[Axis], to: *mut T) {
    let memory = Memory(from, to);
    // The axis along which y is contiguous, and the one along which x is.
    let Some((&last, outer)) = axes.split_last() else {
        // A single element.
        return unsafe { to.write(from.read()) };
    };
    let Some(k) = outer.iter().position(|axis| axis.from == 1) else {
        return copy_runs(&memory, last, outer);
    };
    let across = outer[k];
    let rest: Vec<Axis> = outer.iter().enumerate().filter(|&(i, _)| i != k).map(|(_, &axis)| axis).collect();
    let strips = across.size.div_ceil(BLOCK);
    let units = rest.iter().map(|a| a.size).product::<usize>() * strips;
    for_blocks(
        units,
        (TASK / (BLOCK * last.size)).max(1),
        #[inline(always)]
        |task| {
            let memory = &memory;
            for unit in task {
                let (from, to) = offsets(&rest, unit / strips);
                let first = unit % strips * BLOCK;
                let n = BLOCK.min(across.size - first);
                let (from, to) = (memory.0.wrapping_add(from + first), memory.1.wrapping_add(to + first * across.to));
                for start in (0..last.size).step_by(BLOCK) {
                    let m = BLOCK.min(last.size - start);
                    for i in 0..n {
                        for j in start..start + m {
                            // In bounds: i and j run over parts of their axes.
                            unsafe { to.add(i * across.to + j).write(from.add(i + j * last.from).read()) };
                        }
                    }
                }
            }
        },
    );
}

/// x and y are contiguous along the same axis (or x along none that is left).
fn copy_runs<T: Copy>(memory: &Memory<T>, last: Axis, outer: &[Axis]) {
    let units = outer.iter().map(|a| a.size).product::<usize>();
    for_blocks(units, (TASK / last.size).max(1), |task| {
        for unit in task {
            let (from, to) = offsets(outer, unit);
            let (from, to) = (memory.0.wrapping_add(from), memory.1.wrapping_add(to));
            // In bounds: one run of each.
            unsafe {
                if last.from == 1 {
                    std::ptr::copy_nonoverlapping(from, to, last.size);
                } else {
                    (0..last.size).for_each(|i| to.add(i).write(from.add(i * last.from).read()));
                }
            }
        }
    });
}

/// Elements before the `unit`-th index of `axes`, in x and in y.
#[inline(always)]
fn offsets(axes: &[Axis], mut unit: usize) -> (usize, usize) {
    let (mut from, mut to) = (0, 0);
    for axis in axes.iter().rev() {
        from += unit % axis.size * axis.from;
        to += unit % axis.size * axis.to;
        unit /= axis.size;
    }
    (from, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        backend::cpu::testing::{assert_same_on_threads, run, tensor, to_vec},
    };

    fn check(shape: &[usize], axes: &[usize], dtype: DType) {
        let len = shape.iter().product::<usize>();
        let x = tensor(shape, &(0..len).map(|i| (i % 251) as f64).collect::<Vec<_>>(), dtype);
        let out: Vec<usize> = axes.iter().map(|&a| shape[a]).collect();
        let values = to_vec(&x);
        let expected: Vec<f64> = (0..len)
            .map(|mut i| {
                let mut index = vec![0; shape.len()];
                for d in (0..out.len()).rev() {
                    index[axes[d]] = i % out[d];
                    i /= out[d];
                }
                values[index.iter().zip(shape).fold(0, |at, (i, n)| at * n + i)]
            })
            .collect();
        let permuted = || run(&out, dtype, |b, y| b.permute(&x, axes, y));
        assert_eq!(to_vec(&permuted()), expected, "{shape:?} by {axes:?}");
        assert_same_on_threads(|| vec![permuted()]);
    }

    #[test]
    fn shapes_against_the_formula() {
        for dtype in [DType::U8, DType::BF16, DType::F32, DType::F64] {
            check(&[70, 90], &[1, 0], dtype);
            check(&[3, 17, 33], &[2, 1, 0], dtype);
            check(&[3, 17, 33], &[1, 0, 2], dtype);
            check(&[2, 3, 4, 5], &[3, 0, 2, 1], dtype);
            check(&[2, 1, 40, 20], &[0, 2, 1, 3], dtype);
            check(&[5, 4], &[0, 1], dtype);
            check(&[1, 1], &[1, 0], dtype);
            check(&[0, 3], &[1, 0], dtype);
            check(&[], &[], dtype);
        }
        check(&[300, 500], &[1, 0], DType::F32);
    }

    #[test]
    fn neighbouring_axes_are_merged() {
        assert_eq!(merge(&[2, 3, 4], &[0, 1, 2]), [Axis { size: 24, from: 1, to: 1 }]);
        let merged = merge(&[2, 3, 4], &[2, 0, 1]);
        assert_eq!(merged, [Axis { size: 4, from: 1, to: 6 }, Axis { size: 6, from: 4, to: 1 }]);
    }
}
