//! Whole files on a file system that several machines share: written beside, synchronised, and given their name in one step.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::FarmError;

/// Numbers this process's temporary files.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A file that is not under its name yet; it goes when it is dropped.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // It is gone where it was renamed.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A name beside `path` that no other machine and no other thread takes.
fn beside(path: &Path) -> PathBuf {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.{number}.part", crate::names::process()))
}

fn part(path: &Path, bytes: &[u8], durable: bool) -> std::io::Result<Part> {
    let part = Part(beside(path));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&part.0)?;
    file.write_all(bytes)?;
    if durable {
        file.sync_all()?;
    }
    Ok(part)
}

/// The entry of a file in its folder reaches the disk too.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

/// Writes a file so that readers see the old one or the whole new one, also after a power cut.
///
/// # Errors
///
/// [`FarmError::Write`], as when the disk is full; then nothing is left of it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), FarmError> {
    let write = || {
        let part = part(path, bytes, true)?;
        std::fs::rename(&part.0, path)?;
        sync_folder(path)
    };
    write().map_err(|e| FarmError::Write(path.to_path_buf(), e))
}

/// As [`write_whole`] for what may be lost in a power cut.
///
/// # Errors
///
/// [`FarmError::Write`].
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FarmError> {
    let write = || std::fs::rename(&part(path, bytes, false)?.0, path);
    write().map_err(|e| FarmError::Write(path.to_path_buf(), e))
}

/// Writes a file that is not there yet; false if it is. Of several machines that try at once, one succeeds: the name is given by
/// `link`, which network file systems do in one step where `O_EXCL` may not be.
///
/// # Errors
///
/// [`FarmError::Write`].
pub(crate) fn create(path: &Path, bytes: &[u8], durable: bool) -> Result<bool, FarmError> {
    let write = || {
        let part = part(path, bytes, durable)?;
        let made = match std::fs::hard_link(&part.0, path) {
            Ok(()) => true,
            // A server whose answer was lost says so to the second try of what it did.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => is_ours(&part.0, path),
            Err(e) => return Err(e),
        };
        if made && durable {
            sync_folder(path)?;
        }
        Ok(made)
    };
    write().map_err(|e| FarmError::Write(path.to_path_buf(), e))
}

/// Whether two names are one file.
#[cfg(unix)]
fn is_ours(part: &Path, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |p: &Path| std::fs::metadata(p).map(|about| (about.dev(), about.ino()));
    matches!((place(part), place(path)), (Ok(a), Ok(b)) if a == b)
}

/// Elsewhere nothing tells.
#[cfg(not(unix))]
fn is_ours(_part: &Path, _path: &Path) -> bool {
    false
}

/// A file's bytes; none if it is not there.
///
/// # Errors
///
/// [`FarmError::Read`].
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, FarmError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(FarmError::Read(path.to_path_buf(), e)),
    }
}

/// Makes a folder and those above it.
///
/// # Errors
///
/// [`FarmError::Write`].
pub(crate) fn make_folder(path: &Path) -> Result<(), FarmError> {
    std::fs::create_dir_all(path).map_err(|e| FarmError::Write(path.to_path_buf(), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_that_create_a_file_one_succeeds_and_no_part_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("receipt");
        let made: Vec<bool> = std::thread::scope(|scope| {
            let write = |i: u8| create(&path, &[i; 100], i.is_multiple_of(2)).expect("writable");
            let threads: Vec<_> = (0..16).map(|i| scope.spawn(move || write(i))).collect();
            threads.into_iter().map(|t| t.join().expect("no panic")).collect()
        });
        assert_eq!(made.iter().filter(|&&made| made).count(), 1);
        let bytes = read(&path).expect("readable").expect("there");
        assert_eq!(bytes, [made.iter().position(|&m| m).expect("one") as u8; 100]);
        assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 1);
    }

    #[test]
    fn a_folder_that_is_missing_is_named() {
        let error = write_whole(Path::new("/nowhere/at/all"), b"").expect_err("missing");
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
