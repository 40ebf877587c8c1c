//! Samples from media files.

use std::path::Path;

use super::bad_files::EventKind;
use super::batch::Pixels;
use super::clip_audio::{ClipAudio, Heard};
use super::config::{Compat, FrameSampling, LoaderConfig, Missing, Modality, PixelFormat};
use super::grid::{Grids, VideoGrid};
use super::masks::{MaskSampler, RowAddress};
use super::source::{Clip, Note, Reading, Refusal, Source};
use crate::audio::probe;
use crate::clip_sampling::{ClipFrames, ClipSampling, ClipStep, ReferenceClipSampling, reference_clip_indices};
use crate::error::{MediaError, Result};
use crate::index::Index;
use crate::order::Draw;
use crate::random::{NumpyRng, Purpose, SampleRng};
use crate::regular_file::check_file;
use crate::transform::{ClipTransform, Frames, ReferenceDraws, evaluation_views, normalise};
use crate::video::{OpenOptions, VideoFile};

/// The reference's limits on a file, in bytes.
const REFERENCE_SIZES: std::ops::RangeInclusive<u64> = 1024..=1_000_000_000;

/// Decodes, cuts, augments and masks the files of an index.
pub struct ClipSource {
    index: Index,
    config: LoaderConfig,
    grids: Grids,
    sampling: ClipSampling,
    transform: ClipTransform,
    audio: Option<ClipAudio>,
    masks: MaskSampler,
}

impl ClipSource {
    /// # Errors
    /// `AVJ_CONFIG`, `AVJ_AUDIO`, `AVJ_MASK` for settings that nothing can be made with.
    pub fn new(index: Index, config: LoaderConfig) -> Result<Self> {
        let grids = Grids::new(&config)?;
        let data = &config.data;
        let sampling = ClipSampling {
            frames_per_clip: data.num_frames,
            step: data.clip_duration.map_or(ClipStep::Frames(data.sampling_rate), ClipStep::Seconds),
            num_clips: data.num_clips,
            allow_overlap: config.evaluation.is_some(),
            random: !config.is_fixed(),
        };
        let audio = grids.audio.map(|grid| ClipAudio::new(&config, grid)).transpose()?;
        let masks = MaskSampler::new(&config, &grids)?;
        Ok(Self { transform: config.transform()?, index, config, grids, sampling, audio, masks })
    }

    pub fn grids(&self) -> Grids {
        self.grids
    }

    pub fn masks(&self) -> &MaskSampler {
        &self.masks
    }

    fn rng(&self, draw: Draw, purpose: Purpose) -> SampleRng {
        SampleRng::new(self.config.seed, draw.pass, draw.index as u64, purpose)
    }

    /// The clips' pictures, without sound and masks; none if the file has no picture and that is allowed.
    fn video_clips(
        &self,
        draw: Draw,
        path: &Path,
        notes: &mut Vec<Note>,
    ) -> std::result::Result<Option<Seen>, Refusal> {
        let Some(grid) = self.grids.video else { return Ok(None) };
        let mut video = match VideoFile::open(path, &OpenOptions::default()) {
            Ok(video) => video,
            Err(error) => return self.no_video(path, error, notes).map(|()| None),
        };
        if self.config.data.filter_short_videos && !self.fits(&video) {
            let reason = format!("{} frames are fewer than a clip takes", video.pts().len());
            return Err(Refusal::Unwanted(Note { kind: EventKind::Short, reason }));
        }
        let frames = self.sample_frames(draw, &video)?;
        if let Some(short) = frames.iter().find(|clip| clip.repeated > 0) {
            let (count, repeated) = (video.pts().len(), short.repeated);
            let times = if repeated == 1 { "once".to_owned() } else { format!("{repeated} times") };
            let reason = format!("{count} frames are fewer than a clip takes: the last is repeated {times}");
            notes.push(Note { kind: EventKind::Short, reason });
        }
        let indices: Vec<usize> = frames.iter().flat_map(|clip| clip.indices.iter().copied()).collect();
        let decoded = video.decode(&indices)?;
        let clip_bytes = decoded.data.len() / frames.len();
        let mut clips = Vec::with_capacity(frames.len());
        let mut views = Vec::with_capacity(frames.len());
        for (c, (bytes, clip)) in decoded.data.chunks_exact(clip_bytes).zip(frames).enumerate() {
            let source = Frames::new(bytes, grid.frames, decoded.height, decoded.width)?;
            let start = decoded.pts[c * grid.frames];
            clips.push(Clip { frames: clip.indices, start, ..Clip::default() });
            views.push(match self.config.is_fixed() {
                true => self.fixed_views(source, grid)?,
                false => vec![self.augment(draw, c as u16, source, grid)?],
            });
        }
        Ok(Some(Seen { clips, views, fps: video.info().avg_fps }))
    }

    /// A file that could not be opened as a film: sound alone, or broken?
    fn no_video(&self, path: &Path, error: MediaError, notes: &mut Vec<Note>) -> std::result::Result<(), Refusal> {
        let heard = probe(path).is_ok_and(|probe| !probe.has_video && probe.has_audio);
        if !heard || !self.config.has(Modality::Audio) {
            return Err(error.into());
        }
        let note = Note { kind: EventKind::MissingVideo, reason: "the file has no picture".to_owned() };
        match self.config.data.missing_video {
            Missing::Mask => notes.push(note),
            Missing::Skip => return Err(Refusal::Unwanted(note)),
            Missing::Error => {
                let hint = "data.missing_video is error; set it to mask or skip, or take the file out of the index";
                return Err(Refusal::Fatal(MediaError::media(path, note.reason).with_hint(hint)));
            }
        }
        Ok(())
    }

    fn fits(&self, video: &VideoFile) -> bool {
        match (self.config.data.frame_sampling, self.config.data.clip_duration) {
            (FrameSampling::Exact, _) => self.sampling.fits(video.pts()),
            (FrameSampling::Reference, None) => {
                video.pts().len() >= self.config.data.num_frames * self.config.data.sampling_rate
            }
            (FrameSampling::Reference, Some(duration)) => {
                let (n, fps) = (self.config.data.num_frames, video.info().avg_fps);
                video.pts().len() >= n * (duration * fps / n as f64) as usize
            }
        }
    }

    fn sample_frames(&self, draw: Draw, video: &VideoFile) -> Result<Vec<ClipFrames>> {
        let mut rng = self.rng(draw, Purpose::Clip);
        let data = &self.config.data;
        if data.frame_sampling == FrameSampling::Exact {
            return self.sampling.sample(video.pts(), &mut rng);
        }
        let sampling = ReferenceClipSampling {
            frames_per_clip: data.num_frames,
            frame_step: data.sampling_rate,
            duration: data.clip_duration,
            num_clips: data.num_clips,
            allow_overlap: self.config.evaluation.is_some(),
            // The published evaluations draw their clips in testing as well.
            random: true,
        };
        let mut numpy = NumpyRng::new(rng.next_u32());
        let clips = reference_clip_indices(&sampling, video.pts().len(), video.info().avg_fps, &mut numpy)?;
        let unsigned = |clip: Vec<i64>| clip.into_iter().map(|i| i as usize).collect();
        Ok(clips.into_iter().map(|clip| ClipFrames { indices: unsigned(clip), repeated: 0 }).collect())
    }

    /// The crops that evaluations take of a clip.
    fn fixed_views(&self, frames: Frames, grid: VideoGrid) -> Result<Vec<Pixels>> {
        let views = evaluation_views(frames, grid.crop, self.config.views())?;
        let pixels = |bytes: Vec<u8>| match grid.format {
            PixelFormat::U8 => Ok(Pixels::Bytes(bytes)),
            PixelFormat::F32 => {
                let frames = Frames::new(&bytes, grid.frames, grid.crop, grid.crop)?;
                Ok(Pixels::Floats(normalise(frames, &self.transform.normal)))
            }
        };
        views.into_iter().map(pixels).collect()
    }

    fn augment(&self, draw: Draw, clip: u16, frames: Frames, grid: VideoGrid) -> Result<Pixels> {
        let mut rng = self.rng(draw, Purpose::Transform { clip });
        let reference = || {
            let mut rng = rng.clone();
            ReferenceDraws::new(u64::from(rng.next_u32()), rng.next_u32(), u64::from(rng.next_u32()))
        };
        let emulated = self.config.compat == Compat::Reference;
        match grid.format {
            PixelFormat::U8 => {
                let mut out = vec![0; grid.len()];
                match emulated {
                    true => self.transform.apply_u8(frames, &mut reference(), &mut out)?,
                    false => self.transform.apply_u8(frames, &mut rng, &mut out)?,
                }
                Ok(Pixels::Bytes(out))
            }
            PixelFormat::F32 => {
                let mut out = vec![0.0; grid.len()];
                match emulated {
                    true => self.transform.apply_f32(frames, &mut reference(), &mut out)?,
                    false => self.transform.apply_f32(frames, &mut rng, &mut out)?,
                }
                Ok(Pixels::Floats(out))
            }
        }
    }

    /// Adds the sound to clips whose picture is there, or makes clips of the sound alone.
    fn add_audio(
        &self,
        draw: Draw,
        path: &Path,
        seen: Option<Seen>,
        notes: &mut Vec<Note>,
    ) -> std::result::Result<Vec<Clip>, Refusal> {
        let has_video = seen.is_some();
        let Some(audio) = &self.audio else { return Ok(seen.map_or_else(Vec::new, |seen| seen.clips)) };
        let (clips, heard) = match seen {
            Some(Seen { mut clips, fps, .. }) => {
                let heard = audio.of_film(path, &mut clips, fps)?;
                (clips, heard)
            }
            None => {
                let mut rng = self.rng(draw, Purpose::Clip);
                audio.alone(path, self.config.data.num_clips, (!self.config.is_fixed()).then_some(&mut rng))?
            }
        };
        let (kind, reason) = match heard {
            Heard::Sound => return Ok(clips),
            Heard::Silence => (EventKind::Silent, "the sound is digital silence"),
            Heard::Nothing => (EventKind::MissingAudio, "the file has no sound"),
            Heard::TooShort => (EventKind::MissingAudio, "the sound ends before the clip does"),
        };
        let note = Note { kind, reason: reason.to_owned() };
        match self.config.data.missing_audio {
            Missing::Skip => Err(Refusal::Unwanted(note)),
            Missing::Error if heard == Heard::Nothing => {
                let hint = "data.missing_audio is error; set it to mask or skip, or take the file out of the index";
                Err(Refusal::Fatal(MediaError::media(path, note.reason).with_hint(hint)))
            }
            _ if has_video => {
                notes.push(note);
                Ok(clips)
            }
            // Nothing would be left of the sample.
            _ if kind == EventKind::Silent => Err(Refusal::Unwanted(note)),
            _ => Err(MediaError::media(path, format!("{}, and no picture that is used", note.reason)).into()),
        }
    }

    fn check_size(&self, path: &Path) -> Result<()> {
        let size = check_file(path)?;
        if self.config.compat == Compat::Reference && !REFERENCE_SIZES.contains(&size) {
            let message = format!("{size} bytes: with meta.compat: reference a file has from 1 kB to 1 GB");
            return Err(MediaError::media(path, message));
        }
        Ok(())
    }
}

/// What a film showed.
struct Seen {
    /// Without pixels yet.
    clips: Vec<Clip>,
    /// The crops of each clip.
    views: Vec<Vec<Pixels>>,
    fps: f64,
}

/// A row for each crop of each clip, clip by clip: with the crop's pixels and the clip's sound.
fn spread_views(clips: Vec<Clip>, mut pixels: Vec<Vec<Pixels>>, views: usize) -> Vec<Clip> {
    pixels.resize_with(clips.len(), || vec![Pixels::None; views]);
    let rows = clips.into_iter().zip(pixels).flat_map(|(clip, views)| {
        let last = views.len() - 1;
        let mut whole = Some(clip);
        views.into_iter().enumerate().filter_map(move |(v, pixels)| {
            let clip = if v == last { whole.take() } else { whole.clone() };
            clip.map(|clip| Clip { pixels, ..clip })
        })
    });
    rows.collect()
}

impl Source for ClipSource {
    fn len(&self) -> usize {
        self.index.len()
    }

    fn path(&self, index: usize) -> &Path {
        &self.index.get(index).path
    }

    fn label(&self, index: usize) -> i32 {
        self.index.get(index).label
    }

    fn read(&self, draw: Draw) -> std::result::Result<Reading, Refusal> {
        let path = self.path(draw.index);
        self.check_size(path)?;
        let mut notes = Vec::new();
        let mut seen = self.video_clips(draw, path, &mut notes)?;
        let views = seen.as_mut().map_or_else(Vec::new, |seen| std::mem::take(&mut seen.views));
        let clips = self.add_audio(draw, path, seen, &mut notes)?;
        let mut clips = spread_views(clips, views, self.config.views());
        for (c, clip) in clips.iter_mut().enumerate() {
            clip.masks = self.masks.row(RowAddress {
                pass: draw.pass,
                index: draw.index as u64,
                clip: c as u16,
                has_video: !clip.pixels.is_none(),
                audio_cols: clip.audio_cols,
            })?;
        }
        Ok(Reading { clips, notes })
    }
}
