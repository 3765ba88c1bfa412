//! What a run over many tiles has found so far, on disk: a file that only grows, so that a run that is killed goes on from it.
//!
//! ```text
//! "LITHOTIL" ─ fingerprint of the settings (32 bytes) ─ record ─ record ─ …
//! record: kind (1) ─ key (32) ─ length (4, little endian) ─ payload ─ first 8 bytes of the SHA-256 of all that
//! ```
//!
//! A record that was cut off or damaged ends the file: what follows is computed again.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lithoburn_layout::LayoutError;
use sha2::{Digest, Sha256};

use crate::EngineError;

/// A SHA-256: of settings, or of what a record was computed from.
pub(crate) type Key = [u8; 32];

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The mask of a tile's core.
    Mask,
    /// The numbers of a tile.
    Measured,
    /// How a tile prints.
    Printed,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Mask, Self::Measured, Self::Printed];

    /// Its byte in a record.
    fn code(self) -> u8 {
        match self {
            Self::Mask => 1,
            Self::Measured => 2,
            Self::Printed => 3,
        }
    }
}

const MAGIC: &[u8; 8] = b"LITHOTIL";
const HEADER: u64 = 8 + 32;
/// Bytes of a record around its payload: kind, key and length before it, check after it.
const FRAME: u64 = HEAD as u64 + CHECK as u64;
const HEAD: usize = 1 + 32 + 4;
const CHECK: usize = 8;

/// The open file, and where its records are. Who writes keeps nobody waiting who reads or asks.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    reader: Mutex<File>,
    writer: Mutex<Writer>,
    places: Mutex<Places>,
}

/// Where records' payloads begin, and how long they are.
type Places = HashMap<(Kind, Key), (u64, u32)>;

#[derive(Debug)]
struct Writer {
    file: File,
    end: u64,
}

/// What each lock guards is whole before anything can panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// Opens a run's file, or begins one.
    ///
    /// # Errors
    ///
    /// [`EngineError::Setting`] if it is another run's; [`EngineError::Layout`] if it cannot be read or written.
    pub(crate) fn open(path: &Path, fingerprint: &Key) -> Result<Self, EngineError> {
        let failed = |e| LayoutError::Write(path.to_path_buf(), e);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path);
        let mut file = file.map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let (end, places) = if length < HEADER {
            begin(&mut file, fingerprint).map_err(failed)?;
            (HEADER, Places::new())
        } else {
            scan(path, &file, fingerprint, length)?
        };
        file.set_len(end).map_err(failed)?;
        let reader = File::open(path).map_err(|e| LayoutError::Read(path.to_path_buf(), e))?;
        Ok(Self {
            path: path.to_path_buf(),
            reader: Mutex::new(reader),
            writer: Mutex::new(Writer { file, end }),
            places: Mutex::new(places),
        })
    }

    /// Whether there is such a record.
    pub(crate) fn has(&self, kind: Kind, key: &Key) -> bool {
        locked(&self.places).contains_key(&(kind, *key))
    }

    /// Records of a kind.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        locked(&self.places).keys().filter(|(k, _)| *k == kind).count()
    }

    /// Adds a record; one that is there already stays.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Write`], as when the disk is full.
    pub(crate) fn append(&self, kind: Kind, key: &Key, payload: &[u8]) -> Result<(), LayoutError> {
        let size = u32::try_from(payload.len()).map_err(|_| {
            let large = std::io::Error::other("a tile's record is larger than 4 GiB");
            LayoutError::Write(self.path.clone(), large)
        })?;
        let record = record(kind, key, payload, size);
        let mut writer = locked(&self.writer);
        // While nobody else writes: one of two who found the same is the first.
        if self.has(kind, key) {
            return Ok(());
        }
        let end = writer.end;
        let mut write = || {
            writer.file.seek(SeekFrom::Start(end))?;
            writer.file.write_all(&record)
        };
        write().map_err(|e| LayoutError::Write(self.path.clone(), e))?;
        writer.end += record.len() as u64;
        locked(&self.places).insert((kind, *key), (end + HEAD as u64, size));
        Ok(())
    }

    /// A record's payload, checked again: a disk, or another program, may have changed it since.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Read`], also if it is not what was written.
    pub(crate) fn read(&self, kind: Kind, key: &Key) -> Result<Option<Vec<u8>>, LayoutError> {
        let place = locked(&self.places).get(&(kind, *key)).copied();
        let Some((place, size)) = place else { return Ok(None) };
        let failed = |e| LayoutError::Read(self.path.clone(), e);
        let mut found = vec![0; size as usize + CHECK];
        let mut reader = locked(&self.reader);
        reader.seek(SeekFrom::Start(place)).map_err(failed)?;
        reader.read_exact(&mut found).map_err(failed)?;
        drop(reader);
        let payload = &found[..size as usize];
        if record(kind, key, payload, size)[HEAD..] != found {
            return Err(failed(std::io::Error::other(
                "a tile's record was changed after it was written: delete the file to start anew",
            )));
        }
        found.truncate(size as usize);
        Ok(Some(found))
    }

    /// From now on nothing can be written, as when the disk is full.
    #[cfg(test)]
    pub(crate) fn spoil(&self) {
        locked(&self.writer).file = File::open(&self.path).expect("it is there");
    }

    /// Deletes the file: its run is done. Its blocks, a gigabyte and more, are given back to the disk on a thread that nobody waits
    /// for: the file lives on without a name as long as it is open.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Write`].
    pub(crate) fn remove(self) -> Result<(), LayoutError> {
        std::fs::remove_file(&self.path).map_err(|e| LayoutError::Write(self.path.clone(), e))?;
        // Without the thread they are given back here.
        let _ = std::thread::Builder::new().name("journal".into()).spawn(move || drop(self));
        Ok(())
    }
}

fn begin(file: &mut File, fingerprint: &Key) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(MAGIC)?;
    file.write_all(fingerprint)
}

/// Finds the records of a file of that length, up to the first that is not whole, and where they end.
fn scan(
    path: &Path,
    file: &File,
    fingerprint: &Key,
    length: u64,
) -> Result<(u64, Places), EngineError> {
    let failed = |e| LayoutError::Read(path.to_path_buf(), e);
    let mut reader = BufReader::new(file);
    let mut header = [0; HEADER as usize];
    reader.read_exact(&mut header).map_err(failed)?;
    if header[..8] != *MAGIC || header[8..] != *fingerprint {
        return Err(EngineError::Setting(format!(
            "{} holds tiles of a run with other settings: repeat that run's options to go on with it, choose \
             another --out, or delete the file to start anew",
            path.display()
        )));
    }
    let (mut end, mut places) = (HEADER, Places::new());
    while let Some((kind, key, size)) = whole_record(&mut reader, length - end) {
        places.insert((kind, key), (end + HEAD as u64, size));
        end += FRAME + u64::from(size);
    }
    Ok((end, places))
}

/// A record's bytes, with its check.
fn record(kind: Kind, key: &Key, payload: &[u8], size: u32) -> Vec<u8> {
    let mut record = Vec::with_capacity(payload.len() + FRAME as usize);
    record.push(kind.code());
    record.extend_from_slice(key);
    record.extend_from_slice(&size.to_le_bytes());
    record.extend_from_slice(payload);
    let check = Sha256::digest(&record);
    record.extend_from_slice(&check[..CHECK]);
    record
}

/// The next record's kind, key and size, if it is whole and fits into the `left` bytes.
fn whole_record(reader: &mut impl Read, left: u64) -> Option<(Kind, Key, u32)> {
    let mut record = vec![0; HEAD];
    reader.read_exact(&mut record).ok()?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.code() == record[0])?;
    let key: Key = record[1..33].try_into().ok()?;
    let size = u32::from_le_bytes(record[33..37].try_into().ok()?);
    if u64::from(size) + FRAME > left {
        return None;
    }
    record.resize(HEAD + size as usize, 0);
    reader.read_exact(&mut record[HEAD..]).ok()?;
    let mut check = [0; CHECK];
    reader.read_exact(&mut check).ok()?;
    (Sha256::digest(&record)[..CHECK] == check).then_some((kind, key, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(of: u8) -> Key {
        [of; 32]
    }

    fn filled(path: &Path) -> Journal {
        let journal = Journal::open(path, &key(0)).expect("a new file");
        for i in 1..=5 {
            journal.append(Kind::Mask, &key(i), &vec![i; 10 * usize::from(i)]).expect("written");
        }
        journal.append(Kind::Measured, &key(1), b"numbers").expect("written");
        journal
    }

    #[test]
    fn what_was_written_is_there_when_it_is_opened_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tiles");
        drop(filled(&path));
        let journal = Journal::open(&path, &key(0)).expect("it is ours");
        assert_eq!((journal.count(Kind::Mask), journal.count(Kind::Measured)), (5, 1));
        assert_eq!(journal.read(Kind::Mask, &key(3)).expect("read"), Some(vec![3; 30]));
        assert_eq!(journal.read(Kind::Measured, &key(1)).expect("read"), Some(b"numbers".to_vec()));
        assert_eq!(journal.read(Kind::Measured, &key(3)).expect("read"), None);
        journal.remove().expect("deleted");
        assert!(!path.exists());
    }

    /// Cut anywhere, or with any byte changed, the file keeps the records before that place, and only them.
    #[test]
    fn a_damaged_file_keeps_what_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tiles");
        drop(filled(&path));
        let bytes = std::fs::read(&path).expect("read");
        let ends: Vec<usize> = (1..=5)
            .scan(HEADER as usize, |end, i| {
                *end += FRAME as usize + 10 * i;
                Some(*end)
            })
            .collect();
        for at in HEADER as usize..bytes.len() {
            let whole = ends.iter().filter(|&&end| end <= at).count();
            std::fs::write(&path, &bytes[..at]).expect("cut");
            let cut = Journal::open(&path, &key(0)).expect("it is ours");
            assert_eq!(cut.count(Kind::Mask), whole, "cut at {at}");
            cut.append(Kind::Mask, &key(9), b"again").expect("written");
            drop(cut);
            let again = Journal::open(&path, &key(0)).expect("it is ours");
            assert!(again.has(Kind::Mask, &key(9)) && again.count(Kind::Mask) == whole + 1);
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            std::fs::write(&path, &changed).expect("changed");
            let journal = Journal::open(&path, &key(0)).expect("it is ours");
            assert_eq!(journal.count(Kind::Mask), whole, "changed at {at}");
        }
    }

    /// A record was good when the file was opened, and is not when it is read.
    #[test]
    fn what_changes_under_a_running_run_is_not_taken_for_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tiles");
        let journal = filled(&path);
        let mut bytes = std::fs::read(&path).expect("read");
        let third = HEADER as usize + 2 * FRAME as usize + 30 + HEAD;
        bytes[third + 7] ^= 1;
        std::fs::write(&path, &bytes).expect("changed");
        let error = journal.read(Kind::Mask, &key(3)).expect_err("changed").to_string();
        assert!(error.contains("changed after it was written"), "{error}");
        assert_eq!(journal.read(Kind::Mask, &key(2)).expect("as it was"), Some(vec![2; 20]));
    }

    #[test]
    fn another_runs_file_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tiles");
        drop(filled(&path));
        let before = std::fs::read(&path).expect("read");
        let error = Journal::open(&path, &key(7)).expect_err("other settings").to_string();
        assert!(error.contains("other settings") && error.contains("--out"), "{error}");
        assert_eq!(std::fs::read(&path).expect("read"), before);
    }
}
