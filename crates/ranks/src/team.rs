//! Ranks on threads of their own, that all work on the same item.
//!
//! What a pipeline's stages do one after the other, ranks do at once: each has a part of the weights or of the image, and they
//! exchange what the others need (see [`crate::collective`]). A rank's thread lives as long as the team.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::error::{PipelineError, caught};
use crate::rendezvous::Rendezvous;
use crate::thread::{Make, started};

type Answer<B> = (Result<B, PipelineError>, f64);

/// Ranks, each on its thread.
#[derive(Debug)]
pub struct Team<A, B> {
    /// Held while the ranks work: one item at a time.
    lines: Mutex<Lines<A, B>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Lines<A, B> {
    ranks: Vec<(Sender<A>, Receiver<Answer<B>>)>,
    /// The failure that ended it.
    ended: Option<String>,
}

impl<A: Send + 'static, B: Send + 'static> Team<A, B> {
    /// Makes the ranks, all at once. The rendezvous is broken when one of them fails, so that the others do not wait for it.
    ///
    /// # Errors
    ///
    /// That of the first rank that could not be made.
    pub fn new<G: Send + Sync + 'static>(
        ranks: Vec<(String, Make<A, B>)>,
        meeting: &Rendezvous<G>,
    ) -> Result<Self, PipelineError> {
        let (mut lines, mut threads, mut made) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (name, make)) in ranks.into_iter().enumerate() {
            let (order, orders) = channel();
            let (answer, answers) = channel();
            let (report, ready) = channel();
            let meeting = meeting.clone();
            let attend = move || attend(&name, make, &orders, &answer, &report, &meeting);
            threads.push(started(&format!("rank-{index}"), attend)?);
            lines.push((order, answers));
            made.push(ready);
        }
        let team = Self { lines: Mutex::new(Lines { ranks: lines, ended: None }), threads };
        for ready in made {
            let gone = |_| Err(PipelineError::Ended("a rank's thread is gone".into()));
            ready.recv().unwrap_or_else(gone)?;
        }
        Ok(team)
    }

    /// Number of ranks.
    pub fn ranks(&self) -> usize {
        self.threads.len()
    }

    /// Gives each rank its order and waits for all answers; with each comes the seconds that the rank took.
    ///
    /// # Errors
    ///
    /// That of the rank that failed first. The exchange among ranks is broken by it, so every further call is
    /// [`PipelineError::Ended`].
    pub fn call(&self, orders: Vec<A>) -> Result<Vec<(B, f64)>, PipelineError> {
        let mut lines =
            self.lines.lock().map_err(|_| PipelineError::Ended("a call panicked".into()))?;
        if let Some(reason) = &lines.ended {
            return Err(PipelineError::Ended(reason.clone()));
        }
        let gone = || PipelineError::Ended("a rank's thread is gone".into());
        for ((line, _), order) in lines.ranks.iter().zip(orders) {
            line.send(order).map_err(|_| gone())?;
        }
        let answers: Vec<Answer<B>> = lines
            .ranks
            .iter()
            .map(|(_, answers)| answers.recv().unwrap_or_else(|_| (Err(gone()), 0.0)))
            .collect();
        let (mut results, mut failed) = (Vec::new(), None);
        for (answer, seconds) in answers {
            match answer {
                Ok(value) => results.push((value, seconds)),
                // Those that waited for another one say so; the cause says more.
                Err(error) => match &failed {
                    None | Some(PipelineError::Ended(_)) => failed = Some(error),
                    Some(_) => {}
                },
            }
        }
        let Some(error) = failed else { return Ok(results) };
        lines.ended = Some(error.to_string());
        Err(error)
    }
}

/// A rank's thread.
fn attend<A, B, G>(
    name: &str,
    make: Make<A, B>,
    orders: &Receiver<A>,
    answers: &Sender<Answer<B>>,
    made: &Sender<Result<(), PipelineError>>,
    meeting: &Rendezvous<G>,
) {
    let mut work = match caught(make) {
        Ok(work) => work,
        Err(error) => {
            let error = error.of(name);
            meeting.fail(&error.to_string());
            return drop(made.send(Err(error)));
        }
    };
    drop(made.send(Ok(())));
    while let Ok(order) = orders.recv() {
        let start = Instant::now();
        let result = caught(|| work(order)).map_err(|error| error.of(name));
        if let Err(error) = &result {
            meeting.fail(&error.to_string());
        }
        if answers.send((result, start.elapsed().as_secs_f64())).is_err() {
            return;
        }
    }
}

impl<A, B> Drop for Team<A, B> {
    fn drop(&mut self) {
        if let Ok(lines) = self.lines.get_mut() {
            lines.ranks.clear();
        }
        for thread in self.threads.drain(..) {
            // It catches its panics, so there is nothing to learn here.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread::ready;

    fn team(count: usize, weak: Option<usize>) -> Team<u64, u64> {
        let meeting = Rendezvous::new(count);
        let rank = |rank: usize| -> Make<u64, u64> {
            let meeting = meeting.clone();
            ready(move |x: u64| {
                if weak == Some(rank) && x == 7 {
                    panic!("rank {rank} trips");
                }
                let all = meeting.meet(rank, x)?;
                Ok(all.iter().sum())
            })
        };
        let ranks = (0..count).map(|i| (format!("rank {i}"), rank(i))).collect();
        Team::new(ranks, &meeting).expect("starts")
    }

    #[test]
    fn ranks_meet_and_learn_what_the_others_have() {
        let team = team(4, None);
        for round in 0..50 {
            let found = team.call((0..4).map(|i| i + round).collect()).expect("runs");
            assert!(found.iter().all(|(sum, _)| *sum == 6 + 4 * round), "{found:?}");
        }
    }

    #[test]
    fn a_rank_that_panics_ends_the_team_and_nobody_waits() {
        let team = team(4, Some(2));
        assert!(team.call(vec![1; 4]).is_ok());
        let error = team.call(vec![7; 4]).expect_err("rank 2 trips");
        assert_eq!(error, PipelineError::Panicked("rank 2: panicked: rank 2 trips".into()));
        assert!(matches!(team.call(vec![1; 4]), Err(PipelineError::Ended(_))));
    }

    #[test]
    fn a_rank_that_cannot_be_made_is_named() {
        let meeting = Rendezvous::new(2);
        let broken: Make<u64, u64> = Box::new(|| Err(PipelineError::Failed("no card".into())));
        let waits = {
            let meeting = meeting.clone();
            ready(move |x: u64| meeting.meet(0, x).map(|all| all.len() as u64))
        };
        let ranks = vec![("rank 0".to_string(), waits), ("rank 1".to_string(), broken)];
        let error = Team::new(ranks, &meeting).expect_err("one is broken");
        assert_eq!(error, PipelineError::Failed("rank 1: no card".into()));
    }
}
