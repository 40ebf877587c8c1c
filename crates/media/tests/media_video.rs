//! Frames against the `ffmpeg` program, bit by bit.

mod media_common;

use avjepa_media::video::{OpenOptions, Rounding, VideoFile};
use media_common::{Folder, ffmpeg_frames, has_encoder};
use std::path::Path;

fn open(path: &Path, rounding: Rounding) -> VideoFile {
    VideoFile::open(path, &OpenOptions { rounding, ..OpenOptions::default() }).unwrap_or_else(|e| panic!("{e}"))
}

/// All frames, in both roundings, equal to the program's.
fn assert_equal(path: &Path) -> VideoFile {
    for (rounding, flags) in [(Rounding::Fast, None), (Rounding::Accurate, Some("accurate_rnd+full_chroma_int"))] {
        let mut video = open(path, rounding);
        let all: Vec<usize> = (0..video.pts().len()).collect();
        let frames = video.decode(&all).unwrap_or_else(|e| panic!("{e}"));
        let expected = ffmpeg_frames(path, flags);
        let size = frames.width * frames.height * 3;
        let name = path.display();
        assert_eq!(expected.len() / size, frames.count, "{name}: frames ({rounding:?})");
        assert_eq!(expected.len() % size, 0, "{name}: {}x{} is not the program's size", frames.width, frames.height);
        for (i, (ours, theirs)) in frames.data.chunks(size).zip(expected.chunks(size)).enumerate() {
            let worst = ours.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
            assert_eq!(worst, 0, "{name}: frame {i} differs ({rounding:?})");
        }
        assert!(frames.pts.windows(2).all(|w| w[0] < w[1]), "{name}: {:?}", frames.pts);
    }
    open(path, Rounding::Accurate)
}

const SOURCE: &str = "-f lavfi -i testsrc2=s=70x46:r=25:d=1.2 -threads 1";

#[test]
fn every_codec_and_container() {
    let folder = Folder::new();
    let cases = [
        ("h264.mp4", "libx264", "-preset ultrafast -bf 3 -g 12 -sc_threshold 0 -x264-params b-adapt=0 -pix_fmt yuv420p"),
        ("opengop.mp4", "libx264", "-preset ultrafast -bf 2 -g 8 -x264-params open-gop=1:b-adapt=0 -pix_fmt yuv420p"),
        ("h264.mov", "libx264", "-preset ultrafast -bf 2 -g 10 -pix_fmt yuv420p"),
        ("h264.mkv", "libx264", "-preset ultrafast -bf 2 -g 10 -pix_fmt yuv420p"),
        ("h264.avi", "libx264", "-preset ultrafast -bf 2 -g 10 -pix_fmt yuv420p"),
        ("h264.ts", "libx264", "-preset ultrafast -bf 2 -g 10 -pix_fmt yuv420p"),
        ("fragments.mp4", "libx264", "-preset ultrafast -bf 2 -g 10 -pix_fmt yuv420p -movflags frag_keyframe+empty_moov"),
        ("hevc.mp4", "libx265", "-preset ultrafast -x265-params log-level=none:bframes=2:keyint=10 -pix_fmt yuv420p"),
        ("ten.mkv", "libx264", "-preset ultrafast -pix_fmt yuv420p10le"),
        ("444.mp4", "libx264", "-preset ultrafast -pix_fmt yuv444p"),
        ("422.mp4", "libx264", "-preset ultrafast -pix_fmt yuv422p"),
        ("full.mp4", "libx264", "-preset ultrafast -pix_fmt yuvj420p"),
        ("bt709.mp4", "libx264", "-preset ultrafast -pix_fmt yuv420p -colorspace bt709 -color_range tv"),
        ("interlaced.ts", "libx264", "-preset ultrafast -bf 1 -flags +ildct+ilme -x264-params tff=1 -pix_fmt yuv420p"),
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
