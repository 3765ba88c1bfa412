//! A folder of entries, a file each: written beside and renamed, so that any number of processes read and write one
//! folder at once, and whoever is killed leaves no half of one.
//!
//! A file holds its namespace and key in full, the value, and the checksum of them all: a name that two keys share, or
//! a file that was damaged, reads as absent and is written anew. Each build of a program has keys of its own, so what
//! nobody has read for a month goes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// First bytes of an entry's file.
const MAGIC: &[u8; 8] = b"lbkern\x00\x01";
/// Ending of a file that is being written.
const PART: &str = "part";
/// What a process that was killed was writing is swept after so long.
const STALE: Duration = Duration::from_secs(3600);
/// And an entry that nobody reads.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);
/// A file's time is the last day on which it was read.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// One stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub namespace: String,
    pub key: Vec<u8>,
    /// 0: computed here; 1: imported.
    pub origin: u8,
    pub value: Vec<u8>,
}

/// Entries in the files of one folder.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at `path`, made unless it is there. A file in its place is a cache of an earlier version: it goes.
    pub fn create(path: &Path) -> io::Result<Self> {
        if path.is_file() {
            std::fs::remove_file(path)?;
        }
        std::fs::create_dir_all(path)?;
        let folder = Self(path.to_path_buf());
        folder.sweep();
        Ok(folder)
    }

    /// The folder at `path`, as it is.
    pub fn open(path: &Path) -> io::Result<Self> {
        std::fs::read_dir(path).map(|_| Self(path.to_path_buf()))
    }

    /// The entry of a key, if it is there and whole.
    pub fn get(&self, namespace: &str, key: &[u8]) -> io::Result<Option<Entry>> {
        let path = self.path(namespace, key);
        let entry = read(&path)?.filter(|entry| entry.namespace == namespace && entry.key == key);
        if entry.is_some() && is_older(&path, DAY) {
            let now = |file: std::fs::File| file.set_modified(SystemTime::now());
            let _ = std::fs::File::options().append(true).open(&path).and_then(now);
        }
        Ok(entry)
    }

    /// Puts an entry in the place of whatever is there.
    pub fn put(&self, entry: &Entry) -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let part = self.0.join(format!("{}-{unique}.{PART}", std::process::id()));
        let written = std::fs::write(&part, encode(entry))
            .and_then(|()| std::fs::rename(&part, self.path(&entry.namespace, &entry.key)));
        if written.is_err() {
            let _ = std::fs::remove_file(&part);
        }
        written
    }

    /// Removes the entry of a key; says whether one was there.
    pub fn remove(&self, namespace: &str, key: &[u8]) -> io::Result<bool> {
        let found = self.get(namespace, key)?.is_some();
        match std::fs::remove_file(self.path(namespace, key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(found),
        }
    }

    /// All whole entries, in the order of their files' names.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut paths = self.files()?;
        paths.sort();
        let entries = paths.iter().filter(|path| !is_part(path)).map(|path| read(path));
        entries.filter_map(Result::transpose).collect()
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(&self.0)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }

    /// Removes what killed processes were writing, and what nobody reads.
    fn sweep(&self) {
        let gone = |path: &PathBuf| is_older(path, if is_part(path) { STALE } else { UNUSED });
        for path in self.files().unwrap_or_default().into_iter().filter(gone) {
            let _ = std::fs::remove_file(path);
        }
    }

    fn path(&self, namespace: &str, key: &[u8]) -> PathBuf {
        self.0.join(format!("{:016x}{:016x}", checksum(namespace.as_bytes()), checksum(key)))
    }
}

fn is_part(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == PART)
}

fn is_older(path: &Path, than: Duration) -> bool {
    let written = path.metadata().and_then(|data| data.modified());
    written.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > than))
}

fn read(path: &Path) -> io::Result<Option<Entry>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Magic, checksum of all that follows, origin, lengths of namespace and key (u32), then namespace, key, value.
fn encode(entry: &Entry) -> Vec<u8> {
    let lengths = [entry.namespace.len(), entry.key.len()].map(|length| (length as u32).to_le_bytes());
    let body = [
        &[entry.origin][..],
        &lengths[0],
        &lengths[1],
        entry.namespace.as_bytes(),
        &entry.key,
        &entry.value,
    ]
    .concat();
    [&MAGIC[..], &checksum(&body).to_le_bytes(), &body].concat()
}

fn decode(bytes: &[u8]) -> Option<Entry> {
    let (sum, body) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
    if checksum(body) != u64::from_le_bytes(*sum) {
        return None;
    }
    let (origin, rest) = body.split_first()?;
    let (namespace, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_first_chunk::<4>()?;
    let (namespace, rest) = rest.split_at_checked(u32::from_le_bytes(*namespace) as usize)?;
    let (key, value) = rest.split_at_checked(u32::from_le_bytes(*key) as usize)?;
    Some(Entry {
        namespace: String::from_utf8(namespace.to_vec()).ok()?,
        key: key.to_vec(),
        origin: *origin,
        value: value.to_vec(),
    })
}

/// FNV-1a, 64 bits.
fn checksum(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
