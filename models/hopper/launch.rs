//! The kernels of the text on a card: how they are named, given their arguments and launched through CubeCL, on Burn's own stream and memory.

use std::sync::LazyLock;

use burn::tensor::{DType, Shape};
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

use super::Extent;
use super::tiles::{FewTiling, GradientTiling, SEEN, Sizes, THREADS, Tiling, WIDE};
use super::weights::Place;
use crate::steps::{Convolution, Image, Steps, View};

/// The kernels' text, and that of weights' gradients, which follows it.
const TEXT: &str = include_str!("kernels.cu");
const GRADIENT_TEXT: &str = include_str!("gradient.cu");
/// What identifies it: CubeCL's caches know a kernel by its id alone.
static TEXT_HASH: LazyLock<u64> = LazyLock::new(|| {
    // FNV-1a.
    TEXT.bytes().chain(GRADIENT_TEXT.bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
});

/// Threads of a stem's cube and of a doubling's.
pub(super) const STEM_THREADS: u32 = 256;
pub(super) const DOUBLED_THREADS: u32 = 128;
/// Threads of a cube of few pixels: a warpgroup and a warp that loads.
const FEW_THREADS: u32 = 128 + 32;
/// Threads of a weight gradient's cube: three warpgroups and a warp that loads.
const GRADIENT_THREADS: u32 = 3 * 128 + 32;
/// Processors of a card that does not say how many it has: an H100's.
const PROCESSORS: u32 = 132;
/// The kernels' name in their text.
const ENTRY: &str = "network_step";

/// A kernel of the text with its constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kernel {
    Convolve(Tiling),
    Few(FewTiling),
    Narrow {
        rows: usize,
        block: usize,
        blocks: usize,
        unfold: bool,
    },
    /// With the bytes of a number that it makes, and rows of a cube.
    FoldedStem {
        made: usize,
        lines: usize,
    },
    /// With the bytes of a number that it makes.
    Stem(usize),
    /// The same, which it reads, too.
    Doubled(usize),
    WeightGradient(GradientTiling),
}

impl Kernel {
    /// The line that instantiates it.
    fn line(self) -> String {
        match self {
            Self::Convolve(tiling) => {
                let Tiling { rows, block, pair, x_stages, w_stages, finish, bytes } = tiling;
                let (pair, finish, [read, made]) = (u8::from(pair), finish.word(), bytes);
                format!(
                    "CONVOLVE({ENTRY}, {rows}, {block}, {pair}, {x_stages}, {w_stages}, {finish}, {read}, {made})"
                )
            }
            Self::Few(FewTiling { block, pair, stages, pools }) => {
                let (pair, finish) = (u8::from(pair), if pools { "POOL" } else { "STORE" });
                format!("FEW({ENTRY}, {block}, {pair}, {stages}, {finish})")
            }
            Self::Narrow { rows, block, blocks, unfold } => {
                format!("NARROW({ENTRY}, {rows}, {block}, {blocks}, {})", u8::from(unfold))
            }
            Self::FoldedStem { made, lines } => format!("FOLDED_STEM({ENTRY}, {made}, {lines})"),
            Self::Stem(made) => format!("STEM({ENTRY}, {made})"),
            Self::Doubled(bytes) => format!("DOUBLED({ENTRY}, {bytes})"),
            Self::WeightGradient(GradientTiling { rows, stages }) => {
                format!("WEIGHT_GRADIENT({ENTRY}, {rows}, {stages})")
            }
        }
    }

    fn threads(self) -> u32 {
        match self {
            Self::Convolve(_) | Self::Narrow { .. } => THREADS,
            Self::Few(_) => FEW_THREADS,
            Self::FoldedStem { .. } | Self::Stem(_) => STEM_THREADS,
            Self::Doubled(_) => DOUBLED_THREADS,
            Self::WeightGradient(_) => GRADIENT_THREADS,
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
        let more = if let Self::WeightGradient(_) = self { GRADIENT_TEXT } else { "" };
        Some(PrecompiledSource {
            source: format!("{TEXT}\n{more}\n{}\n", self.line()),
            entrypoint_name: ENTRY.into(),
            lang: "cuda",
        })
    }
}

/// What a kernel is given, in its order.
pub(super) struct Arguments {
    pub(super) maps: Vec<TensorMapBinding>,
    pub(super) read: Vec<Handle>,
    pub(super) written: Vec<Handle>,
    pub(super) sizes: Sizes,
}

/// A card at work on images of one extent, with a network's weights.
pub(super) struct Card<'a> {
    pub(super) steps: &'a Steps,
    /// Weights of products, and numbers in f32.
    pub(super) weights: CubeTensor,
    pub(super) numbers: CubeTensor,
    pub(super) extent: Extent,
    /// What tilings are chosen for.
    pub(super) tiled_for: Extent,
    /// Whether few pixels have a kernel of their own. In training they have none: its trial has few, its batches have many.
    pub(super) few: bool,
    pub(super) processors: usize,
}

/// What a convolution reads, by its views, where its output is stored, and its other output.
pub(super) struct Ends<'a> {
    pub(super) read: &'a [Handle],
    pub(super) stored: Option<(View, Handle)>,
    pub(super) other: Handle,
}

pub(super) fn empty(like: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape, dtype)
}

/// Processors of a tensor's card.
pub(super) fn processors_of(tensor: &CubeTensor) -> usize {
    let hardware = &tensor.client.properties().hardware;
    hardware.num_streaming_multiprocessors.unwrap_or(PROCESSORS) as usize
}

impl Card<'_> {
    pub(super) fn convolve(&self, place: Place, work: &Convolution, ends: Ends) {
        let few = || FewTiling::of(work, self.steps, self.tiled_for, self.processors);
        match (self.few.then(few).flatten(), ends) {
            (Some(tiling), Ends { read, stored: Some((_, made)), other }) => {
                self.convolve_few(place, work, tiling, read, vec![made, other]);
            }
            (_, ends) => self.convolve_many(place, work, ends),
        }
    }

    fn convolve_many(&self, place: Place, work: &Convolution, ends: Ends) {
        let tiling = Tiling::of(work, self.steps, self.tiled_for, self.processors);
        let tile @ [tall, own] = [tiling.tall(), tiling.channels()];
        let sizes = Sizes::convolution(work, self.steps, tile, self.extent);
        let mut maps = self.read_maps(work, ends.read, tall);
        let stored = ends.stored.map(|(view, handle)| self.map(&handle, view, [own, WIDE, tall]));
        // What is not there is never looked at.
        maps.push(stored.unwrap_or_else(|| maps[0].clone()));
        let read = vec![self.half(place.weights), self.number(place.bias), self.number(place.last)];
        let count = self.persistent(&sizes);
        let arguments = Arguments { maps, read, written: vec![ends.other], sizes };
        self.enqueue(Kernel::Convolve(tiling), count, arguments);
    }

    /// All tiles at once.
    fn convolve_few(
        &self,
        place: Place,
        work: &Convolution,
        tiling: FewTiling,
        read: &[Handle],
        written: Vec<Handle>,
    ) {
        let tile @ [rows, _] = FewTiling::TILE;
        let sizes = Sizes::convolution(work, self.steps, tile, self.extent);
        let maps = self.read_maps(work, read, rows);
        let read = vec![self.half(place.weights), self.number(place.bias)];
        let count = CubeCount::Static(sizes.tiles() as u32, 1, 1);
        let arguments = Arguments { maps, read, written, sizes };
        self.enqueue(Kernel::Few(tiling), count, arguments);
    }

    /// Both images that tiles of so many rows read; a second that is not there is never looked at.
    fn read_maps(&self, work: &Convolution, read: &[Handle], tall: usize) -> Vec<TensorMapBinding> {
        let read = work.from.iter().zip(read);
        let seen = [work.block, SEEN, tall + 2];
        let mut maps: Vec<_> = read.map(|(&view, handle)| self.map(handle, view, seen)).collect();
        maps.resize(2, maps[0].clone());
        maps
    }

    /// One cube a processor takes tile after tile.
    pub(super) fn persistent(&self, sizes: &Sizes) -> CubeCount {
        CubeCount::Static(sizes.tiles().min(self.processors) as u32, 1, 1)
    }

    /// Weights of products, from a place on.
    pub(super) fn half(&self, place: usize) -> Handle {
        self.weights.handle.clone().offset_start(2 * place as u64)
    }

    /// Numbers in f32, from a place on.
    pub(super) fn number(&self, place: usize) -> Handle {
        self.numbers.handle.clone().offset_start(4 * place as u64)
    }

    /// `[batch, height, width, channels]` of an image.
    pub(super) fn shape(&self, number: usize) -> [usize; 4] {
        let Image { channels, shrink, .. } = self.steps.images[number];
        let [height, width] = self.extent.shrunk(shrink);
        [self.extent.batch, height, width, channels]
    }

    /// An image that is not yet written.
    pub(super) fn new_image(&self, number: usize) -> CubeTensor {
        let dtype = if self.steps.images[number].eight_bits { DType::U8 } else { DType::BF16 };
        empty(&self.numbers, Shape::from(self.shape(number)), dtype)
    }

    /// A view of an image as the copy engine walks it, `[batch, rows, dy, columns, run]`, in boxes of so many channels, columns and rows.
    pub(super) fn map(
        &self,
        image: &Handle,
        view: View,
        [channels, columns, rows]: [usize; 3],
    ) -> TensorMapBinding {
        let [batch, height, width, all] = self.shape(view.image);
        let fold = if view.folded { 2 } else { 1 };
        let (run, line) = (all * fold, all * width);
        let shape = [batch, height / fold, fold, width / fold, run];
        let swizzle = match channels * self.steps.bytes(view.image) {
            128 => TensorMapSwizzle::B128,
            64 => TensorMapSwizzle::B64,
            _ => TensorMapSwizzle::B32,
        };
        let elem_ty = match self.steps.images[view.image].eight_bits {
            true => ElemType::UInt(UIntKind::U8),
            false => ElemType::Float(FloatKind::BF16),
        };
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
            elem_ty,
        };
        TensorMapBinding::new(image.clone().binding(), map)
    }

    pub(super) fn enqueue(&self, kernel: Kernel, count: CubeCount, arguments: Arguments) {
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
        self.numbers.client.launch(Box::new(kernel), count, all);
    }
}

/// Cubes of so many threads for all of these.
pub(super) fn cubes_of(threads: usize, cube: u32) -> CubeCount {
    CubeCount::Static(threads.div_ceil(cube as usize) as u32, 1, 1)
}
