//! The addon's functions for tensors.

use crate::{
    handles, table,
    wire::{Args, device, open_device},
};
use avjepa_tensor::{Code, DType, Error, Tensor, Var, backend::wgpu, device::guard};
use napi::{
    Env,
    bindgen_prelude::{Float64ArraySlice, JsError, Object, Uint8Array},
};
use napi_derive::napi;
use std::{cell::RefCell, slice, sync::Arc};

thread_local! {
    static LAST: RefCell<Option<Error>> = const { RefCell::new(None) };
}

/// Runs operation `op` of the table. Returns how many numbers the answer has, or −1: [`last_error`] then says why.
fn dispatch(op: u32, args: &[f64], out: &mut [f64]) -> i32 {
    let (name, run) = match table::OPS.get(op as usize) {
        Some(entry) => *entry,
        None => return fail(Error::new(Code::Argument, format!("there is no operation {op}"))),
    };
    match guard(name, || run(&mut Args::new(args))?.write(out)) {
        Ok(n) => n as i32,
        Err(mut error) => {
            if !error.message.starts_with(name) {
                error.message = format!("{name}: {}", error.message);
            }
            fail(error)
        }
    }
}

fn fail(mut error: Error) -> i32 {
    if error.code == Code::Panic {
        error.message = avjepa_panics::placed(&error.message);
    }
    LAST.set(Some(error));
    -1
}

/// [`dispatch`] for `bun:ffi`.
///
/// # Safety
/// `args` and `out` point at `args_len` and `out_len` doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn avj_call(op: u32, args: *const f64, args_len: u32, out: *mut f64, out_len: u32) -> i32 {
    // SAFETY: the caller's promise. `dispatch` catches panics: none may cross this boundary.
    let (args, out) =
        unsafe { (slice::from_raw_parts(args, args_len as usize), slice::from_raw_parts_mut(out, out_len as usize)) };
    dispatch(op, args, out)
}

/// Runs one operation: its number in `operations()`, its arguments, room for its answer. The length of the answer, or −1.
#[napi]
pub fn call(op: u32, args: &[f64], args_len: u32, mut out: Float64ArraySlice<'_>) -> i32 {
    let args = &args[..(args_len as usize).min(args.len())];
    // SAFETY: JavaScript is stopped while we run, so nobody else sees the array.
    dispatch(op, args, unsafe { out.as_mut() })
}

#[napi(object)]
pub struct Fault {
    pub code: String,
    pub message: String,
    pub hint: Option<String>,
}

/// Why the last call on this thread answered −1.
#[napi]
pub fn last_error() -> Option<Fault> {
    LAST.take().map(|e| Fault { code: e.code.name().into(), message: e.message, hint: e.hint })
}

/// Names of the operations, in the order of their numbers.
#[napi]
pub fn operations() -> Vec<String> {
    table::OPS.iter().map(|(name, _)| (*name).to_string()).collect()
}

/// Names of the element types, in the order of their numbers.
#[napi]
pub fn dtypes() -> Vec<String> {
    DType::ALL.iter().map(|d| d.name().to_string()).collect()
}

/// Opens a device (`cpu`, `wgpu`, `wgpu:1`) and returns its number.
#[napi]
pub fn device_open(name: String) -> napi::Result<u32, String> {
    guard("device", || Ok(open_device(&name)? as u32)).map_err(js)
}

/// What the device is: instruction set and threads, or adapter and driver.
#[napi]
pub fn device_describe(number: u32) -> napi::Result<String, String> {
    guard("device", || Ok(device(number as usize)?.backend().describe())).map_err(js)
}

/// A graphics adapter that `wgpu:N` would open.
#[napi(object)]
pub struct Adapter {
    pub device: String,
    pub name: String,
    pub interface: String,
    pub driver: String,
    pub kind: String,
    pub lacks: Option<String>,
    pub binding_bytes: f64,
    pub buffer_bytes: f64,
    pub shared_memory: u32,
    pub invocations: u32,
    pub subgroup: Vec<u32>,
    pub features: Vec<String>,
}

/// The machine's graphics adapters, hardware before software. Empty where there is no driver.
#[napi]
pub fn adapters() -> napi::Result<Vec<Adapter>, String> {
    guard("adapters", || Ok(wgpu::adapters().iter().enumerate().map(|(i, a)| adapter(wgpu::facts(i, a))).collect()))
        .map_err(js)
}

fn adapter(facts: wgpu::AdapterFacts) -> Adapter {
    Adapter {
        device: facts.device,
        name: facts.name,
        interface: facts.interface,
        driver: facts.driver,
        kind: facts.kind.into(),
        lacks: facts.lacks,
        binding_bytes: facts.binding_bytes as f64,
        buffer_bytes: facts.buffer_bytes as f64,
        shared_memory: facts.shared_memory,
        invocations: facts.invocations,
        subgroup: facts.subgroup.to_vec(),
        features: facts.features,
    }
}

/// What an adapter does at the most: operations, and bytes read and written, a second.
#[napi(object)]
pub struct AdapterPeaks {
    pub flops: f64,
    pub bytes: f64,
}

/// Measures it, on a thread and a device of its own.
#[napi(ts_return_type = "Promise<AdapterPeaks>")]
pub fn adapter_peaks<'e>(env: &'e Env, name: String) -> napi::Result<Object<'e>, String> {
    let (deferred, promise) = env.create_deferred().map_err(status)?;
    std::thread::spawn(move || {
        let peaks = guard("adapterPeaks", || wgpu::Wgpu::open(&name, wgpu::Faults::default())?.peaks());
        deferred.resolve(move |env| {
            peaks.map(|p| AdapterPeaks { flops: p.flops, bytes: p.bytes }).map_err(|error| reject(env, error))
        });
    });
    Ok(promise)
}

/// What a device has done since it was opened; zeros where nothing counts it.
#[napi(object)]
pub struct DeviceCounters {
    pub dispatches: f64,
    pub submissions: f64,
    pub uploaded: f64,
    pub downloaded: f64,
}

#[napi]
pub fn device_counters(number: u32) -> napi::Result<DeviceCounters, String> {
    let counters = guard("device", || Ok(device(number as usize)?.backend().counters())).map_err(js)?;
    Ok(DeviceCounters {
        dispatches: counters.dispatches as f64,
        submissions: counters.submissions as f64,
        uploaded: counters.uploaded as f64,
        downloaded: counters.downloaded as f64,
    })
}

/// Records what the device runs from now on.
#[napi]
pub fn device_trace_start(number: u32) -> napi::Result<(), String> {
    device(number as usize).map_err(js)?.trace().start();
    Ok(())
}

/// An operation's time on the device, in microseconds since the start of the trace.
#[napi(object)]
pub struct TraceSpan {
    pub name: String,
    pub start: f64,
    pub end: f64,
}

/// Ends the record and gives it away.
#[napi]
pub fn device_trace_take(number: u32) -> napi::Result<Vec<TraceSpan>, String> {
    let spans = device(number as usize).map_err(js)?.trace().take();
    Ok(spans.into_iter().map(|span| TraceSpan { name: span.op.to_owned(), start: span.start, end: span.end }).collect())
}

/// Copies bytes (little endian, C order) to a new tensor: its handle.
#[napi]
pub fn upload(number: u32, dtype: u32, shape: Vec<f64>, bytes: &[u8]) -> napi::Result<f64, String> {
    let dtype = *DType::ALL.get(dtype as usize).ok_or_else(|| js(Error::new(Code::DType, "no such element type")))?;
    let shape: Vec<usize> = shape.iter().map(|&s| s as usize).collect();
    let device = device(number as usize).map_err(js)?;
    guard("upload", || handles::put(Var::constant(Tensor::from_bytes(&device, &shape, dtype, bytes.to_vec())?)))
        .map_err(js)
}

/// The bytes of a tensor, once everything enqueued before has run.
#[napi(ts_return_type = "Promise<Uint8Array>")]
pub fn read<'e>(env: &'e Env, handle: f64) -> napi::Result<Object<'e>, String> {
    let tensor = handles::get(handle).map_err(js)?.tensor;
    let (deferred, promise) = env.create_deferred().map_err(status)?;
    let device = tensor.device().clone();
    device.read(&tensor, move |bytes| {
        deferred.resolve(move |env| match bytes {
            Ok(bytes) => Ok(Uint8Array::new(bytes)),
            Err(error) => Err(reject(env, error)),
        });
    });
    Ok(promise)
}

/// The bytes of tensors (one at least) of one device, all as they are once everything enqueued before has run.
#[napi(ts_return_type = "Promise<Uint8Array[]>")]
pub fn read_all<'e>(env: &'e Env, tensors: Vec<f64>) -> napi::Result<Object<'e>, String> {
    let tensors: Vec<Tensor> =
        tensors.into_iter().map(|handle| Ok(handles::get(handle)?.tensor)).collect::<Result<_, Error>>().map_err(js)?;
    let first = tensors.first().ok_or_else(|| js(Error::argument("read", "there is nothing to read")))?;
    let device = first.device().clone();
    if let Some(other) = tensors.iter().find(|t| !Arc::ptr_eq(t.device(), &device)) {
        let (here, there) = (device.name(), other.device().name());
        return Err(js(Error::new(Code::Device, format!("read: tensors of {here} and of {there}"))));
    }
    let (deferred, promise) = env.create_deferred().map_err(status)?;
    device.read_all(tensors, move |bytes| {
        deferred.resolve(move |env| match bytes {
            Ok(bytes) => Ok(bytes.into_iter().map(Uint8Array::new).collect::<Vec<_>>()),
            Err(error) => Err(reject(env, error)),
        });
    });
    Ok(promise)
}

/// Resolves once everything enqueued on the device has run.
#[napi(ts_return_type = "Promise<void>")]
pub fn sync<'e>(env: &'e Env, number: u32) -> napi::Result<Object<'e>, String> {
    let device = device(number as usize).map_err(js)?;
    let (deferred, promise) = env.create_deferred().map_err(status)?;
    device.sync(move |result| deferred.resolve(move |env| result.map_err(|error| reject(env, error))));
    Ok(promise)
}

/// An error with our code; message and hint travel as JSON, which the TypeScript side takes apart.
pub fn js(error: Error) -> napi::Error<String> {
    let message = if error.code == Code::Panic { avjepa_panics::placed(&error.message) } else { error.message };
    let body = serde_json::json!({ "message": message, "hint": error.hint });
    napi::Error::new(error.code.name().to_string(), body.to_string())
}

/// A rejection that keeps the code.
fn reject(env: Env, error: Error) -> napi::Error {
    napi::Error::from(JsError::from(js(error)).into_unknown(env))
}

fn status(error: napi::Error) -> napi::Error<String> {
    napi::Error::new(Code::Panic.name().to_string(), error.reason.clone())
}
