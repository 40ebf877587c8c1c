//! Finds and opens `libavjepa_ffmpeg`, the library that links FFmpeg, when the first file needs it.

#[path = "../../ffmpeg/src/abi.rs"]
pub(crate) mod abi;
mod input;

pub(crate) use input::{Input, Received};

use crate::error::{MediaError, Result};
use abi::{ABI_VERSION, Api, Text};
use libloading::Library;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

const FILE_NAME: &str = if cfg!(target_os = "macos") { "libavjepa_ffmpeg.dylib" } else { "libavjepa_ffmpeg.so" };

/// For who builds.
const REMEDY: &str = "apt-get install -y pkg-config libclang-dev libavcodec-dev libavformat-dev libavutil-dev libswscale-dev \
                      && scripts/setup.sh, without AVJEPA_NO_MEDIA";
/// For who runs what was built where FFmpeg is: its libraries, of the version they were, come first.
const LIBRARIES: &str = "install FFmpeg's libraries of the version it was built with (Debian: apt-get install -y ffmpeg), or name \
                         their folder in LD_LIBRARY_PATH; for those of another version, build again on this machine";

static API: OnceLock<&'static Api> = OnceLock::new();
static DIRECTORY: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Tells where the library lies (the folder of the addon). Needed only when that is not beside this code's own file.
pub fn set_directory(directory: &Path) {
    *DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner) = Some(directory.to_path_buf());
}

/// Versions of the FFmpeg libraries in use.
///
/// # Errors
/// `AVJ_MEDIA_LIBRARY`, with the command that installs what is missing.
pub fn versions() -> Result<String> {
    // SAFETY: the text is copied before any other call.
    Ok(unsafe { (api()?.versions)().as_str().to_owned() })
}

/// The library's functions, opened once a process. A failure is not remembered: the remedy may be applied meanwhile.
pub(crate) fn api() -> Result<&'static Api> {
    if let Some(api) = API.get() {
        return Ok(api);
    }
    let api = open()?;
    Ok(API.get_or_init(|| api))
}

fn open() -> Result<&'static Api> {
    let candidates = candidates();
    let Some(path) = candidates.iter().find(|path| path.is_file()) else {
        let looked: Vec<_> = candidates.iter().map(|path| path.display().to_string()).collect();
        let message = format!("reading this file needs FFmpeg, but {FILE_NAME} is not in {}", looked.join(", "));
        return Err(MediaError::new("AVJ_MEDIA_LIBRARY", message).with_hint(REMEDY));
    };
    let fail = |what: String| MediaError::new("AVJ_MEDIA_LIBRARY", what).with_path(path).with_hint(REMEDY);
    // SAFETY: loading runs the initialisers of FFmpeg's libraries and nothing else; the symbols have the types that
    // abi.rs states, which the version vouches for. The library is never unloaded.
    unsafe {
        let library = Library::new(path).map_err(|error| {
            fail(format!("FFmpeg cannot be loaded: {}", root_cause(&error))).with_hint(format!("{LIBRARIES}: {REMEDY}"))
        })?;
        let library = Box::leak(Box::new(library));
        let version = library
            .get::<extern "C" fn() -> u32>(abi::SYMBOL_ABI_VERSION)
            .map_err(|error| fail(format!("not a media library: {error}")))?();
        if version != ABI_VERSION {
            return Err(fail(format!("built for interface {version}, this program speaks {ABI_VERSION}: rebuild it")));
        }
        let api = library
            .get::<extern "C" fn() -> *const Api>(abi::SYMBOL_API)
            .map_err(|error| fail(format!("not a media library: {error}")))?();
        api.as_ref().ok_or_else(|| fail("not a media library".to_owned()))
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// `$AVJEPA_MEDIA_LIB` alone when set; else the announced folder, the folder of this code (the addon, or a test program
/// in `target/release/deps`), its parent, and `target/release` below the working directory.
fn candidates() -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os("AVJEPA_MEDIA_LIB").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        return vec![if path.is_dir() { path.join(FILE_NAME) } else { path }];
    }
    let mut folders = Vec::new();
    folders.extend(DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner).clone());
    if let Some(own) = own_file() {
        folders.extend(own.ancestors().skip(1).take(2).map(Path::to_path_buf));
    }
    folders.push(PathBuf::from("target/release"));
    folders.dedup();
    folders.into_iter().map(|folder| folder.join(FILE_NAME)).collect()
}

/// The file that holds this very function: the addon, or a test program.
fn own_file() -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: `info` is written by dladdr when it returns non-zero; the name is a terminated string of the loader.
    let name = unsafe {
        if libc::dladdr(own_file as *const libc::c_void, info.as_mut_ptr()) == 0 {
            return None;
        }
        let name = info.assume_init().dli_fname;
        if name.is_null() {
            return None;
        }
        std::ffi::CStr::from_ptr(name)
    };
    // A program started through PATH names itself without a folder.
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes()));
    path.canonicalize().ok().or_else(|| std::env::current_exe().ok())
}

/// The thread's last error as one of ours, with what libav logged on the way.
pub(crate) fn last_error(api: &Api, path: &Path) -> MediaError {
    let (mut code, mut message) = (Text::EMPTY, Text::EMPTY);
    // SAFETY: the texts are copied before the next call on this thread.
    let (internal, mut text, log) = unsafe {
        (api.last_error)(&raw mut code, &raw mut message);
        let (internal, text) = (code.as_str() == "AVJ_PANIC", message.as_str().to_owned());
        (internal, text, (api.take_log)().as_str().replace('\n', "; "))
    };
    if !log.is_empty() && !text.contains(&log) {
        text = format!("{text} [{log}]");
    }
    MediaError { code: if internal { "AVJ_PANIC" } else { "AVJ_MEDIA" }, ..MediaError::media(path, text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_file_is_this_test_program() {
        let exe = std::env::current_exe().and_then(|path| path.canonicalize()).expect("current_exe");
        assert_eq!(own_file(), Some(exe));
    }
}
