//! Files that others made: every one in `$AVJEPA_MEDIA` opens, shows the `ffmpeg` program's frames bit by bit, and sounds as
//! long as ffprobe says.

mod media_common;

use avjepa_media::audio::{Probe, probe, read_audio_window};
use avjepa_media::video::VideoFile;
use media_common::frames::assert_equal;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names that end otherwise are notes about the files.
const MEDIA: &str = "mp4 m4v mov mkv webm avi ts mts m2ts mpg mpeg ogv wmv asf flv 3gp gif wav flac aif aiff caf mp3 m4a aac ogg \
                     oga opus wma ac3 mka mp2 w64 au spx tta wv";

/// Longer than any file here (seconds): a window of this length is the track to its end.
const ALL: f64 = 600.0;

/// What containers round to, and a packet's share of a second is not.
const ROUNDING_S: f64 = 0.005;

#[test]
fn foreign_files() {
    let Some(folder) = std::env::var_os("AVJEPA_MEDIA") else {
        eprintln!("skipped: $AVJEPA_MEDIA names no folder with media files");
        return;
    };
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("$AVJEPA_MEDIA").map(|entry| entry.expect("a folder entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| MEDIA.split_whitespace().any(|m| e.eq_ignore_ascii_case(m))));
    paths.sort();
    assert!(!paths.is_empty(), "$AVJEPA_MEDIA holds no media files");
    let failed: Vec<&PathBuf> = paths.iter().filter(|path| catch_unwind(|| check(path)).is_err()).collect();
    assert!(failed.is_empty(), "{} of {} files, as said above: {failed:?}", failed.len(), paths.len());
}

fn check(path: &Path) {
    let probe = probe(path).unwrap_or_else(|e| panic!("{e}"));
    assert!(probe.has_video || probe.has_audio, "{}: neither picture nor sound", path.display());
    if probe.has_video {
        let mut video = assert_equal(path);
        assert_any_order(&mut video);
        assert_eq!((video.info().width, video.info().height), (probe.width, probe.height), "{}", path.display());
    }
    if probe.has_audio {
        assert_lasts(path, &probe);
    }
}

/// Frames reached by seeking are those reached by reading on.
fn assert_any_order(video: &mut VideoFile) {
    let count = video.pts().len();
    let all = video.decode(&(0..count).collect::<Vec<_>>()).unwrap_or_else(|e| panic!("{e}"));
    let size = all.width * all.height * 3;
    for numbers in [vec![count - 1, 0], vec![count / 2, count / 3, count - 1], (0..count).rev().step_by(5).collect()] {
        let frames = video.decode(&numbers).unwrap_or_else(|e| panic!("{e}"));
        for (got, number) in frames.data.chunks(size).zip(&numbers) {
            assert!(
                got == &all.data[number * size..][..size],
                "{}: frame {number} of {numbers:?}",
                video.path().display()
            );
        }
    }
}

/// The default track begins and ends with its first and last frame as ffprobe sees them.
fn assert_lasts(path: &Path, probe: &Probe) {
    let (name, rate) = (path.display(), probe.sample_rate);
    let frames = audio_frames(path, rate);
    let (Some(&(first, _)), Some(&(_, last))) = (frames.first(), frames.last()) else {
        panic!("{name}: ffprobe hears nothing")
    };
    let window = read_audio_window(path, first.min(0.0), ALL, rate).unwrap_or_else(|e| panic!("{e}")).expect("a track");
    let end = window.start_s + window.samples.len() as f64 / f64::from(rate);
    let loud =
        window.samples.iter().position(|x| *x != 0.0).map_or(end, |at| window.start_s + at as f64 / f64::from(rate));
    // Files of sound alone may count from their first sample, whatever a container's clock says of priming.
    let offset = if probe.has_video || (end - last).abs() < ROUNDING_S { 0.0 } else { first };
    assert!((end + offset - last).abs() < ROUNDING_S, "{name}: ends at {end:.4} s, by ffprobe at {last:.4} s");
    assert!(loud + offset > first - ROUNDING_S, "{name}: heard from {loud:.4} s, by ffprobe from {first:.4} s");
}

/// Begin and end of each frame of the default audio track, in seconds.
fn audio_frames(path: &Path, rate: u32) -> Vec<(f64, f64)> {
    let arguments =
        ["-v", "error", "-show_entries", "frame=media_type,stream_index,best_effort_timestamp_time,nb_samples"];
    let output = Command::new("ffprobe")
        .args(arguments)
        .args(["-select_streams", &format!("a:{}", default_audio(path)), "-of", "compact=p=0"])
        .arg(path)
        .output()
        .expect("ffprobe comes with ffmpeg");
    let text = String::from_utf8_lossy(&output.stdout);
    let field = |line: &str, name: &str| -> Option<f64> {
        line.split('|').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    };
    let mut end = 0.0;
    let frame = |line| {
        let samples = field(line, "nb_samples")?;
        let begin = field(line, "best_effort_timestamp_time").unwrap_or(end);
        end = begin + samples / f64::from(rate);
        Some((begin, end))
    };
    text.lines().filter_map(frame).collect()
}

/// Which of the audio streams the program takes: a default one, of these the one with the most channels, the first of equals.
fn default_audio(path: &Path) -> usize {
    let arguments =
        ["-v", "error", "-select_streams", "a", "-show_entries", "stream=channels:stream_disposition=default"];
    let output = Command::new("ffprobe").args(arguments).args(["-of", "csv=p=0"]).arg(path).output();
    let text = String::from_utf8_lossy(&output.expect("ffprobe comes with ffmpeg").stdout).into_owned();
    let rank = |line: &str| {
        let mut numbers = line.split(',').map(|n| n.trim().parse::<u32>().unwrap_or(0));
        let channels = numbers.next().unwrap_or(0);
        (numbers.next().unwrap_or(0), channels)
    };
    let ranks: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).map(rank).collect();
    (0..ranks.len()).rev().max_by_key(|&i| ranks[i]).unwrap_or(0)
}
