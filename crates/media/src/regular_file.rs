//! What is asked of a path before anything reads from it.

use crate::error::{MediaError, Result};
use std::io::{Error, ErrorKind};
use std::path::Path;

/// Refuses what would hang or mislead a reader, in words better than its own. Returns the file's bytes.
///
/// # Errors
/// `AVJ_MEDIA` naming the path: absent, a folder, a pipe or a device, empty, or not to be read.
pub(crate) fn check_file(path: &Path) -> Result<u64> {
    let refuse = |error: Error| MediaError::media(path, reason(&error));
    let meta = std::fs::metadata(path).map_err(refuse)?;
    if meta.is_dir() {
        return Err(MediaError::media(path, "is a folder, not a media file"));
    }
    if !meta.is_file() {
        return Err(MediaError::media(path, "is a pipe or a device, not a regular file"));
    }
    if meta.len() == 0 {
        return Err(MediaError::media(path, "the file is empty"));
    }
    std::fs::File::open(path).map_err(refuse)?;
    Ok(meta.len())
}

fn reason(error: &Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_named() {
        let cases = [
            ("/no/such/file.mp4", "there is no such file"),
            ("/tmp", "is a folder"),
            ("/dev/zero", "a device"),
            ("/proc/self/maps", "empty"),
        ];
        for (path, words) in cases {
            let error = check_file(Path::new(path)).expect_err(path);
            assert!(error.code == "AVJ_MEDIA" && error.to_string().contains(words), "{error}");
        }
        let own = std::env::current_exe().expect("a program has a path");
        assert!(check_file(&own).is_ok_and(|bytes| bytes > 1000));
    }
}
