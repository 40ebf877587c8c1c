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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        backend::cpu::testing::{
            FLOATS, assert_close, assert_same_on_threads, empty, int, random, run, tensor, to_vec,
        },
        error::Code,
    };

    fn kept(dtype: DType) -> DType {
        if dtype == DType::F64 { DType::F64 } else { DType::F32 }
    }

    #[test]
    fn labels_against_the_formula() {
        for dtype in FLOATS {
            for [m, c] in [[1, 1], [7, 3], [300, 174], [0, 5]] {
                for smoothing in [0.0, 0.1] {
                    let (x, dy) = (random(&[m, c], 1, dtype), random(&[m], 2, kept(dtype)));
                    let labels: Vec<i32> = (0..m).map(|i| (i * 5 % c) as i32).collect();
                    let (values, slopes) = (to_vec(&x), to_vec(&dy));
                    let (mut losses, mut gradient) = (vec![], to_vec(&random(&[m, c], 3, dtype)));
                    for i in 0..m {
                        let row = &values[i * c..(i + 1) * c];
                        let lse = row.iter().map(|v| v.exp()).sum::<f64>().ln();
                        let weight = |j: usize| {
                            smoothing / c as f64 + if j == labels[i] as usize { 1.0 - smoothing } else { 0.0 }
                        };
                        losses.push((0..c).map(|j| weight(j) * (lse - row[j])).sum::<f64>());
                        (0..c).for_each(|j| gradient[i * c + j] += slopes[i] * ((row[j] - lse).exp() - weight(j)));
                    }
                    let both = || {
                        let (loss, dx) = (empty(&[m], kept(dtype)), random(&[m, c], 3, dtype));
                        let d = CrossEntropy {
                            x: x.clone(),
                            labels: int(&labels),
                            smoothing,
                            loss: loss.clone(),
                            lse: empty(&[m], kept(dtype)),
                        };
                        run(&[1], dtype, |b, _| {
                            b.cross_entropy(&d)?;
                            b.cross_entropy_grad(&d, &dy, &dx, true)
                        });
                        vec![loss, dx]
                    };
                    let got = both();
                    assert_close(&got[0], &losses, 2.0);
                    assert_close(&got[1], &gradient, 1.0);
                    assert_same_on_threads(both);
                }
            }
        }
    }

    #[test]
    fn a_label_out_of_range_is_an_error() {
        let (loss, lse) = (empty(&[1], DType::F32), empty(&[1], DType::F32));
        let d = CrossEntropy { x: random(&[1, 3], 1, DType::F32), labels: int(&[3]), smoothing: 0.0, loss, lse };
        crate::backend::cpu::testing::sync();
        let error = cross_entropy(&d).unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (Code::Argument, "label 0 is 3, but there are 3 to choose from")
        );
    }

    #[test]
    fn logits_against_the_formula() {
        for dtype in FLOATS {
            for n in [0, 1, 700, 40_000] {
                let (x, dy) = (random(&[n], 1, dtype), random(&[n], 2, kept(dtype)));
                let t = tensor(&[n], &(0..n).map(|i| (i % 3) as f64 / 2.0).collect::<Vec<_>>(), kept(dtype));
                let (xs, ts, gs) = (to_vec(&x), to_vec(&t), to_vec(&dy));
                let before = to_vec(&random(&[n], 3, dtype));
                let p = |x: f64| 1.0 / (1.0 + (-x).exp());
                let losses: Vec<f64> =
                    (0..n).map(|i| -ts[i] * p(xs[i]).ln() - (1.0 - ts[i]) * (1.0 - p(xs[i])).ln()).collect();
                let gradient: Vec<f64> = (0..n).map(|i| before[i] + gs[i] * (p(xs[i]) - ts[i])).collect();
                let both = || {
                    let (loss, dx) = (empty(&[n], kept(dtype)), random(&[n], 3, dtype));
                    let d = BinaryCrossEntropy { x: x.clone(), targets: t.clone(), loss: loss.clone() };
                    run(&[1], dtype, |b, _| {
                        b.binary_cross_entropy(&d)?;
                        b.binary_cross_entropy_grad(&d, &dy, &dx, true)
                    });
                    vec![loss, dx]
                };
                let got = both();
                assert_close(&got[0], &losses, 1.0);
                assert_close(&got[1], &gradient, 1.0);
                assert_same_on_threads(both);
            }
        }
        let d = BinaryCrossEntropy {
            x: tensor(&[2], &[1000.0, -1000.0], DType::F32),
            targets: tensor(&[2], &[0.0, 1.0], DType::F32),
            loss: empty(&[2], DType::F32),
        };
        run(&[1], DType::F32, |b, _| b.binary_cross_entropy(&d));
        assert_eq!(to_vec(&d.loss), [1000.0, 1000.0]);
    }
}
