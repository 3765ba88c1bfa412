//! A request inside the scheduler, and the ticket of who waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::catalog::Entry;
use super::queue::{Kindred, Turn};
use super::refusal::Refusal;
use super::scheduler::Shared;
use crate::model::{Answer, Request};

/// How urgent a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Urgency {
    /// 0 is served first.
    pub priority: u32,
    /// How long it may wait for a device; without one, as long as it takes.
    pub timeout: Option<Duration>,
}

/// Where a request's time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// Waiting for a device.
    pub queue: Duration,
    /// Laying its batch out.
    pub input: Duration,
    /// Computing its batch.
    pub infer: Duration,
    /// Bringing its batch back.
    pub output: Duration,
}

impl Stages {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.queue + self.input + self.infer + self.output
    }
}

/// What a request got.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Its tensors.
    pub outputs: Answer,
    /// Where its time went.
    pub stages: Stages,
    /// The device that computed it.
    pub device: Arc<str>,
    /// Items of the batch that it was in.
    pub batch: usize,
    /// The version that computed it.
    pub version: u64,
}

/// The way back to who waits.
type Reply = oneshot::Sender<Result<Answered, Refusal>>;

/// A request inside the scheduler.
pub(crate) struct Call {
    /// Of which model.
    pub entry: Arc<Entry>,
    /// What is asked.
    pub request: Arc<Request>,
    /// When it came.
    pub came: Instant,
    /// Whether its client hung up.
    pub gone: Arc<AtomicBool>,
    reply: Mutex<Option<Reply>>,
}

impl Kindred for Arc<Call> {
    fn kindred(&self, other: &Self) -> bool {
        let batched = self.entry.model.signature().batched();
        self.entry.id == other.entry.id && self.request.fits_with(&other.request, batched)
    }

    fn model(&self) -> u64 {
        self.entry.id
    }
}

impl Call {
    pub(crate) fn new(entry: Arc<Entry>, request: Request) -> (Arc<Self>, Receipt) {
        let (reply, answer) = oneshot::channel();
        let (request, gone) = (Arc::new(request), Arc::new(AtomicBool::new(false)));
        let reply = Mutex::new(Some(reply));
        let call = Self { entry, request, came: Instant::now(), gone: gone.clone(), reply };
        (Arc::new(call), Receipt { answer, gone })
    }

    /// Answers it. A client that is gone, or was answered, gets nothing.
    pub(crate) fn answer(&self, answered: Answered) {
        let reply = self.reply.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(reply) = reply.filter(|reply| !reply.is_closed()) else {
            return self.count(&Refusal::Canceled);
        };
        // Counted first, so that a client who asks after its answer finds it counted.
        self.entry.count(|counts| counts.answered(&answered.stages));
        // A client may hang up at this moment.
        let _ = reply.send(Ok(answered));
    }

    /// Refuses it.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        let refusal = match refusal {
            Refusal::NoDevice(_) => Refusal::NoDevice(self.entry.name().into()),
            other => other,
        };
        self.count(&refusal);
        if let Some(reply) = self.reply.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A client that is gone is not told.
            let _ = reply.send(Err(refusal));
        }
    }

    fn count(&self, refusal: &Refusal) {
        self.entry.count(|counts| counts.refused(refusal.reason(), self.came.elapsed()));
    }
}

/// The waiting side of a call that is not in the queue yet.
pub(crate) struct Receipt {
    answer: oneshot::Receiver<Result<Answered, Refusal>>,
    gone: Arc<AtomicBool>,
}

/// Who waits for an answer. Dropped, it withdraws the request.
pub struct Ticket {
    receipt: Receipt,
    turn: Turn,
    deadline: Option<Instant>,
    shared: Arc<Shared>,
    settled: bool,
}

impl Ticket {
    pub(crate) fn new(
        receipt: Receipt,
        turn: Turn,
        deadline: Option<Instant>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { receipt, turn, deadline, shared, settled: false }
    }

    /// Waits for the answer. It may be dropped while it waits, which withdraws the request.
    ///
    /// # Errors
    ///
    /// Why there is none.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, if the request has a deadline.
    pub async fn answer(mut self) -> Result<Answered, Refusal> {
        if let Some(deadline) = self.deadline.take() {
            tokio::select! {
                answer = &mut self.receipt.answer => return self.settle(answer),
                () = tokio::time::sleep_until(deadline.into()) => {
                    if let Some(job) = self.shared.hub.withdraw(self.turn) {
                        job.what.refuse(Refusal::Deadline);
                    }
                }
            }
        }
        // It is computed, or was just refused.
        let answer = (&mut self.receipt.answer).await;
        self.settle(answer)
    }

    fn settle(
        &mut self,
        answer: Result<Result<Answered, Refusal>, oneshot::error::RecvError>,
    ) -> Result<Answered, Refusal> {
        self.settled = true;
        // A call is dropped unanswered only with its scheduler.
        answer.unwrap_or(Err(Refusal::Stopping))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.receipt.gone.store(true, Ordering::Relaxed);
        if let Some(job) = self.shared.hub.withdraw(self.turn) {
            job.what.refuse(Refusal::Canceled);
        }
    }
}
