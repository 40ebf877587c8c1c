//! Which masks the rows of a batch get.

use super::batch::Batch;
use super::config::{LoaderConfig, MaskMode};
use super::grid::Grids;
use crate::error::Result;
use crate::mask::{MaskConfig, MaskGrid, Presence, ReferenceMasks, SampleAddress, SampleMask, UnbiasedMasks};
use crate::random::{Purpose, SampleRng};

/// What a row's masks depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowAddress {
    pub pass: u64,
    pub index: u64,
    pub clip: u16,
    pub has_video: bool,
    pub audio_cols: usize,
}

impl RowAddress {
    fn presence(&self) -> Presence {
        Presence { video: self.has_video, audio_cols: self.audio_cols }
    }
}

/// Masks for rows, in either mode.
#[derive(Clone, Debug)]
pub struct MaskSampler {
    seed: u64,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    None,
    Unbiased(UnbiasedMasks),
    /// `alone` is for rows that lack so much that nothing of the batch's masks is left.
    Reference {
        generators: Vec<MaskConfig>,
        grid: MaskGrid,
        rank: u64,
        world: u64,
        alone: UnbiasedMasks,
    },
}

impl MaskSampler {
    /// # Errors
    /// `AVJ_MASK` for generators that can leave no context or no target.
    pub fn new(config: &LoaderConfig, grids: &Grids) -> Result<Self> {
        let (generators, grid) = (config.mask_configs(), grids.masks());
        let kind = if generators.is_empty() {
            Kind::None
        } else {
            match config.data.mask_mode {
                MaskMode::Unbiased => Kind::Unbiased(UnbiasedMasks::new(generators, grid)?),
                MaskMode::Reference => {
                    // Made anew for each batch; here only for its checks.
                    ReferenceMasks::new(generators.clone(), grid, 0, 0)?;
                    let alone = UnbiasedMasks::new(generators.clone(), grid)?;
                    Kind::Reference { generators, grid, rank: config.rank as u64, world: config.world as u64, alone }
                }
            }
        };
        Ok(Self { seed: config.seed, kind })
    }

    /// The masks of one row, one for each generator; empty when they are made by batch.
    ///
    /// # Errors
    /// `AVJ_MASK` for a row with nothing that could be masked.
    pub fn row(&self, row: RowAddress) -> Result<Vec<SampleMask>> {
        match &self.kind {
            Kind::None => Ok(Vec::new()),
            Kind::Unbiased(masks) => self.alone(masks, row),
            Kind::Reference { alone, .. } => alone.maskable(row.presence()).map(|_| Vec::new()),
        }
    }

    fn alone(&self, masks: &UnbiasedMasks, row: RowAddress) -> Result<Vec<SampleMask>> {
        let RowAddress { pass, index, clip, .. } = row;
        masks.sample(SampleAddress { seed: self.seed, pass, index, clip }, row.presence())
    }

    /// The masks of all rows, `[row][generator]`, of batch `number` with rows clip-major.
    ///
    /// # Errors
    /// As [`MaskSampler::row`].
    pub fn rows(&self, number: u64, samples: usize, rows: &[RowAddress]) -> Result<Vec<Vec<SampleMask>>> {
        match &self.kind {
            Kind::None => Ok(vec![Vec::new(); rows.len()]),
            Kind::Unbiased(_) => rows.iter().map(|&row| self.row(row)).collect(),
            Kind::Reference { .. } => self.batch(number, samples, rows),
        }
    }

    /// The reference's masks of a batch: block sizes from a stream seeded with the batch's number, as there; block places,
    /// which there come from whichever worker was first, from a stream of this batch and rank. Clips of a sample share
    /// its masks. What a row lacks is taken out of its lists; where that leaves no context or no target, the row has masks
    /// of its own, as in the other mode.
    fn batch(&self, number: u64, samples: usize, rows: &[RowAddress]) -> Result<Vec<Vec<SampleMask>>> {
        let Kind::Reference { generators, grid, rank, world, alone } = &self.kind else { return Ok(Vec::new()) };
        let places = SampleRng::new(self.seed, 0, number * world + rank, Purpose::Other(PLACES)).next_u32();
        let masks = ReferenceMasks::new(generators.clone(), *grid, u64::from(places), number)?.next_batch(samples);
        let fit = |row: &RowAddress, mask: &SampleMask| {
            let mut mask = mask.clone();
            if !row.has_video {
                mask.video_context.clear();
                mask.video_target.clear();
            }
            let (all, cols) = (grid.audio.map_or(0, |audio| audio.cols) as i32, row.audio_cols as i32);
            if cols < all {
                mask.audio_context.retain(|i| i % all < cols);
                mask.audio_target.retain(|i| i % all < cols);
                if mask.audio_context.is_empty() || mask.audio_target.is_empty() {
                    mask.audio_context.clear();
                    mask.audio_target.clear();
                }
            }
            mask
        };
        let of_row = |(r, row): (usize, &RowAddress)| {
            let fitted: Vec<SampleMask> = masks.iter().map(|of| fit(row, &of[r % samples])).collect();
            if fitted.iter().all(SampleMask::is_usable) {
                return Ok(fitted);
            }
            let own = self.alone(alone, *row)?;
            Ok(fitted.into_iter().zip(own).map(|(mask, own)| if mask.is_usable() { mask } else { own }).collect())
        };
        rows.iter().enumerate().map(of_row).collect()
    }
}

/// The stream of the reference's block places.
const PLACES: u16 = 1;

/// The masks that can only be made once a batch is complete.
#[derive(Clone, Debug)]
pub struct BatchMasks(pub Option<MaskSampler>);

impl BatchMasks {
    /// Those of `sampler` that are made by batch, if any.
    pub fn of(sampler: &MaskSampler) -> Self {
        Self(matches!(sampler.kind, Kind::Reference { .. }).then(|| sampler.clone()))
    }

    /// Gives each row its masks.
    ///
    /// # Errors
    /// As [`MaskSampler::row`].
    pub fn complete(&self, batch: &Batch, by_row: &mut Vec<Vec<SampleMask>>) -> Result<()> {
        let Some(sampler) = &self.0 else { return Ok(()) };
        let rows: Vec<RowAddress> = (0..by_row.len())
            .map(|row| RowAddress {
                pass: batch.draws[row % batch.samples].pass,
                index: batch.draws[row % batch.samples].index as u64,
                clip: (row / batch.samples) as u16,
                has_video: batch.has_video[row],
                audio_cols: batch.audio_cols[row] as usize,
            })
            .collect();
        *by_row = sampler.rows(batch.number, batch.samples, &rows)?;
        Ok(())
    }
}
