//! Which tokens a model sees (context) and which it predicts (target).
//!
//! Tokens are numbered in their modality's grid: video `(t*H + y)*W + x`, audio `row*cols + col` (rows are frequency,
//! columns time). A *generator* is one entry of the config's `mask` list; every sample gets one [`SampleMask`] from each.
//! [`ReferenceMasks`] reproduces the reference's lists bit by bit, truncation to the batch's shortest list included;
//! [`UnbiasedMasks`] draws each sample on its own and keeps every token.

mod block;
mod config;
mod reference;
mod unbiased;

pub use config::{AudioGrid, MaskConfig, MaskGrid, MaskKind};
pub use reference::ReferenceMasks;
pub use unbiased::{Presence, SampleAddress, UnbiasedMasks};

/// Ascending token numbers of one sample under one generator. An absent modality has empty lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampleMask {
    pub video_context: Vec<i32>,
    pub video_target: Vec<i32>,
    pub audio_context: Vec<i32>,
    pub audio_target: Vec<i32>,
}

impl SampleMask {
    /// Whether there is something to see and something to predict.
    pub fn is_usable(&self) -> bool {
        let any = |video: &[i32], audio: &[i32]| !(video.is_empty() && audio.is_empty());
        any(&self.video_context, &self.audio_context) && any(&self.video_target, &self.audio_target)
    }
}

#[cfg(test)]
mod tests;
