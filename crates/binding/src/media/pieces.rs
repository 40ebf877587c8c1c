//! The parts of the loader one by one, for tests and tools: masks, frame numbers, spectrograms, transforms.

use super::loader::MaskArrays;
use super::{argument, call, parse};
use avjepa_media::clip_sampling::{ReferenceClipSampling, reference_clip_indices};
use avjepa_media::error::MediaError;
use avjepa_media::loader::RowMasks;
use avjepa_media::mask::{AudioGrid, MaskConfig, MaskGrid, MaskKind, ReferenceMasks};
use avjepa_media::random::{NumpyRng, PythonRng};
use avjepa_media::spectrogram::{
    StandardSpectrogram, audio_window, reference_decibels, reference_filterbank, reference_spectrogram,
};
use avjepa_media::transform::{
    AUTO_AUGMENT_FILL, AUTO_AUGMENT_POLICY, ClipTransform, CropBox, Frames, ImageTransform, Normalisation, PilFilter,
    RAND_AUGMENT_OPS, RandAugment, RandomErasing, ReferenceDraws, center_crop, crop_resize_f32, evaluation_views,
    normalise, pil_resize, random_resized_crop, resize_image, resize_video,
};
use napi::bindgen_prelude::{Float32Array, Int32Array, Uint8Array};
use napi_derive::napi;
use serde_json::Value;

type Fallible<T> = Result<T, MediaError>;

/// Reads members of a JSON object, naming what is wrong.
struct Fields<'a>(&'a Value);

impl Fields<'_> {
    fn f64(&self, name: &str) -> Fallible<f64> {
        self.0[name].as_f64().ok_or_else(|| argument(format!("{name} is not a number: {}", self.0[name])))
    }

    fn f64_or(&self, name: &str, default: f64) -> Fallible<f64> {
        if self.0[name].is_null() { Ok(default) } else { self.f64(name) }
    }

    fn u64(&self, name: &str) -> Fallible<u64> {
        self.0[name].as_u64().ok_or_else(|| argument(format!("{name} is not a count: {}", self.0[name])))
    }

    fn usize(&self, name: &str) -> Fallible<usize> {
        Ok(self.u64(name)? as usize)
    }

    fn u64_or_0(&self, name: &str) -> Fallible<u64> {
        if self.0[name].is_null() { Ok(0) } else { self.u64(name) }
    }

    fn bool(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap_or(false)
    }

    fn numbers<const N: usize>(&self, name: &str) -> Fallible<[f64; N]> {
        let values: Option<Vec<f64>> =
            self.0[name].as_array().map(|list| list.iter().filter_map(Value::as_f64).collect());
        values
            .and_then(|values| values.try_into().ok())
            .ok_or_else(|| argument(format!("{name} is not a list of {N} numbers: {}", self.0[name])))
    }

    fn sizes<const N: usize>(&self, name: &str) -> Fallible<[usize; N]> {
        Ok(self.numbers(name)?.map(|x: f64| x as usize))
    }
}

/// `steps` batches of the reference's masks, `[step][generator]` in one list. Settings: `kind` (`multiblock3d`,
/// `random_tube`), `video` [T, H, W], `audio` [rows, cols, block rows, block cols] or null, `generators`, `seed`, `counter`,
/// `batch`, `steps`.
#[napi]
pub fn media_reference_masks(settings: String) -> napi::Result<Vec<MaskArrays>, String> {
    call(|| {
        let settings = parse(&settings)?;
        let fields = Fields(&settings);
        let audio = match settings["audio"].is_null() {
            true => None,
            false => {
                let [rows, cols, block_rows, block_cols] = fields.sizes("audio")?;
                Some(AudioGrid { rows, cols, block_rows, block_cols })
            }
        };
        let grid = MaskGrid { video: Some(fields.sizes("video")?), audio };
        let kind = match settings["kind"].as_str() {
            Some("multiblock3d") => MaskKind::Multiblock3d,
            Some("random_tube") => MaskKind::RandomTube,
            _ => return Err(argument(format!("there is no mask kind {}", settings["kind"]))),
        };
        let generators = settings["generators"].as_array().ok_or_else(|| argument("generators is not a list"))?;
        let generators = generators.iter().map(|value| generator(kind, value)).collect::<Fallible<Vec<_>>>()?;
        let mut masks = ReferenceMasks::new(generators, grid, fields.u64_or_0("seed")?, fields.u64_or_0("counter")?)?;
        let (steps, batch) = (fields.usize("steps")?, fields.usize("batch")?);
        Ok((0..steps).flat_map(|_| masks.next_batch(batch)).map(|of| RowMasks::new(&of).into()).collect())
    })
}

fn generator(kind: MaskKind, value: &Value) -> Fallible<MaskConfig> {
    let (fields, base) = (Fields(value), MaskConfig::default());
    let pair = |name: &str, default: [f64; 2]| if value[name].is_null() { Ok(default) } else { fields.numbers(name) };
    Ok(MaskConfig {
        kind,
        aspect_ratio: pair("aspect_ratio", base.aspect_ratio)?,
        num_blocks: if value["num_blocks"].is_null() { base.num_blocks } else { fields.usize("num_blocks")? },
        spatial_scale: pair("spatial_scale", base.spatial_scale)?,
        temporal_scale: pair("temporal_scale", base.temporal_scale)?,
        max_temporal_keep: fields.f64_or("max_temporal_keep", base.max_temporal_keep)?,
        max_keep: value["max_keep"].as_u64().map(|n| n as usize),
        ratio: fields.f64_or("ratio", base.ratio)?,
        audio_scale: if value["audio_scale"].is_null() { None } else { Some(fields.numbers("audio_scale")?) },
    })
}

/// Frame numbers `[num_clips, frames_per_clip]` as the reference chooses them. Settings: `frames_per_clip`, `frame_step`,
/// `duration`, `num_clips`, `allow_overlap`, `random`, `num_frames`, `fps`, `numpy_seed`.
#[napi]
pub fn media_reference_clips(settings: String) -> napi::Result<Int32Array, String> {
    call(|| {
        let settings = parse(&settings)?;
        let fields = Fields(&settings);
        let sampling = ReferenceClipSampling {
            frames_per_clip: fields.usize("frames_per_clip")?,
            frame_step: fields.usize("frame_step")?,
            duration: settings["duration"].as_f64(),
            num_clips: fields.usize("num_clips")?,
            allow_overlap: fields.bool("allow_overlap"),
            random: fields.bool("random"),
        };
        let mut rng = NumpyRng::new(fields.u64("numpy_seed")? as u32);
        let clips = reference_clip_indices(&sampling, fields.usize("num_frames")?, fields.f64("fps")?, &mut rng)?;
        Ok(clips.concat().into_iter().map(|i| i as i32).collect::<Vec<_>>().into())
    })
}

/// Samples [start, end) that belong to frames `first` to `last` in the reference.
#[napi]
pub fn media_reference_window(
    first: i32,
    last: i32,
    fps: f64,
    rate: f64,
    samples: u32,
) -> napi::Result<Vec<u32>, String> {
    call(|| {
        let window = audio_window(i64::from(first), i64::from(last), fps, rate, samples as usize)?;
        Ok(vec![window.start as u32, window.end as u32])
    })
}

/// The reference's mel filters `[128, 1025]`.
#[napi]
pub fn media_reference_filterbank(rate: f64) -> napi::Result<Float32Array, String> {
    call(|| Ok(reference_filterbank(rate).into()))
}

/// The reference's decibels `[128, columns]`, not stretched.
#[napi]
pub fn media_reference_decibels(audio: &[f32], rate: f64) -> napi::Result<Float32Array, String> {
    call(|| Ok(reference_decibels(audio, rate)?.into()))
}

/// The reference's spectrogram `[128, 192]`.
#[napi]
pub fn media_reference_spectrogram(audio: &[f32], rate: f64) -> napi::Result<Float32Array, String> {
    call(|| Ok(reference_spectrogram(audio, rate)?.into()))
}

/// The standard log-mel energies `[frames, mels]` of mono sound at 16 kHz, not normalised.
#[napi]
pub fn media_log_mel(audio: &[f32], mels: u32) -> napi::Result<Float32Array, String> {
    call(|| Ok(StandardSpectrogram::new(mels as usize, 0.0, 0.5)?.log_mel(audio)?.into()))
}

/// The standard spectrogram `[mels, frames]`, (log-mel − mean) / (2·std).
#[napi]
pub fn media_spectrogram(
    audio: &[f32],
    mels: u32,
    frames: u32,
    mean: f64,
    std: f64,
) -> napi::Result<Float32Array, String> {
    call(|| Ok(StandardSpectrogram::new(mels as usize, mean, std)?.normalised(audio, frames as usize)?.into()))
}

/// Frames `[T, H, W, 3]` with the sizes in `shape`.
fn frames<'a>(data: &'a [u8], shape: &[u32]) -> Fallible<Frames<'a>> {
    match shape {
        &[count, height, width] => Frames::new(data, count as usize, height as usize, width as usize),
        _ => Err(argument("the shape is [frames, height, width]")),
    }
}

fn normalisation(fields: &Fields) -> Fallible<Normalisation> {
    let mut normal = Normalisation::default();
    if !fields.0["mean"].is_null() {
        normal.mean = fields.numbers("mean")?.map(|x: f64| x as f32);
        normal.std = fields.numbers("std")?.map(|x: f64| x as f32);
    }
    Ok(normal)
}

fn draws(fields: &Fields) -> Fallible<ReferenceDraws> {
    let (python, numpy) = (fields.u64_or_0("python_seed")?, fields.u64_or_0("numpy_seed")?);
    Ok(ReferenceDraws::new(python, numpy as u32, fields.u64_or_0("torch_seed")?))
}

/// Boxes of pixels: cropped, resized to `out` [h, w] by bilinear interpolation, normalised: `[3, T, h, w]`. Settings: `box`
/// [top, left, height, width], `out`, `mean`, `std`.
#[napi]
pub fn media_crop_resize(data: &[u8], shape: Vec<u32>, settings: String) -> napi::Result<Float32Array, String> {
    call(|| {
        let settings = parse(&settings)?;
        let (fields, frames) = (Fields(&settings), frames(data, &shape)?);
        let [top, left, height, width] = fields.sizes("box")?;
        let size = fields.sizes("out")?;
        if top + height > frames.height || left + width > frames.width || height * width * size[0] * size[1] == 0 {
            return Err(argument("the box is not inside the frame"));
        }
        let mut out = vec![0.0; 3 * frames.count * size[0] * size[1]];
        crop_resize_f32(
            frames,
            &[CropBox { top, left, height, width }],
            size,
            false,
            &normalisation(&fields)?,
            &mut out,
        )?;
        Ok(out.into())
    })
}

/// Boxes [top, left, height, width] of the reference's random resized crop (`scale`, `ratio`) or erasing (`probability`,
/// `min_area`, `max_area`, `min_aspect`; −1 where nothing is erased), one for each of `entries` { height, width, seeds }.
#[napi]
pub fn media_boxes(settings: String) -> napi::Result<Int32Array, String> {
    call(|| {
        let settings = parse(&settings)?;
        let fields = Fields(&settings);
        let entries = settings["entries"].as_array().ok_or_else(|| argument("entries is not a list"))?;
        let erasing = match settings["probability"].as_f64() {
            None => None,
            Some(probability) => Some(RandomErasing {
                area: [fields.f64("min_area")?, fields.f64("max_area")?],
                min_aspect: fields.f64("min_aspect")?,
                ..RandomErasing::new(probability)
            }),
        };
        let mut boxes: Vec<i32> = Vec::new();
        for entry in entries {
            let entry = Fields(entry);
            let (height, width) = (entry.usize("height")?, entry.usize("width")?);
            let mut draws = draws(&entry)?;
            let side = |crop: CropBox| [crop.top, crop.left, crop.height, crop.width].map(|x| x as i32);
            boxes.extend(match erasing {
                Some(erasing) => {
                    draws.python = PythonRng::new(entry.u64("python_seed")?);
                    erasing.rectangle(height, width, &mut draws).map_or([-1; 4], side)
                }
                None => {
                    let (scale, ratio) = (fields.numbers("scale")?, fields.numbers("ratio")?);
                    side(random_resized_crop(height, width, scale, ratio, &mut draws))
                }
            });
        }
        Ok(boxes.into())
    })
}

/// One image operation of RandAugment (`level`) or AutoAugment (`magnitude`) on an image `[H, W, 3]`. Settings: `name`,
/// `level` or `magnitude`, `sign`, `fill`.
#[napi]
pub fn media_image_op(data: &[u8], shape: Vec<u32>, settings: String) -> napi::Result<Uint8Array, String> {
    call(|| {
        let settings = parse(&settings)?;
        let fields = Fields(&settings);
        let &[height, width] = shape.as_slice() else { return Err(argument("the shape is [height, width]")) };
        let image = frames(data, &[1, height, width])?;
        let name = settings["name"].as_str().unwrap_or_default();
        let unknown = || argument(format!("there is no image operation \"{name}\""));
        let (op, fill) = if settings["level"].is_null() {
            let ops = AUTO_AUGMENT_POLICY.concat();
            let (kind, ..) = ops.iter().find(|(op, ..)| format!("{op:?}") == name).ok_or_else(unknown)?;
            (kind.at_magnitude(fields.usize("magnitude")? as u8, || settings["sign"] == -1), AUTO_AUGMENT_FILL)
        } else {
            let kind = RAND_AUGMENT_OPS.into_iter().find(|op| format!("{op:?}") == name).ok_or_else(unknown)?;
            (
                kind.at_level(fields.f64("level")?, || settings["sign"] == -1),
                fields.numbers("fill")?.map(|x: f64| x as u8),
            )
        };
        let mut out = image.data().to_vec();
        op.apply(&mut out, image.height, image.width, fill);
        Ok(out.into())
    })
}

/// 8-bit pixels after a resize (and a crop): their sizes and bytes, image after image.
#[napi(object)]
pub struct Images {
    /// [height, width] of each.
    pub sizes: Vec<Vec<u32>>,
    pub data: Vec<Uint8Array>,
}

/// Resizes an image `[H, W, 3]`. Settings: `op` `pil_resize` with `filter` and `out` [h, w]; or
/// `cv2_short_side_center_crop`, `pil_short_side_center_crop` with `short_side` and `crop`: the resized, then the cropped.
#[napi]
pub fn media_resize(data: &[u8], shape: Vec<u32>, settings: String) -> napi::Result<Images, String> {
    call(|| {
        let settings = parse(&settings)?;
        let fields = Fields(&settings);
        let &[height, width] = shape.as_slice() else { return Err(argument("the shape is [height, width]")) };
        let image = frames(data, &[1, height, width])?;
        let size = [image.height, image.width];
        let mut images: Vec<(Vec<u8>, [usize; 2])> = Vec::new();
        match settings["op"].as_str() {
            Some("pil_resize") => {
                let filter = match settings["filter"].as_str() {
                    Some("bilinear") => PilFilter::Bilinear,
                    Some("bicubic") => PilFilter::Bicubic,
                    _ => return Err(argument(format!("there is no filter {}", settings["filter"]))),
                };
                let out = fields.sizes("out")?;
                images.push((pil_resize(data, size, out, filter), out));
            }
            Some(op @ ("cv2_short_side_center_crop" | "pil_short_side_center_crop")) => {
                let (short, crop) = (fields.usize("short_side")?, fields.usize("crop")?);
                let (resized, size) =
                    if op.starts_with("cv2") { resize_video(image, short) } else { resize_image(data, size, short) };
                let cropped = center_crop(Frames::new(&resized, 1, size[0], size[1])?, crop)?;
                images.extend([(resized, size), (cropped, [crop; 2])]);
            }
            _ => return Err(argument(format!("there is no resize {}", settings["op"]))),
        }
        Ok(Images {
            sizes: images.iter().map(|(_, size)| size.iter().map(|&side| side as u32).collect()).collect(),
            data: images.into_iter().map(|(data, _)| data.into()).collect(),
        })
    })
}

/// 8-bit frames normalised, channels first: `[3, T, H, W]`.
#[napi]
pub fn media_normalise(data: &[u8], shape: Vec<u32>, settings: String) -> napi::Result<Float32Array, String> {
    call(|| {
        let settings = parse(&settings)?;
        Ok(normalise(frames(data, &shape)?, &normalisation(&Fields(&settings))?).into())
    })
}

/// A whole transform with the reference's streams. Settings: `pipeline` (`pretrain`, `eval_train`, `eval_val`,
/// `image_train`), `crop_size`, its settings under the reference's names, and the seeds. A result for each view.
#[napi]
pub fn media_pipeline(data: &[u8], shape: Vec<u32>, settings: String) -> napi::Result<Vec<Float32Array>, String> {
    call(|| {
        let settings = parse(&settings)?;
        let fields = Fields(&settings);
        let (crop, frames) = (fields.usize("crop_size")?, frames(data, &shape)?);
        match settings["pipeline"].as_str() {
            Some("pretrain" | "eval_train") => {
                let reprob = fields.f64_or("reprob", 0.0)?;
                let transform = ClipTransform {
                    size: [crop; 2],
                    scale: fields.numbers("random_resize_scale")?,
                    ratio: fields.numbers("random_resize_aspect_ratio")?,
                    flip: if settings["random_horizontal_flip"] == false { 0.0 } else { 0.5 },
                    motion_shift: fields.bool("motion_shift"),
                    rand_augment: fields.bool("auto_augment").then(RandAugment::default),
                    erasing: (reprob > 0.0).then(|| RandomErasing::new(reprob)),
                    ..ClipTransform::default()
                };
                transform.validate()?;
                let mut out = vec![0.0; 3 * frames.count * crop * crop];
                transform.apply_f32(frames, &mut draws(&fields)?, &mut out)?;
                Ok(vec![out.into()])
            }
            Some("eval_val") => {
                let views = evaluation_views(frames, crop, fields.usize("num_views_per_clip")?)?;
                let normal = Normalisation::default();
                let one = |view: &Vec<u8>| Ok(normalise(Frames::new(view, frames.count, crop, crop)?, &normal).into());
                views.iter().map(one).collect()
            }
            Some("image_train") => {
                let (scale, ratio) = (fields.numbers("scale")?, fields.numbers("ratio")?);
                let transform = ImageTransform { crop, scale, ratio, erasing: None, normal: normalisation(&fields)? };
                Ok(vec![transform.apply(data, [frames.height, frames.width], &mut draws(&fields)?)?.into()])
            }
            _ => Err(argument(format!("there is no pipeline {}", settings["pipeline"]))),
        }
    })
}
