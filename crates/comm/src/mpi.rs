//! Opens `libavjepa_mpi`, the library that links MPI, and moves bytes through it.

#[path = "../../mpi/src/abi.rs"]
mod abi;

use crate::call::Tag;
use crate::ordered::{Ordered, Transport};
use abi::{ABI_VERSION, Api, Status, World};
use libloading::Library;
use std::path::Path;

/// This process's place among those that MPI's launcher started. All calls come from the thread that opened it.
struct Mpi {
    api: &'static Api,
    world: World,
    /// Keeps it on its thread.
    _here: std::marker::PhantomData<*const ()>,
}

/// Joins the other processes. Returns the collective, and MPI's name and version.
///
/// # Errors
/// Why the library at `path` cannot be loaded, or what MPI said.
pub fn open(path: &Path) -> Result<(Ordered<impl Transport + use<>>, String), String> {
    let api = load(path)?;
    let mut world = World::default();
    // SAFETY: `world` is writable; the texts are copied before the next call.
    let version = unsafe {
        check(api, (api.init)(&raw mut world))?;
        (api.version)().to_owned()
    };
    Ok((Ordered::new(Mpi { api, world, _here: std::marker::PhantomData }), version))
}

fn load(path: &Path) -> Result<&'static Api, String> {
    // SAFETY: loading runs the initialisers of MPI's libraries and nothing else; the symbols have the types that abi.rs states, which
    // the version vouches for. The library is never unloaded.
    unsafe {
        let library = Library::new(path).map_err(|error| root_cause(&error))?;
        let library = Box::leak(Box::new(library));
        let version = library
            .get::<extern "C" fn() -> u32>(abi::SYMBOL_ABI_VERSION)
            .map_err(|error| format!("{} is no library of ours: {error}", path.display()))?();
        if version != ABI_VERSION {
            let path = path.display();
            return Err(format!("{path} is built for interface {version}, this program speaks {ABI_VERSION}"));
        }
        let api = library
            .get::<extern "C" fn() -> *const Api>(abi::SYMBOL_API)
            .map_err(|error| format!("{} is no library of ours: {error}", path.display()))?();
        api.as_ref().ok_or_else(|| format!("{} has no functions", path.display()))
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn check(api: &Api, status: Status) -> Result<(), String> {
    match status {
        0 => Ok(()),
        // SAFETY: the text is copied before the next call.
        _ => Err(unsafe { (api.last_error)().to_owned() }),
    }
}

// SAFETY, for all calls below: the pointers cover the bytes that abi.rs says; `Mpi` never leaves its thread.
impl Transport for Mpi {
    fn rank(&self) -> usize {
        self.world.rank as usize
    }

    fn world(&self) -> usize {
        self.world.size as usize
    }

    fn meet(&mut self, tag: Tag, tags: &mut [Tag]) -> Result<(), String> {
        assert_eq!(tags.len(), self.world());
        // SAFETY: see above.
        check(self.api, unsafe { (self.api.meet)(tag.as_ptr(), tags.as_mut_ptr().cast()) })
    }

    fn all_to_all(&mut self, send: &[u8], receive: &mut [u8]) -> Result<(), String> {
        assert!(send.len() == receive.len() && send.len().is_multiple_of(self.world()));
        let part = send.len() / self.world();
        // SAFETY: see above.
        check(self.api, unsafe { (self.api.all_to_all)(send.as_ptr(), receive.as_mut_ptr(), part) })
    }

    fn all_gather(&mut self, part: &[u8], all: &mut [u8]) -> Result<(), String> {
        assert_eq!(all.len(), part.len() * self.world());
        // SAFETY: see above.
        check(self.api, unsafe { (self.api.all_gather)(part.as_ptr(), all.as_mut_ptr(), part.len()) })
    }

    fn broadcast(&mut self, bytes: &mut [u8], root: usize) -> Result<(), String> {
        // SAFETY: see above.
        check(self.api, unsafe { (self.api.broadcast)(bytes.as_mut_ptr(), bytes.len(), root as u32) })
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        // SAFETY: see above.
        check(self.api, unsafe { (self.api.finalize)() })
    }
}
