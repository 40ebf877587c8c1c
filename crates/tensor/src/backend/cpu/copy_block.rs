//! Blocks of rows and columns: slices and concatenations.

use super::{
    element::{Input, Output, Real, bytes, output_bytes, with_real},
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
    let (src, dst) = (bytes(&d.src)?, Memory(output_bytes(&d.dst)?, d.dst.bytes()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        backend::cpu::testing::{FLOATS, assert_close, random, run, to_vec},
    };

    #[test]
    fn blocks_against_the_formula() {
        for dtype in FLOATS {
            for (rows, columns) in [(3, 4), (1, 1), (200, 700), (0, 4), (4, 0)] {
                for accumulate in [false, true] {
                    let (src, dst) =
                        (random(&[rows + 1, columns + 3], 1, dtype), random(&[rows + 2, columns + 5], 2, dtype));
                    let mut expected = to_vec(&dst);
                    let from = to_vec(&src);
                    for r in 0..rows {
                        for c in 0..columns {
                            let at = &mut expected[2 + r * (columns + 5) + c];
                            *at = if accumulate { *at } else { 0.0 } + from[3 + r * (columns + 3) + c];
                        }
                    }
                    let d = CopyBlock {
                        src,
                        src_start: 3,
                        src_stride: columns + 3,
                        dst: dst.clone(),
                        dst_start: 2,
                        dst_stride: columns + 5,
                        rows,
                        columns,
                        accumulate,
                    };
                    run(&[1], DType::F32, |b, _| b.copy_block(&d));
                    assert_close(&dst, &expected, 1.0);
                }
            }
        }
    }
}
