//! From a track's rate to another.

use super::track::Cut;
use crate::error::{MediaError, Result};
use audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};
use std::cell::RefCell;
use std::ops::Range;

/// Input samples a block, at least. The pass band ends at about 1 − 14/(output samples a block) of the lower Nyquist frequency:
/// at 98 % when 48 kHz become 16 kHz.
const BLOCK: usize = 2048;

/// Plans made so far on this thread that are kept.
const KEPT: usize = 4;

struct Plan {
    rates: (u32, u32),
    fft: Fft<f32>,
}

impl Plan {
    fn new(from: u32, to: u32) -> Result<Self> {
        // The filter's delay is half a block: a whole number of samples at both rates only if blocks hold even ones.
        let unit = 2 * (from / gcd(from, to)) as usize;
        let block = BLOCK.div_ceil(unit) * unit;
        let window = WindowFunction::BlackmanHarris2;
        let fft = Fft::new_custom(from as usize, to as usize, block, 1, 1, window, FixedSync::Both);
        Ok(Self { rates: (from, to), fft: fft.map_err(|error| failed(from, to, &error.to_string()))? })
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

thread_local! {
    static PLANS: RefCell<Vec<Plan>> = const { RefCell::new(Vec::new()) };
}

/// The samples `wanted` at rate `to` of a track that `read` gives at rate `from`; sample 0 is the same instant at both.
///
/// The track is cut into blocks that do not depend on `wanted`, so that a sample is the same bit for bit whichever window
/// it is read by.
pub(super) fn resampled(
    from: u32,
    to: u32,
    wanted: Range<i64>,
    read: impl FnOnce(Range<i64>) -> Result<Cut>,
) -> Result<Cut> {
    PLANS.with_borrow_mut(|plans| {
        let at = match plans.iter().position(|plan| plan.rates == (from, to)) {
            Some(at) => at,
            None => {
                if plans.len() == KEPT {
                    plans.remove(0);
                }
                plans.push(Plan::new(from, to)?);
                plans.len() - 1
            }
        };
        run(&mut plans[at], wanted, read)
    })
}

fn run(plan: &mut Plan, wanted: Range<i64>, read: impl FnOnce(Range<i64>) -> Result<Cut>) -> Result<Cut> {
    let (block_in, block_out) = (plan.fft.fft_size_in() as i64, plan.fft.fft_size_out() as i64);
    // An output sample depends on its own block and, by half a block each way, on its neighbours.
    let first = wanted.start.div_euclid(block_out) - 1;
    let last = wanted.end.div_euclid(block_out) + 2;
    let input = read(first.saturating_mul(block_in)..last.saturating_mul(block_in))?;

    let (from, to) = plan.rates;
    let (rate_in, rate_out) = (i128::from(from), i128::from(to));
    let at_out = |end: i64| (i128::from(end) * rate_out + rate_in - 1).div_euclid(rate_in) as i64;
    let end = input.end.map(at_out).filter(|end| *end < wanted.end);
    let count = (end.unwrap_or(wanted.end) - wanted.start).max(0) as usize;
    if count == 0 {
        return Ok(Cut { samples: Vec::new(), end });
    }
    let fail = |error: &dyn std::fmt::Display| failed(from, to, &error.to_string());
    let adapter = SequentialSlice::new(&input.samples, 1, input.samples.len()).map_err(|e| fail(&e))?;
    let output = plan.fft.process_all(&adapter, input.samples.len(), None).map_err(|e| fail(&e))?;
    let mut samples = output.take_data();
    samples.drain(..(wanted.start - first * block_out) as usize);
    samples.resize(count, 0.0);
    Ok(Cut { samples, end })
}

fn failed(from: u32, to: u32, why: &str) -> MediaError {
    MediaError::new("AVJ_AUDIO", format!("sound cannot be resampled from {from} to {to} Hz: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    /// A track of `len` samples.
    fn track(len: i64, sample: impl Fn(i64) -> f64) -> impl Fn(Range<i64>) -> Result<Cut> {
        move |range| {
            let end = (len < range.end).then_some(len);
            let inside = |n: &i64| *n >= 0;
            let samples = (range.start..range.end.min(len)).map(|n| if inside(&n) { sample(n) as f32 } else { 0.0 });
            Ok(Cut { samples: samples.collect(), end })
        }
    }

    #[test]
    fn a_tone_stays_what_and_where_it_is() {
        for (from, to) in [
            (48000, 16000),
            (44100, 16000),
            (8000, 16000),
            (22050, 16000),
            (96000, 16000),
            (11025, 48000),
            (44101, 16000),
        ] {
            let tone = |t: f64| 0.5 * (TAU * 1234.5 * t).sin();
            let source = track(i64::from(from) * 2, |n| tone(n as f64 / f64::from(from)));
            let start = i64::from(to) / 3;
            let cut = resampled(from, to, start..start + i64::from(to), &source).unwrap();
            assert_eq!((cut.samples.len(), cut.end), (to as usize, None));
            for (n, y) in cut.samples.iter().enumerate() {
                let t = (start + n as i64) as f64 / f64::from(to);
                assert!((f64::from(*y) - tone(t)).abs() < 1e-4, "{from} to {to}, sample {n}: {y} not {}", tone(t));
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_gone() {
        let source = track(96000, |n| (TAU * 8600.0 * n as f64 / 48000.0).sin());
        let cut = resampled(48000, 16000, 8000..16000, &source).unwrap();
        let worst = cut.samples.iter().fold(0.0f32, |worst, y| worst.max(y.abs()));
        assert!(worst < 1e-4, "{worst}");
    }

    #[test]
    fn windows_are_slices_of_the_whole() {
        for (from, to) in [(44100, 16000), (48000, 16000), (8000, 16000), (22050, 32000)] {
            let noise = |n: i64| ((n.wrapping_mul(0x9e37_79b9_7f4a_7c15u64 as i64) >> 40) as f64) / 8.4e6;
            let source = track(100_000, noise);
            let whole = resampled(from, to, 0..i64::MAX / 1_000_000, &source).unwrap();
            let expected = (100_000 * u64::from(to)).div_ceil(u64::from(from)) as usize;
            assert_eq!((whole.samples.len(), whole.end), (expected, Some(expected as i64)));
            for start in [0, 1, 700, 5001, expected - 300] {
                let cut = resampled(from, to, start as i64..start as i64 + 4000, &source).unwrap();
                let end = expected.min(start + 4000);
                assert!(cut.samples == whole.samples[start..end], "{from} to {to} from {start}");
            }
        }
    }

    #[test]
    fn windows_outside_the_track() {
        let source = track(480, |_| 1.0);
        let before = resampled(48000, 16000, -1000..-900, &source).unwrap();
        assert_eq!((before.samples.len(), before.end), (100, None));
        assert!(before.samples.iter().all(|x| x.abs() < 1e-6));
        assert_eq!(resampled(48000, 16000, 200..300, &source).unwrap(), Cut { samples: vec![], end: Some(160) });
        assert_eq!(resampled(48000, 16000, 100..300, &source).unwrap().samples.len(), 60);
    }
}
