//! From decoded frames to a model's input: crop, flip, RandAugment, random erasing, normalisation.
//!
//! Frames are interleaved 8-bit RGB, `[T, H, W, 3]`. Every random choice goes through [`Draws`]: [`ReferenceDraws`] has
//! the streams of the PyTorch reference, [`SampleRng`](crate::random::SampleRng) is the default of training.

mod auto_augment;
mod clip;
mod crop_box;
mod crop_resize;
mod cv2_resize;
mod draws;
mod erasing;
mod evaluation;
mod frames;
mod image_op;
mod pil_geometry;
mod pil_resize;
mod rand_augment;

pub use auto_augment::{AUTO_AUGMENT_FILL, AUTO_AUGMENT_POLICY, AutoAugmentOp, auto_augment};
pub use clip::ClipTransform;
pub use crop_box::{CropBox, motion_boxes, random_resized_crop};
pub use crop_resize::{NORMAL_MEAN, NORMAL_STD, Normalisation, crop_resize_f32, crop_resize_u8};
pub use cv2_resize::cv2_resize;
pub use draws::{Draws, ReferenceDraws};
pub use erasing::RandomErasing;
pub use evaluation::{
    ImageTransform, center_crop, evaluation_image, evaluation_views, normalise, resize_image, resize_video,
    short_side_for_crop, short_side_size,
};
pub use frames::Frames;
pub use image_op::ImageOp;
pub use pil_resize::{PilFilter, pil_resize};
pub use rand_augment::{RAND_AUGMENT_OPS, RandAugment, RandAugmentOp};
