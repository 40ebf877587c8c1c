//! Which sound files are read without FFmpeg, by their first bytes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// How much of a file is looked at.
const HEAD: usize = 64 << 10;

/// The container's name, as FFmpeg calls it, if sound alone is in it and it is read without FFmpeg: wav, flac, aiff, caf,
/// mp3, and ogg with Vorbis (mono or stereo) or FLAC and nothing else.
pub(super) fn plain_format(path: &Path) -> Option<&'static str> {
    let mut file = File::open(path).ok()?;
    let mut head = read_head(&mut file)?;
    if let Some(length) = id3_length(&head) {
        file.seek(SeekFrom::Start(length)).ok()?;
        head = read_head(&mut file)?;
    }
    format_of(&head)
}

fn read_head(file: &mut File) -> Option<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    file.take(HEAD as u64).read_to_end(&mut head).ok()?;
    Some(head)
}

/// Bytes of the ID3v2 tag at the start, if there is one: its size is in four bytes of seven bits.
fn id3_length(head: &[u8]) -> Option<u64> {
    let tag = head.get(..10).filter(|tag| tag.starts_with(b"ID3"))?;
    let size = tag[6..].iter().fold(0, |size, byte| size << 7 | u64::from(byte & 0x7f));
    let footer = if tag[5] & 0x10 != 0 { 10 } else { 0 };
    Some(10 + size + footer)
}

fn format_of(head: &[u8]) -> Option<&'static str> {
    let at = |from: usize, text: &[u8]| head.get(from..from + text.len()) == Some(text);
    if at(0, b"RIFF") && at(8, b"WAVE") {
        Some("wav")
    } else if at(0, b"fLaC") {
        Some("flac")
    } else if at(0, b"FORM") && (at(8, b"AIFF") || at(8, b"AIFC")) {
        Some("aiff")
    } else if at(0, b"caff") {
        Some("caf")
    } else if at(0, b"OggS") {
        is_plain_ogg(head).then_some("ogg")
    } else {
        is_mp3(head).then_some("mp3")
    }
}

/// One logical stream, of Vorbis or FLAC that decodes rightly: the first page holds its first packet, and no second stream begins after it.
fn is_plain_ogg(head: &[u8]) -> bool {
    const BEGINS: u8 = 2;
    let page = |from: usize| {
        let header = head.get(from..from + 27).filter(|page| page.starts_with(b"OggS"))?;
        let lacing = head.get(from + 27..from + 27 + usize::from(header[26]))?;
        let body = from + 27 + lacing.len();
        Some((header[5], body, body + lacing.iter().map(|&size| usize::from(size)).sum::<usize>()))
    };
    let Some((_, body, end)) = page(0) else { return false };
    let packet = head.get(body..end.min(head.len())).unwrap_or_default();
    // Symphonia 0.6.1 undoes the coupling of three and more channels in the wrong order (Vorbis I, 4.3.5: descending).
    let vorbis = packet.starts_with(b"\x01vorbis") && packet.get(11).is_some_and(|&channels| channels <= 2);
    (vorbis || packet.starts_with(b"\x7fFLAC")) && page(end).is_none_or(|(flags, ..)| flags & BEGINS == 0)
}

/// Two layer III frames, one behind the other.
fn is_mp3(head: &[u8]) -> bool {
    // A tag may be followed by padding.
    let start = head.iter().position(|&byte| byte != 0).unwrap_or(0);
    let frame = |at: usize| head.get(at..at + 4).and_then(layer3_frame_length);
    frame(start).is_some_and(|length| frame(start + length).is_some())
}

/// Bytes of an MPEG audio layer III frame (ISO 11172-3, 2.4.2.3) from its header; none for any other.
fn layer3_frame_length(header: &[u8]) -> Option<usize> {
    const MPEG1: [usize; 16] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0];
    const MPEG2: [usize; 16] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0];
    let (version, layer) = (header[1] >> 3 & 3, header[1] >> 1 & 3);
    if header[0] != 0xff || header[1] & 0xe0 != 0xe0 || version == 1 || layer != 1 {
        return None;
    }
    let (rates, slots) = if version == 3 { (MPEG1, 144) } else { (MPEG2, 72) };
    let bit_rate = rates[usize::from(header[2] >> 4)] * 1000;
    let sample_rate = [44100, 48000, 32000, 0][usize::from(header[2] >> 2 & 3)] >> [2, 0, 1, 0][usize::from(version)];
    let padding = usize::from(header[2] >> 1 & 1);
    (bit_rate > 0 && sample_rate > 0).then(|| slots * bit_rate / sample_rate + padding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_magic_bytes() {
        assert_eq!(format_of(b"RIFF\x10\0\0\0WAVEfmt "), Some("wav"));
        assert_eq!(format_of(b"RIFF\x10\0\0\0AVI LIST"), None);
        assert_eq!(format_of(b"fLaC\0\0\0\x22"), Some("flac"));
        assert_eq!(format_of(b"FORM\0\0\0\0AIFC"), Some("aiff"));
        assert_eq!(format_of(b"caff\0\x01\0\0"), Some("caf"));
        assert_eq!(format_of(b"just a text that says RIFF"), None);
        assert_eq!(format_of(b""), None);
        assert_eq!(format_of(&[0xff; 5000]), None);
        assert_eq!(format_of(&[0; 5000]), None);
    }

    #[test]
    fn mp3_by_two_frames() {
        // MPEG-1 layer III, 128 kbit/s, 44.1 kHz: 417 bytes.
        let header = [0xff, 0xfb, 0x90, 0x00];
        assert_eq!(layer3_frame_length(&header), Some(417));
        let mut file = vec![0; 900];
        file[..4].copy_from_slice(&header);
        assert_eq!(format_of(&file), None, "one frame may be chance");
        file[417..421].copy_from_slice(&header);
        assert_eq!(format_of(&file), Some("mp3"));
        // AAC in ADTS has the same first bits, but layer 0.
        assert_eq!(layer3_frame_length(&[0xff, 0xf1, 0x50, 0x80]), None);
    }

    #[test]
    fn id3_sizes_are_of_seven_bits() {
        assert_eq!(id3_length(b"ID3\x04\0\0\0\0\x02\x01..."), Some(10 + 257));
        assert_eq!(id3_length(b"ID3\x04\0\x10\0\0\0\x7f"), Some(20 + 127));
        assert_eq!(id3_length(b"TAG"), None);
    }

    fn page(flags: u8, packet: &[u8]) -> Vec<u8> {
        let mut page = b"OggS\0".to_vec();
        page.push(flags);
        page.extend([0; 20]);
        page.extend([1, packet.len() as u8]);
        page.extend(packet);
        page
    }

    #[test]
    fn ogg_with_nothing_but_sound() {
        let ogg = |pages: &[Vec<u8>]| format_of(&pages.concat());
        let vorbis = page(2, b"\x01vorbis\0\0\0\0\x02........");
        assert_eq!(ogg(&[vorbis.clone(), page(0, b"\x03vorbis")]), Some("ogg"));
        assert_eq!(ogg(&[vorbis.clone(), page(2, b"\x80theora")]), None);
        assert_eq!(ogg(&[page(2, b"\x01vorbis\0\0\0\0\x06........"), page(0, b"\x03vorbis")]), None);
        assert_eq!(ogg(&[page(2, b"OpusHead"), page(0, b"OpusTags")]), None);
        assert_eq!(ogg(&[b"OggS".to_vec()]), None);
    }
}
