//! One opened file, as the rest of this crate sees it.

use super::abi::{Api, FileInfo, FrameInfo, NO_PTS, PacketInfo, Status, StreamInfo, Text};
use super::{api, last_error};
use crate::error::{MediaError, Result};
use crate::regular_file::check_file;
use std::ffi::c_void;
use std::io::Read;
use std::mem::zeroed;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// An open demuxer with at most one decoder, for the selected stream. Belongs to one thread at a time.
pub(crate) struct Input {
    api: &'static Api,
    handle: *mut c_void,
    path: PathBuf,
}

// SAFETY: the handle may move between threads; `&mut self` keeps its users one at a time.
unsafe impl Send for Input {}

/// What `receive` gives.
pub(crate) enum Received {
    Frame(FrameInfo),
    /// The decoder needs another packet.
    NeedsInput,
    /// The decoder is drained.
    End,
}

impl Input {
    /// # Errors
    /// `AVJ_MEDIA` naming the file: absent, not a regular file, empty, or not media; `AVJ_MEDIA_LIBRARY` without FFmpeg.
    pub fn open(path: &Path) -> Result<Self> {
        check_file(path)?;
        let api = api().map_err(|error| MediaError { path: Some(path.to_path_buf()), ..error })?;
        let bytes = path.as_os_str().as_bytes();
        let mut handle = std::ptr::null_mut();
        let text = Text { data: bytes.as_ptr(), len: bytes.len() };
        // SAFETY: the text outlives the call and `handle` is writable.
        match unsafe { (api.open)(text, &raw mut handle) } {
            Status::OK => Ok(Self { api, handle, path: path.to_path_buf() }),
            _ => Err(explain(last_error(api, path), path)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn check(&self, status: Status) -> Result<Status> {
        if status == Status::ERROR { Err(last_error(self.api, &self.path)) } else { Ok(status) }
    }

    pub fn file_info(&self) -> Result<FileInfo> {
        // SAFETY: plain data, for which zero is valid; filled by the call.
        unsafe {
            let mut info: FileInfo = zeroed();
            self.check((self.api.file_info)(self.handle, &raw mut info))?;
            Ok(info)
        }
    }

    pub fn stream_info(&self, stream: i32) -> Result<StreamInfo> {
        // SAFETY: as above.
        unsafe {
            let mut info: StreamInfo = zeroed();
            self.check((self.api.stream_info)(self.handle, stream as u32, &raw mut info))?;
            Ok(info)
        }
    }

    /// −1 selects all streams.
    pub fn select(&mut self, stream: i32) -> Result<()> {
        // SAFETY: the handle is open, here and below.
        self.check(unsafe { (self.api.select)(self.handle, stream) }).map(drop)
    }

    pub fn open_decoder(&mut self) -> Result<()> {
        // SAFETY: see above.
        self.check(unsafe { (self.api.open_decoder)(self.handle) }).map(drop)
    }

    pub fn seek(&mut self, timestamp: i64) -> Result<()> {
        // SAFETY: see above.
        self.check(unsafe { (self.api.seek)(self.handle, timestamp) }).map(drop)
    }

    pub fn read(&mut self) -> Result<Option<PacketInfo>> {
        let mut packet = PacketInfo::default();
        // SAFETY: see above.
        let status = self.check(unsafe { (self.api.read)(self.handle, &raw mut packet) })?;
        Ok((status == Status::OK).then_some(packet))
    }

    /// Decodes the packet read last. False: the decoder is full; receive, then send again.
    pub fn send(&mut self, pts: Option<i64>) -> Result<bool> {
        // SAFETY: see above.
        self.check(unsafe { (self.api.send)(self.handle, pts.unwrap_or(NO_PTS)) }).map(|status| status == Status::OK)
    }

    pub fn send_end(&mut self) -> Result<bool> {
        // SAFETY: see above.
        self.check(unsafe { (self.api.send_end)(self.handle) }).map(|status| status == Status::OK)
    }

    pub fn receive(&mut self) -> Result<Received> {
        let mut frame = FrameInfo::default();
        // SAFETY: see above.
        Ok(match self.check(unsafe { (self.api.receive)(self.handle, &raw mut frame) })? {
            Status::OK => Received::Frame(frame),
            Status::END => Received::End,
            _ => Received::NeedsInput,
        })
    }

    /// The received picture as RGB24 of `width` x `height`, upright.
    pub fn picture(&mut self, width: usize, height: usize, scale_flags: u32, out: &mut [u8]) -> Result<()> {
        let (ptr, len) = (out.as_mut_ptr(), out.len());
        // SAFETY: `out` is exclusively borrowed for the call.
        let status = unsafe { (self.api.picture)(self.handle, width as i32, height as i32, scale_flags, ptr, len) };
        self.check(status).map(drop)
    }

    /// Appends the received sound, interleaved.
    pub fn sound(&mut self, frame: &FrameInfo, out: &mut Vec<f32>) -> Result<()> {
        let start = out.len();
        out.resize(start + frame.samples.max(0) as usize * frame.channels.max(0) as usize, 0.0);
        let new = &mut out[start..];
        // SAFETY: as above.
        self.check(unsafe { (self.api.sound)(self.handle, new.as_mut_ptr(), new.len()) }).map(drop)
    }

    /// What libav complained about since the last question, if it did.
    pub fn take_log(&mut self) -> String {
        // SAFETY: the text is copied at once.
        unsafe { (self.api.take_log)().as_str().replace('\n', "; ") }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and closed once.
        unsafe { (self.api.close)(self.handle) };
    }
}

/// Says more than libav, which goes by a file's name as well: a text named .mp4 is "moov atom not found" to it.
fn explain(error: MediaError, path: &Path) -> MediaError {
    if is_text(path) {
        return MediaError::media(path, "not a media file, but text").with_hint("take it out of the index");
    }
    if error.message.contains("moov atom not found") {
        return error.with_hint(
            "the index, which stands at an mp4's end, is missing: the file is cut short, or no mp4; fetch or encode it again",
        );
    }
    error.with_hint("the file is damaged, cut short, or no media: fetch or encode it again")
}

fn is_text(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(512).read_to_end(&mut head));
    let printable = |&byte: &u8| byte >= b' ' || b"\t\n\r\x0c".contains(&byte);
    // A character may be cut in two at the end.
    let is_utf8 = std::str::from_utf8(&head).map_or_else(|e| e.error_len().is_none(), |_| true);
    read.is_ok() && is_utf8 && head.iter().all(printable)
}
