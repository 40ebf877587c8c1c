//! Which packet makes which frame: the map from frame numbers to places in the file.

mod cache;

pub(crate) use cache::{Identity, load, store};

use crate::library::abi::{NO_PTS, PACKET_DISCARD, PACKET_KEY, PACKET_NO_PICTURE, PacketInfo};
use std::collections::HashMap;

/// One packet of the video stream. Its *ordinal* is its position in the file's decoding order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub flags: u32,
    pub pts: i64,
    pub dts: i64,
    pub pos: i64,
    pub duration: i64,
    pub size: u32,
}

impl Packet {
    pub fn is_key(&self) -> bool {
        self.flags & PACKET_KEY != 0
    }

    /// Whether a picture of its own is shown for it.
    pub fn is_shown(&self) -> bool {
        self.flags & (PACKET_DISCARD | PACKET_NO_PICTURE) == 0
    }
}

impl From<&PacketInfo> for Packet {
    fn from(p: &PacketInfo) -> Self {
        Self { flags: p.flags, pts: p.pts, dts: p.dts, pos: p.pos, duration: p.duration, size: p.size.max(0) as u32 }
    }
}

/// A frame in presentation order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Ordinal of the packet it is decoded from.
    pub packet: u32,
    /// Presentation time in the stream's time base.
    pub time: i64,
}

/// By which field of a packet its ordinal is recognised after a seek.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Pts,
    Dts,
    Pos,
}

impl Field {
    fn of(self, p: &Packet) -> i64 {
        match self {
            Field::Pts => p.pts,
            Field::Dts => p.dts,
            Field::Pos => p.pos,
        }
    }
}

pub(crate) struct PacketIndex {
    pub stream: i32,
    pub packets: Vec<Packet>,
    pub frames: Vec<Frame>,
    /// Frame number of each packet, where it has one.
    rank: Vec<Option<u32>>,
    /// Ordinals of the key packets, ascending.
    keys: Vec<u32>,
    /// None: nothing tells packets apart, so frames are reached by decoding from the start.
    places: Option<(Field, HashMap<i64, u32>)>,
}

impl PacketIndex {
    pub fn new(stream: i32, packets: Vec<Packet>, frames: Vec<Frame>) -> Self {
        let mut rank = vec![None; packets.len()];
        for (number, frame) in frames.iter().enumerate() {
            rank[frame.packet as usize] = Some(number as u32);
        }
        let keys = (0u32..).zip(&packets).filter(|(_, p)| p.is_key()).map(|(ordinal, _)| ordinal).collect();
        let places = [Field::Pts, Field::Dts, Field::Pos].into_iter().find_map(|field| {
            let map: HashMap<_, _> = packets.iter().map(|p| field.of(p)).zip(0..).collect();
            let missing = if field == Field::Pos { -1 } else { NO_PTS };
            (map.len() == packets.len() && !map.contains_key(&missing)).then_some((field, map))
        });
        Self { stream, packets, frames, rank, keys, places }
    }

    pub fn frame_of(&self, packet: u32) -> Option<u32> {
        self.rank.get(packet as usize).copied().flatten()
    }

    /// Whether packets can be recognised after a seek.
    pub fn can_seek(&self) -> bool {
        self.places.is_some()
    }

    /// The ordinal of a packet just read, if it is one of the index.
    pub fn ordinal_of(&self, packet: &Packet) -> Option<u32> {
        let (field, places) = self.places.as_ref()?;
        places.get(&field.of(packet)).copied()
    }

    /// Whether `packet`, read where `ordinal` was expected, can be that one.
    pub fn matches(&self, ordinal: u32, packet: &Packet) -> bool {
        match &self.places {
            Some((field, _)) => self.packets.get(ordinal as usize).is_some_and(|p| field.of(p) == field.of(packet)),
            None => (ordinal as usize) < self.packets.len(),
        }
    }

    /// When a packet's picture is presented: its pts, else what the decoder was seen to make of it.
    fn time_of(&self, packet: u32) -> Option<i64> {
        let pts = self.packets[packet as usize].pts;
        if pts != NO_PTS { Some(pts) } else { self.frame_of(packet).map(|n| self.frames[n as usize].time) }
    }

    /// Ordinal of the packet to start decoding at for frame `number`: the last key packet that neither follows it in
    /// the file nor is shown after it (a leading picture of an open group needs the group before), else the first packet.
    pub fn start(&self, number: u32) -> u32 {
        let frame = self.frames[number as usize];
        let end = self.keys.partition_point(|&key| key <= frame.packet);
        let shown_before =
            |&&key: &&u32| key == frame.packet || self.time_of(key).is_some_and(|time| time <= frame.time);
        self.keys[..end].iter().rev().find(shown_before).copied().unwrap_or(0)
    }

    /// The key packet `steps` before ordinal `key`, or the first packet.
    pub fn earlier_key(&self, key: u32, steps: usize) -> u32 {
        let at = self.keys.partition_point(|&k| k < key);
        if at < steps { 0 } else { self.keys.get(at - steps).copied().unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(pts: i64, key: bool) -> Packet {
        Packet { flags: u32::from(key) * PACKET_KEY, pts, dts: NO_PTS, pos: -1, duration: 1, size: 1 }
    }

    /// I0 P3 B1 B2 | I6 B4 B5 P7: the second group is open, its B pictures lead.
    fn open_groups() -> PacketIndex {
        let pts = [0, 3, 1, 2, 6, 4, 5, 7];
        let packets: Vec<_> = pts.iter().map(|&p| packet(p, p % 6 == 0)).collect();
        let mut frames: Vec<_> = (0..).zip(pts).map(|(packet, time)| Frame { packet, time }).collect();
        frames.sort_by_key(|f| f.time);
        PacketIndex::new(0, packets, frames)
    }

    #[test]
    fn leading_pictures_start_one_group_earlier() {
        let index = open_groups();
        let starts: Vec<_> = (0..8).map(|n| index.start(n)).collect();
        assert_eq!(starts, [0, 0, 0, 0, 0, 0, 4, 4]);
        assert_eq!(index.frame_of(1), Some(3));
        assert_eq!((index.earlier_key(4, 1), index.earlier_key(0, 1), index.earlier_key(4, 8)), (0, 0, 0));
    }

    #[test]
    fn packets_are_recognised_by_the_first_unique_field() {
        let index = open_groups();
        assert_eq!(index.ordinal_of(&packet(4, false)), Some(5));
        assert_eq!(index.ordinal_of(&packet(9, false)), None);
        let twice = PacketIndex::new(0, vec![packet(0, true), packet(0, false)], vec![]);
        assert!(!twice.can_seek());
    }
}
