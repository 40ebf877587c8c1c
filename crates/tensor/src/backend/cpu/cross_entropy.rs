//! Cross-entropy with integer labels, and the binary one with logits.

use super::{
    element::{Input, Output, Real, indices_below, with_real},
    lanes,
    parallel::{TASK, TILE, for_blocks, for_rows, tiles},
    softmax::exponentials,
    unary::{decays, sigmoid},
    vmath,
};
use crate::{
    backend::{BinaryCrossEntropy, CrossEntropy},
    error::Result,
    tensor::Tensor,
};

pub fn cross_entropy(d: &CrossEntropy) -> Result<()> {
    with_real!(d.loss.dtype, A => forward::<A>(d))
}

fn forward<A: Real>(d: &CrossEntropy) -> Result<()> {
    let (rows, columns) = (d.x.rows(), d.x.columns());
    let labels = indices_below(&d.labels, columns, "label")?;
    let (x, losses, lses) = (Input::new(&d.x)?, Output::new(&d.loss)?, Output::new(&d.lse)?);
    let smoothing = A::of(d.smoothing);
    for_rows(
        rows,
        columns,
        #[inline(always)]
        |block| {
            let mut row = vec![A::ZERO; columns];
            for m in block {
                x.load(m * columns, &mut row);
                let picked = row[labels[m] as usize];
                let mean = lanes::sum(&row) / A::of(columns as f64);
                let max = exponentials(&mut row);
                let lse = max + lanes::sum(&row).ln();
                let smooth = if d.smoothing == 0.0 { A::ZERO } else { smoothing * (mean - picked) };
                losses.store(m, &[lse - picked - smooth]);
                lses.store(m, &[lse]);
            }
        },
    );
    Ok(())
}

/// `dx = dy·(softmax(x) − (1 − smoothing)·onehot(label) − smoothing/C)`.
pub fn cross_entropy_grad(d: &CrossEntropy, dy: &Tensor, dx: &Tensor, accumulate: bool) -> Result<()> {
    with_real!(d.loss.dtype, A => backward::<A>(d, dy, dx, accumulate))
}

fn backward<A: Real>(d: &CrossEntropy, dy: &Tensor, dx: &Tensor, accumulate: bool) -> Result<()> {
    let (rows, columns) = (d.x.rows(), d.x.columns());
    let labels = indices_below(&d.labels, columns, "label")?;
    let (x, lse, dy) = (Input::new(&d.x)?, Input::new(&d.lse)?, Input::new(dy)?);
    let dx = Output::add_to(dx, accumulate)?;
    let even = A::of(d.smoothing / columns.max(1) as f64);
    let label_weight = A::of(1.0 - d.smoothing);
    for_rows(
        rows,
        columns,
        #[inline(always)]
        |block| {
            let mut row = vec![A::ZERO; columns];
            for m in block {
                let (mut total, mut slope) = ([A::ZERO], [A::ZERO]);
                lse.load(m, &mut total);
                dy.load(m, &mut slope);
                x.load(m * columns, &mut row);
                let (total, slope) = (total[0], slope[0]);
                row.iter_mut().for_each(|v| *v = *v - total);
                A::map(vmath::Exp, &mut row);
                let label = &mut row[labels[m] as usize];
                *label = *label - label_weight;
                row.iter_mut().for_each(|v| *v = (*v - even) * slope);
                dx.store(m * columns, &row);
            }
        },
    );
    Ok(())
}

pub fn binary_cross_entropy(d: &BinaryCrossEntropy) -> Result<()> {
    let (x, t, loss) = (Input::new(&d.x)?, Input::new(&d.targets)?, Output::new(&d.loss)?);
    with_real!(d.targets.dtype, A => binary::<A>(x, t, None, loss));
    Ok(())
}

/// `dx = dy·(sigmoid(x) − t)`.
pub fn binary_cross_entropy_grad(d: &BinaryCrossEntropy, dy: &Tensor, dx: &Tensor, accumulate: bool) -> Result<()> {
    let (x, t, dy) = (Input::new(&d.x)?, Input::new(&d.targets)?, Input::new(dy)?);
    let dx = Output::add_to(dx, accumulate)?;
    with_real!(d.targets.dtype, A => binary::<A>(x, t, Some(dy), dx));
    Ok(())
}

/// The loss, or with `dy` the gradient.
fn binary<A: Real>(x: Input, t: Input, dy: Option<Input>, out: Output) {
    for_blocks(
        x.len,
        TASK,
        #[inline(always)]
        |block| {
            let (mut logits, mut wide, mut other) = ([A::ZERO; TILE], [A::ZERO; TILE], [A::ZERO; TILE]);
            for range in tiles(block) {
                let logits = &mut logits[..range.len()];
                x.load(range.start, logits);
                let targets = t.run(range.start, range.len(), &mut wide);
                if let Some(dy) = dy {
                    sigmoid(logits);
                    let dy = dy.run(range.start, range.len(), &mut other);
                    for ((x, &t), &dy) in logits.iter_mut().zip(targets).zip(dy) {
                        *x = dy * (*x - t);
                    }
                } else {
                    let decay = &mut other[..logits.len()];
                    decays(logits, decay);
                    for ((x, &t), &e) in logits.iter_mut().zip(targets).zip(&*decay) {
                        let positive = if *x < A::ZERO { A::ZERO } else { *x };
                        *x = positive - *x * t + e.ln_1p();
                    }
                }
                out.store(range.start, logits);
            }
        },
    );
}
