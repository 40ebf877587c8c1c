//! Media: decoding, spectrograms, clip sampling, masks and the loader.

pub mod error;

pub use error::{MediaError, Result};
