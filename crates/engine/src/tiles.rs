//! Layouts of any size: one flow of tiles, whatever is computed of them.
//!
//! ```text
//! Library ─ windows that hold something ─► edges ─ SHA-256 ─► seen before? ─ no ─► crew of devices ─► journal
//!                                                      └─ yes ──────────────────────────────────────► │
//!                                                             tiles in order, on a thread of its own ◄┘
//! ```
//!
//! * A tile is a field of the optics; its core is what the halo leaves. Cores cover the layout without overlap.
//! * Tiles that hold nothing are not looked at ([`occupied`]).
//! * Equal targets have equal answers: one that was seen before, anywhere in the layout or in a run that was stopped, is not
//!   computed again. Answers wait in a file, the [`journal`], and not in memory.
//! * Whoever puts the answers together waits for them in the [`ledger`]. If anything fails or panics, all parts end.

pub(crate) mod drawing;
pub(crate) mod folder;
pub(crate) mod journal;
mod ledger;
pub(crate) mod occupied;
pub(crate) mod packed;
pub(crate) mod pixels;
pub(crate) mod scan;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::time::{Duration, Instant};

use lithoburn_pool::{Member, Terms, share};
use tracing::info_span;

use crate::EngineError;
use crate::event::{Event, Phase};
use folder::Folder;
use journal::{Journal, Key, Kind};
use ledger::Ledger;
use occupied::Occupied;
use scan::{Scan, Source, Tile};

/// The file that a run goes on from.
pub const JOURNAL: &str = "tiles.journal";
/// Answers that wait to be written at most.
const WAITING: usize = 256;
/// How often a waiting run looks whether to go on.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a device finds out about a target.
pub(crate) trait Answer: Send + 'static {
    /// The target.
    fn key(&self) -> &Key;

    /// As the journal keeps it.
    fn to_bytes(&self) -> Vec<u8>;
}

/// What the parts of a run share.
pub(crate) struct Flow<'a> {
    /// Where tiles come from.
    pub source: Source<'a>,
    /// Those that hold something.
    pub occupied: Occupied,
    /// Answers in the journal are of this kind.
    kind: Kind,
    journal: Journal,
    ledger: Ledger,
    /// Answers that a run before left.
    pub resumed: usize,
    /// Told to end early, by the user or by an error.
    ended: AtomicBool,
    /// Tiles that are put together.
    assembled: AtomicUsize,
    drawing_ns: AtomicU64,
}

/// How a run went.
pub(crate) struct Ran<B> {
    /// What was put together; none if the run was ended before.
    pub built: Option<B>,
    /// What the devices did.
    pub pool: lithoburn_pool::Report,
    /// Seconds in which devices computed, and in which tiles were drawn meanwhile.
    pub computing: f64,
    /// Seconds in which tiles were read and drawn.
    pub drawing: f64,
}

/// Ends all parts of a run when it goes out of scope, as it does in a panic: nobody waits for what will never come.
struct Ending<'a>(&'a Flow<'a>);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
        self.0.ledger.close();
    }
}

/// Tells all parts of a run to end if it goes out of scope in a panic.
struct EndsAtPanic<'a>(&'a Flow<'a>);

impl Drop for EndsAtPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end();
        }
    }
}

/// Gives answers that others found, by their targets; none if there are no more. It is told whether anybody still wants them, and does
/// not keep who asks waiting for longer than a second.
pub type Answers<'a> =
    dyn FnMut(&dyn Fn() -> bool) -> Result<Option<Vec<(Key, Vec<u8>)>>, EngineError> + 'a;

impl<'a> Flow<'a> {
    /// A run in a folder, which goes on from the journal there.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the journal is another run's, or cannot be written.
    pub(crate) fn open(
        source: Source<'a>,
        occupied: Occupied,
        folder: &Folder,
        kind: Kind,
        fingerprint: &Key,
    ) -> Result<Self, EngineError> {
        let journal = Journal::open(&folder.file(JOURNAL), fingerprint)?;
        Ok(Self {
            source,
            occupied,
            kind,
            resumed: journal.count(kind),
            journal,
            ledger: Ledger::default(),
            ended: AtomicBool::new(false),
            assembled: AtomicUsize::new(0),
            drawing_ns: AtomicU64::new(0),
        })
    }

    /// The answers so far.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The answers to some tiles' targets, as soon as they are there; none if the run ends before.
    pub(crate) fn take(&self, tiles: &[usize]) -> Option<Vec<Key>> {
        self.ledger.take(tiles, &|| self.is_ended())
    }

    /// What the journal holds of a target.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if it holds nothing, or not what was written.
    pub(crate) fn answer(&self, key: &Key) -> Result<Vec<u8>, EngineError> {
        let answer = self.journal().read(self.kind, key)?;
        answer.ok_or_else(|| EngineError::Setting("a tile's answer is not in the journal".into()))
    }

    /// Whether the answer to every tile is known.
    pub(crate) fn is_solved(&self) -> bool {
        self.ledger.ready() == self.occupied.len()
    }

    /// Whether the run was told to end.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    /// So many more tiles are put together.
    pub(crate) fn assembled(&self, tiles: usize) {
        self.assembled.fetch_add(tiles, Ordering::SeqCst);
    }

    fn drew(&self, took: Duration) {
        self.drawing_ns.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Has a crew compute what the journal does not know, while `build` puts answers together on a thread of its own. `watch` hears of
    /// the first phase while devices compute, and of the second after that.
    ///
    /// # Errors
    ///
    /// [`EngineError`]; answers are kept.
    ///
    /// # Panics
    ///
    /// If `watch`, `stop` or `build` does; all parts end first.
    pub(crate) fn run<R: Answer, B: Send>(
        &self,
        crew: Vec<Member<Tile, R>>,
        build: impl FnOnce() -> Result<Option<B>, EngineError> + Send,
        phases: [Phase; 2],
        stop: &(dyn Fn() -> bool + Sync),
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Ran<B>, EngineError> {
        let solve = |watch: &mut dyn FnMut(Event) -> bool| self.solve(crew, phases[0], stop, watch);
        self.drive(solve, build, phases[1], stop, watch)
    }

    /// As [`Flow::run`], whoever finds the answers: `solve` leaves them in the journal.
    ///
    /// # Errors
    ///
    /// As [`Flow::run`].
    ///
    /// # Panics
    ///
    /// As [`Flow::run`].
    pub(crate) fn drive<B: Send>(
        &self,
        solve: impl FnOnce(&mut dyn FnMut(Event) -> bool) -> Result<lithoburn_pool::Report, EngineError>,
        build: impl FnOnce() -> Result<Option<B>, EngineError> + Send,
        phase: Phase,
        stop: &(dyn Fn() -> bool + Sync),
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Ran<B>, EngineError> {
        let start = Instant::now();
        let (solved, built, computing) = std::thread::scope(|scope| {
            let ending = Ending(self);
            let (word, end) = channel::<()>();
            let building = scope.spawn(move || {
                // Dropped last: it tells that all is built.
                let _word = word;
                let _ending = Ending(self);
                build()
            });
            let solved = solve(watch);
            let computing = start.elapsed().as_secs_f64();
            if solved.is_err() {
                self.end();
            }
            while end.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                let done = self.assembled.load(Ordering::SeqCst);
                if stop() || !watch(Event::new(phase, done, self.occupied.len())) {
                    self.end();
                }
            }
            drop(ending);
            // A panic of the builder is a bug of ours, and goes on as one.
            let built = building.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (solved, built, computing)
        });
        // Of two errors the builder's is the cause: it ends the run, which the pool then calls stopped.
        let (built, pool) = (built?, solved?);
        let drawing = self.drawing_ns.load(Ordering::Relaxed) as f64 * 1e-9;
        Ok(Ran { built, pool, computing, drawing })
    }

    /// Has the devices find every answer that the journal does not know.
    fn solve<R: Answer>(
        &self,
        crew: Vec<Member<Tile, R>>,
        phase: Phase,
        stop: &(dyn Fn() -> bool + Sync),
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<lithoburn_pool::Report, EngineError> {
        let say = |watch: &mut dyn FnMut(Event) -> bool| {
            if !watch(Event::new(phase, self.ledger.ready(), self.occupied.len())) {
                self.end();
            }
        };
        say(watch);
        let batches: usize = crew.iter().map(|member| member.batch).sum();
        let terms = Terms { ahead: (2 * batches).max(4), ..Terms::default() };
        let ended = || stop() || self.is_ended();
        let scan = Scan::new(self)?;
        let (shared, written) = std::thread::scope(|scope| {
            let (records, mail) = sync_channel(WAITING);
            let writing = scope.spawn(move || self.write(mail));
            let shared = share(crew, scan, &terms, &ended, &mut |_, answer: R| {
                let sent = records.send((*answer.key(), answer.to_bytes()));
                say(watch);
                // The writer's own error tells why it takes no more.
                sent.map_err(|_| EngineError::Setting("the journal takes no more answers".into()))
            });
            drop(records);
            // A panic of the writer is a bug of ours, and goes on as one.
            (shared, writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        written?;
        let report = shared?;
        say(watch);
        self.ledger.close();
        if report.stopped {
            self.end();
        }
        Ok(report)
    }

    /// Takes answers that others found, as they come, while the tiles' targets are looked up.
    ///
    /// # Errors
    ///
    /// [`EngineError`] of whoever gives them or of the journal; [`EngineError::Setting`] if some tiles have none in the end.
    pub(crate) fn gather(
        &self,
        answers: &mut Answers<'_>,
        phase: Phase,
        stop: &(dyn Fn() -> bool + Sync),
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<(), EngineError> {
        let scan = Scan::new(self)?;
        std::thread::scope(|scope| {
            let _ending = EndsAtPanic(self);
            let looking = scope.spawn(|| self.look_up(scan));
            let taken = self.take_all(answers, phase, stop, watch).inspect_err(|_| self.end());
            // A panic of the scan is a bug of ours, and goes on as one.
            let looked = looking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            taken.and(looked)
        })?;
        // Who puts tiles together may end the flow as soon as the ledger is closed and some are missing.
        let is_ended = self.is_ended();
        self.ledger.close();
        match self.occupied.len() - self.ledger.ready() {
            missing if missing > 0 && !is_ended => Err(EngineError::Setting(format!(
                "{missing} of {} tiles have no answer: these are answers of another layout",
                self.occupied.len()
            ))),
            _ => Ok(()),
        }
    }

    /// Notes every tile's target.
    fn look_up(&self, scan: Scan<'_>) -> Result<(), EngineError> {
        for tile in scan {
            tile.inspect_err(|_| self.end())?;
            if self.is_ended() {
                break;
            }
        }
        Ok(())
    }

    fn take_all(
        &self,
        answers: &mut Answers<'_>,
        phase: Phase,
        stop: &(dyn Fn() -> bool + Sync),
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<(), EngineError> {
        loop {
            if stop() || !watch(Event::new(phase, self.ledger.ready(), self.occupied.len())) {
                self.end();
            }
            if self.is_ended() {
                return Ok(());
            }
            let Some(some) = answers(&|| stop() || self.is_ended())? else { return Ok(()) };
            for (key, bytes) in some {
                self.journal.append(self.kind, &key, &bytes)?;
                self.ledger.solved(&key);
            }
        }
    }

    /// Writes answers into the journal as they come, on a thread of its own: neither devices nor who shares out their tiles waits for
    /// a disk, unless it falls far behind.
    fn write(&self, answers: Receiver<(Key, Vec<u8>)>) -> Result<(), EngineError> {
        for (key, bytes) in answers {
            let written = info_span!("journal")
                .in_scope(|| self.journal.append(self.kind, &key, &bytes))
                .inspect_err(|_| self.end());
            written?;
            self.ledger.solved(&key);
        }
        Ok(())
    }

    /// The run's work is written: its journal goes.
    ///
    /// # Errors
    ///
    /// [`EngineError::Layout`] if it cannot be deleted.
    pub(crate) fn finish(self) -> Result<(), EngineError> {
        Ok(self.journal.remove()?)
    }

    /// The error of a run that was ended.
    pub(crate) fn interrupted(&self, folder: &Folder) -> EngineError {
        let (done, total) = (self.ledger.ready(), self.occupied.len());
        EngineError::Stopped(format!(
            "{done} of {total} tiles are done and kept in {}: the same command goes on from there",
            folder.file(JOURNAL).display()
        ))
    }
}

#[cfg(test)]
mod tests;
