//! The addon's functions for runs of several processes: small numbers by promises, tensors by way of the device's queue.
//!
//! A tensor's bytes are copied to the host when the queue comes to it, travel while the queue goes on, and are put back where the
//! queue waits for them: the same way on every device.

use crate::wire::{Args, Reply};
use avjepa_comm::{Collective, CommError, Communicator, Reduction, Values, nccl, open_mpi};
use avjepa_tensor::{Code, DType, Error, Result, Tensor, Var, autograd::backward_in_groups};
use napi::Env;
use napi::bindgen_prelude::{Float64Array, JsError, Object, ToNapiValue, Uint8Array};
use napi_derive::napi;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

static COMMUNICATOR: Mutex<Option<Arc<Communicator>>> = Mutex::new(None);

fn communicator() -> Result<Arc<Communicator>> {
    let held = COMMUNICATOR.lock().unwrap_or_else(PoisonError::into_inner);
    held.clone().ok_or_else(|| Error::new(Code::Comm, "this process is not connected to others"))
}

fn failure(error: CommError) -> Error {
    Error::new(Code::Comm, error.to_string())
}

/// This process's place among the others.
#[napi(object)]
pub struct CommPlace {
    pub rank: u32,
    pub world: u32,
    /// Name and version of what carries the messages.
    pub engine: String,
}

/// What a process waits for.
#[napi(object)]
pub struct CommWaiting {
    pub call: String,
    /// Calls before it.
    pub number: f64,
    pub seconds: f64,
}

/// A promise of what `start` tells its argument, from whatever thread.
fn promise<'e, T: ToNapiValue + Send + 'static>(
    env: &'e Env,
    start: impl FnOnce(Box<dyn FnOnce(Result<T>) + Send>),
) -> napi::Result<Object<'e>, String> {
    let status = |error: napi::Error| crate::tensors::js(Error::new(Code::Panic, error.reason.clone()));
    let (deferred, promise) = env.create_deferred().map_err(status)?;
    start(Box::new(move |result: Result<T>| {
        deferred.resolve(move |env| {
            result.map_err(|error| napi::Error::from(JsError::from(crate::tensors::js(error)).into_unknown(env)))
        });
    }));
    Ok(promise)
}

/// Where a process meets the others of its run, to speak with them through NCCL.
#[napi(object)]
pub struct NcclMeeting {
    pub rank: u32,
    pub world: u32,
    /// From 0, on this machine: decides the GPU, modulo those that are visible.
    pub local_rank: u32,
    /// Rank 0's machine.
    pub address: String,
    /// The first of 16 ports that are tried there.
    pub port: u32,
    /// Tells the run from others on the same machines.
    pub run: String,
    /// How long ranks wait for each other at the beginning.
    pub seconds: f64,
}

/// What of NVIDIA's is on this machine.
#[napi(object)]
pub struct NcclFound {
    /// `NCCL 2.27.3`
    pub version: String,
    /// GPUs that this process sees.
    pub devices: u32,
}

/// Joins the processes that MPI's launcher started; `library` is the path of `libavjepa_mpi`.
#[napi(ts_return_type = "Promise<CommPlace>")]
pub fn comm_open_mpi<'e>(env: &'e Env, library: String) -> napi::Result<Object<'e>, String> {
    open(env, move || {
        let (collective, engine) =
            open_mpi(&PathBuf::from(library)).map_err(|message| Error::new(Code::Comm, message))?;
        Ok((Box::new(collective) as Box<dyn Collective>, engine))
    })
}

/// Joins the others through NCCL.
#[napi(ts_return_type = "Promise<CommPlace>")]
pub fn comm_open_nccl<'e>(env: &'e Env, meeting: NcclMeeting) -> napi::Result<Object<'e>, String> {
    open(env, move || {
        let port = u16::try_from(meeting.port)
            .map_err(|_| Error::argument("comm_open_nccl", format!("{} is no port", meeting.port)))?;
        let place = nccl::Place {
            rank: meeting.rank as usize,
            world: meeting.world as usize,
            local_rank: meeting.local_rank as usize,
            address: meeting.address,
            port,
            run: meeting.run,
            limit: Duration::from_secs_f64(meeting.seconds.clamp(0.0, 1e6)),
        };
        let (collective, engine) = nccl::open(&place).map_err(missing)?;
        Ok((Box::new(collective) as Box<dyn Collective>, engine))
    })
}

/// Looks for NCCL and for GPUs.
#[napi]
pub fn comm_find_nccl() -> napi::Result<NcclFound, String> {
    let found = nccl::find().map_err(|error| crate::tensors::js(missing(error)))?;
    Ok(NcclFound { version: found.version, devices: found.devices as u32 })
}

fn missing(error: nccl::OpenError) -> Error {
    Error { code: Code::Comm, message: error.message, hint: error.hint }
}

/// Opens the process's one connection, on its thread.
fn open<'e>(
    env: &'e Env,
    connect: impl FnOnce() -> Result<(Box<dyn Collective>, String)> + Send + 'static,
) -> napi::Result<Object<'e>, String> {
    promise(env, |done| {
        let opened = move |result: Result<Communicator>| {
            done(result.map(|communicator| {
                let (rank, world) = (communicator.rank as u32, communicator.world as u32);
                let place = CommPlace { rank, world, engine: communicator.engine.clone() };
                *COMMUNICATOR.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(communicator));
                place
            }));
        };
        // Without a thread the promise stays open; the system is out of threads then, and the program cannot go on anyway.
        Communicator::open(connect, opened).expect("the operating system refuses a thread");
    })
}

/// Runs `work` on the communication thread, in turn.
fn call<'e, T: ToNapiValue + Send + 'static>(
    env: &'e Env,
    name: &'static str,
    work: impl FnOnce(&mut dyn Collective) -> std::result::Result<T, CommError> + Send + 'static,
) -> napi::Result<Object<'e>, String> {
    promise(env, |done| match communicator() {
        Err(error) => done(Err(error)),
        Ok(communicator) => communicator.ticket(name).call(move |collective| {
            let result = collective.and_then(work);
            let outcome = result.as_ref().map(drop).map_err(Clone::clone);
            done(result.map_err(failure));
            outcome
        }),
    })
}

/// The sum, or the largest, of every rank's values, element by element.
#[napi(ts_return_type = "Promise<Float64Array>")]
pub fn comm_all_reduce<'e>(env: &'e Env, values: &[f64], largest: bool) -> napi::Result<Object<'e>, String> {
    let mut values = values.to_vec();
    let op = if largest { Reduction::Max } else { Reduction::Sum };
    call(env, "all-reduce of numbers", move |collective| {
        collective.all_reduce(Values::F64(&mut values), op)?;
        Ok(Float64Array::new(values))
    })
}

/// Every rank's bytes (as many on each), one after another.
#[napi(ts_return_type = "Promise<Uint8Array>")]
pub fn comm_all_gather<'e>(env: &'e Env, bytes: &[u8]) -> napi::Result<Object<'e>, String> {
    let bytes = bytes.to_vec();
    call(env, "gathering of texts", move |collective| {
        let mut all = vec![0; bytes.len() * collective.world()];
        collective.all_gather(&bytes, &mut all)?;
        Ok(Uint8Array::new(all))
    })
}

/// Resolves when every rank has called it.
#[napi(ts_return_type = "Promise<void>")]
pub fn comm_barrier<'e>(env: &'e Env) -> napi::Result<Object<'e>, String> {
    call(env, "barrier", move |collective| collective.barrier())
}

/// The call that this process is in with the others; null where it is in none.
#[napi]
pub fn comm_waiting() -> Option<CommWaiting> {
    let waiting = communicator().ok()?.waiting()?;
    Some(CommWaiting {
        call: waiting.call.to_owned(),
        number: waiting.number as f64,
        seconds: waiting.since.as_secs_f64(),
    })
}

/// Has a call that waits for the others give up, where that is possible: the process is about to end.
#[napi]
pub fn comm_interrupt() {
    if let Ok(communicator) = communicator() {
        communicator.interrupt(Duration::from_secs(2));
    }
}

/// Leaves the others, who must do so too.
#[napi(ts_return_type = "Promise<void>")]
pub fn comm_close<'e>(env: &'e Env) -> napi::Result<Object<'e>, String> {
    promise(env, |done| match communicator() {
        Err(error) => done(Err(error)),
        Ok(communicator) => communicator.close(move |result| {
            *COMMUNICATOR.lock().unwrap_or_else(PoisonError::into_inner) = None;
            done(result.map_err(failure));
        }),
    })
}

/// Enqueues that the tensors get the bytes of rank `root`.
pub fn broadcast(a: &mut Args) -> Result<Reply> {
    let (tensors, root) = (a.list(Args::tensor)?, a.usize()?);
    let communicator = communicator()?;
    let sent: Vec<_> = tensors
        .into_iter()
        .map(|tensor| {
            let bytes = send(&communicator, "broadcast of weights", &tensor, move |collective, bytes| {
                collective.broadcast(bytes, root)
            });
            (tensor, bytes)
        })
        .collect();
    sent.into_iter().for_each(|(tensor, bytes)| receive(&tensor, bytes));
    Ok(().into())
}

/// Enqueues that each tensor is put together from the ranks' parts of it: with `n` of its `parts` elements a part, rank r gives those
/// from `r·n` on, as far as there are any.
pub fn all_gather(a: &mut Args) -> Result<Reply> {
    let (tensors, parts) = (a.list(Args::tensor)?, a.usizes()?);
    let communicator = communicator()?;
    let mut sent = vec![];
    for (whole, part) in tensors.into_iter().zip(parts) {
        let (count, world) = (whole.len(), communicator.world);
        if part.saturating_mul(world) < count {
            let message = format!("{world} parts of {part} are fewer than {count} elements");
            return Err(Error::shape("allGather_", message));
        }
        let begin = count.min(communicator.rank * part);
        let own = whole.view(begin, &[part.min(count - begin)])?;
        let size = whole.dtype.size();
        let bytes = send(&communicator, "gathering of weights", &own, move |collective, bytes| {
            // Parts are equally long: the last ones are filled up.
            bytes.resize(part * size, 0);
            let mut all = vec![0; bytes.len() * world];
            collective.all_gather(bytes, &mut all)?;
            all.truncate(count * size);
            *bytes = all;
            Ok(())
        });
        sent.push((whole, bytes));
    }
    sent.into_iter().for_each(|(whole, bytes)| receive(&whole, bytes));
    Ok(().into())
}

/// Backward of a scalar. Gradients of each group of variables lie in one tensor, which is summed over the ranks from when nothing more
/// is added to it; what is enqueued after this call finds the sums.
pub fn backward(a: &mut Args) -> Result<Reply> {
    let root = a.var()?;
    let gradients = a.list(Args::tensor)?;
    let ends = a.usizes()?;
    let variables = a.vars()?;
    let communicator = communicator()?;
    for tensor in &gradients {
        summable(tensor)?;
    }
    let mut begin = 0;
    let groups: Vec<&[Var]> = ends
        .iter()
        .map(|&end| {
            let group = variables.get(begin..end).unwrap_or_default();
            begin = end;
            group
        })
        .collect();
    // Tickets in the order of the groups, whichever is ready first.
    let mut tickets: Vec<_> = gradients.iter().map(|_| Some(communicator.ticket("all-reduce of gradients"))).collect();
    let mut sent: Vec<Option<Receiver<Bytes>>> = gradients.iter().map(|_| None).collect();
    let one = Tensor::full(root.tensor.device(), &root.tensor.shape, root.tensor.dtype, 1.0);
    backward_in_groups(&[(root, one)], &groups, &mut |group| {
        let ticket = tickets[group].take().expect("a group is ready once");
        sent[group] = Some(send_with(ticket, &gradients[group], sum(gradients[group].dtype)));
    })?;
    for (tensor, bytes) in gradients.iter().zip(sent) {
        receive(tensor, bytes.expect("every group becomes ready"));
    }
    Ok(().into())
}

fn summable(tensor: &Tensor) -> Result<()> {
    match tensor.dtype {
        DType::F32 | DType::F64 => Ok(()),
        dtype => Err(Error::dtype("backward", format!("gradients of type {dtype} are not summed over processes"))),
    }
}

/// What goes to the others takes its place by what comes from them.
type Exchange = Box<dyn FnOnce(&mut dyn Collective, &mut Vec<u8>) -> avjepa_comm::Result<()> + Send>;

/// The sum of every rank's bytes, as numbers.
fn sum(dtype: DType) -> Exchange {
    Box::new(move |collective, bytes| {
        macro_rules! sum {
            ($type:ty, $values:path) => {{
                let size = size_of::<$type>();
                let number = |b: &[u8]| <$type>::from_le_bytes(b.try_into().expect("the size of an element"));
                let mut values: Vec<$type> = bytes.chunks_exact(size).map(number).collect();
                collective.all_reduce($values(&mut values), Reduction::Sum)?;
                bytes.chunks_exact_mut(size).zip(values).for_each(|(b, v)| b.copy_from_slice(&v.to_le_bytes()));
            }};
        }
        match dtype {
            DType::F64 => sum!(f64, Values::F64),
            _ => sum!(f32, Values::F32),
        }
        Ok(())
    })
}

type Bytes = avjepa_comm::Result<Vec<u8>>;

fn send(
    communicator: &Communicator,
    name: &'static str,
    tensor: &Tensor,
    exchange: impl FnOnce(&mut dyn Collective, &mut Vec<u8>) -> avjepa_comm::Result<()> + Send + 'static,
) -> Receiver<Bytes> {
    send_with(communicator.ticket(name), tensor, Box::new(exchange))
}

/// Enqueues that the tensor's bytes, as they are when the queue comes to it, go through `exchange`.
fn send_with(ticket: avjepa_comm::Ticket, tensor: &Tensor, exchange: Exchange) -> Receiver<Bytes> {
    let (done, received) = channel();
    let tensor = tensor.clone();
    let device = tensor.device().clone();
    device.submit("send", move |backend| {
        let mut bytes = vec![0; tensor.bytes()];
        backend.read(&tensor, &mut bytes)?;
        ticket.call(move |collective| {
            let result = collective.and_then(|collective| exchange(collective, &mut bytes));
            let outcome = result.clone();
            // Nobody waits any more where the queue has failed meanwhile.
            let _ = done.send(result.map(|()| bytes));
            outcome
        });
        Ok(())
    });
    received
}

/// Enqueues that the queue waits for the bytes and puts them into the tensor.
fn receive(tensor: &Tensor, bytes: Receiver<Bytes>) {
    let tensor = tensor.clone();
    let device = tensor.device().clone();
    device.submit("receive", move |backend| {
        let lost = || Error::new(Code::Comm, "the connection to the other processes is closed");
        let bytes = bytes.recv().map_err(|_| lost())?.map_err(failure)?;
        backend.write(&tensor, &bytes)
    });
}
