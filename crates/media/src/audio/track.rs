//! What reads a track, and the buffer that collects a piece of it.

use crate::error::Result;
use std::ops::Range;

/// An open audio track. Its samples are numbered from its first one; negative numbers lie before it and are silent.
pub(super) trait Track {
    /// Samples a second.
    fn rate(&self) -> u32;

    /// Time of sample 0 in seconds on the file's clock.
    fn origin_s(&self) -> f64;

    /// The samples of `range`, mixed down to one channel.
    fn read(&mut self, range: Range<i64>) -> Result<Cut>;
}

/// The samples of a range as far as the track goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cut {
    /// From the range's start on.
    pub samples: Vec<f32>,
    /// Number of the first sample past the end of the track, where that lies before the end of the range.
    pub end: Option<i64>,
}

/// Collects blocks of samples by their numbers. Where none came is silence.
pub(super) struct Collector {
    range: Range<i64>,
    samples: Vec<f32>,
    /// First number past all blocks so far.
    reached: i64,
}

impl Collector {
    pub fn new(range: Range<i64>) -> Self {
        Self { range, samples: Vec::new(), reached: 0 }
    }

    pub fn push(&mut self, position: i64, block: &[f32]) {
        let end = position + block.len() as i64;
        self.reached = self.reached.max(end);
        let (from, to) = (position.max(self.range.start), end.min(self.range.end));
        if from >= to {
            return;
        }
        let (at, until) = ((from - self.range.start) as usize, (to - self.range.start) as usize);
        if self.samples.len() < until {
            self.samples.resize(until, 0.0);
        }
        self.samples[at..until].copy_from_slice(&block[(from - position) as usize..(to - position) as usize]);
    }

    /// Whether blocks from `position` on are past the range.
    pub fn is_past(&self, position: i64) -> bool {
        position >= self.range.end
    }

    /// Whether the range is covered to its end.
    pub fn is_full(&self) -> bool {
        self.reached >= self.range.end
    }

    pub fn reached(&self) -> i64 {
        self.reached
    }

    /// What was collected; `ended` when the track has no more to give.
    pub fn finish(mut self, ended: bool) -> Cut {
        let end = (ended && self.reached < self.range.end).then_some(self.reached);
        let len = (end.unwrap_or(self.range.end) - self.range.start).max(0) as usize;
        self.samples.resize(len, 0.0);
        Cut { samples: self.samples, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(range: Range<i64>, blocks: &[(i64, &[f32])], ended: bool) -> Cut {
        let mut collector = Collector::new(range);
        blocks.iter().for_each(|(position, block)| collector.push(*position, block));
        collector.finish(ended)
    }

    #[test]
    fn blocks_are_cut_to_the_range() {
        let blocks: &[(i64, &[f32])] = &[(0, &[1.0, 2.0, 3.0]), (3, &[4.0, 5.0]), (5, &[6.0])];
        assert_eq!(collect(1..5, blocks, false), Cut { samples: vec![2.0, 3.0, 4.0, 5.0], end: None });
        assert_eq!(collect(4..9, blocks, true), Cut { samples: vec![5.0, 6.0], end: Some(6) });
        assert_eq!(collect(8..9, blocks, true), Cut { samples: vec![], end: Some(6) });
        assert_eq!(collect(2..2, blocks, true), Cut::default());
    }

    #[test]
    fn what_is_not_there_is_silent() {
        let blocks: &[(i64, &[f32])] = &[(0, &[1.0]), (3, &[4.0])];
        assert_eq!(collect(-2..4, blocks, true).samples, [0.0, 0.0, 1.0, 0.0, 0.0, 4.0]);
        assert_eq!(collect(-3..-1, blocks, false), Cut { samples: vec![0.0, 0.0], end: None });
    }
}
