//! Results where all machines reach them, on a file system or in a bucket: named by what they hold, and checked whenever they are read.

use std::path::{Path, PathBuf};

use crate::{Bucket, Digest, FarmError, files};

/// Where results are kept.
#[derive(Clone, Debug)]
pub struct Results(Place);

#[derive(Clone, Debug)]
enum Place {
    Folder(PathBuf),
    Bucket(Bucket),
}

impl Results {
    /// A folder of results, which is made if need be.
    ///
    /// # Errors
    ///
    /// [`FarmError::Write`].
    pub fn open(folder: &Path) -> Result<Self, FarmError> {
        files::make_folder(folder)?;
        Ok(Self(Place::Folder(folder.to_path_buf())))
    }

    /// Results in a bucket.
    pub fn within(bucket: Bucket) -> Self {
        Self(Place::Bucket(bucket))
    }

    /// Keeps a result, and reads it again: a store that loses writes is found out before anybody counts on it.
    ///
    /// # Errors
    ///
    /// [`FarmError::Write`], as when the disk is full; [`FarmError::Damaged`] if it is not there afterwards; of a bucket, as
    /// [`Bucket::put`].
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, FarmError> {
        let digest = Digest::of(bytes);
        if matches!(self.get(&digest), Ok(Some(_))) {
            return Ok(digest);
        }
        self.write(&name(&digest), bytes)?;
        match self.get(&digest)? {
            Some(_) => Ok(digest),
            None => Err(FarmError::Damaged {
                path: self.path(&name(&digest)),
                problem:
                    "was written and is not there: this store loses writes; nothing was committed"
                        .into(),
            }),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FarmError> {
        match &self.0 {
            Place::Bucket(bucket) => bucket.put(name, bytes),
            Place::Folder(folder) => {
                let path = folder.join(name);
                files::make_folder(path.parent().unwrap_or(folder))?;
                files::write_whole(&path, bytes)
            }
        }
    }

    /// A result, if it is there.
    ///
    /// # Errors
    ///
    /// [`FarmError::Damaged`] if it is not what its name says; [`FarmError::Read`]; of a bucket, as [`Bucket::get`].
    pub fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, FarmError> {
        let name = name(digest);
        let found = match &self.0 {
            Place::Folder(folder) => files::read(&folder.join(&name))?,
            Place::Bucket(bucket) => bucket.get(&name)?,
        };
        let Some(bytes) = found else { return Ok(None) };
        match Digest::of(&bytes) == *digest {
            true => Ok(Some(bytes)),
            false => Err(FarmError::Damaged {
                path: self.path(&name),
                problem: format!(
                    "holds {} bytes that are not what its name says; it was cut off or changed",
                    bytes.len()
                ),
            }),
        }
    }

    /// Where a result is, for people.
    fn path(&self, name: &str) -> PathBuf {
        match &self.0 {
            Place::Folder(folder) => folder.join(name),
            Place::Bucket(bucket) => bucket.place(name),
        }
    }
}

/// A result's name: 256 folders keep each of them small.
fn name(digest: &Digest) -> String {
    format!("{}/{digest}", &digest.as_str()[..2])
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
        let path = results.path(&name(&digest));
        std::fs::write(&path, b"mas").expect("cut");
        let error = results.get(&digest).expect_err("cut").to_string();
        assert!(error.contains(digest.as_str()) && error.contains("3 bytes"), "{error}");
        results.put(b"mask").expect("written anew");
        assert!(results.get(&digest).expect("readable").is_some());
    }
}
