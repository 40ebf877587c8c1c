//! Frames against the `ffmpeg` program's.

use super::ffmpeg_frames;
use avjepa_media::video::{OpenOptions, Rounding, VideoFile};
use std::path::Path;

pub fn open(path: &Path, rounding: Rounding) -> VideoFile {
    VideoFile::open(path, &OpenOptions { rounding, ..OpenOptions::default() }).unwrap_or_else(|e| panic!("{e}"))
}

/// All frames, in both roundings, equal to the program's.
pub fn assert_equal(path: &Path) -> VideoFile {
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
