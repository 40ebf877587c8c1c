//! How much audio a token grid covers, and which of its columns a track fills.

use super::standard::{HOP, SAMPLE_RATE, WINDOW};
use crate::error::{MediaError, Result};

/// The audio tokens of the `standard` preset: patches of `patch[0]` mel bands by `patch[1]` frames of 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioTokens {
    pub mels: usize,
    pub patch: [usize; 2],
    /// Time columns of a full-length track.
    pub cols: usize,
}

impl AudioTokens {
    /// The whole number of columns nearest to `seconds`, at least one.
    ///
    /// # Errors
    /// `AVJ_AUDIO` if a size is 0, `mels` is no multiple of the patch, or `seconds` is not above zero.
    pub fn new(seconds: f64, mels: usize, patch: [usize; 2]) -> Result<Self> {
        let [rows, cols] = patch;
        if rows == 0 || cols == 0 || mels == 0 || !mels.is_multiple_of(rows) {
            let message = format!("audio patches of {rows}x{cols} on {mels} mel bands");
            return Err(MediaError::new("AVJ_AUDIO", message)
                .with_hint("make data.audio.num_mel a multiple of data.audio.patch"));
        }
        if !(seconds > 0.0 && seconds <= 3600.0) {
            let message = format!("an audio duration of {seconds} seconds");
            return Err(
                MediaError::new("AVJ_AUDIO", message).with_hint("set data.audio.duration above 0 and at most 3600")
            );
        }
        let frames = seconds * SAMPLE_RATE as f64 / HOP as f64;
        Ok(Self { mels, patch, cols: ((frames / cols as f64).round() as usize).max(1) })
    }

    /// `data.audio.duration` when it is not given: the clip's own length, at 30 frames a second if only frames are known.
    pub fn default_seconds(clip_duration: Option<f64>, num_frames: usize, sampling_rate: usize) -> f64 {
        clip_duration.unwrap_or((num_frames * sampling_rate) as f64 / 30.0)
    }

    /// [rows, cols] of the grid.
    pub fn grid(&self) -> [usize; 2] {
        [self.mels / self.patch[0], self.cols]
    }

    /// Spectrogram frames of the grid.
    pub fn frames(&self) -> usize {
        self.cols * self.patch[1]
    }

    /// Seconds that the grid covers.
    pub fn seconds(&self) -> f64 {
        (self.frames() * HOP) as f64 / SAMPLE_RATE as f64
    }

    /// 16 kHz samples that all frames of the grid see: the last window reaches 15 ms beyond [`AudioTokens::seconds`].
    pub fn samples(&self) -> usize {
        (self.frames() - 1) * HOP + WINDOW
    }

    /// Leading columns that `samples` samples from the window's start fill. A column counts if at most its last 10 ms are
    /// missing, so that a track that ends with its video loses nothing to rounding.
    pub fn valid_cols(&self, samples: usize) -> usize {
        if samples < WINDOW {
            return 0;
        }
        ((samples + HOP) / (self.patch[1] * HOP)).min(self.cols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_clip() {
        let seconds = AudioTokens::default_seconds(None, 16, 4);
        let tokens = AudioTokens::new(seconds, 128, [16, 16]).unwrap();
        assert_eq!((tokens.grid(), tokens.frames()), ([8, 13], 208));
        assert!((tokens.seconds() - 2.08).abs() < 1e-12);
        assert_eq!(tokens.samples(), 207 * 160 + 400);
    }

    #[test]
    fn short_tracks_fill_whole_columns() {
        let tokens = AudioTokens::new(1.6, 128, [16, 16]).unwrap();
        assert_eq!(tokens.cols, 10);
        let cols = |ms: usize| tokens.valid_cols(ms * 16);
        assert_eq!([cols(0), cols(10), cols(149), cols(150), cols(309), cols(310)], [0, 0, 0, 1, 1, 2]);
        assert_eq!([cols(1589), cols(1590), cols(1600), cols(9000)], [9, 10, 10, 10]);
    }

    #[test]
    fn unusable_grids_are_refused() {
        for (seconds, mels, patch) in [(2.0, 100, [16, 16]), (2.0, 128, [0, 16]), (0.0, 128, [16, 16])] {
            assert_eq!(AudioTokens::new(seconds, mels, patch).unwrap_err().code, "AVJ_AUDIO");
        }
        assert!(AudioTokens::new(f64::NAN, 128, [16, 16]).is_err());
        assert_eq!(AudioTokens::new(0.01, 128, [16, 16]).unwrap().cols, 1);
    }
}
