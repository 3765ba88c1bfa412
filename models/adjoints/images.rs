//! Gradients of images' sums: what their readers ask, where the ReLU let it through.

mod kernels;

use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use self::kernels::{gather_and_sum, gather_doubled, gather_plain, gather_pooled, gather_thin};
use super::sums::{SplitSizes, Splits, Walk};
use super::tables::{Tables, Target};
use super::{Picture, Thin, UNITS, arg, cubes_of, element};

/// What all ask of an image, besides requests of its own size.
pub(crate) enum Other<'a> {
    /// A request of half the size, for the largest of two by two pixels.
    Pooled(&'a CubeTensor),
    /// A request of twice the size, for the image enlarged.
    Doubled(&'a CubeTensor),
    /// The gradient of logits `[batch, height, width]` in f32, and all weights, among which those of the last convolution begin at `weight`.
    Logits { thin: Thin, gradient: &'a CubeTensor, weights: &'a CubeTensor, weight: usize },
}

/// Where the sums of an image's channels go: the gradient of the bias that it was made with.
pub(crate) struct Summed<'a> {
    pub(crate) tables: &'a mut Tables,
    pub(crate) bias: Target,
    /// Whether there is one for each of two by two pixels: where an image of its own size asks.
    pub(crate) folded: bool,
    /// What is added up by the same launch, where an image of its own size asks, and where those sums go.
    pub(crate) beside: (Option<Splits>, &'a CubeTensor),
}

/// The gradient of an image's sums, in `out`: `own` has one or two requests where nothing else asks, and at most one beside [`Other::Pooled`].
pub(crate) fn gathered(
    image: &Picture,
    own: &[CubeTensor],
    other: Option<Other>,
    relu: bool,
    summed: Option<Summed>,
    out: CubeTensor,
) -> Picture {
    let out = Picture { values: out, ..*image };
    match (other, summed) {
        (None, None) => plain(image, own, &out, relu),
        (None, Some(summed)) => plain_and_summed(image, own, &out, relu, summed),
        (Some(Other::Pooled(request)), summed) => {
            pooled(image, request, own.first(), &out, relu, summed);
        }
        (Some(Other::Doubled(request)), summed) => halved(image, request, &out, relu, summed),
        (Some(Other::Logits { thin, gradient, weights, weight }), summed) => {
            through_last(image, (thin, weight), [gradient, weights], &out, relu, summed);
        }
    }
    out
}

/// How an image's pixels, or squares of two by two of them, are walked, and where their sums go, if anywhere.
fn walked(
    image: &Picture,
    pixels: usize,
    summed: Option<Summed>,
    out: &Picture,
) -> (Walk, BufferArg, bool) {
    let walk = Walk::of_pixels(image, pixels);
    match summed {
        Some(Summed { tables, bias, .. }) => {
            let sums = walk.begin(tables, bias);
            (walk, sums, true)
        }
        // Nothing is written there.
        None => (walk, arg(&out.values), false),
    }
}

fn plain_and_summed(
    image: &Picture,
    own: &[CubeTensor],
    out: &Picture,
    relu: bool,
    Summed { tables, bias, folded, beside: (splits, gradient) }: Summed,
) {
    let [first, second] = [own.first(), own.last()].map(|own| own.unwrap_or(&image.values));
    let walk = Walk::of(image, folded);
    let sums = walk.begin(tables, bias);
    let beside = splits.as_ref().map_or(0, Splits::cubes);
    let (all, sizes) = match &splits {
        Some(splits) => (&splits.all, splits.sizes()),
        // Never looked at.
        None => (gradient, SplitSizes::none()),
    };
    // SAFETY: loops end at the image's last pixel, and units beyond the splits' sums do nothing.
    unsafe {
        gather_and_sum::launch_unchecked(
            &image.values.client,
            walk.cubes_and(beside),
            CubeDim::new_1d(UNITS),
            image.lanes(),
            arg(&image.values),
            arg(first),
            arg(second),
            arg(&out.values),
            sums,
            arg(all),
            arg(gradient),
            walk.pixels,
            walk.width,
            walk.parts,
            walk.groups,
            sizes,
            walk.own_groups,
            own.len() > 1,
            relu,
            walk.folded,
            image.element(),
            element(gradient),
        );
    }
}

fn plain(image: &Picture, own: &[CubeTensor], out: &Picture, relu: bool) {
    let (client, count) = (&image.values.client, image.pixels() * image.groups());
    let [first, second] = [own.first(), own.last()].map(|own| own.unwrap_or(&image.values));
    // SAFETY: units beyond the image end at once.
    unsafe {
        gather_plain::launch_unchecked(
            client,
            cubes_of(count),
            CubeDim::new_1d(UNITS),
            image.lanes(),
            arg(&image.values),
            arg(first),
            arg(second),
            arg(&out.values),
            count,
            own.len() > 1,
            relu,
            image.element(),
        );
    }
}

fn pooled(
    image: &Picture,
    request: &CubeTensor,
    own: Option<&CubeTensor>,
    out: &Picture,
    relu: bool,
    summed: Option<Summed>,
) {
    let (walk, sums, summed) = walked(image, image.pixels() / 4, summed, out);
    // SAFETY: as above; sides are even.
    unsafe {
        gather_pooled::launch_unchecked(
            &image.values.client,
            walk.cubes(),
            CubeDim::new_1d(UNITS),
            image.lanes(),
            arg(&image.values),
            arg(request),
            arg(own.unwrap_or(request)),
            arg(&out.values),
            sums,
            walk.pixels,
            image.width,
            walk.parts,
            walk.groups,
            walk.own_groups,
            own.is_some(),
            relu,
            summed,
            image.element(),
        );
    }
}

fn halved(
    image: &Picture,
    request: &CubeTensor,
    out: &Picture,
    relu: bool,
    summed: Option<Summed>,
) {
    let (walk, sums, summed) = walked(image, image.pixels(), summed, out);
    // SAFETY: as above.
    unsafe {
        gather_doubled::launch_unchecked(
            &image.values.client,
            walk.cubes(),
            CubeDim::new_1d(UNITS),
            image.lanes(),
            arg(&image.values),
            arg(request),
            arg(&out.values),
            sums,
            walk.pixels,
            image.height,
            image.width,
            walk.parts,
            walk.groups,
            walk.own_groups,
            relu,
            summed,
            image.element(),
        );
    }
}

fn through_last(
    image: &Picture,
    (thin, weight): (Thin, usize),
    [gradient, weights]: [&CubeTensor; 2],
    out: &Picture,
    relu: bool,
    summed: Option<Summed>,
) {
    let lanes = image.lanes();
    assert!(weight.is_multiple_of(lanes), "weights are read {lanes} at a time");
    let (walk, sums, summed) = walked(image, image.pixels(), summed, out);
    // SAFETY: as above.
    unsafe {
        gather_thin::launch_unchecked(
            &image.values.client,
            walk.cubes(),
            CubeDim::new_1d(UNITS),
            lanes,
            arg(&image.values),
            arg(weights),
            arg(gradient),
            arg(&out.values),
            sums,
            weight / lanes,
            walk.pixels,
            image.height,
            image.width,
            walk.parts,
            walk.groups,
            walk.own_groups,
            thin.side,
            thin.few,
            relu,
            summed,
            image.element(),
        );
    }
}
