//! Bytes in order, with the end known beforehand: a length that is claimed is checked before it is believed.

use std::io::BufRead;

use crate::error::{PickleError, Result, fail};

/// Longest text line of the old opcodes (numbers and names).
const MAX_LINE: u64 = 1 << 20;

/// What remains of a file, or of a part of it.
pub struct Source<R> {
    reader: R,
    at: u64,
    end: u64,
}

impl<R: BufRead> Source<R> {
    /// Reads from `at` to `end`; `reader` stands at `at`.
    pub fn new(reader: R, at: u64, end: u64) -> Self {
        Self { reader, at, end }
    }

    /// Bytes before the next one, counted as `new`'s `at` was.
    pub fn position(&self) -> u64 {
        self.at
    }

    pub fn remaining(&self) -> u64 {
        self.end - self.at
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// When fewer remain.
    pub fn bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        if count > self.remaining() {
            return fail(format!("{count} bytes are announced, but only {} are there", self.remaining()));
        }
        let mut bytes = vec![0; usize::try_from(count).map_err(|_| PickleError::new("too long"))?];
        self.reader.read_exact(&mut bytes)?;
        self.at += count;
        Ok(bytes)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        if N as u64 > self.remaining() {
            return fail("the pickle ends too early");
        }
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// Text up to a line feed, without it.
    pub fn line(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        loop {
            match self.u8()? {
                b'\n' => break,
                byte => bytes.push(byte),
            }
            if bytes.len() as u64 > MAX_LINE {
                return fail("a line has no end");
            }
        }
        String::from_utf8(bytes).map_err(|_| PickleError::new("a line is not UTF-8"))
    }
}
