//! Means of pixels over boxes: an image with its corners rounded, and on a coarser grid.
//!
//! A box is its own mean along rows and then along columns, and three boxes along rows are one after the other in a cube's memory: rounding
//! is two launches, which read and write each pixel once.

#[cfg(feature = "gpu")]
mod kernels;
#[cfg(feature = "gpu")]
mod launch;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
#[cfg(feature = "gpu")]
use {burn::backend::fusion::custom::TensorSpec, burn::tensor::Shape, burn_cubecl::CubeBackend};

/// A box of [`rounded`] reaches so many pixels from its middle at most.
pub const MOST_REACH: usize = 10;

/// Means over boxes as operations of a backend.
#[backend_extension(Cube: cfg(feature = "gpu"), Fusion: cfg(feature = "gpu"))]
pub(crate) trait Boxes: Backend {
    /// Images of 0 and 1, `[batch, n, n]`.
    #[fusion(meta = |image, _| image.clone())]
    fn rounded(image: FloatTensor<Self>, reach: usize) -> FloatTensor<Self>;

    /// Means of blocks of `factor` × `factor` pixels, `[batch, n / factor, n / factor]`.
    #[fusion(meta = |image, factor| shrunk_spec(image, *factor))]
    fn shrunk(image: FloatTensor<Self>, factor: usize) -> FloatTensor<Self>;
}

#[cfg(feature = "gpu")]
fn shrunk_spec(image: &TensorSpec, factor: usize) -> TensorSpec {
    let [batch, rows, columns] = [0, 1, 2].map(|dim| image.shape[dim]);
    TensorSpec::new(Shape::from([batch, rows / factor, columns / factor]), image.dtype)
}

#[cfg(feature = "gpu")]
impl Boxes for CubeBackend {
    fn rounded(image: FloatTensor<Self>, reach: usize) -> FloatTensor<Self> {
        launch::rounded(image, reach)
    }

    fn shrunk(image: FloatTensor<Self>, factor: usize) -> FloatTensor<Self> {
        launch::shrunk(image, factor)
    }
}

/// Where images, `[batch, n, n]` in f32, are at least a half after three boxes of 2 `reach` + 1 pixels a side, which is nearly a Gaussian; 0 or 1. Beyond
/// their borders images are 0, before each box.
///
/// # Panics
///
/// If the boxes reach beyond [`MOST_REACH`], or on a device [without the kernels](crate::is_on).
pub fn rounded(image: Tensor<3>, reach: usize) -> Tensor<3> {
    assert!(reach <= MOST_REACH, "a box of {} px", 2 * reach + 1);
    let [_, rows, columns] = image.dims();
    assert_eq!(rows, columns, "images are square");
    Tensor::from_dispatch(<Dispatch as Boxes>::rounded(image.into_dispatch(), reach))
}

/// Means of blocks of `factor` pixels a side of images, `[batch, n, n]` in f32.
///
/// # Panics
///
/// If blocks do not fill the images, or on a device [without the kernels](crate::is_on).
pub fn shrunk(image: Tensor<3>, factor: usize) -> Tensor<3> {
    let [_, rows, columns] = image.dims();
    let whole = factor > 0 && rows.is_multiple_of(factor) && columns.is_multiple_of(factor);
    assert!(whole, "blocks of {factor} px do not fill {rows} × {columns} px");
    Tensor::from_dispatch(<Dispatch as Boxes>::shrunk(image.into_dispatch(), factor))
}
