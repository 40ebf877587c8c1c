//! Sound files that are read without FFmpeg, by Symphonia.

use super::downmix;
use super::file_kind::plain_format;
use super::track::{Collector, Cut, Track as Sound};
use crate::error::{MediaError, Result};
use crate::video::Probe;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use symphonia::core::audio::Channels;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, SeekMode, SeekTo, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::packet::Packet;
use symphonia::core::units::Timestamp;

/// Decoded and dropped before a window after a seek: an MP3's reservoir goes back nine frames, Vorbis overlaps by one.
const PRE_ROLL_S: f64 = 0.5;

/// Reading on over this much is cheaper than a seek.
const NEAR_S: f64 = 1.0;

/// A demuxer that finds nothing but errors is given up after so many.
const ERRORS: u32 = 1000;

/// A sound file without pictures, through Symphonia. Its first sample is at time 0.
pub(super) struct PlainSound {
    path: PathBuf,
    format_name: &'static str,
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    rate: u32,
    channels: usize,
    weights: Vec<f32>,
    /// Samples, as the header says.
    announced: Option<u64>,
    /// Whether that is exact, not estimated from the file's size.
    is_exact: bool,
    /// First number past the last block.
    next: i64,
    /// Packets read and packets decoded so far.
    packets: (u64, u64),
    broken: Option<String>,
}

/// Decoded sound, mixed down.
struct Block {
    position: i64,
    samples: Vec<f32>,
}

impl PlainSound {
    /// None: not a file of this kind, or in an encoding that Symphonia does not know.
    ///
    /// # Errors
    /// `AVJ_MEDIA` naming the file: its headers are damaged.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let Some(format_name) = plain_format(path) else { return Ok(None) };
        let file = File::open(path).map_err(|error| MediaError::media(path, error.to_string()))?;
        let fail = |error: Error| damaged(path, format!("not a readable {format_name} file: {error}"));
        let mut hint = Hint::new();
        hint.with_extension(format_name);
        let stream = MediaSourceStream::new(Box::new(file), Default::default());
        let format = match symphonia::default::get_probe().probe(&hint, stream, Default::default(), Default::default())
        {
            Ok(format) => format,
            Err(Error::Unsupported(_)) => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let Some(track) = format.default_track(TrackType::Audio) else { return Ok(None) };
        let Some(parameters) = track.codec_params.as_ref().and_then(|parameters| parameters.audio()) else {
            return Ok(None);
        };
        // Without an encoder's tag an MP3's length is estimated, and nothing may be cut by that.
        let is_exact = format_name != "mp3" || track.delay.is_some();
        let options = AudioDecoderOptions::default().gapless(is_exact);
        let decoder = match symphonia::default::get_codecs().make_audio_decoder(parameters, &options) {
            Ok(decoder) => decoder,
            Err(Error::Unsupported(_)) => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let rate = parameters.sample_rate.unwrap_or(0);
        // Positions are counted in samples.
        let counts_samples = track.time_base.is_some_and(|base| base.numer.get() == 1 && base.denom.get() == rate);
        if rate == 0 || !counts_samples {
            return Ok(None);
        }
        let (channels, weights) = parameters.channels.as_ref().map_or((0, Vec::new()), layout);
        let (track, announced) = (track.id, track.num_frames.filter(|frames| *frames > 0));
        Ok(Some(Self {
            path: path.to_path_buf(),
            format_name,
            format,
            decoder,
            track,
            rate,
            channels,
            weights,
            announced,
            is_exact,
            next: 0,
            packets: (0, 0),
            broken: None,
        }))
    }

    /// What is in the file. Where the header does not give its length, its packets are counted.
    pub fn probe(mut self) -> Result<Probe> {
        let samples = match self.announced {
            Some(samples) => samples as f64,
            None => {
                let mut end = 0;
                while let Some(packet) = self.packet()? {
                    end = end.max(packet.pts.get() + packet.block_dur().get() as i64);
                }
                end as f64
            }
        };
        if self.channels == 0 {
            self.next_block()?;
        }
        Ok(Probe {
            path: self.path,
            format: self.format_name.to_owned(),
            has_audio: true,
            duration_s: samples / f64::from(self.rate),
            audio_codec: self.decoder.codec_info().short_name.to_owned(),
            sample_rate: self.rate,
            channels: self.channels as u32,
            ..Probe::default()
        })
    }

    /// The next packet; none at the end, or where the file is too damaged to go on.
    fn packet(&mut self) -> Result<Option<Packet>> {
        for _ in 0..ERRORS {
            match self.format.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track => {
                    self.packets.0 += 1;
                    return Ok(Some(packet));
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(Error::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
                Err(Error::IoError(error)) => return Err(MediaError::media(&self.path, error.to_string())),
                // Another stream follows: the first one is the file's sound.
                Err(Error::ResetRequired) => return Ok(None),
                Err(error) => self.broken = Some(error.to_string()),
            }
        }
        Ok(None)
    }

    fn next_block(&mut self) -> Result<Option<Block>> {
        let mut interleaved: Vec<f32> = Vec::new();
        while let Some(packet) = self.packet()? {
            let decoded = match self.decoder.decode(&packet) {
                Ok(decoded) => decoded,
                // A damaged packet is skipped; its place stays silent.
                Err(error) => {
                    self.broken = Some(error.to_string());
                    continue;
                }
            };
            if decoded.frames() == 0 {
                continue;
            }
            if decoded.spec().rate() != self.rate {
                let message = format!("the sample rate changes from {} to {} Hz", self.rate, decoded.spec().rate());
                return Err(MediaError::media(&self.path, message).with_hint("encode it again at one rate"));
            }
            (self.channels, self.weights) = layout(decoded.spec().channels());
            decoded.copy_to_vec_interleaved(&mut interleaved);
            self.packets.1 += 1;
            let mut samples = Vec::new();
            downmix::mix(&interleaved, &self.weights, &mut samples);
            let position = packet.pts.get() + packet.trim_start.get() as i64;
            self.next = position + samples.len() as i64;
            return Ok(Some(Block { position, samples }));
        }
        Ok(None)
    }

    /// Seeks to some way before sample `first` if that is far ahead. Whether it did.
    fn approach(&mut self, first: i64) -> Result<bool> {
        let samples = |seconds: f64| (seconds * f64::from(self.rate)) as i64;
        let target = first - samples(PRE_ROLL_S);
        if target <= self.next + samples(NEAR_S) || self.announced.is_some_and(|end| target >= end as i64) {
            return Ok(false);
        }
        let to = SeekTo::Timestamp { ts: Timestamp::new(target), track_id: self.track };
        match self.format.seek(SeekMode::Accurate, to) {
            Ok(seeked) if seeked.actual_ts.get() <= target => {
                self.decoder.reset();
                Ok(true)
            }
            _ => self.rewind().map(|()| false),
        }
    }

    fn rewind(&mut self) -> Result<()> {
        let gone = || MediaError::media(&self.path, "the file has changed while it was read");
        *self = Self::open(&self.path)?.ok_or_else(gone)?;
        Ok(())
    }

    /// Collects blocks up to the end of the range. Whether the track ended before.
    fn collect(&mut self, collector: &mut Collector) -> Result<bool> {
        while !collector.is_full() {
            match self.next_block()? {
                None => return Ok(true),
                Some(block) if collector.is_past(block.position) => return Ok(false),
                Some(block) => collector.push(block.position, &block.samples),
            }
        }
        Ok(false)
    }

    /// Refuses a file that ends well before its header says.
    fn check_end(&self, reached: i64) -> Result<()> {
        let rate = f64::from(self.rate);
        let why = self.broken.as_ref().map_or_else(String::new, |why| format!(" [{why}]"));
        if self.packets.1 == 0 {
            let message = match self.packets.0 {
                0 => format!("the {} file holds no sound{why}", self.format_name),
                n => format!("the {} file does not decode: {n} packets, 0 of them sound{why}", self.format_name),
            };
            return Err(damaged(&self.path, message));
        }
        let announced = self.announced.filter(|_| self.is_exact).unwrap_or(0);
        let (end_s, announced_s) = (reached as f64 / rate, announced as f64 / rate);
        if announced_s - end_s <= 0.25 || self.is_written_to_a_pipe(announced) {
            return Ok(());
        }
        Err(damaged(&self.path, format!("the sound ends after {end_s:.1} of {announced_s:.1} s{why}")))
    }

    /// What streams a wav file cannot know its length, and writes the largest number there is.
    fn is_written_to_a_pipe(&self, announced: u64) -> bool {
        let bytes = self.decoder.codec_params().bits_per_sample.unwrap_or(16).div_ceil(8);
        self.format_name == "wav"
            && announced * u64::from(bytes) * self.channels as u64 >= u64::from(u32::MAX) - (1 << 20)
    }
}

fn damaged(path: &Path, message: String) -> MediaError {
    MediaError::media(path, message).with_hint("the file is cut short or damaged: fetch or encode it again")
}

/// Number of channels, and their weights in the mix.
fn layout(channels: &Channels) -> (usize, Vec<f32>) {
    let mask = match channels {
        // The first 18 bits are those of a wave file, which FFmpeg's are as well.
        Channels::Positioned(positions) if positions.bits() < 1 << 18 => positions.bits(),
        _ => 0,
    };
    let count = channels.count().max(1);
    (count, downmix::weights(count, mask))
}

impl Sound for PlainSound {
    fn rate(&self) -> u32 {
        self.rate
    }

    fn origin_s(&self) -> f64 {
        0.0
    }

    fn read(&mut self, range: Range<i64>) -> Result<Cut> {
        let sought = self.approach(range.start)?;
        let mut collector = Collector::new(range.clone());
        let mut ended = self.collect(&mut collector)?;
        if sought && collector.reached() == 0 {
            // Sought past what is left of a file that is cut short: from the start, one can tell how much that is.
            self.rewind()?;
            collector = Collector::new(range);
            ended = self.collect(&mut collector)?;
        }
        if ended {
            self.check_end(collector.reached())?;
        }
        Ok(collector.finish(ended))
    }
}
