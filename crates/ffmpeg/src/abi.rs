//! The C ABI between `libavjepa_ffmpeg` and its one caller, `avjepa-media`.
//!
//! Both crates compile this very file, so the two sides cannot drift apart in one build; [`ABI_VERSION`] guards against
//! a library left over from another one. Strings are UTF-8 with a length, structures plain C. No function unwinds.

#![allow(dead_code, reason = "each side uses its half")]

use std::ffi::c_void;

/// Raised whenever a structure, a function or their meaning changes.
pub const ABI_VERSION: u32 = 1;

/// Exported symbol: `extern "C" fn() -> u32`.
pub const SYMBOL_ABI_VERSION: &str = "avj_media_abi_version";
/// Exported symbol: `extern "C" fn() -> *const Api`. Call it only after the version agrees.
pub const SYMBOL_API: &str = "avj_media_api";

/// "No timestamp", as in FFmpeg.
pub const NO_PTS: i64 = i64::MIN;

/// What every fallible function returns. After [`Status::ERROR`] the text is in [`Api::last_error`].
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status(pub i32);

impl Status {
    pub const OK: Status = Status(0);
    /// The decoder wants input (receive) or its output taken first (send).
    pub const AGAIN: Status = Status(1);
    /// End of file, or the decoder is drained.
    pub const END: Status = Status(2);
    pub const ERROR: Status = Status(-1);
}

/// Borrowed UTF-8. What the library returns stays valid until the next call on the same thread.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text {
    pub data: *const u8,
    pub len: usize,
}

impl Text {
    pub const EMPTY: Text = Text { data: std::ptr::null(), len: 0 };

    pub fn new(text: &str) -> Text {
        Text { data: text.as_ptr(), len: text.len() }
    }

    /// # Safety
    /// `data` must point to `len` readable bytes that outlive `'a`.
    pub unsafe fn as_str<'a>(self) -> &'a str {
        if self.data.is_null() {
            return "";
        }
        // SAFETY: promised by the caller.
        std::str::from_utf8(unsafe { std::slice::from_raw_parts(self.data, self.len) }).unwrap_or("(not UTF-8)")
    }
}

/// A short name, zero-padded.
pub type Name = [u8; 64];

pub fn name_str(name: &Name) -> &str {
    let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
    std::str::from_utf8(&name[..end]).unwrap_or("?")
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct FileInfo {
    pub format: Name,
    /// Microseconds, [`NO_PTS`] when unknown.
    pub duration_us: i64,
    pub streams: u32,
    /// FFmpeg's choice (`av_find_best_stream`), −1 for none. A cover picture is no video stream.
    pub best_video: i32,
    pub best_audio: i32,
}

/// How a stored picture becomes an upright one: transpose first, then the flips.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Orientation {
    pub transpose: u32,
    pub flip_x: u32,
    pub flip_y: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct StreamInfo {
    pub codec: Name,
    pub time_base_num: i32,
    pub time_base_den: i32,
    /// In `time_base`; [`NO_PTS`] when unknown.
    pub start_time: i64,
    pub duration: i64,
    /// What the header announces; 0 when unknown. Never to be trusted alone.
    pub frames: i64,
    /// Entries of the container's own index, 0 when it has none.
    pub index_entries: i64,
    pub fps_num: i32,
    pub fps_den: i32,
    /// As stored, before `orientation`.
    pub width: i32,
    pub height: i32,
    pub orientation: Orientation,
    /// Frames by which the decoder may reorder.
    pub video_delay: i32,
    /// 1 when fields may come in packets of their own.
    pub interlaced: i32,
    pub sample_rate: i32,
    pub channels: i32,
}

pub const PACKET_KEY: u32 = 1;
/// Decoded but not shown (edit lists, priming).
pub const PACKET_DISCARD: u32 = 2;
pub const PACKET_CORRUPT: u32 = 4;
/// Yields no picture of its own (VP8's alternate reference, an empty packet).
pub const PACKET_NO_PICTURE: u32 = 8;

#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct PacketInfo {
    pub stream: i32,
    pub flags: u32,
    pub pts: i64,
    pub dts: i64,
    pub duration: i64,
    pub pos: i64,
    pub size: i64,
}

/// The picture or the sound the decoder gave last; it stays inside the library until converted.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct FrameInfo {
    /// The `pts` of the packet it came from, as overridden in `send`; priming taken into account for sound.
    pub pts: i64,
    pub width: i32,
    pub height: i32,
    pub samples: i32,
    pub sample_rate: i32,
    pub channels: i32,
    /// `AV_CH_…` bits in the order of the samples; 0 when the stream does not say.
    pub channel_mask: u64,
}

/// swscale flags by name, so that FFmpeg's numbers stay on its side.
pub const SCALE_ACCURATE_RND: u32 = 1;
pub const SCALE_FULL_CHROMA_INT: u32 = 2;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct WriterOptions {
    /// Encoder name, e.g. `mpeg4` or `libx264`; a codec name also works.
    pub video_codec: Text,
    pub width: i32,
    pub height: i32,
    pub fps_num: i32,
    pub fps_den: i32,
    /// Constant quantiser (mpeg4: 1–31) or constant rate factor (x264: 0–51).
    pub quality: i32,
    /// Frames between key frames.
    pub gop: i32,
    pub max_b_frames: i32,
    /// 0: no sound.
    pub sample_rate: i32,
    pub channels: i32,
    pub audio_bit_rate: i64,
    pub audio_codec: Text,
}

/// Every function of the library. Handles are made by `open`/`writer_open` and belong to one thread at a time.
#[repr(C)]
pub struct Api {
    /// Code and message of the thread's last [`Status::ERROR`].
    pub last_error: unsafe extern "C" fn(code: *mut Text, message: *mut Text),
    /// One line with the versions of the FFmpeg libraries in use.
    pub versions: unsafe extern "C" fn() -> Text,
    /// What libav logged on this thread since the last call, one line a message; taking it clears it.
    pub take_log: unsafe extern "C" fn() -> Text,

    pub open: unsafe extern "C" fn(path: Text, input: *mut *mut c_void) -> Status,
    pub close: unsafe extern "C" fn(input: *mut c_void),
    pub file_info: unsafe extern "C" fn(input: *mut c_void, info: *mut FileInfo) -> Status,
    pub stream_info: unsafe extern "C" fn(input: *mut c_void, stream: u32, info: *mut StreamInfo) -> Status,
    /// Reads packets of this stream only from now on (−1: of all) and drops any decoder.
    pub select: unsafe extern "C" fn(input: *mut c_void, stream: i32) -> Status,
    /// Makes a fresh single-threaded decoder for the selected stream.
    pub open_decoder: unsafe extern "C" fn(input: *mut c_void) -> Status,
    /// To the last key frame at or before `timestamp` (stream time base); empties the decoder.
    pub seek: unsafe extern "C" fn(input: *mut c_void, timestamp: i64) -> Status,
    /// Next packet of the selected stream, kept for `send`. END at the end of the file.
    pub read: unsafe extern "C" fn(input: *mut c_void, packet: *mut PacketInfo) -> Status,
    /// Hands the kept packet to the decoder, its pts replaced unless `pts` is [`NO_PTS`]. AGAIN: receive first, then repeat.
    pub send: unsafe extern "C" fn(input: *mut c_void, pts: i64) -> Status,
    /// No more packets: `receive` then gives what is left and END.
    pub send_end: unsafe extern "C" fn(input: *mut c_void) -> Status,
    pub receive: unsafe extern "C" fn(input: *mut c_void, frame: *mut FrameInfo) -> Status,
    /// The received picture, upright, as RGB24 rows without padding; `len = width·height·3` of the upright size.
    pub picture: unsafe extern "C" fn(
        input: *mut c_void,
        width: i32,
        height: i32,
        scale_flags: u32,
        out: *mut u8,
        len: usize,
    ) -> Status,
    /// The received sound as interleaved f32, full scale ±1; `len = samples·channels`.
    pub sound: unsafe extern "C" fn(input: *mut c_void, out: *mut f32, len: usize) -> Status,

    pub writer_open:
        unsafe extern "C" fn(path: Text, options: *const WriterOptions, writer: *mut *mut c_void) -> Status,
    /// One RGB24 picture, rows without padding.
    pub writer_video: unsafe extern "C" fn(writer: *mut c_void, rgb: *const u8, len: usize) -> Status,
    /// Interleaved samples, any number.
    pub writer_audio: unsafe extern "C" fn(writer: *mut c_void, samples: *const f32, len: usize) -> Status,
    /// Drains the encoders and writes the index. The file is complete only after this.
    pub writer_finish: unsafe extern "C" fn(writer: *mut c_void) -> Status,
    pub writer_close: unsafe extern "C" fn(writer: *mut c_void),
}
