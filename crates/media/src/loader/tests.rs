use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::error::MediaError;
use crate::mask::SampleMask;
use crate::order::{Draw, Order, OrderKind, Share};
use crate::random::{Purpose, SampleRng};

/// Makes samples out of nothing, slower or faster by chance; some numbers refuse.
struct Synthetic {
    paths: Vec<PathBuf>,
    refuse: fn(Draw) -> Option<Refusal>,
    running: Arc<AtomicUsize>,
}

impl Synthetic {
    fn new(n: usize, refuse: fn(Draw) -> Option<Refusal>) -> Self {
        let paths = (0..n).map(|i| PathBuf::from(format!("{i}.mp4"))).collect();
        Self { paths, refuse, running: Arc::new(AtomicUsize::new(0)) }
    }
}

impl Source for Synthetic {
    fn len(&self) -> usize {
        self.paths.len()
    }

    fn path(&self, index: usize) -> &Path {
        &self.paths[index]
    }

    fn label(&self, index: usize) -> i32 {
        index as i32 * 10
    }

    fn read(&self, draw: Draw) -> Result<Reading, Refusal> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let mut rng = SampleRng::new(1, draw.pass, draw.index as u64, Purpose::Clip);
        thread::sleep(Duration::from_micros(rng.below(300)));
        let refusal = (self.refuse)(draw);
        self.running.fetch_sub(1, Ordering::SeqCst);
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let clip = |c: u16| {
            let mut rng = SampleRng::new(1, draw.pass, draw.index as u64, Purpose::Transform { clip: c });
            let bytes = (0..GRIDS.video.unwrap().len()).map(|_| rng.next_u32() as u8).collect();
            Clip {
                pixels: if draw.index % 5 == 4 { Pixels::None } else { Pixels::Bytes(bytes) },
                audio: (0..GRIDS.audio_len()).map(|_| rng.random() as f32).collect(),
                audio_cols: 1 + draw.index % 2,
                frames: if draw.index % 5 == 4 { vec![] } else { vec![draw.index, draw.index + 1] },
                start: f64::from(c),
                masks: vec![SampleMask { video_context: vec![i32::from(c); draw.index % 3], ..SampleMask::default() }],
            }
        };
        Ok(Reading { clips: vec![clip(0), clip(1)], notes: vec![] })
    }
}

const GRIDS: Grids = Grids {
    video: Some(VideoGrid { frames: 2, crop: 2, tokens: [1, 1, 1], format: PixelFormat::U8 }),
    audio: Some(SoundGrid { mels: 2, columns: 4, patch: 2, tokens: [1, 2], seconds: 0.04 }),
};

fn settings(workers: usize) -> Settings {
    Settings {
        workers,
        clips: 2,
        frames: 2,
        grids: GRIDS,
        max_bad_fraction: 0.5,
        judge: true,
        passes: None,
        drop_last: false,
        masks: BatchMasks(None),
    }
}

fn order(n: usize, batch: usize) -> Order {
    Order::new(std::iter::once(0..n).collect(), None, OrderKind::Shuffled, 3, Share { rank: 0, world: 1, batch })
        .unwrap()
}

fn fine(_: Draw) -> Option<Refusal> {
    None
}

fn bad(draw: Draw) -> Option<Refusal> {
    let error = || MediaError::new("AVJ_MEDIA", "the file ends early").with_hint("encode it again");
    (draw.index % 7 == 3).then(|| Refusal::Bad(error()))
}

fn start(n: usize, batch: usize, workers: usize, refuse: fn(Draw) -> Option<Refusal>, cursor: Cursor) -> Loader {
    Loader::start(Synthetic::new(n, refuse), order(n, batch), settings(workers), cursor).unwrap()
}

/// All that must not depend on threads.
fn batches(mut loader: Loader, count: usize) -> Vec<Batch> {
    let one = |_| Batch { wait_ms: 0.0, ..loader.next_batch().unwrap().unwrap() };
    (0..count).map(one).collect()
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let one = batches(start(50, 6, 1, bad, Cursor::default()), 30);
    let four = batches(start(50, 6, 4, bad, Cursor::default()), 30);
    assert_eq!(one, four);
    let events: usize = one.iter().map(|batch| batch.events.len()).sum();
    assert_eq!((events, one[29].counts.bad), (7, 7));
}

#[test]
fn a_cursor_resumes_within_a_pass() {
    let whole = batches(start(50, 6, 3, bad, Cursor::default()), 20);
    assert_eq!(whole[10].next, Cursor { pass: 1, position: 66 });
    let rest = batches(start(50, 6, 2, bad, whole[10].next), 9);
    for (a, b) in whole[11..].iter().zip(&rest) {
        // What was reported before is news to the resumed loader, and it counts from its start.
        let a = Batch { events: vec![], counts: Counts::default(), ..a.clone() };
        let b = Batch { events: vec![], counts: Counts::default(), ..b.clone() };
        assert_eq!(a, b);
    }
}

#[test]
fn rows_are_clip_major_and_lacking_rows_are_zero() {
    let batch = &batches(start(10, 10, 2, fine, Cursor::default()), 1)[0];
    assert_eq!((batch.samples, batch.clips, batch.has_video.len()), (10, 2, 20));
    let Pixels::Bytes(pixels) = &batch.pixels else { panic!("bytes") };
    for row in 0..20 {
        let index = batch.draws[row % 10].index;
        assert_eq!(batch.labels[row % 10], index as i32 * 10);
        assert_eq!(batch.starts[row], if row < 10 { 0.0 } else { 1.0 });
        assert_eq!(batch.has_video[row], index % 5 != 4);
        assert_eq!(pixels[row * 24..(row + 1) * 24].iter().any(|&x| x > 0), index % 5 != 4);
        assert_eq!(batch.frames[row * 2], if index % 5 == 4 { -1 } else { index as i32 });
        let masks = &batch.masks[0];
        let list = masks.offsets[0][row] as usize..masks.offsets[0][row + 1] as usize;
        assert_eq!(masks.lists[0][list], vec![i32::from(row >= 10); index % 3]);
    }
}

#[test]
fn no_sample_is_lost_within_a_pass() {
    for batch in [1, 4, 7, 30] {
        let draws: Vec<Draw> = batches(start(10, batch, 2, fine, Cursor::default()), 70 / batch + 1)
            .into_iter()
            .flat_map(|b| b.draws)
            .collect();
        for pass in 0..draws.len() / 10 {
            let mut seen: Vec<usize> = draws[pass * 10..(pass + 1) * 10].iter().map(|d| d.index).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..10).collect::<Vec<_>>());
        }
    }
}

#[test]
fn passes_end_with_what_is_left() {
    for (drop_last, sizes) in [(false, vec![4, 4, 2]), (true, vec![4, 4])] {
        let settings = Settings { passes: Some(1), drop_last, ..settings(3) };
        let mut loader = Loader::start(Synthetic::new(10, fine), order(10, 4), settings, Cursor::default()).unwrap();
        let got: Vec<usize> = std::iter::from_fn(|| loader.next_batch().unwrap().map(|b| b.samples)).collect();
        assert_eq!(got, sizes);
        assert_eq!(loader.next_batch().unwrap(), None);
    }
}

#[test]
fn nothing_but_bad_files_ends_at_once_naming_them() {
    let all = |_: Draw| Some(Refusal::Bad(MediaError::new("AVJ_MEDIA", "not a video")));
    for fraction in [0.0, 0.05, 1.0] {
        for n in [1, 3, 100_000] {
            let settings = Settings { max_bad_fraction: fraction, ..settings(4) };
            let mut loader = Loader::start(Synthetic::new(n, all), order(n, 8), settings, Cursor::default()).unwrap();
            let error = loader.next_batch().unwrap_err();
            assert_eq!(error.code, "AVJ_BAD_FILES");
            assert!(error.message.contains(".mp4: not a video"), "{}", error.message);
            assert_eq!(loader.next_batch().unwrap_err(), error);
        }
    }
}

#[test]
fn too_many_bad_files_end_the_run_at_the_same_batch_for_any_threads() {
    let end = |workers| {
        let settings = Settings { max_bad_fraction: 0.1, ..settings(workers) };
        let mut loader = Loader::start(Synthetic::new(70, bad), order(70, 4), settings, Cursor::default()).unwrap();
        let mut batches = 0;
        loop {
            match loader.next_batch() {
                Ok(_) => batches += 1,
                Err(error) => return (batches, error),
            }
        }
    };
    let (batches, error) = end(1);
    assert!(batches > 3);
    assert!(error.message.starts_with("8 of"), "{}", error.message);
    assert_eq!(end(4), (batches, error));
}

#[test]
fn another_may_judge() {
    let settings = Settings { max_bad_fraction: 0.1, judge: false, ..settings(2) };
    let mut loader = Loader::start(Synthetic::new(70, bad), order(70, 4), settings, Cursor::default()).unwrap();
    for _ in 0..40 {
        loader.next_batch().unwrap();
    }
    assert!(loader.files().verdict().is_some());
}

#[test]
fn unwanted_files_are_replaced_without_counting_as_bad() {
    let silent = |draw: Draw| {
        let note = Note { kind: EventKind::MissingAudio, reason: "no audio".to_owned() };
        draw.index.is_multiple_of(2).then_some(Refusal::Unwanted(note))
    };
    let settings = Settings { max_bad_fraction: 0.0, ..settings(2) };
    let mut loader = Loader::start(Synthetic::new(20, silent), order(20, 20), settings, Cursor::default()).unwrap();
    let batch = loader.next_batch().unwrap().unwrap();
    assert!(batch.draws.iter().all(|draw| draw.index % 2 == 1));
    assert_eq!((batch.counts.missing_audio, batch.counts.bad), (10, 0));
    let none = |_: Draw| Some(Refusal::Unwanted(Note { kind: EventKind::MissingAudio, reason: "no audio".to_owned() }));
    let error = start(20, 4, 2, none, Cursor::default()).next_batch().unwrap_err();
    assert!(error.message.contains("0 bad, 20 left out"), "{}", error.message);
}

#[test]
fn fatal_errors_and_panics() {
    let fatal =
        |draw: Draw| (draw.index == 5).then(|| Refusal::Fatal(MediaError::new("AVJ_MEDIA_LIBRARY", "no FFmpeg")));
    let mut loader = start(10, 10, 2, fatal, Cursor::default());
    let error = loader.next_batch().unwrap_err();
    assert_eq!((error.code, error.path.unwrap().to_str().unwrap()), ("AVJ_MEDIA_LIBRARY", "5.mp4"));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let panics = |draw: Draw| if draw.index == 5 { panic!("index out of bounds") } else { None };
    let batch = start(10, 10, 2, panics, Cursor::default()).next_batch();
    std::panic::set_hook(hook);
    assert!(batch.unwrap().unwrap().events[0].reason.contains("a bug: index out of bounds"));
}

#[test]
fn closing_ends_threads_and_a_waiting_reader() {
    let slow = |_: Draw| {
        thread::sleep(Duration::from_millis(30));
        None
    };
    let source = Synthetic::new(1000, slow);
    let running = source.running.clone();
    let mut loader = Loader::start(source, order(1000, 500), settings(4), Cursor::default()).unwrap();
    let stopper = loader.stopper();
    let waiting = thread::spawn(move || loader.next_batch().map(|_| ()));
    thread::sleep(Duration::from_millis(20));
    stopper.stop();
    assert_eq!(waiting.join().unwrap().unwrap_err().code, "AVJ_CLOSED");
    let since = Instant::now();
    while running.load(Ordering::SeqCst) > 0 && since.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(running.load(Ordering::SeqCst), 0);
}

#[test]
fn settings_are_read_from_json() {
    let json = r#"{ "data": { "datasets": ["a.csv"], "num_clips": 2, "audio": { "preset": "reference" }, "held_out": [],
        "modalities": ["video"], "missing_audio": "skip", "mask_type": "random_tube" },
        "mask": [{ "ratio": 0.9, "audio_scale": [0.5, 0.5] }], "batch": 4, "cursor": { "pass": 1, "position": 8 } }"#;
    let config = LoaderConfig::from_json(json).unwrap();
    assert_eq!((config.data.num_clips, config.batch, config.position.position), (2, 4, 8));
    assert_eq!(config.mask_configs()[0].ratio, 0.9);
    let error = LoaderConfig::from_json(r#"{ "data": { "missing_audio": "no" } }"#).unwrap_err();
    assert!(error.code == "AVJ_CONFIG" && error.message.contains("unknown variant `no`"), "{}", error.message);
    let wrong = LoaderConfig {
        batch: 1,
        data: DataConfig { crop_size: 100, ..DataConfig::default() },
        ..LoaderConfig::default()
    };
    assert!(wrong.validate().unwrap_err().message.contains("crop_size 100 is not divisible"));
}
