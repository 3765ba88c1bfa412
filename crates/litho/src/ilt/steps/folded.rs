//! The steps' kernels in folded form: every transform sums classes of waves at a quarter of its points and unfolds with
//! eight additions ([`crate::waves`]), and what lies between the mask's spectrum and the coarse intensity, and between that and
//! the loss's gradient, stays in registers and shared memory.
//!
//! | kernel | from | to |
//! |---|---|---|
//! | `boxes::soft_mask` | parameters | mask |
//! | `mask::transform`, `mask::spectrum` | mask | its spectrum, 4P × 4P |
//! | `fields::power` | spectrum | power of each group of fields at 8P × 8P coarse points |
//! | `image::spectrum` | powers | intensity's spectrum along y, folded along x |
//! | `print::print` | that and the goal | gradients by rows of waves, or errors |
//! | `image::back` | those | gradient at the coarse points |
//! | `fields::back`, `mask::gather` | that, and the spectrum again | the spectrum's gradient |
//! | `mask::gradient` | that and the mask | the smoothed parameters' gradient |
//! | `boxes::update` | that | a step of Adam |
//!
//! All sums have an order of their own, so that every run has the same bits. Names: P places a class, as in [`crate::waves`]. A
//! cube's units exchange numbers by planes where the device has them, else through shared memory, of which no cube takes more
//! than 32 KB.

mod boxes;
mod chunks;
mod fields;
mod fold;
mod image;
mod instructions;
mod launch;
mod mask;
mod order;
mod print;

pub(super) use launch::{FoldedKernels, has};
