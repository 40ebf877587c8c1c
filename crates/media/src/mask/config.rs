//! One entry of the config's `mask` list, and the grids it is applied to.

use super::block::BlockRange;
use crate::error::{MediaError, Result};

/// The shape of what is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskKind {
    /// The union of `num_blocks` boxes of one size.
    Multiblock3d,
    /// The same random positions at every time step.
    RandomTube,
}

/// One mask generator.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskConfig {
    pub kind: MaskKind,
    /// Height over width of a block, uniform in [low, high).
    pub aspect_ratio: [f64; 2],
    pub num_blocks: usize,
    /// Area of a block as a fraction of the grid's, uniform in [low, high).
    pub spatial_scale: [f64; 2],
    /// Time steps of a block as a fraction of the grid's, uniform in [low, high).
    pub temporal_scale: [f64; 2],
    /// The context lies in the first max(1, ⌊T·x⌋) time steps; later tokens are targets. Audio is cut at the same time.
    pub max_temporal_keep: f64,
    /// At most this many video tokens stay in the context. Audio gets the same share of its grid (unbiased masks only:
    /// the reference does not cap audio).
    pub max_keep: Option<usize>,
    /// Random tube: the fraction of positions that is hidden.
    pub ratio: f64,
    /// Rows and columns of an audio block as fractions of the grid, rounded down, at least one token; `None`: the grid's
    /// own block.
    pub audio_scale: Option<[f64; 2]>,
}

impl Default for MaskConfig {
    fn default() -> Self {
        Self {
            kind: MaskKind::Multiblock3d,
            aspect_ratio: [0.75, 1.5],
            num_blocks: 8,
            spatial_scale: [0.15, 0.15],
            temporal_scale: [1.0, 1.0],
            max_temporal_keep: 1.0,
            max_keep: None,
            ratio: 0.9,
            audio_scale: None,
        }
    }
}

/// The audio tokens of a full-length track: `rows` in frequency, `cols` in time, and the block that hides them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioGrid {
    pub rows: usize,
    pub cols: usize,
    pub block_rows: usize,
    pub block_cols: usize,
}

impl AudioGrid {
    /// Blocks of half the rows by half the columns: 4 × 6 on the reference's 8 × 12.
    pub fn new(rows: usize, cols: usize) -> Self {
        Self { rows, cols, block_rows: (rows / 2).max(1), block_cols: (cols / 2).max(1) }
    }
}

/// The grids of the modalities in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaskGrid {
    /// [time steps, rows, columns] of tokens.
    pub video: Option<[usize; 3]>,
    pub audio: Option<AudioGrid>,
}

impl MaskConfig {
    /// Refuses what no draw could satisfy.
    ///
    /// # Errors
    /// `AVJ_MASK` naming the setting: out of its range, or such that no context or no target could ever be left.
    pub fn validate(&self, grid: &MaskGrid) -> Result<()> {
        self.validate_settings()?;
        if grid.video.is_none() && grid.audio.is_none() {
            return Err(error("masks need a video or an audio grid", "set data.modalities"));
        }
        if let Some(dims) = grid.video {
            self.validate_video(dims)?;
        }
        grid.audio.map_or(Ok(()), |audio| validate_audio(self.audio_grid(audio)))
    }

    fn validate_settings(&self) -> Result<()> {
        let fraction = |name: &str, [low, high]: [f64; 2]| {
            if 0.0 < low && low <= high && high <= 1.0 {
                return Ok(());
            }
            Err(error(format!("{name} is [{low}, {high}]"), "give two numbers with 0 < low <= high <= 1"))
        };
        match self.kind {
            MaskKind::Multiblock3d => {
                fraction("spatial_scale", self.spatial_scale)?;
                fraction("temporal_scale", self.temporal_scale)?;
                let [low, high] = self.aspect_ratio;
                if !(0.0 < low && low <= high && high.is_finite()) {
                    return Err(error(format!("aspect_ratio is [{low}, {high}]"), "give two numbers, 0 < low <= high"));
                }
                if self.num_blocks == 0 {
                    return Err(error("num_blocks is 0: the mask leaves no target", "set num_blocks to 1 or more"));
                }
            }
            MaskKind::RandomTube => fraction("ratio", [self.ratio; 2])?,
        }
        for scale in self.audio_scale.into_iter().flatten() {
            fraction("audio_scale", [scale; 2])?;
        }
        fraction("max_temporal_keep", [self.max_temporal_keep; 2])?;
        if self.max_keep == Some(0) {
            return Err(error("max_keep is 0: the mask leaves no context", "set max_keep to 1 or more, or null"));
        }
        Ok(())
    }

    fn validate_video(&self, dims: [usize; 3]) -> Result<()> {
        let [t, h, w] = dims;
        if t * h * w < 2 {
            let message = format!("a grid of {t}x{h}x{w} video tokens cannot hold both context and target");
            return Err(error(message, "use a larger crop, more frames or smaller patches"));
        }
        if t * h * w > i32::MAX as usize {
            return Err(error(format!("a grid of {t}x{h}x{w} video tokens is too large"), "use larger patches"));
        }
        match self.kind {
            MaskKind::Multiblock3d if BlockRange::new(self, dims).always_covers() => {
                let message = format!(
                    "the mask can leave no context: every block of spatial_scale {:?} and temporal_scale {:?} covers the \
                     {t}x{h}x{w} tokens",
                    self.spatial_scale, self.temporal_scale
                );
                Err(error(message, "lower spatial_scale or temporal_scale"))
            }
            MaskKind::RandomTube if self.tube_keep(h * w) == 0 => {
                let message = format!("the mask can leave no context: ratio {} of {} positions", self.ratio, h * w);
                Err(error(message, "lower ratio"))
            }
            MaskKind::RandomTube if self.tube_keep(h * w) == h * w && self.context_steps(t) == t => {
                let message = format!("the mask can leave no target: ratio {} of {} positions", self.ratio, h * w);
                Err(error(message, "raise ratio"))
            }
            _ => Ok(()),
        }
    }

    /// The audio grid with this generator's block.
    pub(super) fn audio_grid(&self, audio: AudioGrid) -> AudioGrid {
        let Some([rows, cols]) = self.audio_scale else { return audio };
        let side = |size: usize, scale: f64| ((size as f64 * scale) as usize).max(1);
        AudioGrid { block_rows: side(audio.rows, rows), block_cols: side(audio.cols, cols), ..audio }
    }

    /// ⌊positions·(1 − ratio)⌋.
    pub(super) fn tube_keep(&self, positions: usize) -> usize {
        (positions as f64 * (1.0 - self.ratio)) as usize
    }

    /// How many of `steps` time steps may hold context.
    pub(super) fn context_steps(&self, steps: usize) -> usize {
        ((steps as f64 * self.max_temporal_keep) as usize).max(1)
    }
}

fn validate_audio(audio: AudioGrid) -> Result<()> {
    let AudioGrid { rows, cols, block_rows, block_cols } = audio;
    if rows * cols < 2 || rows * cols > i32::MAX as usize {
        let message = format!("a grid of {rows}x{cols} audio tokens cannot hold both context and target");
        return Err(error(message, "change data.audio.duration or data.audio.patch"));
    }
    if block_rows == 0 || block_cols == 0 {
        return Err(error(format!("an audio block of {block_rows}x{block_cols} leaves no target"), "use at least 1x1"));
    }
    if block_rows >= rows && block_cols >= cols {
        let message = format!(
            "the mask can leave no context: an audio block of {block_rows}x{block_cols} covers the {rows}x{cols} tokens"
        );
        return Err(error(message, "use a smaller audio block"));
    }
    Ok(())
}

pub(super) fn error(message: impl Into<String>, hint: &str) -> MediaError {
    MediaError::new("AVJ_MASK", message).with_hint(hint)
}
