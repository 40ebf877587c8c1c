//! Which files could not be used, and when they are too many.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::MediaError;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Broken, and replaced by another file.
    Bad,
    /// Without sound: masked or left out.
    MissingAudio,
    /// Nothing but zeros for as long as the clip lasts: masked or left out.
    Silent,
    /// Without picture: masked or left out.
    MissingVideo,
    /// Shorter than a clip: its last frame repeated, or left out.
    Short,
}

impl EventKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::MissingAudio => "missing_audio",
            Self::Silent => "silent",
            Self::MissingVideo => "missing_video",
            Self::Short => "short",
        }
    }
}

/// News of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    pub index: usize,
    pub path: PathBuf,
    pub reason: String,
    /// Whether another file took its place.
    pub replaced: bool,
}

/// Distinct files so far, on this rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub tried: usize,
    pub bad: usize,
    pub missing_audio: usize,
    pub silent: usize,
    pub missing_video: usize,
    pub short: usize,
}

/// The ledger of the files tried so far, kept in the order in which samples are delivered.
///
/// The run ends once the bad files are more than `max_fraction` of the *whole* index, which no good file to come could
/// undo, or so many of those tried that it is beyond chance: more than f·n + 4·√(n·f·(1−f)) + 8 of n, with f the
/// fraction. So a first bad file does not end the run, and an index of nothing but bad files ends it within a dozen.
#[derive(Debug)]
pub struct BadFiles {
    total: usize,
    max_fraction: f64,
    tried: Vec<u64>,
    tried_count: usize,
    files: BTreeMap<(usize, u8), Event>,
    counts: Counts,
}

impl BadFiles {
    pub fn new(total: usize, max_fraction: f64) -> Self {
        let tried = vec![0; total.div_ceil(64)];
        Self { total, max_fraction, tried, tried_count: 0, files: BTreeMap::new(), counts: Counts::default() }
    }

    /// Counts a file that was opened. Again is no news.
    pub fn tried(&mut self, index: usize) {
        let (word, bit) = (&mut self.tried[index / 64], 1 << (index % 64));
        if *word & bit == 0 {
            *word |= bit;
            self.tried_count += 1;
        }
    }

    /// Enters an event. Whether it is news: the first of its kind for its file.
    pub fn enter(&mut self, event: &Event) -> bool {
        let key = (event.index, event.kind as u8);
        if self.files.contains_key(&key) {
            return false;
        }
        match event.kind {
            EventKind::Bad => self.counts.bad += 1,
            EventKind::MissingAudio => self.counts.missing_audio += 1,
            EventKind::Silent => self.counts.silent += 1,
            EventKind::MissingVideo => self.counts.missing_video += 1,
            EventKind::Short => self.counts.short += 1,
        }
        self.files.insert(key, event.clone());
        true
    }

    pub fn counts(&self) -> Counts {
        Counts { tried: self.tried_count, ..self.counts }
    }

    /// All events so far, by sample.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.files.values()
    }

    /// Whether `bad` distinct bad files among `tried` end a run.
    pub fn too_many(&self, bad: usize, tried: usize) -> bool {
        let (bad, n, f) = (bad as f64, tried as f64, self.max_fraction);
        bad > f * self.total as f64 || bad > f * n + 4.0 * (n * f * (1.0 - f)).sqrt() + 8.0
    }

    /// The error that ends the run, once there are too many.
    pub fn verdict(&self) -> Option<MediaError> {
        self.too_many(self.counts.bad, self.tried_count).then(|| {
            let bad = self.events().filter(|event| event.kind == EventKind::Bad);
            self.too_many_error(bad, self.counts.bad, self.tried_count)
        })
    }

    /// The error for these bad files.
    pub fn too_many_error<'e>(&self, events: impl Iterator<Item = &'e Event>, bad: usize, tried: usize) -> MediaError {
        const SHOWN: usize = 5;
        let mut message = format!("{bad} of {tried} files tried so far are bad ({} in all):", self.total);
        for event in events.take(SHOWN) {
            message += &format!("\n{}", describe(&event.path, &event.reason));
        }
        if bad > SHOWN {
            message += &format!("\nand {} more", bad - SHOWN);
        }
        let remedy = "mend the files or take them out of the index (`bun run doctor INDEX.csv` lists them all)";
        MediaError::new("AVJ_BAD_FILES", message).with_hint(match self.max_fraction {
            fraction if fraction < 1.0 => {
                format!("the run stops past data.max_bad_fraction = {fraction}; {remedy}, or raise it")
            }
            _ => format!("there is no good file to take their place; {remedy}"),
        })
    }
}

/// `path: reason`, once.
fn describe(path: &Path, reason: &str) -> String {
    let path = path.display().to_string();
    if reason.starts_with(&path) { reason.to_owned() } else { format!("{path}: {reason}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(files: &mut BadFiles, index: usize, kind: EventKind) -> bool {
        files.tried(index);
        let path = format!("{index}.mp4").into();
        files.enter(&Event { kind, index, path, reason: "cut".to_owned(), replaced: true })
    }

    #[test]
    fn files_count_once() {
        let mut files = BadFiles::new(100, 0.05);
        assert!(enter(&mut files, 3, EventKind::Bad) && !enter(&mut files, 3, EventKind::Bad));
        assert!(enter(&mut files, 3, EventKind::Short));
        files.tried(64);
        assert_eq!(files.counts(), Counts { tried: 2, bad: 1, short: 1, ..Counts::default() });
    }

    #[test]
    fn ends_when_past_the_fraction_of_the_index() {
        let mut files = BadFiles::new(100, 0.05);
        for index in 0..5 {
            enter(&mut files, index, EventKind::Bad);
            assert_eq!(files.verdict(), None, "{index}");
        }
        for index in 10..20 {
            enter(&mut files, index, EventKind::MissingAudio);
        }
        assert_eq!(files.verdict(), None);
        enter(&mut files, 5, EventKind::Bad);
        let error = files.verdict().unwrap();
        assert!(error.message.contains("6 of 16 files") && error.message.contains("0.mp4: cut"), "{}", error.message);
        assert!(error.message.contains("and 1 more") && error.hint.unwrap().contains("max_bad_fraction = 0.05"));
    }

    #[test]
    fn a_bad_start_is_no_verdict_and_nothing_but_bad_files_is() {
        let mut files = BadFiles::new(1_000_000, 0.05);
        files.tried(900);
        files.tried(901);
        enter(&mut files, 0, EventKind::Bad);
        assert_eq!(files.verdict(), None);
        let ended = (1..100).find(|&index| {
            enter(&mut files, index, EventKind::Bad);
            files.verdict().is_some()
        });
        assert!((5..20).contains(&ended.unwrap()), "{ended:?}");
    }

    #[test]
    fn the_ends_of_the_scale() {
        let mut none = BadFiles::new(1000, 0.0);
        none.tried(1);
        assert_eq!(none.verdict(), None);
        enter(&mut none, 0, EventKind::Bad);
        assert!(none.verdict().is_some());
        let mut all = BadFiles::new(10, 1.0);
        (0..10).for_each(|index| assert!(enter(&mut all, index, EventKind::Bad)));
        assert_eq!(all.verdict(), None);
        let hint = all.too_many_error(all.events(), 10, 10).hint.unwrap();
        assert!(hint.contains("no good file") && !hint.contains("raise"), "{hint}");
    }
}
