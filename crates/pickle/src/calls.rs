//! What the allowed names do when they are called.

use crate::dtype::DType;
use crate::error::{PickleError, Result, fail};
use crate::globals::Global;
use crate::heap::{Heap, Id, Node, NumpyArray, NumpyType, View};

/// `global(*arguments)`.
///
/// # Errors
/// For arguments that do not fit, and for names that are no functions.
pub fn call(heap: &mut Heap, global: Global, arguments: &[Id]) -> Result<Id> {
    match (global, arguments) {
        (Global::RebuildTensor, &[storage, offset, size, stride]) => {
            tensor(heap, storage, None, [offset, size, stride])
        }
        (
            Global::RebuildTensorV2,
            &[storage, offset, size, stride, _, _] | &[storage, offset, size, stride, _, _, _],
        ) => tensor(heap, storage, None, [offset, size, stride]),
        (
            Global::RebuildTensorV3,
            &[storage, offset, size, stride, _, _, dtype] | &[storage, offset, size, stride, _, _, dtype, _],
        ) => {
            let Node::Global(Global::DType(dtype)) = *heap.get(dtype) else {
                return fail("a tensor's type is not known");
            };
            tensor(heap, storage, Some(dtype), [offset, size, stride])
        }
        (Global::RebuildParameter, &[data, _, _]) | (Global::RebuildParameterWithState, &[data, _, _, _]) => {
            is_tensor(heap, data)
        }
        (Global::TensorClass, &[data] | &[data, _]) => is_tensor(heap, data),
        (Global::RebuildFromType, &[function, class, inner, _]) => {
            let Node::Global(function) = *heap.get(function) else { return fail("what is called is no known name") };
            let inner = heap.items(inner).ok_or_else(|| PickleError::new("arguments are no tuple"))?.to_vec();
            let known = matches!(heap.get(class), Node::Global(Global::TensorClass));
            if !known || function == Global::RebuildFromType {
                return fail("a tensor is of a class that is not known");
            }
            call(heap, function, &inner)
        }
        (Global::Dict | Global::Namespace, []) | (Global::DefaultDict, [] | [_]) => heap.add(Node::Dict(Vec::new())),
        (Global::Dict, &[items]) => dict(heap, items),
        (Global::List, []) => heap.add(Node::List(Vec::new())),
        (Global::List | Global::Tuple, &[items]) => is_container(heap, items),
        (Global::Tuple, []) => heap.add(Node::Tuple(Vec::new())),
        (Global::Device, &[kind]) => is_text(heap, kind),
        (Global::Device, &[kind, index]) => {
            let name = format!("{}:{}", heap.str(kind).unwrap_or_default(), heap.size(index, "a device's number")?);
            heap.charge(name.len())?;
            heap.add(Node::Str(name))
        }
        (Global::Path, parts) => path(heap, parts),
        (Global::Encode, &[text] | &[text, _]) => encode(heap, text),
        (Global::Bytearray, []) => heap.add(Node::Bytes(Vec::new())),
        (Global::Bytearray, &[bytes] | &[bytes, _]) => match heap.get(bytes) {
            Node::Bytes(_) => Ok(bytes),
            _ => encode(heap, bytes),
        },
        (Global::Reconstructor, &[class, _, _]) => match *heap.get(class) {
            Node::Global(class @ (Global::Namespace | Global::Dict)) => call(heap, class, &[]),
            _ => fail("an object is of a class that is not known"),
        },
        (Global::NumpyReconstruct, [_, _, _]) => {
            let data = heap.add(Node::None)?;
            let dtype = NumpyType { kind: 'O', size: 0, big_endian: false };
            heap.add(Node::NumpyArray(Box::new(NumpyArray { dtype, shape: Vec::new(), fortran: false, data })))
        }
        (Global::NumpyFromBuffer, &[data, dtype, shape, order]) => {
            let Node::NumpyType(dtype) = *heap.get(dtype) else { return fail("an array has no type") };
            let shape = heap.sizes(shape, "an array's size")?;
            let fortran = heap.str(order) == Some("F");
            heap.add(Node::NumpyArray(Box::new(NumpyArray { dtype, shape, fortran, data })))
        }
        (Global::NumpyType, &[name, ..]) => {
            let dtype = numpy_type(heap.str(name).unwrap_or_default())?;
            heap.add(Node::NumpyType(dtype))
        }
        (Global::NumpyScalar, &[dtype, data]) => numpy_scalar(heap, dtype, data),
        (global, _) => fail(format!("{global:?} is called with {} arguments", arguments.len())),
    }
}

/// `object.__setstate__(state)`: of namespaces and numpy's; what else is set on tensors and dictionaries is left out.
///
/// # Errors
/// For objects that have no state.
pub fn set_state(heap: &mut Heap, object: Id, state: Id) -> Result<()> {
    match heap.get(object) {
        // The attributes of an ordered dictionary (torch's `_metadata`) are none of its keys.
        Node::Dict(held) if !held.is_empty() => Ok(()),
        Node::Dict(_) => {
            // Moved, not copied: the state has no other use.
            if let Node::Dict(pairs) = heap.get_mut(state) {
                let pairs = std::mem::take(pairs);
                *heap.get_mut(object) = Node::Dict(pairs);
            }
            Ok(())
        }
        Node::Tensor(_) | Node::Str(_) => Ok(()),
        &Node::NumpyType(dtype) => {
            let order = heap.items(state).and_then(|items| items.get(1)).and_then(|&order| heap.str(order));
            let big_endian = order == Some(">");
            *heap.get_mut(object) = Node::NumpyType(NumpyType { big_endian, ..dtype });
            Ok(())
        }
        Node::NumpyArray(_) => {
            let Some(&[_, shape, dtype, fortran, data]) = heap.items(state) else {
                return fail("an array's state is not known");
            };
            let Node::NumpyType(dtype) = *heap.get(dtype) else { return fail("an array has no type") };
            let shape = heap.sizes(shape, "an array's size")?;
            let fortran = heap.get(fortran) == &Node::Bool(true);
            *heap.get_mut(object) = Node::NumpyArray(Box::new(NumpyArray { dtype, shape, fortran, data }));
            Ok(())
        }
        _ => fail("a state is set on what has none"),
    }
}

/// `('storage', type, key, location, count[, view])`.
///
/// # Errors
/// For any other persistent id.
pub fn declare_storage(heap: &mut Heap, id: Id) -> Result<usize> {
    let (kind, class, key, count, view) = match heap.items(id) {
        Some(&[kind, class, key, _, count]) => (kind, class, key, count, None),
        Some(&[kind, class, key, _, count, view]) => (kind, class, key, count, Some(view)),
        _ => return fail("a persistent id is no storage's"),
    };
    if heap.str(kind) != Some("storage") {
        return fail(match heap.str(kind) {
            Some("module") => "it holds a whole module, not its weights".to_owned(),
            _ => "a persistent id is no storage's".to_owned(),
        });
    }
    let Node::Global(Global::Storage(dtype)) = *heap.get(class) else { return fail("a storage is of no known type") };
    let key = match heap.get(key) {
        Node::Str(key) => key.clone(),
        Node::Int(key) => key.to_string(),
        _ => return fail("a storage's key is no text"),
    };
    if view.is_some_and(|view| heap.get(view) != &Node::None) {
        return fail("a storage is a part of another: torch before 0.4 wrote such files")
            .map_err(|error: PickleError| error.with_hint("save it anew with a current torch"));
    }
    let count = heap.size(count, "a storage's size")?;
    heap.storage(&key, dtype, count)
}

/// A tensor of a storage, all of it inside.
///
/// # Errors
/// For sizes that overflow, and elements that lie outside.
pub fn view(
    heap: &mut Heap,
    storage: usize,
    dtype: Option<DType>,
    offset: u64,
    shape: Vec<u64>,
    strides: Vec<u64>,
) -> Result<Id> {
    let held = &heap.storages[storage];
    let dtype = dtype.unwrap_or(held.dtype);
    if shape.len() != strides.len() {
        return fail(format!("a tensor has {} sizes and {} strides", shape.len(), strides.len()));
    }
    let outside = || PickleError::new(format!("a tensor reaches beyond its storage {}", held.key));
    let count = shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size));
    if count.is_none() && !shape.contains(&0) {
        return fail(format!("a tensor of {shape:?} has too many elements"));
    }
    if !shape.contains(&0) {
        let steps = shape.iter().zip(&strides).try_fold(offset, |sum, (&size, &stride)| {
            (size - 1).checked_mul(stride).and_then(|reach| sum.checked_add(reach))
        });
        let end = steps.and_then(|last| last.checked_add(1)).and_then(|end| end.checked_mul(dtype.size()));
        if end.ok_or_else(outside)? > held.bytes()? {
            return Err(outside());
        }
    }
    heap.add(Node::Tensor(Box::new(View { storage, dtype, offset, shape, strides })))
}

fn tensor(heap: &mut Heap, storage: Id, dtype: Option<DType>, [offset, size, stride]: [Id; 3]) -> Result<Id> {
    let Node::Storage(storage) = *heap.get(storage) else { return fail("a tensor has no storage") };
    let offset = heap.size(offset, "a tensor's offset")?;
    let shape = heap.sizes(size, "a tensor's size")?;
    let strides = heap.sizes(stride, "a tensor's stride")?;
    view(heap, storage, dtype, offset, shape, strides)
}

fn is_tensor(heap: &Heap, id: Id) -> Result<Id> {
    match heap.get(id) {
        Node::Tensor(_) => Ok(id),
        _ => fail("a parameter is no tensor"),
    }
}

fn is_text(heap: &Heap, id: Id) -> Result<Id> {
    match heap.get(id) {
        Node::Str(_) => Ok(id),
        _ => fail("a device's name is no text"),
    }
}

/// Pairs as a dictionary, made in place: what it is made of has no other use.
fn dict(heap: &mut Heap, items: Id) -> Result<Id> {
    if matches!(heap.get(items), Node::Dict(_)) {
        return Ok(items);
    }
    let pairs = heap.items(items).ok_or_else(|| PickleError::new("a dictionary is made of no list"))?;
    let pair = |&item: &Id| match heap.items(item) {
        Some(&[key, value]) => Ok((key, value)),
        _ => fail("a dictionary is made of what are no pairs"),
    };
    let pairs = pairs.iter().map(pair).collect::<Result<Vec<_>>>()?;
    *heap.get_mut(items) = Node::Dict(pairs);
    Ok(items)
}

/// Lists, tuples and sets are alike here: the container itself.
fn is_container(heap: &Heap, items: Id) -> Result<Id> {
    match heap.items(items) {
        Some(_) => Ok(items),
        None => fail("a container is made of no list"),
    }
}

fn path(heap: &mut Heap, parts: &[Id]) -> Result<Id> {
    let texts = parts.iter().map(|&part| heap.str(part)).collect::<Option<Vec<_>>>();
    let parts = texts.ok_or_else(|| PickleError::new("a path's part is no text"))?;
    let joined = match parts.split_first() {
        Some((&"/", rest)) => format!("/{}", rest.join("/")),
        _ => parts.join("/"),
    };
    heap.charge(joined.len())?;
    heap.add(Node::Str(joined))
}

/// Text of Latin-1 as its bytes. (Not in place: Python shares short texts, so a key may be the same object.)
fn encode(heap: &mut Heap, text: Id) -> Result<Id> {
    let text = heap.str(text).ok_or_else(|| PickleError::new("what is encoded is no text"))?;
    let bytes = text.chars().map(|c| u8::try_from(u32::from(c))).collect::<std::result::Result<Vec<u8>, _>>();
    let bytes = bytes.map_err(|_| PickleError::new("bytes are written in no known way"))?;
    heap.charge(bytes.len())?;
    heap.add(Node::Bytes(bytes))
}

/// `f8`, `<U12`, `O`.
///
/// # Errors
/// For types that are neither numbers, texts nor objects.
pub fn numpy_type(name: &str) -> Result<NumpyType> {
    let (big_endian, rest) = match name.as_bytes().first() {
        Some(b'>') => (true, &name[1..]),
        Some(b'<' | b'=' | b'|') => (false, &name[1..]),
        _ => (false, name),
    };
    let unknown = || PickleError::new(format!("numpy's type \"{}\" is not known", crate::machine::short(name)));
    let kind = rest.chars().next().filter(|kind| "fiubUSO".contains(*kind)).ok_or_else(unknown)?;
    let size = match &rest[1..] {
        "" => 0,
        digits => digits.parse::<u32>().map_err(|_| unknown())?,
    };
    Ok(NumpyType { kind, size, big_endian })
}

/// A number of numpy's.
fn numpy_scalar(heap: &mut Heap, dtype: Id, data: Id) -> Result<Id> {
    let Node::NumpyType(dtype) = *heap.get(dtype) else { return fail("a number has no type") };
    let Node::Bytes(bytes) = heap.get(data) else { return fail("a number has no bytes") };
    let (length, node) = (bytes.len(), numpy_value(dtype, bytes)?);
    heap.charge(length)?;
    heap.add(node)
}

/// One value from its bytes.
///
/// # Errors
/// When they are too few, or the type has no such value.
pub fn numpy_value(dtype: NumpyType, bytes: &[u8]) -> Result<Node> {
    let NumpyType { kind, size, big_endian } = dtype;
    let mut ordered = bytes.to_vec();
    if big_endian && kind != 'U' && kind != 'S' {
        ordered.reverse();
    }
    let few = || PickleError::new(format!("{} bytes for a number of {size}", bytes.len()));
    Ok(match (kind, size) {
        ('f', 8) => Node::Float(f64::from_le_bytes(ordered.try_into().map_err(|_| few())?)),
        ('f', 4) => Node::Float(f32::from_le_bytes(ordered.try_into().map_err(|_| few())?).into()),
        ('b', _) => Node::Bool(*ordered.first().ok_or_else(few)? != 0),
        ('i' | 'u', 1 | 2 | 4 | 8) if ordered.len() == size as usize => {
            let negative = kind == 'i' && ordered[ordered.len() - 1] >= 0x80;
            let mut wide = [if negative { 0xff } else { 0 }; 16];
            wide[..ordered.len()].copy_from_slice(&ordered);
            let value = i128::from_le_bytes(wide);
            i64::try_from(value).map_or_else(|_| Node::BigInt(Box::new(value)), Node::Int)
        }
        ('U', _) => Node::Str(crate::npy::utf32(bytes, big_endian)?),
        ('S', _) => Node::Bytes(bytes.to_vec()),
        _ => return fail(format!("a value of numpy's type {kind}{size} is not known")),
    })
}
