//! The C ABI between `libavjepa_mpi` and its one caller, `avjepa-comm`.
//!
//! Both crates compile this very file, so the two sides cannot drift apart in one build; [`ABI_VERSION`] guards against
//! a library left over from another one. Bytes only: what they mean, and how they are summed, is the caller's. No function unwinds.
//! All calls are made by one thread, the one that called `init`.

#![allow(dead_code, reason = "each side uses its half")]

/// Raised whenever a structure, a function or their meaning changes.
pub const ABI_VERSION: u32 = 1;

/// Exported symbol: `extern "C" fn() -> u32`.
pub const SYMBOL_ABI_VERSION: &str = "avj_mpi_abi_version";
/// Exported symbol: `extern "C" fn() -> *const Api`. Call it only after the version agrees.
pub const SYMBOL_API: &str = "avj_mpi_api";

/// Numbers of a rank's [`Api::meet`]: what it is about to do.
pub const TAG: usize = 2;

/// 0, or −1: then the text is in [`Api::last_error`].
pub type Status = i32;

/// Borrowed UTF-8, valid until the next call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text {
    pub data: *const u8,
    pub len: usize,
}

impl Text {
    pub fn new(text: &str) -> Text {
        Text { data: text.as_ptr(), len: text.len() }
    }

    /// # Safety
    /// `data` points to `len` readable bytes.
    pub unsafe fn to_owned(self) -> String {
        // SAFETY: promised by the caller.
        String::from_utf8_lossy(unsafe { std::slice::from_raw_parts(self.data, self.len) }).into_owned()
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct World {
    pub rank: u32,
    pub size: u32,
}

#[repr(C)]
pub struct Api {
    /// Joins the other processes. Once a process.
    pub init: unsafe extern "C" fn(world: *mut World) -> Status,
    /// Name and version of the MPI in use.
    pub version: unsafe extern "C" fn() -> Text,
    /// Returns when every rank has called it, with the [`TAG`] numbers of each. Waits asleep: what follows finds everybody there.
    pub meet: unsafe extern "C" fn(tag: *const u64, tags: *mut u64) -> Status,
    /// Part `r` of `send` goes to rank `r`; part `r` of `receive` comes from it. Parts have `bytes` bytes.
    pub all_to_all: unsafe extern "C" fn(send: *const u8, receive: *mut u8, bytes: usize) -> Status,
    /// Every rank's `part` of `bytes` bytes, in the order of the ranks.
    pub all_gather: unsafe extern "C" fn(part: *const u8, all: *mut u8, bytes: usize) -> Status,
    /// The bytes of `root`.
    pub broadcast: unsafe extern "C" fn(data: *mut u8, bytes: usize, root: u32) -> Status,
    /// Leaves the other processes; they must all do so. Nothing may be called after it.
    pub finalize: unsafe extern "C" fn() -> Status,
    pub last_error: unsafe extern "C" fn() -> Text,
}
