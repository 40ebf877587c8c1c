//! The zip layout: `NAME/data.pkl`, and a stored (never compressed) member `NAME/data/KEY` for each storage.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};

use zip::{CompressionMethod, ZipArchive};

use super::TorchFile;
use crate::error::{PickleError, Result, fail};
use crate::heap::Heap;
use crate::machine::{Persistent, load, short};
use crate::source::Source;

type Archive = ZipArchive<BufReader<File>>;

/// A member's bytes in the file.
struct Member {
    start: u64,
    size: u64,
}

pub fn read(reader: BufReader<File>, file_size: u64) -> Result<TorchFile> {
    let file = reader.get_ref().try_clone()?;
    let mut archive = ZipArchive::new(reader).map_err(|error| {
        PickleError::new(format!("its zip directory is damaged or missing: {error}"))
            .with_hint("the file is incomplete: copy or download it again")
    })?;
    if entries(&file, archive.central_directory_start(), file_size)? != archive.len() {
        return fail("two members of its zip archive have the same name");
    }
    let names: Vec<String> = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
    let prefix = prefix(&names)?;
    let member = |archive: &mut Archive, name: &str| find(archive, &format!("{prefix}{name}"), file_size);
    let pickle = member(&mut archive, "data.pkl")?;
    if names.iter().any(|name| name == &format!("{prefix}byteorder")) {
        let order = member(&mut archive, "byteorder")?;
        if bytes(&file, &order)? != b"little" {
            return fail("it was written on a big-endian machine");
        }
    }
    let mut heap = Heap::new(file_size);
    let Member { start, size: pickle_size } = pickle;
    let root = {
        let mut reader = at(&file, start)?;
        load(&mut Source::new(&mut reader, start, start + pickle_size), &mut heap, &Persistent::Storages)?
    };
    for i in 0..heap.storages.len() {
        let (key, expected) = (heap.storages[i].key.clone(), heap.storages[i].bytes()?);
        if key.contains(['/', '\\']) || key == ".." {
            return fail(format!("a storage's key is a path: {}", short(&key)));
        }
        let Member { start, size } = member(&mut archive, &format!("data/{key}"))?;
        if size != expected {
            return fail(format!("storage {key} is declared with {expected} bytes, but has {size}"));
        }
        heap.storages[i].start = Some(start);
    }
    Ok(TorchFile { heap, root, file_size, pickle_size })
}

/// Entries of the directory, which begins at a place. The archive itself knows one of each name.
fn entries(file: &File, start: u64, file_size: u64) -> Result<usize> {
    const SIGNATURE: &[u8; 4] = b"PK\x01\x02";
    let mut reader = at(file, start)?;
    let mut source = Source::new(&mut reader, start, file_size);
    let mut count = 0;
    while source.remaining() >= 46 {
        let head = source.array::<46>()?;
        if !head.starts_with(SIGNATURE) {
            break;
        }
        let length = |i: usize| u64::from(u16::from_le_bytes([head[i], head[i + 1]]));
        source.bytes(length(28) + length(30) + length(32))?;
        count += 1;
    }
    Ok(count)
}

/// What stands before `data.pkl`: the archive's name and a slash.
fn prefix(names: &[String]) -> Result<String> {
    let found: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_suffix("data.pkl"))
        .filter(|prefix| prefix.is_empty() || prefix.find('/') == Some(prefix.len() - 1))
        .collect();
    match found.as_slice() {
        [prefix] if names.iter().any(|name| name.starts_with(&format!("{prefix}code/"))) => {
            fail("it is a TorchScript program, not weights")
        }
        [prefix] => Ok((*prefix).to_owned()),
        [] => fail("it is a zip archive, but not one of torch.save: it has no data.pkl"),
        _ => fail("it is a zip archive with several data.pkl"),
    }
}

fn find(archive: &mut Archive, name: &str, file_size: u64) -> Result<Member> {
    let index = archive
        .index_for_name(name)
        .ok_or_else(|| PickleError::new(format!("its member {} is missing", short(name))))?;
    let file = archive.by_index_raw(index).map_err(|error| PickleError::new(format!("{}: {error}", short(name))))?;
    if file.encrypted() {
        return fail(format!("its member {} is encrypted", short(name)));
    }
    if file.compression() != CompressionMethod::Stored {
        return fail(format!("its member {} is compressed, as torch.save never does", short(name)));
    }
    let (start, size) = (file.data_start().unwrap_or(u64::MAX), file.compressed_size());
    match start.checked_add(size) {
        Some(end) if end <= file_size && file.size() == size => Ok(Member { start, size }),
        _ => fail(format!("its member {} reaches beyond the file", short(name))),
    }
}

fn bytes(file: &File, member: &Member) -> Result<Vec<u8>> {
    Source::new(at(file, member.start)?, 0, member.size).bytes(member.size)
}

/// The file at a place: members are stored, so they are read as they lie. (The archive shares the file's position, and
/// seeks before each of its own reads.)
fn at(mut file: &File, start: u64) -> Result<BufReader<&File>> {
    file.seek(SeekFrom::Start(start))?;
    Ok(BufReader::new(file))
}
