//! Sizes of a row, from the configuration.

use super::batch::Pixels;
use super::config::{AudioPreset, LoaderConfig, Modality, PixelFormat};
use crate::error::{MediaError, Result};
use crate::mask::{AudioGrid, MaskGrid};
use crate::spectrogram::{AudioTokens, REFERENCE_COLUMNS, REFERENCE_MELS};

/// Shapes of picture and sound and of their token grids.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Grids {
    pub video: Option<VideoGrid>,
    pub audio: Option<SoundGrid>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VideoGrid {
    pub frames: usize,
    /// Side of the square picture in pixels.
    pub crop: usize,
    /// Tokens: [time, rows, columns].
    pub tokens: [usize; 3],
    pub format: PixelFormat,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoundGrid {
    pub mels: usize,
    /// Columns of the spectrogram.
    pub columns: usize,
    pub patch: usize,
    /// Tokens: [rows, columns].
    pub tokens: [usize; 2],
    /// Seconds that the columns cover (with the reference's preset: nominally).
    pub seconds: f64,
}

impl Grids {
    /// # Errors
    /// `AVJ_CONFIG`, `AVJ_AUDIO` for sizes that do not divide.
    pub fn new(config: &LoaderConfig) -> Result<Self> {
        config.validate()?;
        let data = &config.data;
        let video = config.has(Modality::Video).then(|| {
            let side = data.crop_size / data.patch_size;
            let tokens = [data.num_frames / data.tubelet_size, side, side];
            VideoGrid { frames: data.num_frames, crop: data.crop_size, tokens, format: config.pixels }
        });
        let audio = if config.has(Modality::Audio) { Some(SoundGrid::new(config)?) } else { None };
        Ok(Self { video, audio })
    }

    pub fn masks(&self) -> MaskGrid {
        MaskGrid {
            video: self.video.map(|video| video.tokens),
            audio: self.audio.map(|audio| AudioGrid::new(audio.tokens[0], audio.tokens[1])),
        }
    }

    /// Values of a row's spectrogram.
    pub fn audio_len(&self) -> usize {
        self.audio.map_or(0, |audio| audio.mels * audio.columns)
    }

    /// Room for the pictures of `rows` rows.
    pub fn pixels(&self, rows: usize) -> Pixels {
        match self.video {
            None => Pixels::None,
            Some(video) => match video.format {
                PixelFormat::U8 => Pixels::Bytes(vec![0; rows * video.len()]),
                PixelFormat::F32 => Pixels::Floats(vec![0.0; rows * video.len()]),
            },
        }
    }
}

impl VideoGrid {
    /// Values of a row's picture.
    pub fn len(&self) -> usize {
        3 * self.frames * self.crop * self.crop
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl SoundGrid {
    fn new(config: &LoaderConfig) -> Result<Self> {
        let audio = &config.data.audio;
        let patch = audio.patch.unwrap_or(config.data.patch_size);
        let error = |message: String, hint: &str| Err(MediaError::new("AVJ_CONFIG", message).with_hint(hint));
        let seconds = config.audio_seconds();
        match audio.preset {
            AudioPreset::Standard => {
                let tokens = AudioTokens::new(seconds, audio.num_mel, [patch, patch])?;
                let seconds = tokens.seconds();
                Ok(Self { mels: tokens.mels, columns: tokens.frames(), patch, tokens: tokens.grid(), seconds })
            }
            AudioPreset::Reference => {
                let (mels, columns) = (REFERENCE_MELS, REFERENCE_COLUMNS);
                if audio.num_mel != mels {
                    let message = format!("data.audio.num_mel is {}, but preset: reference has {mels}", audio.num_mel);
                    return error(message, "set it to 128, or use preset: standard");
                }
                if patch == 0 || !mels.is_multiple_of(patch) || !columns.is_multiple_of(patch) {
                    let message =
                        format!("audio patches of {patch} do not divide the reference's {mels}x{columns} spectrogram");
                    return error(message, "set data.audio.patch to 16, 32 or 64");
                }
                Ok(Self { mels, columns, patch, tokens: [mels / patch, columns / patch], seconds })
            }
        }
    }
}
