//! Values of the host, by way of a device: chunks through pinned memory, two at a time, so that one is copied while the other travels.

use super::cuda_api::{DevicePtr, StreamHandle};
use super::device::{Device, Event, Memory, Pinned, Stream};
use super::world::World;
use std::ops::Range;
use std::rc::Rc;

type Result<T> = std::result::Result<T, String>;

/// Bytes of a chunk: large enough for NCCL's full speed.
pub const CHUNK: usize = 4 << 20;

/// A call on values of the host, cut into pieces of at most [`CHUNK`] bytes.
pub trait Pieces {
    fn count(&self) -> usize;
    /// The bytes of a chunk that go to the device, and those that come from it.
    fn ranges(&self, piece: usize) -> (Range<usize>, Range<usize>);
    /// Writes what goes to the device.
    fn fill(&self, piece: usize, chunk: &mut [u8]);
    /// Enqueues the call on the chunk at `at`, of [`CHUNK`] bytes.
    fn call(&self, piece: usize, world: &mut World, at: DevicePtr, stream: StreamHandle) -> Result<()>;
    /// Reads what has come from the device.
    fn take(&mut self, piece: usize, chunk: &[u8]);
}

/// A chunk on both sides, and how far it is.
struct Slot {
    host: Pinned,
    device: Memory,
    uploaded: Event,
    called: Event,
    downloaded: Event,
}

pub struct Staging {
    slots: [Slot; 2],
    upload: Stream,
    /// The one on which NCCL works.
    work: Stream,
    download: Stream,
}

impl Staging {
    pub fn new(device: &Rc<Device>) -> Result<Staging> {
        let slot = || {
            Ok::<_, String>(Slot {
                host: Pinned::new(device, CHUNK)?,
                device: Memory::new(device, CHUNK)?,
                uploaded: Event::new(device)?,
                called: Event::new(device)?,
                downloaded: Event::new(device)?,
            })
        };
        let slots = [slot()?, slot()?];
        Ok(Staging { slots, upload: Stream::new(device)?, work: Stream::new(device)?, download: Stream::new(device)? })
    }

    /// Makes the call, piece by piece. After a failure the world is of no use: copies may be under way, and the others are told.
    pub fn run(&mut self, world: &mut World, pieces: &mut impl Pieces) -> Result<()> {
        self.all_pieces(world, pieces).inspect_err(|why| world.abort(why))
    }

    fn all_pieces(&mut self, world: &mut World, pieces: &mut impl Pieces) -> Result<()> {
        let count = pieces.count();
        let ahead = self.slots.len();
        for piece in 0..count + ahead {
            // What the slot held before has to be back.
            if let Some(before) = piece.checked_sub(ahead).filter(|&before| before < count) {
                let slot = &mut self.slots[before % ahead];
                world.wait(&slot.downloaded)?;
                let (_, back) = pieces.ranges(before);
                pieces.take(before, &slot.host.bytes()[back]);
            }
            if piece < count {
                self.begin(piece, world, pieces)?;
            }
        }
        Ok(())
    }

    /// Enqueues all that is to be done with a piece.
    fn begin(&mut self, piece: usize, world: &mut World, pieces: &impl Pieces) -> Result<()> {
        let Staging { slots, upload, work, download } = self;
        let slot = &mut slots[piece % 2];
        let (there, back) = pieces.ranges(piece);
        pieces.fill(piece, &mut slot.host.bytes()[there.clone()]);
        if !there.is_empty() {
            upload.upload(&slot.host, &slot.device, there)?;
        }
        slot.uploaded.record(upload)?;
        work.wait_for(&slot.uploaded)?;
        pieces.call(piece, world, slot.device.at(0), work.handle())?;
        slot.called.record(work)?;
        download.wait_for(&slot.called)?;
        if !back.is_empty() {
            download.download(&slot.device, &mut slot.host, back)?;
        }
        slot.downloaded.record(download)
    }
}
