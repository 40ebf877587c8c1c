//! MPI behind a small C ABI ([`abi`]): bytes from rank to rank.
//!
//! A library of its own, opened at run time, because what links libmpi loads only where exactly that MPI is installed.

mod abi;
mod pause;

use abi::{ABI_VERSION, Api, Status, TAG, Text, World};
use mpi::Threading;
use mpi::environment::Universe;
use mpi::request::scope;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Root};
use pause::Pause;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice::{from_raw_parts, from_raw_parts_mut};

#[unsafe(no_mangle)]
pub extern "C" fn avj_mpi_abi_version() -> u32 {
    ABI_VERSION
}

#[unsafe(no_mangle)]
pub extern "C" fn avj_mpi_api() -> *const Api {
    &raw const API
}

static API: Api = Api { init, version, meet, all_to_all, all_gather, broadcast, finalize, last_error };

#[derive(Default)]
struct Process {
    /// Dropping it is MPI_Finalize.
    universe: Option<Universe>,
    version: String,
    error: String,
}

thread_local! {
    static PROCESS: RefCell<Process> = RefCell::default();
}

type Result<T> = std::result::Result<T, String>;

/// Runs the body of an exported function: panics and failures become −1 with a text.
fn guard(body: impl FnOnce() -> Result<()>) -> Status {
    avjepa_panics::install();
    let message = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return 0,
        Ok(Err(message)) => message,
        Err(panic) => avjepa_panics::describe(panic.as_ref()),
    };
    PROCESS.with_borrow_mut(|process| process.error = message);
    -1
}

/// The communicator of all processes.
fn world() -> Result<SimpleCommunicator> {
    PROCESS.with_borrow(|process| {
        process.universe.as_ref().map(Universe::world).ok_or_else(|| "MPI is not open on this thread".to_owned())
    })
}

fn size(world: &SimpleCommunicator) -> usize {
    usize::try_from(world.size()).expect("a world has at least one process")
}

// SAFETY, for all functions below: the caller keeps to abi.rs: pointers cover the bytes that it says.

unsafe extern "C" fn init(out: *mut World) -> Status {
    guard(|| {
        // The one thread that calls MPI need not be the program's first: MPI only has to know that there are others.
        let (universe, _) = mpi::initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| "MPI has been opened before in this process".to_owned())?;
        let world = universe.world();
        let (rank, size) = (world.rank() as u32, world.size() as u32);
        // SAFETY: see above.
        unsafe { *out = World { rank, size } };
        PROCESS.with_borrow_mut(|process| {
            process.universe = Some(universe);
            // "Open MPI v4.1.4, package: …": the name is enough.
            let version = mpi::environment::library_version().unwrap_or_else(|_| "MPI".to_owned());
            process.version = version.split([',', '\n']).next().unwrap_or("MPI").trim().to_owned();
        });
        Ok(())
    })
}

unsafe extern "C" fn version() -> Text {
    PROCESS.with_borrow(|process| Text::new(&process.version))
}

unsafe extern "C" fn meet(tag: *const u64, tags: *mut u64) -> Status {
    guard(|| {
        let world = world()?;
        // SAFETY: see above.
        let (tag, tags) = unsafe { (from_raw_parts(tag, TAG), from_raw_parts_mut(tags, TAG * size(&world))) };
        scope(|scope| {
            let mut request = world.immediate_all_gather_into(scope, tag, tags);
            let mut pause = Pause::default();
            while let Err(unfinished) = request.test() {
                request = unfinished;
                pause.wait();
            }
        });
        Ok(())
    })
}

unsafe extern "C" fn all_to_all(send: *const u8, receive: *mut u8, bytes: usize) -> Status {
    guard(|| {
        let world = world()?;
        let whole = bytes * size(&world);
        // SAFETY: see above.
        let (send, receive) = unsafe { (from_raw_parts(send, whole), from_raw_parts_mut(receive, whole)) };
        world.all_to_all_into(send, receive);
        Ok(())
    })
}

unsafe extern "C" fn all_gather(part: *const u8, all: *mut u8, bytes: usize) -> Status {
    guard(|| {
        let world = world()?;
        // SAFETY: see above.
        let (part, all) = unsafe { (from_raw_parts(part, bytes), from_raw_parts_mut(all, bytes * size(&world))) };
        world.all_gather_into(part, all);
        Ok(())
    })
}

unsafe extern "C" fn broadcast(data: *mut u8, bytes: usize, root: u32) -> Status {
    guard(|| {
        let world = world()?;
        // SAFETY: see above.
        let data = unsafe { from_raw_parts_mut(data, bytes) };
        world.process_at_rank(root as i32).broadcast_into(data);
        Ok(())
    })
}

unsafe extern "C" fn finalize() -> Status {
    guard(|| {
        let universe = PROCESS.with_borrow_mut(|process| process.universe.take());
        drop(universe.ok_or_else(|| "MPI is not open on this thread".to_owned())?);
        Ok(())
    })
}

unsafe extern "C" fn last_error() -> Text {
    PROCESS.with_borrow(|process| Text::new(&process.error))
}
