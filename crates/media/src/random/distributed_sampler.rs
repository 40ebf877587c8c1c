//! The order in which `torch.utils.data.DistributedSampler` (shuffle on, nothing dropped) gives samples to a rank.

use super::TorchRng;
use crate::error::{MediaError, Result};

/// Sample indices of `rank` for one epoch: `randperm(n)` seeded with `seed + epoch`, padded by repetition from its head
/// to a multiple of `world`, every `world`-th from `rank` on.
///
/// # Errors
/// `AVJ_INDEX` if `n` or `world` is 0 or `rank >= world`.
pub fn distributed_sampler(n: usize, world: usize, rank: usize, seed: u64, epoch: u64) -> Result<Vec<i64>> {
    if n == 0 || rank >= world {
        let message = format!("no order of {n} samples for rank {rank} of {world}");
        return Err(MediaError::new("AVJ_INDEX", message).with_hint("give at least one sample and a rank below world"));
    }
    let order = TorchRng::new(seed.wrapping_add(epoch)).randperm(n);
    let padded = n.div_ceil(world) * world;
    Ok((rank..padded).step_by(world).map(|i| order[i % n]).collect())
}
