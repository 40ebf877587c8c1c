//! Pickles as data: a restricted reader of what torch.save and numpy.save write.
//!
//! Pickle is a small language in which files can call any function. This reader knows the few names that tensors and plain
//! containers need, builds its own values for them and refuses everything else, so a hostile file is an error.

mod calls;
mod dtype;
mod error;
mod globals;
mod heap;
mod machine;
mod memo;
mod npy;
mod source;
mod torch;

#[cfg(test)]
mod tests;

pub use error::{PickleError, Result};
pub use npy::read_strings;
pub use torch::TorchFile;
