//! One rank's part of a program: which channels of which weights.

use burn::tensor::DType;
use lithoburn_ranks::PipelineError;
use lithoburn_ranks::budget::Reservation;
use lithoburn_ranks::collective::Peer;

use super::Place;
use super::ways::{Act, parts};
use crate::kernel::Kernel;
use crate::program::{Layer, LayerKind, Program};

/// What a rank does, with its part of the weights.
pub(super) enum Op {
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

/// Cuts one rank's part out of the program, act by act.
pub(super) struct Cutter<'a> {
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
    pub(super) fn new(
        program: &'a Program,
        peer: &Peer,
        place: &'a Place,
        precision: DType,
    ) -> Self {
        let (rank, ranks) = (peer.rank(), peer.ranks());
        let image = Spread::Whole(vec![0]);
        let (skips, waiting) = (Vec::new(), Vec::new());
        Self { program, rank, ranks, place, precision, image, skips, channels: 1, waiting }
    }

    /// What an act is for this rank; its weights are reserved and placed.
    pub(super) fn op(&mut self, act: Act, held: &mut Reservation) -> Result<Op, PipelineError> {
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
        match &layer.kind {
            LayerKind::Convolve { kernel, relu } => {
                let to: Vec<usize> = (0..kernel.to).collect();
                let kernel = self.part(layer, kernel, &to, true, held)?;
                self.image = Spread::Whole(to);
                self.channels = kernel.to;
                let kind = LayerKind::Convolve { kernel, relu: *relu };
                return Ok(Layer { name: layer.name.clone(), kind });
            }
            LayerKind::Fold => self.fold(),
            LayerKind::Unfold => self.unfold(),
            LayerKind::Push => {
                self.skips.push(self.image.clone());
                self.waiting.push(self.channels);
            }
            LayerKind::Join => self.join(),
            LayerKind::Enter | LayerKind::Leave | LayerKind::Halve | LayerKind::Double => {}
        }
        Ok(layer.clone())
    }

    fn column(&mut self, i: usize, held: &mut Reservation) -> Result<Layer, PipelineError> {
        let layer = &self.program.layers[i];
        let (kernel, relu) = convolution(layer);
        let unfolds = self.program.layers.get(i + 1).map(|next| &next.kind);
        let parts = match unfolds {
            // Channels that unfold into one pixel's neighbours stay together.
            Some(LayerKind::Unfold) => {
                let fine = kernel.to / 4;
                parts(fine, self.ranks).iter().map(|part| four_times(part, fine)).collect()
            }
            _ => parts(kernel.to, self.ranks),
        };
        let part = self.part(layer, kernel, &parts[self.rank], true, held)?;
        self.channels = kernel.to;
        self.image = Spread::Split(parts);
        let kind = LayerKind::Convolve { kernel: part, relu };
        Ok(Layer { name: layer.name.clone(), kind })
    }

    fn row(&mut self, i: usize, held: &mut Reservation) -> Result<Op, PipelineError> {
        let layer = &self.program.layers[i];
        let (kernel, relu) = convolution(layer);
        let to: Vec<usize> = (0..kernel.to).collect();
        let part = self.part(layer, kernel, &to, true, held)?;
        self.channels = kernel.to;
        self.image = Spread::Whole(to);
        let kind = LayerKind::Convolve { kernel: part.unbiased(), relu: false };
        Ok(Op::Sum { layer: Layer { name: layer.name.clone(), kind }, whole: part, relu })
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
    match &layer.kind {
        LayerKind::Convolve { kernel, relu } => (kernel, *relu),
        other => unreachable!("{} is no convolution", other.word()),
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
