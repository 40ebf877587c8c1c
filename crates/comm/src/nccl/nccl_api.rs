//! The functions of NCCL that are used here (`libnccl.so.2`), typed after `nccl.h`, its public interface.

use super::cuda_api::StreamHandle;
use super::library::{OpenError, Source, functions};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

/// `ncclResult_t`: 0 is success.
pub type Code = c_int;
/// `ncclComm_t`: a pointer to a structure of NCCL's own.
pub type CommHandle = *mut c_void;

pub const SUCCESS: Code = 0;
/// `ncclInProgress`: a call that does not block is still at work.
pub const IN_PROGRESS: Code = 7;

/// Bytes of [`UniqueId`].
pub const ID_BYTES: usize = 128;

/// `ncclUniqueId`: what ranks find each other by. It is passed by value.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniqueId(pub [u8; ID_BYTES]);

/// `ncclDataType_t`
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    U8 = 1,
    F32 = 7,
    F64 = 8,
}

/// `ncclRedOp_t`: the sum. NCCL's maximum loses what is no number, so it is not used.
pub const SUM: c_int = 0;

/// `ncclConfig_t` as of NCCL 2.14, whose fields later versions keep and fill up by themselves.
#[repr(C)]
#[derive(Debug)]
pub struct Config {
    size: usize,
    magic: c_uint,
    version: c_uint,
    /// 0: calls return at once, and what they come to is asked for.
    blocking: c_int,
}

impl Config {
    /// Calls do not block, so that waiting for a rank that is gone can be given up.
    pub fn non_blocking() -> Config {
        Config { size: size_of::<Config>(), magic: 0xcafe_beef, version: OLDEST as c_uint, blocking: 0 }
    }
}

/// `NCCL_VERSION_CODE` of 2.14.0, the first whose calls need not block.
pub const OLDEST: c_int = 21_400;

const SOURCE: Source = Source {
    variable: "AVJEPA_NCCL_LIBRARY",
    names: &["libnccl.so.2", "libnccl.so"],
    remedy: "install NCCL 2.14 or newer (Debian and NVIDIA's packages: libnccl2; or: pip install nvidia-nccl-cu12, whose library is site-packages/nvidia/nccl/lib/libnccl.so.2)",
};

functions! {
    /// NCCL's functions.
    NcclApi {
        /// On one rank; the others are given its bytes.
        unique_id = "ncclGetUniqueId"(id: *mut UniqueId) -> Code;
        /// Joins, with the device that is current on the thread.
        init_rank = "ncclCommInitRankConfig"(comm: *mut CommHandle, ranks: c_int, id: UniqueId, rank: c_int, config: *mut Config) -> Code;
        /// What the last call has come to.
        async_error = "ncclCommGetAsyncError"(comm: CommHandle, error: *mut Code) -> Code;
        /// Begins to leave the others; then [`NcclApi::destroy`].
        finalize = "ncclCommFinalize"(comm: CommHandle) -> Code;
        destroy = "ncclCommDestroy"(comm: CommHandle) -> Code;
        /// Ends what is under way, and frees the communicator.
        abort = "ncclCommAbort"(comm: CommHandle) -> Code;
        error_text = "ncclGetErrorString"(code: Code) -> *const c_char;
        last_error = "ncclGetLastError"(comm: CommHandle) -> *const c_char;
        all_reduce = "ncclAllReduce"(
            send: *const c_void, receive: *mut c_void, count: usize, element: Element, op: c_int, comm: CommHandle, stream: StreamHandle
        ) -> Code;
        /// `count` is that of a rank's part.
        reduce_scatter = "ncclReduceScatter"(
            send: *const c_void, receive: *mut c_void, count: usize, element: Element, op: c_int, comm: CommHandle, stream: StreamHandle
        ) -> Code;
        /// `count` is that of a rank's part.
        all_gather = "ncclAllGather"(
            send: *const c_void, receive: *mut c_void, count: usize, element: Element, comm: CommHandle, stream: StreamHandle
        ) -> Code;
        broadcast = "ncclBroadcast"(
            send: *const c_void, receive: *mut c_void, count: usize, element: Element, root: c_int, comm: CommHandle, stream: StreamHandle
        ) -> Code;
    }
}

/// The library and its version.
pub struct Nccl {
    pub api: NcclApi,
    /// `NCCL_VERSION_CODE`: 22703 for 2.27.3.
    pub version: c_int,
}

impl Nccl {
    /// # Errors
    /// A library that is not there, too old, or lacks a function; each with its remedy.
    pub fn open() -> Result<&'static Nccl, OpenError> {
        let library = SOURCE.open()?;
        let mut version = 0;
        // SAFETY: the file is libnccl, by its name or by the user's word; the types are those of nccl.h. What came with a later version
        // than the oldest is not used.
        let api = unsafe {
            let ask = library.symbol::<unsafe extern "C" fn(*mut c_int) -> Code>("ncclGetVersion")?;
            ask(&raw mut version);
            if version < OLDEST {
                let message = format!("{} is NCCL {}: 2.14 is the oldest that will do", library.name, dotted(version));
                return Err(OpenError::new(message).hint(SOURCE.remedy));
            }
            NcclApi::load(&library)?
        };
        Ok(Box::leak(Box::new(Nccl { api, version })))
    }

    /// `NCCL 2.27.3`
    pub fn name(&self) -> String {
        format!("NCCL {}", dotted(self.version))
    }

    /// # Errors
    /// The function's name, and what NCCL says of the code and of what happened last.
    pub fn check(&self, function: &str, code: Code, comm: CommHandle) -> Result<(), String> {
        match code {
            SUCCESS => Ok(()),
            _ => Err(format!("NCCL: {function}: {}", self.text(code, comm))),
        }
    }

    /// NCCL's texts: of the code, and of the last error, which tells more.
    pub fn text(&self, code: Code, comm: CommHandle) -> String {
        let owned = |text: *const c_char| match text.is_null() {
            true => String::new(),
            // SAFETY: NCCL's texts end with a zero, and live until the next call.
            false => unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_owned(),
        };
        // SAFETY: a null communicator is allowed.
        let (meaning, last) = unsafe { (owned((self.api.error_text)(code)), owned((self.api.last_error)(comm))) };
        if last.is_empty() { meaning } else { format!("{meaning}: {last}") }
    }
}

/// `2.27.3` of 22703.
fn dotted(version: c_int) -> String {
    // Before 2.9 the code was 1000 · major + 100 · minor + patch.
    match version {
        ..10_000 => format!("{}.{}.{}", version / 1000, version / 100 % 10, version % 100),
        _ => format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_sizes_of_the_header() {
        assert_eq!(size_of::<UniqueId>(), 128);
        // NCCL reads as many bytes of its own structure as `size` says.
        assert_eq!(size_of::<Config>(), 24);
        assert_eq!(std::mem::offset_of!(Config, blocking), 16);
        assert_eq!(size_of::<Element>(), size_of::<c_int>());
    }

    #[test]
    fn versions_in_words() {
        assert_eq!(dotted(22_703), "2.27.3");
        assert_eq!(dotted(OLDEST), "2.14.0");
        assert_eq!(dotted(2_804), "2.8.4");
    }
}
