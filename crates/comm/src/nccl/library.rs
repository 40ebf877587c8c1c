//! Finding NVIDIA's libraries at run time: building needs neither, and where one is missing the error says how to get it.

use libloading::Library;
use std::ffi::OsString;

/// Why there is no connection, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenError {
    pub message: String,
    pub hint: Option<String>,
}

impl OpenError {
    pub fn new(message: impl Into<String>) -> Self {
        OpenError { message: message.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<String> for OpenError {
    fn from(message: String) -> Self {
        OpenError::new(message)
    }
}

/// Where a library is looked for.
pub struct Source {
    /// The environment variable that names another file.
    pub variable: &'static str,
    /// Names for the system's loader, the first that it finds.
    pub names: &'static [&'static str],
    /// What puts the library on a machine.
    pub remedy: &'static str,
}

/// A library, open for as long as the process lives.
pub struct Opened {
    library: &'static Library,
    /// The file or name it was found by.
    pub name: String,
    remedy: &'static str,
}

impl Source {
    /// # Errors
    /// What the system's loader says of each name, and the remedy.
    pub fn open(&self) -> Result<Opened, OpenError> {
        let named = std::env::var_os(self.variable).filter(|path| !path.is_empty());
        let candidates: Vec<OsString> = match &named {
            Some(path) => vec![path.clone()],
            None => self.names.iter().map(Into::into).collect(),
        };
        let mut said = vec![];
        for name in candidates {
            // SAFETY: loading runs the initialisers of NVIDIA's libraries and nothing else; the library is never unloaded.
            match unsafe { Library::new(&name) } {
                Ok(library) => {
                    let name = name.to_string_lossy().into_owned();
                    return Ok(Opened { library: Box::leak(Box::new(library)), name, remedy: self.remedy });
                }
                Err(error) => said.push(root_cause(&error)),
            }
        }
        let from = if named.is_some() { format!(" (from ${})", self.variable) } else { String::new() };
        let hint = format!("{}; ${} names another file", self.remedy, self.variable);
        Err(OpenError::new(format!("{}{from}", said.join("; "))).hint(hint))
    }
}

impl Opened {
    /// The function of that name.
    ///
    /// # Safety
    /// `F` is the function's type.
    ///
    /// # Errors
    /// The name, where the library has no such function.
    pub unsafe fn symbol<F: Copy>(&self, name: &str) -> Result<F, OpenError> {
        // SAFETY: promised by the caller.
        match unsafe { self.library.get::<F>(name) } {
            Ok(symbol) => Ok(*symbol),
            Err(_) => Err(OpenError::new(format!("{} has no function {name}", self.name)).hint(self.remedy)),
        }
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// A structure of a library's functions, each with its name there, and a `load` that finds them all.
macro_rules! functions {
    (
        $(#[$about:meta])* $name:ident {
            $($(#[$doc:meta])* $field:ident = $symbol:literal($($argument:ident: $type:ty),*) -> $returned:ty;)*
        }
    ) => {
        $(#[$about])*
        pub struct $name {
            $($(#[$doc])* pub $field: unsafe extern "C" fn($($argument: $type),*) -> $returned,)*
        }

        impl $name {
            /// # Safety
            /// The library is the one that the types below describe.
            ///
            /// # Errors
            /// The first function that is missing.
            unsafe fn load(library: &$crate::nccl::library::Opened) -> Result<Self, $crate::nccl::library::OpenError> {
                // SAFETY: promised by the caller.
                unsafe { Ok($name { $($field: library.symbol($symbol)?,)* }) }
            }
        }
    };
}
pub(crate) use functions;

#[cfg(test)]
mod tests {
    use super::*;

    /// A library that every process has.
    const LIBM: Source =
        Source { variable: "AVJEPA_TEST_NO_SUCH_VARIABLE", names: &["none.so.1", "libm.so.6"], remedy: "buy one" };

    #[test]
    #[cfg(target_os = "linux")]
    fn a_library_and_a_function_that_are_missing_are_named() {
        let libm = LIBM.open().unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(libm.name, "libm.so.6");
        // SAFETY: the type is never used.
        let missing = unsafe { libm.symbol::<extern "C" fn()>("ncclAllReduce") }.unwrap_err();
        assert_eq!(missing.message, "libm.so.6 has no function ncclAllReduce");
        assert_eq!(missing.hint.as_deref(), Some("buy one"));
        let error = Source { names: &["libnone.so.1"], ..LIBM }.open().err().unwrap();
        assert!(error.message.contains("libnone.so.1"), "{error:?}");
        assert!(error.hint.unwrap().contains("$AVJEPA_TEST_NO_SUCH_VARIABLE"));
    }
}
