//! The sound of whatever FFmpeg reads.

use super::downmix;
use super::track::{Collector, Cut, Track};
use crate::error::{MediaError, Result};
use crate::library::abi::{FileInfo, FrameInfo, NO_PTS, StreamInfo, name_str};
use crate::library::{Input, Received};
use std::ops::Range;
use std::path::Path;

/// Decoded and dropped before a window after a seek: Opus asks for 80 ms, an MP3's reservoir goes back nine frames; what a
/// codec predicts from frame to frame fades within this.
const PRE_ROLL_S: f64 = 0.5;

/// Reading on over this much is cheaper than a seek.
const NEAR_S: f64 = 1.0;

/// By how much a timestamp may differ from the end of the sound before it without there being a gap. Containers round to
/// a millisecond and recorders are worse; the shortest usual packet of sound that can be lost is 20 ms.
const JITTER_S: f64 = 0.010;

/// Containers whose timestamps are stored with the packets, so that they hold after a seek.
const SEEKABLE: [&str; 5] = ["mp4", "matroska", "avi", "mpegts", "ogg"];

/// Codecs whose packets hold now more, now fewer samples.
const UNEVEN: [&str; 2] = ["vorbis", "wma"];

/// Decoded sound, mixed down.
struct Block {
    position: i64,
    samples: Vec<f32>,
}

/// The default audio track of a file, through FFmpeg.
pub(super) struct FilmSound {
    input: Input,
    file: FileInfo,
    stream: StreamInfo,
    rate: u32,
    origin_s: f64,
    /// Blocks decoded while the track was opened, in order.
    opening: Vec<Block>,
    place: Place,
    run: Run,
}

/// What has become of the packets so far.
#[derive(Default)]
struct Run {
    packets: u64,
    /// Those that the decoder refused.
    refused: u64,
    /// No packets are left.
    draining: bool,
    /// Why there are none, if not because the file ends.
    broken: Option<String>,
}

/// Numbers samples by timestamps.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Seconds a timestamp unit.
    tick: f64,
    origin_s: f64,
    rate: f64,
    /// First number past the last block.
    next: Option<i64>,
    /// Where packets all hold equally many samples: how many the first one gave, and each of the others.
    frames: Option<(i64, i64)>,
}

impl Place {
    fn of(&mut self, pts: i64, len: usize) -> i64 {
        let stated = (pts != NO_PTS).then(|| ((pts as f64 * self.tick - self.origin_s) * self.rate).round() as i64);
        let jitter = (JITTER_S * self.rate) as i64;
        let position = match (self.next, stated) {
            (Some(next), Some(stated)) if (next - stated).abs() <= jitter => next,
            (_, Some(stated)) => self.snap(stated, jitter),
            (next, None) => next.unwrap_or(0),
        };
        self.next = Some(position + len as i64);
        position
    }

    /// The start of a packet that is meant by a rounded timestamp.
    fn snap(&self, stated: i64, jitter: i64) -> i64 {
        let Some((first, each)) = self.frames else { return stated };
        let number = (stated - first + each / 2).div_euclid(each);
        let start = first + number * each;
        if number >= 0 && (start - stated).abs() <= jitter { start } else { stated }
    }
}

impl FilmSound {
    /// None: there is no audio track.
    ///
    /// # Errors
    /// `AVJ_MEDIA` naming the file: not media, or a track that nothing decodes from; `AVJ_MEDIA_LIBRARY`.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let mut input = Input::open(path)?;
        let file = input.file_info()?;
        if file.best_audio < 0 {
            return Ok(None);
        }
        let stream = input.stream_info(file.best_audio)?;
        input.select(file.best_audio)?;
        input.open_decoder()?;
        let tick = f64::from(stream.time_base_num) / f64::from(stream.time_base_den.max(1));
        let mut this = Self {
            input,
            file,
            stream,
            rate: 0,
            origin_s: 0.0,
            opening: Vec::new(),
            place: Place { tick, ..Place::default() },
            run: Run::default(),
        };
        this.begin()?;
        Ok(Some(this))
    }

    /// Decodes the first blocks: they tell the rate, when the track begins and how long its packets are.
    fn begin(&mut self) -> Result<()> {
        let Some(first) = self.receive()? else { return Err(self.nothing_decodes()) };
        self.rate = first.sample_rate.max(0) as u32;
        if self.rate == 0 || first.channels <= 0 {
            return Err(MediaError::media(self.input.path(), "the audio track has no sample rate or no channels"));
        }
        let start = if first.pts == NO_PTS { self.stream.start_time } else { first.pts };
        self.origin_s = if start == NO_PTS { 0.0 } else { start as f64 * self.place.tick };
        (self.place.origin_s, self.place.rate) = (self.origin_s, f64::from(self.rate));
        let block = self.block(&first)?;
        self.opening.push(block);
        while self.opening.len() < 3 {
            let Some(block) = self.next_block()? else { return Ok(()) };
            self.opening.push(block);
        }
        let len = |i: usize| self.opening[i].samples.len() as i64;
        let uneven = UNEVEN.iter().any(|codec| name_str(&self.stream.codec).starts_with(codec));
        if !uneven && len(1) == len(2) && len(0) <= len(1) && self.opening[1].position == len(0) {
            self.place.frames = Some((len(0), len(1)));
        }
        Ok(())
    }

    /// The decoder's next frame of sound.
    fn receive(&mut self) -> Result<Option<FrameInfo>> {
        loop {
            match self.input.receive() {
                Ok(Received::Frame(frame)) if frame.samples <= 0 => continue,
                Ok(Received::Frame(frame)) => return Ok(Some(frame)),
                Ok(Received::End) => return Ok(None),
                Ok(Received::NeedsInput) | Err(_) if self.run.draining => return Ok(None),
                // A damaged packet is skipped, as `ffmpeg` does.
                Ok(Received::NeedsInput) | Err(_) => {}
            }
            match self.input.read() {
                Ok(Some(packet)) => {
                    self.run.packets += 1;
                    if packet.size > 0 && self.input.send(None).is_err() {
                        self.run.refused += 1;
                    }
                }
                Ok(None) => self.drain()?,
                Err(error) => {
                    self.run.broken = Some(error.message);
                    self.drain()?;
                }
            }
        }
    }

    fn drain(&mut self) -> Result<()> {
        self.run.draining = true;
        self.input.send_end().map(drop)
    }

    /// The frame received last, placed and mixed down.
    fn block(&mut self, frame: &FrameInfo) -> Result<Block> {
        let mut interleaved = Vec::new();
        self.input.sound(frame, &mut interleaved)?;
        if frame.sample_rate as u32 != self.rate {
            let at = frame.pts as f64 * self.place.tick;
            let message =
                format!("the sample rate changes from {} to {} Hz at {at:.1} s", self.rate, frame.sample_rate);
            return Err(MediaError::media(self.input.path(), message).with_hint("encode it again at one rate"));
        }
        let weights = downmix::weights(frame.channels.max(1) as usize, frame.channel_mask);
        let mut samples = Vec::with_capacity(frame.samples as usize);
        downmix::mix(&interleaved, &weights, &mut samples);
        Ok(Block { position: self.place.of(frame.pts, samples.len()), samples })
    }

    fn next_block(&mut self) -> Result<Option<Block>> {
        match self.receive()? {
            Some(frame) => self.block(&frame).map(Some),
            None => Ok(None),
        }
    }

    /// Goes to a packet some way before sample `first`, if that is far ahead and the container allows. Otherwise, reading
    /// goes on from where it stands: at the start of the track.
    fn approach(&mut self, first: i64) -> Result<()> {
        let rate = f64::from(self.rate);
        let time = first as f64 / rate - PRE_ROLL_S;
        let far = time - NEAR_S > self.place.next.unwrap_or(0) as f64 / rate;
        let format = name_str(&self.file.format);
        // A rounded timestamp does not tell the sample, unless all packets are alike.
        let is_exact = self.place.frames.is_some() || self.place.tick * rate <= 1.0;
        if !far || !is_exact || self.run.draining || !SEEKABLE.iter().any(|name| format.contains(name)) {
            return Ok(());
        }
        for earlier in [0.0, 2.0] {
            if self.seek(self.origin_s + time - earlier)? && self.land(first - (PRE_ROLL_S * rate) as i64)? {
                return Ok(());
            }
        }
        let path = self.input.path().to_path_buf();
        *self = Self::open(&path)?.ok_or_else(|| MediaError::media(&path, "the audio track is gone"))?;
        Ok(())
    }

    fn seek(&mut self, time_s: f64) -> Result<bool> {
        let track = self.file.best_audio;
        let by_track = !name_str(&self.file.format).contains("matroska");
        let found = if by_track {
            self.input.seek((time_s / self.place.tick).floor() as i64)
        } else {
            // Matroska indexes the pictures only: with the track's own timestamp everything would be read up to there.
            self.input.select(-1)?;
            let found = self.input.seek((time_s * 1e6).floor() as i64);
            self.input.select(track)?;
            self.input.open_decoder()?;
            found
        };
        self.run.draining = false;
        self.place.next = None;
        Ok(found.is_ok())
    }

    /// Whether decoding now begins at or before sample `latest`.
    fn land(&mut self, latest: i64) -> Result<bool> {
        // A demuxer may take the first packet after a seek for that of the track, and have its start skipped.
        let each = self.place.frames.map(|(_, each)| each as usize);
        for _ in 0..4 {
            let Some(block) = self.next_block()? else { return Ok(false) };
            if each.is_none_or(|each| block.samples.len() == each) {
                let early = block.position <= latest;
                self.opening = vec![block];
                return Ok(early);
            }
            self.place.next = None;
        }
        Ok(false)
    }

    fn nothing_decodes(&mut self) -> MediaError {
        let codec = name_str(&self.stream.codec);
        let message = match (&self.run.broken, self.run.packets) {
            (Some(why), packets) => format!("the {codec} audio track does not decode: {packets} packets, then: {why}"),
            (None, 0) => format!("the {codec} audio track is empty: announced, but without a packet"),
            (None, packets) => format!("the {codec} audio track does not decode: {packets} packets, 0 of them sound"),
        };
        let log = self.input.take_log();
        let message = if log.is_empty() || message.contains(&log) { message } else { format!("{message} [{log}]") };
        MediaError::media(self.input.path(), message).with_hint("the file is damaged: fetch or encode it again")
    }

    /// Refuses a track that ends well before the container says.
    fn check_end(&mut self, reached: i64) -> Result<()> {
        // Matroska counts a late track's length from the file's beginning.
        let format = name_str(&self.file.format);
        let late_s = if format.contains("matroska") { self.origin_s.max(0.0) } else { 0.0 };
        let end_s = late_s + reached as f64 / f64::from(self.rate);
        let announced_s = match self.stream.duration {
            NO_PTS | ..=0 if self.file.best_video < 0 && self.file.duration_us != NO_PTS => {
                self.file.duration_us as f64 * 1e-6
            }
            NO_PTS | ..=0 => return Ok(()),
            duration => duration as f64 * self.place.tick,
        };
        let log = self.input.take_log();
        let cut = self.run.broken.is_some() || ["prematurely", "partial file"].iter().any(|sign| log.contains(sign));
        // AVI counts the empty chunks before a late track, which no demuxer shows; there, the pictures tell whether it is cut.
        let is_counted = format != "avi" || self.file.best_video < 0;
        let missing = announced_s - end_s;
        if missing <= 0.25 || (!cut && (!is_counted || missing <= 0.1 * announced_s)) {
            return Ok(());
        }
        let why = [self.run.broken.clone().unwrap_or_default(), log].into_iter().find(|why| !why.is_empty());
        let why = why.map_or_else(String::new, |why| format!(" [{why}]"));
        let message = format!("the sound ends after {end_s:.1} of {announced_s:.1} s{why}");
        Err(MediaError::media(self.input.path(), message)
            .with_hint("the file is cut short or damaged: fetch or encode it again"))
    }
}

impl Track for FilmSound {
    fn rate(&self) -> u32 {
        self.rate
    }

    fn origin_s(&self) -> f64 {
        self.origin_s
    }

    fn read(&mut self, range: Range<i64>) -> Result<Cut> {
        self.approach(range.start)?;
        let mut collector = Collector::new(range);
        for block in std::mem::take(&mut self.opening) {
            collector.push(block.position, &block.samples);
        }
        while !collector.is_full() {
            let Some(block) = self.next_block()? else {
                self.check_end(collector.reached())?;
                return Ok(collector.finish(true));
            };
            if collector.is_past(block.position) {
                break;
            }
            collector.push(block.position, &block.samples);
        }
        Ok(collector.finish(false))
    }
}
