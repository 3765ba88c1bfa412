//! Ranks that meet, fail and hang.

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
    let PipelineError::Panicked(text) = error else { panic!("{error}") };
    assert!(text.starts_with("rank 2: panicked: rank 2 trips (at ") && text.contains(file!()));
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

/// What happens within ten seconds, on a thread that may hang.
fn soon<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let (say, hear) = channel();
    std::thread::spawn(move || say.send(work()));
    hear.recv_timeout(Duration::from_secs(10)).expect("it hangs")
}

/// For tests that wait for what never comes.
fn impatient() -> Patience {
    Patience { longest: Duration::from_millis(300), ..Patience::default() }
}

fn hangs() -> ! {
    loop {
        std::thread::park();
    }
}

/// After they have met, each rank does what its driver does with an order.
fn driven(count: usize, driver: fn(usize, u64) -> u64) -> Team<u64, u64> {
    let meeting = Rendezvous::new(count);
    let rank = |rank: usize| -> Make<u64, u64> {
        let meeting = meeting.clone();
        ready(move |x| meeting.meet(rank, x).map(|_| driver(rank, x)))
    };
    let ranks = (0..count).map(|i| (format!("rank {i}"), rank(i))).collect();
    Team::with_patience(ranks, &meeting, impatient(), impatient()).expect("starts")
}

/// As a sum of NCCL's does, whose kernels wait for all cards once all ranks have met.
#[test]
fn a_rank_that_fails_between_the_meeting_and_the_sum_leaves_nobody_waiting() {
    let error = soon(|| {
        let team = driven(3, |rank, x| match (rank, x) {
            (1, 7) => panic!("no memory for the sum"),
            (_, 7) => hangs(),
            _ => x,
        });
        assert!(team.call(vec![1; 3]).is_ok());
        let error = team.call(vec![7; 3]).expect_err("rank 1 failed");
        assert!(matches!(team.call(vec![1; 3]), Err(PipelineError::Ended(_))));
        error
    });
    let PipelineError::Panicked(text) = error else { panic!("{error}") };
    assert!(text.starts_with("rank 1: panicked: no memory for the sum"), "{text}");
    assert!(text.ends_with("; rank 0, rank 2 gave no answer for 0 s after that"), "{text}");
}

#[test]
fn a_rank_that_hangs_is_named_and_left_behind() {
    let error = soon(|| driven(2, |rank, x| if rank == 1 { hangs() } else { x }).call(vec![1; 2]));
    let text = error.expect_err("rank 1 hangs");
    assert!(matches!(&text, PipelineError::Hung(text) if text.starts_with("rank 1: no sign")));
}

/// Those that wait for it give up before, and it is none of them that hangs.
#[test]
fn a_rank_that_does_not_come_is_named_and_not_those_that_waited() {
    let team = team(3, None);
    let tired = || Some((Err(PipelineError::Ended("a rank did not come".into())), 1.0));
    let error = team.verdict(vec![tired(), None, tired()]).expect_err("rank 1 did not come");
    let text = "rank 1 gave no answer: a rank did not come";
    assert_eq!(error, PipelineError::Hung(text.into()));
}

#[test]
fn a_rank_whose_making_hangs_is_named_and_nobody_waits_for_it() {
    let error = soon(|| {
        let meeting = Rendezvous::new(2);
        let stuck: Make<u64, u64> = Box::new(|| hangs());
        let waits = {
            let meeting = meeting.clone();
            ready(move |x: u64| meeting.meet(0, x).map(|all| all.len() as u64))
        };
        let ranks = vec![("rank 0".to_string(), waits), ("rank 1".to_string(), stuck)];
        Team::with_patience(ranks, &meeting, impatient(), impatient()).map(drop)
    });
    let error = error.expect_err("it is never made");
    assert!(matches!(&error, PipelineError::Hung(text) if text.contains("rank 1")), "{error}");
}

/// An order that is left over when all ranks have theirs, and panics as it is dropped.
struct Bomb(bool);

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.0, "a bomb");
    }
}

#[test]
fn a_panic_in_a_call_hangs_nobody() {
    soon(|| {
        let ranks = vec![("rank 0".to_string(), ready(|_: Bomb| Ok(0)))];
        let team = Team::new(ranks, &Rendezvous::<()>::new(1)).expect("starts");
        let call = || team.call(vec![Bomb(false), Bomb(true), Bomb(false)]);
        assert!(lithoburn_pool::panics::caught(call).is_err());
        assert!(matches!(team.call(vec![Bomb(false)]), Err(PipelineError::Ended(_))));
    });
}
