//! Any GPU that speaks Vulkan, Metal or Direct3D 12, by kernels in WGSL.
//!
//! One family of kernels a file here, its text in `kernels/`. Commands are collected and submitted many at a time; the order of sums
//! follows from shapes alone, so results are the same on every run on one adapter. float64 does not exist here.

mod adapter;
mod assemble;
mod attention;
mod call;
mod elementwise;
mod faults;
mod gemm;
mod gpu;
mod indices;
mod layer_norm;
mod lp_loss;
mod memory;
mod optimizer;
mod patchify;
mod peak;
mod random;
mod reduce;
mod rotary;
mod rows;
mod source;
mod statistics;
mod stream;

pub use adapter::{AdapterFacts, adapters, facts};
pub use faults::Faults;
pub use peak::Peaks;

use crate::{
    backend::{
        AdamW, Assemble, Attention, AttentionGrad, Backend, BinaryCrossEntropy, Broadcast, CopyBlock, Counters,
        CrossEntropy, Distribution, EppsPulley, EppsPulleyGrad, Gemm, LayerNorm, LayerNormGrad, LpLoss, LpLossGrad,
        Patchify, Reduce, Rotary, ScatterAdd, SegmentStd, Unary,
    },
    device::Device,
    dtype::DType,
    error::Result,
    tensor::{Allocation, Tensor},
};
use adapter::Matrices;
use call::{Key, Pipeline};
use gpu::Gpu;
use memory::{Arena, Block, HOST_COPY, Host};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use stream::{Download, Stream};

/// One adapter.
pub struct Wgpu {
    gpu: Arc<Gpu>,
    memory: Arena,
    stream: Mutex<Stream>,
    pipelines: Mutex<HashMap<Key, Pipeline>>,
    /// What products use; none that multiply wrongly.
    matrices: Matrices,
    /// What kernels see of empty tensors.
    nothing: Block,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wgpu {
    /// Opens the adapter that `wgpu` or `wgpu:1` names.
    ///
    /// # Errors
    /// `AVJ_DEVICE` when it is not there or cannot be opened.
    pub fn open(name: &str, faults: Faults) -> Result<Wgpu> {
        let (_, adapter) = adapter::choose(name)?;
        let gpu = Arc::new(Gpu::open(name, &adapter, faults)?);
        let memory = Arena::new(gpu.clone());
        let nothing = memory.alloc(16)?;
        let stream = Mutex::new(Stream::new(&gpu)?);
        let matrices = Matrices::default();
        let mut wgpu = Wgpu { gpu, memory, stream, pipelines: Mutex::default(), matrices, nothing };
        wgpu.matrices = wgpu.proven_matrices()?;
        Ok(wgpu)
    }

    /// An integer tensor's values, from the host's copy where there is one: kernels' work is shared out by them.
    fn integers(&self, t: &Tensor) -> Result<Arc<Host>> {
        let block = self.block(t, false)?;
        if let Some(host) = block.host() {
            return Ok(host);
        }
        // All of the buffer, so that views find it too.
        let mut bytes = vec![0; block.len as usize];
        lock(&self.stream).download(vec![Download { block, at: 0, bytes: &mut bytes }])?;
        let host = Host::new(bytes);
        block.set_host(Some(host.clone()));
        Ok(host)
    }
}

/// A device named `name`: `wgpu`, or `wgpu:1` for another than the first piece of hardware.
///
/// # Errors
/// As [`Wgpu::open`]; `AVJ_ARGUMENT` when `AVJEPA_WGPU_FAULT` says what cannot be.
pub fn device(name: &str) -> Result<Arc<Device>> {
    let faults = Faults::parse(&std::env::var("AVJEPA_WGPU_FAULT").unwrap_or_default())?;
    Ok(Device::new(name, Box::new(Wgpu::open(name, faults)?)))
}

impl Backend for Wgpu {
    fn describe(&self) -> String {
        let info = &self.gpu.info;
        let (there, proven) = (self.gpu.matrices, self.matrices);
        let used = match (proven.f32, proven.f16) {
            _ if there == Matrices::default() => "",
            _ if there == proven => ", cooperative matrices",
            (None, None) => ", whose cooperative matrices fail a proof: products do without",
            (Some(_), _) => ", cooperative matrices in f32 only",
            (_, Some(_)) => ", cooperative matrices in f16 only",
        };
        format!("{}, {} ({} {}){used}", info.name, info.backend, info.driver, info.driver_info)
    }

    fn counters(&self) -> Counters {
        self.gpu.tally.read()
    }

    fn alloc(&self, bytes: usize) -> Result<Box<dyn Allocation>> {
        Ok(Box::new(self.memory.alloc(bytes as u64)?))
    }

    fn write(&self, dst: &Tensor, bytes: &[u8]) -> Result<()> {
        assert_eq!(bytes.len(), dst.bytes());
        if dst.dtype == DType::F64 {
            return Err(call::no_float64(&self.gpu.name));
        }
        let block = self.block(dst, true)?;
        let whole = dst.offset == 0 && block.len == bytes.len() as u64;
        let mut stream = lock(&self.stream);
        if dst.offset.is_multiple_of(4) && (whole || bytes.len().is_multiple_of(4)) {
            let even = bytes.len() / 4 * 4;
            stream.upload(block, dst.offset as u64, &bytes[..even])?;
            if even < bytes.len() {
                // The block is longer than its tensor.
                let mut last = bytes[even..].to_vec();
                last.resize(4, 0);
                stream.upload(block, (dst.offset + even) as u64, &last)?;
            }
        } else {
            // Parts of words belong to others.
            let staged = Tensor::empty(dst.device(), &dst.shape, dst.dtype);
            drop(stream);
            self.write(&staged, bytes)?;
            return self.convert(&staged, dst);
        }
        let small = dst.dtype == DType::I32 && bytes.len() <= HOST_COPY;
        block.set_host((whole && small).then(|| Host::new(bytes.to_vec())));
        Ok(())
    }

    fn read(&self, src: &Tensor, bytes: &mut [u8]) -> Result<()> {
        if src.is_empty() {
            return lock(&self.stream).finish();
        }
        let block = self.block(src, false)?;
        lock(&self.stream).download(vec![Download { block, at: src.offset as u64, bytes }])
    }

    fn read_all(&self, sources: &[Tensor], bytes: &mut [Vec<u8>]) -> Result<()> {
        let downloads = sources.iter().zip(bytes).filter(|(src, _)| !src.is_empty()).map(|(src, bytes)| {
            Ok(Download { block: self.block(src, false)?, at: src.offset as u64, bytes: &mut bytes[..] })
        });
        let downloads = downloads.collect::<Result<Vec<_>>>()?;
        match downloads.is_empty() {
            // Nothing to wait for but what failed before.
            true => lock(&self.stream).finish(),
            false => lock(&self.stream).download(downloads),
        }
    }

    fn finish(&self) -> Result<()> {
        lock(&self.stream).finish()
    }

    fn fill(&self, y: &Tensor, value: f64) -> Result<()> {
        self.fill_with(y, value)
    }

    fn cast(&self, x: &Tensor, y: &Tensor) -> Result<()> {
        self.convert(x, y)
    }

    fn unary(&self, op: Unary, x: &Tensor, y: &Tensor) -> Result<()> {
        self.apply(op, x, y)
    }

    fn broadcast(&self, d: &Broadcast) -> Result<()> {
        self.combine(d)
    }

    fn reduce(&self, d: &Reduce) -> Result<()> {
        self.total(d)
    }

    fn permute(&self, x: &Tensor, axes: &[usize], y: &Tensor) -> Result<()> {
        self.reorder(x, axes, y)
    }

    fn copy_block(&self, d: &CopyBlock) -> Result<()> {
        self.copy_rows(d)
    }

    fn softmax(&self, x: &Tensor, y: &Tensor) -> Result<()> {
        self.softmax_rows(x, y)
    }

    fn softmax_grad(&self, y: &Tensor, dy: &Tensor, dx: &Tensor) -> Result<()> {
        self.softmax_rows_grad(y, dy, dx)
    }

    fn gemm(&self, d: &Gemm) -> Result<()> {
        self.product(d)
    }

    fn attention(&self, d: &Attention) -> Result<()> {
        self.attend(d)
    }

    fn attention_grad(&self, d: &AttentionGrad) -> Result<()> {
        self.attend_grad(d)
    }

    fn layer_norm(&self, d: &LayerNorm) -> Result<()> {
        self.normalise(d)
    }

    fn layer_norm_grad(&self, d: &LayerNormGrad) -> Result<()> {
        self.normalise_grad(d)
    }

    fn patchify(&self, d: &Patchify) -> Result<()> {
        self.cut(d)
    }

    fn patchify_grad(&self, d: &Patchify, dx: &Tensor) -> Result<()> {
        self.cut_grad(d, dx)
    }

    fn assemble(&self, d: &Assemble) -> Result<()> {
        self.gather(d)
    }

    fn scatter_add(&self, d: &ScatterAdd) -> Result<()> {
        self.scatter(d)
    }

    fn lp_loss(&self, d: &LpLoss) -> Result<()> {
        self.lp_losses(d)
    }

    fn lp_loss_grad(&self, d: &LpLossGrad) -> Result<()> {
        self.lp_losses_grad(d)
    }

    fn segment_std(&self, d: &SegmentStd) -> Result<()> {
        self.segment_deviation(d)
    }

    fn segment_std_grad(&self, d: &SegmentStd, dy: &Tensor, dx: &Tensor, accumulate: bool) -> Result<()> {
        self.segment_deviation_grad(d, dy, dx, accumulate)
    }

    fn cross_entropy(&self, d: &CrossEntropy) -> Result<()> {
        self.cross_entropy_rows(d)
    }

    fn cross_entropy_grad(&self, d: &CrossEntropy, dy: &Tensor, dx: &Tensor, accumulate: bool) -> Result<()> {
        self.cross_entropy_rows_grad(d, dy, dx, accumulate)
    }

    fn binary_cross_entropy(&self, d: &BinaryCrossEntropy) -> Result<()> {
        self.binary_losses(d)
    }

    fn binary_cross_entropy_grad(
        &self,
        d: &BinaryCrossEntropy,
        dy: &Tensor,
        dx: &Tensor,
        accumulate: bool,
    ) -> Result<()> {
        self.binary_losses_grad(d, dy, dx, accumulate)
    }

    fn epps_pulley(&self, d: &EppsPulley) -> Result<()> {
        self.normality(d)
    }

    fn epps_pulley_grad(&self, d: &EppsPulleyGrad) -> Result<()> {
        self.normality_grad(d)
    }

    fn rotary(&self, d: &Rotary) -> Result<()> {
        self.turn(d)
    }

    fn norm(&self, chunks: &[Tensor], y: &Tensor) -> Result<()> {
        self.length(chunks, y)
    }

    fn adamw(&self, d: &AdamW) -> Result<()> {
        self.adamw_pass(d)
    }

    fn random(&self, y: &Tensor, distribution: Distribution, seed: u64, counter: u64) -> Result<()> {
        self.draw(y, distribution, seed, counter)
    }
}
