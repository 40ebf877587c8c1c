//! Cuts the patches out of a video, picture or spectrogram and lays each kept one down as a row, ready for a linear layer.
//!
//! x is float `[B, C, T, H, W]`, or U8 `[B, T, H, W, C]` as decoders write it, which becomes `(x/255 − mean[c])/std[c]`. Without time
//! (`[B, C, H, W]`, U8 `[B, H, W, C]`) T is 1. Row r of y `[R, C·tubelet·patch_h·patch_w]` is token `rows[r]`, counted over the batch
//! `b·N + (t·gh + i)·gw + j`; all tokens in order where no rows are given. Columns are in the order of a convolution's weight:
//! `((c·tubelet + dt)·patch_h + di)·patch_w + dj`. What does not fill a patch at the end of an axis is dropped. Backward is for float x.

use super::check;
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    backend,
    dtype::DType,
    error::{Error, Result},
    tensor::Tensor,
};

#[derive(Clone, Debug)]
pub struct Patchify {
    /// `[tubelet, patch_h, patch_w]`.
    pub patch: [usize; 3],
    /// Per channel, for U8: 0 and 1 where empty.
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
    pub out: DType,
}

/// See the module. `mean` and `std` (of pixels in 0..1) are for U8 only; empty, they are 0 and 1.
pub fn patchify(
    x: &Var,
    patch: [usize; 3],
    rows: Option<&Tensor>,
    mean: &[f64],
    std: &[f64],
    out: DType,
) -> Result<Var> {
    let op = Patchify { patch, mean: mean.to_vec(), std: std.to_vec(), out };
    match rows {
        None => apply1(op, &[x]),
        Some(rows) => apply1(op, &[x, &Var::constant(rows.clone())]),
    }
}

impl Patchify {
    /// What the kernels are given; `y` is as it should be, but not yet written.
    fn descriptor(&self, x: &Tensor, rows: Option<&Tensor>) -> Result<backend::Patchify> {
        let name = "patchify";
        let bytes = x.dtype == DType::U8;
        let size = match (bytes, &x.shape[..]) {
            (false, &[b, c, t, h, w]) | (true, &[b, t, h, w, c]) => [b, c, t, h, w],
            (false, &[b, c, h, w]) | (true, &[b, h, w, c]) => [b, c, 1, h, w],
            (false, _) => {
                return Err(Error::shape(name, format!("the input is {:?}, but [B, C, T, H, W] is needed", x.shape)));
            }
            (true, _) => {
                return Err(Error::shape(name, format!("the input is {:?}, but [B, T, H, W, C] is needed", x.shape)));
            }
        };
        let [b, c, ..] = size;
        let grid =
            [size[2], size[3], size[4]].iter().zip(self.patch).map(|(n, p)| n.checked_div(p)).collect::<Vec<_>>();
        let tokens = match grid[..] {
            [Some(t), Some(h), Some(w)] if t * h * w > 0 => t * h * w,
            _ => {
                let message =
                    format!("patches of {:?} (time, height, width) do not fit into {:?}", self.patch, &size[2..]);
                return Err(Error::shape(name, message));
            }
        };
        if !self.out.is_float() {
            return Err(Error::dtype(name, format!("the output cannot be {}", self.out)));
        }
        let (mut mean, mut std) = (self.mean.clone(), self.std.clone());
        if bytes {
            if mean.is_empty() && std.is_empty() {
                (mean, std) = (vec![0.0; c], vec![1.0; c]);
            }
            if mean.len() != c || std.len() != c {
                let message = format!("{c} channels, but {} means and {} standard deviations", mean.len(), std.len());
                return Err(Error::shape(name, message));
            }
            if let Some(bad) = std.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
                return Err(Error::argument(name, format!("a standard deviation is {bad}")));
            }
            mean.iter().try_for_each(|m| check::finite(name, "a mean", *m))?;
        } else {
            check::float(name, "the input", x)?;
            check::precision(name, &[("the input", x.dtype), ("the output", self.out)])?;
            if !(mean.is_empty() && std.is_empty()) {
                return Err(Error::argument(name, "mean and std are for uint8 pixels")
                    .hint("normalise a float input beforehand"));
            }
        }
        let count = match rows {
            None => b * tokens,
            Some(rows) => {
                check::indices(name, "rows", rows, rows.len())?;
                rows.len()
            }
        };
        let columns = c * self.patch.iter().product::<usize>();
        let y = Tensor::empty(x.device(), &[count, columns], self.out);
        Ok(backend::Patchify { x: x.clone(), size, patch: self.patch, rows: rows.cloned(), mean, std, y })
    }
}

impl Op for Patchify {
    fn name(&self) -> &'static str {
        "patchify"
    }

    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>> {
        let d = self.descriptor(&inputs[0], inputs.get(1))?;
        inputs.iter().for_each(|t| saved.push(t));
        let y = d.y.clone();
        y.device().submit("patchify", move |b| b.patchify(&d));
        Ok(vec![y])
    }

    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        let d = backend::Patchify { y: grads.dy(), ..self.descriptor(&saved[0], saved.get(1))? };
        let dx = saved[0].empty_like();
        let out = dx.clone();
        dx.device().submit("patchify", move |b| b.patchify_grad(&d, &out));
        grads.give(0, dx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{close, cpu, fault, from_f64, from_i32, gradient_check, random, to_f64};

    fn pixels(shape: &[usize]) -> Var {
        let bytes = (0..shape.iter().product::<usize>()).map(|i| (i * 7 % 256) as u8).collect();
        Var::constant(Tensor::from_bytes(&cpu(), shape, DType::U8, bytes).unwrap())
    }

    #[test]
    fn order_of_rows_and_columns() {
        // One channel, two frames of 2 × 5: tubelets of 2 × 1 × 2 leave out the last column.
        let values: Vec<f64> = (0..20).map(f64::from).collect();
        let x = Var::constant(from_f64(&[1, 1, 2, 2, 5], &values));
        let y = patchify(&x, [2, 1, 2], None, &[], &[], DType::F64).unwrap();
        assert_eq!(y.tensor.shape, [4, 4]);
        let expected = [0, 1, 10, 11, 2, 3, 12, 13, 5, 6, 15, 16, 7, 8, 17, 18];
        assert_eq!(to_f64(&y.tensor), expected.map(f64::from));
        let y = patchify(&x, [2, 1, 2], Some(&from_i32(&[3, 0, 3])), &[], &[], DType::F64).unwrap();
        assert_eq!(to_f64(&y.tensor), [7, 8, 17, 18, 0, 1, 10, 11, 7, 8, 17, 18].map(f64::from));
    }

    /// Bytes with channels last give what floats with channels first do, once normalised.
    #[test]
    fn pixels_are_normalised() {
        let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let x = pixels(&[2, 4, 5, 6, 3]);
        let bytes = to_f64(&x.tensor);
        let mut planes = vec![0.0; bytes.len()];
        for (i, v) in bytes.iter().enumerate() {
            let (c, at, b) = (i % 3, i / 3 % 120, i / 360);
            planes[(b * 3 + c) * 120 + at] = (v / 255.0 - mean[c]) / std[c];
        }
        let planes = Var::constant(from_f64(&[2, 3, 4, 5, 6], &planes));
        let rows = from_i32(&[9, 0, 4, 22]);
        for (out, bound) in [(DType::F32, 1e-6), (DType::BF16, 2e-2)] {
            let got = patchify(&x, [2, 2, 2], Some(&rows), &mean, &std, out).unwrap();
            let expected = patchify(&planes, [2, 2, 2], Some(&rows), &[], &[], DType::F64).unwrap();
            assert_eq!((got.tensor.dtype, &got.tensor.shape[..]), (out, &[4, 24][..]));
            close(&got.tensor, &to_f64(&expected.tensor), bound);
        }
        let picture = patchify(&pixels(&[1, 4, 4, 1]), [1, 4, 4], None, &[], &[], DType::F32).unwrap();
        close(&picture.tensor, &(0..16).map(|i| f64::from(i * 7) / 255.0).collect::<Vec<_>>(), 1e-6);
    }

    #[test]
    fn gradients() {
        let x = random(&[2, 2, 3, 5, 4], 1);
        gradient_check(std::slice::from_ref(&x), |v| patchify(&v[0], [2, 2, 3], None, &[], &[], DType::F64));
        for rows in [vec![3, 0], vec![1, 1, 2, 1], vec![]] {
            let rows = from_i32(&rows);
            gradient_check(std::slice::from_ref(&x), |v| patchify(&v[0], [2, 2, 3], Some(&rows), &[], &[], DType::F64));
        }
        gradient_check(&[random(&[1, 1, 1, 1], 2)], |v| patchify(&v[0], [1, 1, 1], None, &[], &[], DType::F64));
    }

    #[test]
    fn refusals() {
        let message = |r: Result<Var>| r.expect_err("it does not fit").message;
        let x = pixels(&[1, 2, 4, 4, 3]);
        assert_eq!(
            message(patchify(&x, [4, 2, 2], None, &[], &[], DType::F32)),
            "patchify: patches of [4, 2, 2] (time, height, width) do not fit into [2, 4, 4]"
        );
        assert_eq!(
            message(patchify(&x, [2, 2, 2], None, &[0.5], &[1.0], DType::F32)),
            "patchify: 3 channels, but 1 means and 1 standard deviations"
        );
        assert_eq!(
            message(patchify(&x, [2, 0, 2], None, &[], &[], DType::F32)),
            "patchify: patches of [2, 0, 2] (time, height, width) do not fit into [2, 4, 4]"
        );
        let x = Var::constant(random(&[3, 4, 4], 1));
        assert_eq!(
            message(patchify(&x, [1, 2, 2], None, &[], &[], DType::F64)),
            "patchify: the input is [3, 4, 4], but [B, C, T, H, W] is needed"
        );
        for bad in [-1, 4] {
            fault("patchify: ", || {
                patchify(&pixels(&[1, 2, 4, 4, 3]), [2, 2, 2], Some(&from_i32(&[0, bad])), &[], &[], DType::F32)
            });
        }
    }
}
