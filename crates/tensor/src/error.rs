//! The one error of the engine.

use std::fmt;

/// What kind of fault it is; the name is what TypeScript sees as `error.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Shapes that do not fit the operation or each other.
    Shape,
    /// An element type the operation does not take.
    DType,
    /// A value outside its range, or an option that does not exist.
    Argument,
    /// A tensor that has been freed, or never was.
    Handle,
    /// The device has no room for the bytes asked for.
    Memory,
    /// Gradients asked for where there are none to be had.
    Autograd,
    /// A device that is absent, lost or refuses a kernel.
    Device,
    /// The other processes of the run: absent, gone, or doing something else.
    Comm,
    /// A bug of ours, caught.
    Panic,
}

impl Code {
    pub const fn name(self) -> &'static str {
        match self {
            Code::Shape => "AVJ_SHAPE",
            Code::DType => "AVJ_DTYPE",
            Code::Argument => "AVJ_ARGUMENT",
            Code::Handle => "AVJ_HANDLE",
            Code::Memory => "AVJ_MEMORY",
            Code::Autograd => "AVJ_AUTOGRAD",
            Code::Device => "AVJ_DEVICE",
            Code::Comm => "AVJ_COMM",
            Code::Panic => "AVJ_PANIC",
        }
    }
}

/// A message that names the operation and the shapes, and a hint that says what to do.
#[derive(Clone, Debug)]
pub struct Error {
    pub code: Code,
    pub message: String,
    pub hint: Option<String>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error { code, message: message.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `attention: q is [2, 370, 3, 64] but …`
    pub fn shape(op: &str, message: impl fmt::Display) -> Self {
        Error::new(Code::Shape, format!("{op}: {message}"))
    }

    pub fn dtype(op: &str, message: impl fmt::Display) -> Self {
        Error::new(Code::DType, format!("{op}: {message}"))
    }

    pub fn argument(op: &str, message: impl fmt::Display) -> Self {
        Error::new(Code::Argument, format!("{op}: {message}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
