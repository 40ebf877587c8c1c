//! A folder in which the ranks lay down what they have: a file a call and rank, written aside and renamed.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// The folder of a communicator.
#[derive(Clone, Debug)]
pub struct Board {
    folder: PathBuf,
    rank: i32,
    ranks: i32,
}

impl Board {
    /// Makes a folder, and the id that names it.
    pub fn make_id(id: &mut [u8; 128]) -> std::io::Result<()> {
        let root = std::env::var_os("AVJEPA_NCCL_DOUBLE_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let folder = root.join(format!("nccl-double-{}-{now}", std::process::id()));
        let text = folder.to_string_lossy().into_owned();
        if text.len() > id.len() {
            return Err(std::io::Error::other(format!("{text} is longer than an id")));
        }
        id.fill(0);
        id[..text.len()].copy_from_slice(text.as_bytes());
        fs::create_dir_all(folder)
    }

    pub fn open(id: &[u8; 128], rank: i32, ranks: i32) -> Board {
        let text = String::from_utf8_lossy(id);
        Board { folder: text.trim_end_matches('\0').into(), rank, ranks }
    }

    fn path(&self, what: &str, rank: i32) -> PathBuf {
        self.folder.join(format!("{what}.{rank}"))
    }

    /// Lays down this rank's bytes.
    pub fn put(&self, what: &str, bytes: &[u8]) -> std::io::Result<()> {
        let aside = self.folder.join(format!(".{what}.{}", self.rank));
        fs::write(&aside, bytes)?;
        fs::rename(aside, self.path(what, self.rank))
    }

    /// Everybody's bytes, once all are there.
    pub fn all(&self, what: &str) -> Option<Vec<Vec<u8>>> {
        let paths: Vec<_> = (0..self.ranks).map(|rank| self.path(what, rank)).collect();
        paths.iter().all(|path| path.exists()).then(|| paths.iter().filter_map(|path| fs::read(path).ok()).collect())
    }

    /// Takes back what this rank laid down, when nobody needs it any more.
    pub fn clear(&self, what: &str) {
        let _ = fs::remove_file(self.path(what, self.rank));
    }

    /// The last rank to go takes the folder along.
    pub fn leave(&self) {
        let _ = self.put("left", &[]);
        if self.all("left").is_some() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
