//! What the loader's threads ask for: one sample, read and prepared.

use std::path::Path;

use super::bad_files::EventKind;
use super::batch::Pixels;
use crate::error::MediaError;
use crate::mask::SampleMask;
use crate::order::Draw;

/// Gives samples by number. The same [`Draw`] always gives the same sample, on any thread.
pub trait Source: Send + Sync + 'static {
    /// How many samples there are.
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn path(&self, index: usize) -> &Path;

    fn label(&self, index: usize) -> i32;

    /// Reads and prepares a sample.
    ///
    /// # Errors
    /// A [`Refusal`]: the loader then takes another sample, or stops.
    fn read(&self, draw: Draw) -> Result<Reading, Refusal>;
}

/// A sample, ready for a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    pub clips: Vec<Clip>,
    /// What was lacking and made up for.
    pub notes: Vec<Note>,
}

/// One clip of a sample: a row of the batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clip {
    pub pixels: Pixels,
    /// Spectrogram `[mel, columns]`; empty without sound.
    pub audio: Vec<f32>,
    /// Leading time columns of the audio's token grid that hold sound.
    pub audio_cols: usize,
    /// Numbers of the frames in their file; empty without picture.
    pub frames: Vec<usize>,
    /// Presentation time of the clip's start in seconds, on the file's clock.
    pub start: f64,
    /// One for each mask generator; empty where masks are made by batch, or none are wanted.
    pub masks: Vec<SampleMask>,
}

/// Something about a file that its user should know, though it was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub kind: EventKind,
    pub reason: String,
}

/// Why there is no sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The file is broken: replaced, and counted against `max_bad_fraction`.
    Bad(MediaError),
    /// The configuration asks to leave such files out: replaced, counted apart.
    Unwanted(Note),
    /// The run cannot go on.
    Fatal(MediaError),
}

impl From<MediaError> for Refusal {
    /// A missing library or a wrong setting is the run's fault, anything else the file's.
    fn from(error: MediaError) -> Self {
        match error.code {
            "AVJ_MEDIA_LIBRARY" | "AVJ_SHAPE" => Self::Fatal(error),
            _ => Self::Bad(error),
        }
    }
}
