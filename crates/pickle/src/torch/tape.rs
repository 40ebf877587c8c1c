//! The first layout, a tar archive of `storages`, `tensors` and `pickle`: storages with their bytes, tensors by key with
//! their sizes, and the object, which names tensors by key.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};

use tar::Archive;

use super::TorchFile;
use crate::calls::view;
use crate::error::{PickleError, Result, fail};
use crate::globals::Global;
use crate::heap::{Heap, Id, Node};
use crate::machine::{Persistent, load, short};
use crate::source::Source;

/// A member's place in the file.
type Place = (u64, u64);

pub fn read(mut reader: BufReader<File>, file_size: u64) -> Result<TorchFile> {
    let [storages, tensors, pickle] = members(&mut reader, file_size)?;
    let mut heap = Heap::new(file_size);
    let known = read_storages(&mut reader, storages, &mut heap)?;
    let known = read_tensors(&mut reader, tensors, &mut heap, known)?;
    let mut source = at(&mut reader, pickle)?;
    let root = load(&mut source, &mut heap, &Persistent::Named(&known))?;
    Ok(TorchFile { heap, root, file_size, pickle_size: tensors.1 + pickle.1 })
}

fn members(reader: &mut BufReader<File>, file_size: u64) -> Result<[Place; 3]> {
    let mut found: HashMap<String, Place> = HashMap::new();
    for entry in Archive::new(&mut *reader).entries_with_seek()? {
        let entry = entry?;
        let (start, size) = (entry.raw_file_position(), entry.size());
        if start.checked_add(size).is_none_or(|end| end > file_size) {
            return fail("its last member is cut off");
        }
        let name = entry.path()?.display().to_string();
        if entry.header().entry_type().is_symlink() || entry.header().entry_type().is_hard_link() {
            return fail(format!("its member {} is a link", short(&name)));
        }
        found.insert(name.trim_start_matches("./").to_owned(), (start, size));
    }
    let member = |name: &str| {
        let place = found.get(name).copied();
        place.ok_or_else(|| {
            PickleError::new(format!("it is a tar archive, but not one of torch.save: it has no {name}"))
        })
    };
    Ok([member("storages")?, member("tensors")?, member("pickle")?])
}

fn at(reader: &mut BufReader<File>, (start, size): Place) -> Result<Source<&mut BufReader<File>>> {
    reader.seek(SeekFrom::Start(start))?;
    Ok(Source::new(reader, start, start + size))
}

fn count<R: std::io::BufRead>(source: &mut Source<R>, heap: &mut Heap) -> Result<u64> {
    let id = load(source, heap, &Persistent::None)?;
    heap.size(id, "a count")
}

fn name(heap: &Heap, id: Id) -> Result<String> {
    match heap.get(id) {
        Node::Int(number) => Ok(number.to_string()),
        Node::Str(name) => Ok(name.clone()),
        _ => fail("a key is neither a number nor a text"),
    }
}

fn read_storages(reader: &mut BufReader<File>, place: Place, heap: &mut Heap) -> Result<HashMap<String, Id>> {
    let mut known = HashMap::new();
    let mut source = at(&mut *reader, place)?;
    for _ in 0..count(&mut source, heap)? {
        let head = load(&mut source, heap, &Persistent::None)?;
        let Some(&[key, _, class]) = heap.items(head) else { return fail("a storage has no key and type") };
        let Node::Global(Global::Storage(dtype)) = *heap.get(class) else {
            return fail("a storage is of no known type");
        };
        let key = name(heap, key)?;
        let elements = source.u64()?;
        let storage = heap.storage(&key, dtype, elements)?;
        let (start, bytes) = (source.position(), heap.storages[storage].bytes()?);
        if bytes > source.remaining() {
            return fail(format!("storage {key} is cut off"));
        }
        heap.storages[storage].start = Some(start);
        known.insert(key, heap.add(Node::Storage(storage))?);
        let rest = source.remaining() - bytes;
        source = at(&mut *reader, (start + bytes, rest))?;
    }
    let views = load(&mut source, heap, &Persistent::None)?;
    match heap.items(views) {
        Some([]) => Ok(known),
        _ => fail("its storages are parts of others")
            .map_err(|error: PickleError| error.with_hint("save it anew with a current torch")),
    }
}

fn read_tensors(
    reader: &mut BufReader<File>,
    place: Place,
    heap: &mut Heap,
    mut known: HashMap<String, Id>,
) -> Result<HashMap<String, Id>> {
    let mut source = at(reader, place)?;
    for _ in 0..count(&mut source, heap)? {
        let head = load(&mut source, heap, &Persistent::None)?;
        let Some(&[key, storage, _]) = heap.items(head) else { return fail("a tensor has no key and storage") };
        let (key, storage) = (name(heap, key)?, name(heap, storage)?);
        let Some(Node::Storage(storage)) = known.get(&storage).map(|&id| heap.get(id)) else {
            return fail(format!("a tensor's storage {storage} is missing"));
        };
        let storage = *storage;
        // Eight bytes in the first versions, of which four are read.
        let axes = source.u64()? & 0xffff_ffff;
        if axes > 64 {
            return fail(format!("a tensor has {axes} axes"));
        }
        let mut numbers = |count: u64| {
            let one = |source: &mut Source<_>| {
                u64::try_from(source.i64()?).map_err(|_| PickleError::new("a size is negative"))
            };
            (0..count).map(|_| one(&mut source)).collect::<Result<Vec<u64>>>()
        };
        let (shape, strides) = (numbers(axes)?, numbers(axes)?);
        let offset = numbers(1)?[0];
        known.insert(key, view(heap, storage, None, offset, shape, strides)?);
    }
    Ok(known)
}
