//! The steps on a card, one launch each.

use std::ops::Range;

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Client;
use cubecl::prelude::CubeCount;
use cubecl::server::Handle;

use super::launch::{
    Arguments, Card, DOUBLED_THREADS, Ends, Kernel, STEM_THREADS, cubes_of, empty, processors_of,
};
use super::tape::tape_places;
use super::tiles::{SEEN, STEM_WIDE, Sizes};
use super::weights::Place;
use super::{Compiled, Extent};
use crate::steps::{Convolution, Step, Then, View, Work};

/// Pixels of a thread of a plain stem.
const STEM_RUN: usize = 4;
/// Channels of a thread of both and of a doubling.
const VECTOR: usize = 8;

/// A forward pass under way.
pub(super) struct Pass<'a> {
    card: Card<'a>,
    input: CubeTensor,
    images: Vec<Option<Handle>>,
    logits: CubeTensor,
}

/// Logits `[batch, 1, height, width]` of such an input, both f32, and a tape of all images: [`tape_places`] says where each is.
pub(super) fn recorded(
    input: CubeTensor,
    weights: [CubeTensor; 2],
    compiled: &Compiled,
    tiled_for: Option<Extent>,
) -> (CubeTensor, CubeTensor) {
    let mut pass = Pass::new(input, weights, compiled, tiled_for);
    pass.card.few = false;
    let (places, length) = tape_places(&compiled.steps, pass.card.extent);
    let tape = empty(&pass.input, Shape::from([length]), DType::BF16);
    let on_tape = |&place: &usize| Some(tape.handle.clone().offset_start(2 * place as u64));
    pass.images = places.iter().map(on_tape).collect();
    for (step, place) in compiled.steps.steps.iter().zip(&compiled.places) {
        pass.launch(step, *place);
    }
    (pass.logits, tape)
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        input: CubeTensor,
        [weights, numbers]: [CubeTensor; 2],
        compiled: &'a Compiled,
        tiled_for: Option<Extent>,
    ) -> Self {
        let [batch, _, height, width] = input.shape().dims::<4>();
        let extent = Extent { batch, height, width };
        let logits = empty(&input, input.shape(), DType::F32);
        let card = Card {
            steps: &compiled.steps,
            weights: into_contiguous(weights),
            numbers: into_contiguous(numbers),
            extent,
            tiled_for: tiled_for.unwrap_or(extent),
            few: true,
            processors: processors_of(&input),
        };
        let images = vec![None; compiled.steps.images.len()];
        Self { card, input: into_contiguous(input), images, logits }
    }

    /// The same on an input and logits of its own, which hold anything yet.
    pub(super) fn on_its_own(&self, compiled: &'a Compiled) -> Self {
        let input = empty(&self.input, self.input.shape(), DType::F32);
        Self::new(input, self.weights(), compiled, Some(self.card.tiled_for))
    }

    /// Where its input is, and where its logits will be.
    pub(super) fn ends(&self) -> [Handle; 2] {
        [&self.input, &self.logits].map(|tensor| tensor.handle.clone())
    }

    /// All steps, one by one.
    pub(super) fn launched(&mut self, compiled: &Compiled) {
        let last_uses = compiled.steps.last_uses();
        self.images.fill(None);
        for number in 0..compiled.steps.steps.len() {
            self.launch_all(compiled, number..number + 1);
            // Memory of an image that nobody reads any more is the next one's.
            for (image, last) in self.images.iter_mut().zip(&last_uses) {
                if *last == number {
                    *image = None;
                }
            }
        }
    }

    /// Some steps.
    pub(super) fn launch_all(&mut self, compiled: &Compiled, steps: Range<usize>) {
        for number in steps {
            self.launch(&compiled.steps.steps[number], compiled.places[number]);
        }
    }

    /// Memory for all images at once, which the pass works in from then on.
    pub(super) fn own_images(&mut self) -> Vec<Handle> {
        self.images.fill(None);
        (0..self.images.len()).map(|number| self.image(number)).collect()
    }

    /// Works in such images from then on.
    pub(super) fn use_images(&mut self, images: &[Handle]) {
        self.images = images.iter().cloned().map(Some).collect();
    }

    /// What the pass makes, `[batch, 1, height, width]` in f32.
    pub(super) fn logits(self) -> CubeTensor {
        self.logits
    }

    pub(super) fn extent(&self) -> Extent {
        self.card.extent
    }

    /// The stream that it is launched on.
    pub(super) fn stream(&self) -> u64 {
        self.logits.handle.stream.value
    }

    pub(super) fn client(&self) -> Client {
        self.logits.client.clone()
    }

    pub(super) fn weights(&self) -> [CubeTensor; 2] {
        [self.card.weights.clone(), self.card.numbers.clone()]
    }

    fn launch(&mut self, step: &Step, place: Place) {
        match &step.work {
            Work::Stem { folded, to } => self.stem(place, *folded, *to),
            Work::Convolve(work) => self.convolve(place, work),
            Work::Double { from, to } => self.double(*from, *to),
            Work::Narrow { from, block, unfold } => self.narrow(place, *from, *block, *unfold),
        }
    }

    fn stem(&mut self, place: Place, folded: bool, to: usize) {
        let sizes = Sizes::of(self.card.steps.images[to], self.card.extent);
        let (Sizes { batch, height, width, channels, .. }, made) =
            (sizes, self.card.steps.bytes(to));
        let (kernel, weights, count) = if folded {
            let tiled = Sizes::of(self.card.steps.images[to], self.card.tiled_for);
            let lines = tiled.stem_lines(self.card.processors);
            let (across, down) = (width.div_ceil(STEM_WIDE), height.div_ceil(lines));
            let count = CubeCount::Static(across as u32, down as u32, batch as u32);
            (Kernel::FoldedStem { made, lines }, self.card.half(place.weights), count)
        } else {
            let threads = batch * height * width.div_ceil(STEM_RUN) * (channels / VECTOR);
            (Kernel::Stem(made), self.card.number(place.weights), cubes_of(threads, STEM_THREADS))
        };
        let read = vec![self.input.handle.clone(), weights, self.card.number(place.bias)];
        let written = vec![self.image(to)];
        self.card.enqueue(kernel, count, Arguments { maps: Vec::new(), read, written, sizes });
    }

    fn double(&mut self, from: usize, to: usize) {
        let sizes = Sizes::of(self.card.steps.images[from], self.card.extent);
        let threads = sizes.batch * sizes.height * sizes.width * (sizes.channels / VECTOR);
        let (read, written) = (vec![self.image(from)], vec![self.image(to)]);
        let arguments = Arguments { maps: Vec::new(), read, written, sizes };
        let kernel = Kernel::Doubled(self.card.steps.bytes(from));
        self.card.enqueue(kernel, cubes_of(threads, DOUBLED_THREADS), arguments);
    }

    fn narrow(&mut self, place: Place, from: usize, block: usize, unfold: bool) {
        let read = self.card.steps.images[from];
        let rows = Sizes::of(read, self.card.tiled_for).narrow_rows(self.card.processors);
        let sizes = Sizes::narrow(read, block, unfold, rows, self.card.extent);
        let kernel = Kernel::Narrow { rows, block, blocks: sizes.blocks, unfold };
        let (image, view) = (self.image(from), View { image: from, folded: false });
        let map = self.card.map(&image, view, [block, SEEN, rows + 2]);
        let maps = vec![map.clone(), map];
        let read = vec![self.card.half(place.weights), self.card.number(place.bias)];
        let written = vec![self.logits.handle.clone()];
        let count = self.card.persistent(&sizes);
        self.card.enqueue(kernel, count, Arguments { maps, read, written, sizes });
    }

    fn convolve(&mut self, place: Place, work: &Convolution) {
        let read: Vec<_> = work.from.iter().map(|view| self.image(view.image)).collect();
        let (stored, other) = match work.then {
            Then::Store(view) => (Some(view), self.card.number(0)),
            Then::Pool(view, pooled) => (Some(view), self.image(pooled)),
            Then::Last(_) => (None, self.logits.handle.clone()),
            Then::StoreLast(view, _) => (Some(view), self.logits.handle.clone()),
        };
        let stored = stored.map(|view| (view, self.image(view.image)));
        self.card.convolve(place, work, Ends { read: &read, stored, other });
    }

    /// An image; its memory is taken on first use.
    fn image(&mut self, number: usize) -> Handle {
        let Self { card, images, .. } = self;
        images[number].get_or_insert_with(|| card.new_image(number).handle).clone()
    }
}
