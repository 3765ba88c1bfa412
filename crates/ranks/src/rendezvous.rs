//! Where ranks meet: each lays down something for all, and goes on when all have.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lithoburn_pool::clock::Clock;

use crate::error::PipelineError;
use crate::thread::PATIENCE;

/// How often the clock is looked at by who waits.
const TICK: Duration = Duration::from_millis(500);

/// A place where ranks meet and lay down something for all. Clones are the same place.
#[derive(Debug)]
pub struct Rendezvous<G>(Arc<Venue<G>>);

impl<G> Clone for Rendezvous<G> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Venue<G> {
    meeting: Mutex<Meeting<G>>,
    bell: Condvar,
}

#[derive(Debug)]
struct Meeting<G> {
    number: u64,
    gifts: Vec<Option<G>>,
    /// Those of the last meeting.
    met: Arc<Vec<G>>,
    broken: Option<String>,
}

impl<G> Rendezvous<G> {
    /// One for so many ranks.
    pub fn new(ranks: usize) -> Self {
        let gifts = (0..ranks).map(|_| None).collect();
        let meeting = Meeting { number: 0, gifts, met: Arc::new(Vec::new()), broken: None };
        Self(Arc::new(Venue { meeting: Mutex::new(meeting), bell: Condvar::new() }))
    }

    /// Lays down a gift, waits until all ranks have, and takes all of them, by rank.
    ///
    /// # Errors
    ///
    /// [`PipelineError::Ended`] if a rank failed, or did not come in half an hour.
    pub fn meet(&self, rank: usize, gift: G) -> Result<Arc<Vec<G>>, PipelineError> {
        let mut meeting = self.lock();
        if let Some(reason) = &meeting.broken {
            return Err(PipelineError::Ended(reason.clone()));
        }
        meeting.gifts[rank] = Some(gift);
        if meeting.gifts.iter().all(Option::is_some) {
            let gifts = meeting.gifts.iter_mut().filter_map(Option::take).collect();
            meeting.met = Arc::new(gifts);
            meeting.number += 1;
            self.0.bell.notify_all();
            return Ok(Arc::clone(&meeting.met));
        }
        // The next meeting needs this rank, so `met` is this one's until it has been taken.
        let (number, clock) = (meeting.number, Clock::of_process());
        let start = clock.now();
        while meeting.number == number {
            if clock.since(start) > PATIENCE {
                meeting.broken.get_or_insert_with(|| "a rank did not come".into());
                self.0.bell.notify_all();
            }
            if let Some(reason) = &meeting.broken {
                return Err(PipelineError::Ended(reason.clone()));
            }
            let woken = self.0.bell.wait_timeout(meeting, TICK);
            meeting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(Arc::clone(&meeting.met))
    }

    /// Meetings so far.
    pub(crate) fn number(&self) -> u64 {
        self.lock().number
    }

    /// Breaks it: whoever waits, or comes later, gets an error.
    pub fn fail(&self, reason: &str) {
        self.lock().broken.get_or_insert_with(|| reason.into());
        self.0.bell.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Meeting<G>> {
        self.0.meeting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
