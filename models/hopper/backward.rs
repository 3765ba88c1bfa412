//! The way back on a card.
//!
//! Requests and gradients of sums are images in bf16, as the steps' own are; gradients of weights are summed in f32. What is summed pixel by pixel, as
//! biases' gradients are, is added up by one launch at the end.

use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::full_device_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::{CubeCount, InputScalar};
use cubecl::server::Handle;

use super::launch::{Arguments, Card, Ends, Kernel, empty, processors_of};
use super::places::{Places, of_bias};
use super::plan::Plan;
use super::room::{Held, Room};
use super::tape::tape_places;
use super::tiles::{GRADIENT_BLOCK, GradientTiling, SEEN, WIDE};
use super::weights::Place;
use super::{Compiled, Extent};
use crate::adjoints::Picture;
use crate::adjoints::images::{Other, Summed, gathered};
use crate::adjoints::products::products;
use crate::adjoints::sums::{self, Blocks, Splits};
use crate::adjoints::tables::{Tables, Target};
use crate::steps::back::{Ask, Asked, Gather, Pull, Thin};
use crate::steps::{Convolution, Then, View, Work};

/// Taps of a kernel.
const TAPS: usize = 9;

/// A way back under way.
struct WayBack<'a> {
    plan: &'a Plan,
    card: Card<'a>,
    input: CubeTensor,
    tape: CubeTensor,
    /// Where each image is on the tape.
    places: Vec<usize>,
    /// All weights in f32.
    flat: CubeTensor,
    /// The logits' gradient.
    of_logits: CubeTensor,
    requests: Vec<Option<Held>>,
    /// Gradients of images' sums.
    of_sums: Vec<Option<Picture>>,
    /// Whether the bias that an image was made with is among the tables.
    summed: Vec<bool>,
    /// Sums that are made in parts.
    tables: Tables,
    /// The gradient of the weights that were met last, until its splits are added up beside something else.
    splits: Option<(Held, Blocks)>,
    /// Memory for images and splits.
    room: Room<'a>,
    /// Gradients of all weights, in the precision that they are given out in.
    gradient: CubeTensor,
}

/// What the way back reads.
pub(super) struct Inputs {
    pub(super) input: CubeTensor,
    pub(super) tape: CubeTensor,
    pub(super) weights: [CubeTensor; 2],
    pub(super) flat: CubeTensor,
    pub(super) of_logits: CubeTensor,
}

/// Gradients of all weights, in the order of [`crate::flat::Flat`].
pub(super) fn run(inputs: Inputs, plan: &Plan) -> CubeTensor {
    let Inputs { input, tape, weights: [weights, numbers], flat, of_logits } = inputs;
    let [batch, _, height, width] = input.shape().dims::<4>();
    let extent = Extent { batch, height, width };
    let card = Card {
        steps: &plan.compiled.steps,
        weights: into_contiguous(weights),
        numbers: into_contiguous(numbers),
        extent,
        tiled_for: extent,
        few: false,
        processors: processors_of(&input),
    };
    let (images, requests) = (plan.compiled.steps.images.len(), plan.back.requests.len());
    let gradient = begun(&input, plan);
    let tables = sums_of_tables(plan);
    let tables = Tables::of(&gradient, tables.iter().sum(), tables.len());
    let most = tape.meta.num_elements() * tape.dtype.size();
    let room = Room::new(&input, &plan.needs, extent, most);
    let mut way = WayBack {
        plan,
        card,
        input: into_contiguous(input),
        tape,
        places: tape_places(&plan.compiled.steps, extent).0,
        flat: into_contiguous(flat),
        of_logits: into_contiguous(of_logits),
        requests: vec![None; requests],
        of_sums: vec![None; images],
        summed: vec![false; images],
        tables,
        splits: None,
        room,
        gradient,
    };
    let mut asks = plan.ask_places.iter();
    for pull in &plan.back.pulls {
        match pull {
            Pull::Last { image, thin } => way.last(*image, *thin),
            Pull::Gather(gather) => way.gather(gather),
            Pull::Weights(step) => way.weights(*step),
            Pull::Stem(step) => way.stem(*step),
            Pull::Ask(ask) => way.ask(ask, asks.next().copied().unwrap_or_default()),
        }
    }
    way.total_splits();
    way.tables.total(&plan.told, &way.gradient);
    way.room.close();
    way.gradient
}

/// Sums of each table that is made in parts.
fn sums_of_tables(Plan { compiled: Compiled { steps, .. }, back, .. }: &Plan) -> Vec<usize> {
    let thin = |image: usize, taps: usize| steps.images[image].channels * taps;
    let of_pull = |pull: &Pull| match *pull {
        Pull::Last { image, thin: Thin { side, few, .. } } => {
            vec![thin(image, side * side * few), few]
        }
        Pull::Stem(step) => match steps.steps[step].work {
            Work::Stem { folded, to } => vec![thin(to, TAPS * few_of(folded)), thin(to, 1)],
            _ => Vec::new(),
        },
        Pull::Weights(step) => match &steps.steps[step].work {
            Work::Convolve(work) => {
                stored(work).map(|view| steps.channels(view)).into_iter().collect()
            }
            _ => Vec::new(),
        },
        Pull::Gather(_) | Pull::Ask(_) => Vec::new(),
    };
    back.pulls.iter().flat_map(of_pull).collect()
}

/// Values of the input's pixels that the first convolution sees at once.
fn few_of(folded: bool) -> usize {
    if folded { 4 } else { 1 }
}

/// A convolution's gradient as what adds it up takes it.
fn added_up((parts, blocks): &(Held, Blocks)) -> Splits {
    Splits { all: parts.values.clone(), blocks: *blocks }
}

/// What a convolution keeps on the tape.
fn stored(work: &Convolution) -> Option<View> {
    match work.then {
        Then::Store(view) | Then::Pool(view, _) | Then::StoreLast(view, _) => Some(view),
        _ => None,
    }
}

/// Memory for the gradients of all weights, every number of which will be written.
fn begun(input: &CubeTensor, plan: &Plan) -> CubeTensor {
    let shape = Shape::from([plan.flat.count]);
    match plan.marked {
        true => {
            let nan = InputScalar::new(f32::NAN, dtype_to_storage_type(plan.gradients));
            let (client, device) = (input.client.clone(), input.device.clone());
            full_device_dtype(client, shape, device, nan, plan.gradients)
        }
        false => empty(input, shape, plan.gradients),
    }
}

impl WayBack<'_> {
    fn on_tape(&self, image: usize) -> Handle {
        self.tape.handle.clone().offset_start(2 * self.places[image] as u64)
    }

    fn picture(&self, image: usize) -> Picture {
        let shape = self.card.shape(image);
        let (client, device) = (self.tape.client.clone(), self.tape.device.clone());
        let handle = self.on_tape(image);
        let values =
            CubeTensor::new_contiguous(client, device, Shape::from(shape), handle, DType::BF16);
        let [batch, height, width, channels] = shape;
        Picture { values, batch, height, width, channels }
    }

    fn last(&mut self, image: usize, thin: Thin) {
        let Plan { compiled, flat, .. } = self.plan;
        let Some(places) = Places::of_last(flat, &compiled.steps, image, thin) else { return };
        let of = self.picture(image);
        products(&of, &self.of_logits, thin, true, &mut self.tables, places.weight);
        if let Some(bias) = places.bias {
            let Extent { batch, height, width } = self.card.extent;
            let size = [batch * height * width, width];
            sums::logits(&self.of_logits, size, thin.few, &mut self.tables, bias);
        }
    }

    fn gather(&mut self, gather: &Gather) {
        let mut taken = |request: usize| self.requests[request].take();
        let own: Vec<Held> = gather.own.iter().filter_map(|&own| taken(own)).collect();
        let asked = match gather.other {
            Some(Asked::Pooled(request) | Asked::Doubled(request)) => taken(request),
            _ => None,
        };
        let other = match (gather.other, &asked) {
            (Some(Asked::Pooled(_)), Some(asked)) => Some(Other::Pooled(&asked.values)),
            (Some(Asked::Doubled(_)), Some(asked)) => Some(Other::Doubled(&asked.values)),
            (Some(Asked::Logits(thin)), _) => {
                let weight = self.plan.flat.layers[thin.layer].map_or(0, |kernel| kernel.weight);
                let (gradient, weights) = (&self.of_logits, &self.flat);
                Some(Other::Logits { thin, gradient, weights, weight })
            }
            _ => None,
        };
        let image = self.picture(gather.image);
        let out = self.room.take(image.values.shape(), DType::BF16);
        let bias = self.bias_of(gather.image).filter(|(folded, _)| !folded || other.is_none());
        self.summed[gather.image] = bias.is_some();
        let splits = if other.is_none() && bias.is_some() { self.splits.take() } else { None };
        let (tables, beside) = (&mut self.tables, splits.as_ref().map(added_up));
        let beside = (beside, &self.gradient);
        let summed = bias.map(|(folded, bias)| Summed { tables, bias, folded, beside });
        let requests: Vec<CubeTensor> = own.iter().map(|own| own.values.clone()).collect();
        let of_sums = gathered(&image, &requests, other, gather.relu, summed, out.values);
        self.of_sums[gather.image] = Some(of_sums);
        // Their readers are launched.
        let done = own.into_iter().chain(asked).chain(splits.map(|(parts, _)| parts));
        for held in done {
            self.room.give(held);
        }
    }

    /// The bias that an image was made with, and whether that is one for each of two by two of its pixels.
    fn bias_of(&self, image: usize) -> Option<(bool, Target)> {
        let Plan { compiled: Compiled { steps, .. }, flat, .. } = self.plan;
        steps.steps.iter().find_map(|step| {
            let (folded, channels) = match &step.work {
                Work::Convolve(work) => {
                    let made = stored(work).filter(|made| made.image == image)?;
                    (made.folded, steps.channels(made))
                }
                Work::Stem { to, .. } if *to == image => (false, steps.images[image].channels),
                _ => return None,
            };
            Some((folded, of_bias(flat, step.layer, channels)?))
        })
    }

    /// The gradient of a convolution's weights in splits, their sum, and the gradient of its bias.
    fn weights(&mut self, step: usize) {
        let step = &self.plan.compiled.steps.steps[step];
        let Work::Convolve(work) = &step.work else { return };
        let Some((made, of_sums)) = self.made(work) else { return };
        let Card { steps, extent, processors, .. } = self.card;
        let (tiling, sizes) = GradientTiling::of(work, made, steps, extent, processors);
        let layer = (step.layer, work);
        let places = Places::of_convolution(&self.plan.flat, steps, layer, made, &sizes);
        let Some(places) = places else { return };
        let seen = [GRADIENT_BLOCK, SEEN, tiling.rows + 2];
        let read = |&view: &View| self.card.map(&self.on_tape(view.image), view, seen);
        let own = [GRADIENT_BLOCK, WIDE, tiling.rows];
        let mut maps = vec![self.card.map(&of_sums.values.handle, made, own)];
        maps.extend(work.from.iter().map(read));
        // What is not there is never looked at.
        maps.resize(3, maps[1].clone());
        let cubes = sizes.parts * sizes.blocks * sizes.splits;
        let shape = Shape::from([cubes, TAPS, GRADIENT_BLOCK, GRADIENT_BLOCK]);
        self.total_splits();
        let parts = self.room.take(shape, DType::F32);
        let written = vec![parts.values.handle.clone()];
        let count = CubeCount::Static(cubes as u32, 1, 1);
        let arguments = Arguments { maps, read: Vec::new(), written, sizes };
        self.card.enqueue(Kernel::WeightGradient(tiling), count, arguments);
        self.splits = Some((parts, places.weight));
        self.bias(made, places.bias);
    }

    /// Adds up the splits that nothing was launched beside.
    fn total_splits(&mut self) {
        if let Some(splits) = self.splits.take() {
            added_up(&splits).total(&self.gradient);
            self.room.give(splits.0);
        }
    }

    /// The gradient of a bias, unless it was summed before.
    fn bias(&mut self, made: View, bias: Option<Target>) {
        let of_sums = self.of_sums[made.image].as_ref().filter(|_| !self.summed[made.image]);
        if let (Some(of_sums), Some(bias)) = (of_sums, bias) {
            sums::channels(of_sums, made.folded, &mut self.tables, bias);
        }
    }

    /// What a convolution stored, and the gradient of its sums.
    fn made(&self, work: &Convolution) -> Option<(View, &Picture)> {
        let view = stored(work)?;
        Some((view, self.of_sums[view.image].as_ref()?))
    }

    fn stem(&mut self, step: usize) {
        let Plan { compiled, flat, .. } = self.plan;
        let step = &compiled.steps.steps[step];
        let Work::Stem { folded, to } = step.work else { return };
        let thin = Thin { layer: step.layer, side: 3, few: few_of(folded) };
        let places = Places::of_stem(flat, &compiled.steps, thin, to);
        let (Some(of_sums), Some(places)) = (&self.of_sums[to], places) else { return };
        products(of_sums, &self.input, thin, false, &mut self.tables, places.weight);
        self.bias(View { image: to, folded: false }, places.bias);
    }

    fn ask(&mut self, ask: &Ask, place: Place) {
        let (from, Then::Store(read)) = (ask.work.from[0], ask.work.then) else { return };
        let Some(of_sums) = &self.of_sums[from.image] else { return };
        let shape = Shape::from(self.card.shape(read.image));
        let request = self.room.take(shape, DType::BF16);
        let ends = Ends {
            read: std::slice::from_ref(&of_sums.values.handle),
            stored: Some((read, request.values.handle.clone())),
            other: self.card.number(0),
        };
        self.card.convolve(place, &ask.work, ends);
        self.requests[ask.request] = Some(request);
    }
}
