//! From a configuration to a running loader.

use std::thread::available_parallelism;

use super::clip_source::ClipSource;
use super::config::LoaderConfig;
use super::engine::{Loader, Settings};
use super::grid::Grids;
use super::masks::BatchMasks;
use crate::error::Result;
use crate::index::Index;
use crate::order::Order;

/// What was opened.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderInfo {
    pub samples: usize,
    /// Of the index: changes when a path or a label does.
    pub fingerprint: u64,
    pub workers: usize,
    pub grids: Grids,
    /// What the user should know, one line each.
    pub notices: Vec<String>,
}

/// Reads the index files and starts the loader.
///
/// # Errors
/// `AVJ_INDEX` for the index files and weights; `AVJ_CONFIG`, `AVJ_AUDIO`, `AVJ_MASK` for settings; `AVJ_THREAD`.
pub fn open(config: LoaderConfig) -> Result<(Loader, LoaderInfo)> {
    config.validate()?;
    let index = Index::read(&config.data.datasets)?;
    let cores = available_parallelism().map_or(1, usize::from);
    let wanted = config.data.num_workers.max(1);
    let mut notices = Vec::new();
    if wanted > cores {
        notices.push(format!(
            "data.num_workers is {wanted}, but there are {cores} cores: {cores} loader threads are used"
        ));
    }
    let (samples, fingerprint) = (index.len(), index.fingerprint());
    let order = Order::new(
        index.files(),
        config.data.datasets_weights.as_deref(),
        config.order_kind(),
        config.seed,
        config.share(),
    )?;
    let cursor = config.position.into();
    let (passes, drop_last, max_bad_fraction) = (config.passes, config.drop_last, config.data.max_bad_fraction);
    let judge = config.judge;
    let (clips, frames) = (config.rows_of_sample(), config.data.num_frames);
    let source = ClipSource::new(index, config)?;
    let (grids, masks) = (source.grids(), BatchMasks::of(source.masks()));
    let workers = wanted.min(cores);
    let settings = Settings { workers, clips, frames, grids, max_bad_fraction, judge, passes, drop_last, masks };
    let loader = Loader::start(source, order, settings, cursor)?;
    Ok((loader, LoaderInfo { samples, fingerprint, workers, grids, notices }))
}
