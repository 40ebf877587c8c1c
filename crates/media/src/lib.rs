//! Media: decoding, spectrograms, clip sampling, masks and the loader.

pub mod audio;
pub mod clip_sampling;
pub mod error;
pub mod image_file;
pub mod image_folder;
pub mod image_loader;
pub mod index;
pub mod library;
pub mod loader;
pub mod mask;
pub mod order;
mod packet_index;
pub mod random;
mod regular_file;
pub mod sample;
pub mod spectrogram;
pub mod transform;
pub mod video;
pub mod video_writer;

pub use error::{MediaError, Result};
