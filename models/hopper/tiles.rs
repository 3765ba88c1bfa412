//! How a convolution is shared out: tiles of its output, and the rings of stages in shared memory that feed them.

use super::Extent;
use crate::steps::{Convolution, Image, Steps, Then, View};

/// Columns of a tile of outputs.
pub(super) const WIDE: usize = 8;
/// Columns of inputs that they see.
pub(super) const SEEN: usize = WIDE + 2;
/// Rows of a tile of the last layer: of many images, and of few.
const NARROW_ROWS: [usize; 2] = [32, 8];
/// Columns of outputs of a folded stem's cube.
pub(super) const STEM_WIDE: usize = 128;
/// Its rows: the most with which nearly every processor has a cube.
const STEM_LINES: [usize; 4] = [8, 4, 2, 1];
/// Threads of a cube: two warpgroups that compute, two warps that load.
pub(super) const THREADS: u32 = 2 * 128 + 2 * 32;
/// Output channels of a tile, and where rows of pixels are in pairs.
const CHANNELS: [usize; 2] = [64, 32];

/// What a convolution's kernel does with its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Finish {
    Store,
    Pool,
    Last,
    StoreLast,
}

impl Finish {
    /// Its name in the kernels' text.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Store => "STORE",
            Self::Pool => "POOL",
            Self::Last => "LAST",
            Self::StoreLast => "STORE_LAST",
        }
    }
}

/// The constants of a convolution's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tiling {
    /// Groups of eight pixels: rows of a tile, or pairs of rows.
    pub(super) rows: usize,
    /// Input channels of a stage.
    pub(super) block: usize,
    /// Whether rows of pixels are in pairs.
    pub(super) pair: bool,
    /// Stages of pixels.
    pub(super) x_stages: usize,
    /// Stages of weights, three taps each.
    pub(super) w_stages: usize,
    /// What happens to the output.
    pub(super) finish: Finish,
    /// Bytes of a number that is read, and of one that is made.
    pub(super) bytes: [usize; 2],
}

/// Rows of a tile, and the stages of pixels and weights for it, by the bytes of a pixel's block of channels: what an H100 was fastest with among what
/// fits into 227 KiB. Large tiles read weights least often; small ones keep a card busy with few images.
fn rings(pixel: usize, pair: bool) -> &'static [[usize; 3]] {
    match (pixel, pair) {
        (128, _) => &[[32, 2, 3], [16, 2, 6], [8, 2, 6]],
        (_, true) => &[[32, 2, 6], [16, 3, 8]],
        (_, false) => &[[32, 3, 6], [16, 3, 6]],
    }
}

impl Tiling {
    /// The largest tiles of which there is one for nearly every processor of the card. No sum depends on the choice: it is the order of
    /// blocks, taps and channels alone, so that an image's logits are the same in any batch.
    pub(super) fn of(work: &Convolution, steps: &Steps, extent: Extent, processors: usize) -> Self {
        let bytes = bytes(work, steps);
        let finish = match work.then {
            Then::Store(_) => Finish::Store,
            Then::Pool(..) => Finish::Pool,
            Then::Last(_) => Finish::Last,
            Then::StoreLast(..) => Finish::StoreLast,
        };
        let Convolution { block, pair, .. } = *work;
        let rings = rings(block * bytes[0], pair).iter();
        let choices = rings.map(|&[rows, x_stages, w_stages]| Self {
            rows,
            block,
            pair,
            x_stages,
            w_stages,
            finish,
            bytes,
        });
        let [height, width] = extent.shrunk(work.shrink);
        let enough = |tiling: &Self| {
            let tiles = width.div_ceil(WIDE) * height.div_ceil(tiling.tall()) * extent.batch;
            let fits = tiling.tall() <= height.next_multiple_of(2 * WIDE);
            fits && 10 * tiles * work.channels / tiling.channels() >= 9 * processors
        };
        let choices: Vec<Self> = choices.collect();
        let smallest = choices[choices.len() - 1];
        choices.into_iter().find(enough).unwrap_or(smallest)
    }

    /// Rows of pixels of a tile.
    pub(super) fn tall(&self) -> usize {
        self.rows * if self.pair { 2 } else { 1 }
    }

    /// Output channels of a tile.
    pub(super) fn channels(&self) -> usize {
        CHANNELS[usize::from(self.pair)]
    }
}

/// Stages that a tile of few pixels has: two for two blocks of input channels or one, four for more, as many as fit.
const FEW_STAGES: [usize; 2] = [2, 4];

/// The constants of the kernel for few pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FewTiling {
    /// Input channels of a stage.
    pub(super) block: usize,
    /// Whether the weights are those of rows of pixels in pairs.
    pub(super) pair: bool,
    /// Stages of pixels and weights.
    pub(super) stages: usize,
    /// Whether the largest of each two by two pixels are stored, too.
    pub(super) pools: bool,
}

impl FewTiling {
    /// Rows of a tile, and its output channels.
    pub(super) const TILE: [usize; 2] = [8, 32];

    /// If all tiles of such a convolution find a place on the card at once, and it does nothing but what this kernel can. Two tiles share a
    /// processor if their stages are small.
    pub(super) fn of(
        work: &Convolution,
        steps: &Steps,
        extent: Extent,
        processors: usize,
    ) -> Option<Self> {
        let pools = match work.then {
            Then::Store(_) => false,
            Then::Pool(..) => true,
            Then::Last(_) | Then::StoreLast(..) => return None,
        };
        let Convolution { block, pair, .. } = *work;
        let sizes = Sizes::convolution(work, steps, Self::TILE, extent);
        let [few, many] = FEW_STAGES;
        let stages = if sizes.blocks <= few { few } else { many };
        let tiling = Self { block, pair, stages, pools };
        let fits = sizes.tiles() <= tiling.beside() * processors && bytes(work, steps) == [2, 2];
        fits.then_some(tiling)
    }

    /// Cubes that share a processor. Two with blocks of 64 channels and two stages would fit, but take longer than CONVOLVE's tiles.
    pub(super) fn beside(&self) -> usize {
        if self.block <= 32 { 2 } else { 1 }
    }

    /// Bytes of shared memory, as the kernel's text sums them up.
    #[cfg(test)]
    pub(super) fn shared(&self) -> usize {
        let ([rows, channels], pixel) = (Self::TILE, 2 * self.block);
        let pixels = ((rows + 2) * SEEN * pixel).next_multiple_of(1024);
        self.stages * (pixels + 9 * channels * pixel + 16)
    }
}

/// Bytes of a number that a convolution reads, and of one that it makes. A last 1×1 convolution reads sixteen bits.
pub(super) fn bytes(work: &Convolution, steps: &Steps) -> [usize; 2] {
    let made = match work.then {
        Then::Store(view) | Then::Pool(view, _) => steps.bytes(view.image),
        Then::Last(_) | Then::StoreLast(..) => 2,
    };
    [steps.bytes(work.from[0].image), made]
}

/// Channels of a block of a weight's gradient, both of output and of input.
pub(super) const GRADIENT_BLOCK: usize = 64;
/// Rows of a tile of a weight's gradient, and stages for it.
const GRADIENT_RINGS: [[usize; 2]; 3] = [[32, 2], [16, 4], [8, 6]];
/// Cubes for each processor that splits of the pixels may make, and splits that cost as much as a tile: each is written and read once.
const MOST_WAVES: usize = 4;
const SPLITS_A_TILE: usize = 16;

/// The constants of a weight gradient's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct GradientTiling {
    /// Rows of a tile.
    pub(super) rows: usize,
    /// Stages.
    pub(super) stages: usize,
}

impl GradientTiling {
    /// The largest tiles that the images fill, and the splits of the pixels that a card is done with first.
    pub(super) fn of(
        work: &Convolution,
        made: View,
        steps: &Steps,
        extent: Extent,
        processors: usize,
    ) -> (Self, Sizes) {
        let [height, width] = extent.shrunk(work.shrink);
        let [rows, stages] = GRADIENT_RINGS
            .into_iter()
            .find(|&[rows, _]| rows <= height)
            .unwrap_or(GRADIENT_RINGS[2]);
        let run = |view: View| steps.run(view).div_ceil(GRADIENT_BLOCK);
        let blocks = |view: View| steps.channels(view) / steps.run(view) * run(view);
        let (one, two) = (work.from[0], work.from.get(1));
        let (across, down) = (width.div_ceil(WIDE), height.div_ceil(rows));
        let (parts, all) = (blocks(made), work.from.iter().map(|&view| blocks(view)).sum());
        let sizes = Sizes {
            across,
            down,
            parts,
            blocks: all,
            first: blocks(one),
            runs: [run(one), two.map_or(1, |&view| run(view))],
            run: run(made),
            batch: extent.batch,
            height,
            width,
            channels: work.channels,
            relu: false,
            splits: splits(parts * all, across * down * extent.batch, processors),
        };
        (Self { rows, stages }, sizes)
    }
}

/// Splits of the tiles of so many products: what is done first, in tiles one after another.
fn splits(products: usize, tiles: usize, processors: usize) -> usize {
    let cost = |splits: usize| {
        let waves = (products * splits).div_ceil(processors);
        SPLITS_A_TILE * waves * tiles.div_ceil(splits) + splits
    };
    let most = (MOST_WAVES * processors / products).clamp(1, tiles);
    (1..=most).min_by_key(|&splits| cost(splits)).unwrap_or(1)
}

/// What differs from launch to launch of a kernel. The order is that of `Sizes` in the kernels' text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) across: usize,
    pub(super) down: usize,
    pub(super) parts: usize,
    pub(super) blocks: usize,
    pub(super) first: usize,
    pub(super) runs: [usize; 2],
    pub(super) run: usize,
    pub(super) batch: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) relu: bool,
    /// Of the pixels, in a weight's gradient.
    pub(super) splits: usize,
}

impl Sizes {
    /// Those of an image.
    pub(super) fn of(image: Image, extent: Extent) -> Self {
        let [height, width] = extent.shrunk(image.shrink);
        Self { batch: extent.batch, height, width, channels: image.channels, ..Self::default() }
    }

    /// Those of the last layer, whose input is an image in blocks of channels.
    pub(super) fn narrow(
        image: Image,
        block: usize,
        unfold: bool,
        rows: usize,
        extent: Extent,
    ) -> Self {
        let (all, blocks) = (Self::of(image, extent), image.channels / block);
        Self {
            across: all.width.div_ceil(WIDE),
            down: all.height.div_ceil(rows),
            parts: 1,
            blocks,
            first: blocks,
            runs: [blocks, 1],
            channels: if unfold { 4 } else { 1 },
            ..all
        }
    }

    /// Those of a convolution in tiles of so many rows and output channels.
    pub(super) fn convolution(
        work: &Convolution,
        steps: &Steps,
        [tall, own]: [usize; 2],
        extent: Extent,
    ) -> Self {
        let [height, width] = extent.shrunk(work.shrink);
        let blocks = |of: usize| of / work.block;
        let second = work.from.get(1);
        Self {
            across: width.div_ceil(WIDE),
            down: height.div_ceil(tall),
            parts: work.channels / own,
            blocks: work.from.iter().map(|&view| blocks(steps.channels(view))).sum(),
            first: blocks(steps.channels(work.from[0])),
            runs: [blocks(steps.run(work.from[0])), second.map_or(1, |&v| blocks(steps.run(v)))],
            run: work.run,
            batch: extent.batch,
            height,
            width,
            channels: work.channels,
            relu: work.relu,
            splits: 1,
        }
    }

    /// Rows of a tile of the last layer that reads such an image.
    pub(super) fn narrow_rows(&self, processors: usize) -> usize {
        let [many, few] = NARROW_ROWS;
        let tiles = self.width.div_ceil(WIDE) * self.height.div_ceil(many) * self.batch;
        if 10 * tiles >= 9 * processors { many } else { few }
    }

    /// Rows of a folded stem's cube that makes such an image.
    pub(super) fn stem_lines(&self, processors: usize) -> usize {
        let cubes = |lines: usize| {
            self.width.div_ceil(STEM_WIDE) * self.height.div_ceil(lines) * self.batch
        };
        STEM_LINES.into_iter().find(|&lines| 10 * cubes(lines) >= 9 * processors).unwrap_or(1)
    }

    /// Tiles of a convolution.
    pub(super) fn tiles(&self) -> usize {
        self.across * self.down * self.batch * self.parts
    }

    /// As the kernels read them: 32-bit numbers, two a word.
    pub(super) fn words(&self) -> Vec<u64> {
        let Self { across, down, parts, blocks, first, runs: [one, two], run, .. } = *self;
        let Self { batch, height, width, channels, relu, splits, .. } = *self;
        let relu = usize::from(relu);
        let all = [
            across, down, parts, blocks, first, one, two, run, batch, height, width, channels,
            relu, splits,
        ];
        all.chunks_exact(2).map(|pair| pair[0] as u64 | (pair[1] as u64) << 32).collect()
    }
}
