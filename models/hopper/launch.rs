//! The steps on a card: one launch each, through CubeCL, on Burn's own stream and memory.

use std::sync::LazyLock;

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::attributes::BufferIOAttr;
use cubecl::ir::metadata::Info;
use cubecl::ir::{AddressType, ElemType, FloatKind, UIntKind};
use cubecl::prelude::*;
use cubecl::server::{
    Handle, KernelArguments, MetadataBindingInfo, TensorMapBinding, TensorMapMeta,
};
use cubecl::zspace::{metadata::Metadata, strides};
use cubecl::{CubeKernel, PrecompiledSource};

use super::tiles::{NARROW_ROWS, SEEN, Sizes, THREADS, Tiling, WIDE};
use super::weights::Place;
use super::{Compiled, Extent};
use crate::steps::{Convolution, Image, Step, Steps, Then, View, Work};

/// The kernels' text.
const TEXT: &str = include_str!("kernels.cu");
/// What identifies it: CubeCL's caches know a kernel by its id alone.
static TEXT_HASH: LazyLock<u64> = LazyLock::new(|| {
    // FNV-1a.
    TEXT.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
});

/// Threads of a stem's cube and of a doubling's.
const STEM_THREADS: u32 = 256;
const DOUBLED_THREADS: u32 = 128;
/// Outputs of a cube of a folded stem.
const STEM_WIDE: usize = 128;
const STEM_LINES: usize = 8;
/// Pixels of a thread of a plain stem.
const STEM_RUN: usize = 4;
/// Channels of a thread of both and of a doubling.
const VECTOR: usize = 8;
/// Processors of a card that does not say how many it has: an H100's.
const PROCESSORS: u32 = 132;
/// The kernels' name in their text.
const ENTRY: &str = "network_step";

/// A kernel of the text with its constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kernel {
    Convolve(Tiling),
    Narrow { block: usize, blocks: usize, unfold: bool },
    FoldedStem,
    Stem,
    Doubled,
}

impl Kernel {
    /// The line that instantiates it.
    fn line(self) -> String {
        match self {
            Self::Convolve(tiling) => {
                let Tiling { rows, block, pair, x_stages, w_stages, finish } = tiling;
                let (pair, finish) = (u8::from(pair), finish.word());
                format!(
                    "CONVOLVE({ENTRY}, {rows}, {block}, {pair}, {x_stages}, {w_stages}, {finish})"
                )
            }
            Self::Narrow { block, blocks, unfold } => {
                format!("NARROW({ENTRY}, {block}, {blocks}, {})", u8::from(unfold))
            }
            Self::FoldedStem => format!("FOLDED_STEM({ENTRY})"),
            Self::Stem => format!("STEM({ENTRY})"),
            Self::Doubled => format!("DOUBLED({ENTRY})"),
        }
    }

    fn threads(self) -> u32 {
        match self {
            Self::Convolve(_) | Self::Narrow { .. } => THREADS,
            Self::FoldedStem | Self::Stem => STEM_THREADS,
            Self::Doubled => DOUBLED_THREADS,
        }
    }

    fn cube_dim(self) -> CubeDim {
        CubeDim::new_1d(self.threads())
    }
}

impl KernelMetadata for Kernel {
    fn id(&self) -> KernelId {
        KernelId::new::<Self>().cube_dim(self.cube_dim().0).info((*self, *TEXT_HASH))
    }

    fn address_type(&self) -> ElemType {
        UIntKind::U32.into()
    }
}

impl CubeKernel for Kernel {
    /// Nothing to expand: the text stands in for it.
    fn define(&self) -> KernelDefinition {
        let settings =
            KernelSettings::new(self.cube_dim().0, ExecutionMode::Checked, AddressType::U32);
        let body = cubecl::ir::Scope::root(settings.clone());
        KernelDefinition { body, settings, info: Info::default() }
    }

    fn source(&self) -> Option<PrecompiledSource> {
        Some(PrecompiledSource {
            source: format!("{TEXT}\n{}\n", self.line()),
            entrypoint_name: ENTRY.into(),
            lang: "cuda",
        })
    }
}

/// A forward pass under way.
struct Pass<'a> {
    steps: &'a Steps,
    weights: CubeTensor,
    numbers: CubeTensor,
    input: CubeTensor,
    extent: Extent,
    /// What tilings are chosen for.
    tiled_for: Extent,
    images: Vec<Option<CubeTensor>>,
    logits: CubeTensor,
    processors: usize,
}

/// What a kernel is given, in its order.
struct Arguments {
    maps: Vec<TensorMapBinding>,
    read: Vec<Handle>,
    written: Vec<Handle>,
    sizes: Sizes,
}

/// Logits `[batch, 1, height, width]` of such an input, both f32.
pub(super) fn run(
    input: CubeTensor,
    [weights, numbers]: [CubeTensor; 2],
    compiled: &Compiled,
    tiled_for: Option<Extent>,
) -> CubeTensor {
    let [batch, _, height, width] = input.shape().dims::<4>();
    let extent = Extent { batch, height, width };
    let processors = input.client.properties().hardware.num_streaming_multiprocessors;
    let logits = empty(&input, input.shape(), DType::F32);
    let mut pass = Pass {
        steps: &compiled.steps,
        weights: into_contiguous(weights),
        numbers: into_contiguous(numbers),
        input: into_contiguous(input),
        extent,
        tiled_for: tiled_for.unwrap_or(extent),
        images: vec![None; compiled.steps.images.len()],
        logits,
        processors: processors.unwrap_or(PROCESSORS) as usize,
    };
    let last_uses = compiled.steps.last_uses();
    for (number, (step, place)) in compiled.steps.steps.iter().zip(&compiled.places).enumerate() {
        pass.launch(step, *place);
        // Memory of an image that nobody reads any more is the next one's.
        for (image, last) in pass.images.iter_mut().zip(&last_uses) {
            if *last == number {
                *image = None;
            }
        }
    }
    pass.logits
}

fn empty(like: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape, dtype)
}

impl Pass<'_> {
    fn launch(&mut self, step: &Step, place: Place) {
        match &step.work {
            Work::Stem { folded, to } => self.stem(place, *folded, *to),
            Work::Convolve(work) => self.convolve(place, work),
            Work::Double { from, to } => self.double(*from, *to),
            Work::Narrow { from, block, unfold } => self.narrow(place, *from, *block, *unfold),
        }
    }

    fn stem(&mut self, place: Place, folded: bool, to: usize) {
        let sizes = Sizes::of(self.steps.images[to], self.extent);
        let Sizes { batch, height, width, channels, .. } = sizes;
        let (kernel, weights, count) = if folded {
            let (across, down) = (width.div_ceil(STEM_WIDE), height.div_ceil(STEM_LINES));
            let count = CubeCount::Static(across as u32, down as u32, batch as u32);
            (Kernel::FoldedStem, self.half(place.weights), count)
        } else {
            let threads = batch * height * width.div_ceil(STEM_RUN) * (channels / VECTOR);
            (Kernel::Stem, self.number(place.weights), cubes_of(threads, STEM_THREADS))
        };
        let read = vec![self.input.handle.clone(), weights, self.number(place.bias)];
        let written = vec![self.image(to).handle];
        self.enqueue(kernel, count, Arguments { maps: Vec::new(), read, written, sizes });
    }

    fn double(&mut self, from: usize, to: usize) {
        let sizes = Sizes::of(self.steps.images[from], self.extent);
        let threads = sizes.batch * sizes.height * sizes.width * (sizes.channels / VECTOR);
        let (read, written) = (vec![self.image(from).handle], vec![self.image(to).handle]);
        let arguments = Arguments { maps: Vec::new(), read, written, sizes };
        self.enqueue(Kernel::Doubled, cubes_of(threads, DOUBLED_THREADS), arguments);
    }

    fn narrow(&mut self, place: Place, from: usize, block: usize, unfold: bool) {
        let sizes = Sizes::narrow(self.steps.images[from], block, unfold, self.extent);
        let kernel = Kernel::Narrow { block, blocks: sizes.blocks, unfold };
        let map = self.map(View { image: from, folded: false }, [block, SEEN, NARROW_ROWS + 2]);
        let maps = vec![map.clone(), map];
        let read = vec![self.half(place.weights), self.number(place.bias)];
        let written = vec![self.logits.handle.clone()];
        let count = self.persistent(&sizes);
        self.enqueue(kernel, count, Arguments { maps, read, written, sizes });
    }

    fn convolve(&mut self, place: Place, work: &Convolution) {
        let tiling = Tiling::of(work, self.tiled_for, self.processors);
        let sizes = Sizes::convolution(work, self.steps, &tiling, self.extent);
        let seen = [tiling.block, SEEN, tiling.tall() + 2];
        let mut maps: Vec<_> = work.from.iter().map(|&view| self.map(view, seen)).collect();
        // What is not there is never looked at.
        maps.resize(2, maps[0].clone());
        let made = [tiling.channels(), WIDE, tiling.tall()];
        let (stored, other) = match work.then {
            Then::Store(view) => (self.map(view, made), self.numbers.handle.clone()),
            Then::Pool(view, pooled) => (self.map(view, made), self.image(pooled).handle),
            Then::Last(_) => (maps[0].clone(), self.logits.handle.clone()),
        };
        maps.push(stored);
        let read = vec![self.half(place.weights), self.number(place.bias), self.number(place.last)];
        let count = self.persistent(&sizes);
        let arguments = Arguments { maps, read, written: vec![other], sizes };
        self.enqueue(Kernel::Convolve(tiling), count, arguments);
    }

    /// One cube a processor takes tile after tile.
    fn persistent(&self, sizes: &Sizes) -> CubeCount {
        CubeCount::Static(sizes.tiles().min(self.processors) as u32, 1, 1)
    }

    /// Weights of products, from a place on.
    fn half(&self, place: usize) -> Handle {
        self.weights.handle.clone().offset_start(2 * place as u64)
    }

    /// Numbers in f32, from a place on.
    fn number(&self, place: usize) -> Handle {
        self.numbers.handle.clone().offset_start(4 * place as u64)
    }

    /// An image; its memory is taken on first use.
    fn image(&mut self, number: usize) -> CubeTensor {
        let Extent { batch, .. } = self.extent;
        let Image { channels, shrink } = self.steps.images[number];
        let [height, width] = self.extent.shrunk(shrink);
        let shape = Shape::from([batch, height, width, channels]);
        let like = &self.input;
        self.images[number].get_or_insert_with(|| empty(like, shape, DType::BF16)).clone()
    }

    /// A view of an image as the copy engine walks it, `[batch, rows, dy, columns, run]`, in boxes of so many channels, columns and rows.
    fn map(&mut self, view: View, [channels, columns, rows]: [usize; 3]) -> TensorMapBinding {
        let Image { channels: all, shrink } = self.steps.images[view.image];
        let ([height, width], fold) = (self.extent.shrunk(shrink), if view.folded { 2 } else { 1 });
        let (run, line) = (all * fold, all * width);
        let shape = [self.extent.batch, height / fold, fold, width / fold, run];
        let swizzle = if channels == 64 { TensorMapSwizzle::B128 } else { TensorMapSwizzle::B64 };
        let map = TensorMapMeta {
            format: TensorMapFormat::Tiled(TiledArgs::new(Shape::from([
                1, rows, 1, columns, channels,
            ]))),
            metadata: Metadata::new(shape, strides![height * line, fold * line, line, run, 1]),
            elem_stride: strides![1, 1, 1, 1, 1],
            interleave: TensorMapInterleave::None,
            swizzle,
            prefetch: TensorMapPrefetch::B256,
            oob_fill: OobFill::Zero,
            elem_ty: ElemType::Float(FloatKind::BF16),
        };
        TensorMapBinding::new(self.image(view.image).handle.binding(), map)
    }

    fn enqueue(&self, kernel: Kernel, count: CubeCount, arguments: Arguments) {
        let Arguments { maps, read, written, sizes } = arguments;
        let all = KernelArguments::new().with_tensor_maps(maps);
        let all = read
            .into_iter()
            .fold(all, |all, handle| all.with_buffer_io(handle.binding(), BufferIOAttr::ReadOnly));
        let all = written
            .into_iter()
            .fold(all, |all, handle| all.with_buffer_io(handle.binding(), BufferIOAttr::ReadWrite));
        // By value: without a dynamic part nothing is sent apart.
        let words = sizes.words();
        let length = words.len();
        let all = all.with_info(MetadataBindingInfo::new(words, length));
        self.input.client.launch(Box::new(kernel), count, all);
    }
}

fn cubes_of(threads: usize, cube: u32) -> CubeCount {
    CubeCount::Static(threads.div_ceil(cube as usize) as u32, 1, 1)
}
