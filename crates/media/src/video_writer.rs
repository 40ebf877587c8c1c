//! Writes films, through FFmpeg.

use crate::error::{MediaError, Result};
use crate::library::abi::{Api, Status, Text, WriterOptions};
use crate::library::{api, last_error};
use std::ffi::c_void;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How a film is written. The container follows from the file name's extension.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoWriterOptions {
    /// Pixels; even, as 4:2:0 wants them.
    pub width: usize,
    pub height: usize,
    /// Frames a second, as a fraction.
    pub fps: (u32, u32),
    /// FFmpeg's name of an encoder or codec.
    pub video_codec: String,
    /// Constant quantiser (mpeg4: 1 to 31) or constant rate factor (x264: 0 to 51).
    pub quality: u32,
    /// Frames from key frame to key frame.
    pub gop: u32,
    pub max_b_frames: u32,
    /// The sound; none: a silent film.
    pub audio: Option<AudioTrackOptions>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AudioTrackOptions {
    pub sample_rate: u32,
    pub channels: u32,
    /// Bits a second.
    pub bit_rate: u32,
    /// FFmpeg's name of an encoder or codec that takes planar f32.
    pub codec: String,
}

impl Default for VideoWriterOptions {
    /// MPEG-4 part 2 with AAC, which every FFmpeg writes and reads.
    fn default() -> Self {
        Self {
            width: 64,
            height: 64,
            fps: (25, 1),
            video_codec: "mpeg4".to_owned(),
            quality: 3,
            gop: 12,
            max_b_frames: 0,
            audio: Some(AudioTrackOptions::default()),
        }
    }
}

impl Default for AudioTrackOptions {
    fn default() -> Self {
        Self { sample_rate: 16000, channels: 1, bit_rate: 64000, codec: "aac".to_owned() }
    }
}

/// A film being written. It is complete only after [`VideoWriter::finish`]; dropped before, it leaves a torso.
pub struct VideoWriter {
    api: &'static Api,
    handle: *mut c_void,
    path: PathBuf,
    frame_bytes: usize,
    channels: usize,
}

// SAFETY: the handle may move between threads; `&mut self` keeps its users one at a time.
unsafe impl Send for VideoWriter {}

impl VideoWriter {
    /// Creates (or replaces) the file.
    ///
    /// # Errors
    /// `AVJ_MEDIA` naming the file: its folder is missing or not writable, no such container or encoder, sizes that the
    /// encoder refuses; `AVJ_MEDIA_LIBRARY` without FFmpeg.
    pub fn create(path: &Path, options: &VideoWriterOptions) -> Result<Self> {
        let api = api().map_err(|error| error.with_path(path))?;
        let too_large = |what: &str| MediaError::media(path, format!("the film's {what} is too large"));
        let size = |n: usize| i32::try_from(n).map_err(|_| too_large("size"));
        let number = |n: u32| i32::try_from(n).map_err(|_| too_large("rate"));
        let none = AudioTrackOptions { sample_rate: 0, channels: 0, ..AudioTrackOptions::default() };
        let audio = options.audio.as_ref().unwrap_or(&none);
        if options.audio.is_some() && (audio.sample_rate == 0 || audio.channels == 0) {
            let message = format!("sound of {} channels at {} Hz cannot be written", audio.channels, audio.sample_rate);
            return Err(MediaError::media(path, message));
        }
        let plain = WriterOptions {
            video_codec: Text::new(&options.video_codec),
            width: size(options.width)?,
            height: size(options.height)?,
            fps_num: number(options.fps.0)?,
            fps_den: number(options.fps.1)?,
            quality: number(options.quality)?,
            gop: number(options.gop)?,
            max_b_frames: number(options.max_b_frames)?,
            sample_rate: number(audio.sample_rate)?,
            channels: number(audio.channels)?,
            audio_bit_rate: i64::from(audio.bit_rate),
            audio_codec: Text::new(&audio.codec),
        };
        let bytes = path.as_os_str().as_bytes();
        let name = Text { data: bytes.as_ptr(), len: bytes.len() };
        let mut handle = std::ptr::null_mut();
        // SAFETY: texts and options outlive the call and `handle` is writable.
        match unsafe { (api.writer_open)(name, &raw const plain, &raw mut handle) } {
            Status::OK => Ok(Self {
                api,
                handle,
                path: path.to_path_buf(),
                frame_bytes: options.width * options.height * 3,
                channels: audio.channels as usize,
            }),
            _ => Err(last_error(api, path)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn check(&self, status: Status) -> Result<()> {
        if status == Status::ERROR { Err(last_error(self.api, &self.path)) } else { Ok(()) }
    }

    /// Adds a frame: RGB24, `[height, width, 3]`.
    ///
    /// # Errors
    /// `AVJ_MEDIA`: not the film's size, or the encoder or the disk refuses it.
    pub fn video(&mut self, rgb: &[u8]) -> Result<()> {
        if rgb.len() != self.frame_bytes {
            let message = format!("a frame of {} bytes, not {}", rgb.len(), self.frame_bytes);
            return Err(MediaError::media(&self.path, message));
        }
        // SAFETY: the handle is open and the slice is valid for the call, here and below.
        self.check(unsafe { (self.api.writer_video)(self.handle, rgb.as_ptr(), rgb.len()) })
    }

    /// Adds sound: any number of samples, channels interleaved, full scale ±1.
    ///
    /// # Errors
    /// `AVJ_MEDIA`: a film without sound, part of a sample, or the encoder or the disk refuses it.
    pub fn audio(&mut self, samples: &[f32]) -> Result<()> {
        if self.channels == 0 || !samples.len().is_multiple_of(self.channels) {
            let message = format!("{} values of sound for {} channels", samples.len(), self.channels);
            return Err(MediaError::media(&self.path, message));
        }
        // SAFETY: see above.
        self.check(unsafe { (self.api.writer_audio)(self.handle, samples.as_ptr(), samples.len()) })
    }

    /// Writes what the encoders still hold, and the index.
    ///
    /// # Errors
    /// `AVJ_MEDIA`: the encoder or the disk refuses it; the file is then of no use.
    pub fn finish(self) -> Result<()> {
        // SAFETY: see above; closed by Drop.
        self.check(unsafe { (self.api.writer_finish)(self.handle) })
    }
}

impl Drop for VideoWriter {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and closed once.
        unsafe { (self.api.writer_close)(self.handle) };
    }
}
