//! Random erasing: Zhong et al., AAAI 2020, the same rectangle in all frames of a clip.

use super::{CropBox, Draws};

/// Erases a random rectangle with noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomErasing {
    pub probability: f64,
    /// Range of the rectangle's share of the frame.
    pub area: [f64; 2],
    /// Least height over width; the greatest is its inverse; log-uniform between.
    pub min_aspect: f64,
    /// Rectangles tried before nothing is erased.
    pub tries: usize,
}

impl RandomErasing {
    /// The reference's settings for clips at this probability.
    pub fn new(probability: f64) -> Self {
        Self { probability, area: [0.02, 1.0 / 3.0], min_aspect: 0.3, tries: 100 }
    }

    /// The reference's settings for images.
    pub fn image(probability: f64) -> Self {
        Self { tries: 10, ..Self::new(probability) }
    }

    /// The rectangle to erase, if any.
    pub fn rectangle(&self, height: usize, width: usize, draws: &mut impl Draws) -> Option<CropBox> {
        if draws.random() > self.probability {
            return None;
        }
        let log_aspect = [self.min_aspect.ln(), (1.0 / self.min_aspect).ln()];
        for _ in 0..self.tries {
            let area = draws.uniform(self.area) * (height * width) as f64;
            let aspect = draws.uniform(log_aspect).exp();
            let h = (area * aspect).sqrt().round_ties_even() as usize;
            let w = (area / aspect).sqrt().round_ties_even() as usize;
            if w < width && h < height {
                let top = draws.randint(0, (height - h) as i64) as usize;
                let left = draws.randint(0, (width - w) as i64) as usize;
                return Some(CropBox { top, left, height: h, width: w });
            }
        }
        None
    }
}
