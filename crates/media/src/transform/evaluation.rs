//! The transforms of evaluations: deterministic views of videos and images, and the training transform of images.

use super::auto_augment::{AUTO_AUGMENT_FILL, auto_augment};
use super::cv2_resize::cv2_resize;
use super::pil_resize::{PilFilter, pil_resize};
use super::{Draws, Frames, Normalisation, RandomErasing, random_resized_crop};
use crate::error::{MediaError, Result};

/// Size [height, width] after the short side became `short`: the long one is ⌊short·long/short side⌋.
pub fn short_side_size([height, width]: [usize; 2], short: usize) -> [usize; 2] {
    let long = |long: usize, side: usize| (short * long / side).max(1);
    if width < height { [long(height, width), short] } else { [short, long(width, height)] }
}

/// The short side to which evaluations resize before the centre crop: ⌊crop·256/224⌋.
pub fn short_side_for_crop(crop: usize) -> usize {
    crop * 256 / 224
}

/// Cuts `[T, height, width, 3]` frames to the box at (top, left) of size [rows, columns].
fn cut(frames: Frames, [top, left]: [usize; 2], [rows, columns]: [usize; 2]) -> Vec<u8> {
    let mut out = Vec::with_capacity(frames.count * rows * columns * 3);
    for t in 0..frames.count {
        for line in frames.frame(t).chunks_exact(frames.width * 3).skip(top).take(rows) {
            out.extend_from_slice(&line[left * 3..(left + columns) * 3]);
        }
    }
    out
}

/// The `crop` × `crop` pixels in the middle: offset round((side − crop)/2), halves to even.
///
/// # Errors
/// `AVJ_SHAPE` if a side is shorter than `crop`.
pub fn center_crop(frames: Frames, crop: usize) -> Result<Vec<u8>> {
    if crop == 0 || frames.height < crop || frames.width < crop {
        let message = format!("a centre crop of {crop} from {}x{}", frames.height, frames.width);
        return Err(MediaError::new("AVJ_SHAPE", message).with_hint("resize to at least the crop first"));
    }
    let offset = |side: usize| ((side - crop) as f64 / 2.0).round_ties_even() as usize;
    Ok(cut(frames, [offset(frames.height), offset(frames.width)], [crop; 2]))
}

/// Frames with the short side resized to `short` by OpenCV's bilinear rule, and their [height, width].
pub fn resize_video(frames: Frames, short: usize) -> (Vec<u8>, [usize; 2]) {
    if frames.height.min(frames.width) == short {
        return (frames.data().to_vec(), [frames.height, frames.width]);
    }
    let size = short_side_size([frames.height, frames.width], short);
    (cv2_resize(frames, size), size)
}

/// An RGB image with the short side resized to `short` by Pillow's antialiased bilinear filter, and its [height, width].
pub fn resize_image(image: &[u8], from: [usize; 2], short: usize) -> (Vec<u8>, [usize; 2]) {
    let size = short_side_size(from, short);
    (pil_resize(image, from, size, PilFilter::Bilinear), size)
}

/// Views of a video for evaluation, each `[T, crop, crop, 3]`. One view: short side to ⌊crop·256/224⌋, centre crop.
/// Several: short side to `crop`, windows at equal steps along the long side from its beginning.
///
/// # Errors
/// `AVJ_SHAPE` if `views` or `crop` is 0.
pub fn evaluation_views(frames: Frames, crop: usize, views: usize) -> Result<Vec<Vec<u8>>> {
    if views == 0 || crop == 0 {
        return Err(MediaError::new("AVJ_SHAPE", format!("{views} views of {crop} pixels")));
    }
    let (data, [height, width]) = resize_video(frames, if views == 1 { short_side_for_crop(crop) } else { crop });
    let resized = Frames::new(&data, frames.count, height, width)?;
    if views == 1 {
        return Ok(vec![center_crop(resized, crop)?]);
    }
    let step = (height.max(width) - crop) / (views - 1);
    let origin = |i: usize| if height > width { [i * step, 0] } else { [0, i * step] };
    Ok((0..views).map(|i| cut(resized, origin(i), [crop; 2])).collect())
}

/// An image for evaluation, `[crop, crop, 3]`: short side to ⌊crop·256/224⌋ by Pillow's bilinear filter, centre crop.
///
/// # Errors
/// `AVJ_SHAPE` if `crop` is 0 or `image` has another size.
pub fn evaluation_image(image: &[u8], from: [usize; 2], crop: usize) -> Result<Vec<u8>> {
    Frames::new(image, 1, from[0], from[1])?;
    let (data, [height, width]) = resize_image(image, from, short_side_for_crop(crop));
    center_crop(Frames::new(&data, 1, height, width)?, crop)
}

/// `[T, H, W, 3]` bytes as normalised float32 `[3, T, H, W]`.
pub fn normalise(frames: Frames, normal: &Normalisation) -> Vec<f32> {
    let pixels = frames.data().as_chunks::<3>().0;
    (0..3).flat_map(|c| pixels.iter().map(move |pixel| normal.apply(c, f32::from(pixel[c])))).collect()
}

/// The training transform of images: random resized crop by Pillow's antialiased bicubic filter, flip, AutoAugment,
/// normalisation, random erasing.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageTransform {
    pub crop: usize,
    /// Range of the crop's share of the image.
    pub scale: [f64; 2],
    /// Range of the crop's width over its height.
    pub ratio: [f64; 2],
    pub erasing: Option<RandomErasing>,
    pub normal: Normalisation,
}

impl ImageTransform {
    /// The transform of an image `[from[0], from[1], 3]`: `[3, crop, crop]`.
    ///
    /// # Errors
    /// `AVJ_SHAPE` if the image has another size or the crop is 0.
    pub fn apply(&self, image: &[u8], from: [usize; 2], draws: &mut impl Draws) -> Result<Vec<f32>> {
        let source = Frames::new(image, 1, from[0], from[1])?;
        let side = self.crop;
        let chosen = random_resized_crop(from[0], from[1], self.scale, self.ratio, draws);
        let part = cut(source, [chosen.top, chosen.left], [chosen.height, chosen.width]);
        let mut image = pil_resize(&part, [chosen.height, chosen.width], [side; 2], PilFilter::Bicubic);
        if draws.torch_rand() < 0.5 {
            image.chunks_exact_mut(side * 3).for_each(|line| line.as_chunks_mut::<3>().0.reverse());
        }
        for operation in auto_augment(draws) {
            operation.apply(&mut image, side, side, AUTO_AUGMENT_FILL);
        }
        let mut out = normalise(Frames::new(&image, 1, side, side)?, &self.normal);
        if let Some(hole) = self.erasing.and_then(|erasing| erasing.rectangle(side, side, draws)) {
            for plane in out.chunks_exact_mut(side * side) {
                for row in plane.chunks_exact_mut(side).skip(hole.top).take(hole.height) {
                    row[hole.left..hole.left + hole.width].fill_with(|| draws.noise());
                }
            }
        }
        Ok(out)
    }
}
