//! Images to words and back, and word by word what sets do.
#![cfg_attr(
    feature = "gpu",
    allow(
        unsafe_code,
        reason = "kernels are launched without bounds checks: buffers are made here for the sizes that the kernels are given"
    )
)]

#[cfg(feature = "gpu")]
mod kernels;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};
#[cfg(feature = "gpu")]
use {
    crate::WORD,
    crate::launch::{arg, cubes, empty, zeros},
    burn::backend::TensorMetadata,
    burn::backend::fusion::custom::TensorSpec,
    burn::tensor::{DType, Shape},
    burn_cubecl::{CubeBackend, kernel::into_contiguous, tensor::CubeTensor},
};

/// Two words as one: `((a ^ flip) & (b ^ flip)) ^ flip`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flips {
    pub(crate) a: u32,
    pub(crate) b: u32,
    pub(crate) out: u32,
}

impl Flips {
    pub(crate) const AND: Self = Self { a: 0, b: 0, out: 0 };
    pub(crate) const WITHOUT: Self = Self { a: 0, b: !0, out: 0 };
    pub(crate) const OR: Self = Self { a: !0, b: !0, out: !0 };
    #[cfg(feature = "gpu")]
    pub(crate) const NEITHER: Self = Self { a: !0, b: !0, out: 0 };
}

/// Words as operations of a backend.
#[backend_extension(Cube: cfg(feature = "gpu"), Fusion: cfg(feature = "gpu"))]
pub(crate) trait Words: Backend {
    /// Where `[batch, side, side]` is at least `threshold`.
    #[fusion(meta = |image, _| packed(image))]
    fn pack(image: FloatTensor<Self>, threshold: f32) -> IntTensor<Self>;

    /// Images of 0 and 1.
    #[fusion(meta = unpacked)]
    fn unpack(words: IntTensor<Self>) -> FloatTensor<Self>;

    /// Both, word by word.
    #[fusion(meta = |a, _, _| a.clone())]
    fn joined(a: IntTensor<Self>, b: IntTensor<Self>, flips: Flips) -> IntTensor<Self>;

    /// For each image b where `which`, `[batch, 1, 1]`, is 1, else a.
    #[fusion(meta = |a, _, _| a.clone())]
    fn chosen(a: IntTensor<Self>, b: IntTensor<Self>, which: IntTensor<Self>) -> IntTensor<Self>;

    /// Squares of `side` pixels from pixel `at`.
    #[fusion(meta = |words, _, side| words_of(words.shape[0], *side))]
    fn square(words: IntTensor<Self>, at: [usize; 2], side: usize) -> IntTensor<Self>;

    /// Set pixels of each image, `[batch, 1, 1]`.
    #[fusion(meta = counted)]
    fn count(words: IntTensor<Self>) -> IntTensor<Self>;
}

#[cfg(feature = "gpu")]
pub(crate) fn words_of(batch: usize, side: usize) -> TensorSpec {
    TensorSpec::new(Shape::from([batch, side, side / WORD]), DType::U32)
}

#[cfg(feature = "gpu")]
fn counted(words: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::from([words.shape[0], 1, 1]), DType::I32)
}

#[cfg(feature = "gpu")]
fn packed(image: &TensorSpec) -> TensorSpec {
    words_of(image.shape[0], image.shape[1])
}

#[cfg(feature = "gpu")]
fn unpacked(words: &TensorSpec) -> TensorSpec {
    let [batch, side, _] = words.shape.dims::<3>();
    TensorSpec::new(Shape::from([batch, side, side]), DType::F32)
}

#[cfg(feature = "gpu")]
impl Words for CubeBackend {
    fn pack(image: FloatTensor<Self>, threshold: f32) -> IntTensor<Self> {
        let image = into_contiguous(image);
        let [batch, side, _] = image.shape().dims::<3>();
        let out = empty(&image, [batch, side, side / WORD], DType::U32);
        let words = side * side / WORD;
        let (count, dim) = cubes(words, batch);
        let client = &image.client;
        // SAFETY: units beyond an image's words end at once; the buffers have the sizes that are told.
        unsafe {
            kernels::pack::launch_unchecked(
                client,
                count,
                dim,
                arg(&image),
                arg(&out),
                words,
                threshold,
            );
        }
        out
    }

    fn unpack(words: IntTensor<Self>) -> FloatTensor<Self> {
        let words = into_contiguous(words);
        let [batch, side, _] = words.shape().dims::<3>();
        let out = empty(&words, [batch, side, side], DType::F32);
        let fours = side * side / 4;
        let (count, dim) = cubes(fours, batch);
        // SAFETY: as in `pack`.
        unsafe {
            kernels::unpack::launch_unchecked(
                &words.client,
                count,
                dim,
                arg(&words),
                arg(&out),
                fours,
            );
        }
        out
    }

    fn joined(a: IntTensor<Self>, b: IntTensor<Self>, flips: Flips) -> IntTensor<Self> {
        joined(&into_contiguous(a), &into_contiguous(b), flips)
    }

    fn chosen(a: IntTensor<Self>, b: IntTensor<Self>, which: IntTensor<Self>) -> IntTensor<Self> {
        chosen(&into_contiguous(a), &into_contiguous(b), &into_contiguous(which))
    }

    fn square(words: IntTensor<Self>, at: [usize; 2], side: usize) -> IntTensor<Self> {
        let words = into_contiguous(words);
        let [batch, whole, _] = words.shape().dims::<3>();
        let out = empty(&words, [batch, side, side / WORD], DType::U32);
        let count_of = side * side / WORD;
        let (count, dim) = cubes(count_of, batch);
        // SAFETY: as in `pack`; the square lies within the images.
        unsafe {
            kernels::square::launch_unchecked(
                &words.client,
                count,
                dim,
                arg(&words),
                arg(&out),
                count_of,
                side / WORD,
                whole / WORD,
                whole * whole / WORD,
                at[1] * (whole / WORD) + at[0] / WORD,
            );
        }
        out
    }

    fn count(words: IntTensor<Self>) -> IntTensor<Self> {
        let words = into_contiguous(words);
        let [batch, side, row] = words.shape().dims::<3>();
        let out = zeros(&words, [batch, 1, 1], DType::I32);
        let (count, dim) = cubes(side, batch);
        // SAFETY: as in `pack`, with rows for words.
        unsafe {
            let sum = kernels::count::launch_unchecked;
            sum(&words.client, count, dim, arg(&words), arg(&out), side, row);
        }
        out
    }
}

/// Two sets as one.
#[cfg(feature = "gpu")]
pub(crate) fn joined(a: &CubeTensor, b: &CubeTensor, flips: Flips) -> CubeTensor {
    let [batch, rows, row] = a.shape().dims::<3>();
    let out = empty(a, [batch, rows, row], DType::U32);
    let (count, dim) = cubes(rows * row, batch);
    // SAFETY: as in `pack`.
    unsafe {
        kernels::joined::launch_unchecked(
            &a.client,
            count,
            dim,
            arg(a),
            arg(b),
            arg(&out),
            rows * row,
            flips.a,
            flips.b,
            flips.out,
        );
    }
    out
}

/// For each image b where `which` is 1, else a.
#[cfg(feature = "gpu")]
pub(crate) fn chosen(a: &CubeTensor, b: &CubeTensor, which: &CubeTensor) -> CubeTensor {
    let [batch, rows, row] = a.shape().dims::<3>();
    let out = empty(a, [batch, rows, row], DType::U32);
    let (count, dim) = cubes(rows * row, batch);
    // SAFETY: as in `pack`.
    unsafe {
        kernels::chosen::launch_unchecked(
            &a.client,
            count,
            dim,
            arg(a),
            arg(b),
            arg(which),
            arg(&out),
            rows * row,
        );
    }
    out
}
