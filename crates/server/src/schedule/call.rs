//! A request inside the scheduler.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::catalog::Entry;
use super::queue::Kindred;
use super::refusal::Refusal;
use super::stages::Stages;
use crate::model::{Answer, Request};

/// How urgent a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Urgency {
    /// 0 is served first.
    pub priority: u32,
    /// How long it may wait for a device; without one, as long as it takes.
    pub timeout: Option<Duration>,
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
    pub answer: oneshot::Receiver<Result<Answered, Refusal>>,
    pub gone: Arc<AtomicBool>,
}
