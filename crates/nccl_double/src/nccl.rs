//! NCCL's functions, by their names in `libnccl.so.2`.

use crate::board::Board;
use crate::faults::{self, Fault};
use crate::streams::{Op, device};
use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::rc::Rc;

const SUCCESS: c_int = 0;
const SYSTEM_ERROR: c_int = 2;
const INVALID_ARGUMENT: c_int = 4;
const INVALID_USAGE: c_int = 5;
const IN_PROGRESS: c_int = 7;

/// The oldest `ncclConfig_t` that has a field for calls that do not block.
#[repr(C)]
pub struct Config {
    size: usize,
    magic: c_uint,
    version: c_uint,
    blocking: c_int,
}

#[repr(C)]
pub struct UniqueId([u8; 128]);

/// How far a call is.
enum Stage {
    /// Joining: until all ranks are there.
    Joining,
    /// Accepted, but on its stream only when somebody asks.
    Pending(usize, Collective),
    Idle,
    Leaving,
    Left,
}

pub struct Comm {
    board: Board,
    rank: i32,
    ranks: i32,
    context: usize,
    stage: Stage,
    /// What it has failed with.
    failed: c_int,
    aborted: bool,
    calls: u64,
}

/// A communicator is shared by its handle and the calls on streams.
type Shared = Rc<RefCell<Comm>>;

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

fn fail(code: c_int, why: &str) -> c_int {
    LAST_ERROR.with_borrow_mut(|text| *text = CString::new(why).unwrap_or_default());
    code
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    AllReduce,
    ReduceScatter,
    AllGather,
    Broadcast,
}

/// A call on a stream.
pub struct Collective {
    comm: Shared,
    kind: Kind,
    pub send: usize,
    pub receive: usize,
    count: usize,
    element: c_int,
    root: c_int,
    number: u64,
    put: bool,
    never: bool,
}

impl Collective {
    fn size(&self) -> usize {
        if self.element == 1 {
            1
        } else if self.element == 7 {
            4
        } else {
            8
        }
    }

    /// Bytes that it reads and writes.
    fn lengths(&self, ranks: usize) -> (usize, usize) {
        let bytes = self.count * self.size();
        match self.kind {
            Kind::AllReduce | Kind::Broadcast => (bytes, bytes),
            Kind::ReduceScatter => (bytes * ranks, bytes),
            Kind::AllGather => (bytes, bytes * ranks),
        }
    }

    /// Lays down what this rank sends, and does the rest once all have; whether it is done.
    pub fn step(&mut self) -> bool {
        let shared = self.comm.clone();
        let mut comm = shared.borrow_mut();
        if comm.aborted {
            return true;
        }
        if comm.failed != SUCCESS || self.never {
            return false;
        }
        let (read, written) = self.lengths(comm.ranks as usize);
        let name = format!("call{}", self.number);
        let head = format!("{:?} {} {} {}\n", self.kind, self.count, self.element, self.root);
        if !self.put {
            // SAFETY: checked when it was enqueued.
            let own = unsafe { std::slice::from_raw_parts(self.send as *const u8, read) };
            if comm.board.put(&name, &[head.as_bytes(), own].concat()).is_err() {
                comm.failed = fail(SYSTEM_ERROR, "the double's folder is gone");
                return false;
            }
            self.put = true;
        }
        let Some(all) = comm.board.all(&name) else { return false };
        if let Some(other) = all.iter().position(|bytes| !bytes.starts_with(head.as_bytes())) {
            comm.failed = fail(INVALID_USAGE, &format!("ranks make different calls: {} and {other}", comm.rank));
            return false;
        }
        let all: Vec<_> = all.iter().map(|bytes| &bytes[head.len()..]).collect();
        let result = self.result(&all, comm.rank as usize);
        assert_eq!(result.len(), written);
        // SAFETY: checked when it was enqueued.
        unsafe { std::ptr::copy(result.as_ptr(), self.receive as *mut u8, written) };
        // Everybody has read the call before the last: all have laid down the last.
        if let Some(before) = self.number.checked_sub(1) {
            comm.board.clear(&format!("call{before}"));
        }
        true
    }

    fn result(&self, all: &[&[u8]], rank: usize) -> Vec<u8> {
        match self.kind {
            Kind::AllReduce => self.sum(all),
            Kind::ReduceScatter => {
                let part = self.count * self.size();
                self.sum(&all.iter().map(|bytes| &bytes[rank * part..][..part]).collect::<Vec<_>>())
            }
            Kind::AllGather => all.concat(),
            Kind::Broadcast => all[self.root as usize].to_vec(),
        }
    }

    /// From the last rank to the first: as NCCL may, not as MPI ranks do.
    fn sum(&self, all: &[&[u8]]) -> Vec<u8> {
        macro_rules! sum {
            ($type:ty, $size:literal) => {{
                let number = |bytes: &[u8]| <$type>::from_ne_bytes(bytes.try_into().expect("an element"));
                let values = |k: usize| all.iter().rev().map(move |bytes| number(&bytes[k * $size..][..$size]));
                (0..self.count).flat_map(|k| values(k).reduce(|a, b| a + b).unwrap_or_default().to_ne_bytes()).collect()
            }};
        }
        if self.element == 8 { sum!(f64, 8) } else { sum!(f32, 4) }
    }
}

// SAFETY, for all functions below: the caller keeps to nccl.h: places to write to are writable, a communicator is one that
// `ncclCommInitRankConfig` gave and nobody has freed.

fn shared(comm: *mut c_void) -> Shared {
    // SAFETY: see above; the handle keeps its own count.
    unsafe {
        Rc::increment_strong_count(comm.cast::<RefCell<Comm>>());
        Rc::from_raw(comm.cast::<RefCell<Comm>>())
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclGetVersion(version: *mut c_int) -> c_int {
    let asked = std::env::var("AVJEPA_NCCL_DOUBLE_VERSION").ok().and_then(|text| text.parse().ok());
    // SAFETY: see above.
    unsafe { *version = asked.unwrap_or(22_703) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclGetUniqueId(id: *mut UniqueId) -> c_int {
    if let Some(Fault::Return(code)) = faults::of_call(0, "ncclGetUniqueId") {
        return fail(code, "a fault that was asked for");
    }
    // SAFETY: see above.
    match Board::make_id(unsafe { &mut (*id).0 }) {
        Ok(()) => SUCCESS,
        Err(error) => fail(SYSTEM_ERROR, &error.to_string()),
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclCommInitRankConfig(
    out: *mut *mut c_void,
    ranks: c_int,
    id: UniqueId,
    rank: c_int,
    config: *mut Config,
) -> c_int {
    // SAFETY: see above.
    let config = unsafe { &*config };
    if config.magic != 0xcafe_beef
        || config.size < size_of::<Config>()
        || config.version < 21_400
        || config.blocking != 0
    {
        return fail(INVALID_ARGUMENT, "a configuration that is none, or blocks");
    }
    if ranks < 1 || !(0..ranks).contains(&rank) {
        return fail(INVALID_ARGUMENT, "a rank that is not among the ranks");
    }
    let context = device(|device| device.context);
    if context == 0 {
        return fail(INVALID_USAGE, "no current device");
    }
    if let Some(Fault::Return(code)) = faults::of_call(rank, "ncclCommInitRankConfig") {
        return fail(code, "a fault that was asked for");
    }
    let board = Board::open(&id.0, rank, ranks);
    if board.put("join", &context.to_ne_bytes()).is_err() {
        return fail(SYSTEM_ERROR, "the id names no folder");
    }
    let stage = Stage::Joining;
    let comm = Comm { board, rank, ranks, context, stage, failed: SUCCESS, aborted: false, calls: 0 };
    // SAFETY: see above.
    unsafe { *out = Rc::into_raw(Rc::new(RefCell::new(comm))).cast_mut().cast() };
    IN_PROGRESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclCommGetAsyncError(comm: *mut c_void, error: *mut c_int) -> c_int {
    let shared = shared(comm);
    let mut comm = shared.borrow_mut();
    let mut state = comm.failed;
    if state == SUCCESS {
        state = match std::mem::replace(&mut comm.stage, Stage::Idle) {
            Stage::Joining => match comm.board.all("join") {
                None => {
                    comm.stage = Stage::Joining;
                    IN_PROGRESS
                }
                Some(contexts) => duplicate(&contexts).map_or(SUCCESS, |(a, b)| {
                    let number = comm.context - 1;
                    let why = format!("Duplicate GPU detected : rank {a} and rank {b} both on CUDA device {number}");
                    comm.failed = fail(INVALID_USAGE, &why);
                    comm.failed
                }),
            },
            Stage::Pending(stream, call) => {
                drop(comm);
                device(|device| device.enqueue(stream, Op::Collective(call)));
                SUCCESS
            }
            Stage::Leaving => {
                comm.stage = Stage::Left;
                SUCCESS
            }
            stage => {
                comm.stage = stage;
                SUCCESS
            }
        };
    }
    // SAFETY: see above.
    unsafe { *error = state };
    SUCCESS
}

/// Two ranks that have the same device.
fn duplicate(contexts: &[Vec<u8>]) -> Option<(usize, usize)> {
    contexts
        .iter()
        .enumerate()
        .find_map(|(b, context)| contexts[..b].iter().position(|other| other == context).map(|a| (a, b)))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclCommFinalize(comm: *mut c_void) -> c_int {
    let shared = shared(comm);
    let mut comm = shared.borrow_mut();
    match comm.stage {
        Stage::Idle => {
            comm.stage = Stage::Leaving;
            IN_PROGRESS
        }
        _ => fail(INVALID_USAGE, "finalized while a call is in progress"),
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclCommDestroy(comm: *mut c_void) -> c_int {
    let shared = shared(comm);
    if !matches!(shared.borrow().stage, Stage::Left) {
        return fail(INVALID_USAGE, "destroyed before it was finalized");
    }
    shared.borrow().board.leave();
    // SAFETY: see above; this is the handle's own count.
    unsafe { Rc::decrement_strong_count(comm.cast::<RefCell<Comm>>()) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclCommAbort(comm: *mut c_void) -> c_int {
    let shared = shared(comm);
    shared.borrow_mut().aborted = true;
    shared.borrow_mut().stage = Stage::Left;
    shared.borrow().board.leave();
    // SAFETY: see above; this is the handle's own count.
    unsafe { Rc::decrement_strong_count(comm.cast::<RefCell<Comm>>()) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclGetErrorString(code: c_int) -> *const c_char {
    let text: &[u8] = match code {
        SUCCESS => b"no error\0",
        SYSTEM_ERROR => b"unhandled system error (run with NCCL_DEBUG=INFO for details)\0",
        INVALID_ARGUMENT => b"invalid argument\0",
        INVALID_USAGE => b"invalid usage\0",
        6 => b"remote process exited or there was a network error\0",
        IN_PROGRESS => b"NCCL operation in progress\0",
        _ => b"unknown result code\0",
    };
    text.as_ptr().cast()
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclGetLastError(_comm: *mut c_void) -> *const c_char {
    LAST_ERROR.with_borrow(|text| text.as_ptr())
}

/// Takes a call: on its stream only when it is asked after.
fn accept(function: &'static str, comm: *mut c_void, stream: *mut c_void, mut call: Collective) -> c_int {
    let shared = shared(comm);
    let mut comm = shared.borrow_mut();
    if !matches!(comm.stage, Stage::Idle) {
        return fail(INVALID_USAGE, "a call while another is in progress");
    }
    if device(|device| device.context) != comm.context {
        return fail(INVALID_USAGE, "the communicator is another device's");
    }
    let (read, written) = call.lengths(comm.ranks as usize);
    device(|device| {
        device.require(function, call.send, read, false);
        device.require(function, call.receive, written, false);
    });
    match faults::of_call(comm.rank, function) {
        Some(Fault::Return(code)) => return fail(code, "a fault that was asked for"),
        Some(Fault::Async(code)) => comm.failed = fail(code, "a fault that was asked for"),
        Some(Fault::Never) => call.never = true,
        Some(Fault::Die) | None => {}
    }
    call.number = comm.calls;
    comm.calls += 1;
    comm.stage = Stage::Pending(stream as usize, call);
    IN_PROGRESS
}

fn call(kind: Kind, ends: (*const c_void, *mut c_void), count: usize, element: c_int, comm: *mut c_void) -> Collective {
    let (send, receive) = (ends.0 as usize, ends.1 as usize);
    Collective { comm: shared(comm), kind, send, receive, count, element, root: 0, number: 0, put: false, never: false }
}

/// Sums of numbers that are some.
fn summable(element: c_int, op: c_int) -> Option<c_int> {
    let known = op == 0 && (element == 7 || element == 8);
    (!known).then(|| fail(INVALID_ARGUMENT, "a reduction that the double does not have"))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclAllReduce(
    send: *const c_void,
    receive: *mut c_void,
    count: usize,
    element: c_int,
    op: c_int,
    comm: *mut c_void,
    stream: *mut c_void,
) -> c_int {
    let call = call(Kind::AllReduce, (send, receive), count, element, comm);
    summable(element, op).unwrap_or_else(|| accept("ncclAllReduce", comm, stream, call))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclReduceScatter(
    send: *const c_void,
    receive: *mut c_void,
    count: usize,
    element: c_int,
    op: c_int,
    comm: *mut c_void,
    stream: *mut c_void,
) -> c_int {
    let call = call(Kind::ReduceScatter, (send, receive), count, element, comm);
    summable(element, op).unwrap_or_else(|| accept("ncclReduceScatter", comm, stream, call))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclAllGather(
    send: *const c_void,
    receive: *mut c_void,
    count: usize,
    element: c_int,
    comm: *mut c_void,
    stream: *mut c_void,
) -> c_int {
    accept("ncclAllGather", comm, stream, call(Kind::AllGather, (send, receive), count, element, comm))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclBroadcast(
    send: *const c_void,
    receive: *mut c_void,
    count: usize,
    element: c_int,
    root: c_int,
    comm: *mut c_void,
    stream: *mut c_void,
) -> c_int {
    let call = Collective { root, ..call(Kind::Broadcast, (send, receive), count, element, comm) };
    accept("ncclBroadcast", comm, stream, call)
}
