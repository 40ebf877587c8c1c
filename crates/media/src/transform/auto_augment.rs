//! AutoAugment's "original" ImageNet policy (Cubuk et al., 2019): one of 25 pairs of operations.

use super::{Draws, ImageOp};

/// Colour of what geometry moves in: ImageNet's mean.
pub const AUTO_AUGMENT_FILL: [u8; 3] = [124, 116, 104];

/// An operation of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoAugmentOp {
    AutoContrast,
    Color,
    Contrast,
    Equalize,
    Invert,
    PosterizeOriginal,
    Rotate,
    Sharpness,
    ShearX,
    Solarize,
}

use AutoAugmentOp::{
    AutoContrast, Color, Contrast, Equalize, Invert, PosterizeOriginal, Rotate, Sharpness, ShearX, Solarize,
};

/// (operation, probability, magnitude) twice, 25 times.
#[rustfmt::skip]
pub const AUTO_AUGMENT_POLICY: [[(AutoAugmentOp, f64, u8); 2]; 25] = [
    [(PosterizeOriginal, 0.4, 8), (Rotate, 0.6, 9)],
    [(Solarize, 0.6, 5), (AutoContrast, 0.6, 5)],
    [(Equalize, 0.8, 8), (Equalize, 0.6, 3)],
    [(PosterizeOriginal, 0.6, 7), (PosterizeOriginal, 0.6, 6)],
    [(Equalize, 0.4, 7), (Solarize, 0.2, 4)],
    [(Equalize, 0.4, 4), (Rotate, 0.8, 8)],
    [(Solarize, 0.6, 3), (Equalize, 0.6, 7)],
    [(PosterizeOriginal, 0.8, 5), (Equalize, 1.0, 2)],
    [(Rotate, 0.2, 3), (Solarize, 0.6, 8)],
    [(Equalize, 0.6, 8), (PosterizeOriginal, 0.4, 6)],
    [(Rotate, 0.8, 8), (Color, 0.4, 0)],
    [(Rotate, 0.4, 9), (Equalize, 0.6, 2)],
    [(Equalize, 0.0, 7), (Equalize, 0.8, 8)],
    [(Invert, 0.6, 4), (Equalize, 1.0, 8)],
    [(Color, 0.6, 4), (Contrast, 1.0, 8)],
    [(Rotate, 0.8, 8), (Color, 1.0, 2)],
    [(Color, 0.8, 8), (Solarize, 0.8, 7)],
    [(Sharpness, 0.4, 7), (Invert, 0.6, 8)],
    [(ShearX, 0.6, 5), (Equalize, 1.0, 9)],
    [(Color, 0.4, 0), (Equalize, 0.6, 3)],
    [(Equalize, 0.4, 7), (Solarize, 0.2, 4)],
    [(Solarize, 0.6, 5), (AutoContrast, 0.6, 5)],
    [(Invert, 0.6, 4), (Equalize, 1.0, 8)],
    [(Color, 0.6, 4), (Contrast, 1.0, 8)],
    [(Equalize, 0.8, 8), (Equalize, 0.6, 3)],
];

impl AutoAugmentOp {
    /// The operation at `magnitude` in 0..=10. `negative` is asked, once, only where the strength has a sign.
    pub fn at_magnitude(self, magnitude: u8, negative: impl FnOnce() -> bool) -> ImageOp {
        let share = f64::from(magnitude) / 10.0;
        let signed = |strength: f64| if negative() { -strength } else { strength };
        match self {
            AutoContrast => ImageOp::AutoContrast,
            Color => ImageOp::Color(share * 1.8 + 0.1),
            Contrast => ImageOp::Contrast(share * 1.8 + 0.1),
            Equalize => ImageOp::Equalize,
            Invert => ImageOp::Invert,
            PosterizeOriginal => ImageOp::Posterize((share * 4.0) as u32 + 4),
            Rotate => ImageOp::Rotate(signed(share * 30.0)),
            Sharpness => ImageOp::Sharpness(share * 1.8 + 0.1),
            ShearX => ImageOp::ShearX(signed(share * 0.3)),
            Solarize => ImageOp::Solarize(((share * 256.0) as i32).min(256)),
        }
    }
}

/// The operations for one image.
pub fn auto_augment(draws: &mut impl Draws) -> Vec<ImageOp> {
    let pair = draws.randint(0, AUTO_AUGMENT_POLICY.len() as i64 - 1);
    AUTO_AUGMENT_POLICY[pair as usize]
        .into_iter()
        .filter_map(|(op, probability, magnitude)| {
            if probability < 1.0 && draws.random() > probability {
                return None;
            }
            Some(op.at_magnitude(magnitude, || draws.random() > 0.5))
        })
        .collect()
}
