//! Whole files only: read at once, written beside and renamed.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::LayoutError;

/// More bytes than this are not taken from a pipe, which may never end.
const MOST_PIPED: u64 = 4 << 30;

/// Where bytes come from.
pub(crate) enum Source {
    /// A file that has some bytes, and how many.
    File(BufReader<File>, u64),
    /// A pipe or a device, whose length nobody knows.
    Stream(File),
}

/// Opens a file.
pub(crate) fn open(path: &Path) -> Result<Source, LayoutError> {
    let failed = |e| LayoutError::Read(path.to_path_buf(), e);
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    match about.len() {
        _ if !(about.is_file() || about.is_dir()) => Ok(Source::Stream(file)),
        0 => Err(LayoutError::NoBytes(path.to_path_buf())),
        bytes => Ok(Source::File(BufReader::with_capacity(1 << 18, file), bytes)),
    }
}

/// All bytes of a stream that has some.
pub(crate) fn all(input: impl Read, name: &Path) -> Result<Vec<u8>, LayoutError> {
    let mut bytes = Vec::new();
    let read = input.take(MOST_PIPED + 1).read_to_end(&mut bytes);
    match read.map_err(|e| LayoutError::Read(name.to_path_buf(), e))? as u64 {
        0 => Err(LayoutError::NoBytes(name.to_path_buf())),
        1..=MOST_PIPED => Ok(bytes),
        _ => Err(LayoutError::TooMuch {
            path: name.to_path_buf(),
            problem: format!(
                "more than {} GiB come from it: save them as a file",
                MOST_PIPED >> 30
            ),
        }),
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
fn beside(path: &Path) -> Result<NamedTempFile, LayoutError> {
    temporary(path, &mut tempfile::Builder::new())
}

/// As [`beside`], with a name that [`sweep`] knows: for files that take long to write.
pub(crate) fn part_of(path: &Path) -> Result<NamedTempFile, LayoutError> {
    sweep(path);
    temporary(path, tempfile::Builder::new().prefix(&part_prefix(path)).suffix(PART))
}

/// Temporary files are private to their owner; what we leave behind has the rights of any new file.
fn temporary(
    path: &Path,
    builder: &mut tempfile::Builder<'_, '_>,
) -> Result<NamedTempFile, LayoutError> {
    let folder = folder_of(path);
    #[cfg(unix)]
    let builder = {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666)) // less the process's umask
    };
    let make = || {
        std::fs::create_dir_all(folder)?;
        builder.tempfile_in(folder)
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
    match file.persist(path) {
        Ok(_) => Ok(()),
        Err(failed) => Err(LayoutError::Write(path.to_path_buf(), failed.error)),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// What the umask leaves to a new file is asked of the system: the process's own cannot be changed here alone.
    #[test]
    fn files_have_the_rights_that_the_umask_leaves_them() -> Result<(), LayoutError> {
        let folder = tempfile::tempdir().expect("a folder");
        let mode = |name: &str| {
            let about = std::fs::metadata(folder.path().join(name)).expect("it is there");
            about.permissions().mode() & 0o777
        };
        File::create(folder.path().join("usual")).expect("writable");
        write_whole(&folder.path().join("ours"), b"x")?;
        assert_eq!(mode("ours"), mode("usual"));
        let long = folder.path().join("long");
        keep(part_of(&long)?, &long)?;
        assert_eq!(mode("long"), mode("usual"));
        Ok(())
    }

    #[test]
    fn a_stream_without_an_end_and_one_without_bytes_are_errors() {
        let error =
            |input: &mut dyn Read| all(input, Path::new("-")).expect_err("refused").to_string();
        assert!(error(&mut std::io::empty()).contains("empty"));
    }
}
