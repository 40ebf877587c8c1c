//! Media: decoding, spectrograms, clip sampling, masks and the loader.

pub mod error;
pub mod random;

pub use error::{MediaError, Result};
