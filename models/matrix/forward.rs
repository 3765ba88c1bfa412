//! The steps on a device, one launch each.
#![allow(
    unsafe_code,
    reason = "kernels are launched without bounds checks: buffers are made here for the sizes that the kernels are given"
)]

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::Compiled;
use super::halo::WalkLaunch;
use super::last::{self, PIXELS};
use super::means::Means;
use super::products::{self, ExtentsLaunch};
use super::thin::{self, FOURS, RUN, ThinLaunch, UNITS};
use super::tiles::{SIDE, Tile, WIDE};
use super::weights::Place;
use crate::hopper::Extent;
use crate::steps::{Convolution, Image, Step, Steps, Then, View, Work};

/// Channels of its units.
const FOUR: usize = 4;
/// Cubes of a row.
const MOST_ACROSS: usize = 1 << 15;
/// Processors of a device that does not say how many it has, as on Vulkan: those of a large card.
const PROCESSORS: u32 = 128;

/// A forward pass under way.
struct Pass<'a> {
    steps: &'a Steps,
    means: Means,
    input: CubeTensor,
    products: CubeTensor,
    numbers: CubeTensor,
    extent: Extent,
    /// What tiles are chosen for.
    tiled_for: Extent,
    processors: usize,
    images: Vec<Option<CubeTensor>>,
    logits: CubeTensor,
}

fn empty(like: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape, dtype)
}

fn arg(tensor: &CubeTensor) -> BufferArg {
    tensor.clone().into_buffer_arg()
}

/// Cubes in rows: few drivers take more than 65535 along a side.
fn cubes_of(units: usize) -> CubeCount {
    in_rows(units.div_ceil(UNITS as usize))
}

fn in_rows(cubes: usize) -> CubeCount {
    let across = cubes.clamp(1, MOST_ACROSS);
    CubeCount::Static(across as u32, cubes.div_ceil(across) as u32, 1)
}

/// Logits `[batch, 1, height, width]` of such an input, both f32.
pub(super) fn run(
    input: CubeTensor,
    [products, numbers]: [CubeTensor; 2],
    compiled: &Compiled,
    tiled_for: Option<Extent>,
) -> CubeTensor {
    let [batch, _, height, width] = input.shape().dims::<4>();
    let hardware = &input.client.properties().hardware;
    let processors = hardware.num_streaming_multiprocessors.unwrap_or(PROCESSORS) as usize;
    let extent = Extent { batch, height, width };
    let mut pass = Pass {
        steps: &compiled.steps,
        means: compiled.means,
        logits: empty(&input, input.shape(), DType::F32),
        products: into_contiguous(products),
        numbers: into_contiguous(numbers),
        extent,
        tiled_for: tiled_for.unwrap_or(extent),
        processors,
        images: vec![None; compiled.steps.images.len()],
        input: into_contiguous(input),
    };
    let last_uses = compiled.steps.last_uses();
    for (number, (step, place)) in compiled.steps.steps.iter().zip(&compiled.places).enumerate() {
        pass.take(step, *place);
        // Memory of an image that nobody reads any more is the next one's.
        for (image, last) in pass.images.iter_mut().zip(&last_uses) {
            if *last == number {
                *image = None;
            }
        }
    }
    pass.logits
}

impl Pass<'_> {
    fn take(&mut self, step: &Step, place: Place) {
        match &step.work {
            Work::Stem { folded, to } => self.stem(place, *folded, *to),
            Work::Convolve(work) => self.convolve(place, work),
            Work::Double { from, to } => self.double(*from, *to),
            Work::Narrow { from, unfold, .. } => {
                self.narrow(place, *from, *unfold);
            }
        }
    }

    fn element(&self) -> ElemType {
        self.means.element()
    }

    fn new_image(&self, of: Image) -> CubeTensor {
        let [height, width] = self.extent.shrunk(of.shrink);
        let shape = Shape::from([self.extent.batch, height, width, of.channels]);
        empty(&self.numbers, shape, self.means.dtype)
    }

    /// An image; its memory is taken on first use.
    fn image(&mut self, number: usize) -> CubeTensor {
        let of = self.steps.images[number];
        let image = self.images[number].take().unwrap_or_else(|| self.new_image(of));
        self.images[number].insert(image).clone()
    }

    /// What a kernel is told of an image; the weights begin at a number, and so does the bias.
    fn sizes(&self, of: Image, [weights, bias]: [usize; 2], count: usize) -> ThinLaunch {
        let [height, width] = self.extent.shrunk(of.shrink);
        ThinLaunch::new(height, width, of.channels, weights / FOUR, bias, count)
    }

    fn stem(&mut self, place: Place, folded: bool, to: usize) {
        let (made, of) = (self.image(to), self.steps.images[to]);
        let [height, width] = self.extent.shrunk(of.shrink);
        let groups = of.channels / (FOUR * FOURS);
        let count = self.extent.batch * height * width.div_ceil(RUN) * groups;
        let sizes = self.sizes(of, [place.weights, place.bias], count);
        // SAFETY: units beyond the image end at once.
        unsafe {
            thin::stem::launch_unchecked(
                &made.client,
                cubes_of(count),
                CubeDim::new_1d(UNITS),
                arg(&self.input),
                arg(&self.numbers),
                arg(&made),
                sizes,
                folded,
                self.element(),
            );
        }
    }

    fn double(&mut self, from: usize, to: usize) {
        let (image, made, of) = (self.image(from), self.image(to), self.steps.images[from]);
        let [height, width] = self.extent.shrunk(of.shrink);
        let groups = of.channels / self.means.lanes;
        let count = self.extent.batch * 2 * height * width * groups;
        // SAFETY: as above.
        unsafe {
            thin::double::launch_unchecked(
                &made.client,
                cubes_of(count),
                CubeDim::new_1d(UNITS),
                self.means.lanes,
                arg(&image),
                arg(&made),
                self.sizes(of, [0, 0], count),
                self.element(),
            );
        }
    }

    fn last(&self, image: &CubeTensor, of: Image, place: [usize; 2]) {
        let [height, width] = self.extent.shrunk(of.shrink);
        let count = self.extent.batch * height * width;
        // SAFETY: as above.
        unsafe {
            last::last::launch_unchecked(
                &image.client,
                in_rows(count.div_ceil(PIXELS)),
                CubeDim::new_1d(UNITS),
                arg(image),
                arg(&self.numbers),
                arg(&self.logits),
                self.sizes(of, place, count),
                self.element(),
            );
        }
    }

    /// The last convolution as one to a whole matrix of channels, of which few are logits.
    fn narrow(&mut self, place: Place, from: usize, unfold: bool) {
        let view = View { image: from, folded: false };
        let (of, logits) = (self.steps.images[from], self.logits.clone());
        let work = Convolution {
            from: vec![view],
            block: SIDE,
            pair: false,
            channels: SIDE,
            run: SIDE,
            shrink: of.shrink,
            relu: false,
            then: Then::Store(view),
        };
        let tile = Tile::of(&work, self.steps, self.means, self.tiled_for, self.processors);
        let tile = Tile { logits: if unfold { 4 } else { 1 }, ..tile };
        // Nothing is written where an image would go.
        self.product(place, &work, [&logits, &logits], false, tile);
    }

    fn convolve(&mut self, place: Place, work: &Convolution) {
        let own = Image { channels: work.channels, shrink: work.shrink, eight_bits: false };
        let (made, folded, pooled) = match work.then {
            Then::Store(view) | Then::StoreLast(view, _) => {
                (self.image(view.image), view.folded, None)
            }
            Then::Pool(view, pooled) => (self.image(view.image), false, Some(self.image(pooled))),
            Then::Last(_) => (self.new_image(own), false, None),
        };
        let tile = Tile::of(work, self.steps, self.means, self.tiled_for, self.processors);
        self.product(place, work, [&made, pooled.as_ref().unwrap_or(&made)], folded, tile);
        if let Then::Last(_) | Then::StoreLast(..) = work.then {
            self.last(&made, own, place.last);
        }
    }

    fn product(
        &mut self,
        place: Place,
        work: &Convolution,
        [made, pooled]: [&CubeTensor; 2],
        folded: bool,
        tile: Tile,
    ) {
        let [height, width] = self.extent.shrunk(work.shrink);
        let walk =
            |view: &View| WalkLaunch::new(self.steps.run(*view), if view.folded { 2 } else { 1 });
        // A second image that is not there is never looked at.
        let (first, second) = (&work.from[0], work.from.last().unwrap_or(&work.from[0]));
        let extents = ExtentsLaunch::new(
            height,
            width,
            walk(first),
            walk(second),
            WalkLaunch::new(work.run, if folded { 2 } else { 1 }),
            work.channels,
            place.weights,
            place.bias,
        );
        let [first, second] = [first, second].map(|view| self.image(view.image));
        let tiles = width.div_ceil(WIDE) * height.div_ceil(tile.tall());
        let parts = work.channels / tile.channels();
        let cubes = CubeCount::Static(tiles as u32, parts as u32, self.extent.batch as u32);
        let (moved, at_once) = self.means.moved();
        // SAFETY: tiles end at the image's borders, channels are whole parts.
        unsafe {
            products::convolve::launch_unchecked(
                &made.client,
                cubes,
                tile.cube_dim(),
                self.means.lanes,
                at_once,
                arg(&first),
                arg(&second),
                arg(&self.products),
                arg(&self.numbers),
                arg(made),
                arg(pooled),
                arg(&self.logits),
                extents,
                tile,
                self.element(),
                moved,
            );
        }
    }
}
