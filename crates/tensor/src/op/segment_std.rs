//! Standard deviation over the tokens of each packed sequence, column by column: `y[s,d] = sqrt(var_m x[m,d] + eps)`, m over
//! `offsets[s] .. offsets[s+1]`, the variance unbiased (0 for a sequence of fewer than two tokens).
//!
//! x `[M, D]` float, offsets I32 `[S+1]` rising from 0 to M, y `[S, D]` in float32 (float64 for float64). JEPA watches it (and may be
//! made to keep it up) as a sign of collapse.

use super::check;
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    backend,
    error::{Error, Result},
    tensor::Tensor,
};

#[derive(Clone, Copy, Debug)]
pub struct SegmentStd {
    pub eps: f64,
}

/// See the module.
pub fn segment_std(x: &Var, offsets: &Tensor, eps: f64) -> Result<Var> {
    apply1(SegmentStd { eps }, &[x, &Var::constant(offsets.clone())])
}

impl Op for SegmentStd {
    fn name(&self) -> &'static str {
        "segmentStd"
    }

    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>> {
        let (x, offsets) = (&inputs[0], &inputs[1]);
        check::float("segmentStd", "the input", x)?;
        let [_, columns] = check::matrix("segmentStd", "the input", x)?;
        let sequences = check::offsets("segmentStd", "offsets", offsets)?;
        if !(self.eps >= 0.0 && self.eps.is_finite()) {
            return Err(Error::argument("segmentStd", format!("eps is {}", self.eps)));
        }
        let y = Tensor::empty(x.device(), &[sequences, columns], check::statistics(x.dtype));
        [x, offsets, &y].into_iter().for_each(|t| saved.push(t));
        let d = backend::SegmentStd { x: x.clone(), offsets: offsets.clone(), eps: self.eps, y: y.clone() };
        y.device().submit("segmentStd", move |b| b.segment_std(&d));
        Ok(vec![y])
    }

    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        let [x, offsets, y] = saved else { unreachable!("forward keeps three") };
        let d = backend::SegmentStd { x: x.clone(), offsets: offsets.clone(), eps: self.eps, y: y.clone() };
        let dy = grads.dy();
        if let Some(sink) = grads.sink(0)? {
            x.device().submit("segmentStd", move |b| b.segment_std_grad(&d, &dy, &sink.tensor, sink.accumulate));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{close, fault, from_f64, from_i32, gradient_check, random};

    #[test]
    fn by_hand() {
        let x = Var::constant(from_f64(&[4, 1], &[1.0, 3.0, 7.0, 7.5]));
        let y = segment_std(&x, &from_i32(&[0, 2, 3, 3, 4]), 0.25).unwrap();
        close(&y.tensor, &[1.5, 0.5, 0.5, 0.5], 1e-12);
    }

    #[test]
    fn gradients() {
        for d in [1, 3, 17] {
            let offsets = from_i32(&[0, 4, 4, 5, 7]);
            gradient_check(&[random(&[7, d], 1)], |v| segment_std(&v[0], &offsets, 1e-2));
        }
        gradient_check(&[random(&[0, 3], 1)], |v| segment_std(&v[0], &from_i32(&[0, 0]), 1e-2));
    }

    #[test]
    fn refusals() {
        let message = |r: Result<Var>| r.expect_err("it does not fit").message;
        let x = || Var::constant(random(&[3, 2], 1));
        assert_eq!(
            message(segment_std(&x(), &from_i32(&[]), 1e-4)),
            "segmentStd: offsets is [0], but a vector of S + 1 numbers is needed"
        );
        assert_eq!(
            message(segment_std(&Var::constant(random(&[3], 1)), &from_i32(&[0, 3]), 1e-4)),
            "segmentStd: the input is [3], but a matrix is needed"
        );
        assert_eq!(message(segment_std(&x(), &from_i32(&[0, 3]), f64::NAN)), "segmentStd: eps is NaN");
        for bad in [vec![0, 4], vec![0, 2, 1, 3], vec![1, 3]] {
            fault("segmentStd: ", || segment_std(&x(), &from_i32(&bad), 1e-4));
        }
    }
}
