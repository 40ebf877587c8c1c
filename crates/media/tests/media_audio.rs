//! Sound: where clicks are heard against where they are shown, and samples against the `ffmpeg` program's.

mod media_common;

use avjepa_media::audio::{AudioWindow, probe, read_audio_window};
use avjepa_media::video::{OpenOptions, VideoFile};
use media_common::{Folder, run_ffmpeg};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A flash of one frame, and a click of 1 ms, at every whole second from 1 on; 6.4 s in all.
const FLASHES: &str = "-f lavfi -i color=black:s=64x48:r=25:d=6.4";
const FLASH_FILTER: &str = "drawbox=color=white:t=fill:enable='between(mod(n\\,25)\\,0\\,0)*gte(n\\,25)'";

fn channel_count(layout: &str) -> usize {
    match layout {
        "mono" => 1,
        "stereo" => 2,
        "5.1" => 6,
        other => panic!("{other}"),
    }
}

/// Sound of the same `expression` of time in each channel (`K` stands for the channel's number), made once.
fn source(folder: &Folder, name: &str, expression: &str, rate: u32, layout: &str, seconds: f64) -> String {
    let path = folder.path(&format!("{name}-{rate}-{layout}.wav"));
    if !path.exists() {
        let channels: Vec<String> =
            (0..channel_count(layout)).map(|k| expression.replace('K', &k.to_string())).collect();
        let graph = format!("aevalsrc=exprs={}:c={layout}:s={rate}:d={seconds}", channels.join("|"));
        run_ffmpeg(&["-f", "lavfi", "-i", &graph, "-c:a", "pcm_f32le", path.to_str().expect("UTF-8")]);
    }
    format!("-i {}", path.display())
}

fn clicks(folder: &Folder, rate: u32, layout: &str) -> String {
    source(folder, "clicks", "if(gte(t\\,0.9)*lt(mod(t\\,1)\\,0.001)\\,0.8\\,0)", rate, layout, 6.4)
}

/// Something that any wrong sample shows in: a sweep and noise.
fn sweep(folder: &Folder, rate: u32, layout: &str, seconds: f64) -> String {
    source(folder, "sweep", "0.3*sin(2*PI*t*(200+150*K+60*t))+0.05*(random(K)-0.5)", rate, layout, seconds)
}

fn video_codec(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("webm") => "-c:v libvpx -deadline realtime -cpu-used 8",
        Some("mpg") => "-c:v mpeg2video",
        _ => "-c:v mpeg4 -q:v 5",
    }
}

fn film(folder: &Folder, name: &str, rate: u32, layout: &str, audio: &str) -> PathBuf {
    let video = video_codec(name);
    let inputs = format!("{FLASHES} {}", clicks(folder, rate, layout));
    folder.make(name, &format!("{inputs} -vf {FLASH_FILTER} {video} -threads 1 {audio}"))
}

fn window(path: &Path, start_s: f64, seconds: f64, rate: u32) -> AudioWindow {
    read_audio_window(path, start_s, seconds, rate).unwrap_or_else(|e| panic!("{e}")).expect("an audio track")
}

/// Where the sound jumps to half of its highest level.
fn onsets(window: &AudioWindow) -> Vec<f64> {
    let peak = window.samples.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
    let (mut at, mut found) = (0, Vec::new());
    while at < window.samples.len() {
        if window.samples[at].abs() > 0.5 * peak {
            found.push(window.start_s + at as f64 / f64::from(window.rate));
            at += window.rate as usize / 2;
        }
        at += 1;
    }
    found
}

/// Times of the white frames.
fn flashes(path: &Path) -> Vec<f64> {
    let mut video = VideoFile::open(path, &OpenOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let all: Vec<usize> = (0..video.pts().len()).collect();
    let frames = video.decode(&all).unwrap_or_else(|e| panic!("{e}"));
    let size = frames.width * frames.height * 3;
    all.into_iter().filter(|i| frames.data[i * size] > 128).map(|i| frames.pts[i]).collect()
}

fn assert_close(name: &str, heard: &[f64], shown: &[f64]) {
    assert_eq!(heard.len(), shown.len(), "{name}: {heard:?} against {shown:?}");
    for (heard, shown) in heard.iter().zip(shown) {
        assert!((heard - shown).abs() < 0.002, "{name}: heard at {heard:.4} s, shown at {shown:.4} s");
    }
}

#[test]
fn clicks_are_heard_when_they_are_shown() {
    let folder = Folder::new();
    let cases = [
        ("aac.mp4", 48000, "stereo", "-c:a aac"),
        ("aac44.mp4", 44100, "mono", "-c:a aac"),
        ("aac51.mp4", 48000, "5.1", "-c:a aac"),
        ("fragments.mp4", 48000, "mono", "-c:a aac -movflags frag_keyframe+empty_moov+default_base_moof"),
        ("aac.mov", 48000, "stereo", "-c:a aac"),
        ("aac.mkv", 44100, "5.1", "-c:a aac"),
        ("aac.ts", 44100, "stereo", "-c:a aac"),
        ("opus.mp4", 48000, "stereo", "-c:a libopus"),
        ("mp3.mp4", 44100, "stereo", "-c:a libmp3lame"),
        ("mp3.mkv", 48000, "mono", "-c:a libmp3lame"),
        ("vorbis.webm", 44100, "stereo", "-c:a libvorbis"),
        ("vorbis.mkv", 48000, "5.1", "-c:a libvorbis"),
        ("flac.mkv", 44100, "stereo", "-c:a flac"),
        ("ac3.mp4", 48000, "5.1", "-c:a ac3"),
        ("pcm.mov", 48000, "stereo", "-c:a pcm_s16le"),
        ("pcm.avi", 44100, "mono", "-c:a pcm_s16le"),
        ("pcm51.avi", 48000, "5.1", "-c:a pcm_s16le"),
        ("mp2.mpg", 48000, "stereo", "-c:a mp2"),
    ];
    for (name, rate, layout, audio) in cases {
        let path = film(&folder, name, rate, layout, audio);
        let shown = flashes(&path);
        assert_eq!(shown.len(), 6, "{name}: {shown:?}");
        for rate in [16000, rate] {
            assert_close(name, &onsets(&window(&path, 0.0, 9.0, rate)), &shown);
            // After a seek: the same, and nothing else.
            let last = window(&path, shown[4] - 0.3, 1.0, rate);
            assert_close(name, &onsets(&last), &shown[4..5]);
        }
    }
}

/// What FFmpeg's muxers cannot say: AVI holds times as whole frames, and its Matroska muxer writes Opus early by its
/// codec delay. There, sound is where FFmpeg itself presents it.
#[test]
fn clicks_are_heard_where_ffmpeg_presents_them() {
    let folder = Folder::new();
    let cases = [
        ("opus.webm", "stereo", "-c:a libopus"),
        ("opus.mkv", "5.1", "-c:a libopus"),
        ("mp3.avi", "stereo", "-c:a libmp3lame"),
        ("aac.avi", "mono", "-c:a aac"),
        ("ac3.avi", "5.1", "-c:a ac3"),
        ("opus.ogg", "stereo", "-vn -c:a libopus"),
        ("aac.aac", "stereo", "-vn -c:a aac"),
    ];
    for (name, layout, audio) in cases {
        let path = film(&folder, name, 48000, layout, audio);
        let theirs = AudioWindow { samples: ffmpeg_samples(&path), rate: 48000, start_s: ffmpeg_start(&path) };
        let expected = onsets(&theirs);
        assert_eq!(expected.len(), 6, "{name}: {expected:?}");
        assert_close(name, &onsets(&window(&path, 0.0, 9.0, 48000)), &expected);
        assert_close(name, &onsets(&window(&path, expected[4] - 0.3, 1.0, 16000)), &expected[4..5]);
    }
}

/// The program's samples, mixed down to one channel.
fn ffmpeg_samples(path: &Path) -> Vec<f32> {
    let mix = "aresample=ochl=mono:rematrix_maxval=1:internal_sample_fmt=fltp:dither_method=none";
    let raw = run_ffmpeg(&["-i", path.to_str().expect("UTF-8"), "-map", "0:a:0", "-af", mix, "-f", "f32le", "-"]);
    raw.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("4"))).collect()
}

/// Time of its first sample.
fn ffmpeg_start(path: &Path) -> f64 {
    let arguments = ["-v", "error", "-select_streams", "a:0", "-show_entries", "frame=pts_time", "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(arguments).arg(path).output().expect("ffprobe comes with ffmpeg");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().find_map(|line| line.trim_end_matches(',').parse().ok()).expect("a first frame's time")
}

#[test]
fn samples_are_ffmpegs() {
    let folder = Folder::new();
    let cases = [
        ("a.mp4", 44100, "stereo", "-c:a aac"),
        ("b.mp4", 48000, "5.1", "-c:a aac"),
        ("a.webm", 48000, "stereo", "-c:a libopus"),
        ("b.webm", 44100, "stereo", "-c:a libvorbis"),
        ("a.mka", 48000, "mono", "-c:a libmp3lame"),
        ("a.avi", 44100, "stereo", "-c:a libmp3lame"),
        ("b.mka", 48000, "5.1", "-c:a ac3"),
        ("a.ts", 48000, "stereo", "-c:a mp2"),
        // Without FFmpeg:
        ("a.wav", 44100, "stereo", "-c:a pcm_s16le"),
        ("b.wav", 48000, "5.1", "-c:a pcm_s24le"),
        ("c.wav", 22050, "mono", "-c:a pcm_u8"),
        ("d.wav", 48000, "stereo", "-c:a pcm_f32le"),
        ("e.wav", 44100, "stereo", "-c:a adpcm_ima_wav"),
        ("f.wav", 8000, "mono", "-c:a pcm_mulaw"),
        ("a.flac", 44100, "stereo", "-c:a flac"),
        ("b.flac", 48000, "5.1", "-c:a flac"),
        ("a.aiff", 44100, "stereo", "-c:a pcm_s16be"),
        ("a.caf", 48000, "stereo", "-c:a pcm_s16le"),
        ("a.mp3", 44100, "stereo", "-c:a libmp3lame"),
        ("b.mp3", 22050, "mono", "-c:a libmp3lame -q:a 4"),
        ("c.mp3", 48000, "stereo", "-c:a libmp3lame -write_xing 0 -id3v2_version 0"),
        ("a.ogg", 48000, "stereo", "-c:a libvorbis"),
        ("b.ogg", 48000, "5.1", "-c:a libvorbis"),
        ("c.ogg", 44100, "mono", "-c:a flac"),
    ];
    for (name, rate, layout, audio) in cases {
        let path = folder.make(name, &format!("{} {audio}", sweep(&folder, rate, layout, 2.3)));
        let expected = ffmpeg_samples(&path);
        let info = probe(&path).unwrap_or_else(|e| panic!("{e}"));
        let found = (info.has_audio, info.has_video, info.channels as usize, info.sample_rate);
        assert_eq!(found, (true, false, channel_count(layout), rate), "{name}");
        assert!((info.duration_s - 2.3).abs() < 0.1, "{name}: {} s", info.duration_s);
        // The clock of what is read without FFmpeg begins at the first sample (FFmpeg's counts an MP3's priming).
        let through_ffmpeg = ["mp4", "webm", "mka", "avi", "ts"].iter().any(|end| name.ends_with(end));
        let first = if through_ffmpeg { ffmpeg_start(&path) } else { 0.0 };
        let ours = window(&path, first, 9.0, rate);
        assert!((ours.start_s - first).abs() < 0.0011, "{name}: {} not {first}", ours.start_s);
        assert_eq!(ours.samples.len(), expected.len(), "{name}");
        let worst = ours.samples.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-6, "{name}: differs by {worst}");
    }
}

/// A window in the middle is that part of the whole, sample by sample.
#[test]
fn windows_are_slices_of_the_whole() {
    let folder = Folder::new();
    // What FFmpeg's AAC decoder puts for noise depends on all that it decoded before: not with -aac_pns 0. So does the
    // dither of its AC-3 decoder, which stays below 0.02 here; a sample late, this would differ by 0.3.
    let cases = [
        ("a.mp4", 44100, "-c:a aac -aac_pns 0", 0.0),
        ("a.mkv", 48000, "-c:a aac -aac_pns 0", 0.0),
        ("a.ts", 44100, "-c:a aac -aac_pns 0", 0.0),
        ("b.mp4", 48000, "-c:a libopus", 1e-5),
        ("a.webm", 48000, "-c:a libopus", 1e-5),
        ("b.webm", 44100, "-c:a libvorbis", 0.0),
        ("b.mkv", 44100, "-c:a libmp3lame", 1e-6),
        ("a.avi", 44100, "-c:a libmp3lame", 1e-6),
        ("b.avi", 44100, "-c:a pcm_s16le", 0.0),
        ("c.mkv", 44100, "-c:a ac3", 0.02),
        ("d.mkv", 44100, "-c:a flac", 0.0),
        ("a.opus", 48000, "-vn -c:a libopus", 1e-5),
        ("a.wav", 44100, "-vn -c:a pcm_s16le", 0.0),
        ("a.flac", 44100, "-vn -c:a flac", 0.0),
        ("a.mp3", 44100, "-vn -c:a libmp3lame", 1e-6),
        ("b.mp3", 44100, "-vn -c:a libmp3lame -write_xing 0", 1e-6),
        ("a.ogg", 44100, "-vn -c:a libvorbis", 1e-6),
    ];
    for (name, rate, audio, tolerance) in cases {
        let picture = "-f lavfi -i color=gray:s=32x32:r=5:d=12";
        let video = video_codec(name);
        let path =
            folder.make(name, &format!("{picture} {} {video} -g 10 {audio}", sweep(&folder, rate, "stereo", 12.0)));
        for rate in [rate, 16000] {
            let whole = window(&path, 0.0, 20.0, rate);
            assert!(whole.samples.len() as f64 > 11.9 * f64::from(rate), "{name}: {} samples", whole.samples.len());
            for start_s in [0.01, 1.2345, 4.0, 7.77777, 10.1, 11.8] {
                let part = window(&path, start_s, 1.5, rate);
                let from = ((part.start_s - whole.start_s) * f64::from(rate)).round() as usize;
                assert!(
                    (part.start_s - start_s).abs() <= 0.51 / f64::from(rate),
                    "{name}: {} not {start_s}",
                    part.start_s
                );
                let until = (from + (1.5 * f64::from(rate)) as usize).min(whole.samples.len());
                let expected = &whole.samples[from..until];
                assert_eq!(part.samples.len(), expected.len(), "{name} at {start_s}");
                let worst = part.samples.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst <= tolerance, "{name} at {start_s} s, {rate} Hz: differs by {worst}");
            }
        }
    }
}

#[test]
fn tracks_that_begin_late_or_early() {
    let folder = Folder::new();
    for (name, audio) in
        [("a.mp4", "-c:a aac"), ("a.mkv", "-c:a libmp3lame"), ("a.ts", "-c:a aac"), ("b.mp4", "-c:a libmp3lame")]
    {
        let make = |kind: &str, video_offset: f64, audio_offset: f64| {
            let inputs = format!(
                "-itsoffset {video_offset} {FLASHES} -itsoffset {audio_offset} {}",
                clicks(&folder, 48000, "stereo")
            );
            folder
                .make(&format!("{kind}-{name}"), &format!("{inputs} -vf {FLASH_FILTER} {} {audio}", video_codec(name)))
        };
        // By 0.7 s: silence up to there.
        let late = make("late", 0.0, 0.7);
        let shown: Vec<f64> = flashes(&late).iter().map(|t| t + 0.7).collect();
        assert_close(name, &onsets(&window(&late, 0.0, 9.0, 16000)), &shown);
        let begin = shown[0] - 1.7;
        let before = window(&late, begin, 0.6, 16000);
        assert!(before.samples.len() == 9600 && before.samples.iter().all(|x| x.abs() < 1e-3), "{name}: silence");
        let early = make("early", 0.52, 0.0);
        let shown: Vec<f64> = flashes(&early).iter().map(|t| t - 0.52).collect();
        assert_close(name, &onsets(&window(&early, 0.0, 9.0, 16000)), &shown);
    }
    // Cut without encoding again: an edit list hides what comes before the cut.
    let whole = film(&folder, "whole.mp4", 48000, "stereo", "-c:a aac -g 10");
    let cut = folder.make("cut.mp4", &format!("-ss 1.72 -i {} -c copy", whole.display()));
    assert_close("cut.mp4", &onsets(&window(&cut, 0.0, 9.0, 16000)), &flashes(&cut));
}

#[test]
fn uneven_frames_do_not_move_the_sound() {
    let folder = Folder::new();
    // Two of three frames, except the flashes, are left out.
    let filter = format!("{FLASH_FILTER},select='not(mod(n\\,3))+not(mod(n\\,25))'");
    for (name, audio) in [("vfr.mp4", "-c:a aac"), ("vfr.mkv", "-c:a libvorbis")] {
        let inputs = format!("{FLASHES} {}", clicks(&folder, 44100, "mono"));
        let path = folder.make(name, &format!("{inputs} -vf {filter} -fps_mode vfr -c:v mpeg4 {audio}"));
        let steps: Vec<f64> = {
            let video = VideoFile::open(&path, &OpenOptions::default()).unwrap_or_else(|e| panic!("{e}"));
            video.pts().windows(2).map(|t| t[1] - t[0]).collect()
        };
        assert!(steps.iter().any(|step| *step < 0.05) && steps.iter().any(|step| *step > 0.1), "{name}: {steps:?}");
        let shown = flashes(&path);
        assert_eq!(shown.len(), 6);
        assert_close(name, &onsets(&window(&path, 0.0, 9.0, 16000)), &shown);
    }
}

#[test]
fn outside_the_track() {
    let folder = Folder::new();
    let tone = "-f lavfi -i sine=frequency=440:sample_rate=48000:duration=1.5";
    for (name, audio) in
        [("a.mp4", "-c:a aac"), ("a.wav", ""), ("a.mp3", "-c:a libmp3lame"), ("a.webm", "-c:a libopus")]
    {
        let path = folder.make(name, &format!("{tone} {audio}"));
        let before = window(&path, -2.0, 1.0, 16000);
        assert!(before.samples.len() == 16000 && before.samples.iter().all(|x| x.abs() < 1e-5), "{name}");
        let across = window(&path, 1.0, 5.0, 16000);
        assert!((7999..=8600).contains(&across.samples.len()), "{name}: {}", across.samples.len());
        assert!(window(&path, 5.0, 1.0, 16000).samples.is_empty(), "{name}");
        assert!(window(&path, 300.0, 1.0, 48000).samples.is_empty(), "{name}");
        assert!(window(&path, 0.5, 0.0, 16000).samples.is_empty(), "{name}");
        assert_eq!(
            window(&path, 0.0, 1e9, 16000).samples.len(),
            window(&path, 0.0, 9.0, 16000).samples.len(),
            "{name}"
        );
        for (start, seconds, rate) in
            [(f64::NAN, 1.0, 16000), (0.0, -1.0, 16000), (0.0, f64::NAN, 16000), (0.0, 1.0, 0)]
        {
            assert_eq!(read_audio_window(&path, start, seconds, rate).unwrap_err().code, "AVJ_AUDIO");
        }
    }
    let silent = folder.make("silent.mp4", "-f lavfi -i color=gray:s=32x32:r=25:d=1 -c:v mpeg4");
    assert_eq!(read_audio_window(&silent, 0.0, 1.0, 16000), Ok(None));
    let info = probe(&silent).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((info.has_video, info.has_audio, info.width, info.video_codec.as_str()), (true, false, 32, "mpeg4"));
}
