//! A ledger of files in a folder that all machines share: no daemon, no locks.
//!
//! An entry is a file; a new one gets its name by `link`, so that of several machines one succeeds.

use std::path::{Path, PathBuf};

use super::{About, Entry, Kind, Ledger};
use crate::{FarmError, files};

/// A ledger in a folder.
#[derive(Clone, Debug)]
pub struct FileLedger(PathBuf);

impl FileLedger {
    /// Opens the ledger in a folder, which is made if need be.
    ///
    /// # Errors
    ///
    /// [`FarmError::Write`].
    pub fn open(folder: &Path) -> Result<Self, FarmError> {
        for kind in Kind::ALL {
            files::make_folder(&folder.join(kind.name()))?;
        }
        Ok(Self(folder.to_path_buf()))
    }

    fn path(&self, entry: &Entry) -> PathBuf {
        self.0.join(entry.kind.name()).join(entry.about.to_string())
    }
}

impl Ledger for FileLedger {
    fn create(&self, entry: &Entry, value: &[u8]) -> Result<bool, FarmError> {
        files::create(&self.path(entry), value, entry.kind.is_durable())
    }

    fn put(&self, entry: &Entry, value: &[u8]) -> Result<(), FarmError> {
        files::replace(&self.path(entry), value)
    }

    fn read(&self, entry: &Entry) -> Result<Option<Vec<u8>>, FarmError> {
        files::read(&self.path(entry))
    }

    fn remove(&self, entry: &Entry) -> Result<(), FarmError> {
        let path = self.path(entry);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(FarmError::Write(path, e)),
            _ => Ok(()),
        }
    }

    fn list(&self, kind: Kind) -> Result<Vec<About>, FarmError> {
        let folder = self.0.join(kind.name());
        let failed = |e| FarmError::Read(folder.clone(), e);
        let mut found = Vec::new();
        for file in std::fs::read_dir(&folder).map_err(failed)? {
            let name = file.map_err(failed)?.file_name();
            // Parts of files that are being written begin with a point.
            let entry = name.to_str().map(|name| format!("{}.{name}", kind.name()));
            found.extend(entry.and_then(|text| text.parse::<Entry>().ok()).map(|e| e.about));
        }
        found.retain(|about| !matches!(about, About::Name(name) if name.starts_with('.')));
        found.sort_unstable();
        Ok(found)
    }
}
