//! Bilinear resize with the fixed-point arithmetic of OpenCV's `INTER_LINEAR` on 8-bit images.

use super::Frames;

/// One: weights have 11 fractional bits.
const ONE: f32 = 2048.0;

struct Tap {
    low: usize,
    high: usize,
    weights: [i32; 2],
}

/// Source positions of each output position. `border_to_one`: past either end the edge pixel counts fully, as OpenCV does
/// for columns; for rows both neighbours are clamped and keep their weights.
fn taps(from: usize, to: usize, border_to_one: bool) -> Vec<Tap> {
    let scale = 1.0 / (to as f64 / from as f64);
    let last = from as isize - 1;
    (0..to)
        .map(|d| {
            let x = ((d as f64 + 0.5) * scale - 0.5) as f32;
            let mut low = x.floor() as isize;
            let mut share = x - low as f32;
            if border_to_one && !(0..last).contains(&low) {
                (low, share) = (low.clamp(0, last), 0.0);
            }
            let weights = [1.0 - share, share].map(|w| (w * ONE).round_ties_even() as i32);
            Tap { low: low.clamp(0, last) as usize, high: (low + 1).clamp(0, last) as usize, weights }
        })
        .collect()
}

/// Resizes each frame to [height, width]: `[T, height, width, 3]`. Frames of that size already are returned as they are.
pub fn cv2_resize(frames: Frames, [height, width]: [usize; 2]) -> Vec<u8> {
    if [frames.height, frames.width] == [height, width] {
        return frames.data().to_vec();
    }
    let (rows, columns) = (taps(frames.height, height, false), taps(frames.width, width, true));
    let mut out = Vec::with_capacity(frames.count * height * width * 3);
    for t in 0..frames.count {
        let frame = frames.frame(t);
        // Horizontal sums, 8 + 11 bits.
        let wide: Vec<i32> = frame
            .chunks_exact(frames.width * 3)
            .flat_map(|line| {
                columns.iter().flat_map(|tap| {
                    let pixel = |column: usize, c: usize| i32::from(line[column * 3 + c]);
                    std::array::from_fn::<_, 3, _>(|c| {
                        tap.weights[0] * pixel(tap.low, c) + tap.weights[1] * pixel(tap.high, c)
                    })
                })
            })
            .collect();
        for tap in &rows {
            let line = |row: usize| &wide[row * width * 3..][..width * 3];
            out.extend(line(tap.low).iter().zip(line(tap.high)).map(|(&low, &high)| {
                let part = |weight: i32, sum: i32| (weight * (sum >> 4)) >> 16;
                ((part(tap.weights[0], low) + part(tap.weights[1], high) + 2) >> 2) as u8
            }));
        }
    }
    out
}
