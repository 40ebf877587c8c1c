//! Patches of videos, pictures and spectrograms as rows.

use super::{
    cast,
    element::{Input, Output, Real, elements, indices_below, with_real},
    parallel::{for_blocks, for_rows},
};
use crate::{backend::Patchify, dtype::DType, error::Result, tensor::Tensor};

/// Sizes in tokens and elements, derived from a descriptor.
#[derive(Clone, Copy)]
struct Grid {
    channels: usize,
    frames: usize,
    height: usize,
    width: usize,
    tubelet: usize,
    patch_h: usize,
    patch_w: usize,
    /// Tokens along each axis.
    tokens: [usize; 3],
    samples: usize,
}

/// Where a token lies: its sample, and its first frame, line and column.
#[derive(Clone, Copy)]
struct Place {
    sample: usize,
    frame: usize,
    line: usize,
    column: usize,
}

impl Grid {
    fn new(d: &Patchify) -> Grid {
        let [samples, channels, frames, height, width] = d.size;
        let [tubelet, patch_h, patch_w] = d.patch;
        let tokens = [frames / tubelet, height / patch_h, width / patch_w];
        Grid { channels, frames, height, width, tubelet, patch_h, patch_w, tokens, samples }
    }

    /// Tokens of a sample.
    fn count(&self) -> usize {
        self.tokens.iter().product()
    }

    /// Elements of a row, and of one channel of it.
    fn columns(&self) -> usize {
        self.channels * self.plane()
    }

    fn plane(&self) -> usize {
        self.tubelet * self.patch_h * self.patch_w
    }

    #[inline(always)]
    fn place(&self, token: usize) -> Place {
        let (sample, token) = (token / self.count(), token % self.count());
        let [_, h, w] = self.tokens;
        Place {
            sample,
            frame: token / (h * w) * self.tubelet,
            line: token / w % h * self.patch_h,
            column: token % w * self.patch_w,
        }
    }

    /// Lines of the patch within one channel of `[B, C, T, H, W]`: `f(start in x, start in the channel's part of the row)`.
    #[inline(always)]
    fn lines(&self, p: Place, channel: usize, mut f: impl FnMut(usize, usize)) {
        for dt in 0..self.tubelet {
            let frame = (p.sample * self.channels + channel) * self.frames + p.frame + dt;
            for di in 0..self.patch_h {
                f((frame * self.height + p.line + di) * self.width + p.column, (dt * self.patch_h + di) * self.patch_w);
            }
        }
    }
}

pub fn patchify(d: &Patchify) -> Result<()> {
    let grid = Grid::new(d);
    let rows = rows(d, &grid)?;
    with_real!(d.y.dtype, A => match d.x.dtype {
        DType::U8 => pixels::<A>(d, grid, rows),
        _ => floats::<A>(d, grid, rows),
    })
}

fn rows<'a>(d: &'a Patchify, grid: &Grid) -> Result<Option<&'a [i32]>> {
    d.rows.as_ref().map(|rows| indices_below(rows, grid.samples * grid.count(), "row")).transpose()
}

#[inline(always)]
fn token(rows: Option<&[i32]>, r: usize) -> usize {
    rows.map_or(r, |rows| rows[r] as usize)
}

fn floats<A: Real>(d: &Patchify, grid: Grid, rows: Option<&[i32]>) -> Result<()> {
    let (x, y) = (Input::new(&d.x)?, Output::new(&d.y)?);
    let columns = grid.columns();
    for_rows(
        d.y.rows(),
        columns,
        #[inline(always)]
        |block| {
            let mut row = vec![A::ZERO; columns];
            for r in block {
                let place = grid.place(token(rows, r));
                for (channel, part) in row.chunks_exact_mut(grid.plane()).enumerate() {
                    grid.lines(
                        place,
                        channel,
                        #[inline(always)]
                        |from, to| x.load(from, &mut part[to..to + grid.patch_w]),
                    );
                }
                y.store(r * columns, &row);
            }
        },
    );
    Ok(())
}

/// U8 `[B, T, H, W, C]`; the 256 values of each channel are normalised once.
fn pixels<A: Real>(d: &Patchify, grid: Grid, rows: Option<&[i32]>) -> Result<()> {
    let (x, y) = (elements::<u8>(&d.x)?, Output::new(&d.y)?);
    let table: Vec<[A; 256]> = (0..grid.channels)
        .map(|c| std::array::from_fn(|v| (A::of(v as f64) / A::of(255.0) - A::of(d.mean[c])) / A::of(d.std[c])))
        .collect();
    let columns = grid.columns();
    for_rows(
        d.y.rows(),
        columns,
        #[inline(always)]
        |block| {
            let mut row = vec![A::ZERO; columns];
            for r in block {
                let p = grid.place(token(rows, r));
                for dt in 0..grid.tubelet {
                    let frame = p.sample * grid.frames + p.frame + dt;
                    for di in 0..grid.patch_h {
                        let from = ((frame * grid.height + p.line + di) * grid.width + p.column) * grid.channels;
                        let line = &x[from..from + grid.patch_w * grid.channels];
                        let to = (dt * grid.patch_h + di) * grid.patch_w;
                        for (c, table) in table.iter().enumerate() {
                            let out = &mut row[c * grid.plane() + to..][..grid.patch_w];
                            for (o, pixel) in out.iter_mut().zip(line.chunks_exact(grid.channels)) {
                                *o = table[pixel[c] as usize];
                            }
                        }
                    }
                }
                y.store(r * columns, &row);
            }
        },
    );
    Ok(())
}

/// `dx` of a float x from the gradient in `d.y`. A task takes one channel of one sample, and the rows in order.
pub fn patchify_grad(d: &Patchify, dx: &Tensor) -> Result<()> {
    let grid = Grid::new(d);
    let rows = rows(d, &grid)?;
    cast::fill(dx, 0.0)?;
    with_real!(dx.dtype, A => scatter::<A>(d, grid, rows, dx))
}

fn scatter<A: Real>(d: &Patchify, grid: Grid, rows: Option<&[i32]>, dx: &Tensor) -> Result<()> {
    let (dy, dx) = (Input::new(&d.y)?, Output::add_to(dx, true)?);
    let (count, columns) = (d.y.rows(), grid.columns());
    for_blocks(
        grid.samples * grid.channels,
        1,
        #[inline(always)]
        |unit| {
            let (sample, channel) = (unit.start / grid.channels, unit.start % grid.channels);
            let mut part = vec![A::ZERO; grid.plane()];
            for r in 0..count {
                let place = grid.place(token(rows, r));
                if place.sample == sample {
                    dy.load(r * columns + channel * grid.plane(), &mut part);
                    grid.lines(
                        place,
                        channel,
                        #[inline(always)]
                        |at, from| dx.store(at, &part[from..from + grid.patch_w]),
                    );
                }
            }
        },
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::testing::{
        FLOATS, assert_close, assert_same_on_threads, empty, int, random, run, tensor, to_vec,
    };

    /// Token and column of y to element of `[B, C, T, H, W]`.
    fn element(size: [usize; 5], patch: [usize; 3], token: usize, column: usize) -> [usize; 5] {
        let [_, _, t, h, w] = size;
        let (gt, gh, gw) = (t / patch[0], h / patch[1], w / patch[2]);
        let (b, token) = (token / (gt * gh * gw), token % (gt * gh * gw));
        let (j, i, f) = (token % gw, token / gw % gh, token / gw / gh);
        let (dj, di) = (column % patch[2], column / patch[2] % patch[1]);
        let (dt, c) = (column / patch[2] / patch[1] % patch[0], column / patch[2] / patch[1] / patch[0]);
        [b, c, f * patch[0] + dt, i * patch[1] + di, j * patch[2] + dj]
    }

    fn index(at: [usize; 5], size: [usize; 5]) -> usize {
        at.iter().zip(size).fold(0, |i, (a, n)| i * n + a)
    }

    const CASES: [([usize; 5], [usize; 3]); 5] = [
        ([2, 3, 4, 32, 48], [2, 16, 16]),
        ([1, 1, 1, 128, 197], [1, 16, 16]),
        ([3, 2, 5, 7, 9], [2, 3, 4]),
        ([1, 4, 1, 1, 1], [1, 1, 1]),
        ([0, 3, 2, 16, 16], [2, 16, 16]),
    ];

    fn tokens(size: [usize; 5], patch: [usize; 3]) -> usize {
        size[0] * (size[2] / patch[0]) * (size[3] / patch[1]) * (size[4] / patch[2])
    }

    /// All tokens in order, or some of them, out of order and repeated.
    fn pick(n: usize, all: bool) -> Vec<usize> {
        if all { (0..n).collect() } else { (0..n).map(|i| (i * 7 + 3) % n).chain(0..n.min(2)).collect() }
    }

    #[test]
    fn floats_and_their_gradients() {
        for (size, patch) in CASES {
            for dtype in FLOATS {
                for all in [true, false] {
                    let rows = pick(tokens(size, patch), all);
                    let columns = size[1] * patch.iter().product::<usize>();
                    let x = random(&size, 1, dtype);
                    let d = |y: &Tensor| Patchify {
                        x: x.clone(),
                        size,
                        patch,
                        rows: (!all).then(|| int(&rows.iter().map(|&r| r as i32).collect::<Vec<_>>())),
                        mean: vec![],
                        std: vec![],
                        y: y.clone(),
                    };
                    let values = to_vec(&x);
                    let at = |r: usize, c: usize| index(element(size, patch, rows[r], c), size);
                    let expected: Vec<f64> =
                        (0..rows.len() * columns).map(|i| values[at(i / columns, i % columns)]).collect();
                    let shape = [rows.len(), columns];
                    let wide = if dtype == DType::BF16 { DType::F32 } else { dtype };
                    let y = empty(&shape, wide);
                    let described = d(&y);
                    run(&[1], dtype, |b, _| b.patchify(&described));
                    assert_close(&y, &expected, 1.0);

                    let dy = random(&shape, 2, dtype);
                    let mut expected = vec![0.0; values.len()];
                    to_vec(&dy).iter().enumerate().for_each(|(i, g)| expected[at(i / columns, i % columns)] += g);
                    let described = d(&dy);
                    let backward = || run(&size, dtype, |b, dx| b.patchify_grad(&described, dx));
                    assert_close(&backward(), &expected, 2.0);
                    assert_same_on_threads(|| vec![backward()]);
                }
            }
        }
    }

    #[test]
    fn pixels_are_normalised() {
        for (size, patch) in CASES {
            for dtype in FLOATS {
                let [b, c, t, h, w] = size;
                let len = size.iter().product::<usize>();
                let stored = [b, t, h, w, c];
                let bytes: Vec<f64> = (0..len).map(|i| ((i * 97 + i / 7) % 256) as f64).collect();
                let x = tensor(&stored, &bytes, DType::U8);
                let mean: Vec<f64> = (0..c).map(|c| 0.4 + 0.1 * c as f64).collect();
                let std: Vec<f64> = (0..c).map(|c| 0.2 + 0.05 * c as f64).collect();
                let rows = pick(tokens(size, patch), false);
                let columns = c * patch.iter().product::<usize>();
                let expected: Vec<f64> = (0..rows.len() * columns)
                    .map(|i| {
                        let [b, c, t, h, w] = element(size, patch, rows[i / columns], i % columns);
                        (bytes[index([b, t, h, w, c], stored)] / 255.0 - mean[c]) / std[c]
                    })
                    .collect();
                let forward = || {
                    let y = empty(&[rows.len(), columns], dtype);
                    let d = Patchify {
                        x: x.clone(),
                        size,
                        patch,
                        rows: Some(int(&rows.iter().map(|&r| r as i32).collect::<Vec<_>>())),
                        mean: mean.clone(),
                        std: std.clone(),
                        y: y.clone(),
                    };
                    run(&[1], dtype, |b, _| b.patchify(&d));
                    y
                };
                assert_close(&forward(), &expected, 1.0);
                assert_same_on_threads(|| vec![forward()]);
            }
        }
    }
}
