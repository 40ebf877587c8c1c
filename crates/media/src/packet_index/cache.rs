//! Packet indexes kept on disk, so that opening a long film does not read it through again.

use super::{Frame, Packet, PacketIndex};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Changed with the layout below and with the rules that make an index.
const MAGIC: &[u8; 8] = b"avjidx01";

/// What an index is valid for: this very file, read by this very FFmpeg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    path: PathBuf,
    size: u64,
    modified_ns: u128,
    reader: String,
}

impl Identity {
    pub fn of(path: &Path, reader: String) -> Option<Self> {
        let path = path.canonicalize().ok()?;
        let meta = fs::metadata(&path).ok()?;
        let modified_ns = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
        Some(Self { path, size: meta.len(), modified_ns, reader })
    }

    /// Everything that must agree, as bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.path.as_os_str().as_bytes().to_vec();
        bytes.push(0);
        bytes.extend_from_slice(self.reader.as_bytes());
        bytes.extend_from_slice(&self.size.to_le_bytes());
        bytes.extend_from_slice(&self.modified_ns.to_le_bytes());
        bytes
    }

    /// In the cache folder, never among the user's data.
    fn file(&self) -> Option<PathBuf> {
        let name = format!("{:016x}.idx", hash(self.path.as_os_str().as_bytes()));
        Some(cache_folder()?.join("packet-index").join(name))
    }
}

/// `$AVJEPA_CACHE`, else `$XDG_CACHE_HOME/avjepa`, else `~/.cache/avjepa`.
fn cache_folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("AVJEPA_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("avjepa")))
        .or_else(|| Some(variable("HOME")?.join(".cache/avjepa")))
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// The stored index, or None: absent, stale, or damaged, all of which are put right by making it again.
pub(crate) fn load(identity: &Identity) -> Option<PacketIndex> {
    let bytes = fs::read(identity.file()?).ok()?;
    let (body, sum) = bytes.split_last_chunk::<8>().map(|(body, sum)| (body, u64::from_le_bytes(*sum)))?;
    if hash(body) != sum {
        return None;
    }
    let mut reader = Reader(body);
    let key = identity.bytes();
    if reader.take(8)? != MAGIC || reader.u64()? != key.len() as u64 || reader.take(key.len())? != key {
        return None;
    }
    let stream = reader.u64()? as i32;
    let packets = (0..reader.u64()?)
        .map(|_| {
            Some(Packet {
                flags: reader.u64()? as u32,
                pts: reader.u64()? as i64,
                dts: reader.u64()? as i64,
                pos: reader.u64()? as i64,
                duration: reader.u64()? as i64,
                size: reader.u64()? as u32,
            })
        })
        .collect::<Option<Vec<_>>>()?;
    let frames = (0..reader.u64()?)
        .map(|_| Some(Frame { packet: reader.u64()? as u32, time: reader.u64()? as i64 }))
        .collect::<Option<Vec<_>>>()?;
    let sound = !frames.is_empty() && frames.iter().all(|f| (f.packet as usize) < packets.len());
    sound.then(|| PacketIndex::new(stream, packets, frames))
}

/// Best effort: a cache that cannot be written costs time, nothing else. Written aside and renamed, so that a reader
/// never sees half of it.
pub(crate) fn store(identity: &Identity, index: &PacketIndex) {
    let Some(file) = identity.file() else { return };
    let key = identity.bytes();
    let mut body = MAGIC.to_vec();
    let mut put = |value: u64| body.extend_from_slice(&value.to_le_bytes());
    put(key.len() as u64);
    body.extend_from_slice(&key);
    let mut put = |value: u64| body.extend_from_slice(&value.to_le_bytes());
    put(index.stream as u64);
    put(index.packets.len() as u64);
    for p in &index.packets {
        [u64::from(p.flags), p.pts as u64, p.dts as u64, p.pos as u64, p.duration as u64, u64::from(p.size)]
            .into_iter()
            .for_each(&mut put);
    }
    put(index.frames.len() as u64);
    for f in &index.frames {
        put(u64::from(f.packet));
        put(f.time as u64);
    }
    let sum = hash(&body);
    body.extend_from_slice(&sum.to_le_bytes());
    let _ = write_aside(&file, &body);
}

fn write_aside(file: &Path, body: &[u8]) -> std::io::Result<()> {
    static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let unique = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let aside = file.with_extension(format!("{}-{unique}.tmp", std::process::id()));
    let written =
        fs::File::create(&aside).and_then(|mut out| out.write_all(body)).and_then(|()| fs::rename(&aside, file));
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes)
    }
}
