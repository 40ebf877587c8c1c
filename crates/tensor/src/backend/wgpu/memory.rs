//! Memory of tensors: slabs of the device's, cut up by best fit, kept from step to step.
//!
//! Commands run in the order in which they are encoded, so a block may be used again as soon as its tensor is dropped, though the
//! device has not come so far yet. Small integer tensors that the host wrote are also kept on the host ([`Block::host`]): row
//! numbers and offsets are checked, and work is shared out, without waiting for the device.

use super::gpu::Gpu;
use crate::{error::Result, tensor::Allocation};
use std::{
    any::Any,
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use wgpu::{Buffer, BufferUsages};

/// Blocks start at, and are as long as, multiples of this: the largest alignment any adapter asks of a binding.
pub const ALIGNMENT: u64 = 256;
/// Bytes of a slab; larger requests get one of their own size.
const SLAB: u64 = 64 << 20;
/// Integer tensors up to this size are kept on the host.
pub const HOST_COPY: usize = 4 << 20;

/// The memory of one device.
#[derive(Clone)]
pub struct Arena {
    shared: Arc<Shared>,
}

struct Shared {
    gpu: Arc<Gpu>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slabs: HashMap<u32, Slab>,
    next: u32,
    /// Free blocks of all slabs by size.
    by_size: BTreeSet<(u64, u32, u64)>,
    reserved: u64,
    used: u64,
    /// The largest `used` of late: it decays by 2⁻¹⁶ with every allocation.
    recent: u64,
}

struct Slab {
    buffer: Buffer,
    bytes: u64,
    /// Free blocks: start and bytes.
    free: std::collections::BTreeMap<u64, u64>,
}

/// What is derived from an integer tensor, on the device.
type Derived = HashMap<(&'static str, [usize; 4]), Arc<Block>>;

/// A tensor's values on the host, and tables made of them.
pub struct Host {
    pub bytes: Vec<u8>,
    derived: Mutex<Derived>,
}

/// One block of a slab, freed when dropped.
pub struct Block {
    pub buffer: Option<Buffer>,
    slab: u32,
    pub offset: u64,
    /// Bytes of the block (a multiple of [`ALIGNMENT`]) and those asked for.
    pub size: u64,
    pub len: u64,
    host: Mutex<Option<Arc<Host>>>,
    shared: Arc<Shared>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Arena {
    pub fn new(gpu: Arc<Gpu>) -> Arena {
        Arena { shared: Arc::new(Shared { gpu, state: Mutex::default() }) }
    }

    /// # Errors
    /// `AVJ_MEMORY` when the device has no room, with the bytes asked for and taken.
    pub fn alloc(&self, len: u64) -> Result<Block> {
        let shared = self.shared.clone();
        if len == 0 {
            return Ok(Block { buffer: None, slab: 0, offset: 0, size: 0, len, host: Mutex::default(), shared });
        }
        let size = len.next_multiple_of(ALIGNMENT);
        let (slab, offset, buffer) = lock(&self.shared.state).alloc(&self.shared.gpu, size)?;
        Ok(Block { buffer: Some(buffer), slab, offset, size, len, host: Mutex::default(), shared })
    }
}

impl Host {
    pub fn new(bytes: Vec<u8>) -> Arc<Host> {
        Arc::new(Host { bytes, derived: Mutex::default() })
    }

    /// The table `kind` of these values and `key`, which `make` makes the first time.
    pub fn derived(
        &self,
        kind: &'static str,
        key: [usize; 4],
        make: impl FnOnce() -> Result<Block>,
    ) -> Result<Arc<Block>> {
        if let Some(block) = lock(&self.derived).get(&(kind, key)) {
            return Ok(block.clone());
        }
        let block = Arc::new(make()?);
        lock(&self.derived).insert((kind, key), block.clone());
        Ok(block)
    }
}

impl Block {
    /// The host's copy, if the device's bytes are still those.
    pub fn host(&self) -> Option<Arc<Host>> {
        lock(&self.host).clone()
    }

    /// Sets the host's copy; None when a kernel writes the block.
    pub fn set_host(&self, host: Option<Arc<Host>>) {
        *lock(&self.host) = host;
    }
}

impl Allocation for Block {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // Tables made of its values go first: they lie in the same arena.
        self.set_host(None);
        if self.buffer.take().is_some() {
            lock(&self.shared.state).free(&self.shared.gpu, self.slab, self.offset, self.size);
        }
    }
}

impl State {
    fn alloc(&mut self, gpu: &Gpu, size: u64) -> Result<(u32, u64, Buffer)> {
        let fit = self.by_size.range((size, 0, 0)..).next().copied();
        let (found, slab, offset) = match fit {
            Some(fit) => fit,
            None => self.grow(gpu, size)?,
        };
        self.take(found, slab, offset);
        if found > size {
            self.give(found - size, slab, offset + size);
        }
        self.used += size;
        self.recent = (self.recent - (self.recent >> 16)).max(self.used);
        Ok((slab, offset, self.slabs[&slab].buffer.clone()))
    }

    fn free(&mut self, gpu: &Gpu, slab: u32, offset: u64, size: u64) {
        self.used -= size;
        let (mut start, mut bytes) = (offset, size);
        let free = &self.slabs[&slab].free;
        let before = free.range(..start).next_back().map(|(&at, &n)| (at, n)).filter(|(at, n)| at + n == start);
        let after = free.get(&(start + bytes)).copied();
        if let Some(n) = after {
            self.take(n, slab, start + bytes);
            bytes += n;
        }
        if let Some((at, n)) = before {
            self.take(n, slab, at);
            (start, bytes) = (at, bytes + n);
        }
        self.give(bytes, slab, start);
        let keep = self.recent + self.recent / 4 + SLAB;
        if bytes == self.slabs[&slab].bytes && self.reserved - bytes >= keep {
            self.release(gpu, slab);
        }
    }

    fn take(&mut self, bytes: u64, slab: u32, offset: u64) {
        self.by_size.remove(&(bytes, slab, offset));
        self.slabs.get_mut(&slab).expect("a slab of this arena").free.remove(&offset);
    }

    fn give(&mut self, bytes: u64, slab: u32, offset: u64) {
        self.by_size.insert((bytes, slab, offset));
        self.slabs.get_mut(&slab).expect("a slab of this arena").free.insert(offset, bytes);
    }

    /// Takes one more slab from the device; its one free block.
    fn grow(&mut self, gpu: &Gpu, size: u64) -> Result<(u64, u32, u64)> {
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let mut bytes = size.max(SLAB);
        let buffer = gpu.buffer("tensors", bytes, usage).or_else(|_| {
            // What lies idle is given back, and a slab no larger than needed is asked for.
            let idle: Vec<u32> =
                self.slabs.iter().filter(|(_, s)| s.free.get(&0) == Some(&s.bytes)).map(|(i, _)| *i).collect();
            idle.into_iter().for_each(|slab| self.release(gpu, slab));
            bytes = size;
            gpu.buffer("tensors", bytes, usage)
        })?;
        let slab = self.next;
        self.next += 1;
        self.slabs.insert(slab, Slab { buffer, bytes, free: Default::default() });
        self.reserved += bytes;
        self.give(bytes, slab, 0);
        Ok((bytes, slab, 0))
    }

    fn release(&mut self, gpu: &Gpu, slab: u32) {
        let bytes = self.slabs[&slab].bytes;
        self.take(bytes, slab, 0);
        // Commands under way keep the buffer alive until they are done.
        self.slabs.remove(&slab);
        self.reserved -= bytes;
        gpu.released(bytes);
    }
}
