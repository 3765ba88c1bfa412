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
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let make = || {
        std::fs::create_dir_all(folder)?;
        NamedTempFile::new_in(folder)
    };
    make().map_err(|e| LayoutError::Write(path.to_path_buf(), e))
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
