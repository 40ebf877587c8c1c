//! The addon's functions for media: the loader, and the pieces it is made of.
//!
//! Settings and small results cross as JSON, numbers as typed arrays. What reads files runs on a thread of its own and
//! answers by a promise; a panic anywhere becomes an error.

mod loader;
mod pieces;
mod streams;

use avjepa_media::audio::{VideoWriter, VideoWriterOptions, probe};
use avjepa_media::error::MediaError;
use avjepa_media::index::{Index, format_line};
use avjepa_media::video_writer::AudioTrackOptions;
use napi::Env;
use napi::bindgen_prelude::{Float32Array, Int32Array, JsError, Object, ToNapiValue, Uint8Array};
use napi_derive::napi;
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;

/// An error with our code; message, hint and path travel as JSON, which the TypeScript side takes apart.
fn js(error: MediaError) -> napi::Error<String> {
    let path = error.path.as_ref().map(|path| path.display().to_string());
    let message = match &path {
        Some(path) if !error.message.contains(path.as_str()) => format!("{path}: {}", error.message),
        _ => error.message.clone(),
    };
    let message = if error.code == "AVJ_PANIC" { avjepa_panics::placed(&message) } else { message };
    let body = json!({ "message": message, "hint": error.hint, "path": path });
    napi::Error::new(error.code.to_string(), body.to_string())
}

/// A rejection that keeps the code.
fn reject(env: Env, error: MediaError) -> napi::Error {
    napi::Error::from(JsError::from(js(error)).into_unknown(env))
}

fn status(error: napi::Error) -> napi::Error<String> {
    js(MediaError::new("AVJ_ADDON", error.reason.clone()))
}

/// Runs `work`; a panic is an error.
fn guard<T>(work: impl FnOnce() -> Result<T, MediaError>) -> Result<T, MediaError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(MediaError::new("AVJ_PANIC", format!("the media engine failed: {}", text.unwrap_or("no message")))
            .with_hint("this is a bug in AV-JEPA, please report it"))
    })
}

/// [`guard`] with the error made JavaScript's.
fn call<T>(work: impl FnOnce() -> Result<T, MediaError>) -> napi::Result<T, String> {
    guard(work).map_err(js)
}

/// Runs `work` on a thread; the promise is of its result.
pub(crate) fn promise<'e, T: ToNapiValue + Send + 'static>(
    env: &'e Env,
    work: impl FnOnce() -> Result<T, MediaError> + Send + 'static,
) -> napi::Result<Object<'e>, String> {
    let (deferred, promise) = env.create_deferred().map_err(status)?;
    let run = move || {
        let result = guard(work);
        deferred.resolve(move |env| result.map_err(|error| reject(env, error)));
    };
    thread::Builder::new()
        .name("media".to_owned())
        .spawn(run)
        .map_err(|error| js(MediaError::new("AVJ_THREAD", format!("cannot start a thread: {error}"))))?;
    Ok(promise)
}

fn parse(json: &str) -> Result<Value, MediaError> {
    serde_json::from_str(json).map_err(|error| MediaError::new("AVJ_ARGUMENT", format!("not JSON: {error}")))
}

fn argument(message: impl Into<String>) -> MediaError {
    MediaError::new("AVJ_ARGUMENT", message)
}

/// Says where the FFmpeg library lies: the addon's folder.
#[napi]
pub fn media_set_directory(path: String) {
    avjepa_media::library::set_directory(Path::new(&path));
}

/// Versions of the FFmpeg libraries in use.
#[napi]
pub fn media_versions() -> napi::Result<String, String> {
    call(avjepa_media::library::versions)
}

/// What a media file holds, as JSON.
#[napi(ts_return_type = "Promise<string>")]
pub fn media_probe<'e>(env: &'e Env, path: String) -> napi::Result<Object<'e>, String> {
    promise(env, move || {
        let probe = probe(Path::new(&path))?;
        let video = probe.has_video.then(
            || json!({ "codec": probe.video_codec, "width": probe.width, "height": probe.height, "fps": probe.fps }),
        );
        let audio = probe.has_audio.then(
            || json!({ "codec": probe.audio_codec, "sampleRate": probe.sample_rate, "channels": probe.channels }),
        );
        let body = json!({ "path": path, "format": probe.format, "seconds": probe.duration_s, "video": video, "audio": audio });
        Ok(body.to_string())
    })
}

/// The lines of index files.
#[napi(object)]
pub struct IndexLines {
    pub paths: Vec<String>,
    pub labels: Int32Array,
    /// Where each file's lines end.
    pub ends: Int32Array,
    pub fingerprint: String,
}

/// Reads index files.
#[napi]
pub fn media_read_index(files: Vec<String>) -> napi::Result<IndexLines, String> {
    call(|| {
        let index = Index::read(&files)?;
        let samples = index.samples();
        Ok(IndexLines {
            paths: samples.iter().map(|sample| sample.path.display().to_string()).collect(),
            labels: samples.iter().map(|sample| sample.label).collect::<Vec<_>>().into(),
            ends: index.files().iter().map(|file| file.end as i32).collect::<Vec<_>>().into(),
            fingerprint: format!("{:016x}", index.fingerprint()),
        })
    })
}

/// A line of an index, quoted where needed.
#[napi]
pub fn media_index_line(path: String, label: i32) -> String {
    format_line(&path, label)
}

/// How a film is written.
#[napi(object)]
pub struct FilmSettings {
    /// Pixels; even.
    pub width: u32,
    pub height: u32,
    /// Frames a second.
    pub fps: u32,
    /// Constant quantiser of mpeg4, 1 (best) to 31.
    pub quality: u32,
    /// Samples a second of the sound, one channel.
    pub sample_rate: u32,
}

/// Writes a film of MPEG-4 part 2 with AAC: RGB frames `[T, H, W, 3]`, and sound of full scale ±1 or none.
#[napi(ts_return_type = "Promise<void>")]
pub fn media_write_film<'e>(
    env: &'e Env,
    path: String,
    settings: FilmSettings,
    frames: Uint8Array,
    sound: Option<Float32Array>,
) -> napi::Result<Object<'e>, String> {
    // The arrays stay the caller's, who may change them: the thread has copies.
    let (frames, sound) = (frames.to_vec(), sound.map(|sound| sound.to_vec()));
    promise(env, move || {
        let frame = settings.width as usize * settings.height as usize * 3;
        if frame == 0 || !frames.len().is_multiple_of(frame) {
            let size = format!("{} × {}", settings.width, settings.height);
            return Err(argument(format!("{} bytes are no whole number of frames of {size} pixels", frames.len())));
        }
        let audio = AudioTrackOptions { sample_rate: settings.sample_rate, ..AudioTrackOptions::default() };
        let options = VideoWriterOptions {
            width: settings.width as usize,
            height: settings.height as usize,
            fps: (settings.fps, 1),
            quality: settings.quality,
            audio: sound.is_some().then_some(audio),
            ..VideoWriterOptions::default()
        };
        let mut writer = VideoWriter::create(Path::new(&path), &options)?;
        frames.chunks_exact(frame).try_for_each(|frame| writer.video(frame))?;
        if let Some(sound) = sound {
            writer.audio(&sound)?;
        }
        writer.finish()
    })
}
