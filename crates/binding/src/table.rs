//! Every operation by name: one line each, from numbers to the engine's function and back.

use crate::{
    handles,
    wire::{Args, Reply},
};
use avjepa_tensor::{
    Code, Error, Result, Tensor, Var,
    autograd::{self, backward},
    backend::{AdamW, Binary, Distribution, Reduction, Unary},
    op,
};

type Run = fn(&mut Args) -> Result<Reply>;

/// The order is the operations' numbers; TypeScript asks for the names when it starts.
pub const OPS: &[(&str, Run)] = &[
    // Handles and memory.
    ("free", |a| handles::free(a.f64()?).map(Reply::from)),
    ("handles", |_| Ok(Reply::Numbers(vec![handles::live() as f64]))),
    ("memory", |a| {
        let m = a.device()?.memory();
        Ok(Reply::Numbers(vec![m.bytes as f64, m.peak_bytes as f64, m.buffers as f64]))
    }),
    ("resetPeak", |a| {
        a.device()?.reset_peak();
        Ok(().into())
    }),
    ("full", |a| Ok(Tensor::full(&a.device()?, &a.usizes()?, a.dtype()?, a.f64()?).into())),
    ("random", |a| {
        let (device, shape, dtype, kind) = (a.device()?, a.usizes()?, a.dtype()?, a.usize()?);
        let p = [a.f64()?, a.f64()?, a.f64()?, a.f64()?];
        let distribution = match kind {
            0 => Distribution::Uniform { low: p[0], high: p[1] },
            1 => Distribution::Normal { mean: p[0], std: p[1] },
            2 => Distribution::TruncatedNormal { mean: p[0], std: p[1], low: p[2], high: p[3] },
            _ => return Err(Error::new(Code::Argument, format!("there is no distribution {kind}"))),
        };
        Ok(op::random(&device, &shape, dtype, distribution, a.u64()?, a.u64()?)?.into())
    }),
    ("view", |a| Ok(a.tensor()?.view(a.usize()?, &a.usizes()?)?.into())),
    // Gradients.
    ("requiresGrad", |a| Ok(Var::leaf(a.tensor()?, a.opt_tensor()?)?.into())),
    ("detach", |a| Ok(a.var()?.detach().into())),
    ("grad", |a| Ok(Reply::Vars(a.var()?.grad().into_iter().map(Var::constant).collect()))),
    ("setGrad", |a| Ok(a.var()?.set_grad(a.opt_tensor()?)?.into())),
    ("beginNoGrad", |_| {
        autograd::begin_no_grad();
        Ok(().into())
    }),
    ("endNoGrad", |_| {
        autograd::end_no_grad();
        Ok(().into())
    }),
    ("beginCheckpoint", |_| {
        autograd::begin_checkpoint();
        Ok(().into())
    }),
    ("endCheckpoint", |a| {
        let outputs = a.vars()?;
        Ok(Reply::Vars(autograd::end_checkpoint(Some(&outputs.iter().collect::<Vec<_>>()))?))
    }),
    ("abortCheckpoint", |_| autograd::end_checkpoint(None).map(|_| ().into())),
    ("backward", |a| {
        let root = a.var()?;
        let gradient = match a.opt_tensor()? {
            Some(g) => g,
            None if root.tensor.len() == 1 => {
                Tensor::full(root.tensor.device(), &root.tensor.shape, root.tensor.dtype, 1.0)
            }
            None => {
                return Err(Error::shape("backward", format!("the tensor is {:?}, not one number", root.tensor.shape))
                    .hint("reduce it to a scalar, or give the gradient to start from"));
            }
        };
        Ok(backward(&[(root, gradient)])?.into())
    }),
    // Between processes.
    ("broadcast_", crate::comm::broadcast),
    ("allGather_", crate::comm::all_gather),
    ("backwardSummed", crate::comm::backward),
    // Fused operations.
    ("linear", |a| {
        let (x, w, b, r) = (a.var()?, a.var()?, a.opt_var()?, a.opt_var()?);
        Ok(op::linear(&x, &w, b.as_ref(), r.as_ref(), a.bool()?, a.dtype()?)?.into())
    }),
    ("mlp", |a| {
        let (x, w1, b1, w2, b2, r) = (a.var()?, a.var()?, a.opt_var()?, a.var()?, a.opt_var()?, a.opt_var()?);
        Ok(op::mlp(&x, &w1, b1.as_ref(), &w2, b2.as_ref(), r.as_ref(), a.dtype()?)?.into())
    }),
    ("attention", |a| Ok(op::attention(&a.var()?, &a.tensor()?, a.usize()?, a.opt_f64()?)?.into())),
    ("crossAttention", |a| {
        Ok(op::cross_attention(&a.var()?, &a.var()?, &a.tensor()?, &a.tensor()?, a.usize()?, a.opt_f64()?)?.into())
    }),
    ("layerNorm", |a| {
        let (x, w, b) = (a.var()?, a.opt_var()?, a.opt_var()?);
        Ok(op::layer_norm(&x, w.as_ref(), b.as_ref(), a.f64()?, a.dtype()?)?.into())
    }),
    ("patchify", |a| {
        let (x, patch, rows) = (a.var()?, [a.usize()?, a.usize()?, a.usize()?], a.opt_tensor()?);
        Ok(op::patchify(&x, patch, rows.as_ref(), &a.f64s()?, &a.f64s()?, a.dtype()?)?.into())
    }),
    ("assemble", |a| {
        let (sources, rows, table, positions) = (a.vars()?, a.tensor()?, a.opt_var()?, a.opt_tensor()?);
        let table = table.as_ref().zip(positions.as_ref());
        Ok(op::assemble(&sources.iter().collect::<Vec<_>>(), &rows, table, a.dtype()?)?.into())
    }),
    ("indexSelect", |a| Ok(op::index_select(&a.var()?, &a.tensor()?)?.into())),
    ("lpLoss", |a| Ok(op::lp_loss(&a.var()?, &a.var()?, &a.tensor()?, a.f64()?, a.opt_f64()?)?.into())),
    ("segmentStd", |a| Ok(op::segment_std(&a.var()?, &a.tensor()?, a.f64()?)?.into())),
    ("crossEntropy", |a| Ok(op::cross_entropy(&a.var()?, &a.tensor()?, a.f64()?)?.into())),
    ("binaryCrossEntropy", |a| Ok(op::binary_cross_entropy(&a.var()?, &a.tensor()?)?.into())),
    ("eppsPulley", |a| Ok(op::epps_pulley(&a.var()?, &a.f64s()?, &a.f64s()?)?.into())),
    ("rotary", |a| Ok(op::rotary(&a.var()?, a.usize()?, a.usize()?, a.usize()?, &a.tensor()?, &a.tensor()?)?.into())),
    // Generic operations.
    ("softmax", |a| Ok(op::softmax(&a.var()?)?.into())),
    ("neg", |a| unary(a, Unary::Neg)),
    ("abs", |a| unary(a, Unary::Abs)),
    ("exp", |a| unary(a, Unary::Exp)),
    ("log", |a| unary(a, Unary::Log)),
    ("sqrt", |a| unary(a, Unary::Sqrt)),
    ("rsqrt", |a| unary(a, Unary::Rsqrt)),
    ("square", |a| unary(a, Unary::Square)),
    ("reciprocal", |a| unary(a, Unary::Reciprocal)),
    ("sin", |a| unary(a, Unary::Sin)),
    ("cos", |a| unary(a, Unary::Cos)),
    ("tanh", |a| unary(a, Unary::Tanh)),
    ("sigmoid", |a| unary(a, Unary::Sigmoid)),
    ("relu", |a| unary(a, Unary::Relu)),
    ("gelu", |a| unary(a, Unary::Gelu)),
    ("erf", |a| unary(a, Unary::Erf)),
    ("sign", |a| unary(a, Unary::Sign)),
    ("isFinite", |a| unary(a, Unary::IsFinite)),
    ("affine", |a| {
        let x = a.var()?;
        Ok(op::unary(&x, Unary::Affine { scale: a.f64()?, shift: a.f64()? })?.into())
    }),
    ("powScalar", |a| {
        let x = a.var()?;
        Ok(op::unary(&x, Unary::Pow { exponent: a.f64()? })?.into())
    }),
    ("clamp", |a| {
        let x = a.var()?;
        Ok(op::unary(&x, Unary::Clamp { min: a.f64()?, max: a.f64()? })?.into())
    }),
    ("add", |a| binary(a, Binary::Add)),
    ("sub", |a| binary(a, Binary::Sub)),
    ("mul", |a| binary(a, Binary::Mul)),
    ("div", |a| binary(a, Binary::Div)),
    ("maximum", |a| binary(a, Binary::Max)),
    ("minimum", |a| binary(a, Binary::Min)),
    ("pow", |a| binary(a, Binary::Pow)),
    ("equal", |a| binary(a, Binary::Equal)),
    ("less", |a| binary(a, Binary::Less)),
    ("sum", |a| reduce(a, Reduction::Sum)),
    ("mean", |a| reduce(a, Reduction::Mean)),
    ("max", |a| reduce(a, Reduction::Max)),
    ("min", |a| reduce(a, Reduction::Min)),
    ("reshape", |a| Ok(op::reshape(&a.var()?, &a.i64s()?)?.into())),
    ("permute", |a| Ok(op::permute(&a.var()?, &a.i64s()?)?.into())),
    ("slice", |a| Ok(op::slice(&a.var()?, a.i64()?, a.i64()?, a.i64()?)?.into())),
    ("concat", |a| {
        let xs = a.vars()?;
        Ok(op::concat(&xs.iter().collect::<Vec<_>>(), a.i64()?)?.into())
    }),
    ("matmul", |a| Ok(op::matmul(&a.var()?, &a.var()?, a.bool()?, a.dtype()?)?.into())),
    ("cast", |a| Ok(op::cast(&a.var()?, a.dtype()?)?.into())),
    // In place, outside the graph.
    ("fill_", |a| Ok(op::fill_(&a.tensor()?, a.f64()?)?.into())),
    ("copy_", |a| Ok(op::copy_(&a.tensor()?, &a.tensor()?)?.into())),
    ("ema_", |a| Ok(op::ema_(&a.tensor()?, &a.tensor()?, a.f64()?)?.into())),
    ("norm", |a| Ok(op::norm(&a.list(Args::tensor)?)?.into())),
    ("adamw", |a| {
        let (param, grad, m, v, ema, shadow) =
            (a.tensor()?, a.tensor()?, a.tensor()?, a.tensor()?, a.opt_tensor()?, a.opt_tensor()?);
        let (norm, limit) = (a.opt_tensor()?, a.f64()?);
        let d = AdamW {
            param,
            grad,
            m,
            v,
            ema,
            shadow,
            clip: norm.map(|n| (n, limit)),
            lr: a.f64()?,
            weight_decay: a.f64()?,
            beta1: a.f64()?,
            beta2: a.f64()?,
            eps: a.f64()?,
            step: a.usize()? as u64,
            momentum: a.f64()?,
            zero_grad: a.bool()?,
        };
        Ok(op::adamw(d)?.into())
    }),
];

fn unary(a: &mut Args, op: Unary) -> Result<Reply> {
    Ok(op::unary(&a.var()?, op)?.into())
}

fn binary(a: &mut Args, op: Binary) -> Result<Reply> {
    Ok(op::binary(&a.var()?, &a.var()?, op)?.into())
}

fn reduce(a: &mut Args, op: Reduction) -> Result<Reply> {
    Ok(op::reduce(&a.var()?, &a.i64s()?, a.bool()?, op)?.into())
}
