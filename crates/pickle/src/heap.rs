//! What a pickle has built: values in one place, referring to each other by number.
//!
//! A flat heap has no recursion to overflow when values are nested deeply, and none to leak when they refer to themselves.

use std::collections::HashMap;

use crate::dtype::DType;
use crate::error::{PickleError, Result, fail};
use crate::globals::Global;

/// A value's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(u32);

#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    None,
    Bool(bool),
    Int(i64),
    BigInt(Box<i128>),
    Float(f64),
    Str(String),
    Bytes(Vec<u8>),
    /// Lists and sets.
    List(Vec<Id>),
    Tuple(Vec<Id>),
    /// Dictionaries and namespaces: pairs in the order of their coming; a later one of the same key wins.
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(usize),
    Tensor(Box<View>),
    NumpyType(NumpyType),
    NumpyArray(Box<NumpyArray>),
}

/// Elements of a storage that make a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub storage: usize,
    pub dtype: DType,
    /// Elements before the first.
    pub offset: u64,
    pub shape: Vec<u64>,
    /// Elements from one to the next, by axis.
    pub strides: Vec<u64>,
}

/// Bytes that tensors share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    pub key: String,
    pub dtype: DType,
    /// Elements, as declared.
    pub count: u64,
    /// Where its bytes begin in the file; known once they are found.
    pub start: Option<u64>,
}

impl Storage {
    /// # Errors
    /// When the size is beyond all files.
    pub fn bytes(&self) -> Result<u64> {
        let bytes = self.count.checked_mul(self.dtype.size()).filter(|&bytes| bytes < 1 << 62);
        bytes.ok_or_else(|| PickleError::new(format!("storage {} claims {} elements", self.key, self.count)))
    }
}

/// A type of numpy's: kind (`f`, `i`, `u`, `b`, `U`, `S`, `O`), bytes (characters for `U`), byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumpyType {
    pub kind: char,
    pub size: u32,
    pub big_endian: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct NumpyArray {
    pub dtype: NumpyType,
    pub shape: Vec<u64>,
    pub fortran: bool,
    /// A list for type `O`, else bytes.
    pub data: Id,
}

/// All values and storages.
#[derive(Debug)]
pub struct Heap {
    nodes: Vec<Node>,
    pub storages: Vec<Storage>,
    /// One for each type that a key's bytes are seen as.
    by_key: HashMap<String, Vec<usize>>,
    /// Bytes that may yet be made of others.
    budget: u64,
}

/// Sizes and strides of a tensor; torch's own limit is 64.
const MAX_AXES: usize = 64;

impl Heap {
    /// For a file of this size.
    pub fn new(file_size: u64) -> Self {
        let budget = file_size.saturating_mul(4).saturating_add(1 << 16);
        Self { nodes: Vec::new(), storages: Vec::new(), by_key: HashMap::new(), budget }
    }

    /// Counts bytes that are made of values which are there already: a few opcodes could ask for them again and again.
    ///
    /// # Errors
    /// When they are far more than the file has.
    pub fn charge(&mut self, bytes: usize) -> Result<()> {
        match self.budget.checked_sub(bytes as u64) {
            Some(left) => self.budget = left,
            None => return fail("it makes far more of its values than the file has"),
        }
        Ok(())
    }

    /// # Errors
    /// When there are more values than numbers.
    pub fn add(&mut self, node: Node) -> Result<Id> {
        let id = u32::try_from(self.nodes.len()).map_err(|_| PickleError::new("the pickle has too many values"))?;
        self.nodes.push(node);
        Ok(Id(id))
    }

    pub fn get(&self, id: Id) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub fn get_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    /// The storage of a key, declared now or before.
    ///
    /// # Errors
    /// When it was declared otherwise.
    pub fn storage(&mut self, key: &str, dtype: DType, count: u64) -> Result<usize> {
        let storage = Storage { key: key.to_owned(), dtype, count, start: None };
        let bytes = storage.bytes()?;
        let known = self.by_key.entry(key.to_owned()).or_default();
        if let Some(&first) = known.first()
            && self.storages[first].bytes()? != bytes
        {
            return fail(format!("storage {key} is declared with two sizes"));
        }
        // The same bytes may be seen as several types.
        if let Some(&same) = known.iter().find(|&&i| self.storages[i].dtype == dtype) {
            return Ok(same);
        }
        known.push(self.storages.len());
        self.storages.push(storage);
        Ok(self.storages.len() - 1)
    }

    /// The storage first declared for a key.
    pub fn storage_of(&self, key: &str) -> Option<&Storage> {
        self.by_key.get(key)?.first().map(|&i| &self.storages[i])
    }

    /// Says where the bytes of a key are.
    pub fn place(&mut self, key: &str, start: u64) {
        for &i in self.by_key.get(key).into_iter().flatten() {
            self.storages[i].start = Some(start);
        }
    }

    pub fn str(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Node::Str(text) => Some(text),
            _ => None,
        }
    }

    pub fn int(&self, id: Id) -> Option<i64> {
        match self.get(id) {
            Node::Int(value) => Some(*value),
            Node::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    pub fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Node::Tuple(items) | Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// A size or an offset.
    ///
    /// # Errors
    /// When it is no integer, or negative.
    pub fn size(&self, id: Id, what: &str) -> Result<u64> {
        let value = self.int(id).ok_or_else(|| PickleError::new(format!("{what} is no integer")))?;
        u64::try_from(value).map_err(|_| PickleError::new(format!("{what} is {value}")))
    }

    /// A tuple of sizes.
    ///
    /// # Errors
    /// As [`Heap::size`].
    pub fn sizes(&self, id: Id, what: &str) -> Result<Vec<u64>> {
        let items = self.items(id).ok_or_else(|| PickleError::new(format!("{what} is no tuple")))?;
        if items.len() > MAX_AXES {
            return fail(format!("{what} has {} axes", items.len()));
        }
        items.iter().map(|&item| self.size(item, what)).collect()
    }
}
