//! From decoded frames to a model's input: crop, flip, RandAugment, random erasing, normalisation.
//!
//! Frames are interleaved 8-bit RGB, `[T, H, W, 3]`. Every random choice goes through [`Draws`]: [`ReferenceDraws`] has
//! the streams of the PyTorch reference, [`SampleRng`](crate::random::SampleRng) is the default of training.

mod clip;
mod crop_box;
mod crop_resize;
mod draws;
mod erasing;
mod frames;
mod image_op;
mod pil_geometry;
mod rand_augment;

pub use clip::ClipTransform;
pub use crop_box::{CropBox, motion_boxes, random_resized_crop};
pub use crop_resize::{NORMAL_MEAN, NORMAL_STD, Normalisation, crop_resize_f32, crop_resize_u8};
pub use draws::{Draws, ReferenceDraws};
pub use erasing::RandomErasing;
pub use frames::Frames;
pub use image_op::ImageOp;
pub use rand_augment::{RAND_AUGMENT_OPS, RandAugment, RandAugmentOp};
