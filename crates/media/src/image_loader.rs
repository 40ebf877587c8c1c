//! Batches of pictures, by the same threads and in the same orders as clips.

use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use serde::Deserialize;

use crate::error::{MediaError, Result};
use crate::image_file::read_picture;
use crate::image_folder::ImageFolder;
use crate::index::Index;
use crate::loader::{
    BatchMasks, Clip, Compat, Cursor, EventKind, Grids, Loader, LoaderInfo, Note, OrderName, PixelFormat, Pixels,
    Reading, Refusal, Settings, Source, VideoGrid,
};
use crate::order::{Draw, Order, OrderKind, Share};
use crate::random::{Purpose, SampleRng};
use crate::transform::{
    Frames, ImageTransform, Normalisation, RandomErasing, ReferenceDraws, evaluation_image, normalise,
};

/// What is loaded, and how.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageLoaderConfig {
    /// A folder of class folders; or index files.
    pub folder: Option<PathBuf>,
    pub index: Vec<PathBuf>,
    /// Names of the training set's classes, where `folder` is not it.
    pub classes: Option<Vec<String>>,
    pub crop_size: usize,
    pub patch_size: usize,
    /// The training transform, and other pictures in place of broken ones; else the centre, and no pixels for broken ones.
    pub train: bool,
    /// Of training: range of the crop's share of the picture, and of its width over its height.
    pub scale: [f64; 2],
    pub ratio: [f64; 2],
    /// Of training: chance of erasing a rectangle.
    pub reprob: f64,
    pub pixels: Option<PixelFormat>,
    pub compat: Compat,
    pub seed: u64,
    pub batch: usize,
    pub rank: usize,
    pub world: usize,
    pub order: Option<OrderName>,
    pub passes: Option<u64>,
    pub drop_last: bool,
    pub num_workers: usize,
    pub max_bad_fraction: f64,
    pub pass: u64,
    pub position: u64,
}

impl Default for ImageLoaderConfig {
    fn default() -> Self {
        Self {
            folder: None,
            index: Vec::new(),
            classes: None,
            crop_size: 224,
            patch_size: 16,
            train: false,
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            reprob: 0.25,
            pixels: None,
            compat: Compat::default(),
            seed: 0,
            batch: 1,
            rank: 0,
            world: 1,
            order: None,
            passes: None,
            drop_last: false,
            num_workers: 1,
            max_bad_fraction: 0.05,
            pass: 0,
            position: 0,
        }
    }
}

impl ImageLoaderConfig {
    /// # Errors
    /// `AVJ_CONFIG` for what is no such configuration.
    pub fn from_json(json: &str) -> Result<Self> {
        serde_json::from_str(json)
            .map_err(|error| MediaError::new("AVJ_CONFIG", format!("the loader's settings: {error}")))
    }

    fn validate(&self) -> Result<()> {
        let wrong = |message: String| Err(MediaError::new("AVJ_CONFIG", message));
        if self.crop_size == 0 || self.patch_size == 0 || self.batch == 0 {
            return wrong("the crop, the patch and the batch must be at least 1".to_owned());
        }
        if self.train && self.pixels == Some(PixelFormat::U8) {
            return wrong("training pictures are normalised before a part is erased: they are no bytes".to_owned());
        }
        if !(self.scale[0] > 0.0 && self.scale[0] <= self.scale[1] && self.scale[1] <= 1.0) {
            return wrong(format!("scale is {:?}, but must be a range within 0 to 1", self.scale));
        }
        if !(self.ratio[0] > 0.0 && self.ratio[0] <= self.ratio[1]) {
            return wrong(format!("ratio is {:?}, but must be a range above 0", self.ratio));
        }
        if !(0.0..=1.0).contains(&self.reprob) || !(0.0..=1.0).contains(&self.max_bad_fraction) {
            return wrong("chances and fractions are from 0 to 1".to_owned());
        }
        Ok(())
    }

    fn grid(&self) -> VideoGrid {
        let format = self.pixels.unwrap_or(if self.train { PixelFormat::F32 } else { PixelFormat::U8 });
        let side = self.crop_size / self.patch_size;
        VideoGrid { frames: 1, crop: self.crop_size, tokens: [1, side, side], format }
    }

    fn order_kind(&self) -> OrderKind {
        let order = self.order.unwrap_or(if self.train { OrderName::Shuffled } else { OrderName::Sequential });
        match (order, self.compat) {
            (OrderName::Sequential, _) => OrderKind::Sequential,
            (OrderName::Shuffled, Compat::Reference) => OrderKind::Reference,
            (OrderName::Shuffled, Compat::Corrected) => OrderKind::Shuffled,
        }
    }
}

/// What was opened.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageLoaderInfo {
    pub loader: LoaderInfo,
    /// Names of the classes; empty for index files.
    pub classes: Vec<String>,
}

/// Lists the pictures and starts the loader.
///
/// # Errors
/// `AVJ_INDEX` for the folder or index files; `AVJ_CONFIG` for settings; `AVJ_THREAD`.
pub fn open_images(config: ImageLoaderConfig) -> Result<(Loader, ImageLoaderInfo)> {
    config.validate()?;
    let mut notices = Vec::new();
    let (index, classes) = match &config.folder {
        Some(folder) => {
            let found = ImageFolder::read(folder, config.classes.as_deref())?;
            notices.extend(found.notices);
            (Index::from_samples(found.samples), found.classes)
        }
        None => (Index::read(&config.index)?, Vec::new()),
    };
    let (samples, fingerprint) = (index.len(), index.fingerprint());
    let share = Share { rank: config.rank, world: config.world, batch: config.batch };
    let order = Order::new(index.files(), None, config.order_kind(), config.seed, share)?;
    let cores = available_parallelism().map_or(1, usize::from);
    let workers = config.num_workers.clamp(1, cores);
    let grids = Grids { video: Some(config.grid()), audio: None };
    let settings = Settings {
        workers,
        clips: 1,
        frames: 1,
        grids,
        max_bad_fraction: config.max_bad_fraction,
        judge: true,
        passes: config.passes,
        drop_last: config.drop_last,
        masks: BatchMasks(None),
    };
    let cursor = Cursor { pass: config.pass, position: config.position };
    let loader = Loader::start(ImageSource::new(index, config), order, settings, cursor)?;
    Ok((loader, ImageLoaderInfo { loader: LoaderInfo { samples, fingerprint, workers, grids, notices }, classes }))
}

/// Decodes and transforms the pictures of an index.
pub struct ImageSource {
    index: Index,
    config: ImageLoaderConfig,
    transform: ImageTransform,
}

impl ImageSource {
    pub fn new(index: Index, config: ImageLoaderConfig) -> Self {
        let transform = ImageTransform {
            crop: config.crop_size,
            scale: config.scale,
            ratio: config.ratio,
            erasing: (config.reprob > 0.0).then(|| RandomErasing::image(config.reprob)),
            normal: Normalisation::default(),
        };
        Self { index, config, transform }
    }

    fn pixels(&self, draw: Draw, path: &Path) -> Result<Pixels> {
        let picture = read_picture(path)?;
        let size = [picture.height, picture.width];
        let crop = self.config.crop_size;
        if !self.config.train {
            let bytes = evaluation_image(&picture.data, size, crop)?;
            return Ok(match self.config.grid().format {
                PixelFormat::U8 => Pixels::Bytes(bytes),
                PixelFormat::F32 => {
                    Pixels::Floats(normalise(Frames::new(&bytes, 1, crop, crop)?, &self.transform.normal))
                }
            });
        }
        let mut rng = SampleRng::new(self.config.seed, draw.pass, draw.index as u64, Purpose::Transform { clip: 0 });
        Ok(Pixels::Floats(match self.config.compat {
            Compat::Corrected => self.transform.apply(&picture.data, size, &mut rng)?,
            Compat::Reference => {
                let mut draws =
                    ReferenceDraws::new(u64::from(rng.next_u32()), rng.next_u32(), u64::from(rng.next_u32()));
                self.transform.apply(&picture.data, size, &mut draws)?
            }
        }))
    }
}

impl Source for ImageSource {
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
        match self.pixels(draw, self.path(draw.index)) {
            Ok(pixels) => {
                Ok(Reading { clips: vec![Clip { pixels, frames: vec![0], ..Clip::default() }], notes: Vec::new() })
            }
            // An evaluation counts each picture once, so no other may take its place: the row stays without pixels.
            Err(error) if !self.config.train && error.code == "AVJ_MEDIA" => {
                let note = Note { kind: EventKind::Bad, reason: error.message };
                Ok(Reading { clips: vec![Clip::default()], notes: vec![note] })
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};
    use std::fs;

    fn data(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("avjepa-image-loader-{name}-{}", std::process::id()));
        fs::remove_dir_all(&root).unwrap_or_default();
        for (class, colour) in [("a", 50), ("b", 200)] {
            fs::create_dir_all(root.join(class)).unwrap();
            for i in 0..4_u8 {
                RgbImage::from_pixel(40, 30, Rgb([colour, i, 0]))
                    .save(root.join(class).join(format!("{i}.png")))
                    .unwrap();
            }
        }
        fs::write(root.join("b").join("1.png"), b"broken").unwrap();
        root
    }

    fn config(root: &Path) -> ImageLoaderConfig {
        ImageLoaderConfig {
            folder: Some(root.to_path_buf()),
            crop_size: 16,
            batch: 5,
            passes: Some(1),
            max_bad_fraction: 0.5,
            num_workers: 2,
            ..ImageLoaderConfig::default()
        }
    }

    #[test]
    fn an_evaluation_counts_each_picture_once() {
        let root = data("evaluation");
        let (mut loader, info) = open_images(config(&root)).unwrap();
        assert_eq!((info.loader.samples, info.classes.as_slice()), (8, ["a".to_owned(), "b".to_owned()].as_slice()));
        let (first, second) = (loader.next_batch().unwrap().unwrap(), loader.next_batch().unwrap().unwrap());
        assert!(loader.next_batch().unwrap().is_none());
        assert_eq!((first.samples, second.samples), (5, 3));
        assert_eq!(first.labels, [0, 0, 0, 0, 1]);
        assert_eq!(second.has_video, [false, true, true]);
        assert_eq!((second.events.len(), second.events[0].replaced, second.counts.bad), (1, false, 1));
        let Pixels::Bytes(bytes) = &second.pixels else { panic!("bytes") };
        assert_eq!((&bytes[..3], &bytes[16 * 16 * 3..][..3]), ([0, 0, 0].as_slice(), [200, 2, 0].as_slice()));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn training_replaces_broken_pictures_and_repeats_itself() {
        let root = data("training");
        let run = || {
            let config = ImageLoaderConfig { train: true, ..config(&root) };
            let (mut loader, _) = open_images(config).unwrap();
            (0..2).map(|_| loader.next_batch().unwrap().unwrap()).collect::<Vec<_>>()
        };
        let (one, two) = (run(), run());
        for (a, b) in one.iter().zip(&two) {
            assert_eq!((&a.draws, &a.pixels), (&b.draws, &b.pixels));
            assert!(a.has_video.iter().all(|&seen| seen));
        }
        assert_eq!(one.iter().flat_map(|batch| &batch.events).filter(|event| event.replaced).count(), 1);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        let refused = |json: &str| {
            let error = ImageLoaderConfig::from_json(json).and_then(|config| open_images(config).map(|_| ()));
            error.unwrap_err().message
        };
        assert!(refused(r#"{"crop": 3}"#).contains("unknown field"));
        assert!(refused(r#"{"crop_size": 0}"#).contains("at least 1"));
        assert!(refused(r#"{"scale": [0.5, 2]}"#).contains("scale is [0.5, 2.0]"));
        assert!(refused("{}").contains("no index file is given"));
    }
}
