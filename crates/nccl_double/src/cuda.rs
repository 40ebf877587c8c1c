//! The driver's functions, by their names in `libcuda.so.1`.

use crate::streams::{Op, device, wrong};
use std::ffi::{c_char, c_int, c_uint, c_void};

const SUCCESS: c_int = 0;
const INVALID_VALUE: c_int = 1;
const NO_DEVICE: c_int = 100;
const NOT_READY: c_int = 600;

fn devices() -> c_int {
    std::env::var("AVJEPA_NCCL_DOUBLE_DEVICES").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

// SAFETY, for all functions below: the caller keeps to cuda.h: places to write to are writable.

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(flags: c_uint) -> c_int {
    match (flags, devices()) {
        (0, 0) => NO_DEVICE,
        (0, _) => SUCCESS,
        _ => INVALID_VALUE,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> c_int {
    // SAFETY: see above.
    unsafe { *count = devices() };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGet(out: *mut c_int, ordinal: c_int) -> c_int {
    if !(0..devices()).contains(&ordinal) {
        return INVALID_VALUE;
    }
    // SAFETY: see above.
    unsafe { *out = ordinal };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, length: c_int, ordinal: c_int) -> c_int {
    let text = format!("no GPU {ordinal} (test double)\0");
    if text.len() > length as usize {
        return INVALID_VALUE;
    }
    // SAFETY: see above.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), name.cast(), text.len()) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut *mut c_void, ordinal: c_int) -> c_int {
    let number = ordinal as usize + 1;
    device(|device| *device.retained.entry(number).or_default() += 1);
    // SAFETY: see above.
    unsafe { *context = number as *mut c_void };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRelease_v2(ordinal: c_int) -> c_int {
    device(|device| match device.retained.get_mut(&(ordinal as usize + 1)) {
        Some(count) if *count > 0 => *count -= 1,
        _ => wrong("cuDevicePrimaryCtxRelease of a context that is not retained"),
    });
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCurrent(context: *mut c_void) -> c_int {
    let number = context as usize;
    device(|device| {
        if device.retained.get(&number).is_none_or(|count| *count == 0) {
            wrong("cuCtxSetCurrent of a context that is not retained");
        }
        device.context = number;
    });
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> c_int {
    // SAFETY: see above.
    unsafe { *address = device(|device| device.allocate(bytes, false)) as u64 };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFree_v2(address: u64) -> c_int {
    device(|device| device.free(address as usize, false));
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemHostAlloc(address: *mut *mut c_void, bytes: usize, _flags: c_uint) -> c_int {
    // SAFETY: see above.
    unsafe { *address = device(|device| device.allocate(bytes, true)) as *mut c_void };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeHost(address: *mut c_void) -> c_int {
    device(|device| device.free(address as usize, true));
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreate(stream: *mut *mut c_void, _flags: c_uint) -> c_int {
    // SAFETY: see above.
    unsafe { *stream = device(|device| device.make_stream()) as *mut c_void };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamDestroy_v2(stream: *mut c_void) -> c_int {
    device(|device| device.drop_stream(stream as usize));
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamWaitEvent(stream: *mut c_void, event: *mut c_void, _flags: c_uint) -> c_int {
    device(|device| device.wait(stream as usize, event as usize));
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: *mut c_void) -> c_int {
    let (from, to) = (from as usize, to as usize);
    device(|device| {
        device.require("cuMemcpyHtoDAsync", from, bytes, true);
        device.require("cuMemcpyHtoDAsync", to, bytes, false);
        device.enqueue(stream as usize, Op::Copy { from, to, bytes });
    });
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: *mut c_void) -> c_int {
    let (from, to) = (from as usize, to as usize);
    device(|device| {
        device.require("cuMemcpyDtoHAsync", from, bytes, false);
        device.require("cuMemcpyDtoHAsync", to, bytes, true);
        device.enqueue(stream as usize, Op::Copy { from, to, bytes });
    });
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventCreate(event: *mut *mut c_void, _flags: c_uint) -> c_int {
    // SAFETY: see above.
    unsafe { *event = device(|device| device.make_event()) as *mut c_void };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventDestroy_v2(event: *mut c_void) -> c_int {
    device(|device| device.drop_event(event as usize));
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventRecord(event: *mut c_void, stream: *mut c_void) -> c_int {
    device(|device| device.record(event as usize, stream as usize));
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventQuery(event: *mut c_void) -> c_int {
    match device(|device| device.is_past(event as usize)) {
        true => SUCCESS,
        false => NOT_READY,
    }
}

fn words(code: c_int) -> Option<(&'static [u8], &'static [u8])> {
    match code {
        SUCCESS => Some((b"CUDA_SUCCESS\0", b"no error\0")),
        INVALID_VALUE => Some((b"CUDA_ERROR_INVALID_VALUE\0", b"invalid argument\0")),
        NO_DEVICE => Some((b"CUDA_ERROR_NO_DEVICE\0", b"no CUDA-capable device is detected\0")),
        NOT_READY => Some((b"CUDA_ERROR_NOT_READY\0", b"device not ready\0")),
        _ => None,
    }
}

unsafe fn tell(text: Option<&'static [u8]>, out: *mut *const c_char) -> c_int {
    // SAFETY: see above; the text is static.
    unsafe { *out = text.map_or(std::ptr::null(), |text| text.as_ptr().cast()) };
    if text.is_some() { SUCCESS } else { INVALID_VALUE }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorName(code: c_int, name: *mut *const c_char) -> c_int {
    // SAFETY: see above.
    unsafe { tell(words(code).map(|(name, _)| name), name) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorString(code: c_int, text: *mut *const c_char) -> c_int {
    // SAFETY: see above.
    unsafe { tell(words(code).map(|(_, text)| text), text) }
}
