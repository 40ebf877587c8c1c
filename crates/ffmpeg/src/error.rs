//! The thread's last error, and what libav logged on the way to it.

use crate::abi::{Status, Text};
use ffmpeg::ffi;
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// libav can repeat itself once a macroblock; the first lines say what is wrong.
const MAX_LOG_LINES: usize = 6;

pub struct Failure {
    pub code: &'static str,
    pub message: String,
}

pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: "AVJ_MEDIA", message: message.into() }
    }
}

/// Names an FFmpeg return value: "opening the decoder: Invalid data found when processing input".
pub fn check(value: c_int, doing: &str) -> Result<c_int> {
    if value >= 0 { Ok(value) } else { Err(Failure::new(format!("{doing}: {}", strerror(value)))) }
}

pub fn strerror(value: c_int) -> String {
    let mut buffer = [0 as c_char; 128];
    // SAFETY: the buffer is as long as announced; av_strerror always terminates it.
    unsafe {
        ffi::av_strerror(value, buffer.as_mut_ptr(), buffer.len());
        CStr::from_ptr(buffer.as_ptr()).to_string_lossy().into_owned()
    }
}

/// The other side of a decoder or encoder has to be served first.
pub fn is_again(value: c_int) -> bool {
    value == ffi::AVERROR(libc::EAGAIN)
}

#[derive(Default)]
struct Thread {
    code: String,
    message: String,
    log: Vec<String>,
    log_text: String,
}

thread_local! {
    static THREAD: RefCell<Thread> = RefCell::default();
}

/// Runs the body of an exported function: panics and failures become `Status::ERROR` with a text.
pub fn guard(body: impl FnOnce() -> Result<Status>) -> Status {
    install();
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(status)) => return status,
        Ok(Err(failure)) => failure,
        Err(panic) => Failure { code: "AVJ_PANIC", message: avjepa_panics::describe(panic.as_ref()) },
    };
    THREAD.with_borrow_mut(|thread| {
        thread.code = failure.code.to_owned();
        thread.message = failure.message;
    });
    Status::ERROR
}

pub fn last_error() -> (Text, Text) {
    THREAD.with_borrow(|thread| (Text::new(&thread.code), Text::new(&thread.message)))
}

pub fn take_log() -> Text {
    THREAD.with_borrow_mut(|thread| {
        thread.log_text = std::mem::take(&mut thread.log).join("\n");
        Text::new(&thread.log_text)
    })
}

pub fn clear_log() {
    THREAD.with_borrow_mut(|thread| thread.log.clear());
}

#[cfg(target_arch = "x86_64")]
type VaList = *mut ffi::__va_list_tag;
#[cfg(not(target_arch = "x86_64"))]
type VaList = ffi::va_list;

/// Errors that libav would print go to the thread that caused them, without repetition, and into its error text.
unsafe extern "C" fn collect_log(source: *mut c_void, level: c_int, format: *const c_char, args: VaList) {
    if level > ffi::AV_LOG_ERROR {
        return;
    }
    let mut buffer = [0 as c_char; 512];
    let mut prefix: c_int = 0;
    // SAFETY: all arguments are those libav handed us; the buffer is as long as announced and gets terminated.
    let line = unsafe {
        ffi::av_log_format_line2(
            source,
            level,
            format,
            args,
            buffer.as_mut_ptr(),
            buffer.len() as c_int,
            &raw mut prefix,
        );
        CStr::from_ptr(buffer.as_ptr()).to_string_lossy()
    };
    // Without the "[mov,mp4 @ 0x55…] " that varies from run to run.
    let line = line.trim().split_once("] ").map_or(line.trim(), |(_, rest)| rest).to_owned();
    let _ = THREAD.try_with(|thread| {
        if let Ok(mut thread) = thread.try_borrow_mut()
            && !line.is_empty()
            && thread.log.len() < MAX_LOG_LINES
            && !thread.log.contains(&line)
        {
            thread.log.push(line);
        }
    });
}

/// What this library has of its own: libav's log, and what becomes of panics.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        avjepa_panics::install();
        // SAFETY: the callback has the signature libav asks for and touches only thread-local data.
        unsafe { ffi::av_log_set_callback(Some(collect_log)) };
    });
}
