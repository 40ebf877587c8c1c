//! The one error type of this crate.

use std::fmt;
use std::path::{Path, PathBuf};

pub type Result<T> = std::result::Result<T, MediaError>;

/// What went wrong with a media file, an index or the loader.
///
/// `code` is for programs (`AVJ_MEDIA`, `AVJ_MEDIA_LIBRARY`, `AVJ_INDEX`, …), `message` says what was found,
/// `hint` what to do about it, and `path` names the file, so that a loader can count and report bad files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaError {
    pub code: &'static str,
    pub message: String,
    pub hint: Option<String>,
    pub path: Option<PathBuf>,
}

impl MediaError {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, path: None }
    }

    /// A media file that cannot be opened or decoded: code `AVJ_MEDIA`.
    pub fn media(path: &Path, message: impl Into<String>) -> Self {
        Self::new("AVJ_MEDIA", message).with_path(path)
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the file, unless one is named already (the innermost one knows best).
    #[must_use]
    pub fn with_path(mut self, path: &Path) -> Self {
        self.path.get_or_insert_with(|| path.to_path_buf());
        self
    }
}

/// `path: message (hint)`, the form that terminals and logs show.
impl fmt::Display for MediaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for MediaError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_path_message_and_hint() {
        let error = MediaError::media(Path::new("a/b.mp4"), "no video stream").with_hint("remove it from the index");
        assert_eq!(error.to_string(), "a/b.mp4: no video stream (remove it from the index)");
        assert_eq!(error.clone().with_path(Path::new("other")).path, error.path);
        assert_eq!(MediaError::new("AVJ_INDEX", "empty").to_string(), "empty");
    }
}
