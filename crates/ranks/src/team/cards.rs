//! What only cards show: sums whose kernels wait for each other.
//!
//! `LITHOBURN_TEST_DEVICE=cuda` runs it on the first two cards, if they copy by NCCL ([`crate::transfer`]).

use burn::tensor::{Device, Tensor};
use lithoburn_pool::{DeviceName, choose};
use lithoburn_testing::Need;

use super::*;
use crate::collective::{Outbox, Peer, Sums, peers};
use crate::thread::Work;
use crate::transfer::has_transport;

fn two_cards() -> Option<[Device; 2]> {
    let asked = std::env::var("LITHOBURN_TEST_DEVICE").is_ok_and(|name| name == "cuda");
    let card = |index| choose(DeviceName::Cuda(Some(index))).ok().map(|chosen| chosen.device);
    let cards = if asked { [card(0)?, card(1)?] } else { return None };
    cards.iter().all(has_transport).then_some(cards)
}

/// A rank that sums ones with the other; told to fail, the second one has met the first and gives the sum up.
fn rank(mut peer: Peer, meeting: Rendezvous<Outbox>) -> (String, Make<bool, f32>) {
    let name = format!("rank {}", peer.rank());
    let work = move |fails: bool| {
        if fails && peer.rank() == 1 {
            meeting.meet(1, Vec::new())?;
            return Err(PipelineError::OutOfMemory("out of memory for the sum".into()));
        }
        let ones = Tensor::<4>::ones([1, 1, 64, 64], peer.device());
        let sum = peer.all_reduce(ones)?.mean().try_into_vec_as::<f32>();
        sum.map(|values| values[0]).map_err(|error| PipelineError::Failed(error.to_string()))
    };
    let make = move || -> Result<Work<bool, f32>, PipelineError> { Ok(Box::new(work)) };
    (name, Box::new(make))
}

#[test]
fn a_card_that_gives_a_sum_up_leaves_nobody_waiting() {
    let why = "LITHOBURN_TEST_DEVICE is not cuda, or there are no two cards that copy by NCCL";
    let Some(cards) = Need::Cards.met(two_cards(), why) else { return };
    let (peers, meeting) = peers(&cards, Sums::Fastest);
    assert!(peers.iter().all(Peer::is_native));
    let ranks = peers.into_iter().map(|peer| rank(peer, meeting.clone())).collect();
    let grace = Patience { longest: Duration::from_secs(5), ..Patience::default() };
    let team = Team::with_patience(ranks, &meeting, Patience::default(), grace).expect("starts");
    for _ in 0..3 {
        let sums = team.call(vec![false; 2]).expect("both are well");
        assert!(sums.iter().all(|(sum, _)| *sum == 2.0), "{sums:?}");
    }
    let start = Instant::now();
    let error = team.call(vec![true; 2]).expect_err("rank 1 gives up");
    let PipelineError::OutOfMemory(text) = &error else { panic!("{error}") };
    assert!(text.starts_with("rank 1: ") && text.contains("rank 0 gave no answer"), "{text}");
    drop(team);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
