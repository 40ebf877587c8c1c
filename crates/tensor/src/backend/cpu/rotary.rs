//! Rotary position embedding. The pairs of a head are its neighbouring columns (0, 1), (2, 3), …; a last column without a partner is
//! copied, as are the columns outside the heads.

use super::{
    element::{Input, Output, Real, with_real},
    parallel::for_rows,
};
use crate::{backend::Rotary, error::Result};

pub fn rotary(d: &Rotary) -> Result<()> {
    with_real!(d.x.dtype, A => run::<A>(d))
}

fn run<A: Real>(d: &Rotary) -> Result<()> {
    let (rows, columns) = (d.x.rows(), d.x.columns());
    let (x, y) = (Input::new(&d.x)?, Output::new(&d.y)?);
    let (cos, sin) = (Input::new(&d.cos)?, Input::new(&d.sin)?);
    let (heads, width) = (d.heads, d.head_dim);
    for_rows(
        rows,
        columns,
        #[inline(always)]
        |block| {
            let mut row = vec![A::ZERO; columns];
            let (mut cosines, mut sines) = (vec![A::ZERO; width], vec![A::ZERO; width]);
            for m in block {
                x.load(m * columns, &mut row);
                let cos = cos.run(m * width, width, &mut cosines);
                let sin = sin.run(m * width, width, &mut sines);
                for head in row[d.column..d.column + heads * width].chunks_exact_mut(width.max(1)) {
                    let angles = cos.chunks_exact(2).zip(sin.chunks_exact(2));
                    for (pair, (c, s)) in head.chunks_exact_mut(2).zip(angles) {
                        let (a, b) = (pair[0], pair[1]);
                        if d.transpose {
                            pair[0] = a * c[0] + b * s[1];
                            pair[1] = b * c[1] - a * s[0];
                        } else {
                            pair[0] = a * c[0] - b * s[0];
                            pair[1] = b * c[1] + a * s[1];
                        }
                    }
                }
                y.store(m * columns, &row);
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
        backend::cpu::testing::{FLOATS, assert_close, assert_same_on_threads, empty, random, run, to_vec},
    };

    #[test]
    fn pairs_are_rotated_and_turned_back() {
        for dtype in FLOATS {
            for (heads, width) in [(1, 2), (3, 24), (2, 7), (5, 1)] {
                let (m, column) = (130, 3);
                let columns = column + heads * width + 4;
                let kept = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
                let (x, cos, sin) =
                    (random(&[m, columns], 1, dtype), random(&[m, width], 2, kept), random(&[m, width], 3, kept));
                let (values, c, s) = (to_vec(&x), to_vec(&cos), to_vec(&sin));
                for transpose in [false, true] {
                    let mut expected = values.clone();
                    for i in 0..m * heads * (width / 2) {
                        let (pair, head, m) = (i % (width / 2) * 2, i / (width / 2) % heads, i / (width / 2) / heads);
                        let (at, angle) = (m * columns + column + head * width + pair, m * width + pair);
                        let (a, b) = (values[at], values[at + 1]);
                        let (c0, c1, s0, s1) = (c[angle], c[angle + 1], s[angle], s[angle + 1]);
                        // The matrix of the rotation, and its transpose.
                        (expected[at], expected[at + 1]) = match transpose {
                            false => (c0 * a - s0 * b, s1 * a + c1 * b),
                            true => (c0 * a + s1 * b, -s0 * a + c1 * b),
                        };
                    }
                    let rotated = || {
                        let y = empty(&[m, columns], dtype);
                        let d = Rotary {
                            x: x.clone(),
                            heads,
                            head_dim: width,
                            column,
                            cos: cos.clone(),
                            sin: sin.clone(),
                            transpose,
                            y: y.clone(),
                        };
                        run(&[1], dtype, |b, _| b.rotary(&d));
                        y
                    };
                    assert_close(&rotated(), &expected, 2.0);
                    assert_same_on_threads(|| vec![rotated()]);
                }
            }
        }
    }
}
