//! The loader's handle and its batches.

use super::{argument, call, guard, js, reject, status};
use avjepa_media::error::MediaError;
use avjepa_media::image_loader::{ImageLoaderConfig, open_images};
use avjepa_media::loader::{
    BadFiles, Batch, Counts, Event, EventKind, Grids, Loader, LoaderConfig, LoaderInfo, MaskSampler, Pixels,
    RowAddress, RowMasks, Stopper, open,
};
use napi::bindgen_prelude::{Float32Array, Float64Array, Int32Array, Object, Uint8Array};
use napi::{Env, JsDeferred};
use napi_derive::napi;
use serde_json::{Value, json};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// The masks of all rows under one generator: video context, video target, audio context, audio target, each with the
/// offsets of the rows in it.
#[napi(object)]
pub struct MaskArrays {
    pub lists: Vec<Int32Array>,
    pub offsets: Vec<Int32Array>,
}

impl From<RowMasks> for MaskArrays {
    fn from(masks: RowMasks) -> Self {
        Self {
            lists: masks.lists.into_iter().map(Int32Array::from).collect(),
            offsets: masks.offsets.into_iter().map(Int32Array::from).collect(),
        }
    }
}

/// News of a file.
#[napi(object)]
pub struct FileEvent {
    pub kind: String,
    pub index: f64,
    pub path: String,
    pub reason: String,
    pub replaced: bool,
}

impl From<&Event> for FileEvent {
    fn from(event: &Event) -> Self {
        Self {
            kind: event.kind.name().to_owned(),
            index: event.index as f64,
            path: event.path.display().to_string(),
            reason: event.reason.clone(),
            replaced: event.replaced,
        }
    }
}

/// Distinct files so far.
#[napi(object)]
pub struct FileCounts {
    pub tried: f64,
    pub bad: f64,
    pub missing_audio: f64,
    pub silent: f64,
    pub missing_video: f64,
    pub short: f64,
}

impl From<Counts> for FileCounts {
    fn from(counts: Counts) -> Self {
        Self {
            tried: counts.tried as f64,
            bad: counts.bad as f64,
            missing_audio: counts.missing_audio as f64,
            silent: counts.silent as f64,
            missing_video: counts.missing_video as f64,
            short: counts.short as f64,
        }
    }
}

/// A batch; its arrays are the engine's memory, not copies.
#[napi(object)]
pub struct BatchArrays {
    pub samples: u32,
    pub clips: u32,
    pub labels: Int32Array,
    pub indices: Int32Array,
    pub passes: Int32Array,
    pub paths: Vec<String>,
    pub bytes: Option<Uint8Array>,
    pub floats: Option<Float32Array>,
    pub has_video: Uint8Array,
    pub audio: Option<Float32Array>,
    pub audio_cols: Int32Array,
    pub frames: Int32Array,
    pub starts: Float64Array,
    pub masks: Vec<MaskArrays>,
    pub events: Vec<FileEvent>,
    pub counts: FileCounts,
    pub number: f64,
    pub next_pass: f64,
    pub next_position: f64,
    pub wait_ms: f64,
}

impl From<Batch> for BatchArrays {
    fn from(batch: Batch) -> Self {
        let draws = |of: fn(&avjepa_media::order::Draw) -> i32| batch.draws.iter().map(of).collect::<Vec<_>>().into();
        let (indices, passes) = (draws(|draw| draw.index as i32), draws(|draw| draw.pass as i32));
        let (mut bytes, mut floats) = (None, None);
        match batch.pixels {
            Pixels::None => {}
            Pixels::Bytes(values) => bytes = Some(values.into()),
            Pixels::Floats(values) => floats = Some(values.into()),
        }
        Self {
            samples: batch.samples as u32,
            clips: batch.clips as u32,
            labels: batch.labels.into(),
            indices,
            passes,
            paths: batch.paths.iter().map(|path| path.display().to_string()).collect(),
            bytes,
            floats,
            has_video: batch.has_video.into_iter().map(u8::from).collect::<Vec<_>>().into(),
            audio: (!batch.audio.is_empty()).then(|| batch.audio.into()),
            audio_cols: batch.audio_cols.into(),
            frames: batch.frames.into(),
            starts: batch.starts.into(),
            masks: batch.masks.into_iter().map(MaskArrays::from).collect(),
            events: batch.events.iter().map(FileEvent::from).collect(),
            counts: batch.counts.into(),
            number: batch.number as f64,
            next_pass: batch.next.pass as f64,
            next_position: batch.next.position as f64,
            wait_ms: batch.wait_ms,
        }
    }
}

type Answer = Option<BatchArrays>;
type Resolver = Box<dyn FnOnce(Env) -> napi::Result<Answer> + Send>;
type Request = JsDeferred<Answer, Resolver>;

/// A running loader.
#[napi]
pub struct MediaLoader {
    requests: Option<Sender<Request>>,
    stopper: Stopper,
    info: String,
}

/// Starts a loader; `config` is the loader's configuration as JSON.
#[napi]
pub fn media_open_loader(config: String) -> napi::Result<MediaLoader, String> {
    call(|| {
        let (loader, info) = open(LoaderConfig::from_json(&config)?)?;
        handle(loader, describe(&info))
    })
}

/// Starts a loader of pictures; `config` is its configuration as JSON.
#[napi]
pub fn media_open_images(config: String) -> napi::Result<MediaLoader, String> {
    call(|| {
        let (loader, info) = open_images(ImageLoaderConfig::from_json(&config)?)?;
        let mut described = describe(&info.loader);
        described["classes"] = json!(info.classes);
        handle(loader, described)
    })
}

fn handle(loader: Loader, info: Value) -> Result<MediaLoader, MediaError> {
    let (stopper, (requests, received)) = (loader.stopper(), channel());
    thread::Builder::new()
        .name("loader-delivery".to_owned())
        .spawn(move || deliver(loader, received))
        .map_err(|error| MediaError::new("AVJ_THREAD", format!("cannot start a thread: {error}")))?;
    Ok(MediaLoader { requests: Some(requests), stopper, info: info.to_string() })
}

/// Answers requests in order, always one batch ahead; after the end or an error, always with that. Ends with the handle.
fn deliver(mut loader: Loader, requests: Receiver<Request>) {
    loop {
        let batch = guard(|| loader.next_batch());
        let Ok(request) = requests.recv() else { return };
        answer(request, batch);
    }
}

fn answer(request: Request, batch: Result<Option<Batch>, MediaError>) {
    request.resolve(Box::new(move |env| match batch {
        Ok(batch) => Ok(batch.map(BatchArrays::from)),
        Err(error) => Err(reject(env, error)),
    }));
}

#[napi]
impl MediaLoader {
    /// The next batch; null after the last one.
    #[napi(ts_return_type = "Promise<BatchArrays | null>")]
    pub fn next<'e>(&self, env: &'e Env) -> napi::Result<Object<'e>, String> {
        let closed = || js(MediaError::new("AVJ_CLOSED", "the loader is closed"));
        let requests = self.requests.as_ref().ok_or_else(closed)?;
        let (deferred, promise) = env.create_deferred::<Answer, Resolver>().map_err(status)?;
        requests.send(deferred).map_err(|_| closed())?;
        Ok(promise)
    }

    /// What was opened, as JSON.
    #[napi]
    pub fn info(&self) -> String {
        self.info.clone()
    }

    /// Ends the threads. Requests that wait are rejected.
    #[napi]
    pub fn close(&mut self) {
        self.requests = None;
        self.stopper.stop();
    }
}

impl Drop for MediaLoader {
    fn drop(&mut self) {
        self.stopper.stop();
    }
}

fn describe(info: &LoaderInfo) -> Value {
    let video =
        info.grids.video.map(|video| json!({ "frames": video.frames, "crop": video.crop, "grid": video.tokens }));
    let audio = info.grids.audio.map(|audio| {
        json!({ "mels": audio.mels, "columns": audio.columns, "patch": audio.patch, "grid": audio.tokens, "seconds": audio.seconds })
    });
    json!({
        "samples": info.samples,
        "fingerprint": format!("{:016x}", info.fingerprint),
        "workers": info.workers,
        "notices": info.notices,
        "video": video,
        "audio": audio,
    })
}

/// What one loader would say of files that several have met: an error where `paths` are too many bad files among `tried` of `total`.
#[napi]
pub fn media_judge_files(
    total: f64,
    max_bad_fraction: f64,
    tried: f64,
    paths: Vec<String>,
    reasons: Vec<String>,
) -> napi::Result<(), String> {
    call(|| {
        let (bad, tried) = (paths.len(), tried as usize);
        let ledger = BadFiles::new(total as usize, max_bad_fraction);
        if !ledger.too_many(bad, tried) {
            return Ok(());
        }
        let event = |(path, reason): (String, String)| Event {
            kind: EventKind::Bad,
            index: 0,
            path: path.into(),
            reason,
            replaced: true,
        };
        let events: Vec<Event> = paths.into_iter().zip(reasons).map(event).collect();
        Err(ledger.too_many_error(events.iter(), bad, tried))
    })
}

/// Masks for rows that are at hand. `rows` has five numbers a row: pass, index, clip, whether it has video, and its valid
/// audio columns; rows are clip-major over `samples` samples of batch `number`.
#[napi]
pub fn media_masks(config: String, number: f64, samples: u32, rows: &[f64]) -> napi::Result<Vec<MaskArrays>, String> {
    call(|| {
        let config = LoaderConfig::from_json(&config)?;
        let sampler = MaskSampler::new(&config, &Grids::new(&config)?)?;
        if samples == 0 || !rows.len().is_multiple_of(5 * samples as usize) {
            return Err(argument(format!("{} numbers for the rows of {samples} samples, five each", rows.len())));
        }
        let row = |r: &[f64]| RowAddress {
            pass: r[0] as u64,
            index: r[1] as u64,
            clip: r[2] as u16,
            has_video: r[3] != 0.0,
            audio_cols: r[4] as usize,
        };
        let rows: Vec<RowAddress> = rows.chunks_exact(5).map(row).collect();
        let masks = sampler.rows(number as u64, samples as usize, &rows)?;
        let generators = masks.first().map_or(0, Vec::len);
        Ok((0..generators).map(|g| RowMasks::new(masks.iter().map(|row| &row[g])).into()).collect())
    })
}
