//! NCCL's communicator: collective calls on device memory and a stream, and waiting that can be given up.
//!
//! Calls do not block. What NCCL has not yet accepted is asked after until it has, and only then does anything follow on the stream.
//! While it waits, a rank looks whether NCCL has failed, whether the others are still there, and whether it is asked to give up; then
//! the communicator is aborted, which ends what is under way on the device.

use super::cuda_api::{DevicePtr, StreamHandle};
use super::device::{Device, Event};
use super::library::OpenError;
use super::lifeline::Lifeline;
use super::nccl_api::{Code, CommHandle, Config, Element, IN_PROGRESS, Nccl, SUCCESS, SUM, UniqueId};
use crate::pause::Pause;
use std::ffi::{c_int, c_void};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, String>;

/// Between two looks at the others.
const LOOK: Duration = Duration::from_millis(50);

/// From when on leaving is no longer waited for: all calls are done by then.
const LEAVING: Duration = Duration::from_secs(10);

/// This process among the ranks of a run.
pub struct World {
    nccl: &'static Nccl,
    /// Null once it is aborted or destroyed.
    comm: CommHandle,
    pub rank: usize,
    pub size: usize,
    lifeline: Lifeline,
    interrupted: Arc<AtomicBool>,
    /// Holds the device that it works on.
    _device: Rc<Device>,
}

impl World {
    /// Joins the other ranks with the device that is current on this thread. Gives up after `limit`.
    ///
    /// # Errors
    /// What NCCL says, or who is gone.
    pub fn join(
        nccl: &'static Nccl,
        device: &Rc<Device>,
        id: UniqueId,
        (rank, size): (usize, usize),
        lifeline: Lifeline,
        limit: Duration,
    ) -> std::result::Result<World, OpenError> {
        let mut comm: CommHandle = std::ptr::null_mut();
        let mut config = Config::non_blocking();
        // SAFETY: both are writable; NCCL copies the configuration.
        let code = unsafe { (nccl.api.init_rank)(&raw mut comm, size as c_int, id, rank as c_int, &raw mut config) };
        let interrupted = Arc::default();
        let mut world = World { nccl, comm, rank, size, lifeline, interrupted, _device: device.clone() };
        let begun = Instant::now();
        world.accepted("ncclCommInitRankConfig", code, Some(begun + limit)).map_err(|message| {
            let says = |text| message.contains(text);
            let hint = if says("Duplicate GPU") {
                "each process needs a GPU of its own: start no more processes on a machine than it has GPUs"
            } else if says("driver version is insufficient") {
                "NVIDIA's driver is older than this NCCL needs: update it, or use an NCCL for the CUDA that nvidia-smi shows"
            } else {
                "NCCL_DEBUG=INFO has NCCL say more; NCCL_SOCKET_IFNAME=eth0 names the network to use"
            };
            OpenError::new(message).hint(hint)
        })?;
        Ok(world)
    }

    /// Raised from another thread, it has this rank give up what it waits for.
    pub fn interrupter(&self) -> Arc<AtomicBool> {
        self.interrupted.clone()
    }

    // The calls on the device's own memory: a backend makes them on its streams, and values of the host go through them.
    //
    // SAFETY, for their callers: the addresses have the elements, on this communicator's device, until the stream has come to what
    // is enqueued; the stream is that device's.

    /// Enqueues that `count` elements at `at` become the sums of all ranks'. The order of the summands is NCCL's: the same on the same
    /// machines, and the same bits on every rank.
    ///
    /// # Safety
    /// As above.
    pub unsafe fn all_reduce(
        &mut self,
        at: DevicePtr,
        count: usize,
        element: Element,
        stream: StreamHandle,
    ) -> Result<()> {
        let comm = self.comm()?;
        // SAFETY, here and below: promised by the caller.
        let code = unsafe { (self.nccl.api.all_reduce)(pointer(at), pointer(at), count, element, SUM, comm, stream) };
        self.accepted("ncclAllReduce", code, None)
    }

    /// Enqueues that `part` elements at `to` become the sums of all ranks' this rank's part of those at `from`: NCCL's order, as above.
    ///
    /// # Safety
    /// As above.
    pub unsafe fn reduce_scatter(
        &mut self,
        from: DevicePtr,
        to: DevicePtr,
        part: usize,
        element: Element,
        stream: StreamHandle,
    ) -> Result<()> {
        let comm = self.comm()?;
        // SAFETY: see above.
        let code =
            unsafe { (self.nccl.api.reduce_scatter)(pointer(from), pointer(to), part, element, SUM, comm, stream) };
        self.accepted("ncclReduceScatter", code, None)
    }

    /// Enqueues that all ranks' `part` bytes at `from` come to `to`, in the order of the ranks.
    ///
    /// # Safety
    /// As above.
    pub unsafe fn all_gather(
        &mut self,
        from: DevicePtr,
        to: DevicePtr,
        part: usize,
        stream: StreamHandle,
    ) -> Result<()> {
        let comm = self.comm()?;
        // SAFETY: see above.
        let code = unsafe { (self.nccl.api.all_gather)(pointer(from), pointer(to), part, Element::U8, comm, stream) };
        self.accepted("ncclAllGather", code, None)
    }

    /// Enqueues that the bytes at `at` become those of rank `root`.
    ///
    /// # Safety
    /// As above.
    pub unsafe fn broadcast(&mut self, at: DevicePtr, bytes: usize, root: usize, stream: StreamHandle) -> Result<()> {
        let comm = self.comm()?;
        // SAFETY: see above.
        let code = unsafe {
            let root = root as c_int;
            (self.nccl.api.broadcast)(pointer(at), pointer(at), bytes, Element::U8, root, comm, stream)
        };
        self.accepted("ncclBroadcast", code, None)
    }

    /// Waits, asleep, until the event has come to pass.
    pub fn wait(&mut self, event: &Event) -> Result<()> {
        self.poll(None, |world| match world.state()? {
            SUCCESS | IN_PROGRESS => event.is_past(),
            code => Err(format!("NCCL: {}", world.nccl.text(code, world.comm))),
        })
    }

    /// Leaves the others, who do so too. All calls are done: what goes wrong now loses nothing.
    pub fn close(mut self) -> Result<()> {
        let comm = self.comm()?;
        // SAFETY: nothing is under way.
        let code = unsafe { (self.nccl.api.finalize)(comm) };
        self.lifeline.finish();
        if self.accepted("ncclCommFinalize", code, Some(Instant::now() + LEAVING)).is_ok() {
            self.comm = std::ptr::null_mut();
            // SAFETY: finalized, and never used again.
            self.nccl.check("ncclCommDestroy", unsafe { (self.nccl.api.destroy)(comm) }, std::ptr::null_mut())?;
        }
        Ok(())
    }

    /// The communicator, unless it has failed.
    fn comm(&self) -> Result<CommHandle> {
        match self.comm.is_null() {
            true => Err("the connection has failed before".to_owned()),
            false => Ok(self.comm),
        }
    }

    /// Waits until NCCL has accepted a call that answered `code`.
    fn accepted(&mut self, function: &str, code: Code, until: Option<Instant>) -> Result<()> {
        match code {
            SUCCESS => Ok(()),
            IN_PROGRESS => self.poll(until, |world| match world.state()? {
                IN_PROGRESS => Ok(false),
                code => world.nccl.check(function, code, world.comm).map(|()| true),
            }),
            code => {
                let error = self.nccl.check(function, code, self.comm);
                self.abort(error.as_ref().err().map_or("", |message| message));
                error
            }
        }
    }

    /// What NCCL is about.
    fn state(&self) -> Result<Code> {
        let mut state = SUCCESS;
        // SAFETY: `state` is writable, the communicator alive.
        let code = unsafe { (self.nccl.api.async_error)(self.comm()?, &raw mut state) };
        self.nccl.check("ncclCommGetAsyncError", code, self.comm).map(|()| state)
    }

    /// Asks until it is so; aborts when it never will be.
    fn poll(&mut self, until: Option<Instant>, mut ready: impl FnMut(&World) -> Result<bool>) -> Result<()> {
        let (mut pause, mut looked) = (Pause::default(), Instant::now());
        let failure = loop {
            match ready(self) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(message) => break message,
            }
            if self.interrupted.load(Relaxed) {
                break "interrupted".to_owned();
            }
            if looked.elapsed() > LOOK {
                looked = Instant::now();
                if let Some(gone) = self.lifeline.look() {
                    break gone;
                }
                if until.is_some_and(|until| looked > until) {
                    break "NCCL does not come to an end of it".to_owned();
                }
            }
            pause.wait();
        };
        self.abort(&failure);
        Err(failure)
    }

    /// Ends what is under way, and tells the others why.
    pub(super) fn abort(&mut self, why: &str) {
        self.lifeline.cut(why);
        let comm = std::mem::replace(&mut self.comm, std::ptr::null_mut());
        if !comm.is_null() {
            // SAFETY: never used again.
            unsafe { (self.nccl.api.abort)(comm) };
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.abort("it has ended");
    }
}

fn pointer(at: DevicePtr) -> *mut c_void {
    at as *mut c_void
}
