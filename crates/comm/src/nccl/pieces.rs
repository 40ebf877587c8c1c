//! The calls on values of the host, in pieces.

use super::cuda_api::{DevicePtr, StreamHandle};
use super::nccl_api::Element;
use super::staging::{CHUNK, Pieces};
use super::world::World;
use crate::number::Number;
use std::ops::Range;

type Result<T> = std::result::Result<T, String>;

/// Types that NCCL adds up.
pub trait Summed: Number {
    const ELEMENT: Element;
}

impl Summed for f32 {
    const ELEMENT: Element = Element::F32;
}

impl Summed for f64 {
    const ELEMENT: Element = Element::F64;
}

/// The sums of all ranks' values, in their place.
pub struct Sum<'a, N>(pub &'a mut [N]);

impl<N: Summed> Sum<'_, N> {
    const STEP: usize = CHUNK / size_of::<N>();

    fn at(&self, piece: usize) -> Range<usize> {
        piece * Self::STEP..self.0.len().min((piece + 1) * Self::STEP)
    }
}

impl<N: Summed> Pieces for Sum<'_, N> {
    fn count(&self) -> usize {
        self.0.len().div_ceil(Self::STEP)
    }

    fn ranges(&self, piece: usize) -> (Range<usize>, Range<usize>) {
        let bytes = 0..self.at(piece).len() * size_of::<N>();
        (bytes.clone(), bytes)
    }

    fn fill(&self, piece: usize, chunk: &mut [u8]) {
        N::write(&self.0[self.at(piece)], chunk);
    }

    fn call(&self, piece: usize, world: &mut World, at: DevicePtr, stream: StreamHandle) -> Result<()> {
        // SAFETY: the chunk holds the piece, and lives until its stream is done with it.
        unsafe { world.all_reduce(at, self.at(piece).len(), N::ELEMENT, stream) }
    }

    fn take(&mut self, piece: usize, chunk: &[u8]) {
        let at = self.at(piece);
        N::read(chunk, &mut self.0[at]);
    }
}

/// Of every rank's parts, one a rank, the sum of this rank's.
pub struct SumOfPart<'a> {
    pub values: &'a [f32],
    pub part: &'a mut [f32],
    pub rank: usize,
    pub world: usize,
}

const F32: usize = size_of::<f32>();

impl SumOfPart<'_> {
    /// A piece's place in a part.
    fn at(&self, piece: usize) -> Range<usize> {
        let step = (CHUNK / F32 / self.world).max(1);
        piece * step..self.part.len().min((piece + 1) * step)
    }
}

impl Pieces for SumOfPart<'_> {
    fn count(&self) -> usize {
        self.part.len().div_ceil((CHUNK / F32 / self.world).max(1))
    }

    fn ranges(&self, piece: usize) -> (Range<usize>, Range<usize>) {
        let bytes = self.at(piece).len() * F32;
        (0..bytes * self.world, self.rank * bytes..(self.rank + 1) * bytes)
    }

    fn fill(&self, piece: usize, chunk: &mut [u8]) {
        let at = self.at(piece);
        for (part, bytes) in self.values.chunks_exact(self.part.len()).zip(chunk.chunks_exact_mut(at.len() * F32)) {
            f32::write(&part[at.clone()], bytes);
        }
    }

    fn call(&self, piece: usize, world: &mut World, at: DevicePtr, stream: StreamHandle) -> Result<()> {
        let part = self.at(piece).len();
        // In place: this rank's part of the chunk takes the sums.
        // SAFETY: the chunk holds the piece, and lives until its stream is done with it.
        unsafe { world.reduce_scatter(at, at + (self.rank * part * F32) as u64, part, Element::F32, stream) }
    }

    fn take(&mut self, piece: usize, chunk: &[u8]) {
        let at = self.at(piece);
        f32::read(chunk, &mut self.part[at]);
    }
}

/// Every rank's bytes, one after another.
pub struct Gather<'a> {
    pub part: &'a [u8],
    pub all: &'a mut [u8],
    pub rank: usize,
    pub world: usize,
}

impl Gather<'_> {
    fn at(&self, piece: usize) -> Range<usize> {
        let step = (CHUNK / self.world).max(1);
        piece * step..self.part.len().min((piece + 1) * step)
    }
}

impl Pieces for Gather<'_> {
    fn count(&self) -> usize {
        self.part.len().div_ceil((CHUNK / self.world).max(1))
    }

    fn ranges(&self, piece: usize) -> (Range<usize>, Range<usize>) {
        let bytes = self.at(piece).len();
        (self.rank * bytes..(self.rank + 1) * bytes, 0..bytes * self.world)
    }

    fn fill(&self, piece: usize, chunk: &mut [u8]) {
        chunk.copy_from_slice(&self.part[self.at(piece)]);
    }

    fn call(&self, piece: usize, world: &mut World, at: DevicePtr, stream: StreamHandle) -> Result<()> {
        let bytes = self.at(piece).len();
        // In place: this rank's bytes lie where they belong.
        // SAFETY: the chunk holds the piece, and lives until its stream is done with it.
        unsafe { world.all_gather(at + (self.rank * bytes) as u64, at, bytes, stream) }
    }

    fn take(&mut self, piece: usize, chunk: &[u8]) {
        let at = self.at(piece);
        let whole = self.part.len();
        for (rank, bytes) in chunk.chunks_exact(at.len()).enumerate() {
            self.all[rank * whole + at.start..][..bytes.len()].copy_from_slice(bytes);
        }
    }
}

/// The bytes of one rank.
pub struct Broadcast<'a> {
    pub bytes: &'a mut [u8],
    pub root: usize,
    pub rank: usize,
}

impl Broadcast<'_> {
    fn at(&self, piece: usize) -> Range<usize> {
        piece * CHUNK..self.bytes.len().min((piece + 1) * CHUNK)
    }
}

impl Pieces for Broadcast<'_> {
    fn count(&self) -> usize {
        self.bytes.len().div_ceil(CHUNK)
    }

    fn ranges(&self, piece: usize) -> (Range<usize>, Range<usize>) {
        let bytes = 0..self.at(piece).len();
        if self.rank == self.root { (bytes, 0..0) } else { (0..0, bytes) }
    }

    fn fill(&self, piece: usize, chunk: &mut [u8]) {
        if self.rank == self.root {
            chunk.copy_from_slice(&self.bytes[self.at(piece)]);
        }
    }

    fn call(&self, piece: usize, world: &mut World, at: DevicePtr, stream: StreamHandle) -> Result<()> {
        // SAFETY: the chunk holds the piece, and lives until its stream is done with it.
        unsafe { world.broadcast(at, self.at(piece).len(), self.root, stream) }
    }

    fn take(&mut self, piece: usize, chunk: &[u8]) {
        if self.rank != self.root {
            let at = self.at(piece);
            self.bytes[at].copy_from_slice(chunk);
        }
    }
}
