//! Which frames make a clip.
//!
//! [`reference_clip_indices`] reproduces the reference's indices from numpy's stream, its uneven step and its
//! never-drawn last start included. [`ClipSampling`] is the default: an exact step, every start equally likely, the
//! last one too, and a short video repeats its last frame and says so.

use crate::error::{MediaError, Result};
use crate::random::{NumpyRng, SampleRng};

/// Containers round presentation times, some to whole milliseconds: a frame counts as on screen this early (seconds).
const TIME_SLACK: f64 = 0.002;

/// What the reference's loader is asked for. Frames are counted from 0 in presentation order.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceClipSampling {
    pub frames_per_clip: usize,
    pub frame_step: usize,
    /// Seconds; if given, the step is ⌊duration·fps/frames_per_clip⌋ and `frame_step` does not count.
    pub duration: Option<f64>,
    pub num_clips: usize,
    pub allow_overlap: bool,
    /// Random rather than leading clips, where the video is longer than them.
    pub random: bool,
}

/// Frame indices `[num_clips][frames_per_clip]` of a video of `num_frames` frames at `fps`, as the reference chooses them.
///
/// With n frames a clip, step s, C = n·s, K clips and P = ⌊frames/K⌋: if P > C, n points from a start to start + C
/// inclusive, cut to the last frame before the end; else the same over the part (or, with overlap, over the video), every
/// s-th frame, its last frame filling up.
///
/// # Errors
/// `AVJ_CLIP` where the reference would fail: a frame outside the video, or a step of 0.
pub fn reference_clip_indices(
    sampling: &ReferenceClipSampling,
    num_frames: usize,
    fps: f64,
    rng: &mut NumpyRng,
) -> Result<Vec<Vec<i64>>> {
    let ReferenceClipSampling { frames_per_clip: n, num_clips: clips, .. } = *sampling;
    if n == 0 || clips == 0 {
        return Err(error(format!("{clips} clips of {n} frames"), "set data.num_clips and data.num_frames above 0"));
    }
    let step = match sampling.duration {
        Some(duration) => (duration * fps / n as f64) as i64,
        None => sampling.frame_step as i64,
    };
    let total = num_frames as i64;
    let (span, part) = (n as i64 * step, total / clips as i64);
    let mut indices = Vec::with_capacity(clips);
    for i in 0..clips as i64 {
        let clip: Vec<i64> = if part > span {
            let end = if sampling.random { rng.randint(span, part) } else { span };
            let start = end - span;
            let points = linspace(start as f64, end as f64, n);
            points.map(|x| truncated(x, start, end - 1) + i * part).collect()
        } else {
            let (last, offset) = if sampling.allow_overlap {
                let spare = total - span;
                (span.min(total) - 1, if spare > 0 { spare / (clips as i64 - 1) } else { 0 })
            } else {
                (part, part)
            };
            let Some(points) = last.checked_div(step).filter(|&m| (0..=n as i64).contains(&m)) else {
                return Err(too_short(num_frames));
            };
            let filled = linspace(0.0, last as f64, points as usize).chain(std::iter::repeat(last as f64));
            filled.take(n).map(|x| truncated(x, 0, last - 1) + i * offset).collect()
        };
        if clip.iter().any(|index| !(0..total).contains(index)) {
            return Err(too_short(num_frames));
        }
        indices.push(clip);
    }
    Ok(indices)
}

/// numpy's `linspace(start, stop, count)`, stop included.
fn linspace(start: f64, stop: f64, count: usize) -> impl Iterator<Item = f64> {
    let step = (stop - start) / (count.max(2) - 1) as f64;
    (0..count).map(move |i| if i > 0 && i + 1 == count { stop } else { i as f64 * step + start })
}

/// `clip(x, low, high)` as an integer; `high` wins over `low`.
fn truncated(x: f64, low: i64, high: i64) -> i64 {
    x.max(low as f64).min(high as f64) as i64
}

/// How clips are chosen by default.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipSampling {
    pub frames_per_clip: usize,
    pub step: ClipStep,
    pub num_clips: usize,
    /// With overlap, clips are spread evenly over the video, from its first frame to its last. Without, each of
    /// `num_clips` equal parts of the video gives one clip.
    pub allow_overlap: bool,
    /// A random start within the part rather than its beginning.
    pub random: bool,
}

/// The distance of neighbouring frames of a clip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ClipStep {
    /// Every `n`-th frame.
    Frames(usize),
    /// A clip of this many seconds: frames at equal distances in presentation time, whatever the frame rate does.
    Seconds(f64),
}

/// The frames of one clip.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClipFrames {
    /// Ascending frame numbers, `frames_per_clip` of them.
    pub indices: Vec<usize>,
    /// How many of them repeat the last frame because the video (or its part) ended early.
    pub repeated: usize,
}

impl ClipSampling {
    /// The clips of one video. `times` are its frames' presentation times in seconds, ascending.
    ///
    /// # Errors
    /// `AVJ_CLIP` if the video has no frame, a part would have none, or a count, step or time is unusable.
    pub fn sample(&self, times: &[f64], rng: &mut SampleRng) -> Result<Vec<ClipFrames>> {
        self.validate()?;
        if times.len() < if self.allow_overlap { 1 } else { self.num_clips } {
            return Err(too_short(times.len()));
        }
        if !times.is_sorted() || times.iter().any(|t| !t.is_finite()) {
            return Err(error("presentation times are not ascending", "re-mux the file, e.g. with ffmpeg -c copy"));
        }
        let part = times.len() / self.num_clips;
        let clips = (0..self.num_clips).map(|i| {
            if self.allow_overlap {
                let last_start = self.last_start(times);
                let start = match self.num_clips {
                    1 if self.random => rng.index(last_start + 1),
                    1 => 0,
                    clips => (i * last_start + (clips - 1) / 2) / (clips - 1),
                };
                self.clip_from(times, start)
            } else {
                let first = i * part;
                let times = &times[first..first + part];
                let start = if self.random { rng.index(self.last_start(times) + 1) } else { 0 };
                let mut clip = self.clip_from(times, start);
                clip.indices.iter_mut().for_each(|index| *index += first);
                clip
            }
        });
        Ok(clips.collect())
    }

    /// Whether a video has enough frames, or lasts long enough, for a clip without repeated frames: what
    /// `filter_short_videos` asks.
    pub fn fits(&self, times: &[f64]) -> bool {
        !times.is_empty() && self.clip_from(times, 0).repeated == 0
    }

    fn validate(&self) -> Result<()> {
        let Self { frames_per_clip, num_clips, step, .. } = *self;
        if frames_per_clip == 0 || num_clips == 0 {
            let message = format!("{num_clips} clips of {frames_per_clip} frames");
            return Err(error(message, "set data.num_clips and data.num_frames above 0"));
        }
        match step {
            ClipStep::Frames(0) => Err(error("a frame step of 0", "set data.sampling_rate to 1 or more")),
            ClipStep::Seconds(s) if !(s.is_finite() && s > 0.0) => {
                Err(error(format!("a clip of {s} seconds"), "set data.clip_duration above 0, or null"))
            }
            _ => Ok(()),
        }
    }

    /// The last start from which a clip needs no repeated frame; 0 if there is none.
    fn last_start(&self, times: &[f64]) -> usize {
        let steps = self.frames_per_clip - 1;
        match self.step {
            ClipStep::Frames(step) => times.len().saturating_sub(steps * step + 1),
            ClipStep::Seconds(duration) => {
                let span = steps as f64 * duration / self.frames_per_clip as f64;
                let latest = times[times.len() - 1] - span + TIME_SLACK;
                times.partition_point(|&t| t <= latest).saturating_sub(1)
            }
        }
    }

    fn clip_from(&self, times: &[f64], start: usize) -> ClipFrames {
        let last = times.len() - 1;
        let mut clip = ClipFrames::default();
        for k in 0..self.frames_per_clip {
            let (index, past_end) = match self.step {
                ClipStep::Frames(step) => (start + k * step, start + k * step > last),
                ClipStep::Seconds(duration) => {
                    let t = times[start] + k as f64 * duration / self.frames_per_clip as f64 + TIME_SLACK;
                    // Past the end once the last frame has been on screen as long as the one before it.
                    let interval = if last > 0 { times[last] - times[last - 1] } else { 0.0 };
                    (
                        times.partition_point(|&shown| shown <= t).max(1) - 1,
                        k > 0 && t >= times[last] + interval.max(2.0 * TIME_SLACK),
                    )
                }
            };
            clip.indices.push(index.min(last));
            clip.repeated += usize::from(past_end);
        }
        clip
    }
}

fn too_short(num_frames: usize) -> MediaError {
    let message = format!("{num_frames} frames are too few for the clips asked for");
    error(message, "lower data.num_clips, data.num_frames or data.sampling_rate, or drop the video")
}

fn error(message: impl Into<String>, hint: &str) -> MediaError {
    MediaError::new("AVJ_CLIP", message).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::Purpose;

    fn rng(index: u64) -> SampleRng {
        SampleRng::new(0, 0, index, Purpose::Clip)
    }

    fn frames(n: usize, step: usize) -> ClipSampling {
        let step = ClipStep::Frames(step);
        ClipSampling { frames_per_clip: n, step, num_clips: 1, allow_overlap: false, random: true }
    }

    fn constant_rate(frames: usize, fps: f64) -> Vec<f64> {
        (0..frames).map(|i| i as f64 / fps).collect()
    }

    #[test]
    fn every_start_is_drawn_the_last_included() {
        let times = constant_rate(66, 30.0);
        let mut seen = [0; 6];
        for index in 0..600 {
            let clip = &frames(16, 4).sample(&times, &mut rng(index)).unwrap()[0];
            assert!(clip.indices.windows(2).all(|w| w[1] - w[0] == 4) && clip.repeated == 0);
            seen[clip.indices[0]] += 1;
        }
        // 66 - (15*4 + 1) = 5 is the last start: frame 65 is used.
        assert!(seen.iter().all(|&count| count > 60), "{seen:?}");
    }

    #[test]
    fn a_short_video_repeats_its_last_frame() {
        let clip = &frames(8, 2).sample(&constant_rate(5, 25.0), &mut rng(0)).unwrap()[0];
        assert_eq!(clip.indices, [0, 2, 4, 4, 4, 4, 4, 4]);
        assert_eq!(clip.repeated, 5);
        assert!(!frames(8, 2).fits(&constant_rate(14, 25.0)) && frames(8, 2).fits(&constant_rate(15, 25.0)));
        assert!(frames(8, 2).sample(&[], &mut rng(0)).is_err());
    }

    #[test]
    fn seconds_follow_presentation_times() {
        let seconds = |n, s| ClipSampling { step: ClipStep::Seconds(s), random: false, ..frames(n, 1) };
        // Rounded to milliseconds, as in Matroska: still every fourth frame.
        let rounded: Vec<f64> = constant_rate(70, 30.0).iter().map(|t| (t * 1000.0).round() / 1000.0).collect();
        let clip = &seconds(16, 64.0 / 30.0).sample(&rounded, &mut rng(0)).unwrap()[0];
        assert_eq!(clip.indices, (0..16).map(|k| k * 4).collect::<Vec<_>>());
        // A gap: the frame before it stays on screen.
        let gap = [0.0, 0.1, 0.2, 0.8, 0.9, 1.0];
        let clip = &seconds(5, 1.0).sample(&gap, &mut rng(0)).unwrap()[0];
        assert_eq!((&clip.indices[..], clip.repeated), (&[0, 2, 2, 2, 3][..], 0));
        // The end: the last frame lasts one interval, then it repeats.
        let clip = &seconds(5, 1.0).sample(&[0.0, 0.2, 0.4], &mut rng(0)).unwrap()[0];
        assert_eq!((&clip.indices[..], clip.repeated), (&[0, 1, 2, 2, 2][..], 2));
    }

    #[test]
    fn overlapping_clips_reach_both_ends() {
        let spread = ClipSampling { num_clips: 3, allow_overlap: true, ..frames(4, 2) };
        let clips = spread.sample(&constant_rate(12, 25.0), &mut rng(0)).unwrap();
        let starts: Vec<usize> = clips.iter().map(|clip| clip.indices[0]).collect();
        assert_eq!(starts, [0, 3, 5]);
        assert_eq!(clips[2].indices[3], 11);
    }

    proptest! {
        #[test]
        fn clips_stay_in_the_video(
            n in 1..20_usize, step in 1..9_usize, clips in 1..5_usize, overlap in any::<bool>(), random in any::<bool>(),
            length in 1..200_usize, by_time in any::<bool>(), seed in any::<u64>()
        ) {
            let step = if by_time { ClipStep::Seconds((n * step) as f64 / 25.0) } else { ClipStep::Frames(step) };
            let sampling = ClipSampling { frames_per_clip: n, step, num_clips: clips, allow_overlap: overlap, random };
            let Ok(sampled) = sampling.sample(&constant_rate(length, 25.0), &mut rng(seed)) else {
                prop_assert!(!overlap && length < clips);
                return Ok(());
            };
            prop_assert_eq!(sampled.len(), clips);
            for clip in sampled {
                prop_assert_eq!(clip.indices.len(), n);
                prop_assert!(clip.indices.is_sorted() && *clip.indices.last().unwrap() < length);
                prop_assert!(clip.repeated < n);
            }
        }

        #[test]
        fn the_reference_never_panics(
            n in 0..20_usize, step in 0..9_usize, clips in 0..5_usize, overlap in any::<bool>(), random in any::<bool>(),
            length in 0..200_usize, duration in proptest::option::of(0.0..4.0_f64), fps in 0.0..60.0_f64
        ) {
            let sampling = ReferenceClipSampling {
                frames_per_clip: n, frame_step: step, duration, num_clips: clips, allow_overlap: overlap, random,
            };
            if let Ok(sampled) = reference_clip_indices(&sampling, length, fps, &mut NumpyRng::new(0)) {
                prop_assert!(sampled.iter().flatten().all(|&i| i >= 0 && i < length as i64));
            }
        }
    }
}
