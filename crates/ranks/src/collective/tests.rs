//! Collectives against arithmetic, on the CPU as several ranks.

use super::*;
use crate::team::Team;
use crate::thread::{Make, Work};

fn wave(rank: usize, shape: [usize; 4]) -> Tensor<4> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| ((i + 31 * rank) as f32 * 0.7).sin()).collect();
    Tensor::<1>::from_floats(values.as_slice(), &Device::flex()).reshape(shape)
}

fn values(x: Tensor<4>) -> Vec<f32> {
    x.try_into_vec_as::<f32>().expect("f32")
}

/// What each of `count` ranks gets when it does this with its own wave.
fn on_ranks(
    count: usize,
    shape: [usize; 4],
    work: fn(&mut Peer, Tensor<4>) -> Result<Tensor<4>, PipelineError>,
) -> Vec<(Vec<f32>, Traffic)> {
    let (peers, board) = peers(&vec![Device::flex(); count], Sums::Fastest);
    let rank = |mut peer: Peer| -> (String, Make<(), (Vec<f32>, Traffic)>) {
        let name = format!("rank {}", peer.rank());
        let make = move || -> Result<Work<(), (Vec<f32>, Traffic)>, PipelineError> {
            Ok(Box::new(move |()| {
                let mine = wave(peer.rank(), shape);
                let y = work(&mut peer, mine)?;
                Ok((values(y), peer.traffic()))
            }))
        };
        (name, Box::new(make))
    };
    let team = Team::new(peers.into_iter().map(rank).collect(), &board).expect("starts");
    let found = team.call(vec![(); count]).expect("runs");
    found.into_iter().map(|(result, _)| result).collect()
}

#[test]
fn a_sum_is_the_sum_and_the_same_on_all_ranks() {
    for (count, shape) in
        [(1, [1, 2, 2, 3]), (2, [2, 3, 4, 5]), (3, [1, 1, 1, 2]), (5, [2, 3, 4, 7])]
    {
        let found = on_ranks(count, shape, |peer, x| peer.all_reduce(x));
        let parts: Vec<Vec<f32>> = (0..count).map(|i| values(wave(i, shape))).collect();
        for (i, &sum) in found[0].0.iter().enumerate() {
            let expected: f32 = parts.iter().map(|part| part[i]).sum();
            assert!((sum - expected).abs() < 1e-6, "{sum} and not {expected}");
        }
        assert!(found.iter().all(|(sum, _)| sum == &found[0].0));
    }
}

/// A sum by parts moves 2 (n-1)/n of the tensor to each rank, as a ring does.
#[test]
fn a_sum_moves_as_much_as_a_ring() {
    let shape = [1, 4, 4, 4];
    for (_, traffic) in on_ranks(4, shape, |peer, x| peer.all_reduce(x)) {
        assert_eq!((traffic.bytes, traffic.exchanges), (2 * 3 * 64, 2));
    }
}

#[test]
fn a_gather_joins_in_the_order_of_ranks() {
    let shape = [1, 2, 2, 3];
    let found = on_ranks(3, shape, |peer, x| peer.all_gather(x, 3));
    let parts = (0..3).map(|i| wave(i, shape)).collect();
    let expected = values(Tensor::cat(parts, 3));
    assert!(found.iter().all(|(y, _)| *y == expected));
}

/// Each rank gives its right neighbour its wave, and gets its left neighbour's.
#[test]
fn an_exchange_brings_what_is_meant_for_a_rank() {
    let shape = [1, 1, 2, 2];
    let found = on_ranks(3, shape, |peer, x| {
        let mut outbox: Outbox = vec![None; 3];
        outbox[(peer.rank() + 1) % 3] = Some(x);
        let mut inbox = peer.exchange(outbox)?;
        assert_eq!(inbox.iter().flatten().count(), 1);
        inbox.swap_remove((peer.rank() + 2) % 3).ok_or(PipelineError::Failed("lost".into()))
    });
    let expected = [2, 0, 1].map(|i| values(wave(i, shape)));
    assert!(found.iter().zip(&expected).all(|((y, _), expected)| y == expected));
}
