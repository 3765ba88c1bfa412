//! Ranks on threads of their own, that all work on the same item.
//!
//! What a pipeline's stages do one after the other, ranks do at once: each has a part of the weights or of the image, and they
//! exchange what the others need (see [`crate::collective`]). A rank's thread lives as long as the team.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{PipelineError, caught};
use crate::rendezvous::Rendezvous;
use crate::thread::{Make, Patience, Silence, started};

/// How long the others may take once a rank failed. One that waits for it inside a driver cannot be called back: NCCL's kernels wait
/// for all cards.
const GRACE: Duration = Duration::from_secs(30);

type Answer<B> = (Result<B, PipelineError>, f64);

/// Ranks, each on its thread.
#[derive(Debug)]
pub struct Team<A, B> {
    names: Vec<String>,
    /// Held while the ranks work: one item at a time.
    lines: Mutex<Lines<A, B>>,
    threads: Vec<JoinHandle<()>>,
    patience: Patience,
    grace: Patience,
}

struct Lines<A, B> {
    orders: Vec<Sender<A>>,
    answers: Receiver<(usize, Answer<B>)>,
    /// How often the ranks met, a sign of life.
    meetings: Box<dyn Fn() -> u64 + Send>,
    /// The failure that ended it.
    ended: Option<String>,
    /// Whether a thread cannot be joined.
    hung: bool,
}

impl<A, B> std::fmt::Debug for Lines<A, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl<A: Send + 'static, B: Send + 'static> Team<A, B> {
    /// Makes the ranks, all at once. The rendezvous is broken when one of them fails, so that the others do not wait for it.
    ///
    /// # Errors
    ///
    /// That of the first rank that could not be made; [`PipelineError::Hung`] if one is not made in half an hour.
    pub fn new<G: Send + Sync + 'static>(
        ranks: Vec<(String, Make<A, B>)>,
        meeting: &Rendezvous<G>,
    ) -> Result<Self, PipelineError> {
        let patience = Patience::default();
        let grace = Patience { longest: GRACE, ..patience.clone() };
        Self::with_patience(ranks, meeting, patience, grace)
    }

    fn with_patience<G: Send + Sync + 'static>(
        ranks: Vec<(String, Make<A, B>)>,
        meeting: &Rendezvous<G>,
        patience: Patience,
        grace: Patience,
    ) -> Result<Self, PipelineError> {
        let (answer, answers) = channel();
        let (mut names, mut orders) = (Vec::new(), Vec::new());
        let (mut threads, mut made) = (Vec::new(), Vec::new());
        for (index, (name, make)) in ranks.into_iter().enumerate() {
            let (order, inbox) = channel();
            let (report, ready) = channel();
            let place = RankThread { index, name: name.clone(), inbox, answers: answer.clone() };
            let meeting = meeting.clone();
            let attend = move || place.attend(make, &report, &meeting);
            threads.push(started(&format!("rank-{index}"), attend)?);
            names.push(name);
            orders.push(order);
            made.push(ready);
        }
        let met = meeting.clone();
        let meetings = Box::new(move || met.number());
        let lines = Mutex::new(Lines { orders, answers, meetings, ended: None, hung: false });
        let mut team = Self { names, lines, threads, patience, grace };
        team.await_ranks(&made).inspect_err(|error| meeting.fail(&error.to_string()))?;
        Ok(team)
    }

    /// Waits until all ranks are made.
    fn await_ranks(
        &mut self,
        made: &[Receiver<Result<(), PipelineError>>],
    ) -> Result<(), PipelineError> {
        for (answer, name) in made.iter().zip(&self.names) {
            match self.patience.wait(answer, || 0) {
                Ok(answer) => answer?,
                Err(Silence::Gone) => return Err(gone()),
                Err(Silence::Hangs) => {
                    self.lines.get_mut().unwrap_or_else(PoisonError::into_inner).hung = true;
                    let seconds = self.patience.longest.as_secs_f64();
                    let text = format!("{name}: it was not made in {seconds:.0} s");
                    return Err(PipelineError::Hung(text));
                }
            }
        }
        Ok(())
    }

    /// Number of ranks.
    pub fn ranks(&self) -> usize {
        self.threads.len()
    }

    /// Gives each rank its order and waits for all answers; with each comes the seconds that the rank took.
    ///
    /// # Errors
    ///
    /// That of the rank that failed first, or [`PipelineError::Hung`] if there was no sign of life in half an hour. The exchange among
    /// ranks is broken by it, so every further call is [`PipelineError::Ended`]. Ranks that do not answer are left behind.
    pub fn call(&self, orders: Vec<A>) -> Result<Vec<(B, f64)>, PipelineError> {
        let mut lines =
            self.lines.lock().map_err(|_| PipelineError::Ended("a call panicked".into()))?;
        if let Some(reason) = &lines.ended {
            return Err(PipelineError::Ended(reason.clone()));
        }
        for (line, order) in lines.orders.iter().zip(orders) {
            line.send(order).map_err(|_| gone())?;
        }
        let answers = self.answers(&lines);
        lines.hung = answers.iter().any(Option::is_none);
        let found = self.verdict(answers);
        lines.ended = found.as_ref().err().map(ToString::to_string);
        found
    }

    /// The ranks' answers, as far as they come.
    fn answers(&self, lines: &Lines<A, B>) -> Vec<Option<Answer<B>>> {
        let mut answers: Vec<Option<Answer<B>>> = self.names.iter().map(|_| None).collect();
        let mut failed = false;
        while answers.iter().any(Option::is_none) {
            let patience = if failed { &self.grace } else { &self.patience };
            let Ok((rank, answer)) = patience.wait(&lines.answers, &lines.meetings) else { break };
            failed |= answer.0.is_err();
            answers[rank] = Some(answer);
        }
        answers
    }

    /// All results, or the cause of the failure, with who is left behind.
    fn verdict(&self, answers: Vec<Option<Answer<B>>>) -> Result<Vec<(B, f64)>, PipelineError> {
        let (mut results, mut failed, mut silent) = (Vec::new(), None, Vec::new());
        for (answer, name) in answers.into_iter().zip(&self.names) {
            match (answer, &failed) {
                (Some((Ok(value), seconds)), _) => results.push((value, seconds)),
                // Those that waited for another one say so; the cause says more.
                (Some((Err(error), _)), None | Some(PipelineError::Ended(_))) => {
                    failed = Some(error);
                }
                (Some(_), Some(_)) => {}
                (None, _) => silent.push(name.as_str()),
            }
        }
        let silent = silent.join(", ");
        let seconds = |patience: &Patience| patience.longest.as_secs_f64();
        match failed {
            None if silent.is_empty() => Ok(results),
            Some(error) if silent.is_empty() => Err(error),
            None => {
                let seconds = seconds(&self.patience);
                Err(PipelineError::Hung(format!("{silent}: no sign of life for {seconds:.0} s")))
            }
            // Nobody failed, but one did not come.
            Some(PipelineError::Ended(reason)) => {
                Err(PipelineError::Hung(format!("{silent} gave no answer: {reason}")))
            }
            Some(error) => Err(error.reworded(|text| {
                let seconds = seconds(&self.grace);
                format!("{text}; {silent} gave no answer for {seconds:.0} s after that")
            })),
        }
    }
}

fn gone() -> PipelineError {
    PipelineError::Ended("a rank's thread is gone".into())
}

/// Where a rank's thread stands.
struct RankThread<A, B> {
    index: usize,
    name: String,
    inbox: Receiver<A>,
    answers: Sender<(usize, Answer<B>)>,
}

impl<A, B> RankThread<A, B> {
    fn attend<G>(
        self,
        make: Make<A, B>,
        made: &Sender<Result<(), PipelineError>>,
        meeting: &Rendezvous<G>,
    ) {
        let mut work = match caught(make) {
            Ok(work) => work,
            Err(error) => {
                let error = error.of(&self.name);
                meeting.fail(&error.to_string());
                return drop(made.send(Err(error)));
            }
        };
        drop(made.send(Ok(())));
        while let Ok(order) = self.inbox.recv() {
            let start = Instant::now();
            let result = caught(|| work(order)).map_err(|error| error.of(&self.name));
            if let Err(error) = &result {
                meeting.fail(&error.to_string());
            }
            let answer = (result, start.elapsed().as_secs_f64());
            if self.answers.send((self.index, answer)).is_err() {
                return;
            }
        }
    }
}

impl<A, B> Drop for Team<A, B> {
    fn drop(&mut self) {
        // After a call that panicked the lock is poisoned, and the lines are whole.
        let lines = self.lines.get_mut().unwrap_or_else(PoisonError::into_inner);
        lines.orders.clear();
        let patience = if lines.hung { self.patience.none() } else { self.patience.clone() };
        patience.join(self.threads.drain(..));
    }
}

#[cfg(test)]
mod cards;
#[cfg(test)]
mod tests;
