//! Decoded frames.

use crate::error::{MediaError, Result};

/// Interleaved 8-bit RGB frames `[count, height, width, 3]`.
#[derive(Clone, Copy, Debug)]
pub struct Frames<'a> {
    data: &'a [u8],
    pub count: usize,
    pub height: usize,
    pub width: usize,
}

impl<'a> Frames<'a> {
    /// # Errors
    /// `AVJ_SHAPE` if an extent is 0 or `data` has another length.
    pub fn new(data: &'a [u8], count: usize, height: usize, width: usize) -> Result<Self> {
        let length = [count, height, width].into_iter().try_fold(3_usize, usize::checked_mul);
        if data.is_empty() || length != Some(data.len()) {
            let message = format!("{} bytes for RGB frames of [{count}, {height}, {width}, 3]", data.len());
            return Err(MediaError::new("AVJ_SHAPE", message));
        }
        Ok(Self { data, count, height, width })
    }

    /// All bytes.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Frame `t`, `[height, width, 3]`.
    pub fn frame(&self, t: usize) -> &'a [u8] {
        let size = self.height * self.width * 3;
        &self.data[t * size..(t + 1) * size]
    }
}
