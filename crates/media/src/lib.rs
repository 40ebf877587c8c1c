//! Media: decoding, spectrograms, clip sampling, masks and the loader.

pub mod error;
pub mod mask;
pub mod random;

pub use error::{MediaError, Result};
