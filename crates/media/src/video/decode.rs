//! Reaches wanted frames: goes on decoding where that is cheapest, else seeks to the key frame before.

use super::{Frames, VideoFile, scan};
use crate::error::{MediaError, Result};
use crate::library::abi::{NO_PTS, name_str};
use crate::library::{Input, Received};
use crate::packet_index::Packet;

/// Reading on over this many packets is cheaper than a seek.
const NEAR: u32 = 8;

/// Frames come out in order; one that is this far behind is not coming any more.
const OVERTAKEN: u32 = 16;

/// Where demuxer and decoder stand.
pub(super) struct Cursor {
    /// Ordinal of the packet that the next read gives, when that is known.
    next: Option<u32>,
    run: Option<Run>,
    has_decoder: bool,
}

/// A decoder being fed packet after packet.
struct Run {
    /// Ordinal of the first packet it was fed.
    from: u32,
    /// Highest frame number it gave.
    last: Option<u32>,
    /// No packets are left; what it still holds is being taken.
    draining: bool,
}

impl Cursor {
    pub fn new(next: Option<u32>) -> Self {
        Self { next, run: None, has_decoder: false }
    }
}

/// Frames still wanted, ascending, each with the places it goes to.
struct Wanted<'a> {
    list: Vec<(u32, Vec<usize>)>,
    out: &'a mut [u8],
    frame_bytes: usize,
}

impl Wanted<'_> {
    fn find(&self, number: u32) -> Option<usize> {
        self.list.binary_search_by_key(&number, |(n, _)| *n).ok().filter(|&at| !self.list[at].1.is_empty())
    }

    fn frame(&mut self, place: usize) -> &mut [u8] {
        &mut self.out[place * self.frame_bytes..][..self.frame_bytes]
    }
}

pub(super) fn decode(video: &mut VideoFile, indices: &[usize]) -> Result<Frames> {
    let (width, height) = (video.info.width, video.info.height);
    let count = video.pts.len();
    if let Some(&index) = indices.iter().find(|&&index| index >= count) {
        let message = format!("frame {index} was asked for, but the stream has {count} frames (0 to {})", count - 1);
        return Err(MediaError::media(video.path(), message));
    }
    let frame_bytes = width * height * 3;
    let mut data = vec![0; indices.len() * frame_bytes];
    let mut order: Vec<(u32, usize)> = indices.iter().map(|&index| index as u32).zip(0..).collect();
    order.sort_unstable();
    let list = order
        .chunk_by(|a, b| a.0 == b.0)
        .map(|same| (same[0].0, same.iter().map(|&(_, place)| place).collect()))
        .collect();
    let mut wanted = Wanted { list, out: &mut data, frame_bytes };
    for at in 0..wanted.list.len() {
        if !wanted.list[at].1.is_empty() {
            let number = wanted.list[at].0;
            reach(video, number, &mut wanted)?;
        }
    }
    let pts = indices.iter().map(|&index| video.pts[index]).collect();
    Ok(Frames { data, count: indices.len(), height, width, pts })
}

/// Decodes until frame `number` has come, from its key frame and then, should it not come, from ever earlier ones.
fn reach(video: &mut VideoFile, number: u32, wanted: &mut Wanted<'_>) -> Result<()> {
    let key = video.index.start(number);
    if can_go_on(video, number, key) && run(video, number, wanted)? {
        return Ok(());
    }
    let mut starts = vec![key, video.index.earlier_key(key, 1), video.index.earlier_key(key, 4), 0];
    starts.dedup();
    for start in starts {
        if go_to(video, start)? && run(video, number, wanted)? {
            return Ok(());
        }
    }
    Err(not_decodable(video, number))
}

/// Whether the running decoder will give frame `number`, rightly, at less cost than a seek to `key`.
fn can_go_on(video: &VideoFile, number: u32, key: u32) -> bool {
    let (Some(run), Some(next)) = (&video.cursor.run, video.cursor.next) else { return false };
    run.from <= key && run.last.is_none_or(|last| last < number) && (run.draining || key <= next.saturating_add(NEAR))
}

/// Brings the demuxer to packet `key` with an empty decoder. False when the file does not lead there.
fn go_to(video: &mut VideoFile, key: u32) -> Result<bool> {
    video.cursor.run = None;
    let fresh = !video.cursor.has_decoder;
    if !video.cursor.has_decoder {
        video.input.open_decoder()?;
        video.cursor.has_decoder = true;
    }
    let mut there = fresh && video.cursor.next == Some(key);
    if !there && video.index.can_seek() {
        // A demuxer may land late: its index can be by dts or pts, coarse, or wrong. Aim earlier, then skip forward.
        let mut aims = vec![key, video.index.earlier_key(key, 1), video.index.earlier_key(key, 8)];
        aims.dedup();
        for aim in aims {
            let timestamp = seek_timestamp(video, aim);
            if timestamp != NO_PTS && video.input.seek(timestamp).is_ok() && skip_to(video, key, None) {
                there = true;
                break;
            }
        }
    }
    if !there {
        video.input = reopen(&video.input, video.index.stream)?;
        there = skip_to(video, key, Some(0));
    }
    video.cursor.run = there.then_some(Run { from: key, last: None, draining: false });
    Ok(there)
}

fn reopen(input: &Input, stream: i32) -> Result<Input> {
    let mut input = Input::open(input.path())?;
    input.select(stream)?;
    input.open_decoder()?;
    Ok(input)
}

/// The mov family seeks by dts, others by what they store, the pts.
fn seek_timestamp(video: &VideoFile, ordinal: u32) -> i64 {
    let packet = &video.index.packets[ordinal as usize];
    let by_dts = name_str(&video.file.format).contains("mp4") || packet.pts == NO_PTS;
    if by_dts && packet.dts != NO_PTS { packet.dts } else { packet.pts }
}

/// Reads up to packet `key`, leaving it to be read next... which a demuxer cannot: so the packets before it are read, and
/// `next` says what comes. With `at` unknown, packets are recognised by their timestamps.
fn skip_to(video: &mut VideoFile, key: u32, at: Option<u32>) -> bool {
    let mut at = at;
    video.cursor.next = at;
    if at == Some(key) {
        return true;
    }
    // Each turn reads a packet; more than the file holds cannot come.
    for _ in 0..=video.index.packets.len() {
        let Ok(Some(packet)) = video.input.read() else { return false };
        let ordinal = match at {
            Some(ordinal) => Some(ordinal),
            None => video.index.ordinal_of(&Packet::from(&packet)),
        };
        let Some(ordinal) = ordinal else { continue };
        if ordinal > key {
            return false;
        }
        at = Some(ordinal + 1);
        video.cursor.next = at;
        if ordinal == key {
            // Landed on it: it is in hand now, so it is decoded at once.
            return send(&mut video.input, key, packet.size);
        }
        if ordinal + 1 == key {
            return true;
        }
    }
    false
}

/// A damaged packet is skipped, as `ffmpeg` does; its frame is then missed where it is wanted.
fn send(input: &mut Input, ordinal: u32, size: i64) -> bool {
    size <= 0 || input.send(Some(i64::from(ordinal))).unwrap_or(true)
}

/// Feeds the decoder until frame `number` has come; takes every other wanted frame that comes by. False if it did not.
fn run(video: &mut VideoFile, number: u32, wanted: &mut Wanted<'_>) -> Result<bool> {
    loop {
        let Some(run) = &mut video.cursor.run else { return Ok(false) };
        match video.input.receive() {
            Ok(Received::Frame(frame)) => {
                let Some(shown) = u32::try_from(frame.pts).ok().and_then(|packet| video.index.frame_of(packet)) else {
                    continue;
                };
                let from = run.from;
                run.last = run.last.max(Some(shown));
                if let Some(at) = wanted.find(shown)
                    && video.index.start(shown) >= from
                {
                    take(video, at, wanted)?;
                }
                if shown == number && wanted.find(number).is_none() {
                    return Ok(true);
                }
                if shown > number + OVERTAKEN {
                    return Ok(false);
                }
                continue;
            }
            Ok(Received::End) => return Ok(false),
            Ok(Received::NeedsInput) | Err(_) if run.draining => return Ok(false),
            Ok(Received::NeedsInput) | Err(_) => {}
        }
        // After a seek, a demuxer of fragments may give the last one twice: what the index knows is all there is.
        let at_end = video.cursor.next.is_some_and(|next| next as usize >= video.index.packets.len());
        match if at_end { Ok(None) } else { video.input.read() } {
            Ok(Some(packet)) => {
                let Some(next) = video.cursor.next.filter(|&next| video.index.matches(next, &Packet::from(&packet)))
                else {
                    // Not what the index says comes here: start over elsewhere.
                    video.cursor.run = None;
                    video.cursor.next = None;
                    return Ok(false);
                };
                video.cursor.next = Some(next + 1);
                if !send(&mut video.input, next, packet.size) {
                    return Ok(false);
                }
            }
            Ok(None) | Err(_) => {
                run.draining = true;
                video.input.send_end()?;
            }
        }
    }
}

/// Converts the frame just received and puts it wherever it is wanted.
fn take(video: &mut VideoFile, at: usize, wanted: &mut Wanted<'_>) -> Result<()> {
    let places = std::mem::take(&mut wanted.list[at].1);
    let (first, others) = places.split_first().expect("find() gives only frames that are still wanted");
    let flags = video.rounding.flags();
    video.input.picture(video.info.width, video.info.height, flags, wanted.frame(*first))?;
    for other in others {
        let bytes = wanted.frame_bytes;
        wanted.out.copy_within(first * bytes..(first + 1) * bytes, other * bytes);
    }
    Ok(())
}

/// The frame never came: counts what does, keeps only that, and says so.
fn not_decodable(video: &mut VideoFile, number: u32) -> MediaError {
    let path = video.path().to_path_buf();
    let (announced, time) = (video.pts.len(), video.pts[number as usize]);
    let log = video.input.take_log();
    let log = if log.is_empty() { String::new() } else { format!(" [{log}]") };
    video.cursor.run = None;
    let decodable = scan::decodable(&path, video.index.packets.clone(), video.index.stream, &video.stream);
    let decoded = match decodable {
        Ok(index) if !index.frames.is_empty() => {
            let decoded = index.frames.len();
            video.index = index;
            video.describe();
            decoded
        }
        _ => 0,
    };
    let message =
        format!("frame {number} (at {time:.2} s) does not decode: {announced} frames announced, {decoded} decode{log}");
    MediaError::media(&path, message).with_hint("the file is damaged: fetch or encode it again")
}
