//! Who waits for an answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::oneshot;

use super::call::{Answered, Receipt};
use super::queue::Turn;
use super::refusal::Refusal;
use super::shared::Shared;

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
