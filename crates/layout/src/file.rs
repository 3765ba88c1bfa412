//! Whole files only: read at once, written beside and renamed.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::LayoutError;

/// All bytes of a file that has some.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, LayoutError> {
    let bytes = std::fs::read(path).map_err(|e| LayoutError::Read(path.to_path_buf(), e))?;
    match bytes.is_empty() {
        true => Err(LayoutError::NoBytes(path.to_path_buf())),
        false => Ok(bytes),
    }
}

/// A file that has some bytes, and how many.
pub(crate) fn open(path: &Path) -> Result<(BufReader<File>, u64), LayoutError> {
    let failed = |e| LayoutError::Read(path.to_path_buf(), e);
    let file = File::open(path).map_err(failed)?;
    match file.metadata().map_err(failed)?.len() {
        0 => Err(LayoutError::NoBytes(path.to_path_buf())),
        bytes => Ok((BufReader::with_capacity(1 << 18, file), bytes)),
    }
}

/// Writes a file so that a reader sees either the old one or the whole new one.
///
/// # Errors
///
/// [`LayoutError::Write`] if the folder or the file cannot be made.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), LayoutError> {
    let mut file = beside(path)?;
    file.write_all(bytes).map_err(|e| LayoutError::Write(path.to_path_buf(), e))?;
    keep(file, path)
}

/// A temporary file in the same folder, which is made if need be.
pub(crate) fn beside(path: &Path) -> Result<NamedTempFile, LayoutError> {
    let folder = folder_of(path);
    let make = || {
        std::fs::create_dir_all(folder)?;
        NamedTempFile::new_in(folder)
    };
    make().map_err(|e| LayoutError::Write(path.to_path_buf(), e))
}

/// As [`beside`], with a name that [`sweep`] knows: for files that take long to write.
pub(crate) fn part_of(path: &Path) -> Result<NamedTempFile, LayoutError> {
    sweep(path);
    let folder = folder_of(path);
    let make = || {
        std::fs::create_dir_all(folder)?;
        tempfile::Builder::new().prefix(&part_prefix(path)).suffix(PART).tempfile_in(folder)
    };
    make().map_err(|e| LayoutError::Write(path.to_path_buf(), e))
}

/// Ending of files that are being written.
const PART: &str = ".part";

fn part_prefix(path: &Path) -> String {
    format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Takes away what a program that was killed had begun to write. What cannot be taken away does no harm.
fn sweep(path: &Path) {
    let prefix = part_prefix(path);
    for entry in std::fs::read_dir(folder_of(path)).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&prefix) && name.ends_with(PART) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Gives a temporary file its name.
pub(crate) fn keep(file: NamedTempFile, path: &Path) -> Result<(), LayoutError> {
    let rename = || {
        make_readable(file.as_file())?;
        file.persist(path).map_err(|e| e.error)
    };
    rename().map(|_| ()).map_err(|e| LayoutError::Write(path.to_path_buf(), e))
}

/// Temporary files are private to their owner; what we leave behind is not secret.
#[cfg(unix)]
fn make_readable(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn make_readable(_file: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}
