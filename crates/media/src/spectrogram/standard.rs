//! Kaldi's log-mel filter bank, as AST and AudioMAE use it, normalised by the data set's statistics.

use super::Filter;
use super::fft::for_each_spectrum;
use crate::error::{MediaError, Result};

/// Samples a second.
pub const SAMPLE_RATE: usize = 16_000;
/// Samples of one frame: 25 ms.
pub const WINDOW: usize = 400;
/// Samples between frames: 10 ms.
pub const HOP: usize = 160;
/// Mean and standard deviation of the log-mel values over AudioSet (AST, Gong et al. 2021).
pub const AUDIOSET_MEAN: f64 = -4.267_739_3;
pub const AUDIOSET_STD: f64 = 4.568_997_4;

const FFT: usize = 512;
const PREEMPHASIS: f64 = 0.97;
const LOW_HZ: f64 = 20.0;
const HIGH_HZ: f64 = SAMPLE_RATE as f64 / 2.0;
/// Smallest energy before the logarithm: float32's machine epsilon.
const FLOOR: f64 = f32::EPSILON as f64;

/// The `standard` preset: 16 kHz mono, 25 ms frames every 10 ms.
///
/// The waveform's mean is subtracted; each frame loses its own mean, is pre-emphasised (x[n] − 0.97·x[n−1], the first
/// sample against itself), weighted by a symmetric Hann window, and zero-padded to 512; power spectrum; triangles equally
/// spaced in mel = 1127·ln(1 + f/700) from 20 Hz to 8 kHz; natural logarithm, floored at 2^−23. Kaldi's `fbank` with
/// snip_edges, without dither.
#[derive(Clone, Debug)]
pub struct StandardSpectrogram {
    filters: Vec<Filter>,
    window: Vec<f64>,
    mean: f64,
    std: f64,
}

impl StandardSpectrogram {
    /// `mean` and `std` are of the log-mel values over the data.
    ///
    /// # Errors
    /// `AVJ_AUDIO` if `mels` is 0, so large that a filter would be empty, or `std` is not above zero.
    pub fn new(mels: usize, mean: f64, std: f64) -> Result<Self> {
        if !(mean.is_finite() && std.is_finite() && std > 0.0) {
            let message = format!("spectrogram mean {mean}, standard deviation {std}");
            return Err(MediaError::new("AVJ_AUDIO", message).with_hint("set data.audio.std above 0"));
        }
        let filters = filters(mels);
        if mels == 0 || mels > FFT || filters.iter().all(|filter| filter.weights.is_empty()) {
            let message = format!("{mels} mel bands");
            return Err(MediaError::new("AVJ_AUDIO", message).with_hint("set data.audio.num_mel between 1 and 512"));
        }
        let phase = std::f64::consts::TAU / (WINDOW - 1) as f64;
        let window = (0..WINDOW).map(|n| 0.5 - 0.5 * (phase * n as f64).cos()).collect();
        Ok(Self { filters, window, mean, std })
    }

    pub fn mels(&self) -> usize {
        self.filters.len()
    }

    /// Frames that lie inside `samples` samples: 0 below one window.
    pub fn frames(samples: usize) -> usize {
        if samples < WINDOW { 0 } else { 1 + (samples - WINDOW) / HOP }
    }

    /// Log-mel energies `[frames, mels]` of the frames that lie inside `audio` (mono, 16 kHz).
    ///
    /// # Errors
    /// `AVJ_AUDIO` if `audio` is shorter than one window, or not finite.
    pub fn log_mel(&self, audio: &[f32]) -> Result<Vec<f32>> {
        let frames = Self::frames(audio.len());
        if frames == 0 {
            let message = format!("{} audio samples: one frame takes {WINDOW}", audio.len());
            return Err(MediaError::new("AVJ_AUDIO", message).with_hint("skip this audio track"));
        }
        let mut log_mel = vec![0.0; frames * self.mels()];
        self.energies(audio, frames, |frame, band, value| log_mel[frame * self.mels() + band] = value as f32)?;
        Ok(log_mel)
    }

    /// The model's input `[mels, frames]`: (log-mel − mean) / (2·std). Frames that reach past the end of `audio` see
    /// zeros there, so `audio` may be shorter than `frames` need.
    ///
    /// # Errors
    /// `AVJ_AUDIO` if `audio` is not finite.
    pub fn normalised(&self, audio: &[f32], frames: usize) -> Result<Vec<f32>> {
        let mut values = vec![0.0; frames * self.mels()];
        self.normalised_into(audio, frames, &mut values)?;
        Ok(values)
    }

    /// [`StandardSpectrogram::normalised`] into `out`, `[mels, frames]`.
    ///
    /// # Errors
    /// `AVJ_AUDIO` if `audio` is not finite; `AVJ_SHAPE` if `out` has another length.
    pub fn normalised_into(&self, audio: &[f32], frames: usize, out: &mut [f32]) -> Result<()> {
        if out.len() != frames * self.mels() {
            let message = format!("{} values for a spectrogram of [{}, {frames}]", out.len(), self.mels());
            return Err(MediaError::new("AVJ_SHAPE", message));
        }
        self.energies(audio, frames, |frame, band, value| {
            out[band * frames + frame] = ((value - self.mean) / (2.0 * self.std)) as f32;
        })
    }

    fn energies(&self, audio: &[f32], frames: usize, mut put: impl FnMut(usize, usize, f64)) -> Result<()> {
        let mean = audio.iter().map(|&x| f64::from(x)).sum::<f64>() / audio.len().max(1) as f64;
        if !mean.is_finite() {
            let message = "the audio has samples that are not finite numbers";
            return Err(MediaError::new("AVJ_AUDIO", message).with_hint("skip or re-encode this audio track"));
        }
        let fill = |frame: usize, input: &mut [f64]| {
            let start = (frame * HOP).min(audio.len());
            let inside = &audio[start..audio.len().min(start + WINDOW)];
            input.fill(0.0);
            input.iter_mut().zip(inside).for_each(|(x, &sample)| *x = f64::from(sample) - mean);
            let offset = input[..WINDOW].iter().sum::<f64>() / WINDOW as f64;
            input[..WINDOW].iter_mut().for_each(|x| *x -= offset);
            for n in (0..WINDOW).rev() {
                input[n] = (input[n] - PREEMPHASIS * input[n.saturating_sub(1)]) * self.window[n];
            }
        };
        let mut power = [0.0; FFT / 2 + 1];
        for_each_spectrum(FFT, frames, fill, |frame, bins| {
            power.iter_mut().zip(bins).for_each(|(p, bin)| *p = bin.norm_sqr());
            for (band, filter) in self.filters.iter().enumerate() {
                put(frame, band, filter.apply(&power).max(FLOOR).ln());
            }
        });
        Ok(())
    }
}

fn filters(mels: usize) -> Vec<Filter> {
    let mel = |hz: f64| 1127.0 * (hz / 700.0).ln_1p();
    let width = (mel(HIGH_HZ) - mel(LOW_HZ)) / (mels + 1) as f64;
    (0..mels)
        .map(|band| {
            let left = mel(LOW_HZ) + band as f64 * width;
            // Kaldi leaves the Nyquist bin out.
            let weights: Vec<f64> = (0..FFT / 2)
                .map(|bin| {
                    let x = (mel(bin as f64 * SAMPLE_RATE as f64 / FFT as f64) - left) / width;
                    x.min(2.0 - x).max(0.0)
                })
                .collect();
            Filter::trimmed(&weights)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalised_is_the_transposed_log_mel() {
        let audio: Vec<f32> = (0..5000_u32).map(|n| (n as f32 * 0.3).sin() * 0.3 + (n % 7) as f32 * 0.01).collect();
        let spectrogram = StandardSpectrogram::new(64, AUDIOSET_MEAN, AUDIOSET_STD).unwrap();
        let frames = StandardSpectrogram::frames(audio.len());
        let (log_mel, normal) = (spectrogram.log_mel(&audio).unwrap(), spectrogram.normalised(&audio, frames).unwrap());
        for frame in 0..frames {
            for band in 0..64 {
                let want = (f64::from(log_mel[frame * 64 + band]) - AUDIOSET_MEAN) / (2.0 * AUDIOSET_STD);
                assert!((f64::from(normal[band * frames + frame]) - want).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn frames_past_the_end_are_silence() {
        let spectrogram = StandardSpectrogram::new(32, 0.0, 0.5).unwrap();
        let values = spectrogram.normalised(&[0.1; 1000], 20).unwrap();
        let last: Vec<f32> = (0..32).map(|band| values[band * 20 + 19]).collect();
        assert!(last.iter().all(|&v| (v - (FLOOR.ln() as f32)).abs() < 1e-4), "{last:?}");
        assert!(spectrogram.normalised(&[f32::NAN; 1000], 2).is_err());
        assert!(StandardSpectrogram::new(0, 0.0, 1.0).is_err() && StandardSpectrogram::new(8, 0.0, 0.0).is_err());
    }
}
