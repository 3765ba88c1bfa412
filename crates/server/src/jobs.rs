//! Jobs: work that outlives a request, and the server.
//!
//! ```text
//! POST ─ upload ─► queue, kept in a store ─► one after the other ─► a process of its own, in a folder ─► files
//!                       │                              └─ progress, a line each ─► news ─► whoever watches
//!                       └── after a kill: what was under way goes on from the folder's journal
//! ```
//!
//! * A job is a process ([`Terms::program`]) that is told a folder, says its progress on standard output, and ends when its standard
//!   input does. So a limit of time can be hard, a driver that fails takes no server with it, and a server that is killed leaves no
//!   work behind that nobody waits for.
//! * Its folder holds the layout, what was asked (`job.json`), a log, and the files that come out. Its number cannot be guessed.
//! * A process that dies of itself is started again where it was, unless that happens [`Terms::faults`] times without progress.

mod job;
mod process;
mod routes;
mod store;
mod training;

use std::collections::BTreeMap;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::layouts::{Ask, Progress};
pub use job::Told;
pub(crate) use job::new_id;
pub use job::{Job, JobState};
use process::{Ended, Process};
pub use routes::routes;
pub(crate) use routes::{counts, known_model, stream};
use store::Store;
pub use training::{PUPILS, Training};

/// News that a slow watcher may fall behind; then it is told the state anew.
const NEWS: usize = 256;
/// How often ended jobs are looked through for those whose time is over.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How jobs are worked at.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Where the store, the jobs' folders and layouts on their way are.
    pub data: PathBuf,
    /// The program that works at a job; the job's folder is its last argument.
    pub program: PathBuf,
    /// Its arguments before the folder.
    pub arguments: Vec<String>,
    /// Jobs that wait at most.
    pub queued: usize,
    /// Time after which a job is asked to end.
    pub soft: Duration,
    /// Time after which it is ended.
    pub hard: Duration,
    /// Time that it has to end in when it is asked to.
    pub grace: Duration,
    /// Deaths of its process without progress between them, after which it has failed.
    pub faults: u32,
    /// Time that an ended job and its files are kept.
    pub keep: Duration,
}

impl Terms {
    /// Of a server's own program.
    pub fn new(data: PathBuf, program: PathBuf, arguments: Vec<String>) -> Self {
        let hour = Duration::from_secs(3600);
        Self {
            data,
            program,
            arguments,
            queued: 64,
            soft: 6 * hour,
            hard: 6 * hour + hour / 4,
            grace: Duration::from_secs(10),
            faults: 3,
            keep: 7 * 24 * hour,
        }
    }
}

/// Why jobs cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// Another server keeps its jobs there.
    #[error(
        "another server keeps its jobs in {0:?}: stop it, or give this one a --data DIR of its own"
    )]
    Taken(PathBuf),
    /// The store.
    #[error("the jobs' store {0:?}: {1}")]
    Store(PathBuf, #[source] redb::Error),
    /// A folder or a file.
    #[error("cannot write {0:?}: {1}")]
    Write(PathBuf, #[source] std::io::Error),
    /// There are as many as are taken.
    #[error("{0} jobs wait, the most that are taken: come again when some are done")]
    Full(usize),
}

/// All jobs of a server, and the one that is worked at.
#[derive(Clone)]
pub struct Jobs(Arc<Shared>);

struct Shared {
    terms: Terms,
    store: Store,
    known: Mutex<BTreeMap<String, Job>>,
    /// Asks the job that is worked at to end.
    current: Mutex<Option<(String, CancellationToken)>>,
    news: broadcast::Sender<Job>,
    wake: Notify,
    stop: CancellationToken,
}

impl Jobs {
    /// The jobs that are kept in [`Terms::data`]: those that were under way wait again, before the others.
    ///
    /// # Errors
    ///
    /// [`JobsError`] if they cannot be read, or another server has them.
    pub fn open(terms: Terms, stop: CancellationToken) -> Result<Self, JobsError> {
        for folder in [terms.data.join("jobs"), terms.data.join("uploads")] {
            std::fs::create_dir_all(&folder).map_err(|e| JobsError::Write(folder.clone(), e))?;
        }
        let store = Store::open(&terms.data)?;
        let mut known = BTreeMap::new();
        for mut job in store.all()? {
            if job.state == JobState::Running {
                job.state = JobState::Queued;
                store.put(&job)?;
            }
            known.insert(job.id.clone(), job);
        }
        clean(&terms.data, &known);
        let (news, _) = broadcast::channel(NEWS);
        let known = Mutex::new(known);
        let (current, wake) = (Mutex::new(None), Notify::new());
        Ok(Self(Arc::new(Shared { terms, store, known, current, news, wake, stop })))
    }

    /// A folder for a layout on its way, and the number that its job would have.
    ///
    /// # Errors
    ///
    /// [`JobsError`] if no more jobs are taken or it cannot be made.
    pub fn incoming(&self) -> Result<(String, PathBuf), JobsError> {
        self.has_room()?;
        let id = job::new_id();
        let folder = self.0.terms.data.join("uploads").join(&id);
        std::fs::create_dir_all(&folder).map_err(|e| JobsError::Write(folder.clone(), e))?;
        Ok((id, folder))
    }

    /// Takes a job whose layout has come.
    ///
    /// # Errors
    ///
    /// [`JobsError`] if no more are taken, or it cannot be kept; then its layout is gone.
    pub fn submit(
        &self,
        id: String,
        owner: &str,
        name: &str,
        layout: &Path,
        ask: Ask,
    ) -> Result<Job, JobsError> {
        let file = layout.file_name().map(|name| name.to_string_lossy().into_owned());
        let told =
            Told { layout: file.unwrap_or_default(), name: name.into(), ask, training: None };
        self.take(id, owner, &told)
    }

    /// Takes a training run.
    ///
    /// # Errors
    ///
    /// As [`Jobs::submit`].
    pub fn train(&self, owner: &str, training: Training) -> Result<Job, JobsError> {
        let (id, _) = self.incoming()?;
        let name = training.model.clone().unwrap_or_else(|| PUPILS[0].into());
        let name = format!("training of {name}");
        let told =
            Told { layout: String::new(), name, ask: Ask::default(), training: Some(training) };
        self.take(id, owner, &told)
    }

    fn take(&self, id: String, owner: &str, told: &Told) -> Result<Job, JobsError> {
        let (came, folder) = (self.0.terms.data.join("uploads").join(&id), self.folder(&id));
        let kept = self.has_room().and_then(|()| {
            told.write(&came)?;
            std::fs::rename(&came, &folder).map_err(|e| JobsError::Write(folder.clone(), e))
        });
        if let Err(error) = kept {
            let _ = std::fs::remove_dir_all(&came);
            return Err(error);
        }
        let job = Job::new(id, owner, told);
        self.set(&job)?;
        info!(job = job.id, "taken");
        self.0.wake.notify_one();
        Ok(job)
    }

    fn has_room(&self) -> Result<(), JobsError> {
        let waiting = self.known().values().filter(|job| job.state == JobState::Queued).count();
        match waiting >= self.0.terms.queued {
            true => Err(JobsError::Full(self.0.terms.queued)),
            false => Ok(()),
        }
    }

    /// A job by its number.
    pub fn get(&self, id: &str) -> Option<Job> {
        self.known().get(id).cloned()
    }

    /// All jobs, the newest first.
    pub fn all(&self) -> Vec<Job> {
        let mut jobs: Vec<Job> = self.known().values().cloned().collect();
        jobs.sort_by_key(|job| std::cmp::Reverse((job.submitted, job.id.clone())));
        jobs
    }

    /// Every change of every job from now on.
    pub fn news(&self) -> broadcast::Receiver<Job> {
        self.0.news.subscribe()
    }

    /// Where a job's files are.
    pub fn folder(&self, id: &str) -> PathBuf {
        self.0.terms.data.join("jobs").join(id)
    }

    /// Ends a job that waits or is worked at; one that has ended is forgotten with its files. What became of it, or none if there is
    /// none any more.
    ///
    /// # Errors
    ///
    /// [`JobsError`] if the store cannot be written.
    pub fn cancel(&self, id: &str) -> Result<Option<Job>, JobsError> {
        let Some(mut job) = self.get(id) else { return Ok(None) };
        if job.state.is_ended() {
            self.forget(id)?;
            return Ok(None);
        }
        job.end(JobState::Cancelled, None);
        self.set(&job)?;
        let current = lock(&self.0.current);
        if let Some((_, token)) = current.as_ref().filter(|(running, _)| running == id) {
            token.cancel();
        }
        Ok(Some(job))
    }

    fn forget(&self, id: &str) -> Result<(), JobsError> {
        self.0.store.remove(id)?;
        self.known().remove(id);
        let _ = std::fs::remove_dir_all(self.folder(id));
        Ok(())
    }

    /// Works at the jobs, one after the other, until the server stops; what is under way then goes on when it starts again.
    pub async fn work(self) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        while !self.0.stop.is_cancelled() {
            if let Some(job) = self.next() {
                self.attempt(job).await;
                continue;
            }
            tokio::select! {
                () = self.0.stop.cancelled() => (),
                () = self.0.wake.notified() => (),
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    /// The job that has waited longest; one that was begun is before all others.
    fn next(&self) -> Option<Job> {
        let known = self.known();
        let waiting = known.values().filter(|job| job.state == JobState::Queued);
        waiting.min_by_key(|job| (job.attempts == 0, job.submitted, job.id.clone())).cloned()
    }

    async fn attempt(&self, mut job: Job) {
        let token = CancellationToken::new();
        *lock(&self.0.current) = Some((job.id.clone(), token.clone()));
        job.begin();
        let ended = match self.set(&job) {
            // Cancelled between being chosen and being named.
            Ok(false) => Ended::Left,
            Ok(true) => self.run(&mut job, &token).await,
            Err(error) => Ended::Failed(error.to_string()),
        };
        *lock(&self.0.current) = None;
        self.ended(job, ended);
    }

    async fn run(&self, job: &mut Job, token: &CancellationToken) -> Ended {
        let terms = &self.0.terms;
        let mut process = match Process::start(terms, &self.folder(&job.id)) {
            Ok(process) => process,
            Err(error) => return Ended::Failed(error.to_string()),
        };
        let spent = Duration::from_millis(job.spent_ms);
        let mut watch = |progress: Progress| {
            job.progressed(progress);
            self.say(job);
        };
        process.wait(terms, spent, token, &self.0.stop, &mut watch).await
    }

    /// Keeps what became of an attempt.
    fn ended(&self, mut job: Job, ended: Ended) {
        job.spent_ms += job.since_begin_ms();
        match ended {
            Ended::Done => job.end(JobState::Done, None),
            Ended::Failed(why) => job.end(JobState::Failed, Some(why)),
            Ended::Left => job.state = JobState::Queued,
            Ended::Died(how) => {
                job.faults += 1;
                warn!(job = job.id, faults = job.faults, "its process {how}");
                match job.faults >= self.0.terms.faults {
                    true => job.end(
                        JobState::Failed,
                        Some(format!("its process {how}, {} times at the same place", job.faults)),
                    ),
                    false => job.state = JobState::Queued,
                }
            }
        }
        info!(job = job.id, state = ?job.state, "attempt ended");
        if let Err(error) = self.set(&job) {
            warn!(job = job.id, "{error}");
        }
    }

    /// Keeps a job's state, in memory and on disk, and says it, unless its client has ended it meanwhile.
    fn set(&self, job: &Job) -> Result<bool, JobsError> {
        let mut known = self.known();
        let is_over = known.get(&job.id).is_some_and(|now| now.state.is_ended());
        if !is_over {
            self.0.store.put(job)?;
            known.insert(job.id.clone(), job.clone());
            let _ = self.0.news.send(job.clone());
        }
        Ok(!is_over)
    }

    /// Says a job's progress, which is not worth the disk's time.
    fn say(&self, job: &Job) {
        if let Some(now) = self.known().get_mut(&job.id).filter(|now| !now.state.is_ended()) {
            now.clone_from(job);
            let _ = self.0.news.send(job.clone());
        }
    }

    /// Forgets what ended long ago.
    fn sweep(&self) {
        let now = job::now_ms();
        let keep = self.0.terms.keep.as_millis() as u64;
        let over = |job: &Job| job.ended.is_some_and(|ended| ended.saturating_add(keep) <= now);
        for job in self.all().into_iter().filter(over) {
            if let Err(error) = self.forget(&job.id) {
                warn!(job = job.id, "{error}");
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Job>> {
        lock(&self.0.known)
    }
}

/// Nothing is left half done under our locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what no job knows: layouts that never came whole, folders of jobs that were being forgotten.
fn clean(data: &Path, known: &BTreeMap<String, Job>) {
    let name = |entry: &DirEntry| entry.file_name().to_string_lossy().into_owned();
    let entries = |name: &str| std::fs::read_dir(data.join(name)).into_iter().flatten().flatten();
    let strangers = entries("jobs").filter(|entry| !known.contains_key(&name(entry)));
    for entry in entries("uploads").chain(strangers) {
        let _ = std::fs::remove_dir_all(entry.path());
    }
}

/// Milliseconds since 1970.
fn ms(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests;
