//! Films that this crate writes, read back by it and by the `ffmpeg` program.

mod media_common;

use avjepa_media::audio::{VideoWriter, probe, read_audio_window};
use avjepa_media::video::{OpenOptions, VideoFile};
use avjepa_media::video_writer::{AudioTrackOptions, VideoWriterOptions};
use media_common::{Folder, ffmpeg_frames};
use std::f32::consts::TAU;
use std::path::Path;

const FRAMES: usize = 50;
const SIDE: usize = 64;

/// A square that goes from left to right on a ground that gets brighter.
fn picture(frame: usize) -> Vec<u8> {
    let inside = |x: usize, y: usize| (frame..frame + 12).contains(&x) && (20..32).contains(&y);
    let pixel = |i: usize| if inside(i % SIDE, i / SIDE) { [220, 40, 40] } else { [frame as u8 * 2 + 40; 3] };
    (0..SIDE * SIDE).flat_map(pixel).collect()
}

/// Two seconds of a tone that begins after one.
fn tone(rate: u32) -> Vec<f32> {
    let sample = |n: u32| if n < rate { 0.0 } else { 0.5 * (TAU * 440.0 * n as f32 / rate as f32).sin() };
    (0..2 * rate).map(sample).collect()
}

fn write(path: &Path, options: &VideoWriterOptions) {
    let mut writer = VideoWriter::create(path, options).unwrap_or_else(|e| panic!("{e}"));
    let audio = options.audio.as_ref().map(|audio| (tone(audio.sample_rate), audio.channels as usize));
    for frame in 0..FRAMES {
        writer.video(&picture(frame)).unwrap_or_else(|e| panic!("{e}"));
        if let Some((tone, channels)) = &audio {
            // Uneven pieces.
            let (from, to) = (tone.len() * frame / FRAMES, tone.len() * (frame + 1) / FRAMES);
            let piece: Vec<f32> = tone[from..to].iter().flat_map(|&x| vec![x; *channels]).collect();
            writer.audio(&piece).unwrap_or_else(|e| panic!("{e}"));
        }
    }
    writer.finish().unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn what_was_written_is_read() {
    let folder = Folder::new();
    let audio = |sample_rate, channels, codec: &str| {
        Some(AudioTrackOptions { sample_rate, channels, bit_rate: 96000, codec: codec.to_owned() })
    };
    let cases = [
        ("a.mp4", VideoWriterOptions::default()),
        ("b.mp4", VideoWriterOptions { audio: audio(44100, 2, "aac"), max_b_frames: 2, ..Default::default() }),
        ("c.mp4", VideoWriterOptions { audio: None, fps: (30000, 1001), ..Default::default() }),
        ("d.mkv", VideoWriterOptions { audio: audio(48000, 1, "aac"), gop: 1, ..Default::default() }),
    ];
    for (name, options) in cases {
        let path = folder.path(name);
        write(&path, &options);
        let fps = f64::from(options.fps.0) / f64::from(options.fps.1);
        let mut video = VideoFile::open(&path, &OpenOptions::default()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(video.pts().len(), FRAMES, "{name}");
        assert!((video.pts()[30] - video.pts()[0] - 30.0 / fps).abs() < 1.1e-3, "{name}: {:?}", video.pts());
        let frames = video.decode(&(0..FRAMES).collect::<Vec<_>>()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(frames.data.len(), ffmpeg_frames(&path, None).len(), "{name}");
        let original: Vec<u8> = (0..FRAMES).flat_map(picture).collect();
        let error: f64 = frames.data.iter().zip(&original).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
        assert!(error / (original.len() as f64) < 4.0, "{name}: mean error {}", error / original.len() as f64);

        let info = probe(&path).unwrap_or_else(|e| panic!("{e}"));
        assert!((info.fps - fps).abs() < 0.01 && info.width == SIDE && info.height == SIDE, "{name}: {info:?}");
        let Some(audio) = &options.audio else {
            assert!(!info.has_audio);
            continue;
        };
        assert_eq!((info.sample_rate, info.channels), (audio.sample_rate, audio.channels), "{name}");
        let start = video.pts()[0];
        let window = read_audio_window(&path, start, 2.0, 16000).unwrap_or_else(|e| panic!("{e}")).expect("sound");
        let level = |part: &[f32]| (part.iter().map(|x| x * x).sum::<f32>() / part.len() as f32).sqrt();
        let (quiet, loud) = (level(&window.samples[..15500]), level(&window.samples[16500..31500]));
        assert!(quiet < 0.01 && (loud - 0.5 / 2f32.sqrt()).abs() < 0.02, "{name}: {quiet} and {loud}");
        let onset = window.samples.iter().position(|x| x.abs() > 0.25).expect("a tone");
        // Half its height is reached after a twelfth of a period.
        assert!((onset as f64 / 16000.0 - 1.0 - 1.0 / (440.0 * 12.0)).abs() < 0.002, "{name}: onset at sample {onset}");
    }
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let folder = Folder::new();
    let fine = VideoWriterOptions::default();
    let says = |path: &Path, options: &VideoWriterOptions, words: &str| {
        let error = VideoWriter::create(path, options).err().unwrap_or_else(|| panic!("{words}: created"));
        let text = error.to_string();
        assert_eq!((error.code, error.path.as_deref()), ("AVJ_MEDIA", Some(path)), "{text}");
        assert!(text.contains(words), "{text}: does not say {words}");
    };
    says(&folder.path("none/a.mp4"), &fine, "No such file or directory");
    says(&folder.path("."), &fine, "");
    says(&folder.path("a.xyz"), &fine, "container");
    says(&folder.path("a.mp4"), &VideoWriterOptions { width: 0, ..fine.clone() }, "0x64");
    says(&folder.path("a.mp4"), &VideoWriterOptions { fps: (25, 0), ..fine.clone() }, "25/0");
    says(&folder.path("a.mp4"), &VideoWriterOptions { video_codec: "nonsense".to_owned(), ..fine.clone() }, "nonsense");
    let deaf = AudioTrackOptions { channels: 0, ..AudioTrackOptions::default() };
    says(&folder.path("a.mp4"), &VideoWriterOptions { audio: Some(deaf), ..fine.clone() }, "0 channels");

    let mut writer = VideoWriter::create(&folder.path("b.mp4"), &fine).unwrap_or_else(|e| panic!("{e}"));
    assert!(writer.video(&[0; 100]).unwrap_err().message.contains("100 bytes"));
    let silent = VideoWriterOptions { audio: None, ..fine };
    let mut writer = VideoWriter::create(&folder.path("c.mp4"), &silent).unwrap_or_else(|e| panic!("{e}"));
    assert!(writer.audio(&[0.0; 100]).unwrap_err().message.contains("0 channels"));
}

/// A disk that is full, by way of the device that always is.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error() {
    let folder = Folder::new();
    let path = folder.path("full.mp4");
    std::os::unix::fs::symlink("/dev/full", &path).expect("a link");
    let options = VideoWriterOptions { quality: 1, ..VideoWriterOptions::default() };
    let attempt = || {
        let mut writer = VideoWriter::create(&path, &options)?;
        for frame in 0..FRAMES {
            writer.video(&picture(frame))?;
        }
        writer.finish()
    };
    let error = attempt().unwrap_err();
    assert!(error.message.contains("No space left on device"), "{error}");
}
