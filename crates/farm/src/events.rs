//! What happened in a job: a file of lines for each worker, which it alone writes.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::{FarmError, files};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// A worker came.
    Joined,
    /// It took a block.
    Leased,
    /// Its result of a block counts.
    Committed,
    /// Its result came after an equal one.
    Late,
    /// Its result came after another one.
    Different,
    /// A try failed.
    Failed,
    /// A block was given back.
    Released,
    /// A lease was lost to another worker.
    Lost,
    /// The source could not be reached.
    Trouble,
    /// The worker left.
    Left,
}

/// A line of a worker's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since 1970 by the worker's machine.
    pub at_ms: u64,
    /// What happened.
    pub what: What,
    /// The block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
    /// The try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// A worker's file, open.
#[derive(Debug)]
pub struct Events(Mutex<File>);

impl Events {
    /// Opens a worker's file in a folder, which is made if need be.
    ///
    /// # Errors
    ///
    /// [`FarmError::Write`].
    pub fn open(folder: &Path, worker: &str) -> Result<Self, FarmError> {
        files::make_folder(folder)?;
        let path = folder.join(format!("{worker}.jsonl"));
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Ok(Self(Mutex::new(file.map_err(|e| FarmError::Write(path, e))?)))
    }

    /// Notes an event. The log is for people: a disk that does not take it is no reason to stop work.
    pub fn note(&self, what: What, about: Option<(u64, u32)>, text: &str) {
        let (block, attempt) = (about.map(|a| a.0), about.map(|a| a.1));
        let event = Event { at_ms: now_ms(), what, block, attempt, text: text.into() };
        if let Ok(line) = serde_json::to_string(&event) {
            let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // One write: a line is whole or not there.
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }
}

/// What all workers noted, each in the order of its file. A line that was cut off is left out.
///
/// # Errors
///
/// [`FarmError::Read`].
pub fn read_all(folder: &Path) -> Result<Vec<(String, Vec<Event>)>, FarmError> {
    let failed = |e| FarmError::Read(folder.to_path_buf(), e);
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(name) =
            path.file_stem().filter(|_| path.extension().is_some_and(|e| e == "jsonl"))
        else {
            continue;
        };
        let file = File::open(&path).map_err(|e| FarmError::Read(path.clone(), e))?;
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        let events = lines.filter_map(|line| serde_json::from_str(&line).ok()).collect();
        all.push((name.to_string_lossy().into_owned(), events));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

/// Milliseconds since 1970 by this machine.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_noted_and_a_line_that_was_cut_off_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let events = Events::open(folder.path(), "a-1").expect("writable");
        events.note(What::Joined, None, "");
        events.note(What::Failed, Some((7, 2)), "no \"room\"\nleft");
        drop(events);
        let path = folder.path().join("a-1.jsonl");
        let mut bytes = std::fs::read(&path).expect("read");
        bytes.extend(b"{\"at_ms\":12,\"wh");
        std::fs::write(&path, bytes).expect("written");
        let all = read_all(folder.path()).expect("read");
        assert_eq!((all.len(), all[0].0.as_str(), all[0].1.len()), (1, "a-1", 2));
        let failed = &all[0].1[1];
        assert_eq!((failed.block, failed.attempt), (Some(7), Some(2)));
        assert_eq!(failed.text, "no \"room\"\nleft");
    }
}
