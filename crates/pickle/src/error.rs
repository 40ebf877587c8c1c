//! The one error type of this crate.

use std::fmt;
use std::io;

pub type Result<T> = std::result::Result<T, PickleError>;

/// What is wrong with a file, and what to do about it. The file's name is the caller's to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PickleError {
    pub message: String,
    pub hint: Option<String>,
}

impl PickleError {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for PickleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PickleError {}

impl From<io::Error> for PickleError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::new("the file ends too early"),
            _ => Self::new(error.to_string()),
        }
    }
}

/// `Err` with this message.
pub fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(PickleError::new(message))
}
