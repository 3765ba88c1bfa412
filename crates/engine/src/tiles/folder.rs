//! A run's folder: made, tried and locked before the work, so that two runs never write into one, and left alone by a run that
//! wrote nothing.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use lithoburn_layout::LayoutError;

use crate::EngineError;

/// The file that says who writes into a folder.
const LOCK: &str = "lithoburn.lock";
/// How often a lock that vanishes while it is taken is tried again.
const TRIES: usize = 100;

/// A folder that this run alone writes into, until it is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// None where the file system knows no locks.
    lock: Option<File>,
    /// Folders that were made for it, the innermost first.
    made: Vec<PathBuf>,
}

impl Folder {
    /// Makes a folder if need be, sees that it can be written, and locks it, before hours are spent on what would go there.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Write`] if it cannot be written; [`EngineError::Setting`], with the process, if another run writes into it.
    pub fn claim(path: &Path) -> Result<Self, EngineError> {
        let missing = path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists());
        let made: Vec<PathBuf> = missing.map(Path::to_path_buf).collect();
        let failed = |e| LayoutError::Write(path.to_path_buf(), e);
        let mut folder = Self { path: path.to_path_buf(), lock: None, made };
        std::fs::create_dir_all(path).map_err(failed)?;
        tempfile::tempfile_in(path).map_err(failed)?;
        folder.lock = lock(&path.join(LOCK))?;
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.lock.take().is_some() {
            // While it is locked by nobody else: whoever opened it meanwhile sees that it is gone.
            let _ = std::fs::remove_file(self.path.join(LOCK));
        }
        for folder in &self.made {
            // Only empty ones go.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Takes a lock, and leaves this process's number in its file.
fn lock(path: &Path) -> Result<Option<File>, EngineError> {
    let failed = |e| LayoutError::Write(path.to_path_buf(), e);
    for _ in 0..TRIES {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path);
        let mut file = file.map_err(failed)?;
        match file.try_lock() {
            Ok(()) if !is_at(&file, path) => continue,
            Ok(()) => {
                let mut note = || {
                    file.set_len(0)?;
                    file.seek(SeekFrom::Start(0))?;
                    write!(file, "{}", std::process::id())
                };
                note().map_err(failed)?;
                return Ok(Some(file));
            }
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                // What cannot be read names nobody.
                let _ = file.read_to_string(&mut owner);
                return Err(EngineError::Setting(format!(
                    "process {} writes into {}: wait for it, end it, or choose another --out",
                    if owner.is_empty() { "of another run" } else { owner.trim() },
                    path.parent().unwrap_or(path).display()
                )));
            }
            // Some network file systems have no locks: as well as they can.
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
    Err(EngineError::Setting(format!("{} comes and goes: choose another --out", path.display())))
}

/// Whether an open file is still the one of that name.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same =
        |a: std::fs::Metadata, b: std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => same(open, named),
        _ => false,
    }
}

/// Elsewhere a file that is open keeps its name.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_runs_at_a_time_and_the_other_is_named() {
        let place = tempfile::tempdir().expect("a folder");
        let out = place.path().join("out");
        let first = Folder::claim(&out).expect("nobody is there");
        let refused = Folder::claim(&out).expect_err("taken").to_string();
        let ours = format!("process {} ", std::process::id());
        assert!(refused.contains(&ours) && refused.contains("--out"), "{refused}");
        drop(first);
        Folder::claim(&out).expect("free again");
    }

    #[test]
    fn a_run_that_writes_nothing_leaves_no_folder() {
        let place = tempfile::tempdir().expect("a folder");
        let (kept, out) = (place.path().join("kept"), place.path().join("kept/a/b"));
        std::fs::create_dir(&kept).expect("made");
        drop(Folder::claim(&out).expect("writable"));
        assert!(kept.exists() && !out.exists() && !place.path().join("kept/a").exists());
        let folder = Folder::claim(&out).expect("writable");
        std::fs::write(folder.file("mask.gds"), b"mask").expect("written");
        drop(folder);
        assert_eq!(std::fs::read_dir(&out).expect("stays").count(), 1);
    }
}
