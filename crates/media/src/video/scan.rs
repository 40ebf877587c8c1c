//! Makes a packet index: reads the packets, notices a file that ends early, and settles the order of the frames.

use crate::error::{MediaError, Result};
use crate::library::abi::{FileInfo, NO_PTS, PACKET_CORRUPT, StreamInfo, name_str};
use crate::library::{Input, Received};
use crate::packet_index::{Frame, Packet, PacketIndex};
use std::collections::HashSet;
use std::path::Path;

/// Codecs whose packets come in another order than their frames, whatever the container says about delay.
const REORDERING: [&str; 7] = ["h264", "hevc", "vvc", "vc1", "mpeg1video", "mpeg2video", "av1"];

/// An mpeg4 packet below this size can be a "not coded" picture, for which nothing is shown.
const MPEG4_SMALLEST: u32 = 12;

pub(super) struct Scanned {
    pub index: PacketIndex,
    /// Whether the stream had to be decoded through.
    pub decoded_all: bool,
}

/// A frame as a decoder gave it: from which packet, and the dts of the packet sent last.
struct Shown {
    packet: u32,
    sent_dts: i64,
}

pub(super) fn build(input: &mut Input, stream: &StreamInfo, file: &FileInfo) -> Result<Scanned> {
    let path = input.path().to_path_buf();
    let (packets, end) = read_packets(input)?;
    if let Some(why) = cut_short(&path, &packets, end, stream, file)? {
        return Err(cut_short_error(&path, &packets, stream, file, &why));
    }
    if !packets.iter().any(Packet::is_shown) {
        return Err(MediaError::media(&path, format!("the {} video stream holds no frames", name_str(&stream.codec))));
    }
    let number = file.best_video;
    let shown = || (0..).zip(&packets).filter(|(_, p)| p.is_shown());
    let codec = name_str(&stream.codec);
    let unsure = stream.interlaced != 0
        || (codec == "mpeg4" && shown().any(|(_, p)| p.size < MPEG4_SMALLEST))
        || !packets.iter().any(Packet::is_key);

    if !unsure && distinct(shown().map(|(_, p)| p.pts)) {
        let mut frames: Vec<Frame> = shown().map(|(packet, p)| Frame { packet, time: p.pts }).collect();
        frames.sort_by_key(|frame| frame.time);
        drop_undecodable_head(&path, number, &packets, &mut frames)?;
        return finish(&path, number, packets, frames, false);
    }
    let in_order = stream.video_delay == 0 && !REORDERING.contains(&codec);
    if !unsure && in_order && distinct(shown().map(|(_, p)| p.dts)) {
        let frames = shown().map(|(packet, p)| Frame { packet, time: p.dts }).collect();
        return finish(&path, number, packets, frames, false);
    }
    // Nothing in the container tells the order: see what the decoder makes of it.
    let outcome = decode_through(&path, number, |_| false)?;
    let frames = times(&packets, &outcome, stream);
    finish(&path, number, packets, frames, true)
}

fn finish(path: &Path, stream: i32, packets: Vec<Packet>, frames: Vec<Frame>, decoded_all: bool) -> Result<Scanned> {
    if frames.is_empty() {
        let message = format!("no frame decodes: {} packets announced, 0 decode", packets.len());
        return Err(MediaError::media(path, message).with_hint("the file is damaged: fetch or encode it again"));
    }
    Ok(Scanned { index: PacketIndex::new(stream, packets, frames), decoded_all })
}

fn distinct(times: impl Iterator<Item = i64>) -> bool {
    let mut seen = HashSet::new();
    times.into_iter().all(|time| time != NO_PTS && seen.insert(time))
}

/// All packets of the selected stream, and why reading stopped, if not at the end of the file.
fn read_packets(input: &mut Input) -> Result<(Vec<Packet>, Option<MediaError>)> {
    let bytes = std::fs::metadata(input.path()).map_or(0, |meta| meta.len());
    let mut packets = Vec::new();
    input.take_log();
    let end = loop {
        match input.read() {
            Ok(Some(packet)) => packets.push(Packet::from(&packet)),
            Ok(None) => {
                let log = input.take_log();
                let early = ["prematurely", "partial file"].iter().any(|sign| log.contains(sign));
                break early.then(|| MediaError::media(input.path(), log));
            }
            Err(error) => break Some(error),
        }
        // No container holds more packets than bytes; a demuxer that goes on is going in circles.
        if packets.len() as u64 > bytes {
            return Err(MediaError::media(input.path(), "the container's structure is damaged: its packets never end"));
        }
    };
    Ok((packets, end))
}

/// Why the file counts as cut short, if it does. Announced frame counts alone prove nothing: they are often wrong.
fn cut_short(
    path: &Path,
    packets: &[Packet],
    end: Option<MediaError>,
    stream: &StreamInfo,
    file: &FileInfo,
) -> Result<Option<String>> {
    if let Some(error) = end {
        return Ok(Some(error.message));
    }
    let format = name_str(&file.format);
    // Half of the last packet, or (where every sample is listed in the header) fewer packets: data is missing.
    let last_is_cut = packets.last().is_some_and(|p| p.flags & PACKET_CORRUPT != 0);
    let is_mp4 = format.contains("mp4");
    if ((is_mp4 || format == "avi") && last_is_cut) || (is_mp4 && (packets.len() as i64) < stream.index_entries) {
        return Ok(Some(String::new()));
    }
    let announced = announced_seconds(stream, file);
    // Some containers count from zero, others from their first picture.
    let enough = |first: f64, last: f64| last - first.min(0.0) >= 0.9 * announced - 0.25;
    let (first, last) = span_seconds(packets, stream);
    if enough(first, last) {
        return Ok(None);
    }
    // The announced length may be that of another stream, such as sound that goes on after the picture.
    let mut input = Input::open(path)?;
    let streams = (0..file.streams).map(|i| input.stream_info(i as i32)).collect::<Result<Vec<_>>>()?;
    let (mut first, mut last) = (f64::INFINITY, f64::NEG_INFINITY);
    let bytes = std::fs::metadata(path).map_or(0, |meta| meta.len());
    for _ in 0..bytes {
        let Ok(Some(packet)) = input.read() else { break };
        let time = if packet.pts == NO_PTS { packet.dts } else { packet.pts };
        if let Some(s) = usize::try_from(packet.stream).ok().and_then(|i| streams.get(i))
            && time != NO_PTS
        {
            let tick = f64::from(s.time_base_num) / f64::from(s.time_base_den);
            first = first.min(time as f64 * tick);
            last = last.max((time + packet.duration) as f64 * tick);
        }
    }
    Ok((!enough(first, last)).then(String::new))
}

fn announced_seconds(stream: &StreamInfo, file: &FileInfo) -> f64 {
    let tick = f64::from(stream.time_base_num) / f64::from(stream.time_base_den);
    if stream.duration != NO_PTS && stream.duration > 0 {
        stream.duration as f64 * tick
    } else if file.duration_us != NO_PTS {
        file.duration_us as f64 * 1e-6
    } else {
        0.0
    }
}

/// First presentation and end of the last one.
fn span_seconds(packets: &[Packet], stream: &StreamInfo) -> (f64, f64) {
    let tick = f64::from(stream.time_base_num) / f64::from(stream.time_base_den);
    let time = |p: &Packet| if p.pts == NO_PTS { p.dts } else { p.pts };
    let timed = || packets.iter().filter(|p| time(p) != NO_PTS);
    match (timed().map(time).min(), timed().map(|p| time(p) + p.duration).max()) {
        (Some(first), Some(last)) => (first as f64 * tick, last as f64 * tick),
        // Without any timestamp only the count is left.
        _ => (0.0, packets.len() as f64 * f64::from(stream.fps_den) / f64::from(stream.fps_num.max(1))),
    }
}

fn cut_short_error(path: &Path, packets: &[Packet], stream: &StreamInfo, file: &FileInfo, why: &str) -> MediaError {
    let decoded = decode_through(path, file.best_video, |_| false).map_or(0, |shown| shown.len());
    let announced = announced_seconds(stream, file);
    let fps = f64::from(stream.fps_num) / f64::from(stream.fps_den);
    let frames = if stream.frames > 0 { stream.frames as f64 } else { (announced * fps).round() };
    let (first, last) = span_seconds(packets, stream);
    let why = if why.is_empty() { String::new() } else { format!(" [{why}]") };
    let message = format!(
        "the file ends after {:.1} of {announced:.1} s: {frames:.0} frames announced, {decoded} decode{why}",
        last - first
    );
    MediaError::media(path, message).with_hint("the file is cut short or damaged: fetch or encode it again")
}

/// Pictures before the first key frame, or led by an open first group, may refer to what is not in the file. The first
/// pictures are decoded to see which of them appear; only those count.
fn drop_undecodable_head(path: &Path, stream: i32, packets: &[Packet], frames: &mut Vec<Frame>) -> Result<()> {
    let Some(key) = packets.iter().position(|p| p.is_key() && p.is_shown()) else { return Ok(()) };
    let key_time = packets[key].pts;
    let doubtful = |frame: &Frame| (frame.packet as usize) < key || frame.time < key_time;
    if !frames.iter().any(doubtful) {
        return Ok(());
    }
    let after = |packet: u32| packets.get(packet as usize).is_some_and(|p| p.is_shown() && p.pts > key_time);
    let shown = decode_through(path, stream, after)?;
    let appeared: HashSet<u32> = shown.iter().map(|s| s.packet).collect();
    frames.retain(|frame| !doubtful(frame) || appeared.contains(&frame.packet));
    Ok(())
}

/// Decodes from the start, without converting, until `enough` holds for a frame's packet or the file ends.
fn decode_through(path: &Path, stream: i32, enough: impl Fn(u32) -> bool) -> Result<Vec<Shown>> {
    let mut input = Input::open(path)?;
    input.select(stream)?;
    input.open_decoder()?;
    let mut shown = Vec::new();
    let (mut ordinal, mut sent_dts) = (0u32, NO_PTS);
    let mut drained = false;
    loop {
        // A damaged picture is skipped, as `ffmpeg` does.
        match input.receive() {
            Ok(Received::Frame(frame)) => {
                let Ok(packet) = u32::try_from(frame.pts) else { continue };
                shown.push(Shown { packet, sent_dts: if drained { NO_PTS } else { sent_dts } });
                if enough(packet) {
                    return Ok(shown);
                }
                continue;
            }
            Ok(Received::End) => return Ok(shown),
            Ok(Received::NeedsInput) | Err(_) if drained => return Ok(shown),
            Ok(Received::NeedsInput) | Err(_) => {}
        }
        match input.read() {
            Ok(Some(packet)) => {
                if packet.size > 0 && input.send(Some(i64::from(ordinal))).is_ok() {
                    sent_dts = packet.dts;
                }
                ordinal += 1;
            }
            Ok(None) | Err(_) => {
                input.send_end()?;
                drained = true;
            }
        }
    }
}

/// Times for frames in the order they were shown: the packet's pts, else (as FFmpeg guesses) the dts of the packet whose
/// arrival released the frame, else one frame after the previous one, or before the first that has a time. Never descending.
fn times(packets: &[Packet], shown: &[Shown], stream: &StreamInfo) -> Vec<Frame> {
    let ticks = f64::from(stream.time_base_den) / f64::from(stream.time_base_num);
    let step = (ticks * f64::from(stream.fps_den) / f64::from(stream.fps_num.max(1))).round().max(1.0) as i64;
    let mut known = HashSet::new();
    let stated: Vec<(u32, Option<i64>)> = shown
        .iter()
        .filter(|s| known.insert(s.packet))
        .filter_map(|s| {
            let packet = packets.get(s.packet as usize)?;
            Some((s.packet, [packet.pts, s.sent_dts].into_iter().find(|&time| time != NO_PTS)))
        })
        .collect();
    let first = (0..).zip(&stated).find_map(|(i, (_, time))| time.map(|time| time - i * step));
    let mut next = first.unwrap_or(0);
    let mut frames = Vec::with_capacity(stated.len());
    for (packet, time) in stated {
        let last = frames.last().map(|frame: &Frame| frame.time);
        let time = time.filter(|&time| last.is_none_or(|last| time > last)).unwrap_or(next);
        frames.push(Frame { packet, time });
        next = time + step;
    }
    frames
}

/// How many frames a full decode gives, as an index of those alone. For the error path of a frame that did not come.
pub(super) fn decodable(path: &Path, packets: Vec<Packet>, stream: i32, info: &StreamInfo) -> Result<PacketIndex> {
    let shown = decode_through(path, stream, |_| false)?;
    let frames = times(&packets, &shown, info);
    Ok(PacketIndex::new(stream, packets, frames))
}
