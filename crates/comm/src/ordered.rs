//! Collective calls over anything that moves bytes between ranks.
//!
//! An all-reduce is an exchange of parts, a sum of each part on one rank, and a gathering of the sums. It moves as many bytes as a
//! ring; every rank gets the very same bits, since each part is summed once; and the order of the summands is that of the ranks, which
//! MPI's own reduction does not promise.
//!
//! Before each call the ranks tell each other what they are about to do. A rank that does something else is an error that names both,
//! not a hang.

use crate::call::{Call, Tag, disagreement};
use crate::number::{Number, combine};
use crate::{Collective, CommError, Reduction, Result, Values};

/// Moves bytes between ranks. Every rank makes the same calls with equal lengths.
pub trait Transport {
    fn rank(&self) -> usize;
    fn world(&self) -> usize;
    /// Returns when every rank has called it, with what each is about to do. Sleeps meanwhile.
    fn meet(&mut self, tag: Tag, tags: &mut [Tag]) -> std::result::Result<(), String>;
    /// The r-th of `world` equal parts of `send` goes to rank r; that of `receive` comes from it.
    fn all_to_all(&mut self, send: &[u8], receive: &mut [u8]) -> std::result::Result<(), String>;
    fn all_gather(&mut self, part: &[u8], all: &mut [u8]) -> std::result::Result<(), String>;
    fn broadcast(&mut self, bytes: &mut [u8], root: usize) -> std::result::Result<(), String>;
    fn close(self: Box<Self>) -> std::result::Result<(), String>;
}

/// Bytes that are exchanged at a time: bounds the scratch memory, and the counts of engines that count in 32 bits.
const SEGMENT: usize = 16 << 20;

/// A collective over a transport.
pub struct Ordered<T> {
    transport: Box<T>,
    send: Vec<u8>,
    receive: Vec<u8>,
}

impl<T: Transport> Ordered<T> {
    pub fn new(transport: T) -> Self {
        Ordered { transport: Box::new(transport), send: vec![], receive: vec![] }
    }

    fn error(&self, call: Call) -> impl Fn(String) -> CommError + use<T> {
        let rank = self.transport.rank();
        move |message| CommError { rank, call: call.name(), message }
    }

    /// Waits for everybody, and checks that all are about to do the same.
    fn meet(&mut self, call: Call, size: usize) -> Result<()> {
        let mine = [call as u64, size as u64];
        let mut tags = vec![[0; 2]; self.transport.world()];
        self.transport.meet(mine, &mut tags).map_err(self.error(call))?;
        disagreement(mine, &tags).map_or(Ok(()), |message| Err(self.error(call)(message)))
    }

    fn reduce<N: Number>(&mut self, values: &mut [N], op: Reduction) -> Result<()> {
        let call = if op == Reduction::Sum { Call::Sum } else { Call::Max };
        self.meet(call, size_of_val(values))?;
        for segment in values.chunks_mut(SEGMENT / size_of::<N>()) {
            let part = segment.len().div_ceil(self.transport.world());
            self.exchange(segment, part).map_err(self.error(call))?;
            // The sums of this rank's part take the place of what rank 0 sent.
            let bytes = part * size_of::<N>();
            combine::<N>(&mut self.receive, bytes, op);
            self.transport.all_gather(&self.receive[..bytes], &mut self.send).map_err(self.error(call))?;
            N::read(&self.send, segment);
        }
        Ok(())
    }

    /// Sends part r of `values` to rank r; the parts from all ranks are in `receive` then. The last parts are filled up with zeros.
    fn exchange<N: Number>(&mut self, values: &[N], part: usize) -> std::result::Result<(), String> {
        let bytes = part * size_of::<N>() * self.transport.world();
        self.send.clear();
        self.send.resize(bytes, 0);
        self.receive.resize(bytes, 0);
        N::write(values, &mut self.send);
        self.transport.all_to_all(&self.send, &mut self.receive)
    }
}

impl<T: Transport> Collective for Ordered<T> {
    fn rank(&self) -> usize {
        self.transport.rank()
    }

    fn world(&self) -> usize {
        self.transport.world()
    }

    fn all_reduce(&mut self, values: Values<'_>, op: Reduction) -> Result<()> {
        match values {
            Values::F32(values) => self.reduce(values, op),
            Values::F64(values) => self.reduce(values, op),
        }
    }

    fn reduce_scatter(&mut self, values: &[f32], part: &mut [f32], op: Reduction) -> Result<()> {
        let call = Call::ReduceScatter;
        if values.len() != part.len() * self.world() {
            let message = format!("{} values are not {} parts of {}", values.len(), self.world(), part.len());
            return Err(self.error(call)(message));
        }
        self.meet(call, size_of_val(values))?;
        // A segment of every rank's part at a time.
        let (n, world) = (part.len(), self.world());
        let step = (SEGMENT / size_of::<f32>() / world).max(1);
        for (k, out) in part.chunks_mut(step).enumerate() {
            let pieces: Vec<f32> = (0..world).flat_map(|r| &values[r * n + k * step..][..out.len()]).copied().collect();
            self.exchange(&pieces, out.len()).map_err(self.error(call))?;
            combine::<f32>(&mut self.receive, size_of_val(out), op);
            f32::read(&self.receive, out);
        }
        Ok(())
    }

    fn all_gather(&mut self, part: &[u8], all: &mut [u8]) -> Result<()> {
        if all.len() != part.len() * self.world() {
            let message = format!("{} bytes are not {} parts of {}", all.len(), self.world(), part.len());
            return Err(self.error(Call::AllGather)(message));
        }
        self.meet(Call::AllGather, part.len())?;
        self.transport.all_gather(part, all).map_err(self.error(Call::AllGather))
    }

    fn broadcast(&mut self, bytes: &mut [u8], root: usize) -> Result<()> {
        if root >= self.world() {
            return Err(self.error(Call::Broadcast)(format!("there is no rank {root} in a world of {}", self.world())));
        }
        self.meet(Call::Broadcast, bytes.len())?;
        for segment in bytes.chunks_mut(SEGMENT) {
            self.transport.broadcast(segment, root).map_err(self.error(Call::Broadcast))?;
        }
        Ok(())
    }

    fn barrier(&mut self) -> Result<()> {
        self.meet(Call::Barrier, 0)
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        self.meet(Call::Close, 0)?;
        let error = self.error(Call::Close);
        self.transport.close().map_err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Barrier, Mutex};

    /// Ranks that are threads.
    struct Threads {
        rank: usize,
        world: usize,
        barrier: Arc<Barrier>,
        board: Arc<Mutex<Vec<Vec<u8>>>>,
    }

    impl Threads {
        /// Everybody's bytes.
        fn share(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
            self.board.lock().unwrap()[self.rank] = bytes.to_vec();
            self.barrier.wait();
            let all = self.board.lock().unwrap().clone();
            self.barrier.wait();
            all
        }
    }

    impl Transport for Threads {
        fn rank(&self) -> usize {
            self.rank
        }

        fn world(&self) -> usize {
            self.world
        }

        fn meet(&mut self, tag: Tag, tags: &mut [Tag]) -> std::result::Result<(), String> {
            let all = self.share(&tag.map(u64::to_ne_bytes).concat());
            for (tag, bytes) in tags.iter_mut().zip(all) {
                *tag = [0, 8].map(|at| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap()));
            }
            Ok(())
        }

        fn all_to_all(&mut self, send: &[u8], receive: &mut [u8]) -> std::result::Result<(), String> {
            let part = send.len() / self.world;
            for (r, bytes) in self.share(send).iter().enumerate() {
                receive[r * part..][..part].copy_from_slice(&bytes[self.rank * part..][..part]);
            }
            Ok(())
        }

        fn all_gather(&mut self, part: &[u8], all: &mut [u8]) -> std::result::Result<(), String> {
            all.copy_from_slice(&self.share(part).concat());
            Ok(())
        }

        fn broadcast(&mut self, bytes: &mut [u8], root: usize) -> std::result::Result<(), String> {
            bytes.copy_from_slice(&self.share(bytes)[root]);
            Ok(())
        }

        fn close(self: Box<Self>) -> std::result::Result<(), String> {
            Ok(())
        }
    }

    /// What `work` returns on each of `world` ranks.
    fn on_ranks<R: Send>(world: usize, work: impl Fn(&mut Ordered<Threads>) -> R + Sync) -> Vec<R> {
        let barrier = Arc::new(Barrier::new(world));
        let board = Arc::new(Mutex::new(vec![vec![]; world]));
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..world)
                .map(|rank| {
                    let transport = Threads { rank, world, barrier: barrier.clone(), board: board.clone() };
                    let work = &work;
                    scope.spawn(move || work(&mut Ordered::new(transport)))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    /// Sums that depend on their order: the ranks' powers of ten do not fit one f32.
    fn value(rank: usize, i: usize) -> f32 {
        let signs = [1.0, -1.0, 1.0, 1.0];
        signs[(rank + i) % 4] * 10f32.powi(((rank * 7 + i) % 9) as i32) * 1.1
    }

    #[test]
    fn sums_are_in_the_order_of_the_ranks_and_equal_everywhere() {
        for world in [1, 2, 3, 4] {
            // Fewer elements than ranks, no multiple of the ranks, none.
            for n in [0, 1, 3, 1000] {
                let results = on_ranks(world, |comm| {
                    let mut values: Vec<f32> = (0..n).map(|i| value(comm.rank(), i)).collect();
                    comm.all_reduce(Values::F32(&mut values), Reduction::Sum).unwrap();
                    values
                });
                let expected: Vec<f32> =
                    (0..n).map(|i| (1..world).fold(value(0, i), |sum, rank| sum + value(rank, i))).collect();
                assert!(results.iter().all(|result| *result == expected), "{world} ranks, {n} values");
            }
        }
    }

    #[test]
    fn more_than_a_segment() {
        let n = SEGMENT / 8 + 12_345;
        let results = on_ranks(2, |comm| {
            let mut values: Vec<f64> = (0..n).map(|i| (i * (comm.rank() + 1)) as f64).collect();
            comm.all_reduce(Values::F64(&mut values), Reduction::Sum).unwrap();
            values
        });
        assert!(results.iter().all(|result| result.iter().enumerate().all(|(i, v)| *v == (3 * i) as f64)));
    }

    #[test]
    fn the_largest_and_what_is_no_number() {
        let results = on_ranks(3, |comm| {
            let mut values = [comm.rank() as f64, -1.0 - comm.rank() as f64, 0.0];
            if comm.rank() == 1 {
                values[2] = f64::NAN;
            }
            comm.all_reduce(Values::F64(&mut values), Reduction::Max).unwrap();
            values
        });
        for [a, b, c] in results {
            assert_eq!([a, b], [2.0, -1.0]);
            assert!(c.is_nan());
        }
    }

    #[test]
    fn parts_and_roots() {
        on_ranks(3, |comm| {
            let rank = comm.rank();
            let values: Vec<f32> = (0..6).map(|i| (10 * rank + i) as f32).collect();
            let mut part = [0.0; 2];
            comm.reduce_scatter(&values, &mut part, Reduction::Sum).unwrap();
            assert_eq!(part, [(30 + 6 * rank) as f32, (33 + 6 * rank) as f32]);
            let mut all = [0; 6];
            comm.all_gather(&[rank as u8, 7], &mut all).unwrap();
            assert_eq!(all, [0, 7, 1, 7, 2, 7]);
            let mut bytes = [rank as u8; 3];
            comm.broadcast(&mut bytes, 2).unwrap();
            assert_eq!(bytes, [2; 3]);
            comm.barrier().unwrap();
            assert!(comm.broadcast(&mut bytes, 3).is_err());
        });
    }

    #[test]
    fn ranks_that_do_different_things_are_told_so() {
        let errors = on_ranks(2, |comm| match comm.rank() {
            0 => comm.barrier().unwrap_err().to_string(),
            _ => comm.all_reduce(Values::F64(&mut [1.0, 2.0]), Reduction::Sum).unwrap_err().to_string(),
        });
        assert_eq!(errors[0], "barrier on rank 0: of 0 bytes, while rank 1 calls all_reduce (sum) of 16");
        assert_eq!(errors[1], "all_reduce (sum) on rank 1: of 16 bytes, while rank 0 calls barrier of 0");
    }
}
