//! Where random resized crops lie.

use super::Draws;

/// Tries before the central crop is taken.
const TRIES: usize = 10;

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropBox {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

/// A random box in a frame: its share of the area uniform in `scale`, its width over height log-uniform in `ratio`, its
/// place uniform. After ten boxes that do not fit, the largest central one within `ratio`.
pub fn random_resized_crop(
    height: usize,
    width: usize,
    scale: [f64; 2],
    ratio: [f64; 2],
    draws: &mut impl Draws,
) -> CropBox {
    let area = (height * width) as f64;
    for _ in 0..TRIES {
        let target = draws.uniform(scale) * area;
        let aspect = draws.uniform(ratio.map(f64::ln)).exp();
        let w = (target * aspect).sqrt().round_ties_even() as usize;
        let h = (target / aspect).sqrt().round_ties_even() as usize;
        // The reference draws here whether to swap the sides, and never does.
        draws.numpy_uniform();
        if 0 < w && w <= width && 0 < h && h <= height {
            let top = draws.randint(0, (height - h) as i64) as usize;
            let left = draws.randint(0, (width - w) as i64) as usize;
            return CropBox { top, left, height: h, width: w };
        }
    }
    let aspect = width as f64 / height as f64;
    let [low, high] = [ratio[0].min(ratio[1]), ratio[0].max(ratio[1])];
    let (h, w) = if aspect < low {
        ((width as f64 / low).round_ties_even() as usize, width)
    } else if aspect > high {
        (height, (height as f64 * high).round_ties_even() as usize)
    } else {
        (height, width)
    };
    let (h, w) = (h.clamp(1, height), w.clamp(1, width));
    CropBox { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
}

/// `frames` boxes that move from `first` to `last`: each side interpolated linearly in float32, then truncated.
pub fn motion_boxes(first: CropBox, last: CropBox, frames: usize) -> Vec<CropBox> {
    let between = |from: usize, to: usize, t: usize| {
        let (from, to) = (from as f32, to as f32);
        if frames < 2 {
            return from as usize;
        }
        let step = (to - from) / (frames - 1) as f32;
        let value = if t < frames / 2 { from + step * t as f32 } else { to - step * (frames - t - 1) as f32 };
        value as usize
    };
    (0..frames)
        .map(|t| CropBox {
            top: between(first.top, last.top, t),
            left: between(first.left, last.left, t),
            height: between(first.height, last.height, t),
            width: between(first.width, last.width, t),
        })
        .collect()
}
