//! Ranks that meet through NCCL, one GPU each.
//!
//! NVIDIA's libraries are opened at run time by a small loader of our own: `nccl_api` and `cuda_api` type what is used of them. Ranks
//! meet over TCP (`rendezvous`), keep those connections to learn of each other's end (`lifeline`), and make calls on device memory
//! (`world`). [`Staged`] is the trainer's collective: values of the host go through pinned memory, in chunks (`staging`, `pieces`).

mod collective;
mod cuda_api;
mod device;
mod library;
mod lifeline;
mod nccl_api;
mod pieces;
mod rendezvous;
mod staging;
mod world;

pub use collective::Staged;
pub use cuda_api::{DevicePtr, StreamHandle};
pub use device::{Device, Event, Stream};
pub use library::OpenError;
pub use nccl_api::Element;
pub use world::World;

use cuda_api::CudaApi;
use nccl_api::{Nccl, UniqueId};
use rendezvous::Meeting;
use staging::Staging;
use std::time::Duration;

/// A rank's place, and where it meets the others.
#[derive(Clone, Debug)]
pub struct Place {
    pub rank: usize,
    pub world: usize,
    /// From 0, on this machine: decides the GPU, modulo those that are visible.
    pub local_rank: usize,
    /// Rank 0's machine.
    pub address: String,
    /// The first of 16 ports that are tried there.
    pub port: u16,
    /// Tells the run from others on the same machines.
    pub run: String,
    /// How long the ranks wait for each other at the beginning.
    pub limit: Duration,
}

/// What is on this machine.
pub struct Found {
    /// `NCCL 2.27.3`
    pub version: String,
    /// GPUs that the driver shows to this process.
    pub devices: usize,
}

/// Looks for the libraries and for GPUs.
///
/// # Errors
/// What is missing, and what puts it there.
pub fn find() -> Result<Found, OpenError> {
    let nccl = Nccl::open()?;
    let devices = device::count(CudaApi::open()?)?;
    Ok(Found { version: nccl.name(), devices })
}

/// Joins the other ranks. All calls come from the thread that opened it. Returns the collective, and NCCL's version and the GPU.
///
/// # Errors
/// What is missing on this machine, who has not come, what NCCL says; each with what would help.
pub fn open(place: &Place) -> Result<(Staged, String), OpenError> {
    let nccl = Nccl::open()?;
    let device = Device::open(CudaApi::open()?, place.local_rank)?;
    let &Place { rank, world, port, limit, .. } = place;
    let (address, run) = (place.address.clone(), place.run.clone());
    let meeting = Meeting { rank, world, address, port, run, version: nccl.version as u32, limit };
    let make = || {
        let mut id = UniqueId([0; nccl_api::ID_BYTES]);
        // SAFETY: `id` is writable.
        let code = unsafe { (nccl.api.unique_id)(&raw mut id) };
        nccl.check("ncclGetUniqueId", code, std::ptr::null_mut()).map(|()| id)
    };
    let (id, lifeline) = meeting.share(make).map_err(|message| {
        OpenError::new(message).hint("$MASTER_ADDR and $MASTER_PORT name rank 0's machine and a free port there; $AVJEPA_MEET_SECONDS is how long ranks wait")
    })?;
    let world = World::join(nccl, &device, id, (rank, world), lifeline, limit)?;
    Ok((Staged::new(world, Staging::new(&device)?), format!("{} on {}", nccl.name(), device.name)))
}
