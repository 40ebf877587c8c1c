//! The CPU: kernels compiled for each instruction set, on threads of their own.
//!
//! One family of kernels a file. Results do not depend on the number of threads: a task's work, and the order in which partial sums
//! are joined, follow from shapes alone.

mod adamw;
mod assemble;
mod attend;
mod attention;
mod broadcast;
mod cast;
mod copy_block;
mod cross_entropy;
mod element;
mod epps_pulley;
mod gemm;
pub mod isa;
mod lanes;
mod layer_norm;
mod lp_loss;
mod memory;
mod norm;
mod parallel;
mod patchify;
mod permute;
pub mod pool;
mod product;
mod random;
mod reduce;
mod rotary;
mod scratch;
mod segment_std;
mod shared;
mod sin_cos;
mod softmax;
#[cfg(test)]
mod testing;
mod unary;
mod vmath;

use crate::{
    backend::{
        AdamW, Assemble, Attention, AttentionGrad, Backend, BinaryCrossEntropy, Broadcast, CopyBlock, Counters,
        CrossEntropy, Distribution, EppsPulley, EppsPulleyGrad, Gemm, LayerNorm, LayerNormGrad, LpLoss, LpLossGrad,
        Patchify, Reduce, Rotary, ScatterAdd, SegmentStd, Unary,
    },
    device::Device,
    error::{Code, Error, Result},
    tensor::{Allocation, Tensor},
};
use isa::Isa;
use std::sync::Arc;

/// The processor this runs on.
pub struct Cpu {
    isa: Isa,
    memory: memory::Arena,
}

impl Cpu {
    /// # Errors
    /// `AVJ_ARGUMENT` when `AVJEPA_THREADS` or `AVJEPA_ISA` says what cannot be.
    pub fn new() -> Result<Cpu> {
        let setting =
            |message: String| Error::new(Code::Argument, message).hint("correct the environment variable, or unset it");
        pool::configured_threads().map_err(setting)?;
        Ok(Cpu { isa: Isa::detect().map_err(setting)?, memory: memory::Arena::default() })
    }
}

/// A device named `cpu`.
///
/// # Panics
/// With the message of [`Cpu::new`]; use that, and [`Device::new`], where an error is wanted.
pub fn device() -> Arc<Device> {
    let cpu = Cpu::new().unwrap_or_else(|error| panic!("{error}"));
    Device::new("cpu", Box::new(cpu))
}

impl Backend for Cpu {
    fn describe(&self) -> String {
        let threads = pool::threads();
        format!("{}, {threads} thread{}", self.isa.name(), if threads == 1 { "" } else { "s" })
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn alloc(&self, bytes: usize) -> Result<Box<dyn Allocation>> {
        Ok(Box::new(self.memory.alloc(bytes)?))
    }

    fn write(&self, dst: &Tensor, bytes: &[u8]) -> Result<()> {
        assert_eq!(bytes.len(), dst.bytes());
        // As long as the output, by the assertion.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), element::output_bytes(dst)?, bytes.len()) };
        Ok(())
    }

    fn read(&self, src: &Tensor, bytes: &mut [u8]) -> Result<()> {
        bytes.copy_from_slice(element::bytes(src)?);
        Ok(())
    }

    fn read_all(&self, sources: &[Tensor], bytes: &mut [Vec<u8>]) -> Result<()> {
        sources.iter().zip(bytes).try_for_each(|(src, bytes)| self.read(src, bytes))
    }

    /// Kernels return when they are done.
    fn finish(&self) -> Result<()> {
        Ok(())
    }

    fn fill(&self, y: &Tensor, value: f64) -> Result<()> {
        cast::fill(y, value)
    }

    fn cast(&self, x: &Tensor, y: &Tensor) -> Result<()> {
        cast::cast(x, y)
    }

    fn unary(&self, op: Unary, x: &Tensor, y: &Tensor) -> Result<()> {
        unary::unary(op, x, y)
    }

    fn broadcast(&self, d: &Broadcast) -> Result<()> {
        broadcast::broadcast(d)
    }

    fn reduce(&self, d: &Reduce) -> Result<()> {
        reduce::reduce(d)
    }

    fn permute(&self, x: &Tensor, axes: &[usize], y: &Tensor) -> Result<()> {
        permute::permute(x, axes, y)
    }

    fn copy_block(&self, d: &CopyBlock) -> Result<()> {
        copy_block::copy_block(d)
    }

    fn softmax(&self, x: &Tensor, y: &Tensor) -> Result<()> {
        softmax::softmax(x, y)
    }

    fn softmax_grad(&self, y: &Tensor, dy: &Tensor, dx: &Tensor) -> Result<()> {
        softmax::softmax_grad(y, dy, dx)
    }

    fn gemm(&self, d: &Gemm) -> Result<()> {
        product::product(d)
    }

    fn attention(&self, d: &Attention) -> Result<()> {
        attend::attention(d)
    }

    fn attention_grad(&self, d: &AttentionGrad) -> Result<()> {
        attend::attention_grad(d)
    }

    fn layer_norm(&self, d: &LayerNorm) -> Result<()> {
        layer_norm::layer_norm(d)
    }

    fn layer_norm_grad(&self, d: &LayerNormGrad) -> Result<()> {
        layer_norm::layer_norm_grad(d)
    }

    fn patchify(&self, d: &Patchify) -> Result<()> {
        patchify::patchify(d)
    }

    fn patchify_grad(&self, d: &Patchify, dx: &Tensor) -> Result<()> {
        patchify::patchify_grad(d, dx)
    }

    fn assemble(&self, d: &Assemble) -> Result<()> {
        assemble::assemble(d)
    }

    fn scatter_add(&self, d: &ScatterAdd) -> Result<()> {
        assemble::scatter_add(d)
    }

    fn lp_loss(&self, d: &LpLoss) -> Result<()> {
        lp_loss::lp_loss(d)
    }

    fn lp_loss_grad(&self, d: &LpLossGrad) -> Result<()> {
        lp_loss::lp_loss_grad(d)
    }

    fn segment_std(&self, d: &SegmentStd) -> Result<()> {
        segment_std::segment_std(d)
    }

    fn segment_std_grad(&self, d: &SegmentStd, dy: &Tensor, dx: &Tensor, accumulate: bool) -> Result<()> {
        segment_std::segment_std_grad(d, dy, dx, accumulate)
    }

    fn cross_entropy(&self, d: &CrossEntropy) -> Result<()> {
        cross_entropy::cross_entropy(d)
    }

    fn cross_entropy_grad(&self, d: &CrossEntropy, dy: &Tensor, dx: &Tensor, accumulate: bool) -> Result<()> {
        cross_entropy::cross_entropy_grad(d, dy, dx, accumulate)
    }

    fn binary_cross_entropy(&self, d: &BinaryCrossEntropy) -> Result<()> {
        cross_entropy::binary_cross_entropy(d)
    }

    fn binary_cross_entropy_grad(
        &self,
        d: &BinaryCrossEntropy,
        dy: &Tensor,
        dx: &Tensor,
        accumulate: bool,
    ) -> Result<()> {
        cross_entropy::binary_cross_entropy_grad(d, dy, dx, accumulate)
    }

    fn epps_pulley(&self, d: &EppsPulley) -> Result<()> {
        epps_pulley::epps_pulley(d)
    }

    fn epps_pulley_grad(&self, d: &EppsPulleyGrad) -> Result<()> {
        epps_pulley::epps_pulley_grad(d)
    }

    fn rotary(&self, d: &Rotary) -> Result<()> {
        rotary::rotary(d)
    }

    fn norm(&self, chunks: &[Tensor], y: &Tensor) -> Result<()> {
        norm::norm(chunks, y)
    }

    fn adamw(&self, d: &AdamW) -> Result<()> {
        adamw::adamw(d)
    }

    fn random(&self, y: &Tensor, distribution: Distribution, seed: u64, counter: u64) -> Result<()> {
        random::random(y, distribution, seed, counter)
    }
}
