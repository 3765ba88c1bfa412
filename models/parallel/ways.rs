//! Which convolutions are cut by what, decided before any device is touched.
//!
//! A convolution by *columns* reads all channels and makes a part of its own on each rank; one by *rows* reads a part and makes a
//! partial sum of all, which an all-reduce completes. A row after a column needs no exchange between the two, since ReLU, pooling,
//! doubling and folding know nothing of other channels (Shoeybi et al., "Megatron-LM", 2019). An image is therefore either whole on all
//! ranks or split among them, skips too, and the cheapest way through all layers is found by dynamic programming over these states.

use std::collections::HashMap;

use burn::tensor::DType;
use serde::{Deserialize, Serialize};

use super::cost::{Extent, operations};
use crate::program::{LayerKind, Program};

/// What is assumed of a card and of the links between cards.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speeds {
    /// Operations a second of a convolution.
    pub operations: f64,
    /// Bytes a second of its memory.
    pub memory: f64,
    /// Bytes a second from card to card.
    pub link: f64,
    /// Seconds that an exchange takes whatever its size.
    pub latency: f64,
}

impl Default for Speeds {
    /// Roughly an H200 in half precision, with NCCL over NVLink.
    fn default() -> Self {
        Self { operations: 1.3e14, memory: 2.5e12, link: 2e11, latency: 5e-5 }
    }
}

/// One thing that all ranks do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Act {
    /// A layer on whatever each rank has, without exchange.
    Local(usize),
    /// A convolution of a whole image, of which each rank makes a part.
    Column(usize),
    /// A convolution of a split image, whose partial sums are added.
    Row(usize),
    /// The image becomes whole.
    GatherImage,
    /// Each rank keeps its part of the image.
    SliceImage,
    /// The image that waits last becomes whole.
    GatherSkip,
    /// Each rank keeps its part of the image that waits last.
    SliceSkip,
}

/// What all ranks do, and how long that should take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ways {
    /// In order.
    pub acts: Vec<Act>,
    /// Predicted seconds of a pass.
    pub seconds: f64,
    /// Predicted seconds on one device.
    pub alone_seconds: f64,
}

/// What is split: the image, then the skips.
type SplitState = Vec<bool>;

struct Planner<'a> {
    ranks: usize,
    bytes: f64,
    speeds: &'a Speeds,
}

/// The cheapest way of `ranks` ranks for images `[batch, 1, height, width]`. It is right for images of every size, and
/// cheapest for this one.
pub fn ways(
    program: &Program,
    ranks: usize,
    images: [usize; 4],
    precision: DType,
    speeds: &Speeds,
) -> Ways {
    let planner = Planner { ranks, bytes: precision.size() as f64, speeds };
    let extents = program.extents(images);
    let mut frontier: HashMap<SplitState, (f64, Vec<Act>)> =
        HashMap::from([(vec![false], (0.0, Vec::new()))]);
    let mut alone_seconds = 0.0;
    for (i, layer) in program.layers.iter().enumerate() {
        let before = &extents[i];
        alone_seconds += planner.compute(&layer.kind, before);
        let grouped = matches!(program.layers.get(i + 1).map(|l| &l.kind), Some(LayerKind::Unfold));
        let mut next: HashMap<SplitState, (f64, Vec<Act>)> = HashMap::new();
        for (split, (seconds, acts)) in &frontier {
            for choice in planner.choices(i, &layer.kind, before, split, grouped) {
                let total = seconds + choice.seconds;
                let known = next.get(&choice.split).map_or(f64::INFINITY, |(best, _)| *best);
                if total < known {
                    let acts = acts.iter().chain(&choice.acts).copied().collect();
                    next.insert(choice.split, (total, acts));
                }
            }
        }
        frontier = next;
    }
    let best = frontier.into_values().min_by(|a, b| a.0.total_cmp(&b.0));
    let (seconds, acts) = best.unwrap_or_else(|| unreachable!("a whole image is always a way"));
    Ways { acts, seconds, alone_seconds }
}

struct Choice {
    acts: Vec<Act>,
    split: SplitState,
    seconds: f64,
}

impl Planner<'_> {
    fn compute(&self, kind: &LayerKind, before: &Extent) -> f64 {
        let values = before.x.iter().product::<usize>() + before.working(kind) - before.values();
        operations(kind, before) / self.speeds.operations
            + values as f64 * self.bytes / self.speeds.memory
    }

    /// Seconds to exchange what `share` times the bytes of an image come to, on each rank.
    fn exchange(&self, shape: [usize; 4], share: f64) -> f64 {
        let bytes = shape.iter().product::<usize>() as f64 * self.bytes;
        let others = (self.ranks - 1) as f64 / self.ranks as f64;
        self.speeds.latency + share * others * bytes / self.speeds.link
    }

    fn can_split(&self, channels: usize) -> bool {
        self.ranks > 1 && channels >= self.ranks
    }

    fn choices(
        &self,
        i: usize,
        kind: &LayerKind,
        before: &Extent,
        split: &SplitState,
        grouped: bool,
    ) -> Vec<Choice> {
        match kind {
            LayerKind::Convolve { kernel, .. } => {
                let made = if grouped { kernel.to / 4 } else { kernel.to };
                self.convolutions(i, kind, before, split, made)
            }
            LayerKind::Join => self.joins(i, kind, before, split),
            _ => self.locals(i, kind, before, split),
        }
    }

    fn locals(
        &self,
        i: usize,
        kind: &LayerKind,
        before: &Extent,
        split: &SplitState,
    ) -> Vec<Choice> {
        let (mut split, mut acts) = (split.clone(), Vec::new());
        let share = if split[0] { self.ranks as f64 } else { 1.0 };
        let mut seconds = self.compute(kind, before) / share;
        if matches!(kind, LayerKind::Leave) && split[0] {
            seconds += self.exchange(before.x, 1.0);
            acts.push(Act::GatherImage);
            split[0] = false;
        }
        if matches!(kind, LayerKind::Push) {
            split.push(split[0]);
        }
        acts.push(Act::Local(i));
        vec![Choice { acts, split, seconds }]
    }

    fn convolutions(
        &self,
        i: usize,
        kind: &LayerKind,
        before: &Extent,
        split: &SplitState,
        made: usize,
    ) -> Vec<Choice> {
        let whole = self.compute(kind, before);
        let part = whole / self.ranks as f64;
        let sum = self.exchange(before.after(kind).x, 2.0);
        let (gathered, first) = match split[0] {
            true => (self.exchange(before.x, 1.0), vec![Act::GatherImage]),
            false => (0.0, vec![]),
        };
        let with = |acts: &[Act], act: Act| [acts, &[act]].concat();
        let to = |is_split: bool| [&[is_split], &split[1..]].concat();
        let mut choices = vec![Choice {
            acts: with(&first, Act::Local(i)),
            split: to(false),
            seconds: gathered + whole,
        }];
        if self.can_split(made) {
            let acts = with(&first, Act::Column(i));
            choices.push(Choice { acts, split: to(true), seconds: gathered + part });
        }
        if split[0] {
            let acts = vec![Act::Row(i)];
            choices.push(Choice { acts, split: to(false), seconds: part + sum });
        } else if self.can_split(before.x[3]) {
            let acts = vec![Act::SliceImage, Act::Row(i)];
            choices.push(Choice { acts, split: to(false), seconds: part + sum });
        }
        choices
    }

    /// Both images have to be of the same kind; slicing is free.
    fn joins(
        &self,
        i: usize,
        kind: &LayerKind,
        before: &Extent,
        split: &SplitState,
    ) -> Vec<Choice> {
        let (whole, depth) = (self.compute(kind, before), split.len());
        let waiting = before.skips.last().copied().unwrap_or_default();
        let (image, skip) = (split[0], split[depth - 1]);
        let to = |is_split: bool| [&[is_split], &split[1..depth - 1]].concat();
        let mut choices = Vec::new();
        if self.can_split(before.x[3]) && self.can_split(waiting[3]) {
            let slices = [(image, Act::SliceImage), (skip, Act::SliceSkip)];
            let slices = slices.into_iter().filter(|(done, _)| !done).map(|(_, act)| act);
            let acts = slices.chain([Act::Local(i)]).collect();
            let seconds = whole / self.ranks as f64;
            choices.push(Choice { acts, split: to(true), seconds });
        }
        let gathers = [(image, Act::GatherImage, before.x), (skip, Act::GatherSkip, waiting)];
        let gathers: Vec<_> = gathers.into_iter().filter(|(split, _, _)| *split).collect();
        let seconds: f64 = gathers.iter().map(|(_, _, shape)| self.exchange(*shape, 1.0)).sum();
        let acts = gathers.iter().map(|(_, act, _)| *act).chain([Act::Local(i)]).collect();
        choices.push(Choice { acts, split: to(false), seconds: seconds + whole });
        choices
    }
}

/// Parts of `count` channels for `ranks` ranks: equal if possible, and in whole eights or sixteens, which is what kernels read at once.
pub(super) fn parts(count: usize, ranks: usize) -> Vec<Vec<usize>> {
    let fits = |unit: &usize| count.is_multiple_of(*unit) && (count / unit).is_multiple_of(ranks);
    let fine = |unit: &usize| count.is_multiple_of(*unit) && count / unit >= 4 * ranks;
    let units = [16, 8, 4, 2, 1];
    let unit = units.iter().find(|u| fits(u)).or(units.iter().find(|u| fine(u)));
    let unit = unit.copied().unwrap_or(1);
    let bound = |i: usize| i * (count / unit) / ranks * unit;
    (0..ranks).map(|i| (bound(i)..bound(i + 1)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GanOpcConfig, NeuralIltConfig};

    const IMAGES: [usize; 4] = [1, 1, 256, 256];

    fn of(program: &Program, ranks: usize, speeds: &Speeds) -> Ways {
        ways(program, ranks, IMAGES, DType::BF16, speeds)
    }

    #[test]
    fn parts_are_all_channels_once_and_even_where_they_can_be() {
        for (count, ranks) in [(64, 4), (96, 4), (20, 3), (7, 7), (256, 8), (130, 8)] {
            let parts = parts(count, ranks);
            assert_eq!(parts.concat(), (0..count).collect::<Vec<_>>());
            let sizes: Vec<usize> = parts.iter().map(Vec::len).collect();
            let [least, most] = [sizes.iter().min(), sizes.iter().max()].map(|s| *s.expect("one"));
            assert!(least > 0 && (!count.is_multiple_of(ranks) || least == most), "{sizes:?}");
        }
    }

    #[test]
    fn free_exchange_cuts_every_large_convolution() {
        let free = Speeds { link: 1e18, latency: 0.0, ..Speeds::default() };
        let program = NeuralIltConfig::default().random_program(1);
        for ranks in [2, 4, 8] {
            let ways = of(&program, ranks, &free);
            let uncut = ways.acts.iter().filter(|act| match act {
                Act::Local(i) => {
                    matches!(&program.layers[*i].kind, LayerKind::Convolve { kernel, .. } if kernel.from > 1)
                }
                _ => false,
            });
            assert_eq!(uncut.count(), 0, "{:?}", ways.acts);
            assert!(ways.seconds < 1.2 * ways.alone_seconds / ranks as f64, "{ways:?}");
        }
    }

    #[test]
    fn dear_exchange_cuts_nothing() {
        let dear = Speeds { latency: 1.0, ..Speeds::default() };
        for program in [
            NeuralIltConfig::default().random_program(1),
            NeuralIltConfig::fast().random_program(1),
            GanOpcConfig::published().random_program(1),
        ] {
            let ways = of(&program, 4, &dear);
            assert!(ways.acts.iter().all(|act| matches!(act, Act::Local(_))), "{:?}", ways.acts);
            assert!((ways.seconds - ways.alone_seconds).abs() < 1e-9);
        }
    }

    /// Two convolutions an exchange: the reason for columns and rows.
    #[test]
    fn a_pair_of_convolutions_needs_one_exchange() {
        let program = NeuralIltConfig { width: 512, ..NeuralIltConfig::default() };
        let program = program.random_program(1);
        let ways = of(&program, 4, &Speeds::default());
        let count = |wanted: fn(&Act) -> bool| ways.acts.iter().filter(|act| wanted(act)).count();
        let exchanges =
            count(|act| matches!(act, Act::Row(_) | Act::GatherImage | Act::GatherSkip));
        let cut = count(|act| matches!(act, Act::Row(_) | Act::Column(_)));
        assert!(cut >= 12 && exchanges <= cut.div_ceil(2) + 1, "{:?}", ways.acts);
    }

    #[test]
    fn one_rank_is_one_device() {
        let program = NeuralIltConfig::fast().random_program(1);
        let ways = of(&program, 1, &Speeds::default());
        let all: Vec<Act> = (0..program.layers.len()).map(Act::Local).collect();
        assert_eq!(ways.acts, all);
    }
}
