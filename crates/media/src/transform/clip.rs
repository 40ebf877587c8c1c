//! The transform of a pretraining clip.

use super::{
    Draws, Frames, Normalisation, RandAugment, RandomErasing, crop_resize_f32, crop_resize_u8, motion_boxes,
    random_resized_crop,
};
use crate::error::{MediaError, Result};
use crate::transform::CropBox;

/// RandAugment, random resized crop (moving, if asked), flip and random erasing, the same for all frames of a clip.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipTransform {
    /// [height, width] of the output.
    pub size: [usize; 2],
    /// Range of the crop's share of the frame.
    pub scale: [f64; 2],
    /// Range of the crop's width over its height.
    pub ratio: [f64; 2],
    /// Probability of mirroring.
    pub flip: f64,
    pub motion_shift: bool,
    pub rand_augment: Option<RandAugment>,
    pub erasing: Option<RandomErasing>,
    pub normal: Normalisation,
}

impl Default for ClipTransform {
    fn default() -> Self {
        Self {
            size: [224; 2],
            scale: [0.3, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            flip: 0.5,
            motion_shift: false,
            rand_augment: None,
            erasing: None,
            normal: Normalisation::default(),
        }
    }
}

/// What was drawn for a clip, before erasing.
struct Plan {
    /// The frames after RandAugment, if it was on.
    augmented: Option<Vec<u8>>,
    boxes: Vec<CropBox>,
    flip: bool,
}

impl ClipTransform {
    /// # Errors
    /// `AVJ_CONFIG` naming a setting outside its range.
    pub fn validate(&self) -> Result<()> {
        let error = |message: String, hint: &str| Err(MediaError::new("AVJ_CONFIG", message).with_hint(hint));
        if self.size.contains(&0) {
            return error(format!("a crop of {:?} pixels", self.size), "set data.crop_size above 0");
        }
        let [low, high] = self.scale;
        if !(0.0 < low && low <= high && high <= 1.0) {
            let message = format!("random_resize_scale is [{low}, {high}]");
            return error(message, "give two numbers with 0 < low <= high <= 1");
        }
        let [low, high] = self.ratio;
        if !(0.0 < low && low <= high && high.is_finite()) {
            let message = format!("random_resize_aspect_ratio is [{low}, {high}]");
            return error(message, "give two numbers with 0 < low <= high");
        }
        let erasing = self.erasing.map_or(0.0, |erasing| erasing.probability);
        for (name, p) in [("flip", self.flip), ("reprob", erasing)] {
            if !(0.0..=1.0).contains(&p) {
                return error(format!("{name} is {p}"), "give a probability between 0 and 1");
            }
        }
        Ok(())
    }

    /// Normalised and channels first: `[3, T, height, width]` float32.
    ///
    /// # Errors
    /// `AVJ_SHAPE` if `out` has another length.
    pub fn apply_f32(&self, frames: Frames, draws: &mut impl Draws, out: &mut [f32]) -> Result<()> {
        let plan = self.plan(frames, draws);
        let source = plan.source(frames)?;
        crop_resize_f32(source, &plan.boxes, self.size, plan.flip, &self.normal, out)?;
        if let Some(hole) = self.rectangle(draws) {
            let [height, width] = self.size;
            // The reference's order: frame by frame, channel by channel.
            for t in 0..frames.count {
                for c in 0..3 {
                    let image = &mut out[(c * frames.count + t) * height * width..][..height * width];
                    for row in image.chunks_exact_mut(width).skip(hole.top).take(hole.height) {
                        row[hole.left..hole.left + hole.width].fill_with(|| draws.noise());
                    }
                }
            }
        }
        Ok(())
    }

    /// Not normalised, rounded to 8 bits: `[T, height, width, 3]`. Erased pixels are normal noise on the normalised scale,
    /// brought back and clipped to 0..=255.
    ///
    /// # Errors
    /// `AVJ_SHAPE` if `out` has another length.
    pub fn apply_u8(&self, frames: Frames, draws: &mut impl Draws, out: &mut [u8]) -> Result<()> {
        let plan = self.plan(frames, draws);
        let source = plan.source(frames)?;
        crop_resize_u8(source, &plan.boxes, self.size, plan.flip, out)?;
        if let Some(hole) = self.rectangle(draws) {
            let [height, width] = self.size;
            for image in out.chunks_exact_mut(height * width * 3) {
                for row in image.chunks_exact_mut(width * 3).skip(hole.top).take(hole.height) {
                    let pixels = row[hole.left * 3..(hole.left + hole.width) * 3].iter_mut();
                    for (i, x) in pixels.enumerate() {
                        let level = draws.noise() * self.normal.std[i % 3] + self.normal.mean[i % 3];
                        *x = (level * 255.0).round() as u8;
                    }
                }
            }
        }
        Ok(())
    }

    fn plan(&self, frames: Frames, draws: &mut impl Draws) -> Plan {
        let augmented = self.rand_augment.map(|rand_augment| {
            let mut data = frames.data().to_vec();
            rand_augment.apply(&mut data, frames.height, frames.width, draws);
            data
        });
        let mut crop = || random_resized_crop(frames.height, frames.width, self.scale, self.ratio, draws);
        let boxes = if self.motion_shift {
            let first = crop();
            motion_boxes(first, crop(), frames.count)
        } else {
            vec![crop()]
        };
        let flip = self.flip > 0.0 && draws.numpy_uniform() < self.flip;
        Plan { augmented, boxes, flip }
    }

    fn rectangle(&self, draws: &mut impl Draws) -> Option<CropBox> {
        let [height, width] = self.size;
        self.erasing.filter(|erasing| erasing.probability > 0.0)?.rectangle(height, width, draws)
    }
}

impl Plan {
    fn source<'a>(&'a self, frames: Frames<'a>) -> Result<Frames<'a>> {
        match &self.augmented {
            Some(data) => Frames::new(data, frames.count, frames.height, frames.width),
            None => Ok(frames),
        }
    }
}
