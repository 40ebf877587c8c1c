//! A device and its one in-order queue.
//!
//! The caller's thread only checks shapes and enqueues; a thread of the device's own runs the kernels. A fault of a kernel is kept
//! and handed to the next reader; what was enqueued after it is skipped.

use crate::{
    backend::Backend,
    error::{Code, Error, Result},
    tensor::Tensor,
    trace::Trace,
};
use crossbeam_channel::{Sender, unbounded};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

type Job = Box<dyn FnOnce(&Device) + Send>;

/// Bytes now held by live tensors, the largest that has been, and how many buffers there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    pub bytes: usize,
    pub peak_bytes: usize,
    pub buffers: usize,
}

pub struct Device {
    name: String,
    backend: Box<dyn Backend>,
    queue: Sender<Job>,
    fault: Mutex<Option<Error>>,
    bytes: AtomicUsize,
    peak: AtomicUsize,
    buffers: AtomicUsize,
    trace: Trace,
}

impl Device {
    /// Starts the queue's thread. `name` is what messages call the device: `cpu`, `wgpu:1`, `cuda:0`.
    pub fn new(name: &str, backend: Box<dyn Backend>) -> Arc<Device> {
        let (queue, jobs) = unbounded::<Job>();
        let device = Arc::new(Device {
            name: name.to_string(),
            backend,
            queue,
            fault: Mutex::new(None),
            bytes: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            buffers: AtomicUsize::new(0),
            trace: Trace::default(),
        });
        // The thread must not keep the device alive, or the queue would never close.
        let weak = Arc::downgrade(&device);
        std::thread::Builder::new()
            .name(format!("avjepa-{name}"))
            .spawn(move || {
                while let Ok(job) = jobs.recv() {
                    match weak.upgrade() {
                        Some(device) => job(&device),
                        None => break,
                    }
                }
            })
            .expect("the operating system refuses a thread");
        device
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
    }

    /// Records what this device runs, once started.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Enqueues a kernel. Should it fail, `op` stands before the message, as it does in errors of shape.
    pub fn submit(&self, op: &'static str, kernel: impl FnOnce(&dyn Backend) -> Result<()> + Send + 'static) {
        self.enqueue(Box::new(move |device| {
            if device.fault.lock().unwrap().is_some() {
                return;
            }
            let run = || kernel(device.backend());
            // A span ends when the work is done, not when it has been handed to the device.
            let timed = || run().and_then(|()| if device.trace.is_on() { device.backend().finish() } else { Ok(()) });
            if let Err(mut error) = device.trace.record(op, || guard(op, timed)) {
                if !error.message.starts_with(&format!("{op}: ")) {
                    error.message = format!("{op}: {}", error.message);
                }
                *device.fault.lock().unwrap() = Some(error);
            }
        }));
    }

    /// Hands the tensor's bytes to `done`, on the queue's thread, once everything enqueued before has run.
    pub fn read(&self, tensor: &Tensor, done: impl FnOnce(Result<Vec<u8>>) + Send + 'static) {
        let tensor = tensor.clone();
        self.read_with(done, move |backend| {
            let mut bytes = vec![0; tensor.bytes()];
            backend.read(&tensor, &mut bytes)?;
            Ok(bytes)
        });
    }

    /// `read` of many tensors, all as they are at one moment, in as few transfers as may be.
    pub fn read_all(&self, tensors: Vec<Tensor>, done: impl FnOnce(Result<Vec<Vec<u8>>>) + Send + 'static) {
        self.read_with(done, move |backend| {
            let mut bytes: Vec<Vec<u8>> = tensors.iter().map(|t| vec![0; t.bytes()]).collect();
            backend.read_all(&tensors, &mut bytes)?;
            Ok(bytes)
        });
    }

    fn read_with<T: 'static>(
        &self,
        done: impl FnOnce(Result<T>) + Send + 'static,
        read: impl FnOnce(&dyn Backend) -> Result<T> + Send + 'static,
    ) {
        self.enqueue(Box::new(move |device| {
            let fault = device.fault.lock().unwrap().take();
            // Tensors are freed with `read`, before the caller is told, so that its next look at the memory is exact.
            let bytes = fault.map_or_else(|| guard("read", || read(device.backend())), Err);
            done(bytes);
        }));
    }

    /// Calls `done` once everything enqueued before has run, with the first fault since the last one reported.
    pub fn sync(&self, done: impl FnOnce(Result<()>) + Send + 'static) {
        self.enqueue(Box::new(move |device| {
            let fault = device.fault.lock().unwrap().take();
            done(fault.map_or_else(|| guard("synchronize", || device.backend().finish()), Err));
        }));
    }

    /// `read`, waited for. For tests and tools; JavaScript never waits.
    pub fn read_now(&self, tensor: &Tensor) -> Result<Vec<u8>> {
        let (send, receive) = std::sync::mpsc::channel();
        self.read(tensor, move |bytes| drop(send.send(bytes)));
        receive.recv().unwrap_or_else(|_| Err(Error::new(Code::Device, format!("{}: the queue is closed", self.name))))
    }

    pub fn memory(&self) -> MemoryUse {
        MemoryUse {
            bytes: self.bytes.load(Relaxed),
            peak_bytes: self.peak.load(Relaxed),
            buffers: self.buffers.load(Relaxed),
        }
    }

    /// Lets the next peak start from what is held now.
    pub fn reset_peak(&self) {
        self.peak.store(self.bytes.load(Relaxed), Relaxed);
    }

    pub(crate) fn count_alloc(&self, bytes: usize) {
        let now = self.bytes.fetch_add(bytes, Relaxed) + bytes;
        self.peak.fetch_max(now, Relaxed);
        self.buffers.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_free(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Relaxed);
        self.buffers.fetch_sub(1, Relaxed);
    }

    fn enqueue(&self, job: Job) {
        // The receiver lives as long as the device: sending cannot fail while `self` is borrowed.
        let _ = self.queue.send(job);
    }
}

/// Runs `f`, turning a panic into an error.
pub fn guard<T>(op: &str, f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        let what = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("unknown cause");
        Err(Error::new(Code::Panic, format!("{op}: internal error: {what}"))
            .hint("this is a bug in AV-JEPA: please report it with the message above"))
    })
}
