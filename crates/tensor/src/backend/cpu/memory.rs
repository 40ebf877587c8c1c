//! Memory of tensors: slabs of the system's, cut up by best fit, kept from step to step.
//!
//! Intermediates are large and short-lived. The system's allocator would map and fault in fresh pages for each; here a freed block is
//! merged with its free neighbours and used again. Slabs that become wholly free go back to the system once more is held than the
//! work of late needed.

use crate::{
    error::{Code, Error, Result},
    tensor::Allocation,
};
use std::{
    alloc::{Layout, alloc, dealloc},
    any::Any,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Blocks start at, and are as long as, multiples of this: two of the longest vectors' cache lines on any machine.
const ALIGNMENT: usize = 256;
/// Bytes of a slab; larger requests get one of their own size. Pages are the process's only once touched.
const SLAB: usize = 256 << 20;
/// Slabs begin at multiples of a huge page, so that the system can back them with such: matrices are read in rows far apart, and with
/// pages of 4 KiB each of these would cost a walk through the page tables.
const HUGE_PAGE: usize = 2 << 20;

/// The memory of one device.
#[derive(Clone, Default)]
pub struct Arena {
    state: Arc<Mutex<State>>,
}

/// One block of it, freed when dropped.
pub struct Memory {
    block: Option<Block>,
    len: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    address: usize,
    bytes: usize,
    slab: usize,
}

#[derive(Default)]
struct State {
    /// Start of each slab and its bytes.
    slabs: BTreeMap<usize, usize>,
    /// Free blocks by address: bytes and slab.
    free: BTreeMap<usize, (usize, usize)>,
    /// The same by (bytes, address).
    by_size: BTreeSet<(usize, usize)>,
    reserved: usize,
    used: usize,
    /// The largest `used` of late: it decays by 2⁻¹⁶ with every allocation, by half in some tens of steps.
    recent: usize,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Arena {
    /// # Errors
    /// `AVJ_MEMORY` when the system refuses.
    pub fn alloc(&self, len: usize) -> Result<Memory> {
        let block = match len {
            0 => None,
            _ => Some(lock(&self.state).alloc(len).ok_or_else(|| {
                Error::new(Code::Memory, format!("cpu: the system has no {len} bytes of memory left for a tensor"))
                    .hint("use a smaller batch or model, or activation checkpointing")
            })?),
        };
        Ok(Memory { block, len, state: self.state.clone() })
    }

    /// Bytes taken from the system.
    #[cfg(test)]
    fn reserved(&self) -> usize {
        lock(&self.state).reserved
    }
}

impl Memory {
    pub fn ptr(&self) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.block.map_or(ALIGNMENT, |b| b.address))
    }

    pub fn len(&self) -> usize {
        self.len
    }
}

impl Allocation for Memory {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(block) = self.block {
            lock(&self.state).free(block);
        }
    }
}

impl State {
    fn alloc(&mut self, len: usize) -> Option<Block> {
        let bytes = len.checked_next_multiple_of(ALIGNMENT)?;
        let (found, address) = match self.by_size.range((bytes, 0)..).next() {
            Some(&fit) => fit,
            None => self.grow(bytes)?,
        };
        let (_, slab) = self.take(found, address);
        if found > bytes {
            self.give(address + bytes, found - bytes, slab);
        }
        self.used += bytes;
        self.recent = (self.recent - (self.recent >> 16)).max(self.used);
        Some(Block { address, bytes, slab })
    }

    fn free(&mut self, block: Block) {
        self.used -= block.bytes;
        let (mut address, mut bytes) = (block.address, block.bytes);
        if let Some((&before, &(size, slab))) = self.free.range(..address).next_back()
            && slab == block.slab
            && before + size == address
        {
            self.take(size, before);
            (address, bytes) = (before, bytes + size);
        }
        if let Some(&(size, slab)) = self.free.get(&(address + bytes))
            && slab == block.slab
        {
            self.take(size, address + bytes);
            bytes += size;
        }
        self.give(address, bytes, block.slab);
        if self.slabs[&block.slab] == bytes {
            // A slab more than was needed of late is kept, so that sizes that change a little from step to step do not map it anew.
            let keep = self.recent + self.recent / 4 + SLAB;
            for slab in self.whole() {
                if self.reserved - self.slabs[&slab] >= keep {
                    self.release(slab);
                }
            }
        }
    }

    /// The slabs that are wholly free.
    fn whole(&self) -> Vec<usize> {
        self.slabs
            .iter()
            .filter(|&(slab, size)| self.free.get(slab) == Some(&(*size, *slab)))
            .map(|(s, _)| *s)
            .collect()
    }

    /// A free block becomes nobody's.
    fn take(&mut self, bytes: usize, address: usize) -> (usize, usize) {
        self.by_size.remove(&(bytes, address));
        self.free.remove(&address).expect("both lists hold the same blocks")
    }

    fn give(&mut self, address: usize, bytes: usize, slab: usize) {
        self.free.insert(address, (bytes, slab));
        self.by_size.insert((bytes, address));
    }

    /// Takes one more slab from the system; its one free block.
    fn grow(&mut self, bytes: usize) -> Option<(usize, usize)> {
        let size = bytes.max(SLAB);
        let slab = self.reserve(size).or_else(|| {
            self.whole().into_iter().for_each(|slab| self.release(slab));
            self.reserve(size)
        });
        let (slab, size) = match slab {
            Some(slab) => (slab, size),
            None => (self.reserve(bytes)?, bytes),
        };
        self.slabs.insert(slab, size);
        self.reserved += size;
        self.give(slab, size, slab);
        Some((size, slab))
    }

    fn reserve(&self, bytes: usize) -> Option<usize> {
        let layout = Layout::from_size_align(bytes, HUGE_PAGE).ok()?;
        // SAFETY: `bytes` is not 0.
        let ptr = unsafe { alloc(layout) };
        if ptr.is_null() {
            return None;
        }
        // A wish: where the system has no huge pages, small ones do.
        #[cfg(target_os = "linux")]
        // SAFETY: whole pages of our own, whose contents this does not change.
        unsafe {
            libc::madvise(ptr.cast(), bytes / HUGE_PAGE * HUGE_PAGE, libc::MADV_HUGEPAGE);
        }
        Some(ptr.expose_provenance())
    }

    fn release(&mut self, slab: usize) {
        let bytes = self.slabs.remove(&slab).expect("a slab of this arena");
        self.take(bytes, slab);
        self.reserved -= bytes;
        // SAFETY: it came from `alloc` with this layout, and no block of it is in use.
        unsafe {
            dealloc(std::ptr::with_exposed_provenance_mut(slab), Layout::from_size_align_unchecked(bytes, HUGE_PAGE));
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        for slab in self.slabs.keys().copied().collect::<Vec<_>>() {
            let bytes = self.slabs[&slab];
            // Every block holds the state, so none is in use.
            debug_assert_eq!(self.free.get(&slab), Some(&(bytes, slab)));
            self.release(slab);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn absurd_sizes_are_errors() {
        let arena = Arena::default();
        for bytes in [usize::MAX, usize::MAX / 2, 1 << 52] {
            let error = arena.alloc(bytes).err().expect("no machine has so much");
            assert_eq!(error.code, Code::Memory);
            assert!(error.message.contains(&bytes.to_string()), "{}", error.message);
        }
        assert_eq!(arena.reserved(), 0);
    }

    #[test]
    fn whole_slabs_go_back_when_the_work_becomes_smaller() {
        let arena = Arena::default();
        let large: Vec<Memory> = (0..12).map(|_| arena.alloc(SLAB).unwrap()).collect();
        assert_eq!(arena.reserved(), 12 * SLAB);
        drop(large);
        // What was just needed is kept ...
        assert_eq!(arena.reserved(), 12 * SLAB);
        // ... but not for ever.
        for _ in 0..400_000 {
            drop(arena.alloc(1000).unwrap());
        }
        assert!(arena.reserved() <= 3 * SLAB, "{}", arena.reserved());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Blocks never overlap, are aligned, and merge into whole slabs once all are freed.
        #[test]
        fn blocks_do_not_overlap(steps in prop::collection::vec((0usize..2, 0usize..3_000_000, any::<prop::sample::Index>()), 1..200)) {
            let arena = Arena::default();
            let mut live: Vec<Memory> = vec![];
            for (kind, len, index) in steps {
                if kind == 0 || live.is_empty() {
                    live.push(arena.alloc(len).unwrap());
                } else {
                    live.swap_remove(index.index(live.len()));
                }
                let mut spans: Vec<(usize, usize)> =
                    live.iter().filter(|m| m.len() > 0).map(|m| (m.ptr() as usize, m.len())).collect();
                spans.sort_unstable();
                prop_assert!(spans.iter().all(|(start, _)| start % ALIGNMENT == 0));
                prop_assert!(spans.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0));
                let state = lock(&arena.state);
                let free: usize = state.free.values().map(|(bytes, _)| bytes).sum();
                prop_assert_eq!(free + state.used, state.reserved);
                prop_assert_eq!(state.free.len(), state.by_size.len());
            }
            drop(live);
            let state = lock(&arena.state);
            prop_assert_eq!(state.used, 0);
            prop_assert_eq!(state.free.len(), state.slabs.len());
        }
    }
}
