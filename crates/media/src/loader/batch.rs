//! Rows of samples, side by side.

use std::path::PathBuf;

use super::bad_files::{Counts, Event};
use super::engine::Cursor;
use crate::mask::SampleMask;
use crate::order::Draw;

/// The picture of a clip, or of many.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Pixels {
    /// No picture.
    #[default]
    None,
    /// RGB 0..=255, `[frames, height, width, 3]` a clip.
    Bytes(Vec<u8>),
    /// Normalised, `[3, frames, height, width]` a clip.
    Floats(Vec<f32>),
}

impl Pixels {
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// The masks of all rows under one generator: row `r`'s list lies at `offsets[r]..offsets[r + 1]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowMasks {
    /// Video context, video target, audio context, audio target.
    pub lists: [Vec<i32>; 4],
    pub offsets: [Vec<i32>; 4],
}

impl RowMasks {
    pub fn new<'a>(rows: impl IntoIterator<Item = &'a SampleMask>) -> Self {
        let mut masks = Self { offsets: std::array::from_fn(|_| vec![0]), ..Self::default() };
        for row in rows {
            let lists = [&row.video_context, &row.video_target, &row.audio_context, &row.audio_target];
            for (i, list) in lists.into_iter().enumerate() {
                masks.lists[i].extend_from_slice(list);
                masks.offsets[i].push(masks.lists[i].len() as i32);
            }
        }
        masks
    }
}

/// `samples` files, `clips` clips each: `rows = clips · samples` rows, clip-major, so that row `c·samples + s` is clip `c`
/// of sample `s`. Where a row lacks a modality its values are zero and its masks empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub samples: usize,
    pub clips: usize,
    /// Of each sample: what stood at its place after replacements, and the pass it is drawn in.
    pub draws: Vec<Draw>,
    pub labels: Vec<i32>,
    pub paths: Vec<PathBuf>,
    /// All rows; `None` when video is not a modality of the run.
    pub pixels: Pixels,
    /// Of each row: whether it has a picture.
    pub has_video: Vec<bool>,
    /// `[rows, 1, mel, columns]`; empty when audio is not a modality of the run.
    pub audio: Vec<f32>,
    /// Of each row: leading time columns of the audio's token grid that hold sound; 0 without.
    pub audio_cols: Vec<i32>,
    /// `[rows, frames]` numbers in the file; −1 without picture.
    pub frames: Vec<i32>,
    /// Of each row: the clip's start in seconds.
    pub starts: Vec<f64>,
    /// One for each mask generator.
    pub masks: Vec<RowMasks>,
    /// News of files, in order of the samples.
    pub events: Vec<Event>,
    pub counts: Counts,
    /// Number of the batch on this rank since position 0.
    pub number: u64,
    /// Where the next batch begins.
    pub next: Cursor,
    /// Milliseconds that the reader waited for this batch's samples.
    pub wait_ms: f64,
}
