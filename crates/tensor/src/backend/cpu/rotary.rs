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
