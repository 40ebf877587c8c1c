//! A file's object as JSON, for the other side of the addon.
//!
//! `{"tensors": […], "root": VALUE}`. null, booleans, finite numbers of at most 53 bits and texts stand for themselves,
//! lists, tuples and sets are arrays; the rest are objects of one key: `{"d": [key, value, key, value, …]}` dictionaries,
//! `{"t": i}` tensors, `{"i": "…"}` large integers, `{"f": "nan"}` other floats, `{"b": "hex"}` bytes. A tensor is
//! `{"dtype", "shape", "strides", "offset", "start", "bytes"}`: its elements lie `offset` elements after byte `start` of
//! the file, in a storage of `bytes` bytes.

use std::collections::HashMap;
use std::fmt::Write;

use super::TorchFile;
use crate::error::{PickleError, Result, fail};
use crate::heap::{Id, Node, NumpyArray, View};
use crate::npy;

/// Containers in containers. Checkpoints have about six.
const MAX_DEPTH: usize = 100;
/// Values may be shared, so a small pickle can describe a huge tree: the answer is bounded by this many times its size.
const MAX_GROWTH: u64 = 16;
/// Likewise a small storage can be seen as many large tensors.
const MAX_TENSOR_GROWTH: u64 = 16;
const SLACK: u64 = 1 << 16;

pub fn write(file: &TorchFile) -> Result<String> {
    let mut writer = Writer {
        file,
        out: String::new(),
        tensors: String::new(),
        numbers: HashMap::new(),
        tensor_bytes: 0,
        limit: file.pickle_size.saturating_mul(MAX_GROWTH) + SLACK,
    };
    writer.value(file.root, 0)?;
    Ok(format!("{{\"tensors\":[{}],\"root\":{}}}", writer.tensors, writer.out))
}

struct Writer<'f> {
    file: &'f TorchFile,
    out: String,
    tensors: String,
    /// Places of the tensors that were met.
    numbers: HashMap<Id, usize>,
    tensor_bytes: u64,
    limit: u64,
}

impl Writer<'_> {
    fn value(&mut self, id: Id, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return fail(format!("its values nest more than {MAX_DEPTH} deep"));
        }
        if (self.out.len() + self.tensors.len()) as u64 > self.limit {
            return fail("it repeats the same values too often: written out they are far larger than the file");
        }
        match self.file.heap.get(id) {
            Node::None => self.out.push_str("null"),
            Node::Bool(value) => self.out.push_str(if *value { "true" } else { "false" }),
            Node::Int(value) if value.unsigned_abs() < 1 << 53 => self.put(value),
            Node::Int(value) => self.tagged("i", value),
            Node::BigInt(value) => self.tagged("i", value),
            Node::Float(value) if value.is_finite() => self.put(value),
            Node::Float(value) => self.tagged("f", value),
            Node::Str(text) => self.text(text),
            Node::Bytes(bytes) => {
                self.out.push_str("{\"b\":\"");
                bytes.iter().for_each(|byte| self.put(format_args!("{byte:02x}")));
                self.out.push_str("\"}");
            }
            Node::List(items) | Node::Tuple(items) => self.list(items, depth)?,
            Node::Dict(pairs) => {
                self.out.push_str("{\"d\":");
                let flat: Vec<Id> = pairs.iter().flat_map(|&(key, value)| [key, value]).collect();
                self.list(&flat, depth)?;
                self.out.push('}');
            }
            Node::Tensor(view) => {
                let number = self.tensor(id, view)?;
                self.put(format_args!("{{\"t\":{number}}}"));
            }
            Node::NumpyArray(array) => self.array(array, depth)?,
            Node::Global(crate::globals::Global::DType(dtype)) => self.text(&format!("torch.{}", dtype.name())),
            Node::Global(_) => return fail("it holds a class or a function as a value"),
            Node::Storage(_) => return fail("it holds a storage that is no tensor's"),
            Node::NumpyType(dtype) => self.text(&format!("{}{}", dtype.kind, dtype.size)),
        }
        Ok(())
    }

    fn put(&mut self, value: impl std::fmt::Display) {
        write!(self.out, "{value}").unwrap_or_default();
    }

    fn tagged(&mut self, tag: &str, value: impl std::fmt::Display) {
        self.put(format_args!("{{\"{tag}\":\"{value}\"}}"));
    }

    fn text(&mut self, text: &str) {
        let quoted = serde_json::Value::from(text);
        self.put(quoted);
    }

    fn list(&mut self, items: &[Id], depth: usize) -> Result<()> {
        self.out.push('[');
        for (i, &item) in items.iter().enumerate() {
            if i > 0 {
                self.out.push(',');
            }
            self.value(item, depth + 1)?;
        }
        self.out.push(']');
        Ok(())
    }

    /// Numbers and texts of an array, in C order and flat: checkpoints hold only small ones.
    fn array(&mut self, array: &NumpyArray, depth: usize) -> Result<()> {
        if let Some(items) = self.file.heap.items(array.data) {
            return self.list(items, depth);
        }
        let values = npy::values(&self.file.heap, array)?;
        self.out.push('[');
        for (i, value) in values.iter().enumerate() {
            if i > 0 {
                self.out.push(',');
            }
            match value {
                Node::Bool(value) => self.put(value),
                Node::Int(value) if value.unsigned_abs() < 1 << 53 => self.put(value),
                Node::Int(value) => self.tagged("i", value),
                Node::Float(value) if value.is_finite() => self.put(value),
                Node::Float(value) => self.tagged("f", value),
                Node::Str(text) => self.text(text),
                _ => return fail("an array's values are not known"),
            }
        }
        self.out.push(']');
        Ok(())
    }

    fn tensor(&mut self, id: Id, view: &View) -> Result<usize> {
        if let Some(&number) = self.numbers.get(&id) {
            return Ok(number);
        }
        let storage = &self.file.heap.storages[view.storage];
        let start = storage.start.ok_or_else(|| PickleError::new(format!("storage {} is missing", storage.key)))?;
        let bytes = view.shape.iter().product::<u64>().saturating_mul(view.dtype.size());
        self.tensor_bytes = self.tensor_bytes.saturating_add(bytes);
        if self.tensor_bytes > self.file.file_size.saturating_mul(MAX_TENSOR_GROWTH) + SLACK {
            return fail(format!(
                "a tensor of {:?} repeats the few bytes of storage {} too often",
                view.shape, storage.key
            ));
        }
        let number = self.numbers.len();
        self.numbers.insert(id, number);
        if number > 0 {
            self.tensors.push(',');
        }
        let entry = serde_json::json!({
            "dtype": view.dtype.name(),
            "shape": view.shape,
            "strides": view.strides,
            "offset": view.offset,
            "start": start,
            "bytes": storage.bytes()?,
        });
        self.tensors.push_str(&entry.to_string());
        Ok(number)
    }
}
