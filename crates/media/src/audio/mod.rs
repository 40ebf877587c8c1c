//! Sound: one channel at the rate that is asked for, cut by presentation time.
//!
//! Times are seconds on the file's clock, the one that [`crate::video::VideoFile::pts`] counts by: what the container
//! says about priming, edit lists and late tracks is applied, so a click heard at `t` is seen at `t`.
//!
//! Whatever holds a film, and every container but the ones below, is read through FFmpeg; wav, flac, aiff, caf, mp3 and
//! ogg-vorbis without it, so that they can be read where FFmpeg is absent.

mod downmix;
mod file_kind;
mod film_sound;
mod plain_sound;
mod resample;
mod track;

use crate::error::{MediaError, Result};
use crate::regular_file::check_file;
use film_sound::FilmSound;
use plain_sound::PlainSound;
use std::path::Path;
use track::{Cut, Track};

pub use crate::video::Probe;
pub use crate::video_writer::{VideoWriter, VideoWriterOptions};

/// A piece of a track.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioWindow {
    /// One channel, full scale ±1. Zeros before the track begins; fewer than asked for where it ends.
    pub samples: Vec<f32>,
    /// Samples a second.
    pub rate: u32,
    /// Time of the first sample: the track's nearest to the start that was asked for.
    pub start_s: f64,
}

/// What a file holds, from its headers.
///
/// # Errors
/// `AVJ_MEDIA` naming the file: absent, empty or not media; `AVJ_MEDIA_LIBRARY` where it takes FFmpeg, which is missing.
pub fn probe(path: &Path) -> Result<Probe> {
    check_file(path)?;
    match PlainSound::open(path)? {
        Some(sound) => sound.probe(),
        None => crate::video::probe_film(path),
    }
}

/// `seconds` of the default audio track from `start_s` on, mixed down to one channel and resampled to `rate`.
///
/// Samples lie at whole multiples of 1/`rate` from the track's first one, whatever window they are read by: a window
/// equals the same part of a longer one. `None`: the file has no audio track.
///
/// # Errors
/// `AVJ_MEDIA` naming the file: not media, the track does not decode, or the file ends early; `AVJ_MEDIA_LIBRARY`
/// where it takes FFmpeg, which is missing; `AVJ_AUDIO` for a window that is none.
pub fn read_audio_window(path: &Path, start_s: f64, seconds: f64, rate: u32) -> Result<Option<AudioWindow>> {
    if !start_s.is_finite() || seconds.is_nan() || seconds < 0.0 || rate == 0 {
        let message = format!("an audio window of {seconds} s from {start_s} s at {rate} Hz");
        return Err(MediaError::new("AVJ_AUDIO", message).with_path(path));
    }
    check_file(path)?;
    if let Some(track) = PlainSound::open(path)? {
        return window(track, start_s, seconds, rate).map(Some);
    }
    FilmSound::open(path)?.map(|track| window(track, start_s, seconds, rate)).transpose()
}

fn window(mut track: impl Track, start_s: f64, seconds: f64, rate: u32) -> Result<AudioWindow> {
    let origin = track.origin_s();
    let first = ((start_s - origin) * f64::from(rate)).round() as i64;
    let count = (seconds * f64::from(rate)).round() as i64;
    let wanted = first..first.saturating_add(count);
    let Cut { samples, .. } = match track.rate() {
        same if same == rate => track.read(wanted)?,
        native => resample::resampled(native, rate, wanted, |range| track.read(range))?,
    };
    Ok(AudioWindow { samples, rate, start_s: origin + first as f64 / f64::from(rate) })
}
