//! Pickles by hand, wrapped as torch before 1.6 wrote them: what they become, and what they must not.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use tar::{Builder, EntryType, Header};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::heap::Heap;
use crate::machine::{Persistent, load};
use crate::npy::read_strings;
use crate::source::Source;
use crate::torch::TorchFile;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The file of an object without storages.
fn file(object: &[u8]) -> Vec<u8> {
    let head = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    [head, object, b"\x80\x02]."].concat()
}

fn path() -> PathBuf {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("avjepa-pickle-{}-{number}", std::process::id()))
}

/// What a reader makes of a file with these bytes.
fn with_file<T>(bytes: &[u8], reader: impl Fn(&Path) -> crate::Result<T>) -> Result<T, String> {
    let path = path();
    fs::write(&path, bytes).unwrap();
    let result = reader(&path);
    fs::remove_file(path).unwrap();
    result.map_err(|error| error.message)
}

fn read(bytes: &[u8]) -> Result<String, String> {
    with_file(bytes, |path| TorchFile::open(path).and_then(|file| file.to_json()))
}

/// The object's JSON.
fn root(object: &[u8]) -> Result<String, String> {
    read(&file(object))
        .map(|json| json.strip_prefix(r#"{"tensors":[],"root":"#).unwrap().strip_suffix('}').unwrap().to_owned())
}

#[test]
fn plain_values() {
    for (object, json) in [
        (b"\x80\x02}q\0X\x01\0\0\0aK\x01s.".as_slice(), r#"{"d":["a",1]}"#),
        (b"\x80\x04\x95\x04\0\0\0\0\0\0\0\x8c\x01a\x94.", r#""a""#),
        (b"\x80\x02](N\x88\x89J\xff\xff\xff\xffM\0\x01e.", "[null,true,false,-1,256]"),
        (b"(I01\nI12\nL3L\nF0.5\nS'x'\nVy\nt.", r#"[true,12,3,0.5,"x","y"]"#),
        (b"\x80\x02G\x7f\xf0\0\0\0\0\0\0.", r#"{"f":"inf"}"#),
        (b"\x80\x02\x8a\x08\0\0\0\0\0\0\0\x80.", r#"{"i":"-9223372036854775808"}"#),
        (b"\x80\x02\x8a\x09\0\0\0\0\0\0\0\0\x01.", r#"{"i":"18446744073709551616"}"#),
        // Bytes of protocol 2; the text they are made of is a key as well.
        (b"\x80\x02}X\x01\0\0\0bq\0c_codecs\nencode\nh\0X\x06\0\0\0latin1\x86Rs.", r#"{"d":["b",{"b":"62"}]}"#),
        (b"\x80\x03C\x02\x00\xff.", r#"{"b":"00ff"}"#),
        (b"\x80\x02K\x01K\x02K\x03\x87.", "[1,2,3]"),
        (b"\x80\x02cargparse\nNamespace\n)\x81}X\x01\0\0\0kK\x05sb.", r#"{"d":["k",5]}"#),
        (b"\x80\x02ccopy_reg\n_reconstructor\n(cargparse\nNamespace\nc__builtin__\nobject\nNtR}X\x01\0\0\0kK\x05sb.", r#"{"d":["k",5]}"#),
        (b"\x80\x02ccollections\nOrderedDict\n]]X\x01\0\0\0kaK\x05aa\x85R.", r#"{"d":["k",5]}"#),
        (b"\x80\x02ctorch\nfloat16\n.", r#""torch.float16""#),
        (b"\x80\x02cpathlib\nPosixPath\n(X\x01\0\0\0/X\x01\0\0\0aX\x01\0\0\0btR.", r#""/a/b""#),
        (b"\x80\x05cnumpy._core.numeric\n_frombuffer\n(C\x02\x01\x02cnumpy\ndtype\nX\x02\0\0\0u1\x89\x88\x87RK\x02\x85X\x01\0\0\0CtR.", "[1,2]"),
        (b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\0\0\0f8\x89\x88\x87RC\x08\0\0\0\0\0\0\xe0?\x86R.", "0.5"),
    ] {
        assert_eq!(root(object).as_deref(), Ok(json), "{}", String::from_utf8_lossy(object));
    }
}

#[test]
fn names_that_could_do_something_are_refused() {
    for name in
        ["os\nsystem", "builtins\neval", "torch\nload", "torch._utils\n_rebuild_tensor_v2.__globals__", "numpy\nload"]
    {
        let message = root(format!("\u{80}\x02c{name}\n.").chars().map(|c| c as u8).collect::<Vec<_>>().as_slice());
        assert!(message.unwrap_err().contains("which is not allowed"), "{name}");
    }
    // A name that is allowed is still no function to call with anything.
    assert!(root(b"\x80\x02ctorch\nSize\nK\x05\x85R.").is_err());
    assert!(root(b"\x80\x02c__builtin__\nint\nX\x01\x00\x00\x005\x85R.").is_err());
    assert!(root(b"\x80\x02ctorch\nSize\n.").unwrap_err().contains("a class or a function"));
}

#[test]
fn small_files_cannot_become_large() {
    // Twice a list of twice a list of …
    let laughs = [b"\x80\x02]".as_slice(), &b"2\x86".repeat(60), b"."].concat();
    assert!(root(&laughs).unwrap_err().contains("too often"));
    // A list in itself.
    assert!(root(b"\x80\x02]q\0h\0a.").unwrap_err().contains("nest"));
    let deep = [b"\x80\x02".as_slice(), &b"]".repeat(100_000), &b"a".repeat(99_999), b"."].concat();
    assert!(root(&deep).unwrap_err().contains("nest"));
    // One long part, joined again and again.
    let text = [b"X\x10\x27\0\0".as_slice(), &b"x".repeat(10_000), b"q\0"].concat();
    let joined = [b"\x80\x02(".as_slice(), &text, &b"cpathlib\nPosixPath\nh\0\x85R".repeat(50_000), b"t."].concat();
    assert!(root(&joined).unwrap_err().contains("far more of its values"));
    let arguments = [b"\x80\x02cpathlib\nPosixPath\n(".as_slice(), &b"X\x01\0\0\0x".repeat(100), b"tR."].concat();
    assert!(root(&arguments).unwrap_err().contains("100 arguments"));
}

#[test]
fn what_is_not_there_is_missed() {
    assert!(root(b"\x80\x02X\xff\xff\xff\xffa.").unwrap_err().contains("4294967295 bytes are announced"));
    assert!(root(b"\x80\x02h\x05.").unwrap_err().contains("memo 5"));
    assert!(root(b"\x80\x02s.").unwrap_err().contains("the stack is empty"));
    assert!(root(b"\x80\x02(s.").unwrap_err().contains("a mark lies"));
    assert!(root(b"\x80\x02e.").unwrap_err().contains("no mark"));
    assert!(root(b"\x80\x07N.").unwrap_err().contains("protocol 7"));
    assert!(root(b"\x80\x02\x82\x01.").unwrap_err().contains("extension registry"));
    assert!(read(b"").unwrap_err().contains("empty"));
    assert!(read(b"\x80\x02N.").unwrap_err().contains("not one of torch.save"));
}

#[test]
fn a_pipe_is_not_waited_for() {
    let path = path();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let error = TorchFile::open(&path).unwrap_err();
    fs::remove_file(path).unwrap();
    assert!(error.message.contains("no regular file"));
}

#[test]
fn slots_of_any_order() {
    // The second value goes to slot 1 before slot 0 is there; MEMOIZE counts the slots in use.
    assert_eq!(root(b"\x80\x04K\x05q\x01K\x06q\x000\x94h\x02h\x01h\x00\x87.").as_deref(), Ok("[5,5,6]"));
    assert_eq!(root(b"\x80\x02K\x05r\xff\xff\xff\xff0j\xff\xff\xff\xff.").as_deref(), Ok("5"));
}

#[test]
fn archives_that_say_two_things() {
    let stored = || SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let zip = |names: [&str; 3]| {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for name in names {
            writer.start_file(name, stored()).unwrap();
            writer.write_all(b"\x80\x02}.").unwrap();
        }
        writer.finish().unwrap().into_inner()
    };
    let good = zip(["a/data.pkl", "a/data/0", "a/data/1"]);
    assert_eq!(read(&good).as_deref(), Ok(r#"{"tensors":[],"root":{"d":[]}}"#));
    // A writer refuses equal names: one is changed afterwards, in its header and in the directory.
    let mut twice = good.clone();
    for i in 0..twice.len() - 8 {
        if &twice[i..i + 8] == b"a/data/1" {
            twice[i + 7] = b'0';
        }
    }
    assert!(read(&twice).unwrap_err().contains("the same name"));

    let tar = |kind: EntryType| {
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(0);
        builder.append_link(&mut header, "storages", "/etc/passwd").unwrap();
        builder.into_inner().unwrap()
    };
    assert!(read(&tar(EntryType::Symlink)).unwrap_err().contains("storages is a link"));
    assert!(read(&tar(EntryType::Link)).unwrap_err().contains("storages is a link"));
}

/// A `.npy` file of format 1.
fn npy(header: &str, values: &[u8]) -> Result<Vec<String>, String> {
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    with_file(&[b"\x93NUMPY\x01\0", length.as_slice(), header.as_bytes(), values].concat(), read_strings)
}

#[test]
fn arrays_have_as_many_texts_as_they_say() {
    let header =
        |shape: &str, fortran: &str| format!("{{'descr': '|S2', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    let texts = |shape: &str, values: &[u8]| npy(&header(shape, "False"), values);
    assert_eq!(texts("(2,)", b"ab\0\0").unwrap(), ["ab", ""]);
    assert_eq!(texts("(1, 2)", b"abc\0").unwrap(), ["ab", "c"]);
    assert_eq!(texts("(2L,)", b"abc\0").unwrap(), ["ab", "c"]);
    assert_eq!(texts("()", b"ab").unwrap(), ["ab"]);
    for (shape, values) in [("(2,)", "ab"), ("(2,)", "abc"), ("(2,)", "abcdef"), ("(18446744073709551615,)", "ab")] {
        assert!(texts(shape, values.as_bytes()).unwrap_err().contains("its header tells of"), "{shape} {values}");
    }
    for shape in ["(-1,)", "(x,)", "(18446744073709551615, 2)", "(99999999999999999999,)"] {
        assert!(texts(shape, b"ab").unwrap_err().contains("no possible shape"), "{shape}");
    }
    assert!(npy(&header("(2, 2)", "True"), b"aabbccdd").unwrap_err().contains("by columns"));
    assert_eq!(npy(&header("(2,)", "True"), b"aabb").unwrap(), ["aa", "bb"]);
    assert!(npy("{'descr': '|S2', 'fortran_order': False, }\n", b"ab").unwrap_err().contains("no shape"));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut source = Source::new(Cursor::new(&bytes), 0, bytes.len() as u64);
        let mut heap = Heap::new(bytes.len() as u64);
        let _ = load(&mut source, &mut heap, &Persistent::Storages);
    }

    /// Opcodes that do fit together more often than random bytes do.
    #[test]
    fn no_opcodes_panic(picks in proptest::collection::vec(0_usize..28, 0..60)) {
        const PIECES: [&[u8]; 28] = [
            b"]", b"}", b")", b"(", b"N", b"K\x03", b"X\x01\0\0\0a", b"q\0", b"h\0", b"a", b"e", b"s", b"u", b"t", b"\x85", b"\x86",
            b"\x87", b"R", b"b", b"\x81", b"2", b"0", b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n",
            b"ccollections\nOrderedDict\n", b"cargparse\nNamespace\n", b"Q", b"cnumpy.core.multiarray\n_reconstruct\n",
        ];
        let object: Vec<u8> = picks.iter().flat_map(|&i| PIECES[i]).copied().chain(*b".").collect();
        let mut source = Source::new(Cursor::new(&object), 0, object.len() as u64);
        let mut heap = Heap::new(object.len() as u64);
        let _ = load(&mut source, &mut heap, &Persistent::Storages);
    }
}
