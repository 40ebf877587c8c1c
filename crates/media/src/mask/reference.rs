//! The reference's masks, index by index.

use super::block::{BlockRange, Visible, leaving_room};
use super::config::error;
use super::{AudioGrid, MaskConfig, MaskGrid, MaskKind, SampleMask};
use crate::error::Result;
use crate::random::{NumpyRng, TorchRng};

/// Redraws of one sample before blocks that would hide everything are left out instead. The reference draws for ever.
const MAX_ATTEMPTS: usize = 10_000;

/// Masks of whole batches from three streams: block sizes from a torch generator seeded with the batch's counter (so
/// that one batch has one size a generator), block places from one long torch stream, tubes from one long numpy stream.
///
/// Lists of a batch are cut to the shortest one, keeping the lowest indices: later frames are trained less. Unlike the
/// reference, a sample whose context or targets came out empty in any modality is drawn again.
#[derive(Clone, Debug)]
pub struct ReferenceMasks {
    generators: Vec<MaskConfig>,
    grid: MaskGrid,
    counter: u64,
    pub torch: TorchRng,
    pub numpy: NumpyRng,
}

impl ReferenceMasks {
    /// `seed` starts both long streams; `counter` is the number of the first batch.
    ///
    /// # Errors
    /// `AVJ_MASK` for a config that [`MaskConfig::validate`] refuses, or that the reference cannot mask: no video, or
    /// tubes with audio.
    pub fn new(generators: Vec<MaskConfig>, grid: MaskGrid, seed: u64, counter: u64) -> Result<Self> {
        if grid.video.is_none() {
            return Err(error("reference masks need video", "set data.mask_mode: unbiased"));
        }
        for generator in &generators {
            generator.validate(&grid)?;
            if generator.kind == MaskKind::RandomTube && grid.audio.is_some() {
                let message = "random tube masks do not cover audio in the reference";
                return Err(error(message, "set data.mask_mode: unbiased"));
            }
        }
        Ok(Self { generators, grid, counter, torch: TorchRng::new(seed), numpy: NumpyRng::new(seed as u32) })
    }

    /// The number of the next batch.
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// The masks of the next batch, `[generator][sample]`; within a generator all lists of one name are equally long.
    pub fn next_batch(&mut self, batch: usize) -> Vec<Vec<SampleMask>> {
        let generators = std::mem::take(&mut self.generators);
        let masks = generators
            .iter()
            .map(|generator| match generator.kind {
                MaskKind::Multiblock3d => self.multiblock(generator, batch),
                MaskKind::RandomTube => self.tubes(generator, batch),
            })
            .collect();
        self.generators = generators;
        self.counter += 1;
        masks
    }

    fn video_dims(&self) -> [usize; 3] {
        self.grid.video.unwrap_or([0; 3]) // new() refuses a grid without video
    }

    fn multiblock(&mut self, generator: &MaskConfig, batch: usize) -> Vec<SampleMask> {
        let dims = self.video_dims();
        let context_steps = generator.context_steps(dims[0]);
        let mut sizes = TorchRng::new(self.counter);
        let r = std::array::from_fn(|_| f64::from(sizes.rand()));
        let mut block = leaving_room(BlockRange::new(generator, dims).size(r), dims);
        if block.contains(&0) && context_steps == dims[0] {
            block = block.map(|extent| extent.max(1));
        }
        let mut masks: Vec<SampleMask> =
            (0..batch).map(|_| self.multiblock_sample(generator, block, context_steps)).collect();
        // The published generator with sound knows no such limit.
        truncate(&mut masks, generator.max_keep.filter(|_| self.grid.audio.is_none()));
        masks
    }

    fn multiblock_sample(&mut self, generator: &MaskConfig, block: [usize; 3], context_steps: usize) -> SampleMask {
        let dims = self.video_dims();
        let audio_grid = self.grid.audio.map(|audio| generator.audio_grid(audio));
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (mut origins, mut audio_origins) = (Vec::new(), Vec::new());
            for _ in 0..generator.num_blocks {
                let [y, x, t] = [1, 2, 0].map(|axis| self.place(dims[axis], block[axis]));
                origins.push([t, y, x]);
                if let Some(audio) = audio_grid {
                    let size = audio_block(audio);
                    let [row, col] = [1, 2].map(|axis| self.place([0, audio.rows, audio.cols][axis], size[axis]));
                    audio_origins.push([0, row, col]);
                }
            }
            let hide_late = |visible: &mut Visible| {
                visible.hide([context_steps, 0, 0], [dims[0] - context_steps, dims[1], dims[2]]);
            };
            let mut video = Visible::all(dims);
            hide_late(&mut video);
            let mut audio = self.grid.audio.map(|audio| Visible::all([1, audio.rows, audio.cols]));
            let audio_size = audio_grid.map_or([0; 3], audio_block);
            if attempts < MAX_ATTEMPTS {
                origins.iter().for_each(|&origin| video.hide(origin, block));
                if let Some(audio) = &mut audio {
                    audio_origins.iter().for_each(|&origin| audio.hide(origin, audio_size));
                }
            } else {
                video.hide_but_leave_some(&origins, block);
                if let Some(audio) = &mut audio {
                    audio.hide_but_leave_some(&audio_origins, audio_size);
                }
            }
            if video.any() && audio.as_ref().is_none_or(Visible::any) {
                let (video_context, video_target) = video.split();
                let (audio_context, audio_target) = audio.map_or_else(Default::default, |audio| audio.split());
                return SampleMask { video_context, video_target, audio_context, audio_target };
            }
        }
    }

    /// Where a block of `extent` tokens starts among `length`.
    fn place(&mut self, length: usize, extent: usize) -> usize {
        self.torch.randint(0, (length - extent + 1) as i64) as usize
    }

    fn tubes(&mut self, generator: &MaskConfig, batch: usize) -> Vec<SampleMask> {
        let [steps, rows, cols] = self.video_dims();
        let positions = rows * cols;
        let keep = generator.tube_keep(positions);
        (0..batch)
            .map(|_| {
                let mut visible: Vec<bool> = (0..positions).map(|i| i >= positions - keep).collect();
                self.numpy.shuffle(&mut visible);
                let tokens = 0..(steps * positions) as i32;
                let (video_context, video_target) = tokens.partition(|&i| visible[i as usize % positions]);
                SampleMask { video_context, video_target, ..SampleMask::default() }
            })
            .collect()
    }
}

fn audio_block(audio: AudioGrid) -> [usize; 3] {
    [1, audio.block_rows.min(audio.rows), audio.block_cols.min(audio.cols)]
}

/// Cuts each list to the shortest of the batch; `max_keep` cuts the video context further.
fn truncate(masks: &mut [SampleMask], max_keep: Option<usize>) {
    let lists: [fn(&mut SampleMask) -> &mut Vec<i32>; 4] = [
        |mask| &mut mask.video_context,
        |mask| &mut mask.video_target,
        |mask| &mut mask.audio_context,
        |mask| &mut mask.audio_target,
    ];
    for (i, list) in lists.into_iter().enumerate() {
        let shortest = masks.iter_mut().map(|mask| list(mask).len()).min().unwrap_or(0);
        let keep = if i == 0 { shortest.min(max_keep.unwrap_or(usize::MAX)) } else { shortest };
        masks.iter_mut().for_each(|mask| list(mask).truncate(keep));
    }
}
