//! Rows picked from several sources, and their gradients sent back.

use super::{
    element::{Input, Output, Real, indices, indices_below, with_real},
    parallel::for_rows,
};
use crate::{
    backend::{Assemble, ScatterAdd},
    error::Result,
};

pub fn assemble(d: &Assemble) -> Result<()> {
    with_real!(d.y.dtype, A => gather::<A>(d))
}

fn gather<A: Real>(d: &Assemble) -> Result<()> {
    let (rows, columns) = (d.y.rows(), d.y.columns());
    // Each source with the row after its last.
    let mut ends = vec![];
    let mut total = 0;
    for source in &d.sources {
        total += source.rows();
        // A source without rows is never read.
        if source.rows() > 0 {
            ends.push((total, source.rows(), Input::new(source)?));
        }
    }
    let picked = indices_below(&d.rows, total, "row")?;
    let table = match &d.table {
        Some((table, positions)) => {
            let positions = indices_below(positions, table.rows(), "position")?;
            Some((Input::new(table)?, positions))
        }
        None => None,
    };
    let y = Output::new(&d.y)?;
    for_rows(
        rows,
        columns,
        #[inline(always)]
        |block| {
            let (mut row, mut position) = (vec![A::ZERO; columns], vec![A::ZERO; columns]);
            for m in block {
                let at = picked[m] as usize;
                let &(end, len, source) = ends.iter().find(|(end, ..)| at < *end).expect("checked above");
                let from = (at + len - end) * columns;
                match &table {
                    None => y.store(m * columns, source.run(from, columns, &mut row)),
                    Some((table, positions)) => {
                        source.load(from, &mut row);
                        let position = table.run(positions[m] as usize * columns, columns, &mut position);
                        row.iter_mut().zip(position).for_each(|(r, &p)| *r += p);
                        y.store(m * columns, &row);
                    }
                }
            }
        },
    );
    Ok(())
}

/// Rows of dst are shared out among the tasks; each collects what is sent to it, in the order of m.
pub fn scatter_add(d: &ScatterAdd) -> Result<()> {
    with_real!(d.dst.dtype, A => scatter::<A>(d))
}

fn scatter<A: Real>(d: &ScatterAdd) -> Result<()> {
    let (rows, columns) = (d.dst.rows(), d.dst.columns());
    let sent = indices(&d.rows)?;
    let (starts, order) = by_row(sent, d.first, rows);
    let (src, dst) = (Input::new(&d.src)?, Output::add_to(&d.dst, d.accumulate)?);
    let mean = order.len() / rows.max(1) + 1;
    for_rows(
        rows,
        columns * mean,
        #[inline(always)]
        |block| {
            let (mut sum, mut row) = (vec![A::ZERO; columns], vec![A::ZERO; columns]);
            for r in block {
                let from = &order[starts[r] as usize..starts[r + 1] as usize];
                match from {
                    [] if d.accumulate => {}
                    &[m] => dst.store(r * columns, src.run(m as usize * columns, columns, &mut row)),
                    _ => {
                        sum.fill(A::ZERO);
                        for &m in from {
                            let row = src.run(m as usize * columns, columns, &mut row);
                            sum.iter_mut().zip(row).for_each(|(s, &x)| *s += x);
                        }
                        dst.store(r * columns, &sum);
                    }
                }
            }
        },
    );
    Ok(())
}

/// For each row `first + r` the positions in `sent` that name it, ascending: `order[starts[r] .. starts[r + 1]]`.
fn by_row(sent: &[i32], first: usize, rows: usize) -> (Vec<u32>, Vec<u32>) {
    let row = |at: i32| usize::try_from(at).ok().and_then(|at| at.checked_sub(first)).filter(|&r| r < rows);
    let mut starts = vec![0u32; rows + 1];
    for r in sent.iter().filter_map(|&at| row(at)) {
        starts[r + 1] += 1;
    }
    for r in 0..rows {
        starts[r + 1] += starts[r];
    }
    let mut next = starts.clone();
    let mut order = vec![0u32; starts[rows] as usize];
    for (m, &at) in sent.iter().enumerate() {
        if let Some(r) = row(at) {
            order[next[r] as usize] = m as u32;
            next[r] += 1;
        }
    }
    (starts, order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        backend::cpu::testing::{FLOATS, assert_close, assert_same_on_threads, empty, int, random, run, to_vec},
        tensor::Tensor,
    };

    #[test]
    fn rows_of_several_sources() {
        for dtype in FLOATS {
            for to in FLOATS {
                for width in [1, 5, 192, 700] {
                    let sources =
                        [random(&[3, width], 1, dtype), random(&[0, width], 2, to), random(&[80, width], 3, to)];
                    let table = random(&[9, width], 4, DType::F32);
                    let m = 300;
                    let rows: Vec<i32> = (0..m).map(|i| (i * 31 + 7) % 83).collect();
                    let positions: Vec<i32> = (0..m).map(|i| i * 5 % 9).collect();
                    let all: Vec<f64> = sources.iter().flat_map(to_vec).collect();
                    let places = to_vec(&table);
                    for with_table in [false, true] {
                        let expected: Vec<f64> = (0..m as usize * width)
                            .map(|i| {
                                let (m, c) = (i / width, i % width);
                                let place = if with_table { places[positions[m] as usize * width + c] } else { 0.0 };
                                all[rows[m] as usize * width + c] + place
                            })
                            .collect();
                        let forward = || {
                            let y = empty(&[m as usize, width], to);
                            let d = Assemble {
                                sources: sources.to_vec(),
                                rows: int(&rows),
                                table: with_table.then(|| (table.clone(), int(&positions))),
                                y: y.clone(),
                            };
                            run(&[1], to, |b, _| b.assemble(&d));
                            y
                        };
                        // Values of one type in another are rounded.
                        assert_close(&forward(), &expected, if to == DType::F64 { 1e6 } else { 1.0 });
                        assert_same_on_threads(|| vec![forward()]);
                    }
                }
            }
        }
    }

    fn scattered(src: &Tensor, sent: &[i32], first: usize, dst: &Tensor, accumulate: bool) {
        let d = ScatterAdd { src: src.clone(), rows: int(sent), first, dst: dst.clone(), accumulate };
        run(&[1], DType::F32, |b, _| b.scatter_add(&d));
    }

    #[test]
    fn rows_are_sent_back() {
        for dtype in FLOATS {
            for width in [1, 5, 192] {
                for (m, rows, first) in [(300, 40, 0), (300, 40, 17), (7, 500, 3), (0, 5, 0), (9, 0, 0), (900, 1, 5)] {
                    let sent: Vec<i32> = (0..m).map(|i| i * 31 % 61).collect();
                    let sent = if rows == 1 { vec![5; m as usize] } else { sent };
                    let src = random(&[m as usize, width], 1, dtype);
                    let values = to_vec(&src);
                    for accumulate in [false, true] {
                        let before = to_vec(&random(&[rows, width], 2, dtype));
                        let mut expected = if accumulate { before } else { vec![0.0; rows * width] };
                        for (i, &at) in sent.iter().enumerate() {
                            if let Some(r) = (at as usize).checked_sub(first).filter(|&r| r < rows) {
                                (0..width).for_each(|c| expected[r * width + c] += values[i * width + c]);
                            }
                        }
                        let backward = || {
                            let dst = random(&[rows, width], 2, dtype);
                            scattered(&src, &sent, first, &dst, accumulate);
                            dst
                        };
                        assert_close(&backward(), &expected, if rows == 1 { 20.0 } else { 4.0 });
                        assert_same_on_threads(|| vec![backward()]);
                    }
                }
            }
        }
    }

    #[test]
    fn rows_out_of_range_are_errors() {
        let source = random(&[3, 2], 1, DType::F32);
        for bad in [-1, 3] {
            let d = Assemble {
                sources: vec![source.clone()],
                rows: int(&[0, bad]),
                table: None,
                y: empty(&[2, 2], DType::F32),
            };
            crate::backend::cpu::testing::sync();
            let error = assemble(&d).unwrap_err();
            assert_eq!(error.message, format!("row 1 is {bad}, but there are 3 to choose from"));
        }
    }

    #[test]
    fn a_tensor_never_written_is_an_error() {
        let d = Assemble {
            sources: vec![empty(&[3, 2], DType::F32)],
            rows: int(&[0]),
            table: None,
            y: empty(&[1, 2], DType::F32),
        };
        crate::backend::cpu::testing::sync();
        let error = assemble(&d).unwrap_err();
        assert_eq!(error.message, "a tensor of shape [3, 2], float32, is read before anything has been written to it");
    }
}
