//! Communication between the processes of a run, one process a device.
//!
//! [`Collective`] is what the trainer uses, whatever carries the messages. [`Single`] is the run of one process, which the trainer
//! uses exactly as it would use a larger one; [`Ordered`] makes one of anything that moves bytes between ranks ([`Transport`]), such as
//! MPI; [`nccl`] has one of its own, by way of the ranks' GPUs.
//! [`Communicator`] runs the calls on a thread of their own, in the order in which they were asked for.

mod call;
mod communicator;
mod mpi;
pub mod nccl;
mod number;
mod ordered;
#[path = "../../mpi/src/pause.rs"]
mod pause;

pub use call::{Call, Tag};
pub use communicator::{Communicator, Ticket, Waiting};
pub use mpi::open as open_mpi;
pub use ordered::{Ordered, Transport};

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How values of several ranks become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    Sum,
    Max,
}

/// Numbers to be reduced, in place.
#[derive(Debug)]
pub enum Values<'a> {
    F32(&'a mut [f32]),
    F64(&'a mut [f64]),
}

/// Why a collective call failed: which rank, which call, and what the engine below said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommError {
    pub rank: usize,
    pub call: &'static str,
    pub message: String,
}

impl std::fmt::Display for CommError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on rank {}: {}", self.call, self.rank, self.message)
    }
}

impl std::error::Error for CommError {}

pub type Result<T> = std::result::Result<T, CommError>;

/// Calls that every rank of a run makes in the same order, with equal lengths.
pub trait Collective {
    /// This process's number, from 0.
    fn rank(&self) -> usize;
    /// How many there are.
    fn world(&self) -> usize;
    /// Every rank gets the reduction of all ranks' `values`, element by element: the same bits on every rank, and in every run on the
    /// same machines. [`Ordered`] adds in the order of the ranks, NCCL in its own.
    fn all_reduce(&mut self, values: Values<'_>, op: Reduction) -> Result<()>;
    /// As `all_reduce`, but rank r keeps only the r-th of `world` equal parts, in `part`.
    fn reduce_scatter(&mut self, values: &[f32], part: &mut [f32], op: Reduction) -> Result<()>;
    /// Every rank gets every rank's `part`, in the order of the ranks.
    fn all_gather(&mut self, part: &[u8], all: &mut [u8]) -> Result<()>;
    /// Every rank gets the bytes of `root`.
    fn broadcast(&mut self, bytes: &mut [u8], root: usize) -> Result<()>;
    /// Returns when every rank has called it.
    fn barrier(&mut self) -> Result<()>;
    /// Raised from another thread, it has a call that waits for other ranks give up; `None` where that is not possible.
    fn interrupter(&self) -> Option<Arc<AtomicBool>> {
        None
    }
    /// Leaves the others, who must do so too.
    fn close(self: Box<Self>) -> Result<()>;
}

/// One process: every reduction is the value itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Single;

impl Single {
    fn same_length(call: &'static str, a: usize, b: usize) -> Result<()> {
        match a == b {
            true => Ok(()),
            false => {
                Err(CommError { rank: 0, call, message: format!("{a} values for a part of {b} in a world of one") })
            }
        }
    }
}

impl Collective for Single {
    fn rank(&self) -> usize {
        0
    }

    fn world(&self) -> usize {
        1
    }

    fn all_reduce(&mut self, _values: Values<'_>, _op: Reduction) -> Result<()> {
        Ok(())
    }

    fn reduce_scatter(&mut self, values: &[f32], part: &mut [f32], _op: Reduction) -> Result<()> {
        Self::same_length("reduce_scatter", values.len(), part.len())?;
        part.copy_from_slice(values);
        Ok(())
    }

    fn all_gather(&mut self, part: &[u8], all: &mut [u8]) -> Result<()> {
        Self::same_length("all_gather", all.len(), part.len())?;
        all.copy_from_slice(part);
        Ok(())
    }

    fn broadcast(&mut self, _bytes: &mut [u8], root: usize) -> Result<()> {
        match root {
            0 => Ok(()),
            _ => Err(CommError {
                rank: 0,
                call: "broadcast",
                message: format!("there is no rank {root} in a world of one"),
            }),
        }
    }

    fn barrier(&mut self) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_of_one_changes_nothing() {
        let mut one = Single;
        let mut values = [1.0, -2.0];
        one.all_reduce(Values::F32(&mut values), Reduction::Max).unwrap();
        let mut part = [0.0; 2];
        one.reduce_scatter(&values, &mut part, Reduction::Sum).unwrap();
        assert_eq!(part, [1.0, -2.0]);
        let mut gathered = [0; 2];
        one.all_gather(&[3, 4], &mut gathered).unwrap();
        assert_eq!(gathered, [3, 4]);
    }

    #[test]
    fn wrong_lengths_and_roots_are_refused() {
        let mut one = Single;
        assert!(one.all_gather(&[1], &mut [0; 2]).is_err());
        assert_eq!(
            one.broadcast(&mut [1], 3).unwrap_err().to_string(),
            "broadcast on rank 0: there is no rank 3 in a world of one"
        );
    }
}
