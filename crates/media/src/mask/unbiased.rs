//! Masks drawn for each sample on its own: own block sizes, own lengths, nothing cut.

use super::block::{BlockRange, Visible, leaving_room};
use super::config::error;
use super::{AudioGrid, MaskConfig, MaskGrid, MaskKind, SampleMask};
use crate::error::Result;
use crate::random::{Purpose, SampleRng};

/// Redraws of one modality before blocks that would hide everything are left out instead.
const MAX_ATTEMPTS: usize = 64;

/// Which sample: its masks depend on nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleAddress {
    pub seed: u64,
    /// Traversal of the data.
    pub pass: u64,
    /// Index of the sample in the data set.
    pub index: u64,
    pub clip: u16,
}

/// What a sample has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    pub video: bool,
    /// Leading time columns of the audio grid that the track covers; 0 without audio.
    pub audio_cols: usize,
}

/// What can be masked of a sample: the video's tokens [T, H, W], and the audio's grid with the columns that hold sound.
type Maskable = (Option<[usize; 3]>, Option<(AudioGrid, usize)>);

/// A mask sampler without batch effects. The block geometry is the reference's; sizes are drawn for each sample.
///
/// Every modality that is present keeps at least one context and one target token. Audio columns past the end of the
/// track are neither; the audio block shrinks in time with the track. A track of a single token is left out, since it
/// could not be both. `max_keep` keeps a random subset of the context (the rest is neither context nor target); audio is
/// capped to the same share of its grid, at least one token. `max_temporal_keep` cuts both modalities at the same time.
/// Under random tubes, audio hides a fraction `ratio` of its tokens, each position alike.
#[derive(Clone, Debug)]
pub struct UnbiasedMasks {
    generators: Vec<MaskConfig>,
    grid: MaskGrid,
}

impl UnbiasedMasks {
    /// # Errors
    /// `AVJ_MASK` for a config that can leave no context or no target, or more than 256 generators.
    pub fn new(generators: Vec<MaskConfig>, grid: MaskGrid) -> Result<Self> {
        if generators.len() > 256 {
            return Err(error(format!("{} mask generators", generators.len()), "use at most 256"));
        }
        generators.iter().try_for_each(|generator| generator.validate(&grid))?;
        Ok(Self { generators, grid })
    }

    /// One mask for each generator.
    ///
    /// # Errors
    /// `AVJ_MASK` if the sample has no modality that could be masked, or one that the grid does not have.
    pub fn sample(&self, address: SampleAddress, presence: Presence) -> Result<Vec<SampleMask>> {
        let SampleAddress { seed, pass, index, clip } = address;
        let (video, audio) = self.maskable(presence)?;
        let masks = self.generators.iter().enumerate().map(|(i, generator)| {
            let rng = &mut SampleRng::new(seed, pass, index, Purpose::Mask { generator: i as u8, clip });
            let mut mask = SampleMask::default();
            if let Some(dims) = video {
                (mask.video_context, mask.video_target) = video_mask(generator, dims, rng);
            }
            if let Some((audio, cols)) = audio {
                (mask.audio_context, mask.audio_target) = self.audio_mask(generator, audio, cols, rng);
            }
            mask
        });
        Ok(masks.collect())
    }

    /// The sizes that are to be masked: of the video, and of the audio with its columns.
    ///
    /// # Errors
    /// As [`UnbiasedMasks::sample`].
    pub fn maskable(&self, presence: Presence) -> Result<Maskable> {
        let video = match (presence.video, self.grid.video) {
            (false, _) => None,
            (true, Some(dims)) => Some(dims),
            (true, None) => return Err(error("a sample with video, but masks without a video grid", NO_GRID)),
        };
        let audio = match (presence.audio_cols, self.grid.audio) {
            (0, _) => None,
            (cols, Some(audio)) => Some((audio, cols.min(audio.cols))).filter(|(_, cols)| audio.rows * cols > 1),
            (_, None) => return Err(error("a sample with audio, but masks without an audio grid", NO_GRID)),
        };
        if video.is_none() && audio.is_none() {
            return Err(error("a sample with neither video nor enough audio to mask", "skip this sample"));
        }
        Ok((video, audio))
    }

    fn audio_mask(
        &self,
        generator: &MaskConfig,
        audio: AudioGrid,
        cols: usize,
        rng: &mut SampleRng,
    ) -> (Vec<i32>, Vec<i32>) {
        let audio = generator.audio_grid(audio);
        let dims = [1, audio.rows, cols];
        // Cut where the video is cut: at a fraction of the whole grid's duration, not of the track's.
        let context_cols = generator.context_steps(audio.cols).min(cols);
        let late = ([0, 0, context_cols], [1, audio.rows, cols - context_cols]);
        let (context, target) = match generator.kind {
            MaskKind::Multiblock3d => {
                let share = (audio.block_cols * cols) as f64 / audio.cols as f64;
                let block = [1, audio.block_rows.min(audio.rows), (share.round() as usize).clamp(1, cols)];
                blocks(dims, generator.num_blocks, late, rng, |_| leaving_room(block, dims))
            }
            MaskKind::RandomTube => scattered(generator, dims, late, rng),
        };
        let in_grid = |i: i32| i / cols as i32 * audio.cols as i32 + i % cols as i32;
        let mut context: Vec<i32> = context.into_iter().map(in_grid).collect();
        if let Some(max_keep) = generator.max_keep {
            let share = self
                .grid
                .video
                .map_or(1.0, |dims| (audio.rows * audio.cols) as f64 / dims.iter().product::<usize>() as f64);
            rng.subset(&mut context, ((max_keep as f64 * share).round() as usize).max(1));
        }
        (context, target.into_iter().map(in_grid).collect())
    }
}

const NO_GRID: &str = "add the modality to data.modalities";

fn video_mask(generator: &MaskConfig, dims: [usize; 3], rng: &mut SampleRng) -> (Vec<i32>, Vec<i32>) {
    let [steps, rows, cols] = dims;
    let context_steps = generator.context_steps(steps).min(steps);
    let late = ([context_steps, 0, 0], [steps - context_steps, rows, cols]);
    let (mut context, target) = match generator.kind {
        MaskKind::Multiblock3d => {
            let range = BlockRange::new(generator, dims);
            blocks(dims, generator.num_blocks, late, rng, |rng| {
                let size = range.size(std::array::from_fn(|_| rng.random()));
                leaving_room(size.map(|extent| extent.max(1)), dims)
            })
        }
        MaskKind::RandomTube => tubes(generator, dims, late, rng),
    };
    if let Some(max_keep) = generator.max_keep {
        rng.subset(&mut context, max_keep);
    }
    (context, target)
}

/// Context and target of the union of `count` boxes and of the box `late`.
fn blocks(
    dims: [usize; 3],
    count: usize,
    late: ([usize; 3], [usize; 3]),
    rng: &mut SampleRng,
    mut size: impl FnMut(&mut SampleRng) -> [usize; 3],
) -> (Vec<i32>, Vec<i32>) {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let block = size(rng);
        let origins: Vec<[usize; 3]> =
            (0..count).map(|_| std::array::from_fn(|axis| rng.index(dims[axis] - block[axis] + 1))).collect();
        let mut visible = Visible::all(dims);
        visible.hide(late.0, late.1);
        if attempts < MAX_ATTEMPTS {
            origins.iter().for_each(|&origin| visible.hide(origin, block));
        } else {
            visible.hide_but_leave_some(&origins, block);
        }
        if visible.any() {
            let (context, target) = visible.split();
            if !target.is_empty() {
                return (context, target);
            }
        }
    }
}

/// Context and target when the same ⌊H·W·(1 − ratio)⌋ positions stay visible at every time step before `late`.
fn tubes(
    generator: &MaskConfig,
    dims: [usize; 3],
    late: ([usize; 3], [usize; 3]),
    rng: &mut SampleRng,
) -> (Vec<i32>, Vec<i32>) {
    let positions = dims[1] * dims[2];
    let mut shown: Vec<usize> = (0..positions).collect();
    rng.subset(&mut shown, generator.tube_keep(positions));
    let mut visible = Visible::all(dims);
    visible.hide(late.0, late.1);
    for i in (0..positions).filter(|i| shown.binary_search(i).is_err()) {
        visible.hide([0, i / dims[2], i % dims[2]], [dims[0], 1, 1]);
    }
    visible.split()
}

/// Context and target when a fraction `ratio` of the tokens before `late` is hidden, each token alike.
fn scattered(
    generator: &MaskConfig,
    dims: [usize; 3],
    late: ([usize; 3], [usize; 3]),
    rng: &mut SampleRng,
) -> (Vec<i32>, Vec<i32>) {
    let mut visible = Visible::all(dims);
    visible.hide(late.0, late.1);
    let (early, mut target) = visible.split();
    let most = if target.is_empty() { early.len() - 1 } else { early.len() };
    let mut context = early.clone();
    rng.subset(&mut context, generator.tube_keep(early.len()).clamp(1, most));
    target.extend(early.into_iter().filter(|i| context.binary_search(i).is_err()));
    target.sort_unstable();
    (context, target)
}
