//! Crop and bilinear resize without antialiasing: torch's `interpolate(mode="bilinear", align_corners=False)`.
//!
//! Output pixel d reads source coordinate max(0, (d + ½)·in/out − ½): two neighbours, the second clamped to the edge.
//! Arithmetic is float32, rows first, then columns, the same on every instruction set.

use super::{CropBox, Frames};
use crate::error::{MediaError, Result};

/// 2^23: added to a float32 in 0..=255, it leaves the nearest integer (halves to even) in the lowest bits.
const ROUNDING: f32 = 8_388_608.0;

/// Channel means and standard deviations of ImageNet on the scale 0..1.
pub const NORMAL_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
pub const NORMAL_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// (x/255 − mean) / std for each channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

impl Default for Normalisation {
    fn default() -> Self {
        Self { mean: NORMAL_MEAN, std: NORMAL_STD }
    }
}

impl Normalisation {
    /// The normalised value of `x` in 0..=255 in channel `c`.
    pub fn apply(&self, c: usize, x: f32) -> f32 {
        (x - 255.0 * self.mean[c]) / (255.0 * self.std[c])
    }
}

/// Crops each frame to its box and resizes it to [height, width], mirrored if `flip`: `[T, height, width, 3]`, rounded to
/// the nearest level. `boxes` has one box for all frames or one for each.
///
/// # Errors
/// `AVJ_SHAPE` for boxes outside the frame or of another count, or an `out` of another length.
pub fn crop_resize_u8(
    frames: Frames,
    boxes: &[CropBox],
    [height, width]: [usize; 2],
    flip: bool,
    out: &mut [u8],
) -> Result<()> {
    check(frames, boxes, [height, width], out.len())?;
    each_row(frames, boxes, [height, width], flip, |t, y, row| {
        let start = (t * height + y) * width * 3;
        for (out, &x) in out[start..start + width * 3].iter_mut().zip(row) {
            *out = (x + ROUNDING).to_bits() as u8;
        }
    });
    Ok(())
}

/// As [`crop_resize_u8`], but normalised and channels first: `[3, T, height, width]`.
///
/// # Errors
/// As [`crop_resize_u8`].
pub fn crop_resize_f32(
    frames: Frames,
    boxes: &[CropBox],
    [height, width]: [usize; 2],
    flip: bool,
    normal: &Normalisation,
    out: &mut [f32],
) -> Result<()> {
    check(frames, boxes, [height, width], out.len())?;
    let plane = frames.count * height * width;
    let scale = normal.std.map(|std| 1.0 / (255.0 * std));
    let shift = normal.mean.map(|mean| 255.0 * mean);
    each_row(frames, boxes, [height, width], flip, |t, y, row| {
        for c in 0..3 {
            let start = c * plane + (t * height + y) * width;
            for (out, pixel) in out[start..start + width].iter_mut().zip(row.chunks_exact(3)) {
                *out = (pixel[c] - shift[c]) * scale[c];
            }
        }
    });
    Ok(())
}

fn check(frames: Frames, boxes: &[CropBox], [height, width]: [usize; 2], length: usize) -> Result<()> {
    let error = |message: String| Err(MediaError::new("AVJ_SHAPE", message));
    if boxes.len() != 1 && boxes.len() != frames.count {
        return error(format!("{} crop boxes for {} frames", boxes.len(), frames.count));
    }
    let inside = |b: &CropBox| {
        b.height > 0 && b.width > 0 && b.top + b.height <= frames.height && b.left + b.width <= frames.width
    };
    if let Some(outside) = boxes.iter().find(|b| !inside(b)) {
        return error(format!("{outside:?} in frames of {}x{}", frames.height, frames.width));
    }
    if height == 0 || width == 0 || length != frames.count * height * width * 3 {
        return error(format!("{length} values for {} frames of {height}x{width}", frames.count));
    }
    Ok(())
}

/// The two source positions of an output position, and the share of the second.
#[derive(Clone, Copy)]
struct Tap {
    low: usize,
    high: usize,
    share: f32,
}

fn taps(from: usize, to: usize, start: usize) -> Vec<Tap> {
    let scale = from as f64 / to as f64;
    (0..to)
        .map(|d| {
            let x = (scale * (d as f64 + 0.5) - 0.5).max(0.0);
            let low = (x as usize).min(from - 1);
            Tap { low: start + low, high: start + (low + 1).min(from - 1), share: (x - low as f64) as f32 }
        })
        .collect()
}

/// Calls `put(t, y, row)` with each output row, interleaved RGB on the scale 0..=255.
fn each_row(
    frames: Frames,
    boxes: &[CropBox],
    [height, width]: [usize; 2],
    flip: bool,
    mut put: impl FnMut(usize, usize, &[f32]),
) {
    let mut tables: Option<(CropBox, Vec<Tap>, Vec<Tap>)> = None;
    // Four floats are read and written at each pixel of three: one float of padding.
    let mut blended = vec![0.0_f32; frames.width * 3 + 1];
    let mut row = vec![0.0_f32; width * 3 + 1];
    for t in 0..frames.count {
        let crop = boxes[t % boxes.len()];
        if tables.as_ref().is_none_or(|(known, ..)| *known != crop) {
            let mut columns = taps(crop.width, width, 0);
            if flip {
                columns.reverse();
            }
            tables = Some((crop, taps(crop.height, height, crop.top), columns));
        }
        let Some((_, rows, columns)) = &tables else { continue };
        let frame = frames.frame(t);
        let line = |y: usize| &frame[(y * frames.width + crop.left) * 3..][..crop.width * 3];
        for (y, tap) in rows.iter().enumerate() {
            blend(line(tap.low), line(tap.high), tap.share, &mut blended);
            spread(&blended, columns, &mut row);
            put(t, y, &row[..width * 3]);
        }
    }
}

fn blend(low: &[u8], high: &[u8], share: f32, out: &mut [f32]) {
    for ((out, &low), &high) in out.iter_mut().zip(low).zip(high) {
        let low = f32::from(low);
        *out = low + share * (f32::from(high) - low);
    }
}

fn spread(line: &[f32], columns: &[Tap], out: &mut [f32]) {
    for (x, tap) in columns.iter().enumerate() {
        let (Some(low), Some(high)) = (line[tap.low * 3..].first_chunk::<4>(), line[tap.high * 3..].first_chunk::<4>())
        else {
            continue; // both exist: `line` is padded
        };
        let Some(pixel) = out[x * 3..].first_chunk_mut::<4>() else { continue };
        for c in 0..4 {
            pixel[c] = low[c] + tap.share * (high[c] - low[c]);
        }
    }
}
