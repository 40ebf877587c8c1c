//! What a loader is told: the configuration's `data`, `data_aug` and `mask` sections under their own names, and the place of
//! this process among others.

use std::path::PathBuf;

use serde::Deserialize;

use super::engine::Cursor;
use crate::error::{MediaError, Result};
use crate::mask::{MaskConfig, MaskKind};
use crate::order::{OrderKind, Share};
use crate::spectrogram::{AUDIOSET_MEAN, AUDIOSET_STD, AudioTokens};
use crate::transform::{ClipTransform, Normalisation, RandAugment, RandomErasing};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    Video,
    Audio,
}

/// What to do with a file that lacks a modality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// Train on the other one alone.
    #[default]
    Mask,
    /// Take another file.
    Skip,
    /// End the run.
    Error,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrameSampling {
    /// An exact step, every start equally likely: [`crate::clip_sampling::ClipSampling`].
    #[default]
    Exact,
    /// The reference's positions.
    Reference,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaskMode {
    /// Each sample on its own, by (seed, pass, index).
    #[default]
    Unbiased,
    /// The reference's: one block size a batch, lists cut to the batch's shortest.
    Reference,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskType {
    #[default]
    Multiblock3d,
    RandomTube,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AudioPreset {
    /// 16 kHz log-mel filter bank, normalised.
    #[default]
    Standard,
    /// The reference's spectrogram of what the clip's frames span, stretched to 192 columns.
    Reference,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AudioPad {
    /// Tokens past the end of the track are left out.
    #[default]
    None,
    /// They are silence.
    Zero,
}

/// `compat`: where the reference and sense differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compat {
    #[default]
    Corrected,
    /// torch's order of samples, the reference's random streams in the transforms, and its limits on file sizes.
    Reference,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderName {
    #[default]
    Shuffled,
    Sequential,
}

/// Number type of the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PixelFormat {
    /// RGB bytes `[T, H, W, 3]`, to be normalised on the device.
    #[default]
    U8,
    /// Normalised float32 `[3, T, H, W]`, unrounded.
    F32,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct AudioConfig {
    pub preset: AudioPreset,
    /// Seconds; `None`: the clip's.
    pub duration: Option<f64>,
    pub mean: Option<f64>,
    pub std: Option<f64>,
    pub pad: AudioPad,
    pub num_mel: usize,
    /// Side of a patch; `None`: `data.patch_size`.
    pub patch: Option<usize>,
}

impl Default for AudioConfig {
    fn default() -> Self {
        Self {
            preset: AudioPreset::default(),
            duration: None,
            mean: None,
            std: None,
            pad: AudioPad::None,
            num_mel: 128,
            patch: None,
        }
    }
}

/// The `data` section. Keys that are not the loader's business are let pass.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct DataConfig {
    pub datasets: Vec<PathBuf>,
    pub datasets_weights: Option<Vec<f64>>,
    pub modalities: Vec<Modality>,
    pub mask_type: MaskType,
    pub mask_mode: MaskMode,
    pub frame_sampling: FrameSampling,
    pub num_clips: usize,
    pub num_frames: usize,
    pub tubelet_size: usize,
    pub sampling_rate: usize,
    pub clip_duration: Option<f64>,
    pub crop_size: usize,
    pub patch_size: usize,
    pub filter_short_videos: bool,
    pub missing_audio: Missing,
    pub missing_video: Missing,
    pub max_bad_fraction: f64,
    pub num_workers: usize,
    pub audio: AudioConfig,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            datasets: Vec::new(),
            datasets_weights: None,
            modalities: vec![Modality::Video, Modality::Audio],
            mask_type: MaskType::default(),
            mask_mode: MaskMode::default(),
            frame_sampling: FrameSampling::default(),
            num_clips: 1,
            num_frames: 16,
            tubelet_size: 2,
            sampling_rate: 4,
            clip_duration: None,
            crop_size: 224,
            patch_size: 16,
            filter_short_videos: false,
            missing_audio: Missing::default(),
            missing_video: Missing::default(),
            max_bad_fraction: 0.05,
            num_workers: 1,
            audio: AudioConfig::default(),
        }
    }
}

/// The `data_aug` section.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct AugmentConfig {
    pub auto_augment: bool,
    pub motion_shift: bool,
    pub random_resize_aspect_ratio: [f64; 2],
    pub random_resize_scale: [f64; 2],
    pub reprob: f64,
    /// Probability of mirroring.
    pub horizontal_flip: f64,
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self {
            auto_augment: false,
            motion_shift: false,
            random_resize_aspect_ratio: [3.0 / 4.0, 4.0 / 3.0],
            random_resize_scale: [0.3, 1.0],
            reprob: 0.0,
            horizontal_flip: 0.5,
        }
    }
}

/// What evaluations ask for instead of random clips and crops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EvaluationConfig {
    /// Fixed crops of a clip, each a row of its own; 0: one crop by the training transform.
    pub views: usize,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self { views: 1 }
    }
}

/// One entry of the `mask` section.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MaskEntry {
    pub num_blocks: Option<usize>,
    pub spatial_scale: Option<[f64; 2]>,
    pub temporal_scale: Option<[f64; 2]>,
    pub aspect_ratio: Option<[f64; 2]>,
    pub audio_scale: Option<[f64; 2]>,
    pub max_temporal_keep: Option<f64>,
    pub max_keep: Option<usize>,
    pub ratio: Option<f64>,
}

/// All a loader is told.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct LoaderConfig {
    pub data: DataConfig,
    pub data_aug: AugmentConfig,
    /// `None`: clips for pretraining.
    pub evaluation: Option<EvaluationConfig>,
    /// Empty: no masks are made.
    pub mask: Vec<MaskEntry>,
    pub compat: Compat,
    pub seed: u64,
    /// Samples of a rank's batch.
    pub batch: usize,
    pub rank: usize,
    pub world: usize,
    pub order: OrderName,
    /// Traversals after which to end; `None`: never.
    pub passes: Option<u64>,
    /// With `passes`: leave out a last batch that is not full.
    pub drop_last: bool,
    /// End past `max_bad_fraction`; `false` where the caller judges, who knows of the other ranks' files too.
    pub judge: bool,
    pub pixels: PixelFormat,
    #[serde(rename = "cursor")]
    pub position: CursorConfig,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            data: DataConfig::default(),
            data_aug: AugmentConfig::default(),
            evaluation: None,
            mask: Vec::new(),
            compat: Compat::default(),
            seed: 0,
            batch: 1,
            rank: 0,
            world: 1,
            order: OrderName::default(),
            passes: None,
            drop_last: false,
            judge: true,
            pixels: PixelFormat::default(),
            position: CursorConfig::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CursorConfig {
    pub pass: u64,
    pub position: u64,
}

impl From<CursorConfig> for Cursor {
    fn from(CursorConfig { pass, position }: CursorConfig) -> Self {
        Self { pass, position }
    }
}

impl LoaderConfig {
    /// # Errors
    /// `AVJ_CONFIG` for JSON that is not a loader's configuration.
    pub fn from_json(json: &str) -> Result<Self> {
        serde_json::from_str(json)
            .map_err(|error| MediaError::new("AVJ_CONFIG", format!("the loader's settings are wrong: {error}")))
    }

    /// Refuses sizes that nothing can be made with.
    ///
    /// # Errors
    /// `AVJ_CONFIG` naming the key.
    pub fn validate(&self) -> Result<()> {
        let data = &self.data;
        let error = |message: String, hint: &str| Err(MediaError::new("AVJ_CONFIG", message).with_hint(hint));
        let sizes = [
            ("data.batch_size", self.batch),
            ("data.num_clips", data.num_clips),
            ("data.num_frames", data.num_frames),
            ("data.tubelet_size", data.tubelet_size),
            ("data.crop_size", data.crop_size),
            ("data.patch_size", data.patch_size),
            ("data.sampling_rate", data.sampling_rate),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return error(format!("{name} is 0"), "it must be at least 1");
        }
        if self.rows_of_sample() > usize::from(u16::MAX) {
            let message = format!("data.num_clips is {} and there are {} views", data.num_clips, self.views());
            return error(message, "their product may be at most 65535");
        }
        if !data.crop_size.is_multiple_of(data.patch_size) {
            let message =
                format!("data.crop_size {} is not divisible by data.patch_size {}", data.crop_size, data.patch_size);
            return error(message, "make the crop a multiple of the patch");
        }
        if !data.num_frames.is_multiple_of(data.tubelet_size) {
            let (frames, tubelet) = (data.num_frames, data.tubelet_size);
            let message = format!("data.num_frames {frames} is not divisible by data.tubelet_size {tubelet}");
            return error(message, "make the frames a multiple of the tubelet");
        }
        if data.modalities.is_empty() {
            return error("data.modalities is empty".to_owned(), "name video, audio or both");
        }
        if !(0.0..=1.0).contains(&data.max_bad_fraction) {
            return error(format!("data.max_bad_fraction is {}", data.max_bad_fraction), "give a number from 0 to 1");
        }
        Ok(())
    }

    pub fn has(&self, modality: Modality) -> bool {
        self.data.modalities.contains(&modality)
    }

    /// Crops of a clip.
    pub fn views(&self) -> usize {
        self.evaluation.map_or(1, |evaluation| evaluation.views.max(1))
    }

    /// Whether clips and crops are fixed rather than drawn.
    pub fn is_fixed(&self) -> bool {
        self.evaluation.is_some_and(|evaluation| evaluation.views > 0)
    }

    /// Clips times views.
    pub fn rows_of_sample(&self) -> usize {
        self.data.num_clips.saturating_mul(self.views())
    }

    pub fn share(&self) -> Share {
        Share { rank: self.rank, world: self.world, batch: self.batch }
    }

    pub fn order_kind(&self) -> OrderKind {
        match (self.order, self.compat) {
            (OrderName::Sequential, _) => OrderKind::Sequential,
            (OrderName::Shuffled, Compat::Reference) => OrderKind::Reference,
            (OrderName::Shuffled, Compat::Corrected) => OrderKind::Shuffled,
        }
    }

    /// Seconds of sound of a clip, before rounding to patches.
    pub fn audio_seconds(&self) -> f64 {
        let DataConfig { clip_duration, num_frames, sampling_rate, .. } = self.data;
        self.data
            .audio
            .duration
            .unwrap_or_else(|| AudioTokens::default_seconds(clip_duration, num_frames, sampling_rate))
    }

    /// Mean and deviation of the spectrogram.
    pub fn audio_statistics(&self) -> (f64, f64) {
        let AudioConfig { preset, mean, std, .. } = self.data.audio;
        let (default_mean, default_std) = match preset {
            AudioPreset::Standard => (AUDIOSET_MEAN, AUDIOSET_STD),
            // (x − 0) / (2 · ½) leaves the decibels as they are.
            AudioPreset::Reference => (0.0, 0.5),
        };
        (mean.unwrap_or(default_mean), std.unwrap_or(default_std))
    }

    /// # Errors
    /// `AVJ_CONFIG` for a setting outside its range.
    pub fn transform(&self) -> Result<ClipTransform> {
        let aug = &self.data_aug;
        let transform = ClipTransform {
            size: [self.data.crop_size; 2],
            scale: aug.random_resize_scale,
            ratio: aug.random_resize_aspect_ratio,
            flip: aug.horizontal_flip,
            motion_shift: aug.motion_shift,
            rand_augment: aug.auto_augment.then(RandAugment::default),
            erasing: (aug.reprob > 0.0).then(|| RandomErasing::new(aug.reprob)),
            normal: Normalisation::default(),
        };
        transform.validate()?;
        Ok(transform)
    }

    pub fn mask_configs(&self) -> Vec<MaskConfig> {
        let base = MaskConfig {
            kind: match self.data.mask_type {
                MaskType::Multiblock3d => MaskKind::Multiblock3d,
                MaskType::RandomTube => MaskKind::RandomTube,
            },
            ..MaskConfig::default()
        };
        let config = |entry: &MaskEntry| MaskConfig {
            kind: base.kind,
            aspect_ratio: entry.aspect_ratio.unwrap_or(base.aspect_ratio),
            num_blocks: entry.num_blocks.unwrap_or(base.num_blocks),
            spatial_scale: entry.spatial_scale.unwrap_or(base.spatial_scale),
            temporal_scale: entry.temporal_scale.unwrap_or(base.temporal_scale),
            max_temporal_keep: entry.max_temporal_keep.unwrap_or(base.max_temporal_keep),
            max_keep: entry.max_keep,
            ratio: entry.ratio.unwrap_or(base.ratio),
            audio_scale: entry.audio_scale,
        };
        self.mask.iter().map(config).collect()
    }
}
