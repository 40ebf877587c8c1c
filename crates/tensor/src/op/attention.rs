//! Scaled dot-product attention within sequences of packed tokens: `out = softmax(scale · q·kᵀ)·v`, head by head.
//!
//! Self-attention takes qkv `[M, 3D]` (q, k, v side by side) and offsets `[S+1]`: tokens `offsets[s] .. offsets[s+1]` see each other.
//! Cross-attention takes q `[Mq, D]`, kv `[M, 2D]` and offsets of both. `D = heads·head_dim`, head_dim from 1 to 128; out is `[Mq, D]`
//! in the type of q; scores, softmax and sums are in f32 (f64 for float64). Offsets rise from 0 to the number of tokens; a sequence
//! may be empty, and a query without keys gives 0. Backward from the log-sum-exp (Dao et al., arXiv 2205.14135).

use super::check;
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    backend::{self, AttentionGrad, Columns},
    error::{Error, Result},
    tensor::Tensor,
};

/// The widest head that kernels take.
pub const MAX_HEAD_DIM: usize = 128;

#[derive(Clone, Copy, Debug)]
pub struct Attention {
    pub heads: usize,
    pub scale: Option<f64>,
    /// q on its own, and k and v beside each other, rather than all three.
    cross: bool,
}

/// Self-attention over qkv `[M, 3D]`. The scale is `head_dim^-1/2` where none is given. See the module.
pub fn attention(qkv: &Var, offsets: &Tensor, heads: usize, scale: Option<f64>) -> Result<Var> {
    apply1(Attention { heads, scale, cross: false }, &[qkv, &Var::constant(offsets.clone())])
}

/// Attention of q `[Mq, D]` to kv `[M, 2D]`. See the module.
pub fn cross_attention(
    q: &Var,
    kv: &Var,
    q_offsets: &Tensor,
    kv_offsets: &Tensor,
    heads: usize,
    scale: Option<f64>,
) -> Result<Var> {
    let inputs = [q, kv, &Var::constant(q_offsets.clone()), &Var::constant(kv_offsets.clone())];
    apply1(Attention { heads, scale, cross: true }, &inputs)
}

impl Attention {
    /// What the kernels are given, but for `out` and `lse`, of which the shapes and types are right.
    fn descriptor(&self, inputs: &[Tensor]) -> Result<backend::Attention> {
        let name = self.name();
        let (q, kv) = if self.cross { (&inputs[0], &inputs[1]) } else { (&inputs[0], &inputs[0]) };
        let (q_offsets, kv_offsets) = if self.cross { (&inputs[2], &inputs[3]) } else { (&inputs[1], &inputs[1]) };
        let what = if self.cross { "q" } else { "qkv" };
        check::float(name, what, q)?;
        let [rows, columns] = check::matrix(name, what, q)?;
        let [_, kv_columns] = check::matrix(name, "kv", kv)?;
        if !self.cross && columns % 3 != 0 {
            return Err(Error::shape(name, format!("qkv is {:?}, but its columns are not three of a kind", q.shape)));
        }
        let dim = if self.cross { columns } else { columns / 3 };
        if self.cross && kv_columns != 2 * dim {
            let message = format!("q is {:?} but kv {:?} (expected [M, {}])", q.shape, kv.shape, 2 * dim);
            return Err(Error::shape(name, message));
        }
        check::dtype(name, "kv", kv, q.dtype)?;
        if self.heads == 0 || dim == 0 || !dim.is_multiple_of(self.heads) {
            return Err(Error::shape(name, format!("{dim} columns do not divide into {} heads", self.heads)));
        }
        let head_dim = dim / self.heads;
        if head_dim > MAX_HEAD_DIM {
            let message =
                format!("{dim} columns in {} heads are {head_dim} a head, more than {MAX_HEAD_DIM}", self.heads);
            return Err(Error::shape(name, message).hint("use more heads"));
        }
        let sequences = check::offsets(name, if self.cross { "q's offsets" } else { "offsets" }, q_offsets)?;
        if check::offsets(name, "kv's offsets", kv_offsets)? != sequences {
            let message =
                format!("q's offsets are {:?} but kv's {:?} (sequences differ)", q_offsets.shape, kv_offsets.shape);
            return Err(Error::shape(name, message));
        }
        let scale = self.scale.unwrap_or_else(|| (head_dim as f64).powf(-0.5));
        if !(scale >= 0.0 && scale.is_finite()) {
            return Err(Error::argument(name, format!("the scale is {scale}, but must not be negative")));
        }
        let side = |tensor: &Tensor, column, stride| Columns { tensor: tensor.clone(), column, stride };
        let [k, v] = if self.cross { [0, dim] } else { [dim, 2 * dim] };
        Ok(backend::Attention {
            heads: self.heads,
            head_dim,
            scale,
            sequences,
            q_offsets: q_offsets.clone(),
            kv_offsets: kv_offsets.clone(),
            q: side(q, 0, columns),
            k: side(kv, k, kv_columns),
            v: side(kv, v, kv_columns),
            out: Tensor::empty(q.device(), &[rows, dim], q.dtype),
            lse: Tensor::empty(q.device(), &[self.heads, rows], check::statistics(q.dtype)),
        })
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        if self.cross { "crossAttention" } else { "attention" }
    }

    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>> {
        let d = self.descriptor(inputs)?;
        inputs.iter().for_each(|t| saved.push(t));
        saved.push(&d.out);
        saved.push(&d.lse);
        let y = d.out.clone();
        y.device().submit(self.name(), move |b| b.attention(&d));
        Ok(vec![y])
    }

    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        let [inputs @ .., out, lse] = saved else { unreachable!("forward keeps them") };
        let forward = backend::Attention { out: out.clone(), lse: lse.clone(), ..self.descriptor(inputs)? };
        let dout = grads.dy();
        // The kernel makes all three at once; where one input is a constant, its share is thrown away.
        let dq = inputs[0].empty_like();
        let dkv = if self.cross { inputs[1].empty_like() } else { dq.clone() };
        let like = |c: &Columns, tensor: &Tensor| Columns { tensor: tensor.clone(), ..*c };
        let d = AttentionGrad {
            dq: like(&forward.q, &dq),
            dk: like(&forward.k, &dkv),
            dv: like(&forward.v, &dkv),
            dout,
            forward,
        };
        out.device().submit(self.name(), move |b| b.attention_grad(&d));
        if self.cross && grads.needs(1) {
            grads.give(1, dkv)?;
        }
        grads.give(0, dq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        op::testing::{cpu, fault, from_f64, from_i32, gradient_check, random, to_f64},
    };

    #[test]
    fn two_tokens_by_hand() {
        // One head of one column: q = (1, 0), k = (1, 2), v = (10, 20), scale 1.
        let qkv = Var::constant(from_f64(&[2, 3], &[1.0, 1.0, 10.0, 0.0, 2.0, 20.0]));
        let y = attention(&qkv, &from_i32(&[0, 2]), 1, Some(1.0)).unwrap();
        let weight = 1.0 / (1.0 + 1f64.exp());
        let got = to_f64(&y.tensor);
        assert!((got[0] - (10.0 * weight + 20.0 * (1.0 - weight))).abs() < 1e-12 && (got[1] - 15.0).abs() < 1e-12);
        // Each on its own sees only itself.
        let y = attention(&qkv, &from_i32(&[0, 1, 2]), 1, None).unwrap();
        assert_eq!(to_f64(&y.tensor), [10.0, 20.0]);
    }

    #[test]
    fn queries_without_keys_give_zero() {
        let (q, kv) = (Var::constant(random(&[3, 4], 1)), Var::constant(random(&[2, 8], 2)));
        let y = cross_attention(&q, &kv, &from_i32(&[0, 2, 3]), &from_i32(&[0, 0, 2]), 2, None).unwrap();
        let y = to_f64(&y.tensor);
        assert!(y[..8].iter().all(|&v| v == 0.0) && y[8..].iter().all(|&v| v != 0.0), "{y:?}");
    }

    #[test]
    fn gradients() {
        for (offsets, heads, head_dim) in [
            (vec![0, 1], 1, 1),
            (vec![0, 3, 3, 8], 2, 5),
            (vec![0, 7], 3, 4),
            (vec![0, 2, 5], 1, 33),
            (vec![0, 0], 2, 3),
        ] {
            let m = *offsets.last().unwrap() as usize;
            let offsets = from_i32(&offsets);
            gradient_check(&[random(&[m, 3 * heads * head_dim], 1)], |v| attention(&v[0], &offsets, heads, None));
        }
    }

    #[test]
    fn cross_gradients() {
        for (q, kv, heads, head_dim) in [
            (vec![0, 1], vec![0, 1], 1, 1),
            (vec![0, 2, 2, 5], vec![0, 3, 4, 4], 2, 3),
            (vec![0, 0, 1, 2], vec![0, 3, 5, 9], 3, 5),
        ] {
            let rows = |o: &[i32]| *o.last().unwrap() as usize;
            let dim = heads * head_dim;
            let inputs = [random(&[rows(&q), dim], 1), random(&[rows(&kv), 2 * dim], 2)];
            let (q, kv) = (from_i32(&q), from_i32(&kv));
            gradient_check(&inputs, |v| cross_attention(&v[0], &v[1], &q, &kv, heads, Some(0.7)));
            let constant = Var::constant(inputs[1].clone());
            gradient_check(&inputs[..1], |v| cross_attention(&v[0], &constant, &q, &kv, heads, None));
        }
    }

    #[test]
    fn refusals() {
        let device = cpu();
        let zeros = |shape: &[usize]| Var::constant(Tensor::zeros(&device, shape, DType::F32));
        let message = |r: Result<Var>| r.expect_err("it does not fit").message;
        let offsets = from_i32(&[0, 2]);
        assert_eq!(
            message(attention(&zeros(&[2, 8]), &offsets, 2, None)),
            "attention: qkv is [2, 8], but its columns are not three of a kind"
        );
        assert_eq!(
            message(attention(&zeros(&[2, 9]), &offsets, 2, None)),
            "attention: 3 columns do not divide into 2 heads"
        );
        assert_eq!(
            message(attention(&zeros(&[2, 3 * 129]), &offsets, 1, None)),
            "attention: 129 columns in 1 heads are 129 a head, more than 128"
        );
        assert_eq!(
            message(cross_attention(&zeros(&[2, 4]), &zeros(&[2, 9]), &offsets, &offsets, 2, None)),
            "crossAttention: q is [2, 4] but kv [2, 9] (expected [M, 8])"
        );
        assert_eq!(
            message(cross_attention(&zeros(&[2, 4]), &zeros(&[2, 8]), &offsets, &from_i32(&[0, 1, 2]), 2, None)),
            "crossAttention: q's offsets are [2] but kv's [3] (sequences differ)"
        );
    }

    #[test]
    fn refuses_scales_that_are_none() {
        let qkv = Var::constant(random(&[2, 3], 1));
        for scale in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(attention(&qkv, &from_i32(&[0, 2]), 1, Some(scale)).is_err());
        }
    }

    #[test]
    fn bad_offsets_are_faults() {
        for bad in [vec![0, 5], vec![0, 3, 2, 4], vec![-1, 4], vec![1, 4], vec![0, 3]] {
            fault("attention: ", || attention(&Var::constant(random(&[4, 3], 1)), &from_i32(&bad), 1, None));
        }
        fault("crossAttention: ", || {
            let (q, kv) = (Var::constant(random(&[4, 3], 1)), Var::constant(random(&[2, 6], 1)));
            cross_attention(&q, &kv, &from_i32(&[0, 4]), &from_i32(&[0, 3]), 1, None)
        });
    }
}
