//! Blocks of rows and columns: slices and concatenations.

use super::{
    element::{Input, Output, Real, bytes, bytes_mut, with_real},
    parallel::{TILE, for_rows, tiles},
};
use crate::{backend::CopyBlock, error::Result};

pub fn copy_block(d: &CopyBlock) -> Result<()> {
    if d.rows == 0 || d.columns == 0 {
        return Ok(());
    }
    if d.accumulate {
        let (src, dst) = (Input::new(&d.src)?, Output::add_to(&d.dst, true)?);
        with_real!(dst.dtype, A => add::<A>(d, src, dst));
        return Ok(());
    }
    let size = d.src.dtype.size();
    let (src, dst) = (bytes(&d.src)?, Memory(bytes_mut(&d.dst)?.as_mut_ptr(), d.dst.bytes()));
    for_rows(d.rows, d.columns, |rows| {
        let dst = &dst;
        for row in rows {
            let from = (d.src_start + row * d.src_stride) * size;
            let to = (d.dst_start + row * d.dst_stride) * size;
            let run = &src[from..from + d.columns * size];
            assert!(to + run.len() <= dst.1);
            // In bounds, and rows of one block do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(run.as_ptr(), dst.0.add(to), run.len()) };
        }
    });
    Ok(())
}

struct Memory(*mut u8, usize);
// Tasks write disjoint rows.
unsafe impl Send for Memory {}
unsafe impl Sync for Memory {}

fn add<A: Real>(d: &CopyBlock, src: Input, dst: Output) {
    for_rows(
        d.rows,
        d.columns,
        #[inline(always)]
        |rows| {
            let mut scratch = [A::ZERO; TILE];
            for row in rows {
                for columns in tiles(0..d.columns) {
                    let part = src.run(d.src_start + row * d.src_stride + columns.start, columns.len(), &mut scratch);
                    dst.store(d.dst_start + row * d.dst_stride + columns.start, part);
                }
            }
        },
    );
}
