//! Polygons drawn from their edges: the share of each pixel that they cover.

#[cfg(feature = "gpu")]
mod kernels;
#[cfg(feature = "gpu")]
mod launch;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
#[cfg(feature = "gpu")]
use {burn::backend::fusion::custom::TensorSpec, burn::tensor::Shape, burn_cubecl::CubeBackend};

use crate::has_side;

/// Parts of a pixel that edges are in.
const PARTS: usize = 4096;

/// Drawing as an operation of a backend.
#[backend_extension(Cube: cfg(feature = "gpu"), Fusion: cfg(feature = "gpu"))]
pub(crate) trait Drawing: Backend {
    /// Coverage of `side` × `side` px. `edges`, `[edges, 4]`, are all images'; those of image i are from `offsets[i]` to
    /// `offsets[i + 1]`.
    #[fusion(meta = |_, offsets, side| coverage(offsets, *side))]
    fn drawn(edges: IntTensor<Self>, offsets: IntTensor<Self>, side: usize) -> FloatTensor<Self>;
}

#[cfg(feature = "gpu")]
fn coverage(offsets: &TensorSpec, side: usize) -> TensorSpec {
    TensorSpec::new(Shape::from([offsets.shape[0] - 1, side, side]), DType::F32)
}

#[cfg(feature = "gpu")]
impl Drawing for CubeBackend {
    fn drawn(edges: IntTensor<Self>, offsets: IntTensor<Self>, side: usize) -> FloatTensor<Self> {
        launch::drawn(edges, offsets, side)
    }
}

/// The share of each pixel that polygons cover, `[batch, side, side]`, from their edges, image by image.
///
/// An edge is `[x0, y0, x1, y1]` in 1/4096 of a pixel from the image's corner. One that goes up (y1 > y0) covers what is right of it,
/// one that goes down takes that away; horizontal ones say nothing. What is covered more than once, or less than never, counts
/// once: up to 2,000 polygons may lie upon each other.
///
/// # Panics
///
/// If the side is [none of bitmaps](has_side), there is no image, or an edge leaves its image.
pub fn draw(edges: &[&[[i32; 4]]], side: usize, device: &Device) -> Tensor<3> {
    assert!(has_side(side), "no bitmap has {side} × {side} px");
    assert!(!edges.is_empty(), "no image to draw");
    let within = 0..=(side * PARTS) as i32;
    let leaving = edges.iter().copied().flatten().find(|e| !e.iter().all(|v| within.contains(v)));
    assert!(
        leaving.is_none(),
        "an edge leaves an image of {side} px: {leaving:?} parts of a pixel"
    );
    let mut offsets = vec![0];
    for image in edges {
        offsets.push(offsets[offsets.len() - 1] + image.len() as u32);
    }
    let mut flat: Vec<i32> = edges.iter().copied().flatten().flatten().copied().collect();
    // No buffer is empty; this edge has no height.
    flat.extend([0; 4]);
    let flat = TensorData::new(flat, [offsets[edges.len()] as usize + 1, 4]);
    let flat = Tensor::<2, Int>::from_data(flat, (device, DType::I32)).into_dispatch();
    let offsets = TensorData::new(offsets, [edges.len() + 1]);
    let offsets = Tensor::<1, Int>::from_data(offsets, (device, DType::U32)).into_dispatch();
    Tensor::from_dispatch(<Dispatch as Drawing>::drawn(flat, offsets, side))
}
