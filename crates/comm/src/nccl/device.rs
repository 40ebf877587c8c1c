//! A CUDA device as far as messages need one: memory on both sides, streams that copy, events that tell when.

use super::cuda_api::{
    Context, CudaApi, DevicePtr, EVENT_DISABLE_TIMING, EventHandle, NOT_READY, Ordinal, STREAM_NON_BLOCKING,
    StreamHandle,
};
use super::library::OpenError;
use std::ffi::{c_char, c_int, c_void};
use std::rc::Rc;

type Result<T> = std::result::Result<T, String>;

/// A device, current on the thread that opened it.
pub struct Device {
    cuda: &'static CudaApi,
    ordinal: Ordinal,
    pub name: String,
}

/// How many devices the driver shows to this process.
///
/// # Errors
/// What the driver says.
pub fn count(cuda: &CudaApi) -> Result<usize> {
    let mut count: c_int = 0;
    // SAFETY: `count` is writable.
    cuda.check("cuDeviceGetCount", unsafe { (cuda.device_count)(&raw mut count) })?;
    Ok(count as usize)
}

impl Device {
    /// Makes a device current on this thread: the process's on its machine, modulo those it sees. Where each process is given one
    /// device of its own, all see one.
    ///
    /// # Errors
    /// A machine without devices, and what the driver says.
    pub fn open(cuda: &'static CudaApi, local_rank: usize) -> std::result::Result<Rc<Device>, OpenError> {
        let count = count(cuda)?;
        if count == 0 {
            return Err(OpenError::new("NVIDIA's driver shows no GPU to this process")
                .hint("is CUDA_VISIBLE_DEVICES empty? nvidia-smi lists what there is"));
        }
        let (mut ordinal, mut context): (Ordinal, Context) = (0, std::ptr::null_mut());
        let mut name: [c_char; 128] = [0; 128];
        // SAFETY: everything is written to places of the right types; the context is released by `drop`.
        unsafe {
            cuda.check("cuDeviceGet", (cuda.device_get)(&raw mut ordinal, (local_rank % count) as c_int))?;
            cuda.check("cuDeviceGetName", (cuda.device_name)(name.as_mut_ptr(), name.len() as c_int, ordinal))?;
            cuda.check("cuDevicePrimaryCtxRetain", (cuda.context_retain)(&raw mut context, ordinal))?;
        }
        let name = name.iter().take_while(|&&c| c != 0).map(|&c| c as u8 as char).collect();
        let device = Rc::new(Device { cuda, ordinal, name });
        // SAFETY: the context is the one just retained.
        cuda.check("cuCtxSetCurrent", unsafe { (cuda.context_set_current)(context) })?;
        Ok(device)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: retained once; nothing of it is used any more, since all that is made of it holds it.
        unsafe { (self.cuda.context_release)(self.ordinal) };
    }
}

/// A queue of the device's.
pub struct Stream {
    device: Rc<Device>,
    handle: StreamHandle,
}

impl Stream {
    pub fn new(device: &Rc<Device>) -> Result<Stream> {
        let mut handle = std::ptr::null_mut();
        let cuda = device.cuda;
        // SAFETY: `handle` is writable.
        cuda.check("cuStreamCreate", unsafe { (cuda.stream_create)(&raw mut handle, STREAM_NON_BLOCKING) })?;
        Ok(Stream { device: device.clone(), handle })
    }

    pub fn handle(&self) -> StreamHandle {
        self.handle
    }

    /// What is enqueued from now on waits for the event.
    pub fn wait_for(&self, event: &Event) -> Result<()> {
        let cuda = self.device.cuda;
        // SAFETY: both are alive.
        cuda.check("cuStreamWaitEvent", unsafe { (cuda.stream_wait_event)(self.handle, event.handle, 0) })
    }

    /// Enqueues a copy to the device. The bytes must stay as they are until it is done.
    pub fn upload(&self, from: &Pinned, to: &Memory, range: std::ops::Range<usize>) -> Result<()> {
        assert!(range.end <= from.bytes && range.end <= to.bytes && range.start <= range.end);
        let cuda = self.device.cuda;
        // SAFETY: both sides have the range, and live until the stream has come to its end: their owner waits for its events.
        let code = unsafe {
            let from = from.address.add(range.start).cast_const().cast();
            (cuda.copy_to_device)(to.at(range.start), from, range.len(), self.handle)
        };
        cuda.check("cuMemcpyHtoDAsync", code)
    }

    /// Enqueues a copy to the host. The bytes are there when it is done.
    pub fn download(&self, from: &Memory, to: &mut Pinned, range: std::ops::Range<usize>) -> Result<()> {
        assert!(range.end <= from.bytes && range.end <= to.bytes && range.start <= range.end);
        let cuda = self.device.cuda;
        // SAFETY: as for `upload`.
        let code = unsafe {
            let to = to.address.add(range.start).cast();
            (cuda.copy_to_host)(to, from.at(range.start), range.len(), self.handle)
        };
        cuda.check("cuMemcpyDtoHAsync", code)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: created once. The driver lets what is enqueued come to its end.
        unsafe { (self.device.cuda.stream_destroy)(self.handle) };
    }
}

/// A place in a stream.
pub struct Event {
    device: Rc<Device>,
    handle: EventHandle,
}

impl Event {
    pub fn new(device: &Rc<Device>) -> Result<Event> {
        let mut handle = std::ptr::null_mut();
        let cuda = device.cuda;
        // SAFETY: `handle` is writable.
        cuda.check("cuEventCreate", unsafe { (cuda.event_create)(&raw mut handle, EVENT_DISABLE_TIMING) })?;
        Ok(Event { device: device.clone(), handle })
    }

    /// The event comes to pass when what is on the stream now is done.
    pub fn record(&self, stream: &Stream) -> Result<()> {
        let cuda = self.device.cuda;
        // SAFETY: both are alive.
        cuda.check("cuEventRecord", unsafe { (cuda.event_record)(self.handle, stream.handle) })
    }

    /// Whether it has come to pass.
    pub fn is_past(&self) -> Result<bool> {
        let cuda = self.device.cuda;
        // SAFETY: it is alive.
        match unsafe { (cuda.event_query)(self.handle) } {
            NOT_READY => Ok(false),
            code => cuda.check("cuEventQuery", code).map(|()| true),
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: created once.
        unsafe { (self.device.cuda.event_destroy)(self.handle) };
    }
}

/// Bytes of the device's memory.
pub struct Memory {
    device: Rc<Device>,
    address: DevicePtr,
    bytes: usize,
}

impl Memory {
    pub fn new(device: &Rc<Device>, bytes: usize) -> Result<Memory> {
        let mut address = 0;
        let cuda = device.cuda;
        // SAFETY: `address` is writable.
        cuda.check("cuMemAlloc", unsafe { (cuda.memory_allocate)(&raw mut address, bytes) })?;
        Ok(Memory { device: device.clone(), address, bytes })
    }

    /// The address of a byte.
    pub fn at(&self, offset: usize) -> DevicePtr {
        assert!(offset <= self.bytes);
        self.address + offset as u64
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated once. The driver waits for what uses it.
        unsafe { (self.device.cuda.memory_free)(self.address) };
    }
}

/// Bytes of the host's memory that the device reads and writes by itself.
pub struct Pinned {
    device: Rc<Device>,
    address: *mut u8,
    bytes: usize,
}

impl Pinned {
    pub fn new(device: &Rc<Device>, bytes: usize) -> Result<Pinned> {
        let mut address: *mut c_void = std::ptr::null_mut();
        let cuda = device.cuda;
        // SAFETY: `address` is writable; the bytes are given a value, so that they may be read.
        unsafe {
            cuda.check("cuMemHostAlloc", (cuda.host_allocate)(&raw mut address, bytes, 0))?;
            address.cast::<u8>().write_bytes(0, bytes);
        }
        Ok(Pinned { device: device.clone(), address: address.cast(), bytes })
    }

    /// The bytes, while no copy to or from them is under way.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: allocated with so many bytes, which have a value.
        unsafe { std::slice::from_raw_parts_mut(self.address, self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: allocated once.
        unsafe { (self.device.cuda.host_free)(self.address.cast()) };
    }
}
