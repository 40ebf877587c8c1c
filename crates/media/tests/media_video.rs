//! Frames against the `ffmpeg` program, bit by bit.

mod media_common;

use avjepa_media::video::{Rounding, VideoFile};
use media_common::frames::{assert_equal, open};
use media_common::{Folder, has_encoder};
use std::path::Path;

const SOURCE: &str = "-f lavfi -i testsrc2=s=70x46:r=25:d=1.2 -threads 1";

#[test]
fn every_codec_and_container() {
    let folder = Folder::new();
    let cases = [
        (
            "h264.mp4",
            "libx264",
            "-preset ultrafast -bf 3 -g 12 -sc_threshold 0 -x264-params b-adapt=0 -pix_fmt yuv420p",
        ),
        ("opengop.mp4", "libx264", "-preset ultrafast -bf 2 -g 8 -x264-params open-gop=1:b-adapt=0 -pix_fmt yuv420p"),
        ("h264.mov", "libx264", "-preset ultrafast -bf 2 -g 10 -pix_fmt yuv420p"),
        ("h264.mkv", "libx264", "-preset ultrafast -bf 2 -g 10 -pix_fmt yuv420p"),
        ("h264.avi", "libx264", "-preset ultrafast -bf 2 -g 10 -pix_fmt yuv420p"),
        ("h264.ts", "libx264", "-preset ultrafast -bf 2 -g 10 -pix_fmt yuv420p"),
        (
            "fragments.mp4",
            "libx264",
            "-preset ultrafast -bf 2 -g 10 -pix_fmt yuv420p -movflags frag_keyframe+empty_moov",
        ),
        ("hevc.mp4", "libx265", "-preset ultrafast -x265-params log-level=none:bframes=2:keyint=10 -pix_fmt yuv420p"),
        ("ten.mkv", "libx264", "-preset ultrafast -pix_fmt yuv420p10le"),
        ("444.mp4", "libx264", "-preset ultrafast -pix_fmt yuv444p"),
        ("422.mp4", "libx264", "-preset ultrafast -pix_fmt yuv422p"),
        ("full.mp4", "libx264", "-preset ultrafast -pix_fmt yuvj420p"),
        ("bt709.mp4", "libx264", "-preset ultrafast -pix_fmt yuv420p -colorspace bt709 -color_range tv"),
        (
            "interlaced.ts",
            "libx264",
            "-vf scale=72:48 -preset ultrafast -bf 1 -flags +ildct+ilme -x264-params tff=1 -pix_fmt yuv420p",
        ),
        ("mpeg4.mp4", "mpeg4", "-q:v 4 -bf 2 -g 9"),
        ("mpeg4.avi", "mpeg4", "-q:v 4 -g 9"),
        ("mpeg4b.avi", "mpeg4", "-q:v 4 -bf 2 -g 9"),
        ("mpeg2.mpg", "mpeg2video", "-q:v 4 -bf 2 -g 9"),
        ("vp9.webm", "libvpx-vp9", "-deadline realtime -cpu-used 8 -g 10"),
        ("vp8.webm", "libvpx", "-deadline good -cpu-used 5 -g 10 -auto-alt-ref 1 -lag-in-frames 10 -b:v 200k"),
        ("vp9alt.mkv", "libvpx-vp9", "-deadline good -cpu-used 5 -g 15 -auto-alt-ref 1 -lag-in-frames 10 -b:v 100k"),
        ("theora.ogv", "libtheora", "-q:v 5 -g 8"),
        ("mjpeg.avi", "mjpeg", "-q:v 4 -pix_fmt yuvj420p"),
        ("ffv1.mkv", "ffv1", "-pix_fmt bgr0"),
    ];
    let mut absent = Vec::new();
    for (name, encoder, options) in cases {
        if !has_encoder(encoder) {
            absent.push(encoder);
            continue;
        }
        let path = folder.make(name, &format!("{SOURCE} -c:v {encoder} {options}"));
        assert_equal(&path);
    }
    assert!(absent.is_empty(), "this FFmpeg lacks encoders that the test needs: {absent:?}");
}

#[test]
fn rotation_is_applied_like_the_program_does() {
    let folder = Folder::new();
    // 4:2:0 and 4:4:4 turn before the colour conversion, 4:2:2 after it; odd sizes have ragged chroma planes.
    for (format, size) in [("yuv420p", "70x46"), ("yuv444p", "35x47"), ("yuv422p", "70x46"), ("yuv420p10le", "38x26")] {
        let picture = format!("-f lavfi -i testsrc2=s=70x46:r=25:d=0.2 -vf format={format},scale={size}");
        let source = format!("{picture} -c:v libx264 -preset ultrafast");
        let plain = folder.make("plain.mp4", &source);
        for degrees in [90, 180, 270] {
            let input = format!("-i {} -c copy -metadata:s:v rotate={degrees}", plain.display());
            let video = assert_equal(&folder.make(&format!("{format}-{degrees}.mp4"), &input));
            let (width, height) = size.split_once('x').expect("WxH");
            let upright = if degrees == 180 { (width, height) } else { (height, width) };
            let info = video.info();
            assert_eq!((info.width.to_string(), info.height.to_string()), (upright.0.to_owned(), upright.1.to_owned()));
        }
    }
}

#[test]
fn presentation_times_are_the_containers() {
    let folder = Folder::new();
    let encode = "-c:v libx264 -preset ultrafast -bf 2 -g 10 -pix_fmt yuv420p";
    // Every third frame left out and the rest slowed down: irregular steps.
    let uneven = "select='mod(n\\,3)',setpts=PTS*(1+0.01*N)";
    for name in ["vfr.mp4", "vfr.mkv"] {
        let path =
            folder.make(name, &format!("{SOURCE} -vf {uneven} -fps_mode passthrough -enc_time_base 1:1000 {encode}"));
        assert_times(&mut assert_equal(&path), &path);
    }
    for name in ["late.mp4", "late.ts", "late.mkv"] {
        let path = folder.make(name, &format!("{SOURCE} {encode} -output_ts_offset 3.3"));
        assert_times(&mut assert_equal(&path), &path);
    }
    // Cut between key frames without encoding again: an edit list hides the pictures before the cut.
    let whole = folder.make("whole.mp4", &format!("{SOURCE} {encode}"));
    let path = folder.make("edited.mp4", &format!("-ss 0.6 -i {} -c copy", whole.display()));
    let mut video = assert_equal(&path);
    assert_times(&mut video, &path);
    assert_eq!(video.pts().len(), 15, "the pictures hidden by the edit list do not count");
}

/// Packets from before time 0, which Matroska cannot say: their pictures come one after the other before the first that
/// has a time, so that the sound is not late by as much.
#[test]
fn pictures_without_a_time_come_before_those_with_one() {
    let folder = Folder::new();
    let encode = "-c:v libx264 -preset ultrafast -bf 2 -g 15 -pix_fmt yuv420p";
    let whole = folder.make("whole.mp4", &format!("{SOURCE} {encode}"));
    let cut = format!("-ss 0.9 -i {} -c copy -avoid_negative_ts disabled", whole.display());
    let path = folder.make("cut.mkv", &cut);
    let (ours, theirs) = (assert_equal(&path).pts().to_vec(), frame_times(&path));
    assert!(theirs.len() > 3 && ours.len() > theirs.len(), "{theirs:?}");
    let (untimed, timed) = ours.split_at(ours.len() - theirs.len());
    assert!(timed.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 2e-6), "{ours:?} against {theirs:?}");
    for pair in [untimed, &timed[..1]].concat().windows(2) {
        assert!((pair[1] - pair[0] - 0.04).abs() < 1e-6, "{ours:?}");
    }
}

/// `pts()` against ffprobe's frame times.
fn assert_times(video: &mut VideoFile, path: &Path) {
    let expected = frame_times(path);
    let name = path.display();
    assert_eq!(expected.len(), video.pts().len(), "{name}");
    for (ours, theirs) in video.pts().iter().zip(&expected) {
        assert!((ours - theirs).abs() < 2e-6, "{name}: {ours} against {theirs}");
    }
}

/// Of the frames that ffprobe knows the time of.
fn frame_times(path: &Path) -> Vec<f64> {
    let arguments = [
        "-v",
        "error",
        "-select_streams",
        "v:0",
        "-show_entries",
        "frame=best_effort_timestamp_time",
        "-of",
        "csv=p=0",
    ];
    let output =
        std::process::Command::new("ffprobe").args(arguments).arg(path).output().expect("ffprobe comes with ffmpeg");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect()
}

#[test]
fn any_frames_in_any_order() {
    let folder = Folder::new();
    let long = "-f lavfi -i testsrc2=s=64x48:r=25:d=3 -threads 1";
    let cases = [
        ("a.mp4", "-c:v libx264 -preset ultrafast -bf 3 -g 12 -x264-params open-gop=1:b-adapt=0 -pix_fmt yuv420p"),
        ("a.mkv", "-c:v libx264 -preset ultrafast -bf 2 -g 250 -pix_fmt yuv420p"),
        ("refresh.mkv", "-c:v libx264 -preset ultrafast -x264-params intra-refresh=1:keyint=12 -pix_fmt yuv420p"),
        ("a.ts", "-c:v libx264 -preset ultrafast -bf 2 -g 10 -pix_fmt yuv420p"),
        ("a.avi", "-c:v libx264 -preset ultrafast -bf 2 -g 10 -pix_fmt yuv420p"),
        ("b.mp4", "-c:v libx265 -preset ultrafast -x265-params log-level=none:bframes=3:keyint=15 -pix_fmt yuv420p"),
        ("b.avi", "-c:v mpeg4 -q:v 5 -bf 2 -g 12"),
        ("a.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 20"),
        ("b.webm", "-c:v libvpx -deadline good -cpu-used 5 -auto-alt-ref 1 -lag-in-frames 10 -g 20"),
        ("a.mpg", "-c:v mpeg2video -q:v 4 -bf 2 -g 9"),
        ("a.ogv", "-c:v libtheora -q:v 5 -g 16"),
    ];
    for (name, options) in cases {
        let path = folder.make(name, &format!("{long} {options}"));
        let mut video = open(&path, Rounding::Fast);
        let count = video.pts().len();
        let all = video.decode(&(0..count).collect::<Vec<_>>()).unwrap_or_else(|e| panic!("{e}"));
        let size = all.width * all.height * 3;
        let frame = |i: usize| &all.data[i * size..(i + 1) * size];
        let sets: Vec<Vec<usize>> = vec![
            vec![0],
            vec![count - 1],
            vec![9, 10, 11, 12, 13],
            (0..count).rev().step_by(7).collect(),
            vec![30, 30, 2, 30, 2],
            (20..count - 4).step_by(4).collect(),
            vec![count - 1, 0, count - 2, 1],
            vec![],
        ];
        // On the film that stands wherever the set before left it, and on a fresh one.
        for set in &sets {
            for frames in [video.decode(set), open(&path, Rounding::Fast).decode(set)] {
                let frames = frames.unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(frames.count, set.len());
                for (place, &i) in set.iter().enumerate() {
                    assert!(frames.data[place * size..][..size] == *frame(i), "{name}: frame {i} of {set:?}");
                    assert_eq!(frames.pts[place], video.pts()[i]);
                }
            }
        }
        let error = video.decode(&[count]).expect_err("one past the end");
        assert!(error.to_string().contains(&format!("{count} frames")), "{error}");
    }
}
