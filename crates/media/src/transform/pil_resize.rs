//! Antialiased resize with the fixed-point arithmetic of Pillow's `Image.resize`.

/// Fractional bits of a weight: 32 less 8 of a pixel and 2 of headroom.
const PRECISION: u32 = 22;

/// The kernel, stretched by the scale when the image shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PilFilter {
    /// 1 − |x|.
    Bilinear,
    /// Cubic convolution with a = −½.
    Bicubic,
}

impl PilFilter {
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            _ => 0.0,
        }
    }
}

/// First source position and the weights from there.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

fn taps(from: usize, to: usize, filter: PilFilter) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    (0..to)
        .map(|d| {
            let center = (d as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let inverse = 1.0 / stretch;
            let weights: Vec<f64> = (first..end).map(|i| filter.weight((i as f64 - center + 0.5) * inverse)).collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |w: f64| {
                let w = if sum == 0.0 { w } else { w / sum } * f64::from(1_u32 << PRECISION);
                (if w < 0.0 { w - 0.5 } else { w + 0.5 }) as i32
            };
            Taps { first, weights: weights.into_iter().map(fixed).collect() }
        })
        .collect()
}

fn rounded(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Resizes an RGB image `[from[0], from[1], 3]` to [height, width], one axis after the other and rounded to 8 bits between.
///
/// Columns come first, as in Pillow, but where rows shrink by more than twice as many pixels as columns do (Pillow 13).
pub fn pil_resize(image: &[u8], from: [usize; 2], [height, width]: [usize; 2], filter: PilFilter) -> Vec<u8> {
    let fewer_rows = from[0] as i64 - height as i64;
    let fewer_columns = from[1] as i64 - width as i64;
    if fewer_rows > 0 && fewer_rows > 2 * fewer_columns {
        let short = resize_rows(image, from, height, filter);
        resize_columns(&short, [height, from[1]], width, filter)
    } else {
        let narrow = resize_columns(image, from, width, filter);
        resize_rows(&narrow, [from[0], width], height, filter)
    }
}

const HALF: i32 = 1 << (PRECISION - 1);

fn resize_columns(image: &[u8], from: [usize; 2], width: usize, filter: PilFilter) -> Vec<u8> {
    if width == from[1] {
        return image.to_vec();
    }
    let columns = taps(from[1], width, filter);
    let mut out = Vec::with_capacity(from[0] * width * 3);
    for line in image.chunks_exact(from[1] * 3) {
        for tap in &columns {
            let pixels = line[tap.first * 3..].as_chunks::<3>().0;
            let mut sums = [HALF; 3];
            for (weight, pixel) in tap.weights.iter().zip(pixels) {
                sums = std::array::from_fn(|c| sums[c] + weight * i32::from(pixel[c]));
            }
            out.extend(sums.map(rounded));
        }
    }
    out
}

fn resize_rows(image: &[u8], from: [usize; 2], height: usize, filter: PilFilter) -> Vec<u8> {
    if height == from[0] {
        return image.to_vec();
    }
    let stride = from[1] * 3;
    let mut out = Vec::with_capacity(height * stride);
    let mut sums = vec![0; stride];
    for tap in taps(from[0], height, filter) {
        sums.fill(HALF);
        for (weight, line) in tap.weights.iter().zip(image.chunks_exact(stride).skip(tap.first)) {
            sums.iter_mut().zip(line).for_each(|(sum, &x)| *sum += weight * i32::from(x));
        }
        out.extend(sums.iter().map(|&sum| rounded(sum)));
    }
    out
}
