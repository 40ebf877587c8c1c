//! The layout before torch 1.6: pickles in a row (a magic number, a protocol, the machine, the object, the keys of its
//! storages), and then each storage: eight bytes of its length in elements, and its bytes.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};

use super::TorchFile;
use crate::error::{PickleError, Result, fail};
use crate::heap::{Heap, Node};
use crate::machine::{Persistent, load, short};
use crate::source::Source;

const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const PROTOCOL: i64 = 1001;

pub fn read(mut reader: BufReader<File>, file_size: u64) -> Result<TorchFile> {
    let mut heap = Heap::new(file_size);
    let mut source = Source::new(&mut reader, 0, file_size);
    let magic = load(&mut source, &mut heap, &Persistent::None)?;
    if heap.get(magic) != &Node::BigInt(Box::new(MAGIC)) {
        return fail("it is a pickle, but not one of torch.save");
    }
    let protocol = load(&mut source, &mut heap, &Persistent::None)?;
    if heap.int(protocol) != Some(PROTOCOL) {
        return fail("it is of an unknown protocol of torch.save");
    }
    let machine = load(&mut source, &mut heap, &Persistent::None)?;
    if let Node::Dict(pairs) = heap.get(machine)
        && pairs
            .iter()
            .any(|&(key, value)| heap.str(key) == Some("little_endian") && heap.get(value) == &Node::Bool(false))
    {
        return fail("it was written on a big-endian machine");
    }
    let root = load(&mut source, &mut heap, &Persistent::Storages)?;
    let keys = load(&mut source, &mut heap, &Persistent::None)?;
    let pickle_size = source.position();
    let keys = heap.items(keys).ok_or_else(|| PickleError::new("its storages are not listed"))?;
    let keys = keys.iter().map(|&key| heap.str(key).map(str::to_owned)).collect::<Option<Vec<_>>>();
    let mut at = pickle_size;
    for key in keys.ok_or_else(|| PickleError::new("a storage's key is no text"))? {
        reader.seek(SeekFrom::Start(at))?;
        let count = Source::new(&mut reader, at, file_size).u64()?;
        let storage = heap
            .storage_of(&key)
            .ok_or_else(|| PickleError::new(format!("storage {} is of no tensor", short(&key))))?;
        if storage.count != count {
            return fail(format!("storage {key} is declared with {} elements, but has {count}", storage.count));
        }
        let (start, bytes) = (at + 8, storage.bytes()?);
        at = start + bytes;
        if at > file_size {
            return fail(format!("it ends within storage {key}: {} bytes are missing", at - file_size))
                .map_err(|error: PickleError| error.with_hint("the file is incomplete: copy or download it again"));
        }
        heap.place(&key, start);
    }
    if let Some(missing) = heap.storages.iter().find(|storage| storage.start.is_none()) {
        return fail(format!("storage {} is missing", short(&missing.key)));
    }
    Ok(TorchFile { heap, root, file_size, pickle_size })
}
