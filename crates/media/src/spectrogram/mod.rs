//! Log-mel spectrograms and the audio token grid.
//!
//! [`StandardSpectrogram`] is the default: Kaldi's filter bank at a fixed rate, so that a row means the same frequency
//! for every file. [`reference_spectrogram`] is what the PyTorch reference feeds its model, defects put right only where
//! its result would be undefined.

mod fft;
mod grid;
mod reference;
mod standard;

pub use grid::AudioTokens;
pub use reference::{
    REFERENCE_COLUMNS, REFERENCE_MELS, audio_window, reference_decibels, reference_filterbank, reference_spectrogram,
};
pub use standard::{AUDIOSET_MEAN, AUDIOSET_STD, HOP, SAMPLE_RATE, StandardSpectrogram, WINDOW};

/// One triangular filter: its first FFT bin and its weights from there.
#[derive(Clone, Debug, Default, PartialEq)]
struct Filter {
    first: usize,
    weights: Vec<f64>,
}

impl Filter {
    /// Without the zeros on both sides.
    fn trimmed(weights: &[f64]) -> Self {
        let nonzero = |w: &f64| *w != 0.0;
        let first = weights.iter().position(nonzero).unwrap_or(0);
        let end = weights.iter().rposition(nonzero).map_or(first, |last| last + 1);
        Self { first, weights: weights[first..end].to_vec() }
    }

    fn apply(&self, spectrum: &[f64]) -> f64 {
        self.weights.iter().zip(&spectrum[self.first..]).map(|(w, x)| w * x).sum()
    }
}
