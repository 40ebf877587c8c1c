//! Positions `start .. end` of one axis, copied. Any type. Both count from the end when negative.

use super::check;
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    backend::CopyBlock,
    error::{Error, Result},
    tensor::{Tensor, count},
};

#[derive(Clone, Copy, Debug)]
pub struct Slice {
    pub axis: usize,
    pub start: usize,
    pub end: usize,
}

/// See the module.
pub fn slice(x: &Var, axis: i64, start: i64, end: i64) -> Result<Var> {
    let axis = check::axis("slice", &x.tensor, axis)?;
    let n = x.tensor.shape[axis] as i64;
    let from_end = |i: i64| if i < 0 { i + n } else { i };
    let (first, last) = (from_end(start), from_end(end));
    if first < 0 || last < first || last > n {
        let message = format!("{start} to {end} does not lie within axis {axis} of {:?}", x.tensor.shape);
        return Err(Error::argument("slice", message));
    }
    apply1(Slice { axis, start: first as usize, end: last as usize }, &[x])
}

/// The block of axis `axis` of `whole` that starts at `start` and has the size of `part`, copied one way or the other.
pub(super) fn block(
    whole: &Tensor,
    part: &Tensor,
    axis: usize,
    start: usize,
    out_of_whole: bool,
    accumulate: bool,
) -> CopyBlock {
    let inner = count(&whole.shape[axis + 1..]);
    let (stride, columns) = (whole.shape[axis] * inner, part.shape[axis] * inner);
    let rows = count(&whole.shape[..axis]);
    let (whole, part) = ((whole.clone(), start * inner, stride), (part.clone(), 0, columns));
    let (from, to) = if out_of_whole { (whole, part) } else { (part, whole) };
    CopyBlock {
        src: from.0,
        src_start: from.1,
        src_stride: from.2,
        dst: to.0,
        dst_start: to.1,
        dst_stride: to.2,
        rows,
        columns,
        accumulate,
    }
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn forward(&self, inputs: &[Tensor], _: &mut Saved) -> Result<Vec<Tensor>> {
        let x = &inputs[0];
        let mut shape = x.shape.clone();
        shape[self.axis] = self.end - self.start;
        let y = Tensor::empty(x.device(), &shape, x.dtype);
        let d = block(x, &y, self.axis, self.start, true, false);
        y.device().submit("slice", move |b| b.copy_block(&d));
        Ok(vec![y])
    }

    fn backward(&self, _: &[Tensor], grads: &mut Grads) -> Result<()> {
        let dy = grads.dy();
        if let Some(sink) = grads.sink(0)? {
            let d = block(&sink.tensor, &dy, self.axis, self.start, false, sink.accumulate);
            dy.device().submit("slice", move |b| {
                if !d.accumulate {
                    b.fill(&d.dst, 0.0)?;
                }
                b.copy_block(&d)
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backend::Binary,
        op::{
            binary,
            testing::{from_f64, from_i32, gradient_check, random, to_f64},
        },
    };

    #[test]
    fn by_hand() {
        let x = Var::constant(from_f64(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let values = |axis, start, end| to_f64(&slice(&x, axis, start, end).unwrap().tensor);
        assert_eq!(values(0, 1, 2), [4.0, 5.0, 6.0]);
        assert_eq!(values(1, 1, 3), [2.0, 3.0, 5.0, 6.0]);
        assert_eq!(values(-1, -3, -1), [1.0, 2.0, 4.0, 5.0]);
        assert_eq!(values(1, 2, 2), []);
        assert_eq!(to_f64(&slice(&Var::constant(from_i32(&[1, 2, 3])), 0, 1, 3).unwrap().tensor), [2.0, 3.0]);
    }

    #[test]
    fn gradients() {
        gradient_check(&[random(&[4, 3, 5], 1)], |v| {
            // Two overlapping windows of each axis: written first, added to second.
            let ends =
                |axis| -> Result<Var> { binary(&slice(&v[0], axis, 0, 2)?, &slice(&v[0], axis, 1, 3)?, Binary::Mul) };
            let (a, b, c) = (ends(0)?, ends(1)?, ends(2)?);
            let a = slice(&slice(&a, 1, 0, 2)?, 2, 0, 2)?;
            let b = slice(&slice(&b, 0, 0, 2)?, 2, 3, 5)?;
            let c = slice(&slice(&c, 0, 2, 4)?, 1, 1, 3)?;
            binary(&binary(&a, &b, Binary::Add)?, &c, Binary::Add)
        });
        gradient_check(&[random(&[3, 2], 1)], |v| slice(&v[0], 0, 1, 1));
    }

    #[test]
    fn refusals() {
        let x = Var::constant(random(&[2, 3], 1));
        let message = |axis, start, end| slice(&x, axis, start, end).expect_err("it does not fit").message;
        assert_eq!(message(1, 0, 4), "slice: 0 to 4 does not lie within axis 1 of [2, 3]");
        assert_eq!(message(1, 2, 1), "slice: 2 to 1 does not lie within axis 1 of [2, 3]");
        assert_eq!(message(0, -3, 1), "slice: -3 to 1 does not lie within axis 0 of [2, 3]");
        assert_eq!(message(2, 0, 1), "slice: there is no axis 2 in [2, 3]");
    }
}
