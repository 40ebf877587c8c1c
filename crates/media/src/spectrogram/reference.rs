//! The reference's spectrogram: librosa's magnitude mel scale in decibels below the clip's own maximum, stretched to a
//! fixed number of columns.

use super::Filter;
use super::fft::for_each_spectrum;
use crate::error::{MediaError, Result};

pub const REFERENCE_MELS: usize = 128;
pub const REFERENCE_COLUMNS: usize = 192;
const FFT: usize = 2048;
const HOP: usize = 512;
const BINS: usize = FFT / 2 + 1;
const AMIN: f64 = 1e-10;
const TOP_DB: f64 = 80.0;

/// The samples that belong to the frames from `first` to `last`: [⌊first/fps·rate⌋, ⌊(last + 1)/fps·rate⌋).
///
/// # Errors
/// `AVJ_AUDIO` if the window is empty or ends after the audio: the reference drops such a sample.
pub fn audio_window(first: i64, last: i64, fps: f64, rate: f64, samples: usize) -> Result<std::ops::Range<usize>> {
    let at = |frame: i64| frame as f64 * (1.0 / fps) * rate;
    let (start, end) = (at(first), at(last + 1));
    if !(start >= 0.0 && end.is_finite()) || end as usize > samples || start as usize >= end as usize {
        let message = format!("frames {first} to {last} at {fps} fps need audio up to sample {end:.0} of {samples}");
        return Err(MediaError::new("AVJ_AUDIO", message).with_hint("use the standard audio preset, or skip this file"));
    }
    Ok(start as usize..end as usize)
}

/// The Slaney mel filter bank `[128, 1025]`, float32: 128 triangles from 0 to rate/2 with 130 corners equally spaced in
/// mel (f·3/200 below 1 kHz, 15 + 27·ln(f/1000)/ln 6.4 above), each scaled by 2/(f[i+2] − f[i]).
pub fn reference_filterbank(rate: f64) -> Vec<f32> {
    let step = 6.4_f64.ln() / 27.0;
    let to_mel = |hz: f64| if hz >= 1000.0 { 15.0 + (hz / 1000.0).ln() / step } else { hz / (200.0 / 3.0) };
    let to_hz = |mel: f64| if mel >= 15.0 { 1000.0 * (step * (mel - 15.0)).exp() } else { mel * (200.0 / 3.0) };
    let top = to_mel(rate / 2.0);
    let corners: Vec<f64> =
        (0..REFERENCE_MELS + 2).map(|i| to_hz(top * i as f64 / (REFERENCE_MELS + 1) as f64)).collect();
    let mut filters = Vec::with_capacity(REFERENCE_MELS * BINS);
    for corner in corners.windows(3) {
        let scale = 2.0 / (corner[2] - corner[0]);
        filters.extend((0..BINS).map(|bin| {
            let hz = bin as f64 * rate / FFT as f64;
            let rising = (hz - corner[0]) / (corner[1] - corner[0]);
            let falling = (corner[2] - hz) / (corner[2] - corner[1]);
            (rising.min(falling).max(0.0) * scale) as f32
        }));
    }
    filters
}

/// Decibels `[128, columns]` below the loudest value, columns = 1 + ⌊samples/512⌋: STFT of 2048 samples every 512, centred
/// on zero-padded audio, periodic Hann window; magnitude; mel; 10·log10(max(1e-10, M)) relative to the maximum, floored
/// 80 below it. Digital silence is 0 everywhere.
///
/// # Errors
/// `AVJ_AUDIO` if `audio` is empty or not finite, or `rate` is not above zero.
pub fn reference_decibels(audio: &[f32], rate: f64) -> Result<Vec<f32>> {
    Ok(decibels(audio, rate)?.0.iter().map(|&x| x as f32).collect())
}

/// [`reference_decibels`] with each row stretched linearly to 192 columns, ends on ends: `[128, 192]`.
///
/// # Errors
/// As [`reference_decibels`].
pub fn reference_spectrogram(audio: &[f32], rate: f64) -> Result<Vec<f32>> {
    let (db, columns) = decibels(audio, rate)?;
    let last = (columns - 1) as f64;
    let mut out = Vec::with_capacity(REFERENCE_MELS * REFERENCE_COLUMNS);
    for row in db.chunks_exact(columns) {
        out.extend((0..REFERENCE_COLUMNS).map(|j| {
            // Clamped: rounding can put the last column past the end, where the reference reads 0, the loudest value.
            let x = (j as f64 * (last / (REFERENCE_COLUMNS - 1) as f64)).min(last);
            let left = x as usize;
            let share = x - left as f64;
            let right = row[(left + 1).min(columns - 1)];
            (row[left] * (1.0 - share) + right * share) as f32
        }));
    }
    Ok(out)
}

fn decibels(audio: &[f32], rate: f64) -> Result<(Vec<f64>, usize)> {
    if audio.is_empty() || !audio.iter().all(|x| x.is_finite()) || !(rate.is_finite() && rate > 0.0) {
        let message = format!("{} audio samples at {rate} Hz: empty or not finite", audio.len());
        return Err(MediaError::new("AVJ_AUDIO", message).with_hint("skip or re-encode this audio track"));
    }
    let columns = 1 + audio.len() / HOP;
    let window: Vec<f64> =
        (0..FFT).map(|n| 0.5 - 0.5 * (std::f64::consts::TAU * n as f64 / FFT as f64).cos()).collect();
    let wide: Vec<f64> = reference_filterbank(rate).into_iter().map(f64::from).collect();
    let filters: Vec<Filter> = wide.chunks_exact(BINS).map(Filter::trimmed).collect();
    let mut mel = vec![0.0; REFERENCE_MELS * columns];
    let mut magnitude = vec![0.0; BINS];
    let fill = |column: usize, input: &mut [f64]| {
        for (n, x) in input.iter_mut().enumerate() {
            let at = (column * HOP + n).checked_sub(FFT / 2);
            *x = at.and_then(|i| audio.get(i)).map_or(0.0, |&sample| f64::from(sample) * window[n]);
        }
    };
    for_each_spectrum(FFT, columns, fill, |column, bins| {
        magnitude.iter_mut().zip(bins).for_each(|(m, bin)| *m = bin.norm());
        for (row, filter) in filters.iter().enumerate() {
            mel[row * columns + column] = filter.apply(&magnitude);
        }
    });
    let db = |x: f64| 10.0 * x.max(AMIN).log10();
    let loudest = db(mel.iter().copied().fold(0.0, f64::max));
    mel.iter_mut().for_each(|x| *x = (db(*x) - loudest).max(-TOP_DB));
    Ok((mel, columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_windows_are_refused() {
        assert_eq!(audio_window(0, 63, 30.0, 16_000.0, 34_133).unwrap(), 0..34_133);
        assert!(audio_window(0, 63, 30.0, 16_000.0, 34_132).is_err());
        assert!(audio_window(5, 3, 30.0, 16_000.0, 34_132).is_err());
        assert!(audio_window(0, 63, 0.0, 16_000.0, 34_132).is_err());
        assert!(audio_window(0, 63, f64::NAN, 16_000.0, 34_132).is_err());
        assert!(reference_decibels(&[], 16_000.0).is_err());
        assert!(reference_decibels(&[f32::INFINITY], 16_000.0).is_err());
    }

    #[test]
    fn the_last_column_is_the_last_frame() {
        // 221 columns: the reference's own library reads past the end here.
        let audio: Vec<f32> = (0..220 * 512).map(|n| (n as f32 * 0.05).sin()).collect();
        let db = reference_decibels(&audio, 44_100.0).unwrap();
        let stretched = reference_spectrogram(&audio, 44_100.0).unwrap();
        for row in 0..REFERENCE_MELS {
            assert_eq!(stretched[row * REFERENCE_COLUMNS + REFERENCE_COLUMNS - 1], db[row * 221 + 220]);
            assert_eq!(stretched[row * REFERENCE_COLUMNS], db[row * 221]);
        }
    }
}
