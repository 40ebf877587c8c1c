//! Frames of a film by number, in presentation order, bit for bit what the `ffmpeg` program gives.

mod decode;
mod scan;

use crate::error::{MediaError, Result};
use crate::library::abi::{FileInfo, NO_PTS, SCALE_ACCURATE_RND, SCALE_FULL_CHROMA_INT, StreamInfo, name_str};
use crate::library::{self, Input};
use crate::packet_index::{Identity, PacketIndex, load, store};
use std::path::{Path, PathBuf};

/// Files above this size, and those whose index had to be made by decoding, are worth a cache entry.
const EXPENSIVE_BYTES: u64 = 64 << 20;

/// How YUV becomes RGB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// `-sws_flags accurate_rnd+full_chroma_int`: mean error 0.03 levels against exact arithmetic.
    #[default]
    Accurate,
    /// swscale without flags: what `ffmpeg` does when not told otherwise; faster, mean error 0.3 levels.
    Fast,
}

impl Rounding {
    fn flags(self) -> u32 {
        match self {
            Rounding::Accurate => SCALE_ACCURATE_RND | SCALE_FULL_CHROMA_INT,
            Rounding::Fast => 0,
        }
    }
}

/// Whether packet indexes are kept in the cache folder (`$AVJEPA_CACHE`, else `$XDG_CACHE_HOME/avjepa`, else
/// `~/.cache/avjepa`), keyed by path, size, modification time and FFmpeg version. Never beside the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IndexCache {
    /// Only where making the index again costs: files above 64 MiB, and streams without usable timestamps.
    #[default]
    WhenExpensive,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    pub rounding: Rounding,
    pub index_cache: IndexCache,
}

#[derive(Clone, Debug, PartialEq)]
pub struct VideoInfo {
    /// Pixels, upright (after the container's rotation).
    pub width: usize,
    pub height: usize,
    /// Average frame rate as the container states it, else from the timestamps. For information: time is `pts`.
    pub avg_fps: f64,
    pub codec: String,
    /// From the first frame's presentation to the end of the last one's.
    pub duration_s: f64,
}

/// Decoded frames, in the order they were asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Frames {
    /// RGB, `[count, height, width, 3]`.
    pub data: Vec<u8>,
    pub count: usize,
    pub height: usize,
    pub width: usize,
    /// Presentation times in seconds on the container's clock.
    pub pts: Vec<f64>,
}

/// An open film: its default video stream (FFmpeg's choice) with an index of all frames. One decoder thread.
pub struct VideoFile {
    input: Input,
    index: PacketIndex,
    stream: StreamInfo,
    file: FileInfo,
    info: VideoInfo,
    pts: Vec<f64>,
    rounding: Rounding,
    cursor: decode::Cursor,
}

impl VideoFile {
    /// Opens the file and lists its frames from its packets (from the cache where there is an entry).
    ///
    /// # Errors
    /// `AVJ_MEDIA` naming the file: not media, without a video stream or frames, cut short, no decoder;
    /// `AVJ_MEDIA_LIBRARY` where FFmpeg is missing.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self> {
        let mut input = Input::open(path)?;
        let file = input.file_info()?;
        if file.best_video < 0 {
            let found = describe_streams(&input, &file)?;
            return Err(MediaError::media(path, format!("no video stream ({found})")));
        }
        let stream = input.stream_info(file.best_video)?;
        if stream.width <= 0 || stream.height <= 0 || stream.time_base_num <= 0 || stream.time_base_den <= 0 {
            let codec = name_str(&stream.codec);
            return Err(MediaError::media(
                path,
                format!("the {codec} video stream has no picture size: nothing decodes"),
            ));
        }
        input.select(file.best_video)?;

        let identity = match options.index_cache {
            IndexCache::Never => None,
            _ => Identity::of(path, format!("{}, stream {}", library::versions()?, file.best_video)),
        };
        let cached = identity.as_ref().and_then(load).filter(|index| index.stream == file.best_video);
        let (index, next) = match cached {
            Some(index) => (index, Some(0)),
            None => {
                let scanned = scan::build(&mut input, &stream, &file)?;
                let large = std::fs::metadata(path).is_ok_and(|meta| meta.len() > EXPENSIVE_BYTES);
                if let Some(identity) = &identity
                    && (options.index_cache == IndexCache::Always || scanned.decoded_all || large)
                {
                    store(identity, &scanned.index);
                }
                (scanned.index, None)
            }
        };

        let mut this = Self {
            input,
            index,
            stream,
            file,
            info: VideoInfo { width: 0, height: 0, avg_fps: 0.0, codec: String::new(), duration_s: 0.0 },
            pts: Vec::new(),
            rounding: options.rounding,
            cursor: decode::Cursor::new(next),
        };
        this.describe();
        Ok(this)
    }

    /// Fills what follows from the index.
    fn describe(&mut self) {
        let s = &self.stream;
        let tick = f64::from(s.time_base_num) / f64::from(s.time_base_den);
        self.pts = self.index.frames.iter().map(|frame| frame.time as f64 * tick).collect();
        let (first, last) = (self.pts[0], self.pts[self.pts.len() - 1]);
        let stated = f64::from(s.fps_num) / f64::from(s.fps_den);
        let measured = (self.pts.len() - 1) as f64 / (last - first);
        let fps = [stated, measured, 1.0].into_iter().find(|fps| fps.is_finite() && *fps > 0.0).unwrap_or(1.0);
        let last_packet = &self.index.packets[self.index.frames[self.pts.len() - 1].packet as usize];
        let lasts = if last_packet.duration > 0 { last_packet.duration as f64 * tick } else { 1.0 / fps };
        let (mut width, mut height) = (s.width as usize, s.height as usize);
        if s.orientation.transpose != 0 {
            (width, height) = (height, width);
        }
        let codec = name_str(&s.codec).to_owned();
        self.info = VideoInfo { width, height, avg_fps: fps, codec, duration_s: last - first + lasts };
    }

    pub fn path(&self) -> &Path {
        self.input.path()
    }

    pub fn info(&self) -> &VideoInfo {
        &self.info
    }

    /// Presentation time of each frame, ascending, in seconds on the container's clock: the one sound is cut by too.
    pub fn pts(&self) -> &[f64] {
        &self.pts
    }

    /// Decodes the frames with these numbers; any order, repetitions allowed. Ascending order costs least: the decoder
    /// goes on from where it stands, or seeks to the key frame before, whichever reads less.
    ///
    /// # Errors
    /// `AVJ_MEDIA`: a number past the end, or a frame that does not decode; the message then says how many do, and
    /// [`VideoFile::pts`] lists only those from then on.
    pub fn decode(&mut self, indices: &[usize]) -> Result<Frames> {
        decode::decode(self, indices)
    }
}

/// "1 audio stream: aac", for messages about what is missing.
fn describe_streams(input: &Input, file: &FileInfo) -> Result<String> {
    if file.streams == 0 {
        return Ok("no streams at all".to_owned());
    }
    let codecs = (0..file.streams)
        .map(|i| input.stream_info(i as i32).map(|s| name_str(&s.codec).to_owned()))
        .collect::<Result<Vec<_>>>()?;
    Ok(format!("streams: {}", codecs.join(", ")))
}

/// What a file holds, without decoding it.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Probe {
    pub path: PathBuf,
    /// Container, in FFmpeg's names.
    pub format: String,
    pub has_video: bool,
    pub has_audio: bool,
    /// Seconds, as announced; 0 when unknown.
    pub duration_s: f64,
    /// When the sound begins, in seconds on the file's clock; 0 when unknown.
    pub sound_from_s: f64,
    pub video_codec: String,
    pub width: usize,
    pub height: usize,
    pub fps: f64,
    pub audio_codec: String,
    pub sample_rate: u32,
    pub channels: u32,
}

/// Reads a film's headers through FFmpeg.
///
/// # Errors
/// As [`VideoFile::open`], but a file without video is no error.
pub(crate) fn probe_film(path: &Path) -> Result<Probe> {
    let input = Input::open(path)?;
    let file = input.file_info()?;
    let mut probe = Probe { path: path.to_path_buf(), format: name_str(&file.format).to_owned(), ..Probe::default() };
    if file.duration_us != NO_PTS {
        probe.duration_s = file.duration_us as f64 * 1e-6;
    }
    if file.best_video >= 0 {
        let s = input.stream_info(file.best_video)?;
        probe.has_video = true;
        probe.video_codec = name_str(&s.codec).to_owned();
        (probe.width, probe.height) = (s.width.max(0) as usize, s.height.max(0) as usize);
        if s.orientation.transpose != 0 {
            (probe.width, probe.height) = (probe.height, probe.width);
        }
        let fps = f64::from(s.fps_num) / f64::from(s.fps_den);
        probe.fps = if fps.is_finite() { fps } else { 0.0 };
    }
    if file.best_audio >= 0 {
        let s = input.stream_info(file.best_audio)?;
        probe.has_audio = true;
        probe.audio_codec = name_str(&s.codec).to_owned();
        if s.start_time != NO_PTS && s.time_base_den > 0 {
            probe.sound_from_s = s.start_time as f64 * f64::from(s.time_base_num) / f64::from(s.time_base_den);
        }
        probe.sample_rate = s.sample_rate.max(0) as u32;
        probe.channels = s.channels.max(0) as u32;
    }
    Ok(probe)
}
