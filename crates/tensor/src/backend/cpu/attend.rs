//! Attention: from the trait's descriptors to the kernel's.

use super::{
    attention::{self, Target, attention_backward, attention_forward},
    element::{Input, Output, offsets},
    gemm::Operand,
    isa::Isa,
};
use crate::{
    backend::{Attention, AttentionGrad, Columns},
    error::{Code, Error, Result},
    tensor::Tensor,
};

fn operand(c: &Columns) -> Result<Operand> {
    let dtype = c.tensor.dtype;
    let ptr = Input::new(&c.tensor)?.ptr().wrapping_add(c.column * dtype.size());
    Ok(Operand { ptr, dtype, ld: c.stride })
}

fn target(t: &Tensor, column: usize, ld: usize) -> Result<Target> {
    let ptr = Output::new(t)?.ptr().wrapping_add(column * t.dtype.size());
    Ok(Target { ptr, dtype: t.dtype, ld })
}

/// The kernel's view; `out` and `lse` are allocated if they are yet to be written.
fn kernel(d: &Attention) -> Result<attention::Attention> {
    let tokens = |c: &Columns| c.tensor.len() / c.stride.max(1);
    let q_offsets = offsets(&d.q_offsets, tokens(&d.q), "offsets of queries")?;
    let kv_offsets = offsets(&d.kv_offsets, tokens(&d.k), "offsets of keys")?;
    if d.scale.is_nan() || d.scale < 0.0 {
        return Err(Error::new(Code::Argument, format!("the scale is {}, but it must not be negative", d.scale)));
    }
    Ok(attention::Attention {
        heads: d.heads,
        head_dim: d.head_dim,
        scale: d.scale,
        seqs: d.sequences,
        q_offsets: q_offsets.as_ptr(),
        kv_offsets: kv_offsets.as_ptr(),
        q: operand(&d.q)?,
        k: operand(&d.k)?,
        v: operand(&d.v)?,
        compute: d.q.tensor.dtype,
        out: target(&d.out, 0, d.heads * d.head_dim)?,
        lse: Output::new(&d.lse)?.ptr(),
    })
}

pub fn attention(d: &Attention) -> Result<()> {
    let x = kernel(d)?;
    // Shapes and types have been checked by the operation, the offsets here.
    unsafe { attention_forward(Isa::current(), &x) };
    Ok(())
}

pub fn attention_grad(d: &AttentionGrad) -> Result<()> {
    let grad = |c: &Columns| target(&c.tensor, c.column, c.stride);
    for written in [&d.forward.out, &d.forward.lse] {
        Input::new(written)?;
    }
    let x = attention::AttentionGrad {
        forward: kernel(&d.forward)?,
        dout: Operand {
            ptr: Input::new(&d.dout)?.ptr(),
            dtype: d.dout.dtype,
            ld: d.forward.heads * d.forward.head_dim,
        },
        dq: grad(&d.dq)?,
        dk: grad(&d.dk)?,
        dv: grad(&d.dv)?,
    };
    // As above; gradients are columns of tensors of their own.
    unsafe { attention_backward(Isa::current(), &x) };
    Ok(())
}
