//! Arrays of texts in `.npy` files: indexes are written so (`numpy.save(path, list_of_paths)`).

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::calls::{numpy_type, numpy_value};
use crate::error::{PickleError, Result, fail};
use crate::heap::{Heap, Id, Node, NumpyArray, NumpyType};
use crate::machine::{Persistent, load};
use crate::source::Source;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The texts of an array in order, whatever its shape: of type `O` (a pickle), `U` or `S`.
///
/// # Errors
/// For files of another kind, damaged ones, and arrays of anything else.
pub fn read_strings(path: &Path) -> Result<Vec<String>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut source = Source::new(BufReader::new(file), 0, size);
    if source.array::<6>().is_ok_and(|magic| &magic != MAGIC) || size < 10 {
        return fail("it is no NumPy array");
    }
    let [major, _] = source.array::<2>()?;
    let length = match major {
        1 => u16::from_le_bytes(source.array()?).into(),
        2 | 3 => source.u32()?.into(),
        _ => return fail(format!("it is of NumPy's format {major}, which is not known")),
    };
    let header = String::from_utf8(source.bytes(length)?).map_err(|_| PickleError::new("its header is no text"))?;
    let dtype = described(&header)?;
    let count = counted(&header)?;
    if dtype.kind == 'O' {
        let mut heap = Heap::new(size);
        let root = load(&mut source, &mut heap, &Persistent::None)?;
        let texts = match heap.get(root) {
            Node::NumpyArray(array) => texts(&heap, array)?,
            _ => return fail("it holds no array"),
        };
        return match texts.len() as u64 == count {
            true => Ok(texts),
            false => fail(format!("its header tells of {count} texts, but it has {}", texts.len())),
        };
    }
    let width = width(dtype).ok_or_else(|| not_texts(dtype))?;
    let expected = count.checked_mul(width as u64);
    if width == 0 || expected != Some(source.remaining()) {
        return fail(format!("its header tells of {count} texts of {width} bytes, but it has {}", source.remaining()))
            .map_err(|error: PickleError| error.with_hint("the file is incomplete: save or copy it again"));
    }
    let bytes = source.bytes(source.remaining())?;
    bytes.chunks_exact(width).map(|text| decode(dtype, text)).collect()
}

/// The number of elements that a header `{…, 'shape': (2, 3), }` tells.
fn counted(header: &str) -> Result<u64> {
    let value = |key: &str| header.split_once(key).map(|(_, rest)| rest.trim_start());
    let shape = value("'shape':").and_then(|rest| rest.strip_prefix('(')).and_then(|rest| rest.split_once(')'));
    let (sizes, _) = shape.ok_or_else(|| PickleError::new("its header tells no shape"))?;
    let sizes = sizes
        .split(',')
        .map(|size| size.trim().trim_end_matches('L'))
        .filter(|size| !size.is_empty())
        .map(str::parse::<u64>);
    let wrong = || PickleError::new("its header tells no possible shape");
    let sizes = sizes.collect::<std::result::Result<Vec<_>, _>>().map_err(|_| wrong())?;
    if sizes.len() > 1 && value("'fortran_order':").is_some_and(|rest| rest.starts_with("True")) {
        return fail("its texts lie by columns")
            .map_err(|error: PickleError| error.with_hint("save an array of one axis, one path an element"));
    }
    sizes.iter().try_fold(1_u64, |product, &size| product.checked_mul(size)).ok_or_else(wrong)
}

/// The element type that a header `{'descr': '<U9', …}` tells.
fn described(header: &str) -> Result<NumpyType> {
    let after = header.split_once("'descr':").map(|(_, rest)| rest.trim_start());
    let quoted = after.and_then(|rest| rest.strip_prefix('\'')).and_then(|rest| rest.split_once('\''));
    let (name, _) = quoted.ok_or_else(|| PickleError::new("its header tells no plain type"))?;
    numpy_type(name)
}

fn not_texts(dtype: NumpyType) -> PickleError {
    PickleError::new(format!("it is an array of type {}{}, not of texts", dtype.kind, dtype.size))
}

/// Bytes of an element with texts in it.
fn width(dtype: NumpyType) -> Option<usize> {
    match dtype.kind {
        'U' => usize::try_from(dtype.size).ok()?.checked_mul(4),
        'S' => usize::try_from(dtype.size).ok(),
        _ => None,
    }
}

fn texts(heap: &Heap, array: &NumpyArray) -> Result<Vec<String>> {
    let text = |node: &Node| match node {
        Node::Str(text) => Ok(text.clone()),
        Node::Bytes(bytes) => decode(NumpyType { kind: 'S', size: 0, big_endian: false }, bytes),
        _ => fail("it holds values that are no texts"),
    };
    match heap.items(array.data) {
        Some(items) => items.iter().map(|&item: &Id| text(heap.get(item))).collect(),
        None => values(heap, array)?.iter().map(text).collect(),
    }
}

/// The values of an array that keeps them as bytes.
///
/// # Errors
/// When they are not there, or in an order of columns.
pub fn values(heap: &Heap, array: &NumpyArray) -> Result<Vec<Node>> {
    let NumpyArray { dtype, shape, fortran, data } = array;
    let Node::Bytes(bytes) = heap.get(*data) else { return fail("an array has no values") };
    let size = if dtype.kind == 'U' { dtype.size as usize * 4 } else { dtype.size as usize };
    let count = shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size));
    if size == 0 || count.and_then(|count| count.checked_mul(size as u64)) != Some(bytes.len() as u64) {
        return fail(format!("an array of {shape:?} has {} bytes", bytes.len()));
    }
    if *fortran && shape.len() > 1 {
        return fail("an array lies by columns");
    }
    bytes.chunks_exact(size).map(|value| numpy_value(*dtype, value)).collect()
}

/// Without the zeros that fill it up.
fn decode(dtype: NumpyType, bytes: &[u8]) -> Result<String> {
    if dtype.kind == 'U' {
        return utf32(bytes, dtype.big_endian);
    }
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    String::from_utf8(bytes[..end].to_vec()).map_err(|_| PickleError::new("a text is not UTF-8"))
}

/// UTF-32, without the zeros that fill it up.
///
/// # Errors
/// For what is no text.
pub fn utf32(bytes: &[u8], big_endian: bool) -> Result<String> {
    let (words, rest) = bytes.as_chunks::<4>();
    let code = |word: &[u8; 4]| if big_endian { u32::from_be_bytes(*word) } else { u32::from_le_bytes(*word) };
    let codes: Vec<u32> = words.iter().map(code).collect();
    let end = codes.iter().rposition(|&code| code != 0).map_or(0, |last| last + 1);
    let text = codes[..end].iter().map(|&code| char::from_u32(code)).collect::<Option<String>>();
    text.filter(|_| rest.is_empty()).ok_or_else(|| PickleError::new("a text is no UTF-32"))
}
