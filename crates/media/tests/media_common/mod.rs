//! Media made at test time by the `ffmpeg` program, which is also the oracle for what is in them.

#![allow(dead_code, reason = "each test program uses its part")]

pub mod frames;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that goes away with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let unique = format!("avjepa-media-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes `name` by `ffmpeg` with these arguments (split at spaces).
    pub fn make(&self, name: &str, arguments: &str) -> PathBuf {
        let path = self.path(name);
        run_ffmpeg(&[arguments.split_whitespace().collect(), vec![path.to_str().expect("UTF-8")]].concat());
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Standard output of `ffmpeg`; the test fails when it is missing or fails.
pub fn run_ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-v", "error", "-y"])
        .args(arguments)
        .output()
        .expect("these tests need the ffmpeg program: apt-get install -y ffmpeg");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ffmpeg {}: {complaint}", arguments.join(" "));
    output.stdout
}

/// Whether this FFmpeg can write a codec; what it cannot is listed by the test that skips it.
pub fn has_encoder(name: &str) -> bool {
    static LISTING: OnceLock<String> = OnceLock::new();
    let listing = LISTING.get_or_init(|| String::from_utf8_lossy(&run_ffmpeg(&["-encoders"])).into_owned());
    listing.lines().any(|line| line.split_whitespace().nth(1) == Some(name))
}

/// All frames as RGB24 by the `ffmpeg` program, no frame doubled or dropped.
pub fn ffmpeg_frames(path: &Path, sws_flags: Option<&str>) -> Vec<u8> {
    let mut arguments = vec!["-threads", "1", "-i", path.to_str().expect("UTF-8"), "-fps_mode", "passthrough"];
    if let Some(flags) = sws_flags {
        arguments.extend(["-sws_flags", flags]);
    }
    arguments.extend(["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]);
    run_ffmpeg(&arguments)
}
