//! The functions of NVIDIA's driver that are used here (`libcuda.so.1`), typed after `cuda.h`, the CUDA driver's public interface.

use super::library::{OpenError, Source, functions};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

/// `CUresult`: 0 is success.
pub type Code = c_int;
/// `CUdeviceptr`: an address in a device's memory.
pub type DevicePtr = u64;
/// `CUdevice`: a device's number.
pub type Ordinal = c_int;
/// `CUcontext`, `CUstream`, `CUevent`: pointers to structures of the driver's own.
pub type Context = *mut c_void;
pub type StreamHandle = *mut c_void;
pub type EventHandle = *mut c_void;

pub const SUCCESS: Code = 0;
/// `CUDA_ERROR_NOT_READY`: what was asked about is still to come.
pub const NOT_READY: Code = 600;
/// `CU_STREAM_NON_BLOCKING`: does not wait for the default stream.
pub const STREAM_NON_BLOCKING: c_uint = 1;
/// `CU_EVENT_DISABLE_TIMING`
pub const EVENT_DISABLE_TIMING: c_uint = 2;

const SOURCE: Source = Source {
    variable: "AVJEPA_CUDA_LIBRARY",
    names: &["libcuda.so.1", "libcuda.so"],
    remedy: "install NVIDIA's driver; in a container, run it with the host's GPUs (--gpus all, or apptainer --nv)",
};

functions! {
    /// The driver's functions. Unless they say otherwise they work on the context that is current on the calling thread.
    CudaApi {
        /// Once, before all others; the flags are 0.
        init = "cuInit"(flags: c_uint) -> Code;
        device_count = "cuDeviceGetCount"(count: *mut c_int) -> Code;
        device_get = "cuDeviceGet"(device: *mut Ordinal, ordinal: c_int) -> Code;
        device_name = "cuDeviceGetName"(name: *mut c_char, length: c_int, device: Ordinal) -> Code;
        /// The context that everything in the process shares, NCCL too.
        context_retain = "cuDevicePrimaryCtxRetain"(context: *mut Context, device: Ordinal) -> Code;
        context_release = "cuDevicePrimaryCtxRelease_v2"(device: Ordinal) -> Code;
        context_set_current = "cuCtxSetCurrent"(context: Context) -> Code;
        memory_allocate = "cuMemAlloc_v2"(address: *mut DevicePtr, bytes: usize) -> Code;
        memory_free = "cuMemFree_v2"(address: DevicePtr) -> Code;
        /// Memory of the host that the device reaches by itself.
        host_allocate = "cuMemHostAlloc"(address: *mut *mut c_void, bytes: usize, flags: c_uint) -> Code;
        host_free = "cuMemFreeHost"(address: *mut c_void) -> Code;
        stream_create = "cuStreamCreate"(stream: *mut StreamHandle, flags: c_uint) -> Code;
        stream_destroy = "cuStreamDestroy_v2"(stream: StreamHandle) -> Code;
        /// What is enqueued on the stream from now on waits for the event's last record.
        stream_wait_event = "cuStreamWaitEvent"(stream: StreamHandle, event: EventHandle, flags: c_uint) -> Code;
        copy_to_device = "cuMemcpyHtoDAsync_v2"(to: DevicePtr, from: *const c_void, bytes: usize, stream: StreamHandle) -> Code;
        copy_to_host = "cuMemcpyDtoHAsync_v2"(to: *mut c_void, from: DevicePtr, bytes: usize, stream: StreamHandle) -> Code;
        event_create = "cuEventCreate"(event: *mut EventHandle, flags: c_uint) -> Code;
        event_destroy = "cuEventDestroy_v2"(event: EventHandle) -> Code;
        /// The event comes to pass when all that is on the stream now is done.
        event_record = "cuEventRecord"(event: EventHandle, stream: StreamHandle) -> Code;
        /// [`NOT_READY`] until the event has come to pass.
        event_query = "cuEventQuery"(event: EventHandle) -> Code;
        error_name = "cuGetErrorName"(code: Code, name: *mut *const c_char) -> Code;
        error_text = "cuGetErrorString"(code: Code, text: *mut *const c_char) -> Code;
    }
}

impl CudaApi {
    /// Opens and starts the driver.
    ///
    /// # Errors
    /// A driver that is not there, lacks a function, or does not start; each with its remedy.
    pub fn open() -> Result<&'static CudaApi, OpenError> {
        let library = SOURCE.open()?;
        // SAFETY: the file is libcuda, by its name or by the user's word; the types are those of cuda.h.
        let api: &'static CudaApi = Box::leak(Box::new(unsafe { CudaApi::load(&library)? }));
        // SAFETY: cuInit takes no pointers.
        match unsafe { (api.init)(0) } {
            SUCCESS => Ok(api),
            code => Err(OpenError::new(format!("NVIDIA's driver ({}) does not start: {}", library.name, api.text(code)))
                .hint("nvidia-smi shows whether the driver sees its GPUs; in a container, run it with the host's (--gpus all)")),
        }
    }

    /// # Errors
    /// The function's name and the driver's own text.
    pub fn check(&self, function: &str, code: Code) -> Result<(), String> {
        match code {
            SUCCESS => Ok(()),
            _ => Err(format!("CUDA: {function}: {}", self.text(code))),
        }
    }

    fn text(&self, code: Code) -> String {
        let of = |function: unsafe extern "C" fn(Code, *mut *const c_char) -> Code| {
            let mut text = std::ptr::null();
            // SAFETY: the driver writes a pointer to a text that is never freed, or null.
            unsafe {
                (function(code, &raw mut text) == SUCCESS && !text.is_null())
                    .then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
            }
        };
        match (of(self.error_name), of(self.error_text)) {
            (Some(name), Some(text)) => format!("{text} ({name})"),
            _ => format!("error {code}"),
        }
    }
}
