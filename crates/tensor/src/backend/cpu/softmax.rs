//! Softmax over rows.

use super::{
    element::{Input, Output, Real, with_real},
    lanes,
    parallel::for_rows,
    vmath,
};
use crate::{error::Result, tensor::Tensor};

pub fn softmax(x: &Tensor, y: &Tensor) -> Result<()> {
    let (rows, columns) = (x.rows(), x.columns());
    let (x, y) = (Input::new(x)?, Output::new(y)?);
    with_real!(x.dtype, A => forward::<A>(rows, columns, x, y));
    Ok(())
}

fn forward<A: Real>(rows: usize, columns: usize, x: Input, y: Output) {
    for_rows(
        rows,
        columns,
        #[inline(always)]
        |rows| {
            let mut row = vec![A::ZERO; columns];
            for r in rows {
                x.load(r * columns, &mut row);
                exponentials(&mut row);
                let scale = A::ONE / lanes::sum(&row);
                row.iter_mut().for_each(|v| *v = *v * scale);
                y.store(r * columns, &row);
            }
        },
    );
}

/// `e^(x − max x)` in place; the maximum.
#[inline(always)]
pub fn exponentials<A: Real>(row: &mut [A]) -> A {
    let max = lanes::max(row);
    row.iter_mut().for_each(|v| *v = *v - max);
    A::map(vmath::Exp, row);
    max
}

pub fn softmax_grad(y: &Tensor, dy: &Tensor, dx: &Tensor) -> Result<()> {
    let (rows, columns) = (y.rows(), y.columns());
    let (y, dy, dx) = (Input::new(y)?, Input::new(dy)?, Output::new(dx)?);
    with_real!(y.dtype, A => backward::<A>(rows, columns, y, dy, dx));
    Ok(())
}

fn backward<A: Real>(rows: usize, columns: usize, y: Input, dy: Input, dx: Output) {
    for_rows(
        rows,
        columns,
        #[inline(always)]
        |rows| {
            let (mut row, mut gradient) = (vec![A::ZERO; columns], vec![A::ZERO; columns]);
            for r in rows {
                y.load(r * columns, &mut row);
                dy.load(r * columns, &mut gradient);
                let dot = lanes::sum_by2(&row, &gradient, |y, g| y * g);
                for (y, &g) in row.iter_mut().zip(&gradient) {
                    *y = *y * (g - dot);
                }
                dx.store(r * columns, &row);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use crate::{
        DType,
        backend::cpu::testing::{FLOATS, assert_close, assert_same_on_threads, random, run, tensor, to_vec},
    };

    #[test]
    fn rows_against_the_formula() {
        for dtype in FLOATS {
            for [rows, columns] in [[1, 1], [3, 5], [300, 257], [2, 0], [0, 3]] {
                let x = random(&[rows, columns], 1, dtype);
                let dy = random(&[rows, columns], 2, dtype);
                let forward = || run(&[rows, columns], dtype, |b, y| b.softmax(&x, y));
                let expected: Vec<f64> = to_vec(&x)
                    .chunks(columns.max(1))
                    .flat_map(|row| {
                        let sum: f64 = row.iter().map(|v| v.exp()).sum();
                        row.iter().map(move |v| v.exp() / sum).collect::<Vec<_>>()
                    })
                    .collect();
                let y = forward();
                assert_close(&y, &expected, 1.0);
                assert_same_on_threads(|| vec![forward()]);
                let (p, g) = (to_vec(&y), to_vec(&dy));
                let expected: Vec<f64> = (0..rows * columns)
                    .map(|i| {
                        let row = i / columns * columns..(i / columns + 1) * columns;
                        let dot: f64 = row.map(|j| p[j] * g[j]).sum();
                        p[i] * (g[i] - dot)
                    })
                    .collect();
                assert_close(&run(&[rows, columns], dtype, |b, dx| b.softmax_grad(&y, &dy, dx)), &expected, 1.0);
            }
        }
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let x = tensor(&[1, 3], &[1000.0, 1000.0, f64::NEG_INFINITY], DType::F32);
        assert_eq!(to_vec(&run(&[1, 3], DType::F32, |b, y| b.softmax(&x, y))), [0.5, 0.5, 0.0]);
    }
}
