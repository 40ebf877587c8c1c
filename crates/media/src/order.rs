//! In which order samples are seen: computed by position, in O(1) memory, on any number of ranks.
//!
//! Positions 0, 1, 2, … number the samples of the whole run over all ranks. Global batch `k` of `b` samples a rank and `w`
//! ranks holds the positions `k·b·w ..`; rank `r` takes the `b` from `k·b·w + r·b` on, so the samples of a global batch do
//! not depend on how many ranks share it. A *pass* is one traversal of the data. Batches run on from one pass into the next:
//! within a pass no sample is dropped or seen twice, and data smaller than a batch work.
//!
//! With weights, the index files are drawn from in proportion to these and each has passes of its own. Positions are cut
//! into blocks; a block has a share for each file that is exact to one sample over any number of blocks, in shuffled order.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::error::{MediaError, Result};
use crate::random::{Purpose, SampleRng, distributed_sampler, philox4x32_10};

/// What stands at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Which traversal of the data (with weights: of the sample's index file).
    pub pass: u64,
    /// The sample's number in the index.
    pub index: usize,
}

/// How the order is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OrderKind {
    /// A new random order each pass.
    #[default]
    Shuffled,
    /// As in the index, each pass.
    Sequential,
    /// torch's `DistributedSampler` with seed 0 and the pass as epoch, every `world`-th sample to a rank, what does not fill
    /// a batch at a pass's end dropped (kept if it is all there is). Without weights only; with them as `Shuffled`.
    Reference,
}

/// Shape of the work: how many ranks, which one this is, how many samples each takes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub rank: usize,
    pub world: usize,
    /// Samples of a rank's batch.
    pub batch: usize,
}

/// The order of all samples.
#[derive(Debug)]
pub struct Order {
    seed: u64,
    kind: OrderKind,
    files: Vec<Range<usize>>,
    mixture: Option<Mixture>,
    share: Share,
    /// Rank's order of one pass in `Reference`.
    cached: Mutex<Option<(u64, Arc<Vec<i64>>)>>,
}

impl Order {
    /// `files`: the samples of each index file. `weights`: how often to draw from each, in proportion; `None`: by its size.
    ///
    /// # Errors
    /// `AVJ_INDEX`: nothing to order; a weight count that differs from the files', a weight that is not positive or too
    /// small; a rank that is not below world.
    pub fn new(
        files: Vec<Range<usize>>,
        weights: Option<&[f64]>,
        kind: OrderKind,
        seed: u64,
        share: Share,
    ) -> Result<Self> {
        if files.is_empty() || files.iter().any(Range::is_empty) {
            return Err(MediaError::new("AVJ_INDEX", "an index file has no samples"));
        }
        if share.batch == 0 || share.rank >= share.world {
            let message = format!("no batches of {} samples for rank {} of {}", share.batch, share.rank, share.world);
            return Err(
                MediaError::new("AVJ_INDEX", message).with_hint("give a batch of at least 1 and a rank below world")
            );
        }
        let mixture = match weights {
            Some(w) if w.len() != files.len() => {
                let message = format!("{} weights for {} index files", w.len(), files.len());
                return Err(MediaError::new("AVJ_INDEX", message)
                    .with_hint("data.datasets_weights needs one weight for each of data.datasets"));
            }
            Some(w) => Some(Mixture::new(w)?),
            None => None,
        };
        Ok(Self { seed, kind, files, mixture, share, cached: Mutex::new(None) })
    }

    /// Samples of one traversal, without weights.
    pub fn len(&self) -> usize {
        self.files.last().map_or(0, |file| file.end)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn share(&self) -> Share {
        self.share
    }

    /// Samples of a batch over all ranks.
    pub fn global_batch(&self) -> u64 {
        (self.share.batch * self.share.world) as u64
    }

    /// What element `j` of this rank's batch is, for the batch that begins at global position `start`.
    pub fn draw(&self, start: u64, j: usize) -> Draw {
        if self.is_reference() {
            return self.reference_draw(start / self.global_batch(), j);
        }
        self.at(self.position(start, j))
    }

    /// The global position of element `j` of this rank's batch that begins at `start`.
    pub fn position(&self, start: u64, j: usize) -> u64 {
        start + (self.share.rank * self.share.batch + j) as u64
    }

    /// What stands at a global position (in `Reference`, use [`Order::draw`]).
    pub fn at(&self, position: u64) -> Draw {
        let (file, number, key) = match &self.mixture {
            None => (0..self.len(), position, 0),
            Some(mixture) => {
                let (file, number) = mixture.at(self.seed, position);
                (self.files[file].clone(), number, file as u64 + 1)
            }
        };
        let n = file.len() as u64;
        let (pass, within) = (number / n, number % n);
        let within = match self.kind {
            OrderKind::Sequential => within,
            _ => Permutation::new(n, self.seed, pass, key).at(within),
        };
        Draw { pass, index: file.start + within as usize }
    }

    /// The pass that a position falls in: traversals completed before it, of the data as a whole.
    pub fn pass(&self, position: u64) -> u64 {
        if self.is_reference() {
            return self.reference_draw(position / self.global_batch(), 0).pass;
        }
        position / self.len() as u64
    }

    /// Which sample stands in for `draw` after `attempt` (from 1) failures: of the same index file, and again for it alone.
    pub fn replacement(&self, draw: Draw, attempt: u64) -> Draw {
        let file = match &self.mixture {
            None => 0..self.len(),
            Some(_) => self.files.iter().find(|f| f.contains(&draw.index)).cloned().unwrap_or(0..self.len()),
        };
        let address = draw.index as u64;
        let mut rng = SampleRng::new(self.seed, draw.pass, address, Purpose::Replacement);
        let mut index = draw.index;
        for _ in 0..attempt {
            index = file.start + rng.index(file.len());
        }
        Draw { index, ..draw }
    }

    fn is_reference(&self) -> bool {
        self.kind == OrderKind::Reference && self.mixture.is_none()
    }

    /// Element `j` of the rank's `batch`-th batch, passes counted by what a rank has of each.
    fn reference_draw(&self, batch: u64, j: usize) -> Draw {
        let b = self.share.batch as u64;
        let of_rank = self.len().div_ceil(self.share.world) as u64;
        let (pass, within) = match of_rank / b {
            // Less than a batch: nothing is dropped, or there would be no batch at all.
            0 => ((batch * b + j as u64) / of_rank, (batch * b + j as u64) % of_rank),
            batches => (batch / batches, batch % batches * b + j as u64),
        };
        let mut cached = self.cached.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let order = match cached.as_ref() {
            Some((of, order)) if *of == pass => order.clone(),
            _ => {
                let order = distributed_sampler(self.len(), self.share.world, self.share.rank, 0, pass);
                let order = Arc::new(order.expect("sizes were checked"));
                *cached = Some((pass, order.clone()));
                order
            }
        };
        Draw { pass, index: order[within as usize] as usize }
    }
}

/// A pseudo-random permutation of 0..n, evaluated by element: a Feistel network with Philox as round function on the least
/// even number of bits that holds n, walked until it falls inside (at most four times as many values as n: Black and
/// Rogaway, "Ciphers with arbitrary finite domains", 2002).
struct Permutation {
    n: u64,
    half: u32,
    key: [u32; 2],
}

impl Permutation {
    const ROUNDS: u32 = 8;

    /// `domain` tells apart permutations of the same seed and pass.
    fn new(n: u64, seed: u64, pass: u64, domain: u64) -> Self {
        let mut rng = SampleRng::new(seed, pass, domain, Purpose::Order);
        let bits = u64::BITS - (n - 1).leading_zeros();
        Self { n, half: bits.div_ceil(2).max(1), key: [rng.next_u32(), rng.next_u32()] }
    }

    fn at(&self, i: u64) -> u64 {
        let mask = (1_u64 << self.half) - 1;
        let mut x = i;
        loop {
            let (mut left, mut right) = (x >> self.half, x & mask);
            for round in 0..Self::ROUNDS {
                let [low, high, ..] = philox4x32_10([right as u32, (right >> 32) as u32, round, 0], self.key);
                let mixed = u64::from(high) << 32 | u64::from(low);
                (left, right) = (right, left ^ (mixed & mask));
            }
            x = left << self.half | right;
            if x < self.n {
                return x;
            }
        }
    }
}

/// Draws from several files in fixed proportions.
#[derive(Debug)]
struct Mixture {
    /// Upper end of each file's share of 0..1, in units of 2^-32.
    ends: Vec<u64>,
    block: u64,
}

impl Mixture {
    const ONE: u64 = 1 << 32;

    fn new(weights: &[f64]) -> Result<Self> {
        let hint = "give each of data.datasets_weights a number above 0";
        if let Some(wrong) = weights.iter().find(|w| !(w.is_finite() && **w > 0.0)) {
            return Err(
                MediaError::new("AVJ_INDEX", format!("the weight {wrong} is not a positive number")).with_hint(hint)
            );
        }
        let total: f64 = weights.iter().sum();
        let least = weights.iter().copied().fold(f64::INFINITY, f64::min) / total;
        if !(total.is_finite() && least >= 1e-6) {
            let message = format!("the least weight is {least:.1e} of their sum, too little to be drawn from");
            return Err(
                MediaError::new("AVJ_INDEX", message).with_hint("a weight needs at least a millionth of the sum")
            );
        }
        let mut sum = 0.0;
        let mut ends: Vec<u64> = weights
            .iter()
            .map(|w| {
                sum += w;
                (sum / total * Self::ONE as f64).round() as u64
            })
            .collect();
        *ends.last_mut().expect("there are weights") = Self::ONE;
        // Four draws of the rarest file a block: its share of a block cannot round below zero.
        let block = ((4.0 / least).ceil() as u64).next_power_of_two().max(64);
        Ok(Self { ends, block })
    }

    /// Draws from the files up to and including `file` before `block`.
    fn drawn(&self, file: usize, block: u64) -> u64 {
        let positions = u128::from(block) * u128::from(self.block);
        ((positions * u128::from(self.ends[file]) + u128::from(Self::ONE / 2)) >> 32) as u64
    }

    /// The file at a position, and how many draws from it went before.
    fn at(&self, seed: u64, position: u64) -> (usize, u64) {
        let (block, slot) = (position / self.block, position % self.block);
        let slot = Permutation::new(self.block, seed, block, u64::MAX).at(slot);
        // Of the files before `file`: draws before this block, and in it.
        let (mut before, mut start) = (0, 0);
        for file in 0..self.ends.len() {
            let drawn = self.drawn(file, block);
            let end = self.drawn(file, block + 1) - drawn;
            if slot < end {
                return (file, drawn - before + slot - start);
            }
            (before, start) = (drawn, end);
        }
        unreachable!("the shares of a block fill it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALONE: Share = Share { rank: 0, world: 1, batch: 4 };

    /// One index file of `n` samples.
    fn whole(n: usize) -> Vec<Range<usize>> {
        std::iter::once(0..n).collect()
    }

    fn order(n: usize, kind: OrderKind, share: Share) -> Order {
        Order::new(whole(n), None, kind, 7, share).unwrap()
    }

    proptest! {
        #[test]
        fn a_pass_is_a_permutation(n in 1_usize..300, seed: u64, pass in 0_u64..5) {
            let order = Order::new(whole(n), None, OrderKind::Shuffled, seed, ALONE).unwrap();
            let start = pass * n as u64;
            let draws: Vec<Draw> = (start..start + n as u64).map(|p| order.at(p)).collect();
            prop_assert!(draws.iter().all(|d| d.pass == pass));
            let mut seen: Vec<usize> = draws.iter().map(|d| d.index).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..n).collect::<Vec<_>>());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn weights_weigh(a in 1.0_f64..100.0, b in 1.0_f64..100.0, c in 1.0_f64..100.0, seed: u64) {
            let files = vec![0..3, 3..13, 13..14];
            let weights = [a, b, c];
            let order = Order::new(files.clone(), Some(&weights), OrderKind::Shuffled, seed, ALONE).unwrap();
            let draws: Vec<Draw> = (0..16_384).map(|p| order.at(p)).collect();
            let total: f64 = weights.iter().sum();
            // 16,384 positions are whole blocks, in which the shares are exact.
            for (file, w) in files.iter().zip(weights) {
                let of_file: Vec<&Draw> = draws.iter().filter(|d| file.contains(&d.index)).collect();
                let want = 16_384.0 * w / total;
                prop_assert!((of_file.len() as f64 - want).abs() <= 1.0, "{} {want}", of_file.len());
                // Each pass of a file is a permutation of it.
                let n = file.len();
                for pass in 0..(of_file.len() / n) as u64 {
                    let mut seen: Vec<usize> = of_file.iter().filter(|d| d.pass == pass).map(|d| d.index).collect();
                    seen.sort_unstable();
                    prop_assert_eq!(&seen, &file.clone().collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn passes_differ_and_look_random() {
        let n = 1000;
        let order = order(n, OrderKind::Shuffled, ALONE);
        let pass = |p: u64| (0..n as u64).map(|i| order.at(p * n as u64 + i).index).collect::<Vec<_>>();
        let (a, b) = (pass(0), pass(1));
        let fixed = |x: &[usize], y: &[usize]| x.iter().zip(y).filter(|(x, y)| x == y).count();
        assert!(fixed(&a, &b) < 10 && fixed(&a, &(0..n).collect::<Vec<_>>()) < 10);
        // Neighbours are not kept together: the mean step of a random order is n/3.
        let step: f64 = a.windows(2).map(|w| w[0].abs_diff(w[1]) as f64).sum::<f64>() / (n - 1) as f64;
        assert!((step - n as f64 / 3.0).abs() < 30.0, "{step}");
    }

    #[test]
    fn ranks_share_global_batches() {
        let alone = order(10, OrderKind::Shuffled, Share { rank: 0, world: 1, batch: 6 });
        for k in 0..7 {
            let whole: Vec<Draw> = (0..6).map(|j| alone.draw(k * 6, j)).collect();
            for rank in 0..3 {
                let part = order(10, OrderKind::Shuffled, Share { rank, world: 3, batch: 2 });
                let of_rank: Vec<Draw> = (0..2).map(|j| part.draw(k * 6, j)).collect();
                assert_eq!(of_rank, whole[rank * 2..rank * 2 + 2]);
            }
        }
    }

    #[test]
    fn data_smaller_than_a_batch_repeat_in_it() {
        let order = order(3, OrderKind::Shuffled, Share { rank: 0, world: 1, batch: 8 });
        let draws: Vec<Draw> = (0..8).map(|j| order.draw(0, j)).collect();
        assert_eq!(draws.iter().map(|d| d.pass).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 1, 2, 2]);
    }

    #[test]
    fn sequential_is_the_index() {
        let order = order(3, OrderKind::Sequential, ALONE);
        assert_eq!((0..7).map(|p| order.at(p).index).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(order.pass(5), 1);
    }

    #[test]
    fn reference_is_the_distributed_sampler() {
        for rank in 0..2 {
            let order = order(11, OrderKind::Reference, Share { rank, world: 2, batch: 4 });
            // 6 a rank with padding: one batch a pass, two dropped.
            for k in 0..3 {
                let got: Vec<i64> = (0..4).map(|j| order.draw(k * 8, j).index as i64).collect();
                assert_eq!(got, distributed_sampler(11, 2, rank, 0, k).unwrap()[..4]);
                assert_eq!(order.pass(k * 8), k);
            }
            let order =
                Order::new(whole(3), None, OrderKind::Reference, 0, Share { rank, world: 2, batch: 4 }).unwrap();
            let got: Vec<u64> = (0..4).map(|j| order.draw(0, j).pass).collect();
            assert_eq!(got, [0, 0, 1, 1]);
        }
    }

    #[test]
    fn replacements_are_fixed_and_from_the_same_file() {
        let order = Order::new(vec![0..50, 50..100], Some(&[1.0, 1.0]), OrderKind::Shuffled, 1, ALONE).unwrap();
        let draw = Draw { pass: 3, index: 60 };
        let chain: Vec<usize> = (1..20).map(|attempt| order.replacement(draw, attempt).index).collect();
        assert!(chain.iter().all(|i| (50..100).contains(i)));
        assert_eq!(chain[4], order.replacement(draw, 5).index);
        assert!(chain.windows(2).any(|w| w[0] != w[1]));
        assert_ne!(
            chain[0..3],
            (1..4).map(|a| order.replacement(Draw { pass: 4, ..draw }, a).index).collect::<Vec<_>>()[..]
        );
    }

    #[test]
    fn wrong_weights_are_refused() {
        let with = |weights: &[f64]| {
            Order::new(vec![0..2, 2..4], Some(weights), OrderKind::Shuffled, 0, ALONE).map(|_| ()).unwrap_err().message
        };
        assert!(with(&[1.0]).contains("1 weights for 2"));
        assert!(with(&[1.0, -1.0]).contains("-1 is not a positive"));
        assert!(with(&[1.0, f64::NAN]).contains("NaN"));
        assert!(with(&[1.0, 1e-9]).contains("too little"));
        let none = Order::new(vec![], None, OrderKind::Shuffled, 0, ALONE);
        assert!(none.is_err());
    }
}
