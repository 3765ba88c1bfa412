//! A job, as it is kept and shown.

use std::path::Path;
use std::time::SystemTime;

use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};

use super::{JobsError, Training};
use crate::layouts::{Ask, Progress};

/// What becomes of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It waits for those before it, or to go on.
    Queued,
    /// It is worked at.
    Running,
    /// Its files are there.
    Done,
    /// It cannot be done; [`Job::error`] says why.
    Failed,
    /// Its client ended it.
    Cancelled,
}

impl JobState {
    /// Whether nothing more comes.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// A layout's correction. Times are in ms since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// 128 random bits.
    pub id: String,
    /// The client whose it is; nobody else is told.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub owner: String,
    /// The layout's name.
    pub layout: String,
    /// What was asked.
    pub ask: Ask,
    /// What was asked of a training run, if it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub training: Option<Training>,
    /// What becomes of it.
    pub state: JobState,
    /// How far it is, if it was begun.
    pub progress: Option<Progress>,
    /// When it came.
    pub submitted: u64,
    /// When its process was started last.
    pub started: Option<u64>,
    /// When it ended.
    pub ended: Option<u64>,
    /// Time that its processes took that have ended.
    pub spent_ms: u64,
    /// How often it was begun.
    pub attempts: u32,
    /// How often its process died since it last got on.
    pub faults: u32,
    /// Why it failed.
    pub error: Option<String>,
}

impl Job {
    pub(super) fn new(id: String, owner: &str, told: &Told) -> Self {
        let Told { name, ask, training, .. } = told.clone();
        Self {
            id,
            owner: owner.into(),
            layout: name,
            ask,
            training,
            state: JobState::Queued,
            progress: None,
            submitted: now_ms(),
            started: None,
            ended: None,
            spent_ms: 0,
            attempts: 0,
            faults: 0,
            error: None,
        }
    }

    /// As a client is shown it.
    pub(crate) fn shown(&self) -> Self {
        Self { owner: String::new(), ..self.clone() }
    }

    pub(super) fn begin(&mut self) {
        self.state = JobState::Running;
        self.attempts += 1;
        self.started = Some(now_ms());
    }

    pub(super) fn end(&mut self, state: JobState, error: Option<String>) {
        self.state = state;
        self.error = error;
        self.ended = Some(now_ms());
    }

    /// A step done is a sign that the deaths before it were of something else.
    pub(super) fn progressed(&mut self, progress: Progress) {
        let further =
            |before: &Progress| before.phase != progress.phase || before.done < progress.done;
        if self.progress.as_ref().is_some_and(further) {
            self.faults = 0;
        }
        self.progress = Some(progress);
    }

    pub(super) fn since_begin_ms(&self) -> u64 {
        self.started.map_or(0, |started| now_ms().saturating_sub(started))
    }
}

/// What a job's process reads in its folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The layout's file.
    pub layout: String,
    /// The layout's name.
    pub name: String,
    /// What was asked.
    pub ask: Ask,
    /// A training run instead of a layout.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub training: Option<Training>,
}

impl Told {
    pub(super) fn write(&self, folder: &Path) -> Result<(), JobsError> {
        let path = folder.join("job.json");
        let text = serde_json::to_vec_pretty(self).map_err(std::io::Error::from);
        text.and_then(|text| std::fs::write(&path, text)).map_err(|e| JobsError::Write(path, e))
    }

    /// What a job's folder holds.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn read(folder: &Path) -> std::io::Result<Self> {
        let bytes = std::fs::read(folder.join("job.json"))?;
        serde_json::from_slice(&bytes).map_err(std::io::Error::from)
    }
}

pub(super) fn now_ms() -> u64 {
    super::ms(SystemTime::now())
}

/// A number that nobody guesses.
pub(crate) fn new_id() -> String {
    let mut bits = [0; 16];
    // The system's random numbers do not end; where there are none, the thread's serve.
    if OsRng.try_fill_bytes(&mut bits).is_err() {
        bits = rand::random();
    }
    bits.iter().map(|byte| format!("{byte:02x}")).collect()
}
