//! Devices that compute shares: a stream of lists of tiles in, the cores of each list out as soon as it is whole.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lithoburn_pool::{Crew, PoolError, Terms};
use rayon::prelude::*;

use super::cores::packed;
use crate::EngineError;
use crate::chip::Chip;
use crate::chip::solve::{self, Solved};
use crate::threads::{Threads, threads};
use crate::tiles::Answer;
use crate::tiles::journal::Key;
use crate::tiles::scan::{Source, Tile};

/// Why shares were not all computed.
#[derive(Debug, thiserror::Error)]
pub enum Unsolved<E> {
    /// A share cannot be computed, here or anywhere; the ones that were drawn with it were not all.
    #[error("share {share}: {reason}")]
    Share {
        /// The share, counted from 0 in the order in which they were drawn.
        share: usize,
        /// Why.
        reason: String,
    },
    /// The devices compute nothing any more.
    #[error(transparent)]
    Devices(EngineError),
    /// What took the shares said no.
    #[error("{0}")]
    Taken(E),
}

/// A crew at work on shares.
pub struct Solver<'a> {
    source: Source<'a>,
    crew: Crew<Tile, Solved>,
    terms: Terms,
    threads: Threads,
    /// Members whose device is no CPU.
    cards: usize,
}

/// Which share a task belongs to, and what is known of those that are not whole.
#[derive(Default)]
struct Book {
    /// The first task of each share, and its share.
    starts: BTreeMap<usize, usize>,
    tasks: usize,
    shares: usize,
    open: BTreeMap<usize, Open>,
}

/// A share that is not whole.
struct Open {
    missing: usize,
    /// By the tasks' order, so that a share's bytes are the same whoever computes it.
    cores: BTreeMap<usize, (Key, Vec<u8>)>,
}

impl Book {
    /// A share of so many tasks begins.
    fn begin(&mut self, tasks: usize) -> usize {
        let share = self.shares;
        self.starts.insert(self.tasks, share);
        self.open.insert(share, Open { missing: tasks, cores: BTreeMap::new() });
        (self.tasks, self.shares) = (self.tasks + tasks, share + 1);
        share
    }

    fn share_of(&self, task: usize) -> usize {
        self.starts.range(..=task).next_back().map_or(0, |(_, share)| *share)
    }

    /// A task's core; its share's bytes if that was the last one.
    fn solved(&mut self, task: usize, key: Key, core: Vec<u8>) -> Option<(usize, Vec<u8>)> {
        let share = self.share_of(task);
        let open = self.open.get_mut(&share)?;
        open.cores.insert(task, (key, core));
        open.missing = open.missing.saturating_sub(1);
        if open.missing > 0 {
            return None;
        }
        let open = self.open.remove(&share)?;
        Some((share, packed(open.cores.values().map(|(key, core)| (key, &core[..])))))
    }
}

fn locked(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    // Each change is whole before anything can panic.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Solver<'a> {
    pub(super) fn new(chip: &Chip<'a>) -> Result<Self, EngineError> {
        let members = solve::crew(chip);
        let cards = members.iter().filter(|member| member.name != "cpu").count();
        // One batch more than each device has at its side: what is drawn here is another machine's no more.
        let batches: usize = members.iter().map(|member| member.batch).sum();
        let terms = Terms { ahead: batches.max(4), ..Terms::default() };
        let crew = Crew::open(members).map_err(|e| EngineError::Pool(e.to_string()))?;
        Ok(Self { source: super::source(chip), crew, terms, threads: threads("scan", 4)?, cards })
    }

    /// Has each card compute a tile whose core nobody takes, so that what is loaded and compiled with the first one is there before a
    /// share is drawn: what this machine has drawn, no other one computes meanwhile. A CPU compiles nothing, and computes nothing here.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if no card can.
    pub fn warm_up(
        &mut self,
        tile: u64,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), EngineError> {
        let source = &self.source;
        let tiles = std::iter::repeat_n(tile as usize, self.cards).map(|tile| source.tile(tile));
        match self.crew.share(tiles, &self.terms, stop, &mut |_, _| Ok(())) {
            // A tile that cannot be computed is its share's affair.
            Ok(_) | Err(PoolError::Tasks(_) | PoolError::Task { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Computes shares: a list of tiles each, drawn while earlier ones are computed. `done` takes the bytes of each with its number, counted
    /// from 0, as soon as it is whole; the same list always gives the same bytes.
    ///
    /// # Errors
    ///
    /// [`Unsolved`]; shares that were not handed out by then were not computed.
    pub fn solve<E: Send>(
        &mut self,
        shares: &mut (dyn Iterator<Item = Vec<u64>> + Send),
        stop: &(dyn Fn() -> bool + Sync),
        done: &mut dyn FnMut(usize, Vec<u8>) -> Result<(), E>,
    ) -> Result<(), Unsolved<E>> {
        let book = Mutex::new(Book::default());
        let (source, threads) = (&self.source, &self.threads);
        let mut tasks = Tasks { source, threads, book: &book, shares, made: VecDeque::new() };
        let tasks = std::iter::from_fn(|| tasks.next());
        let mut sink = |task: usize, solved: Solved| {
            let whole = locked(&book).solved(task, *solved.key(), solved.to_bytes());
            match whole {
                Some((share, bytes)) => done(share, bytes).map_err(Unsolved::Taken),
                None => Ok(()),
            }
        };
        match self.crew.share(tasks, &self.terms, stop, &mut sink) {
            Ok(_) => Ok(()),
            Err(PoolError::Tasks(error) | PoolError::Sink(error)) => Err(error),
            Err(PoolError::Task { task, reason, .. }) => {
                Err(Unsolved::Share { share: locked(&book).share_of(task), reason })
            }
            Err(PoolError::Dead { reasons, report }) => {
                let dead = PoolError::<EngineError>::Dead { reasons, report };
                Err(Unsolved::Devices(dead.into()))
            }
            Err(PoolError::Crew(error)) => {
                Err(Unsolved::Devices(EngineError::Pool(error.to_string())))
            }
        }
    }
}

/// Tiles of shares as tasks.
struct Tasks<'s> {
    source: &'s Source<'s>,
    threads: &'s Threads,
    book: &'s Mutex<Book>,
    shares: &'s mut (dyn Iterator<Item = Vec<u64>> + Send),
    made: VecDeque<Tile>,
}

impl<'s> Tasks<'s> {
    /// Makes the next share's tasks; false if there is none.
    fn make<E>(&mut self) -> Result<bool, Unsolved<E>> {
        let Some(tiles) = self.shares.next() else { return Ok(false) };
        let share = locked(self.book).begin(tiles.len());
        let tile = |&tile: &u64| self.source.tile(tile as usize);
        let made: Result<Vec<Tile>, EngineError> =
            self.threads.install(|| tiles.par_iter().map(tile).collect());
        let made = made.map_err(|e| Unsolved::Share { share, reason: e.to_string() })?;
        self.made.extend(made);
        Ok(true)
    }

    fn next<E>(&mut self) -> Option<Result<Tile, Unsolved<E>>> {
        while self.made.is_empty() {
            match self.make() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        self.made.pop_front().map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_whole_with_its_last_core_and_its_bytes_are_in_its_tasks_order() {
        let mut book = Book::default();
        assert_eq!((book.begin(2), book.begin(3)), (0, 1));
        let core = |i: u8| ([i; 32], vec![i]);
        let mut solved = |task: usize| {
            let (key, bytes) = core(task as u8);
            book.solved(task, key, bytes)
        };
        assert_eq!((solved(4), solved(1), solved(2)), (None, None, None));
        let bytes = |tasks: &[u8]| {
            let cores: Vec<_> = tasks.iter().map(|&i| core(i)).collect();
            packed(cores.iter().map(|(key, core)| (key, &core[..])))
        };
        assert_eq!(solved(3), Some((1, bytes(&[2, 3, 4]))));
        assert_eq!(solved(0), Some((0, bytes(&[0, 1]))));
        assert!(book.open.is_empty());
    }
}
