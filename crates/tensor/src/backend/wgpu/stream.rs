//! Commands on their way to the device: many kernels an encoder, one submission for many.
//!
//! Parameters of kernels are collected on the host and written once a submission; each kernel sees its own by a dynamic offset.

use super::{gpu::Gpu, memory::Block};
use crate::error::{Code, Error, Result};
use std::{
    num::NonZeroU64,
    sync::{Arc, atomic::Ordering::Relaxed, mpsc},
};
use wgpu::{
    Buffer, BufferUsages, CommandEncoder, ComputePass, ComputePassDescriptor, MapMode, SubmissionIndex,
    util::StagingBelt,
};

/// Kernels a submission.
const DISPATCHES: usize = 128;
/// Bytes of parameters a submission.
const PARAMS: u64 = 64 << 10;
/// Bytes of one kernel's parameters at the most.
pub const PARAM_BYTES: u64 = 256;
/// Uploads above this get a staging buffer of their own.
const BELT: usize = 1 << 20;
/// Bytes uploaded or downloaded by one staging buffer at the most.
const STAGING: u64 = 32 << 20;
/// Bytes of uploads that may wait for a submission.
const STAGED: u64 = 64 << 20;

/// Bytes wanted from `at` on of a block.
pub struct Download<'a> {
    pub block: &'a Block,
    pub at: u64,
    pub bytes: &'a mut [u8],
}

/// A part of a download on its way: `size` bytes of `source`, to byte `to` of the staging buffer, of which the first `skip` are not
/// wanted.
struct Piece<'a> {
    source: &'a Buffer,
    at: u64,
    to: u64,
    skip: u64,
    size: u64,
    bytes: &'a mut [u8],
}

pub struct Stream {
    gpu: Arc<Gpu>,
    encoder: Option<CommandEncoder>,
    pass: Option<ComputePass<'static>>,
    pub params_buffer: Buffer,
    params: Vec<u8>,
    slot: u64,
    dispatches: usize,
    belt: StagingBelt,
    staged: u64,
    last: Option<SubmissionIndex>,
}

impl Stream {
    pub fn new(gpu: &Arc<Gpu>) -> Result<Stream> {
        let params_buffer = gpu.buffer("parameters", PARAMS, BufferUsages::UNIFORM | BufferUsages::COPY_DST)?;
        let slot = PARAM_BYTES.next_multiple_of(u64::from(gpu.limits.min_uniform_buffer_offset_alignment));
        Ok(Stream {
            belt: StagingBelt::new(gpu.device.clone(), BELT as u64),
            gpu: gpu.clone(),
            encoder: None,
            pass: None,
            params_buffer,
            params: vec![],
            slot,
            dispatches: 0,
            staged: 0,
            last: None,
        })
    }

    fn encoder(&mut self) -> &mut CommandEncoder {
        self.pass = None;
        self.encoder.get_or_insert_with(|| self.gpu.device.create_command_encoder(&Default::default()))
    }

    /// Encodes a kernel on `groups` workgroups.
    pub fn dispatch(
        &mut self,
        pipeline: &wgpu::ComputePipeline,
        bindings: &wgpu::BindGroup,
        params: &[u8],
        groups: [u32; 2],
    ) -> Result<()> {
        assert!(params.len() as u64 <= PARAM_BYTES);
        if self.pass.is_none() {
            let pass = self.encoder().begin_compute_pass(&ComputePassDescriptor::default()).forget_lifetime();
            self.pass = Some(pass);
        }
        let offset = self.params.len();
        self.params.extend_from_slice(params);
        self.params.resize(offset + self.slot as usize, 0);
        let pass = self.pass.as_mut().expect("begun above");
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, bindings, &[offset as u32]);
        pass.dispatch_workgroups(groups[0], groups[1], 1);
        self.dispatches += 1;
        self.gpu.tally.dispatches.fetch_add(1, Relaxed);
        if self.dispatches == DISPATCHES || self.params.len() as u64 + self.slot > PARAMS {
            self.flush()?;
        }
        Ok(())
    }

    /// Encodes a copy from the host; `at` (in the block) and the number of bytes are multiples of 4.
    pub fn upload(&mut self, block: &Block, at: u64, bytes: &[u8]) -> Result<()> {
        let Some(target) = &block.buffer else { return Ok(()) };
        let mut at = block.offset + at;
        for part in bytes.chunks(STAGING as usize) {
            let Some(size) = NonZeroU64::new(part.len() as u64) else { continue };
            if part.len() > BELT {
                let staging = self.gpu.staging(size.get())?;
                staging.get_mapped_range_mut(..).map_err(|e| self.unmapped(&e))?.copy_from_slice(part);
                staging.unmap();
                self.encoder().copy_buffer_to_buffer(&staging, 0, target, at, size.get());
            } else {
                self.pass = None;
                let encoder =
                    self.encoder.get_or_insert_with(|| self.gpu.device.create_command_encoder(&Default::default()));
                self.belt.write_buffer(encoder, target, at, size).copy_from_slice(part);
            }
            at += size.get();
            self.staged += size.get();
            self.gpu.tally.uploaded.fetch_add(size.get(), Relaxed);
            if self.staged > STAGED {
                self.finish()?;
            }
        }
        Ok(())
    }

    /// Copies from the device, once all before has been done: many pieces a submission, through one staging buffer.
    pub fn download(&mut self, mut wanted: Vec<Download>) -> Result<()> {
        let mut pieces: Vec<Piece> = vec![];
        let mut filled = 0;
        for download in &mut wanted {
            let (Some(source), mut at) = (&download.block.buffer, download.block.offset + download.at) else {
                continue;
            };
            let mut rest = &mut *download.bytes;
            while !rest.is_empty() {
                if filled == STAGING {
                    self.receive(std::mem::take(&mut pieces), std::mem::take(&mut filled))?;
                }
                // Words are copied whole; what of them is not asked for stays in the staging buffer.
                let skip = at % 4;
                let size = (skip + rest.len() as u64).next_multiple_of(4).min(STAGING - filled);
                let (bytes, after) = rest.split_at_mut(rest.len().min((size - skip) as usize));
                (at, rest) = (at + bytes.len() as u64, after);
                pieces.push(Piece { source, at: at - bytes.len() as u64 - skip, to: filled, skip, size, bytes });
                filled += size;
            }
        }
        self.receive(pieces, filled)
    }

    /// Copies pieces of `total` bytes together, and waits for them.
    fn receive(&mut self, pieces: Vec<Piece>, total: u64) -> Result<()> {
        if pieces.is_empty() {
            return Ok(());
        }
        let staging = self.gpu.buffer("a download", total, BufferUsages::COPY_DST | BufferUsages::MAP_READ)?;
        self.gpu.released(total);
        for piece in &pieces {
            self.encoder().copy_buffer_to_buffer(piece.source, piece.at, &staging, piece.to, piece.size);
        }
        self.flush()?;
        let (send, receive) = mpsc::channel();
        staging.map_async(MapMode::Read, .., move |result| drop(send.send(result)));
        self.wait()?;
        let mapped = receive.try_recv().map_err(|e| self.unmapped(&e))?;
        mapped.map_err(|e| self.unmapped(&e))?;
        let range = staging.get_mapped_range(..).map_err(|e| self.unmapped(&e))?;
        for Piece { to, skip, bytes, .. } in pieces {
            bytes.copy_from_slice(&range[(to + skip) as usize..][..bytes.len()]);
        }
        drop(range);
        staging.unmap();
        self.gpu.tally.downloaded.fetch_add(total, Relaxed);
        Ok(())
    }

    fn unmapped(&self, error: &dyn std::fmt::Display) -> Error {
        let lost = self.gpu.check().err();
        lost.unwrap_or_else(|| {
            Error::new(Code::Device, format!("{}: its memory cannot be mapped: {error}", self.gpu.name))
        })
    }

    /// Submits what has been encoded.
    pub fn flush(&mut self) -> Result<()> {
        self.pass = None;
        let Some(encoder) = self.encoder.take() else { return Ok(()) };
        self.belt.finish();
        let params = std::mem::take(&mut self.params);
        self.dispatches = 0;
        let submitted = self.gpu.submit(&self.params_buffer, &params, encoder.finish());
        self.params = params;
        self.params.clear();
        self.belt.recall();
        self.last = Some(submitted?);
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        self.staged = 0;
        match self.last.take() {
            Some(index) => self.gpu.wait(index),
            None => self.gpu.check(),
        }
    }

    /// Submits, and waits until the device has nothing left to do.
    pub fn finish(&mut self) -> Result<()> {
        self.flush()?;
        self.wait()
    }
}
