//! Photometric operations with the 8-bit semantics of Pillow (`ImageOps`, `ImageEnhance`); geometry is in
//! `pil_geometry`.

use super::pil_geometry::{rotation, transform_affine};

/// An image operation and its strength.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ImageOp {
    /// Stretches each channel to 0..=255.
    AutoContrast,
    /// Flattens each channel's histogram.
    Equalize,
    Invert,
    /// Degrees counter-clockwise.
    Rotate(f64),
    /// Bits kept.
    Posterize(u32),
    /// Inverts levels from this one on.
    Solarize(i32),
    /// Adds to levels below 128.
    SolarizeAdd(i32),
    /// Blends from grey (0) over the image itself (1) to beyond.
    Color(f64),
    /// From mean grey.
    Contrast(f64),
    /// From black.
    Brightness(f64),
    /// From a smoothed image.
    Sharpness(f64),
    /// Source column = x + factor·y.
    ShearX(f64),
    ShearY(f64),
    /// Shift to the left by this share of the width.
    TranslateX(f64),
    TranslateY(f64),
}

impl ImageOp {
    /// Applies the operation in place to an RGB image `[height, width, 3]`; geometry shows `fill` outside the source.
    pub fn apply(self, image: &mut [u8], height: usize, width: usize, fill: [u8; 3]) {
        let mut warp = |matrix: [f64; 6]| {
            let source = image.to_vec();
            transform_affine(&source, height, width, matrix, fill, image);
        };
        match self {
            Self::Rotate(degrees) => {
                if let Some(matrix) = rotation(degrees, height, width) {
                    warp(matrix);
                }
            }
            Self::ShearX(factor) => warp([1.0, factor, 0.0, 0.0, 1.0, 0.0]),
            Self::ShearY(factor) => warp([1.0, 0.0, 0.0, factor, 1.0, 0.0]),
            Self::TranslateX(share) => warp([1.0, 0.0, share * width as f64, 0.0, 1.0, 0.0]),
            Self::TranslateY(share) => warp([1.0, 0.0, 0.0, 0.0, 1.0, share * height as f64]),
            Self::AutoContrast => by_channel(image, auto_contrast),
            Self::Equalize => by_channel(image, equalize),
            Self::Invert => image.iter_mut().for_each(|x| *x = 255 - *x),
            Self::Posterize(bits) if bits >= 8 => {}
            Self::Posterize(bits) => {
                let mask = !(0xff_u32 >> bits) as u8;
                image.iter_mut().for_each(|x| *x &= mask);
            }
            Self::Solarize(threshold) => {
                image.iter_mut().for_each(|x| *x = if i32::from(*x) < threshold { *x } else { 255 - *x });
            }
            Self::SolarizeAdd(add) => {
                let brighter = |x: u8| (i32::from(x) + add).clamp(0, 255) as u8;
                image.iter_mut().for_each(|x| *x = if *x < 128 { brighter(*x) } else { *x });
            }
            Self::Color(factor) => image.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| {
                let grey = luma(*pixel);
                *pixel = pixel.map(|x| blend(grey, x, factor));
            }),
            Self::Contrast(factor) => {
                let pixels = image.as_chunks::<3>().0;
                let sum: u64 = pixels.iter().map(|&pixel| u64::from(luma(pixel))).sum();
                let mean = (sum as f64 / pixels.len() as f64 + 0.5) as u8;
                image.iter_mut().for_each(|x| *x = blend(mean, *x, factor));
            }
            Self::Brightness(factor) => image.iter_mut().for_each(|x| *x = blend(0, *x, factor)),
            Self::Sharpness(factor) => {
                let smooth = smoothed(image, height, width);
                image.iter_mut().zip(smooth).for_each(|(x, smooth)| *x = blend(smooth, *x, factor));
            }
        }
    }
}

/// Pillow's conversion from RGB to L: ITU-R 601-2 luma in 16-bit fixed point.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16) as u8
}

/// Pillow's `Image.blend`: from + factor·(to − from) in float32, truncated, clipped.
fn blend(from: u8, to: u8, factor: f64) -> u8 {
    (f32::from(from) + factor as f32 * (f32::from(to) - f32::from(from))) as u8
}

/// Maps each channel through a table made from its histogram.
fn by_channel(image: &mut [u8], table: fn(&[u64; 256]) -> [u8; 256]) {
    for channel in 0..3 {
        let mut histogram = [0; 256];
        image.iter().skip(channel).step_by(3).for_each(|&x| histogram[x as usize] += 1);
        let table = table(&histogram);
        image.iter_mut().skip(channel).step_by(3).for_each(|x| *x = table[*x as usize]);
    }
}

fn auto_contrast(histogram: &[u64; 256]) -> [u8; 256] {
    let low = histogram.iter().position(|&n| n > 0).unwrap_or(0);
    let high = histogram.iter().rposition(|&n| n > 0).unwrap_or(0);
    if high <= low {
        return std::array::from_fn(|i| i as u8);
    }
    let scale = 255.0 / (high - low) as f64;
    let offset = -(low as f64) * scale;
    std::array::from_fn(|i| (i as f64 * scale + offset) as u8)
}

fn equalize(histogram: &[u64; 256]) -> [u8; 256] {
    let last = histogram.iter().rev().find(|&&n| n > 0).copied().unwrap_or(0);
    let step = (histogram.iter().sum::<u64>() - last) / 255;
    if step == 0 {
        return std::array::from_fn(|i| i as u8);
    }
    let mut n = step / 2;
    std::array::from_fn(|i| {
        let level = (n / step).min(255) as u8;
        n += histogram[i];
        level
    })
}

/// The 3 × 3 mean with a centre of weight 5, rounded; the border is kept.
fn smoothed(image: &[u8], height: usize, width: usize) -> Vec<u8> {
    let mut out = image.to_vec();
    let stride = width * 3;
    for y in 1..height.saturating_sub(1) {
        for i in y * stride + 3..(y + 1) * stride - 3 {
            let sum: u32 = [i - stride, i, i + stride]
                .iter()
                .map(|&j| u32::from(image[j - 3]) + u32::from(image[j]) + u32::from(image[j + 3]))
                .sum();
            out[i] = ((2 * (sum + 4 * u32::from(image[i])) + 13) / 26) as u8;
        }
    }
    out
}
