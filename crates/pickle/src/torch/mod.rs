//! Files of torch.save: where each tensor lies in the file, and the plain values around them.

mod json;
mod legacy;
mod tape;
mod zip;

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::{Result, fail};
use crate::heap::{Heap, Id};

/// What torch.save wrote. Tensors are places in the file: none is read.
#[derive(Debug)]
pub struct TorchFile {
    heap: Heap,
    root: Id,
    /// Bytes of the file, and of its pickles: what bounds the answer.
    file_size: u64,
    pickle_size: u64,
}

impl TorchFile {
    /// Reads a file in any of torch's formats: zip (since 1.6), its pickles in a row (since 0.1.12), a tar archive (before).
    ///
    /// # Errors
    /// For files of another kind, damaged ones, and what asks for more than tensors and plain containers.
    pub fn open(path: &Path) -> Result<Self> {
        // Asked before it is opened: to open a pipe is to wait for its writer.
        let meta = fs::metadata(path)?;
        if !meta.is_file() {
            return fail("it is no regular file");
        }
        let mut file = File::open(path)?;
        let size = meta.len();
        if size == 0 {
            return fail("it is empty");
        }
        let mut head = Vec::new();
        (&file).take(512).read_to_end(&mut head)?;
        file.seek(SeekFrom::Start(0))?;
        let reader = BufReader::new(file);
        match head.as_slice() {
            [b'P', b'K', 3, 4, ..] => zip::read(reader, size),
            _ if head.get(257..262) == Some(b"ustar") => tape::read(reader, size),
            [0x80, ..] => legacy::read(reader, size),
            _ => fail("it is no file of torch.save"),
        }
    }

    /// See [`json::write`].
    ///
    /// # Errors
    /// When values nest too deeply, or the answer would be far larger than the file.
    pub fn to_json(&self) -> Result<String> {
        json::write(self)
    }
}
