//! Cutting a network into consecutive stages, one a device, so that the slowest is as fast as can be.
//!
//! An exact dynamic programme over (layers done, devices used): a few thousand steps.

use std::ops::Range;

use lithoburn_compare::largest;
use serde::{Deserialize, Serialize};

/// What a layer, or an already joined group of layers, costs for one micro-batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageCost {
    /// Name.
    pub name: String,
    /// Seconds on a device of speed 1.
    pub seconds: f64,
    /// Bytes of its weights.
    pub weight_bytes: u64,
    /// Most bytes that live while it computes: its input, its output, skips, scratch.
    pub activation_bytes: u64,
    /// Bytes that the next one needs of it: the activation and the skips.
    pub transfer_bytes: u64,
}

/// A device that is to have a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Room {
    /// Speed; twice as fast is 2.
    pub speed: f64,
    /// Bytes that a stage may take; `None` for any number.
    pub bytes: Option<u64>,
}

/// A network cut into stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// Layers of each stage, in the devices' order.
    pub ranges: Vec<Range<usize>>,
    /// Seconds of each stage for one micro-batch, sending its output on included.
    pub seconds: Vec<f64>,
    /// Bytes of each stage: weights, the most that lives while it computes, and an input that waits.
    pub bytes: Vec<u64>,
}

impl Cut {
    /// Seconds of the slowest stage.
    pub fn bottleneck(&self) -> f64 {
        largest(&self.seconds)
    }

    /// Seconds for `micro_batches`: all stages once, and the slowest for each further micro-batch.
    ///
    /// With S equal stages of t seconds this is (M + S − 1)·t, the textbook's pipeline.
    pub fn seconds_for(&self, micro_batches: usize) -> f64 {
        let once: f64 = self.seconds.iter().sum();
        once + micro_batches.saturating_sub(1) as f64 * self.bottleneck()
    }

    /// The part of the devices' time that is idle because stages wait to be filled, to be drained, and for the
    /// slowest.
    pub fn bubble(&self, micro_batches: usize) -> f64 {
        let once: f64 = self.seconds.iter().sum();
        let wall = self.seconds_for(micro_batches) * self.seconds.len() as f64;
        if wall > 0.0 { 1.0 - once * micro_batches as f64 / wall } else { 0.0 }
    }
}

/// Why a network cannot be cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BalanceError {
    /// Every device needs a layer.
    #[error("{layers} layers cannot be cut into {stages} stages: each needs at least one layer")]
    TooFewLayers {
        /// Layers there are.
        layers: usize,
        /// Stages asked for.
        stages: usize,
    },
    /// No cut fits the memory.
    #[error(
        "no cut into {stages} stages fits the devices' memory: with equal devices, each needs at least {needed} bytes"
    )]
    Memory {
        /// Stages asked for.
        stages: usize,
        /// Bytes that the largest stage needs in the cut where that is least.
        needed: u64,
    },
}

/// Cuts `layers` into as many stages as there are `rooms`, stage k for room k, so that the slowest stage is as fast
/// as can be and each fits its room. `link` is in bytes a second.
///
/// # Errors
///
/// [`BalanceError`]: fewer layers than rooms, no rooms, or no cut that fits.
pub fn cut(layers: &[StageCost], rooms: &[Room], link: f64) -> Result<Cut, BalanceError> {
    let cost = |k: usize, range: &Range<usize>| {
        let fits = rooms[k].bytes.is_none_or(|room| bytes_of(layers, range) <= room);
        fits.then(|| seconds_of(layers, range, rooms[k].speed, link))
    };
    let stages = rooms.len();
    if stages == 0 || layers.len() < stages {
        return Err(BalanceError::TooFewLayers { layers: layers.len(), stages });
    }
    let Some(ranges) = least(layers.len(), stages, cost) else {
        return Err(BalanceError::Memory { stages, needed: least_bytes(layers, stages) });
    };
    let seconds = |(range, room): (_, &Room)| seconds_of(layers, range, room.speed, link);
    Ok(Cut {
        seconds: ranges.iter().zip(rooms).map(seconds).collect(),
        bytes: ranges.iter().map(|range| bytes_of(layers, range)).collect(),
        ranges,
    })
}

/// Bytes that the largest of `stages` stages needs, in the cut where that is least; 0 if there is no cut.
pub fn least_bytes(layers: &[StageCost], stages: usize) -> u64 {
    let cost = |_: usize, range: &Range<usize>| Some(bytes_of(layers, range) as f64);
    let ranges = least(layers.len(), stages, cost).unwrap_or_default();
    ranges.iter().map(|range| bytes_of(layers, range)).max().unwrap_or(0)
}

/// Bytes of a stage.
fn bytes_of(layers: &[StageCost], range: &Range<usize>) -> u64 {
    let stage = &layers[range.clone()];
    let weights: u64 = stage.iter().map(|layer| layer.weight_bytes).sum();
    let activation = stage.iter().map(|layer| layer.activation_bytes).max().unwrap_or(0);
    let waiting = range.start.checked_sub(1).map_or(0, |before| layers[before].transfer_bytes);
    weights + activation + waiting
}

/// Seconds of a stage; the last one sends nothing on.
fn seconds_of(layers: &[StageCost], range: &Range<usize>, speed: f64, link: f64) -> f64 {
    let computing: f64 = layers[range.clone()].iter().map(|layer| layer.seconds).sum();
    let sent = if range.end < layers.len() { layers[range.end - 1].transfer_bytes } else { 0 };
    computing / speed + sent as f64 / link
}

/// The cut of `layers` layers into `stages` whose largest cost is least. A cost of `None` is not allowed.
fn least(
    layers: usize,
    stages: usize,
    cost: impl Fn(usize, &Range<usize>) -> Option<f64>,
) -> Option<Vec<Range<usize>>> {
    // best[k][j]: the largest cost when k stages hold the first j layers, and where the last of them starts.
    let mut best = vec![vec![(f64::INFINITY, 0); layers + 1]; stages + 1];
    best[0][0].0 = 0.0;
    for k in 0..stages {
        for start in 0..layers {
            let before = best[k][start].0;
            if before.is_infinite() {
                continue;
            }
            for (end, held) in best[k + 1].iter_mut().enumerate().skip(start + 1) {
                let Some(own) = cost(k, &(start..end)) else { continue };
                let largest = own.max(before);
                if largest < held.0 {
                    *held = (largest, start);
                }
            }
        }
    }
    if best[stages][layers].0.is_infinite() {
        return None;
    }
    let mut end = layers;
    let mut ranges: Vec<Range<usize>> = Vec::with_capacity(stages);
    for k in (1..=stages).rev() {
        let start = best[k][end].1;
        ranges.push(start..end);
        end = start;
    }
    ranges.reverse();
    Some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layer(seconds: f64) -> StageCost {
        StageCost { seconds, ..StageCost::default() }
    }

    const ANY: Room = Room { speed: 1.0, bytes: None };

    #[test]
    fn equal_layers_are_cut_into_equal_stages_with_the_textbook_bubble() {
        let cut = cut(&vec![layer(2.0); 12], &[ANY; 4], 1e9).expect("there is room");
        assert_eq!(cut.ranges, [0..3, 3..6, 6..9, 9..12]);
        assert_eq!(cut.bottleneck(), 6.0);
        let (s, m) = (4.0, 16.0);
        assert_eq!(cut.seconds_for(16), (m + s - 1.0) * 6.0);
        assert!((cut.bubble(16) - (s - 1.0) / (m + s - 1.0)).abs() < 1e-12);
    }

    #[test]
    fn memory_moves_the_cut_and_its_lack_is_told() {
        let mut layers = vec![layer(1.0); 4];
        layers[0].weight_bytes = 70;
        layers[1].weight_bytes = 50;
        layers[2].activation_bytes = 30;
        let room = |bytes| Room { speed: 1.0, bytes: Some(bytes) };
        let found = cut(&layers, &[room(100), room(100)], 1e9).expect("it fits");
        assert_eq!((found.ranges, found.bytes), (vec![0..1, 1..4], vec![70, 80]));
        let none = cut(&layers, &[room(75), room(75)], 1e9);
        assert_eq!(none, Err(BalanceError::Memory { stages: 2, needed: 80 }));
        let few = cut(&layers, &[ANY; 5], 1e9);
        assert_eq!(few, Err(BalanceError::TooFewLayers { layers: 4, stages: 5 }));
    }

    /// All ways to cut `start..` into stages for `rooms`.
    fn all_cuts(layers: usize, start: usize, rooms: usize) -> Vec<Vec<Range<usize>>> {
        if rooms == 1 {
            let rest = start..layers;
            return if start < layers { vec![vec![rest]] } else { Vec::new() };
        }
        let with = |end: usize| {
            all_cuts(layers, end, rooms - 1).into_iter().map(move |mut rest| {
                rest.insert(0, start..end);
                rest
            })
        };
        (start + 1..layers).flat_map(with).collect()
    }

    proptest! {
        /// Brute force is the second implementation.
        #[test]
        fn no_cut_is_better(
            costs in proptest::collection::vec((0.1..9.0_f64, 0_u64..50, 0_u64..50, 0_u64..50), 1..9),
            rooms in proptest::collection::vec((0.2..3.0_f64, proptest::option::of(0_u64..250)), 1..5),
            link in 1.0..100.0_f64,
        ) {
            let layers: Vec<StageCost> = costs.iter().map(|&(seconds, w, a, t)| StageCost {
                name: String::new(), seconds, weight_bytes: w, activation_bytes: a, transfer_bytes: t,
            }).collect();
            let rooms: Vec<Room> =
                rooms.iter().map(|&(speed, bytes)| Room { speed, bytes }).collect();
            let fits = |ranges: &[Range<usize>]| ranges.iter().zip(&rooms).all(|(range, room)| {
                room.bytes.is_none_or(|bytes| bytes_of(&layers, range) <= bytes)
            });
            let slowest = |ranges: &[Range<usize>]| largest(ranges.iter().zip(&rooms)
                .map(|(range, room)| seconds_of(&layers, range, room.speed, link)));
            let ways = all_cuts(layers.len(), 0, rooms.len());
            let best = ways.iter().filter(|way| fits(way)).map(|way| slowest(way)).reduce(f64::min);
            match cut(&layers, &rooms, link) {
                Ok(cut) => {
                    prop_assert_eq!(Some(cut.bottleneck()), best);
                    prop_assert!(fits(&cut.ranges));
                    prop_assert_eq!(cut.ranges[0].start, 0);
                    prop_assert_eq!(cut.ranges.last().map(|range| range.end), Some(layers.len()));
                    prop_assert!(cut.ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
                }
                Err(BalanceError::Memory { needed, .. }) => {
                    prop_assert_eq!(best, None);
                    let largest = |way: &Vec<Range<usize>>| way.iter().map(|r| bytes_of(&layers, r)).max();
                    prop_assert_eq!(Some(needed), ways.iter().filter_map(largest).min());
                }
                Err(BalanceError::TooFewLayers { .. }) => prop_assert!(layers.len() < rooms.len()),
            }
        }
    }
}
