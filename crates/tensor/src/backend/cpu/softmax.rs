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
