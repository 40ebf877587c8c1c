//! Threads, the queue between them, and the assembly of batches.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use super::bad_files::{BadFiles, Counts, Event, EventKind};
use super::batch::{Batch, Pixels, RowMasks};
use super::grid::Grids;
use super::masks::BatchMasks;
use super::source::{Clip, Reading, Refusal, Source};
use crate::error::{MediaError, Result};
use crate::mask::SampleMask;
use crate::order::{Draw, Order};

/// Replacements tried for one sample. Reached only when nearly every file is bad or unwanted.
const MAX_ATTEMPTS: u64 = 256;

/// Batches' worth of samples that may wait, decoded, for their turn.
const PREFETCH: usize = 2;

/// How far a run has come through its data: all that a checkpoint needs to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Traversals of the data completed.
    pub pass: u64,
    /// Samples handed out, over all ranks, since the run's beginning.
    pub position: u64,
}

/// What the engine is told besides source and order.
#[derive(Debug)]
pub struct Settings {
    pub workers: usize,
    pub clips: usize,
    pub frames: usize,
    pub grids: Grids,
    pub max_bad_fraction: f64,
    /// Whether the loader itself ends past that.
    pub judge: bool,
    /// End after this many traversals; `None`: never.
    pub passes: Option<u64>,
    /// With `passes`: leave out a last batch that is not full.
    pub drop_last: bool,
    pub masks: BatchMasks,
}

/// Delivers batches. Dropping it, or [`Stopper::stop`], ends its threads as soon as each has finished the file it is at.
pub struct Loader {
    shared: Arc<Shared>,
    files: BadFiles,
    /// The next slot to be delivered.
    slot: u64,
    failed: Option<MediaError>,
}

/// Ends a loader from another thread: a waiting [`Loader::next`] returns `AVJ_CLOSED`.
#[derive(Clone)]
pub struct Stopper(Arc<Shared>);

/// A *slot* is a sample's place in this rank's sequence of batches, counted from the loader's start.
struct Shared {
    source: Box<dyn Source>,
    order: Order,
    settings: Settings,
    start: u64,
    queue: Mutex<Queue>,
    /// Signalled when slots open up or the loader stops.
    room: Condvar,
    /// Signalled when a slot is filled or the loader stops.
    filled: Condvar,
}

struct Queue {
    /// The next slot that no thread has taken.
    next: u64,
    /// The slot of `outcomes[0]`.
    base: u64,
    outcomes: VecDeque<Option<Outcome>>,
    stop: bool,
}

/// What came of a slot.
struct Outcome {
    /// Files opened for it, in order; the last is the one used.
    tried: Vec<usize>,
    events: Vec<Event>,
    sample: std::result::Result<(Draw, Reading), MediaError>,
}

impl Loader {
    /// Starts the threads at `cursor`.
    ///
    /// # Errors
    /// `AVJ_INDEX` without samples, or if the system gives no thread.
    pub fn start(source: impl Source, order: Order, settings: Settings, cursor: Cursor) -> Result<Self> {
        if source.is_empty() {
            return Err(MediaError::new("AVJ_INDEX", "there are no samples to load"));
        }
        let files = BadFiles::new(source.len(), settings.max_bad_fraction);
        let workers = settings.workers.max(1);
        let queue = Queue { next: 0, base: 0, outcomes: VecDeque::new(), stop: false };
        let shared = Arc::new(Shared {
            source: Box::new(source),
            order,
            settings,
            start: cursor.position,
            queue: Mutex::new(queue),
            room: Condvar::new(),
            filled: Condvar::new(),
        });
        // Owned from here on, so that a failure below stops the threads that did start.
        let loader = Self { shared, files, slot: 0, failed: None };
        for i in 0..workers {
            let shared = loader.shared.clone();
            thread::Builder::new().name(format!("loader-{i}")).spawn(move || shared.work()).map_err(|error| {
                MediaError::new("AVJ_THREAD", format!("cannot start loader thread {} of {workers}: {error}", i + 1))
                    .with_hint("lower data.num_workers, or raise the limit of processes (ulimit -u)")
            })?;
        }
        Ok(loader)
    }

    pub fn stopper(&self) -> Stopper {
        Stopper(self.shared.clone())
    }

    /// Files tried and lost so far.
    pub fn files(&self) -> &BadFiles {
        &self.files
    }

    pub fn counts(&self) -> Counts {
        self.files.counts()
    }

    /// The next batch; `None` after the last of `passes`. Waits for it. A loader that failed goes on failing.
    ///
    /// # Errors
    /// `AVJ_BAD_FILES` past `max_bad_fraction`, or for a sample that nothing replaces; `AVJ_CLOSED` after a stop; what a source calls fatal.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.assemble();
        if let Err(error) = &result {
            self.failed = Some(error.clone());
            stop(&self.shared);
        }
        result
    }

    fn assemble(&mut self) -> Result<Option<Batch>> {
        let shared = self.shared.clone();
        let share = shared.order.share();
        let Some((begin, size)) = shared.batch_size(self.slot) else { return Ok(None) };
        let position = begin + shared.order.global_batch();
        let mut batch = Batch {
            samples: size,
            clips: shared.settings.clips,
            number: begin / shared.order.global_batch(),
            next: Cursor { pass: shared.order.pass(position), position },
            ..Batch::default()
        };
        let mut readings = Vec::with_capacity(size);
        let waiting = Instant::now();
        for _ in 0..size {
            let outcome = shared.take()?;
            self.slot += 1;
            outcome.tried.iter().for_each(|&index| self.files.tried(index));
            for event in outcome.events {
                if self.files.enter(&event) {
                    batch.events.push(event);
                }
            }
            if shared.settings.judge
                && let Some(error) = self.files.verdict()
            {
                return Err(error);
            }
            let (draw, reading) = outcome.sample?;
            batch.labels.push(shared.source.label(draw.index));
            batch.paths.push(shared.source.path(draw.index).to_path_buf());
            batch.draws.push(draw);
            readings.push(reading);
        }
        // A last batch may be smaller than the others: its missing slots are no one's.
        self.slot = self.slot.next_multiple_of(share.batch as u64);
        batch.wait_ms = waiting.elapsed().as_secs_f64() * 1e3;
        batch.counts = self.files.counts();
        shared.lay_out(&mut batch, readings)?;
        Ok(Some(batch))
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        stop(&self.shared);
    }
}

impl Stopper {
    pub fn stop(&self) {
        stop(&self.0);
    }
}

fn stop(shared: &Shared) {
    let mut queue = shared.lock();
    queue.stop = true;
    queue.outcomes.clear();
    shared.room.notify_all();
    shared.filled.notify_all();
}

fn closed() -> MediaError {
    MediaError::new("AVJ_CLOSED", "the loader is closed")
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Global position at which the batch of `slot` begins, and its number of samples; `None` past the end.
    fn batch_size(&self, slot: u64) -> Option<(u64, usize)> {
        let share = self.order.share();
        let begin = self.start + slot / share.batch as u64 * self.order.global_batch();
        let Some(passes) = self.settings.passes else { return Some((begin, share.batch)) };
        let total = passes.saturating_mul(self.order.len() as u64);
        let whole = begin + self.order.global_batch() <= total;
        if begin >= total || (self.settings.drop_last && !whole) {
            return None;
        }
        // Of a last batch that is not full, the last ranks may have nothing: they are done.
        let mine = self.order.position(begin, 0);
        let size = total.saturating_sub(mine).min(share.batch as u64) as usize;
        (size > 0).then_some((begin, size))
    }

    /// A thread's life: take a slot, fill it.
    fn work(&self) {
        loop {
            let mut queue = self.lock();
            let window = (PREFETCH * self.order.share().batch).max(self.settings.workers) as u64;
            while !queue.stop && queue.next >= queue.base + window {
                queue = self.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            if queue.stop {
                return;
            }
            let batch = self.order.share().batch as u64;
            let Some((begin, size)) = self.batch_size(queue.next) else { return };
            let (slot, j) = (queue.next, (queue.next % batch) as usize);
            queue.next += 1;
            queue.outcomes.push_back(None);
            drop(queue);
            // Places of a last batch that is not full are filled with nothing.
            let outcome = if j < size { self.fill(self.order.draw(begin, j)) } else { Outcome::nothing() };
            let mut queue = self.lock();
            if queue.stop {
                return;
            }
            let place = (slot - queue.base) as usize;
            queue.outcomes[place] = Some(outcome);
            self.filled.notify_all();
        }
    }

    /// Waits for the next outcome in order.
    fn take(&self) -> Result<Outcome> {
        let mut queue = self.lock();
        loop {
            if queue.stop {
                return Err(closed());
            }
            match queue.outcomes.front() {
                Some(Some(_)) => {
                    let outcome = queue.outcomes.pop_front().flatten();
                    queue.base += 1;
                    self.room.notify_all();
                    return outcome.ok_or_else(closed);
                }
                _ => queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Reads the sample that `draw` names, or the first of its replacements that can be read.
    fn fill(&self, first: Draw) -> Outcome {
        let mut outcome = Outcome::nothing();
        let chain = BadFiles::new(self.source.len(), self.settings.max_bad_fraction);
        for attempt in 0..MAX_ATTEMPTS {
            let draw = if attempt == 0 { first } else { self.order.replacement(first, attempt) };
            outcome.tried.push(draw.index);
            let read = catch_unwind(AssertUnwindSafe(|| self.source.read(draw)));
            let path = self.source.path(draw.index);
            let event = |kind, reason, replaced| Event { kind, index: draw.index, path: path.into(), reason, replaced };
            match read.unwrap_or_else(|panic| Err(Refusal::Bad(panicked(panic.as_ref())))) {
                Ok(reading) => {
                    let notes = reading.notes.iter();
                    outcome.events.extend(notes.map(|note| event(note.kind, note.reason.clone(), false)));
                    outcome.sample = Ok((draw, reading));
                    return outcome;
                }
                Err(Refusal::Fatal(error)) => {
                    outcome.sample = Err(error.with_path(path));
                    return outcome;
                }
                Err(Refusal::Unwanted(note)) => outcome.events.push(event(note.kind, note.reason, true)),
                Err(Refusal::Bad(error)) => outcome.events.push(event(EventKind::Bad, in_words(&error), true)),
            }
            // Enough by itself to end the run: no need to try on.
            let bad = distinct(&outcome.events, |event| event.kind == EventKind::Bad);
            if chain.too_many(bad, bad) {
                break;
            }
        }
        outcome.sample = Err(self.exhausted(&outcome.events));
        outcome
    }

    fn exhausted(&self, events: &[Event]) -> MediaError {
        let bad = distinct(events, |event| event.kind == EventKind::Bad);
        let all = distinct(events, |_| true);
        if bad == all {
            let ledger = BadFiles::new(self.source.len(), self.settings.max_bad_fraction);
            let mut seen: Vec<&Event> = events.iter().collect();
            seen.sort_by_key(|event| event.index);
            seen.dedup_by_key(|event| event.index);
            return ledger.too_many_error(seen.into_iter(), bad, all);
        }
        let last = &events[events.len() - 1];
        let message = format!(
            "no usable sample among {all} files tried in {MAX_ATTEMPTS} draws: {bad} bad, {} left out; the last is {}: {}",
            all - bad,
            last.path.display(),
            last.reason
        );
        MediaError::new("AVJ_BAD_FILES", message).with_hint(
            "see data.missing_audio, data.missing_video and data.filter_short_videos: nearly all files are left out",
        )
    }

    /// Copies the samples into the batch, clip-major.
    fn lay_out(&self, batch: &mut Batch, readings: Vec<Reading>) -> Result<()> {
        let Settings { clips, frames, ref grids, ref masks, .. } = self.settings;
        let rows = clips * batch.samples;
        let audio_len = grids.audio_len();
        batch.audio = vec![0.0; rows * audio_len];
        batch.pixels = grids.pixels(rows);
        let mut by_row: Vec<Vec<SampleMask>> = vec![Vec::new(); rows];
        batch.has_video = vec![false; rows];
        batch.audio_cols = vec![0; rows];
        batch.starts = vec![0.0; rows];
        batch.frames = vec![-1; rows * frames];
        for (s, reading) in readings.into_iter().enumerate() {
            let count = reading.clips.len();
            if count != clips {
                return Err(MediaError::new("AVJ_SHAPE", format!("{count} clips where {clips} are expected")));
            }
            for (c, clip) in reading.clips.into_iter().enumerate() {
                let row = c * batch.samples + s;
                let Clip { pixels, audio, audio_cols, frames: numbers, start, masks } = clip;
                batch.has_video[row] = !pixels.is_none();
                copy_pixels(&mut batch.pixels, rows, row, &pixels)?;
                if !audio.is_empty() {
                    copy_row(&mut batch.audio, rows, row, &audio)?;
                    batch.audio_cols[row] = audio_cols as i32;
                }
                if !numbers.is_empty() {
                    let numbers: Vec<i32> = numbers.iter().map(|&n| n as i32).collect();
                    copy_row(&mut batch.frames, rows, row, &numbers)?;
                }
                batch.starts[row] = start;
                by_row[row] = masks;
            }
        }
        masks.complete(batch, &mut by_row)?;
        let generators = by_row.first().map_or(0, Vec::len);
        batch.masks = (0..generators).map(|g| RowMasks::new(by_row.iter().map(|row| &row[g]))).collect();
        Ok(())
    }
}

impl Outcome {
    fn nothing() -> Self {
        Self { tried: Vec::new(), events: Vec::new(), sample: Err(closed()) }
    }
}

fn distinct(events: &[Event], wanted: impl Fn(&Event) -> bool) -> usize {
    let mut indices: Vec<usize> = events.iter().filter(|event| wanted(event)).map(|event| event.index).collect();
    indices.sort_unstable();
    indices.dedup();
    indices.len()
}

/// Message and hint; the path stands beside them.
fn in_words(error: &MediaError) -> String {
    match &error.hint {
        Some(hint) => format!("{} ({hint})", error.message),
        None => error.message.clone(),
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> MediaError {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    MediaError::new(
        "AVJ_PANIC",
        format!("the program failed on this file, which is a bug: {}", text.unwrap_or("no message")),
    )
}

fn copy_pixels(all: &mut Pixels, rows: usize, row: usize, pixels: &Pixels) -> Result<()> {
    match (all, pixels) {
        (_, Pixels::None) => Ok(()),
        (Pixels::Bytes(all), Pixels::Bytes(clip)) => copy_row(all, rows, row, clip),
        (Pixels::Floats(all), Pixels::Floats(clip)) => copy_row(all, rows, row, clip),
        _ => Err(MediaError::new("AVJ_SHAPE", "a clip's pixels are of another type than the batch's")),
    }
}

fn copy_row<T: Copy>(all: &mut [T], rows: usize, row: usize, values: &[T]) -> Result<()> {
    let len = all.len() / rows;
    if values.len() != len {
        return Err(MediaError::new(
            "AVJ_SHAPE",
            format!("a row of {} values in a batch of {len} a row", values.len()),
        ));
    }
    all[row * len..(row + 1) * len].copy_from_slice(values);
    Ok(())
}
