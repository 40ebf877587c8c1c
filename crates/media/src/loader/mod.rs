//! The loader: threads that decode, augment and mask samples, assembled in order into batches.
//!
//! What a sample contains depends on (seed, pass, sample index, purpose) only, and batches are delivered in the order that
//! [`crate::order`] computes: the number of threads and their timing never change a byte. The position reached, a
//! [`Cursor`], is all that a resumed run needs.

mod bad_files;
mod batch;
mod clip_audio;
mod clip_source;
mod config;
mod engine;
mod grid;
mod masks;
mod open;
mod source;

pub use bad_files::{BadFiles, Counts, Event, EventKind};
pub use batch::{Batch, Pixels, RowMasks};
pub use clip_source::ClipSource;
pub use config::{
    AudioConfig, AudioPad, AudioPreset, AugmentConfig, Compat, DataConfig, FrameSampling, LoaderConfig, MaskEntry,
    MaskMode, MaskType, Missing, Modality, OrderName, PixelFormat,
};
pub use engine::{Cursor, Loader, Settings, Stopper};
pub use grid::{Grids, SoundGrid, VideoGrid};
pub use masks::{BatchMasks, MaskSampler, RowAddress};
pub use open::{LoaderInfo, open};
pub use source::{Clip, Note, Reading, Refusal, Source};

#[cfg(test)]
mod tests;
