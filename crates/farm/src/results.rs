//! Results on a file system that all machines share: named by what they hold, and checked whenever they are read.

use std::path::{Path, PathBuf};

use crate::{Digest, FarmError, files};

/// Where results are kept.
#[derive(Clone, Debug)]
pub struct Results(PathBuf);

impl Results {
    /// A folder of results, which is made if need be.
    ///
    /// # Errors
    ///
    /// [`FarmError::Write`].
    pub fn open(folder: &Path) -> Result<Self, FarmError> {
        files::make_folder(folder)?;
        Ok(Self(folder.to_path_buf()))
    }

    /// A result's file: 256 folders keep each of them small.
    fn path(&self, digest: &Digest) -> PathBuf {
        self.0.join(&digest.as_str()[..2]).join(digest.as_str())
    }

    /// Keeps a result, and reads it again: a store that loses writes is found out before anybody counts on it.
    ///
    /// # Errors
    ///
    /// [`FarmError::Write`], as when the disk is full; [`FarmError::Damaged`] if it is not there afterwards.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, FarmError> {
        let digest = Digest::of(bytes);
        if matches!(self.get(&digest), Ok(Some(_))) {
            return Ok(digest);
        }
        let path = self.path(&digest);
        files::make_folder(path.parent().unwrap_or(&self.0))?;
        files::write_whole(&path, bytes)?;
        match self.get(&digest)? {
            Some(_) => Ok(digest),
            None => Err(FarmError::Damaged {
                path,
                problem: "was written and is not there: this file system loses writes; nothing was committed".into(),
            }),
        }
    }

    /// A result, if it is there.
    ///
    /// # Errors
    ///
    /// [`FarmError::Damaged`] if it is not what its name says; [`FarmError::Read`].
    pub fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, FarmError> {
        let path = self.path(digest);
        let Some(bytes) = files::read(&path)? else { return Ok(None) };
        match Digest::of(&bytes) == *digest {
            true => Ok(Some(bytes)),
            false => Err(FarmError::Damaged {
                path,
                problem: format!(
                    "holds {} bytes that are not what its name says; it was cut off or changed",
                    bytes.len()
                ),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_what_its_name_says_or_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let results = Results::open(folder.path()).expect("writable");
        assert_eq!(results.get(&Digest::of(b"mask")).expect("readable"), None);
        let digest = results.put(b"mask").expect("writable");
        assert_eq!(results.put(b"mask").expect("there already"), digest);
        assert_eq!(results.get(&digest).expect("readable").as_deref(), Some(&b"mask"[..]));
        let path = results.path(&digest);
        std::fs::write(&path, b"mas").expect("cut");
        let error = results.get(&digest).expect_err("cut").to_string();
        assert!(error.contains(digest.as_str()) && error.contains("3 bytes"), "{error}");
        results.put(b"mask").expect("written anew");
        assert!(results.get(&digest).expect("readable").is_some());
    }
}
