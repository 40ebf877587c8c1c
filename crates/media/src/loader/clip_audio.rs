//! The sound of a clip.

use std::path::Path;

use super::config::{AudioPad, AudioPreset, LoaderConfig};
use super::grid::SoundGrid;
use super::source::Clip;
use crate::audio::{probe, read_audio_window};
use crate::error::Result;
use crate::random::SampleRng;
use crate::spectrogram::{AudioTokens, SAMPLE_RATE, StandardSpectrogram, audio_window, reference_spectrogram};

/// Below this peak all samples are zero in 16 bits.
const SILENCE: f32 = 1.0 / 65536.0;

/// What was found on the track of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Sound,
    /// Digital silence for as long as the clips last.
    Silence,
    /// There is no track.
    Nothing,
    /// The track ends before the clips begin, or (with the reference's preset) before they end.
    TooShort,
}

/// Makes spectrograms for clips.
pub struct ClipAudio {
    grid: SoundGrid,
    pad: AudioPad,
    mean: f64,
    std: f64,
    kind: Kind,
}

enum Kind {
    Standard(AudioTokens, StandardSpectrogram),
    Reference,
}

/// The sound of one window.
struct Window {
    /// `[mel, columns]`; empty without sound.
    values: Vec<f32>,
    cols: usize,
    heard: Heard,
}

impl Window {
    fn without(heard: Heard) -> Self {
        Self { values: Vec::new(), cols: 0, heard }
    }
}

impl ClipAudio {
    /// # Errors
    /// `AVJ_AUDIO` for a grid or statistics that nothing can be made with.
    pub fn new(config: &LoaderConfig, grid: SoundGrid) -> Result<Self> {
        let (mean, std) = config.audio_statistics();
        let kind = match config.data.audio.preset {
            AudioPreset::Standard => Kind::Standard(
                AudioTokens::new(config.audio_seconds(), grid.mels, [grid.patch; 2])?,
                StandardSpectrogram::new(grid.mels, mean, std)?,
            ),
            AudioPreset::Reference => Kind::Reference,
        };
        Ok(Self { grid, pad: config.data.audio.pad, mean, std, kind })
    }

    /// Gives the clips of a film their sound: from each one's first frame on.
    ///
    /// # Errors
    /// `AVJ_MEDIA` for a track that does not decode.
    pub fn of_film(&self, path: &Path, clips: &mut [Clip], fps: f64) -> Result<Heard> {
        let rate = match self.kind {
            Kind::Standard(..) => f64::from(SAMPLE_RATE as u32),
            Kind::Reference => f64::from(probe(path)?.sample_rate),
        };
        let mut best = Heard::Nothing;
        for clip in clips {
            let window = match &self.kind {
                Kind::Standard(tokens, spectrogram) => self.standard(path, clip.start, tokens, spectrogram)?,
                Kind::Reference => self.reference(path, &clip.frames, fps, rate)?,
            };
            best = better(best, window.heard);
            (clip.audio, clip.audio_cols) = (window.values, window.cols);
        }
        Ok(best)
    }

    /// Clips of a file's sound alone: each from a random place in its part of the track, or, without `rng`, spread evenly
    /// from the track's beginning to its end.
    ///
    /// # Errors
    /// `AVJ_MEDIA` for a file that is not media, or does not decode.
    pub fn alone(&self, path: &Path, count: usize, mut rng: Option<&mut SampleRng>) -> Result<(Vec<Clip>, Heard)> {
        let probe = probe(path)?;
        let silent = vec![Clip::default(); count];
        if !probe.has_audio {
            return Ok((silent, Heard::Nothing));
        }
        // A clock may start anywhere, in a transport stream with the broadcast; Matroska counts its length from 0 all the same.
        let from = probe.sound_from_s.max(0.0);
        let counted = if probe.format.contains("matroska") { from } else { 0.0 };
        let length = (probe.duration_s - counted).max(0.0);
        let part = length / count as f64;
        let spare = (part - self.grid.seconds).max(0.0);
        let last_start = (length - self.grid.seconds).max(0.0);
        let (mut clips, mut best) = (silent, Heard::Nothing);
        for (i, clip) in clips.iter_mut().enumerate() {
            let offset = match &mut rng {
                Some(rng) => i as f64 * part + rng.uniform(0.0, spare),
                None => i as f64 * last_start / (count.max(2) - 1) as f64,
            };
            clip.start = from + offset;
            let window = match &self.kind {
                Kind::Standard(tokens, spectrogram) => self.standard(path, clip.start, tokens, spectrogram)?,
                Kind::Reference => {
                    self.stretched(path, clip.start, self.grid.seconds, f64::from(probe.sample_rate), false)?
                }
            };
            best = better(best, window.heard);
            (clip.audio, clip.audio_cols) = (window.values, window.cols);
        }
        Ok((clips, best))
    }

    fn standard(
        &self,
        path: &Path,
        start: f64,
        tokens: &AudioTokens,
        spectrogram: &StandardSpectrogram,
    ) -> Result<Window> {
        let seconds = tokens.samples() as f64 / SAMPLE_RATE as f64;
        let Some(window) = read_audio_window(path, start, seconds, SAMPLE_RATE as u32)? else {
            return Ok(Window::without(Heard::Nothing));
        };
        let cols = match self.pad {
            AudioPad::None => tokens.valid_cols(window.samples.len()),
            AudioPad::Zero => tokens.cols,
        };
        if cols == 0 {
            return Ok(Window::without(Heard::TooShort));
        }
        if window.samples.iter().all(|x| x.abs() < SILENCE) {
            return Ok(Window::without(Heard::Silence));
        }
        Ok(Window { values: spectrogram.normalised(&window.samples, tokens.frames())?, cols, heard: Heard::Sound })
    }

    /// The reference's window: what the frames span at the average rate, at the file's own sample rate.
    fn reference(&self, path: &Path, frames: &[usize], fps: f64, rate: f64) -> Result<Window> {
        let (Some(&first), Some(&last)) = (frames.first(), frames.last()) else {
            return Ok(Window::without(Heard::Nothing));
        };
        if rate <= 0.0 {
            return Ok(Window::without(Heard::Nothing));
        }
        let samples = audio_window(first as i64, last as i64, fps, rate, usize::MAX)?;
        self.stretched(path, samples.start as f64 / rate, samples.len() as f64 / rate, rate, true)
    }

    /// `seconds` of sound, stretched to the grid. Whether it must be all there is the reference's rule.
    fn stretched(&self, path: &Path, start: f64, seconds: f64, rate: f64, whole: bool) -> Result<Window> {
        let Some(window) = read_audio_window(path, start, seconds, rate as u32)? else {
            return Ok(Window::without(Heard::Nothing));
        };
        // Resampling and rounding may lose a sample or two at the end.
        let wanted = (seconds * rate).round() as usize;
        if window.samples.is_empty() || (whole && window.samples.len() + 2 < wanted) {
            return Ok(Window::without(Heard::TooShort));
        }
        let mut values = reference_spectrogram(&window.samples, rate)?;
        let scale = |x: f32| ((f64::from(x) - self.mean) / (2.0 * self.std)) as f32;
        values.iter_mut().for_each(|x| *x = scale(*x));
        Ok(Window { values, cols: self.grid.tokens[1], heard: Heard::Sound })
    }
}

/// One clip with sound makes a file with sound.
fn better(a: Heard, b: Heard) -> Heard {
    let rank = |heard| [Heard::Nothing, Heard::TooShort, Heard::Silence, Heard::Sound].iter().position(|h| *h == heard);
    if rank(b) > rank(a) { b } else { a }
}
