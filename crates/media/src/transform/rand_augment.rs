//! RandAugment (Cubuk et al., 2020) as `rand-m7-n4-mstd0.5-inc1`, on the frames of a clip alike.

use super::{Draws, ImageOp};

/// Highest magnitude.
const MAX_LEVEL: f64 = 10.0;
/// Colour of what geometry moves in.
const FILL: [u8; 3] = [128; 3];

/// The operations, in the order in which they are numbered.
pub const RAND_AUGMENT_OPS: [RandAugmentOp; 15] = [
    RandAugmentOp::AutoContrast,
    RandAugmentOp::Equalize,
    RandAugmentOp::Invert,
    RandAugmentOp::Rotate,
    RandAugmentOp::PosterizeIncreasing,
    RandAugmentOp::SolarizeIncreasing,
    RandAugmentOp::SolarizeAdd,
    RandAugmentOp::ColorIncreasing,
    RandAugmentOp::ContrastIncreasing,
    RandAugmentOp::BrightnessIncreasing,
    RandAugmentOp::SharpnessIncreasing,
    RandAugmentOp::ShearX,
    RandAugmentOp::ShearY,
    RandAugmentOp::TranslateXRel,
    RandAugmentOp::TranslateYRel,
];

/// An operation whose strength grows with its level in 0..=10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RandAugmentOp {
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    PosterizeIncreasing,
    SolarizeIncreasing,
    SolarizeAdd,
    ColorIncreasing,
    ContrastIncreasing,
    BrightnessIncreasing,
    SharpnessIncreasing,
    ShearX,
    ShearY,
    TranslateXRel,
    TranslateYRel,
}

impl RandAugmentOp {
    /// The operation at `level`. `negative` is asked, once, only where the strength has a sign.
    pub fn at_level(self, level: f64, negative: impl FnOnce() -> bool) -> ImageOp {
        let share = level / MAX_LEVEL;
        let signed = |strength: f64| if negative() { -strength } else { strength };
        match self {
            Self::AutoContrast => ImageOp::AutoContrast,
            Self::Equalize => ImageOp::Equalize,
            Self::Invert => ImageOp::Invert,
            Self::Rotate => ImageOp::Rotate(signed(share * 30.0)),
            Self::PosterizeIncreasing => ImageOp::Posterize(4 - (share * 4.0) as u32),
            Self::SolarizeIncreasing => ImageOp::Solarize(256 - (share * 256.0) as i32),
            Self::SolarizeAdd => ImageOp::SolarizeAdd((share * 110.0) as i32),
            Self::ColorIncreasing => ImageOp::Color(1.0 + signed(share * 0.9)),
            Self::ContrastIncreasing => ImageOp::Contrast(1.0 + signed(share * 0.9)),
            Self::BrightnessIncreasing => ImageOp::Brightness(1.0 + signed(share * 0.9)),
            Self::SharpnessIncreasing => ImageOp::Sharpness(1.0 + signed(share * 0.9)),
            Self::ShearX => ImageOp::ShearX(signed(share * 0.3)),
            Self::ShearY => ImageOp::ShearY(signed(share * 0.3)),
            Self::TranslateXRel => ImageOp::TranslateX(signed(share * 0.45)),
            Self::TranslateYRel => ImageOp::TranslateY(signed(share * 0.45)),
        }
    }
}

/// How many operations, how strong, how likely each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandAugment {
    pub magnitude: f64,
    pub deviation: f64,
    pub layers: usize,
    pub probability: f64,
}

impl Default for RandAugment {
    fn default() -> Self {
        Self { magnitude: 7.0, deviation: 0.5, layers: 4, probability: 0.5 }
    }
}

impl RandAugment {
    /// The operations for one clip: kinds with replacement, each skipped or given a level and a sign.
    pub fn operations(&self, draws: &mut impl Draws) -> Vec<ImageOp> {
        let kinds = draws.numpy_choice(RAND_AUGMENT_OPS.len(), self.layers);
        kinds
            .into_iter()
            .filter_map(|kind| {
                if draws.random() > self.probability {
                    return None;
                }
                let level = draws.gauss(self.magnitude, self.deviation).clamp(0.0, MAX_LEVEL);
                Some(RAND_AUGMENT_OPS[kind].at_level(level, || draws.random() > 0.5))
            })
            .collect()
    }

    /// Applies the operations of one clip to all of its frames, `[T, height, width, 3]`, in place.
    pub fn apply(&self, frames: &mut [u8], height: usize, width: usize, draws: &mut impl Draws) {
        let operations = self.operations(draws);
        for frame in frames.chunks_exact_mut(height * width * 3) {
            for operation in &operations {
                operation.apply(frame, height, width, FILL);
            }
        }
    }
}
