//! SHA-256 digests, by which files and results are known.

use std::fmt;
use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::FarmError;

/// A SHA-256, written as 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::finished(Sha256::new_with_prefix(bytes))
    }

    /// Of a file, which need not fit memory.
    ///
    /// # Errors
    ///
    /// [`FarmError::Read`].
    pub fn of_file(path: &Path) -> Result<Self, FarmError> {
        let failed = |e| FarmError::Read(path.to_path_buf(), e);
        let mut file = File::open(path).map_err(failed)?;
        let mut hash = Sha256::new();
        std::io::copy(&mut file, &mut hash).map_err(failed)?;
        Ok(Self::finished(hash))
    }

    /// Of a hash that was taken elsewhere.
    pub fn of_key(key: &[u8; 32]) -> Self {
        Self(key.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn finished(hash: Sha256) -> Self {
        Self::of_key(&hash.finalize().into())
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first sixteen digits, for names that people read.
    pub fn short(&self) -> &str {
        &self.0[..16]
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match text.len() == 64 && text.bytes().all(is_digit) {
            true => Ok(Self(text)),
            false => Err(format!("expected the 64 hexadecimal digits of a SHA-256, got {text:?}")),
        }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4's example.
    #[test]
    fn a_digest_is_sha_256() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").as_str(), abc);
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "abc").expect("written");
        assert_eq!(Digest::of_file(file.path()).expect("read"), Digest::of(b"abc"));
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        for text in ["", "abc", &"g".repeat(64), &"../".repeat(22)[..64]] {
            assert!(Digest::try_from(text.to_string()).is_err(), "{text}");
        }
    }
}
