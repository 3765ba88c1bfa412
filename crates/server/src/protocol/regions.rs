//! System shared memory: regions that clients on this machine made in `/dev/shm` and registered by name.
//!
//! A region is read and written through its file, not mapped. A client may cut its file off at any moment; a mapping of it would then kill the server (`SIGBUS`), and
//! reading through a mapping what another process writes is undefined in Rust. So there is no unsafe code here, and a region that is gone is
//! a request that fails. A copy has to be made anyway, into the batch.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::problem::{Kind, Problem};
use crate::tensor::{Data, ReadAt};

/// Where shared memory lies.
const FOLDER: &str = "/dev/shm";
/// Most regions at a time.
const MOST: usize = 4096;

/// A region.
#[derive(Debug)]
pub struct Region {
    /// Its name in `/dev/shm`, as it was given.
    pub key: String,
    /// Where it begins in that memory.
    pub offset: u64,
    /// Its length in bytes.
    pub byte_size: u64,
    file: File,
}

impl ReadAt for Region {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(into, self.offset + offset)
    }
}

impl Region {
    /// Opens the memory `key`.
    fn open(folder: &Path, key: &str, offset: u64, byte_size: u64) -> Result<Self, String> {
        let path = path_of(folder, key)?;
        let said = |error: io::Error| format!("cannot open shared memory '{key}': {error}");
        // A symbolic link would lead to somebody else's file.
        if !fs::symlink_metadata(&path).map_err(said)?.is_file() {
            return Err(format!("shared memory '{key}' is no regular file"));
        }
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(said)?;
        let there = file.metadata().map_err(said)?.len();
        if offset.checked_add(byte_size).is_none_or(|end| end > there) {
            return Err(format!(
                "shared memory '{key}' has {there} bytes, not {byte_size} from {offset} on"
            ));
        }
        Ok(Self { key: key.into(), offset, byte_size, file })
    }

    /// Whether so much lies there.
    fn check(&self, name: &str, offset: u64, len: u64) -> Result<(), Problem> {
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.byte_size);
        let said = || {
            let most = self.byte_size;
            let text = format!("Invalid offset + byte size for shared memory region: '{name}'");
            Problem::invalid(format!("{text}: {offset} + {len} > {most}"))
        };
        if fits { Ok(()) } else { Err(said()) }
    }

    /// `len` bytes from `offset` on, not read yet.
    ///
    /// # Errors
    ///
    /// If the region is shorter.
    pub fn data(self: &Arc<Self>, name: &str, offset: u64, len: usize) -> Result<Data, Problem> {
        self.check(name, offset, len as u64)?;
        Ok(Data::shared(self.clone(), offset, len))
    }

    /// Writes an answer into it, up to `most` bytes.
    ///
    /// # Errors
    ///
    /// If the answer is longer, or the region shorter, than was said.
    pub fn write(&self, name: &str, offset: u64, most: u64, data: &Data) -> Result<(), Problem> {
        let len = data.len() as u64;
        if len > most {
            let text = format!(
                "shared memory size specified with the request for output is too small: '{name}' has {most} bytes for {len}"
            );
            return Err(Problem::invalid(text));
        }
        self.check(name, offset, len)?;
        // Writing must not make a file longer that its owner has cut off.
        if self.file.metadata()?.len() < self.offset + offset + len {
            return Err(Problem::invalid(format!("shared memory region '{name}' was cut off")));
        }
        let (mut at, mut outcome) = (self.offset + offset, Ok(()));
        data.for_each(|piece| {
            if outcome.is_ok() {
                outcome = self.file.write_all_at(piece, at);
                at += piece.len() as u64;
            }
        })?;
        Ok(outcome?)
    }
}

/// The file of a key: a name, perhaps after a slash, that leads nowhere else.
fn path_of(folder: &Path, key: &str) -> Result<PathBuf, String> {
    let name = key.strip_prefix('/').unwrap_or(key);
    let plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    if plain { Ok(folder.join(name)) } else { Err(format!("'{key}' is no name of shared memory")) }
}

/// Regions by name.
pub struct Regions {
    folder: PathBuf,
    enabled: bool,
    regions: RwLock<BTreeMap<String, Arc<Region>>>,
}

impl Regions {
    /// None yet. If they are not `enabled`, which they should be only for clients on this machine, none will be.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        Self { folder: FOLDER.into(), enabled, regions: RwLock::default() }
    }

    /// Registers a region.
    ///
    /// # Errors
    ///
    /// If the name is taken, or there is no such memory, or it is shorter.
    pub fn register(
        &self,
        name: &str,
        key: &str,
        offset: u64,
        byte_size: u64,
    ) -> Result<(), Problem> {
        if !self.enabled {
            let text = "this server takes no shared memory: it serves other machines";
            return Err(Problem::new(Kind::Unsupported, text));
        }
        let region = Region::open(&self.folder, key, offset, byte_size).map_err(|why| {
            Problem::invalid(format!("failed to register shared memory region '{name}': {why}"))
        })?;
        let mut regions = self.regions.write().unwrap_or_else(PoisonError::into_inner);
        if regions.contains_key(name) {
            let text = format!("shared memory region '{name}' already in manager");
            return Err(Problem::invalid(text));
        }
        if regions.len() >= MOST {
            let text = format!("{MOST} shared memory regions are registered, which is the most");
            return Err(Problem::new(Kind::Exhausted, text));
        }
        regions.insert(name.into(), Arc::new(region));
        Ok(())
    }

    /// Forgets a region, or all. One that is not there is forgotten already.
    pub fn unregister(&self, name: Option<&str>) {
        let mut regions = self.regions.write().unwrap_or_else(PoisonError::into_inner);
        regions.retain(|other, _| name.is_some_and(|name| name != other));
    }

    /// A region.
    ///
    /// # Errors
    ///
    /// If there is none of this name.
    pub fn get(&self, name: &str) -> Result<Arc<Region>, Problem> {
        let regions = self.regions.read().unwrap_or_else(PoisonError::into_inner);
        regions.get(name).cloned().ok_or_else(|| {
            Problem::new(Kind::NotFound, format!("Unable to find shared memory region: '{name}'"))
        })
    }

    /// All regions.
    #[must_use]
    pub fn all(&self) -> Vec<(String, Arc<Region>)> {
        let regions = self.regions.read().unwrap_or_else(PoisonError::into_inner);
        regions.iter().map(|(name, region)| (name.clone(), region.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(folder: &Path) -> Regions {
        Regions { folder: folder.into(), ..Regions::new(true) }
    }

    #[test]
    fn bytes_are_read_from_and_written_into_a_region() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a"), b"0123456789").expect("writes");
        let regions = regions(folder.path());
        regions.register("in", "/a", 2, 6).expect("registers");
        let region = regions.get("in").expect("is there");
        let data = region.data("in", 1, 3).expect("fits");
        assert_eq!(&data.contiguous().expect("reads")[..], b"345");
        assert!(region.data("in", 4, 3).is_err());
        region.write("in", 0, 6, &b"ab".to_vec().into()).expect("writes");
        assert_eq!(fs::read(folder.path().join("a")).expect("reads"), b"01ab456789");
        assert!(region.write("in", 0, 1, &b"ab".to_vec().into()).is_err());
        regions.unregister(None);
        assert_eq!(regions.get("in").expect_err("gone").kind, Kind::NotFound);
    }

    #[test]
    fn a_region_that_its_owner_cut_off_is_an_error_and_stays_cut_off() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        fs::write(&path, vec![0; 100]).expect("writes");
        let regions = regions(folder.path());
        regions.register("r", "a", 0, 100).expect("registers");
        let region = regions.get("r").expect("is there");
        let data = region.data("r", 0, 100).expect("fits");
        fs::write(&path, b"short").expect("writes");
        assert!(data.contiguous().is_err());
        assert!(region.write("r", 50, 50, &vec![1; 10].into()).is_err());
        assert_eq!(fs::read(&path).expect("reads"), b"short");
    }

    #[test]
    fn no_key_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("inner")).expect("makes");
        fs::write(folder.path().join("secret"), b"secret").expect("writes");
        let link = folder.path().join("inner/link");
        std::os::unix::fs::symlink(folder.path().join("secret"), link).expect("links");
        let regions = regions(&folder.path().join("inner"));
        for key in ["../secret", "/../secret", "..", ".", "", "/", "a/b", "link", "nul\0"] {
            assert!(regions.register("r", key, 0, 1).is_err(), "{key:?}");
        }
        assert!(regions.register("r", "link", u64::MAX, 2).is_err());
    }
}
