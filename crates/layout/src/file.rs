//! Whole files only: read at once, written beside and renamed.

use std::io::Write;
use std::path::Path;

use crate::LayoutError;

/// All bytes of a file that has some.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, LayoutError> {
    let bytes = std::fs::read(path).map_err(|e| LayoutError::Read(path.to_path_buf(), e))?;
    match bytes.is_empty() {
        true => Err(LayoutError::NoBytes(path.to_path_buf())),
        false => Ok(bytes),
    }
}

/// Writes a file so that a reader sees either the old one or the whole new one.
///
/// # Errors
///
/// [`LayoutError::Write`] if the folder or the file cannot be made.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), LayoutError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let write = || {
        std::fs::create_dir_all(folder)?;
        let mut beside = tempfile::NamedTempFile::new_in(folder)?;
        beside.write_all(bytes)?;
        make_readable(beside.as_file())?;
        beside.persist(path).map_err(|e| e.error)
    };
    write().map(|_| ()).map_err(|e| LayoutError::Write(path.to_path_buf(), e))
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
