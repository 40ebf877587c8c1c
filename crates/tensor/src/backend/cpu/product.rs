//! Matrix products: from the trait's descriptor to the kernel's.

use super::{
    element::{Input, Output},
    gemm::{self, Operand},
    isa::Isa,
};
use crate::{
    backend::{Epilogue, Gemm, Layout},
    error::Result,
    tensor::Tensor,
};

fn operand(t: &Tensor, ld: usize) -> Result<Operand> {
    Ok(Operand { ptr: Input::new(t)?.ptr(), dtype: t.dtype, ld })
}

pub fn product(d: &Gemm) -> Result<()> {
    let (m, n, k) = (d.m, d.n, d.k);
    let (layout, lda, ldb) = match d.layout {
        Layout::NT => (gemm::Layout::NT, k, k),
        Layout::NN => (gemm::Layout::NN, k, n),
        Layout::TN => (gemm::Layout::TN, m, n),
    };
    let bias = d.bias.as_ref().map(|b| Ok((Input::new(b)?.ptr(), b.dtype))).transpose()?;
    let epilogue = match &d.epilogue {
        Epilogue::None => gemm::Epilogue::None,
        Epilogue::Gelu { pre } => gemm::Epilogue::Gelu { pre: Output::new(pre)?.ptr(), dtype: pre.dtype, ld: n },
        Epilogue::GeluGrad { pre } => gemm::Epilogue::GeluGrad(operand(pre, n)?),
        Epilogue::Residual { residual } => gemm::Epilogue::Residual(operand(residual, n)?),
    };
    let g = gemm::Gemm {
        layout,
        m,
        n,
        k,
        a: operand(&d.a, lda)?,
        b: operand(&d.b, ldb)?,
        c: Output::add_to(&d.c, d.accumulate)?.ptr(),
        c_dtype: d.c.dtype,
        ldc: n,
        compute: d.compute,
        alpha: 1.0,
        bias,
        epilogue,
        accumulate: d.accumulate,
    };
    // Shapes and types have been checked against the tensors' by the operations.
    unsafe {
        match d.batch {
            1 => gemm::gemm(Isa::current(), &g),
            batch => gemm::gemm_batched(Isa::current(), &g, batch, m * k, n * k, m * n),
        }
    }
    Ok(())
}
