//! A page for pictures: lines, fills, text, axes and charts, encoded as PNG.
//!
//! It knows nothing of what is drawn. Pictures of masks (`lithoburn-pictures`) and of flows (`lithoburn-cfd-cli`) are drawn
//! on it; the latter must not depend on optics or tensors, so the page is a crate of its own.
//!
//! # Why the charts are drawn here
//!
//! Panels need a page with antialiased lines of any width, text with a second font for what the first does not have (−, µ, Σ),
//! ticks at round values and a colour bar: rasters with contours over them are no plotting crate's chart. On that page a chart is
//! a hundred lines more, which also place labels so that none covers another. `plotters` would have to be given this page as
//! its backend (its own bitmaps have one font, without a fallback), which takes as many lines as it saves, and
//! places no labels.

pub mod axis;
pub mod canvas;
pub mod chart;
mod error;
pub mod panel;

pub use error::PictureError;
