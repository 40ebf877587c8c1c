//! Media: decoding, spectrograms, clip sampling, masks and the loader.

pub mod clip_sampling;
pub mod error;
pub mod index;
pub mod mask;
pub mod order;
pub mod random;
pub mod sample;
pub mod spectrogram;

pub use error::{MediaError, Result};
