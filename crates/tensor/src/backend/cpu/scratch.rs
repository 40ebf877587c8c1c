//! Temporary memory of kernels, kept between calls so that a kernel allocates nothing once it is warm.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::RefCell;

/// One cache line, and one AVX-512 register.
const ALIGNMENT: usize = 64;
/// A thread keeps at most this many bytes; what is larger goes back to the system.
const KEEP_BYTES: usize = 64 << 20;

/// Memory aligned to 64 bytes, with whatever was in it. It goes back to this thread's store when dropped.
pub struct Scratch {
    ptr: *mut u8,
    bytes: usize,
}

thread_local! {
    static STORE: RefCell<Vec<Scratch>> = const { RefCell::new(Vec::new()) };
}

impl Scratch {
    /// Room for `count` values of `T`: the smallest kept piece that is large enough, or a new one.
    ///
    /// # Panics
    /// When the system has no memory left.
    pub fn take<T>(count: usize) -> Scratch {
        let bytes = (count * size_of::<T>()).max(1).next_multiple_of(4096);
        let kept = STORE.with_borrow_mut(|store| {
            let fits = (0..store.len()).filter(|&i| store[i].bytes >= bytes).min_by_key(|&i| store[i].bytes)?;
            Some(store.swap_remove(fits))
        });
        kept.unwrap_or_else(|| {
            let layout = Self::layout(bytes);
            // SAFETY: the size is not zero.
            let ptr = unsafe { alloc(layout) };
            if ptr.is_null() {
                handle_alloc_error(layout);
            }
            Scratch { ptr, bytes }
        })
    }

    /// Its start. Nothing in it is initialised.
    pub fn ptr<T>(&self) -> *mut T {
        self.ptr.cast()
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, ALIGNMENT).expect("a kernel's scratch is smaller than the address space")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut mine = Some(Scratch { ptr: self.ptr, bytes: self.bytes });
        // When the thread is ending its store is gone: then the memory just goes back to the system.
        let _ = STORE.try_with(|store| {
            let Ok(mut store) = store.try_borrow_mut() else { return };
            store.extend(mine.take());
            // The smallest pieces go first: a larger one can serve in their place.
            store.sort_by_key(|piece| piece.bytes);
            let mut total: usize = store.iter().map(|piece| piece.bytes).sum();
            while total > KEEP_BYTES || store.len() > 8 {
                let piece = store.remove(0);
                total -= piece.bytes;
                piece.free();
            }
        });
        if let Some(piece) = mine {
            piece.free();
        }
    }
}

impl Scratch {
    fn free(self) {
        let piece = std::mem::ManuallyDrop::new(self);
        // SAFETY: `ptr` came from `alloc` with this layout, and dropping is off.
        unsafe { dealloc(piece.ptr, Self::layout(piece.bytes)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_used_again() {
        let first = Scratch::take::<f32>(1000);
        let address = first.ptr::<f32>() as usize;
        assert_eq!(address % ALIGNMENT, 0);
        let second = Scratch::take::<f32>(1000);
        assert_ne!(second.ptr::<f32>() as usize, address);
        drop(first);
        assert_eq!(Scratch::take::<f32>(900).ptr::<f32>() as usize, address);
        drop(second);
        let huge = Scratch::take::<u8>(KEEP_BYTES + 1);
        drop(huge);
        STORE.with_borrow(|store| assert!(store.iter().map(|piece| piece.bytes).sum::<usize>() <= KEEP_BYTES));
    }
}
