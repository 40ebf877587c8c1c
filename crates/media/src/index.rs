//! Index files: which media files there are, and their classes.
//!
//! An index is a text file ending in `.csv` (or `.tsv`, `.txt`) without a header: one `path label` a line, the label an
//! integer. Between the two stands a space (or several), a tab or a comma. A path with spaces is quoted, `"my clip.mp4" 3`
//! (a quote inside is doubled), or set apart by a tab or a comma. Relative paths are relative to the index's folder. Blank
//! lines, a byte order mark and CRLF line ends are accepted; comments are not. A `.npy` file of path strings is an index
//! too, all of class 0.

use std::borrow::Cow;
use std::fs;
use std::ops::Range;
use std::path::Path;

use crate::error::{MediaError, Result};
use crate::sample::Sample;

const CODE: &str = "AVJ_INDEX";

/// The lines of one or several index files, in order. Sample `i` is the i-th line of them all.
#[derive(Clone, Debug, Default)]
pub struct Index {
    samples: Vec<Sample>,
    /// Where each index file's samples end.
    ends: Vec<usize>,
    fingerprint: u64,
}

impl Index {
    /// Reads index files.
    ///
    /// # Errors
    /// `AVJ_INDEX`: no file given, missing, a folder, of an unknown kind, not UTF-8, without a sample, or a line that is not
    /// `path label` (the error names file and line).
    pub fn read<P: AsRef<Path>>(files: &[P]) -> Result<Self> {
        if files.is_empty() {
            return Err(MediaError::new(CODE, "no index file is given").with_hint(
                "set data.datasets to a list of index files; `bun run index DIR -o clips.csv` makes one of a folder",
            ));
        }
        let mut index = Self { fingerprint: FNV_START, ..Self::default() };
        for file in files {
            let file = file.as_ref();
            if is_numpy(file) {
                index.append_paths(file, &read_numpy(file)?)?;
            } else {
                let text = read_text(file)?;
                index.append(file, &text)?;
            }
        }
        Ok(index)
    }

    /// Appends the lines of an index file whose text is at hand.
    ///
    /// # Errors
    /// As [`Index::read`].
    pub fn append(&mut self, file: &Path, text: &str) -> Result<()> {
        let folder = file.parent().unwrap_or(Path::new(""));
        let before = self.samples.len();
        let mut first_error: Option<(usize, Fault)> = None;
        let mut errors = 0;
        for (number, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            match parse_line(line) {
                Ok((path, label)) => {
                    self.fingerprint = fnv(self.fingerprint, path.as_bytes());
                    self.fingerprint = fnv(self.fingerprint, &label.to_le_bytes());
                    self.samples.push(Sample { path: folder.join(&*path), label });
                }
                Err(fault) => {
                    errors += 1;
                    first_error.get_or_insert((number + 1, fault));
                }
            }
        }
        if let Some((line, fault)) = first_error {
            let more = match errors {
                1 => String::new(),
                n => format!(" (and {} more lines like it)", n - 1),
            };
            let message = format!("{}:{line}: {}{more}", file.display(), fault.message);
            return Err(MediaError::new(CODE, message).with_hint(fault.hint));
        }
        if self.samples.len() == before {
            return Err(MediaError::new(CODE, format!("{}: the index is empty", file.display())).with_hint(
                "it needs one `path label` a line; `bun run index DIR -o clips.csv` makes one of a folder",
            ));
        }
        self.ends.push(self.samples.len());
        Ok(())
    }

    /// Appends paths, all of class 0.
    fn append_paths(&mut self, file: &Path, paths: &[String]) -> Result<()> {
        let name = file.display();
        if paths.is_empty() {
            return Err(MediaError::new(CODE, format!("{name}: the index is empty")));
        }
        if let Some(i) = paths.iter().position(|path| path.is_empty() || path.contains('\0')) {
            return Err(MediaError::new(CODE, format!("{name}: path {i} is no path")));
        }
        let folder = file.parent().unwrap_or(Path::new(""));
        for path in paths {
            self.fingerprint = fnv(fnv(self.fingerprint, path.as_bytes()), &0_i32.to_le_bytes());
            self.samples.push(Sample { path: folder.join(path), label: 0 });
        }
        self.ends.push(self.samples.len());
        Ok(())
    }

    /// An index of samples that are at hand, as one file.
    pub fn from_samples(samples: Vec<Sample>) -> Self {
        let ends = vec![samples.len()];
        let fingerprint = samples.iter().fold(FNV_START, |hash, sample| {
            fnv(fnv(hash, sample.path.as_os_str().as_encoded_bytes()), &sample.label.to_le_bytes())
        });
        Self { samples, ends, fingerprint }
    }

    pub fn len(&self) -> usize {
        self.samples.len()
    }

    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// # Panics
    /// If there is no sample `i`.
    pub fn get(&self, i: usize) -> &Sample {
        &self.samples[i]
    }

    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The samples of each index file, as ranges.
    pub fn files(&self) -> Vec<Range<usize>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| start..end).collect()
    }

    /// A number that changes when a path (as written) or a label does; not when the index is moved with its files.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

fn unreadable(file: &Path, error: &std::io::Error) -> MediaError {
    let name = file.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => MediaError::new(CODE, format!("there is no index {name}"))
            .with_hint("check the path; `bun run index DIR -o clips.csv` makes an index of a folder"),
        _ => MediaError::new(CODE, format!("cannot read the index {name}: {error}")).with_hint("check its permissions"),
    }
}

/// Whether a file is an array of NumPy's by its name.
fn is_numpy(file: &Path) -> bool {
    file.is_file() && file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npy"))
}

/// The paths that `numpy.save(file, paths)` wrote. (Arrays of objects are pickles: nothing in them is run.)
fn read_numpy(file: &Path) -> Result<Vec<String>> {
    fs::File::open(file).map_err(|error| unreadable(file, &error))?;
    avjepa_pickle::read_strings(file).map_err(|error| {
        MediaError::new(CODE, format!("{} is no index: {}", file.display(), error.message))
            .with_hint(error.hint.unwrap_or_else(|| "an index of NumPy's is an array of path strings".to_owned()))
    })
}

fn read_text(file: &Path) -> Result<String> {
    let name = file.display();
    let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    if file.is_dir() {
        return Err(MediaError::new(CODE, format!("{name} is a folder, not an index"))
            .with_hint(format!("make one with `bun run index {name} -o clips.csv` and give that")));
    }
    if file.exists() && !file.is_file() {
        return Err(MediaError::new(CODE, format!("{name} is a pipe or a device, not an index"))
            .with_hint("write it to a file: an index is read more than once"));
    }
    match extension.as_str() {
        "csv" | "tsv" | "txt" => {}
        _ => {
            return Err(MediaError::new(CODE, format!("{name} is not an index: its name does not end in .csv"))
                .with_hint("an index is a text file, one `path label` a line; .tsv and .txt are read too"));
        }
    }
    let bytes = fs::read(file).map_err(|error| unreadable(file, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&b| b == b'\n').count() + 1;
        MediaError::new(CODE, format!("{name}:{line}: not UTF-8 text")).with_hint("save the index as UTF-8")
    })
}

#[derive(Debug)]
struct Fault {
    message: String,
    hint: String,
}

fn fault(message: impl Into<String>, hint: impl Into<String>) -> Fault {
    Fault { message: message.into(), hint: hint.into() }
}

const NO_LABEL: &str =
    "each line is `path label`, the label an integer (0 where classes do not matter); an index has no header";

/// Path and label of a line that is trimmed and not empty.
fn parse_line(line: &str) -> std::result::Result<(Cow<'_, str>, i32), Fault> {
    let (path, rest) = match line.strip_prefix('"') {
        Some(quoted) => unquote(quoted)?,
        None => {
            let (path, label) = split_plain(line)?;
            (Cow::Borrowed(path), label)
        }
    };
    if path.is_empty() {
        return Err(fault("the path is empty", NO_LABEL));
    }
    if path.contains('\0') {
        return Err(fault("the path holds a zero byte", "is this a text file?"));
    }
    match rest.parse::<i32>() {
        Ok(label) => Ok((path, label)),
        Err(_) if rest.parse::<i128>().is_ok() => {
            Err(fault(format!("the label {rest} is out of range"), "labels are 32-bit integers, usually from 0"))
        }
        Err(_) => Err(fault(format!("the label \"{rest}\" is not an integer"), NO_LABEL)),
    }
}

/// The path up to the closing quote, a doubled quote standing for one, and what follows the separator.
fn unquote(text: &str) -> std::result::Result<(Cow<'_, str>, &str), Fault> {
    let bytes = text.as_bytes();
    let (mut end, mut doubled) = (0, false);
    loop {
        match text[end..].find('"') {
            None => {
                return Err(fault("the quote is not closed", "write \"path\" label; a quote inside a path is doubled"));
            }
            Some(offset) if bytes.get(end + offset + 1) == Some(&b'"') => {
                end += offset + 2;
                doubled = true;
            }
            Some(offset) => {
                end += offset;
                break;
            }
        }
    }
    let path = &text[..end];
    let path = if doubled { Cow::Owned(path.replace("\"\"", "\"")) } else { Cow::Borrowed(path) };
    let rest = &text[end + 1..];
    let label = rest.trim_start();
    let label = label.strip_prefix(',').unwrap_or(label).trim_start();
    if label.is_empty() {
        return Err(fault("no label after the path", NO_LABEL));
    }
    if label.len() == rest.len() {
        return Err(fault(
            "no space after the closing quote",
            "write \"path\" label; a quote inside a path is doubled",
        ));
    }
    Ok((path, label))
}

/// Path and label of a line without quotes. At most one of the readings can have an integer label, so none is a guess.
fn split_plain(line: &str) -> std::result::Result<(&str, &str), Fault> {
    let is_label = |text: &str| text.parse::<i128>().is_ok();
    if let Some((path, label)) = line.split_once('\t') {
        return match label.trim() {
            label if label.contains('\t') => Err(fault("more than two columns", NO_LABEL)),
            label => Ok((path.trim_end(), label)),
        };
    }
    if let Some((path, label)) = line.rsplit_once(',')
        && is_label(label.trim())
    {
        return match path.contains(',') {
            true => Err(fault("more than two columns", "quote a path with commas: \"a,b.mp4\",0")),
            false => Ok((path.trim_end(), label.trim())),
        };
    }
    match line.rsplit_once(' ') {
        Some((path, label)) if is_label(label) => match path.trim_end() {
            path if path.contains(' ') => Err(fault("the path has spaces", format!("quote it: \"{path}\" {label}"))),
            path => Ok((path, label)),
        },
        Some((path, label)) if !path.contains(' ') && !label.contains(['.', '/', '\\']) => Ok((path, label)),
        _ => Err(fault(format!("no label after the path \"{line}\""), NO_LABEL)),
    }
}

/// The text of an index with these lines: `path label`, quoted where needed.
pub fn format_line(path: &str, label: i32) -> String {
    if path.contains([' ', '\t', ',', '"']) || path.trim() != path {
        format!("\"{}\" {label}\n", path.replace('"', "\"\""))
    } else {
        format!("{path} {label}\n")
    }
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, 64 bits, with the length as terminator.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = bytes.iter().fold(hash, |hash, &byte| step(hash, byte));
    (bytes.len() as u64).to_le_bytes().iter().fold(hash, |hash, &byte| step(hash, byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::PathBuf;

    fn parse(text: &str) -> Result<Vec<(String, i32)>> {
        let mut index = Index::default();
        index.append(Path::new("d/x.csv"), text)?;
        Ok(index.samples.iter().map(|s| (s.path.to_str().unwrap().to_string(), s.label)).collect())
    }

    fn one(path: &str, label: i32) -> Vec<(String, i32)> {
        vec![(path.to_string(), label)]
    }

    #[test]
    fn reads_the_forms_of_a_line() {
        for (text, path, label) in [
            ("a.mp4 3", "d/a.mp4", 3),
            ("/x/a.mp4 3\r\n", "/x/a.mp4", 3),
            ("\u{feff}a.mp4 0\n\n", "d/a.mp4", 0),
            ("a.mp4   -1  ", "d/a.mp4", -1),
            ("\"my clip.mp4\" 7", "d/my clip.mp4", 7),
            ("\"my clip.mp4\",7", "d/my clip.mp4", 7),
            ("\"a \"\"b\"\".mp4\" 7", "d/a \"b\".mp4", 7),
            ("my clip.mp4\t7", "d/my clip.mp4", 7),
            ("my clip.mp4,7", "d/my clip.mp4", 7),
            ("a.mp4, 7", "d/a.mp4", 7),
            ("a,b.mp4 7", "d/a,b.mp4", 7),
            ("a.b/c d\t 12", "d/a.b/c d", 12),
        ] {
            assert_eq!(parse(text).unwrap(), one(path, label), "{text:?}");
        }
    }

    #[test]
    fn a_wrong_line_is_named_with_its_remedy() {
        for (text, message, hint) in [
            ("a.mp4 0\nb.mp4\n", "d/x.csv:2: no label after the path \"b.mp4\"", "integer"),
            ("b c.mp4\n", "no label after the path", "integer"),
            ("\"b c.mp4\"", "d/x.csv:1: no label", "integer"),
            ("path label", "d/x.csv:1: the label \"label\" is not an integer", "no header"),
            ("a.mp4 1.5", "no label after", "integer"),
            ("a.mp4 99999999999", "out of range", "32-bit"),
            ("my clip.mp4 3", "the path has spaces", "quote it: \"my clip.mp4\" 3"),
            ("\"a.mp4 3", "the quote is not closed", "doubled"),
            ("\"a.mp4\"3", "no space after the closing quote", "doubled"),
            ("a.mp4\t1\t2", "more than two columns", "path label"),
            ("a,b.mp4,2", "more than two columns", "quote"),
            ("\"\" 2", "the path is empty", "path label"),
            ("a\nb\nc", "and 2 more lines", "path label"),
            ("\r\n \n", "d/x.csv: the index is empty", "bun run index"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.code, "AVJ_INDEX");
            assert!(error.message.contains(message), "{text:?}: {}", error.message);
            assert!(error.hint.as_ref().unwrap().contains(hint), "{text:?}: {:?}", error.hint);
        }
    }

    #[test]
    fn what_is_no_index_is_refused() {
        let folder = std::env::temp_dir().join(format!("avjepa-index-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, bytes: &[u8]| {
            fs::write(folder.join(name), bytes).unwrap();
            folder.join(name)
        };
        let message = |file: PathBuf| Index::read(&[file]).unwrap_err().to_string();
        assert!(message(folder.join("absent.csv")).contains("there is no index"));
        assert!(message(folder.clone()).contains("is a folder"));
        assert!(message(write("a.npy", b"\x93NUMPY")).contains("NumPy"));
        let array = b"\x93NUMPY\x01\0\x3a\0{'descr': '<U3', 'fortran_order': False, 'shape': (2,), }\na\0\0\0b\0\0\0\0\0\0\0c\0\0\0d\0\0\0e\0\0\0";
        let numpy = Index::read(&[write("b.npy", array)]).unwrap();
        assert_eq!((numpy.get(0).path.clone(), numpy.get(1).label), (folder.join("ab"), 0));
        assert!(message(write("a.parquet", b"x")).contains("does not end in .csv"));
        assert!(message(write("latin.csv", b"a.mp4 0\n\xe9.mp4 1\n")).contains("latin.csv:2: not UTF-8"));
        assert!(Index::read::<PathBuf>(&[]).unwrap_err().message.contains("no index file"));
        let a = write("a.csv", b"a.mp4 0\nb.mp4 1\n");
        let b = write("b.csv", b"c.mp4 0\n");
        let both = Index::read(&[&a, &b]).unwrap();
        assert_eq!(both.files(), [0..2, 2..3]);
        assert_eq!(both.get(2).path, folder.join("c.mp4"));
        assert_ne!(both.fingerprint(), Index::read(&[a]).unwrap().fingerprint());
        fs::remove_dir_all(folder).unwrap();
    }

    proptest! {
        #[test]
        fn a_formatted_line_is_read_back(path in "[^\\s\0\"][^\0\n\r]{0,20}[^\\s\0]", label: i32) {
            let line = format_line(&path, label);
            let (read, got) = parse_line(line.trim()).map_err(|f| TestCaseError::fail(f.message))?;
            prop_assert_eq!(read.as_ref(), path.as_str());
            prop_assert_eq!(got, label);
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse(&text);
        }
    }
}
