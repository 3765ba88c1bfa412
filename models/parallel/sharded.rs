//! Channels of every convolution on several devices.

use std::sync::Mutex;
use std::time::Instant;

use burn::tensor::activation::relu;
use burn::tensor::{DType, Device, Tensor};
use lithoburn_pool::budget::Reservation;
use lithoburn_pool::collective::{Peer, Sums, Traffic, moved, peers};
use lithoburn_pool::pipeline::{Make, PipelineError, Work};
use lithoburn_pool::team::Team;
use serde::Serialize;

use super::cost::Extent;
use super::program::{Activations, Kernel, Layer, Program, Step, picked};
use super::stage::{layer_within, synced};
use super::ways::{Act, Speeds, Ways, parts, ways};
use super::{Distributed, ParallelError, Place, Summary, check_image};
use crate::convolution::biased;
use crate::head::{Head, MaskNetwork};

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
    team: Team<Order, Done>,
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
struct Order {
    x: Tensor<4>,
    home: Device,
}

/// The first rank's result, and what was exchanged.
type Done = (Option<Tensor<4>>, Traffic);

/// What a rank does, with its part of the weights.
enum Op {
    Layer(Layer),
    /// A convolution whose sums are partial.
    Sum {
        layer: Layer,
        /// With the bias, which is added once.
        whole: Kernel,
        relu: bool,
    },
    GatherImage,
    GatherSkip,
    SliceImage(Vec<usize>),
    SliceSkip(Vec<usize>),
}

/// Which of an image's channels a rank has, in its order.
#[derive(Clone, Debug)]
enum Spread {
    /// All ranks have these.
    Whole(Vec<usize>),
    Split(Vec<Vec<usize>>),
}

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
            let name = format!("rank {} on {}", peer.rank(), place.budget.device());
            let (program, acts, place) = (program.clone(), ways.acts.clone(), place.clone());
            let make: Make<Order, Done> = Box::new(move || {
                let mut rank = Rank::new(&program, &acts, peer, place, &terms)?;
                drop(program);
                let work: Work<Order, Done> = Box::new(move |order| rank.run(order));
                Ok(work)
            });
            (name, make)
        };
        let ranks = peers.into_iter().zip(places).map(rank).collect();
        let team = Team::new(ranks, &board)?;
        let (head, stride) = (program.head, program.stride);
        Ok(Self { head, stride, team, ways, native, report: Mutex::default() })
    }

    /// Logits of images, on the images' device.
    ///
    /// # Errors
    ///
    /// [`ParallelError::Image`] for a wrong shape, [`ParallelError::Rank`] if a rank failed: after that, the network has to be made
    /// anew.
    pub fn try_logits(&self, x: Tensor<4>) -> Result<Tensor<4>, ParallelError> {
        check_image(&x, self.stride)?;
        let (start, home) = (Instant::now(), x.device());
        // Other threads read them: what this one has asked for has to be done.
        synced(&home)?;
        let order = |_| Order { x: x.clone(), home: home.clone() };
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

struct Rank {
    ops: Vec<Op>,
    peer: Peer,
    place: Place,
    /// Of the weights.
    _held: Reservation,
    timed: bool,
}

impl Rank {
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
        Ok(Self { ops, peer, place, _held: held, timed: terms.timed })
    }

    fn run(&mut self, order: Order) -> Result<Done, PipelineError> {
        let Order { x, home } = order;
        let (before, mut extent) = (self.peer.traffic(), Extent::of(x.dims()));
        let size = x.dtype().size();
        let mut held = self.place.budget.reserve((extent.values() * size) as u64, "its input")?;
        let mut state = Activations { x: moved(x, &self.place.device), skips: Vec::new() };
        for op in &self.ops {
            if self.timed && !matches!(op, Op::Layer(_)) {
                synced(&self.place.device)?;
            }
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
        Op::Sum { layer, whole, relu: active } => {
            let Activations { x, skips } = layer_within(layer, state, extent, held)?;
            // What comes from others, and the sum.
            exchanging(&x, extent, held, 2)?;
            let x = peer.all_reduce(x)?;
            exchanging(&x, extent, held, 0)?;
            let x = match whole.placed_bias() {
                Some(bias) if bias.dtype() == x.dtype() => biased(x, bias),
                Some(bias) => {
                    let dtype = x.dtype();
                    biased(x, bias.cast(dtype))
                }
                None => x,
            };
            return Ok(Activations { x: if *active { relu(x) } else { x }, skips });
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

/// Cuts one rank's part out of the program, act by act.
struct Cutter<'a> {
    program: &'a Program,
    rank: usize,
    ranks: usize,
    place: &'a Place,
    precision: DType,
    image: Spread,
    skips: Vec<Spread>,
    /// Channels of the whole image, and of the whole images that wait.
    channels: usize,
    waiting: Vec<usize>,
}

impl<'a> Cutter<'a> {
    fn new(program: &'a Program, peer: &Peer, place: &'a Place, precision: DType) -> Self {
        let (rank, ranks) = (peer.rank(), peer.ranks());
        let image = Spread::Whole(vec![0]);
        let (skips, waiting) = (Vec::new(), Vec::new());
        Self { program, rank, ranks, place, precision, image, skips, channels: 1, waiting }
    }

    fn op(&mut self, act: Act, held: &mut Reservation) -> Result<Op, PipelineError> {
        Ok(match act {
            Act::Local(i) => Op::Layer(self.local(i, held)?),
            Act::Column(i) => Op::Layer(self.column(i, held)?),
            Act::Row(i) => self.row(i, held)?,
            Act::GatherImage => {
                self.image = self.image.gathered();
                Op::GatherImage
            }
            Act::SliceImage => {
                let (image, places) = self.image.sliced(self.rank, self.ranks);
                self.image = image;
                Op::SliceImage(places)
            }
            Act::GatherSkip => {
                let skip = self.skips.pop().map(|skip| skip.gathered());
                self.skips.extend(skip);
                Op::GatherSkip
            }
            Act::SliceSkip => {
                let skip = self.skips.pop().map(|skip| skip.sliced(self.rank, self.ranks));
                let (skip, places) = skip.unwrap_or((Spread::Whole(vec![]), vec![]));
                self.skips.push(skip);
                Op::SliceSkip(places)
            }
        })
    }

    fn local(&mut self, i: usize, held: &mut Reservation) -> Result<Layer, PipelineError> {
        let layer = &self.program.layers[i];
        match &layer.step {
            Step::Convolve { kernel, relu } => {
                let to: Vec<usize> = (0..kernel.to).collect();
                let kernel = self.part(layer, kernel, &to, true, held)?;
                self.image = Spread::Whole(to);
                self.channels = kernel.to;
                let step = Step::Convolve { kernel, relu: *relu };
                return Ok(Layer { name: layer.name.clone(), step });
            }
            Step::Fold => self.fold(),
            Step::Unfold => self.unfold(),
            Step::Push => {
                self.skips.push(self.image.clone());
                self.waiting.push(self.channels);
            }
            Step::Join => self.join(),
            Step::Enter | Step::Leave | Step::Halve | Step::Double => {}
        }
        Ok(layer.clone())
    }

    fn column(&mut self, i: usize, held: &mut Reservation) -> Result<Layer, PipelineError> {
        let layer = &self.program.layers[i];
        let (kernel, relu) = convolution(layer);
        let unfolds = self.program.layers.get(i + 1).map(|next| &next.step);
        let parts = match unfolds {
            // Channels that unfold into one pixel's neighbours stay together.
            Some(Step::Unfold) => {
                let fine = kernel.to / 4;
                parts(fine, self.ranks).iter().map(|part| four_times(part, fine)).collect()
            }
            _ => parts(kernel.to, self.ranks),
        };
        let part = self.part(layer, kernel, &parts[self.rank], true, held)?;
        self.channels = kernel.to;
        self.image = Spread::Split(parts);
        let step = Step::Convolve { kernel: part, relu };
        Ok(Layer { name: layer.name.clone(), step })
    }

    fn row(&mut self, i: usize, held: &mut Reservation) -> Result<Op, PipelineError> {
        let layer = &self.program.layers[i];
        let (kernel, relu) = convolution(layer);
        let to: Vec<usize> = (0..kernel.to).collect();
        let part = self.part(layer, kernel, &to, true, held)?;
        self.channels = kernel.to;
        self.image = Spread::Whole(to);
        let step = Step::Convolve { kernel: part.unbiased(), relu: false };
        Ok(Op::Sum { layer: Layer { name: layer.name.clone(), step }, whole: part, relu })
    }

    fn part(
        &self,
        layer: &Layer,
        kernel: &Kernel,
        to: &[usize],
        bias: bool,
        held: &mut Reservation,
    ) -> Result<Kernel, PipelineError> {
        let from = self.image.of(self.rank);
        let values = to.len() * (from.len() * kernel.side * kernel.side + 1);
        let bytes = held.bytes() + (values * self.precision.size()) as u64;
        held.resize(bytes, &format!("weights of {}", layer.name))?;
        Ok(kernel.part(to, from, bias, &self.place.device, self.precision))
    }

    fn fold(&mut self) {
        let channels = self.channels;
        self.image.map(|list| four_times(list, channels));
        self.channels *= 4;
    }

    fn unfold(&mut self) {
        self.channels /= 4;
        let fine = self.channels;
        self.image.map(|list| {
            let first = list[..list.len() / 4].to_vec();
            assert_eq!(list, four_times(&first, fine), "channels of a pixel are apart");
            first
        });
    }

    fn join(&mut self) {
        let (skip, more) = (self.skips.pop(), self.waiting.pop().unwrap_or(0));
        let shifted = |list: &[usize]| list.iter().map(|c| c + self.channels).collect::<Vec<_>>();
        let both = |a: &[usize], b: &[usize]| [a, &shifted(b)].concat();
        self.image = match (&self.image, &skip) {
            (Spread::Whole(a), Some(Spread::Whole(b))) => Spread::Whole(both(a, b)),
            (Spread::Split(a), Some(Spread::Split(b))) => {
                Spread::Split(a.iter().zip(b).map(|(a, b)| both(a, b)).collect())
            }
            other => unreachable!("{other:?} cannot be joined"),
        };
        self.channels += more;
    }
}

fn convolution(layer: &Layer) -> (&Kernel, bool) {
    match &layer.step {
        Step::Convolve { kernel, relu } => (kernel, *relu),
        other => unreachable!("{} is no convolution", other.kind()),
    }
}

/// What these channels are after folding, or were before unfolding: one set of all channels for each of four pixels.
fn four_times(list: &[usize], channels: usize) -> Vec<usize> {
    (0..4).flat_map(|pixel| list.iter().map(move |c| pixel * channels + c)).collect()
}

impl Spread {
    fn of(&self, rank: usize) -> &[usize] {
        match self {
            Self::Whole(list) => list,
            Self::Split(lists) => &lists[rank],
        }
    }

    fn map(&mut self, change: impl Fn(&[usize]) -> Vec<usize>) {
        match self {
            Self::Whole(list) => *list = change(list),
            Self::Split(lists) => lists.iter_mut().for_each(|list| *list = change(list)),
        }
    }

    fn gathered(&self) -> Self {
        match self {
            Self::Whole(list) => Self::Whole(list.clone()),
            Self::Split(lists) => Self::Whole(lists.concat()),
        }
    }

    /// What remains, and which places of what there was that is for a rank.
    fn sliced(&self, rank: usize, ranks: usize) -> (Self, Vec<usize>) {
        let list = self.of(rank);
        let places = parts(list.len(), ranks);
        let channels = |places: &Vec<usize>| places.iter().map(|&place| list[place]).collect();
        (Self::Split(places.iter().map(channels).collect()), places[rank].clone())
    }
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
    fn try_logits(&self, x: Tensor<4>) -> Result<Tensor<4>, ParallelError> {
        Self::try_logits(self, x)
    }

    fn summary(&self) -> Summary {
        self.report().summary()
    }
}

impl MaskNetwork for Sharded {
    fn head(&self) -> Head {
        self.head
    }

    fn stride(&self) -> usize {
        self.stride
    }

    /// # Panics
    ///
    /// Where [`Sharded::try_logits`] has an error.
    fn logits(&self, x: Tensor<4>) -> Tensor<4> {
        self.try_logits(x).unwrap_or_else(|error| panic!("{error}"))
    }
}
