//! FFmpeg behind a small C ABI ([`abi`]): demuxing, decoding, RGB conversion, and writing films.
//!
//! A library of its own, opened at run time, because what links libav loads only where exactly that libav is installed.
//! It holds mechanism only; which packets make which frames is decided by its caller, `avjepa-media`.
//! Every exported function catches panics; errors are a code and a text kept for the calling thread, and what libav
//! would print goes there too.

mod abi;
mod error;
mod input;
mod picture;
mod sound;
mod writer;

use abi::*;
use error::{Failure, Result, guard};
use ffmpeg::ffi;
use input::Input;
use std::cell::RefCell;
use std::ffi::c_void;
use writer::Writer;

#[unsafe(no_mangle)]
pub extern "C" fn avj_media_abi_version() -> u32 {
    ABI_VERSION
}

#[unsafe(no_mangle)]
pub extern "C" fn avj_media_api() -> *const Api {
    &raw const API
}

static API: Api = Api {
    last_error,
    versions,
    take_log,
    open,
    close,
    file_info,
    stream_info,
    select,
    open_decoder,
    seek,
    read,
    send,
    send_end,
    receive,
    picture,
    sound,
    writer_open,
    writer_video,
    writer_audio,
    writer_finish,
    writer_close,
};

// SAFETY, for all functions below: the caller keeps to abi.rs: handles come from `open` or `writer_open`, are not closed
// yet and used by one thread at a time; pointers to results are writable; data pointers cover their lengths.

unsafe fn bytes<'a>(text: Text) -> &'a [u8] {
    // SAFETY: see above.
    unsafe { slice(text.data, text.len) }
}

unsafe fn slice<'a, T>(data: *const T, len: usize) -> &'a [T] {
    // SAFETY: see above.
    if len == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, len) } }
}

unsafe fn slice_mut<'a, T>(data: *mut T, len: usize) -> &'a mut [T] {
    // SAFETY: see above.
    if len == 0 { &mut [] } else { unsafe { std::slice::from_raw_parts_mut(data, len) } }
}

/// Runs `body` on a handle.
unsafe fn with<T>(handle: *mut c_void, body: impl FnOnce(&mut T) -> Result<Status>) -> Status {
    guard(|| {
        // SAFETY: see above.
        let value = unsafe { handle.cast::<T>().as_mut() }.ok_or_else(|| Failure::new("the file is closed"))?;
        body(value)
    })
}

unsafe extern "C" fn last_error(code: *mut Text, message: *mut Text) {
    // SAFETY: see above.
    unsafe { (*code, *message) = error::last_error() };
}

unsafe extern "C" fn take_log() -> Text {
    error::take_log()
}

unsafe extern "C" fn versions() -> Text {
    thread_local! {
        static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
    }
    // SAFETY: pure functions.
    let versions = unsafe {
        [
            ("libavformat", ffi::avformat_version()),
            ("libavcodec", ffi::avcodec_version()),
            ("libswscale", ffi::swscale_version()),
            ("libavutil", ffi::avutil_version()),
        ]
    };
    TEXT.with_borrow_mut(|text| {
        *text = versions.map(|(name, v)| format!("{name} {}.{}.{}", v >> 16, v >> 8 & 255, v & 255)).join(", ");
        Text::new(text)
    })
}

unsafe extern "C" fn open(path: Text, input: *mut *mut c_void) -> Status {
    guard(|| {
        // SAFETY: see above.
        unsafe { *input = Box::into_raw(Box::new(Input::open(bytes(path))?)).cast() };
        Ok(Status::OK)
    })
}

unsafe extern "C" fn close(input: *mut c_void) {
    guard(|| {
        if !input.is_null() {
            // SAFETY: see above.
            drop(unsafe { Box::from_raw(input.cast::<Input>()) });
        }
        Ok(Status::OK)
    });
}

unsafe extern "C" fn file_info(input: *mut c_void, info: *mut FileInfo) -> Status {
    // SAFETY: see above.
    unsafe {
        with(input, |input: &mut Input| {
            *info = input.file_info();
            Ok(Status::OK)
        })
    }
}

unsafe extern "C" fn stream_info(input: *mut c_void, stream: u32, info: *mut StreamInfo) -> Status {
    // SAFETY: see above.
    unsafe {
        with(input, |input: &mut Input| {
            *info = input.stream_info(stream as i32)?;
            Ok(Status::OK)
        })
    }
}

unsafe extern "C" fn select(input: *mut c_void, stream: i32) -> Status {
    // SAFETY: see above.
    unsafe { with(input, |input: &mut Input| input.select(stream).map(|()| Status::OK)) }
}

unsafe extern "C" fn open_decoder(input: *mut c_void) -> Status {
    // SAFETY: see above.
    unsafe { with(input, |input: &mut Input| input.open_decoder().map(|()| Status::OK)) }
}

unsafe extern "C" fn seek(input: *mut c_void, timestamp: i64) -> Status {
    // SAFETY: see above.
    unsafe { with(input, |input: &mut Input| input.seek(timestamp).map(|()| Status::OK)) }
}

unsafe extern "C" fn read(input: *mut c_void, packet: *mut PacketInfo) -> Status {
    // SAFETY: see above.
    unsafe {
        with(input, |input: &mut Input| match input.read()? {
            Some(info) => {
                *packet = info;
                Ok(Status::OK)
            }
            None => Ok(Status::END),
        })
    }
}

unsafe extern "C" fn send(input: *mut c_void, pts: i64) -> Status {
    // SAFETY: see above.
    unsafe { with(input, |input: &mut Input| input.send(pts)) }
}

unsafe extern "C" fn send_end(input: *mut c_void) -> Status {
    // SAFETY: see above.
    unsafe { with(input, Input::send_end) }
}

unsafe extern "C" fn receive(input: *mut c_void, frame: *mut FrameInfo) -> Status {
    // SAFETY: see above.
    unsafe {
        with(input, |input: &mut Input| match input.receive()? {
            Ok(info) => {
                *frame = info;
                Ok(Status::OK)
            }
            Err(status) => Ok(status),
        })
    }
}

unsafe extern "C" fn picture(
    input: *mut c_void,
    width: i32,
    height: i32,
    scale_flags: u32,
    out: *mut u8,
    len: usize,
) -> Status {
    // SAFETY: see above.
    unsafe {
        with(input, |input: &mut Input| {
            input.picture(width, height, scale_flags, slice_mut(out, len)).map(|()| Status::OK)
        })
    }
}

unsafe extern "C" fn sound(input: *mut c_void, out: *mut f32, len: usize) -> Status {
    // SAFETY: see above.
    unsafe { with(input, |input: &mut Input| input.sound(slice_mut(out, len)).map(|()| Status::OK)) }
}

unsafe extern "C" fn writer_open(path: Text, options: *const WriterOptions, writer: *mut *mut c_void) -> Status {
    guard(|| {
        // SAFETY: see above.
        unsafe { *writer = Box::into_raw(Box::new(Writer::open(bytes(path), &*options)?)).cast() };
        Ok(Status::OK)
    })
}

unsafe extern "C" fn writer_video(writer: *mut c_void, rgb: *const u8, len: usize) -> Status {
    // SAFETY: see above.
    unsafe { with(writer, |writer: &mut Writer| writer.video(slice(rgb, len)).map(|()| Status::OK)) }
}

unsafe extern "C" fn writer_audio(writer: *mut c_void, samples: *const f32, len: usize) -> Status {
    // SAFETY: see above.
    unsafe { with(writer, |writer: &mut Writer| writer.audio(slice(samples, len)).map(|()| Status::OK)) }
}

unsafe extern "C" fn writer_finish(writer: *mut c_void) -> Status {
    // SAFETY: see above.
    unsafe { with(writer, |writer: &mut Writer| writer.finish().map(|()| Status::OK)) }
}

unsafe extern "C" fn writer_close(writer: *mut c_void) {
    guard(|| {
        if !writer.is_null() {
            // SAFETY: see above.
            drop(unsafe { Box::from_raw(writer.cast::<Writer>()) });
        }
        Ok(Status::OK)
    });
}
