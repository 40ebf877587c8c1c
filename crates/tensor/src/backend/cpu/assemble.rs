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
