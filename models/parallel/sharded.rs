//! Channels of every convolution on several devices.

use std::sync::Mutex;
use std::time::Instant;

use burn::tensor::activation::relu;
use burn::tensor::{DType, Device, Tensor};
use lithoburn_ranks::budget::Reservation;
use lithoburn_ranks::collective::{Peer, Sums, Traffic, peers};
use lithoburn_ranks::team::Team;
use lithoburn_ranks::transfer::moved;
use lithoburn_ranks::{Make, PipelineError, Work};
use serde::Serialize;

use super::cost::Extent;
use super::cutter::{Cutter, Op};
use super::stage::{layer_within, synced};
use super::ways::{Act, Speeds, Ways, ways};
use super::{Distributed, ParallelError, Place, Summary, check_image};
use crate::convolution::biased;
use crate::head::Head;
use crate::kernel::{Kernel, picked};
use crate::program::{Activations, Program};

/// How channels are cut.
#[derive(Clone, Copy, Debug)]
pub struct ShardTerms {
    /// Images `[batch, 1, height, width]` for which the cut is to be the fastest. It is right for all.
    pub images: [usize; 4],
    /// Precision in which the weights are kept; images have their own.
    pub precision: DType,
    /// What is assumed of cards and links.
    pub speeds: Speeds,
    /// How sums go.
    pub sums: Sums,
    /// Whether a rank waits for its card before and after every exchange, so that its seconds are known. It costs some.
    pub timed: bool,
}

impl Default for ShardTerms {
    fn default() -> Self {
        Self {
            images: [1, 1, 256, 256],
            precision: DType::F32,
            speeds: Speeds::default(),
            sums: Sums::Fastest,
            timed: false,
        }
    }
}

/// A network whose channels are on several devices.
#[derive(Debug)]
pub struct Sharded {
    head: Head,
    stride: usize,
    team: Team<ChannelTask, RankOutput>,
    ways: Ways,
    native: bool,
    report: Mutex<ShardReport>,
}

/// How a pass went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ShardReport {
    /// Of the whole pass.
    pub wall_seconds: f64,
    /// Of each rank, exchanges included.
    pub rank_seconds: Vec<f64>,
    /// What each rank was told by others.
    pub traffic: Vec<Traffic>,
}

#[derive(Debug)]
struct ChannelTask {
    x: Tensor<4>,
    home: Device,
}

/// The first rank's result, and what was exchanged.
pub(super) type RankOutput = (Option<Tensor<4>>, Traffic);

impl Sharded {
    /// Cuts the program's weights among the places. No device gets more than its part.
    ///
    /// # Errors
    ///
    /// [`ParallelError::Cut`] without places, [`ParallelError::Rank`] if a part does not fit its place.
    pub fn new(
        program: &Program,
        places: &[Place],
        terms: ShardTerms,
    ) -> Result<Self, ParallelError> {
        if places.is_empty() {
            return Err(ParallelError::Cut("channels need a device to be on".into()));
        }
        let ways = ways(program, places.len(), terms.images, terms.precision, &terms.speeds);
        let devices: Vec<Device> = places.iter().map(|place| place.device.clone()).collect();
        let (peers, board) = peers(&devices, terms.sums);
        let native = peers.iter().all(Peer::is_native);
        let rank = |(peer, place): (Peer, &Place)| {
            let peer = peer.timed(terms.timed);
            let name = format!("rank {} on {}", peer.rank(), place.budget.device());
            let (program, acts, place) = (program.clone(), ways.acts.clone(), place.clone());
            let make: Make<ChannelTask, RankOutput> = Box::new(move || {
                let mut rank = ChannelRank::new(&program, &acts, peer, place, &terms)?;
                drop(program);
                let work: Work<ChannelTask, RankOutput> = Box::new(move |order| rank.run(order));
                Ok(work)
            });
            (name, make)
        };
        let ranks = peers.into_iter().zip(places).map(rank).collect();
        let team = Team::new(ranks, &board)?;
        let (head, stride) = (program.head, program.stride);
        Ok(Self { head, stride, team, ways, native, report: Mutex::default() })
    }

    /// What was decided, and predicted.
    pub fn ways(&self) -> &Ways {
        &self.ways
    }

    /// Whether sums are NCCL's.
    pub fn is_native(&self) -> bool {
        self.native
    }

    /// How the last pass went.
    pub fn report(&self) -> ShardReport {
        self.report.lock().map(|report| report.clone()).unwrap_or_default()
    }
}

struct ChannelRank {
    ops: Vec<Op>,
    peer: Peer,
    place: Place,
    /// Of the weights.
    _held: Reservation,
}

impl ChannelRank {
    fn new(
        program: &Program,
        acts: &[Act],
        peer: Peer,
        place: Place,
        terms: &ShardTerms,
    ) -> Result<Self, PipelineError> {
        let mut held = place.budget.reserve(0, "weights")?;
        let mut cutter = Cutter::new(program, &peer, &place, terms.precision);
        let mut ops = Vec::with_capacity(acts.len());
        for act in acts {
            let op = cutter.op(*act, &mut held)?;
            ops.push(op);
        }
        synced(&place.device)?;
        Ok(Self { ops, peer, place, _held: held })
    }

    fn run(&mut self, order: ChannelTask) -> Result<RankOutput, PipelineError> {
        let ChannelTask { x, home } = order;
        let (before, mut extent) = (self.peer.traffic(), Extent::of(x.dims()));
        let size = x.dtype().size();
        let mut held = self.place.budget.reserve((extent.values() * size) as u64, "its input")?;
        let mut state = Activations { x: moved(x, &self.place.device), skips: Vec::new() };
        for op in &self.ops {
            state = apply(&mut self.peer, op, state, &mut extent, &mut held)?;
        }
        let logits = (self.peer.rank() == 0).then(|| moved(state.x, &home));
        synced(&self.place.device)?;
        Ok((logits, self.peer.traffic().since(before)))
    }
}

/// What an operation does with a rank's state.
fn apply(
    peer: &mut Peer,
    op: &Op,
    state: Activations,
    extent: &mut Extent,
    held: &mut Reservation,
) -> Result<Activations, PipelineError> {
    let Activations { x, mut skips } = match op {
        Op::Layer(layer) => return layer_within(layer, state, extent, held),
        Op::Sum { layer, whole, relu } => {
            let Activations { x, skips } = layer_within(layer, state, extent, held)?;
            // What comes from others, and the sum.
            exchanging(&x, extent, held, 2)?;
            let x = summed(peer.all_reduce(x)?, whole, *relu);
            exchanging(&x, extent, held, 0)?;
            return Ok(Activations { x, skips });
        }
        _ => state,
    };
    let (mut x, mut skip) = (x, skips.pop());
    let gathered = match op {
        Op::GatherImage => Some(&x),
        Op::GatherSkip => skip.as_ref(),
        _ => None,
    };
    if let Some(gathered) = gathered {
        // All parts, and their whole.
        exchanging(gathered, extent, held, 2 * peer.ranks())?;
    }
    match op {
        Op::GatherImage => x = peer.all_gather(x, 3)?,
        Op::SliceImage(places) => x = picked(x, 3, places),
        Op::GatherSkip => skip = skip.map(|skip| peer.all_gather(skip, 3)).transpose()?,
        Op::SliceSkip(places) => skip = skip.map(|skip| picked(skip, 3, places)),
        Op::Layer(_) | Op::Sum { .. } => {}
    }
    skips.extend(skip);
    extent.measure(&x, &skips);
    held.resize((extent.values() * x.dtype().size()) as u64, "a gathered image")?;
    Ok(Activations { x, skips })
}

/// What a convolution does after its sum.
fn summed(x: Tensor<4>, whole: &Kernel, active: bool) -> Tensor<4> {
    let dtype = x.dtype();
    let x = match whole.placed_bias() {
        Some(bias) if bias.dtype() == dtype => biased(x, bias),
        Some(bias) => biased(x, bias.cast(dtype)),
        None => x,
    };
    if active { relu(x) } else { x }
}

/// Reserves memory for copies of an image beside what there is.
fn exchanging(
    x: &Tensor<4>,
    extent: &Extent,
    held: &mut Reservation,
    copies: usize,
) -> Result<(), PipelineError> {
    let values = extent.values() + copies * x.shape().num_elements();
    Ok(held.resize((values * x.dtype().size()) as u64, "an exchange")?)
}

impl ShardReport {
    pub(super) fn summary(self) -> Summary {
        Summary {
            wall_seconds: self.wall_seconds,
            exchanged_bytes: self.traffic.iter().map(|traffic| traffic.bytes).sum(),
            exchange_seconds: self.traffic.iter().map(|traffic| traffic.seconds).collect(),
            busy_seconds: self.rank_seconds,
            best_bubble: None,
        }
    }
}

impl Distributed for Sharded {
    fn form(&self) -> (Head, usize) {
        (self.head, self.stride)
    }

    fn try_logits(&self, x: Tensor<4>) -> Result<Tensor<4>, ParallelError> {
        check_image(&x, self.stride)?;
        let (start, home) = (Instant::now(), x.device());
        // Other threads read them: what this one has asked for has to be done.
        synced(&home)?;
        let order = |_| ChannelTask { x: x.clone(), home: home.clone() };
        let answers = self.team.call((0..self.team.ranks()).map(order).collect())?;
        let mut report = ShardReport::default();
        let mut result = None;
        for ((logits, traffic), seconds) in answers {
            result = result.or(logits);
            report.rank_seconds.push(seconds);
            report.traffic.push(traffic);
        }
        report.wall_seconds = start.elapsed().as_secs_f64();
        if let Ok(mut last) = self.report.lock() {
            *last = report;
        }
        Ok(result.ok_or_else(|| PipelineError::Ended("no rank gave a result".into()))?)
    }

    fn summary(&self) -> Summary {
        self.report().summary()
    }
}
