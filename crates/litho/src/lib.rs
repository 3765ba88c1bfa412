//! The lithography simulator: how a mask prints.
//!
//! Light from a partially coherent source passes the mask; the lens keeps the low spatial
//! frequencies; the resist prints where the image is bright. Hopkins' transmission cross
//! coefficients (TCC) are kept as their largest eigenvectors ("SOCS kernels"), so that the aerial
//! image is a short sum of squares:
//!
//! ```text
//! I(x) = sum_k w_k | IFFT( H_k(f) FFT(mask)(f) ) |²        dose scales I, focus chooses H
//! printed = I >= 0.225
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`optics`] | sets of kernels: from first principles, from files, of a finite reach |
//! | [`aerial`] | mask → aerial image, on a coarse grid, differentiable |
//! | [`forward`] | what a solver needs of any forward model |
//! | [`bake`] | a resist through its depth: exposure, bake, deprotection |
//! | [`process`], [`resist`] | dose and focus corners; what prints |
//! | [`images`] | images on other grids, smoothed |
//! | `binary` | binary images: bits on a device, or in memory |
//! | `waves` | transforms at a quarter of the points: order and tables of their waves |
//! | [`loss`], [`ilt`] | the differentiable error, and the mask that minimises it |
//! | [`slope`] | what masks cost, and its slope: what a network in training descends on |
//! | [`metrics`], [`window`] | L2, PV band and EPE, as the field counts them; edges below a pixel, dose and focus latitude |
//!
//! Intensity is relative to the clear field. Lengths are in nm where a name ends in `_nm`, else in
//! pixels. There are no polygons here: those are `lithoburn-layout`'s.

pub mod aerial;
pub mod bake;
mod binary;
mod constraint;
mod error;
pub mod forward;
pub mod ilt;
pub mod images;
pub mod loss;
pub mod metrics;
pub mod optics;
pub mod process;
pub mod resist;
pub mod slope;
mod waves;
pub mod window;

pub use aerial::{Aerial, Sampling, Simulator, pixel_average};
pub use binary::{BinaryImages, PackedImages};
pub use error::LithoError;
pub use optics::kernels::{KernelSet, Kernels};
pub use process::{Corner, CornerImages, Focus, Process, ProcessWindow};
pub use resist::Resist;
pub use slope::{Grids, MaskCost};
