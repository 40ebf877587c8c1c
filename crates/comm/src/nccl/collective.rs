//! The trainer's collective calls, through NCCL.

use super::pieces::{Broadcast, Gather, Sum, SumOfPart, Summed};
use super::staging::Staging;
use super::world::World;
use crate::call::{Call, disagreement};
use crate::number::combine;
use crate::{Collective, CommError, Reduction, Result, Values};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Bytes of one rank that are gathered at a time for a maximum.
const SEGMENT: usize = 1 << 20;

/// The ranks of a run, each with a device, and values of the host that go by way of it.
///
/// Sums are NCCL's own, in its order: that is one pass to the device and back, and on the device what its links do best. (Sums in the
/// order of the ranks would be two passes and an addition on the host.) Maxima are of a few numbers, and are taken on the host, where
/// what is no number stays seen.
pub struct Staged {
    // Dropped first: it ends what is under way in the memory of the other.
    world: World,
    staging: Staging,
}

impl Staged {
    pub fn new(world: World, staging: Staging) -> Self {
        Staged { world, staging }
    }

    /// The communicator itself, for what lies in the device's memory already.
    pub fn on_device(&mut self) -> &mut World {
        &mut self.world
    }

    fn error(&self, call: Call) -> impl Fn(String) -> CommError + use<> {
        let rank = self.world.rank;
        move |message| CommError { rank, call: call.name(), message }
    }

    fn gathered(&mut self, part: &[u8], all: &mut [u8]) -> std::result::Result<(), String> {
        let (rank, world) = (self.world.rank, self.world.size);
        self.staging.run(&mut self.world, &mut Gather { part, all, rank, world })
    }

    /// Waits for everybody, and checks that all are about to do the same.
    fn meet(&mut self, call: Call, size: usize) -> Result<()> {
        let mine = [call as u64, size as u64];
        let mut all = vec![0; size_of_val(&mine) * self.world.size];
        self.gathered(&mine.map(u64::to_ne_bytes).concat(), &mut all).map_err(self.error(call))?;
        let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
        let tags: Vec<_> = all.chunks_exact(16).map(|tag| [number(&tag[..8]), number(&tag[8..])]).collect();
        disagreement(mine, &tags).map_or(Ok(()), |message| Err(self.error(call)(message)))
    }

    fn reduce<N: Summed>(&mut self, values: &mut [N], op: Reduction) -> Result<()> {
        let call = if op == Reduction::Sum { Call::Sum } else { Call::Max };
        self.meet(call, size_of_val(values))?;
        match op {
            Reduction::Sum => self.staging.run(&mut self.world, &mut Sum(values)),
            Reduction::Max => self.largest(values),
        }
        .map_err(self.error(call))
    }

    fn largest<N: Summed>(&mut self, values: &mut [N]) -> std::result::Result<(), String> {
        for segment in values.chunks_mut(SEGMENT / size_of::<N>()) {
            let mut own = vec![0; size_of_val(segment)];
            N::write(segment, &mut own);
            let mut all = vec![0; own.len() * self.world.size];
            self.gathered(&own, &mut all)?;
            combine::<N>(&mut all, own.len(), Reduction::Max);
            N::read(&all[..own.len()], segment);
        }
        Ok(())
    }
}

impl Collective for Staged {
    fn rank(&self) -> usize {
        self.world.rank
    }

    fn world(&self) -> usize {
        self.world.size
    }

    fn all_reduce(&mut self, values: Values<'_>, op: Reduction) -> Result<()> {
        match values {
            Values::F32(values) => self.reduce(values, op),
            Values::F64(values) => self.reduce(values, op),
        }
    }

    fn reduce_scatter(&mut self, values: &[f32], part: &mut [f32], op: Reduction) -> Result<()> {
        let (call, rank, world) = (Call::ReduceScatter, self.rank(), self.world());
        if values.len() != part.len() * world {
            let message = format!("{} values are not {world} parts of {}", values.len(), part.len());
            return Err(self.error(call)(message));
        }
        self.meet(call, size_of_val(values))?;
        if part.is_empty() {
            return Ok(());
        }
        match op {
            Reduction::Sum => self.staging.run(&mut self.world, &mut SumOfPart { values, part, rank, world }),
            Reduction::Max => {
                let mut whole = values.to_vec();
                self.largest(&mut whole).map(|()| part.copy_from_slice(&whole[rank * part.len()..][..part.len()]))
            }
        }
        .map_err(self.error(call))
    }

    fn all_gather(&mut self, part: &[u8], all: &mut [u8]) -> Result<()> {
        if all.len() != part.len() * self.world() {
            let message = format!("{} bytes are not {} parts of {}", all.len(), self.world(), part.len());
            return Err(self.error(Call::AllGather)(message));
        }
        self.meet(Call::AllGather, part.len())?;
        self.gathered(part, all).map_err(self.error(Call::AllGather))
    }

    fn broadcast(&mut self, bytes: &mut [u8], root: usize) -> Result<()> {
        let call = Call::Broadcast;
        if root >= self.world() {
            return Err(self.error(call)(format!("there is no rank {root} in a world of {}", self.world())));
        }
        self.meet(call, bytes.len())?;
        let rank = self.rank();
        self.staging.run(&mut self.world, &mut Broadcast { bytes, root, rank }).map_err(self.error(call))
    }

    fn barrier(&mut self) -> Result<()> {
        self.meet(Call::Barrier, 0)
    }

    fn interrupter(&self) -> Option<Arc<AtomicBool>> {
        Some(self.world.interrupter())
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        self.meet(Call::Close, 0)?;
        let error = self.error(Call::Close);
        self.world.close().map_err(error)
    }
}
