//! One line of an index.

use std::path::PathBuf;

/// A media file and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Absolute, or relative to the working directory: an index's relative paths are joined to its folder.
    pub path: PathBuf,
    pub label: i32,
}
