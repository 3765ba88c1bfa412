//! Pictures of masks, images and optics, and charts, as PNG.
//!
//! A picture is a page of panels: plots with axes, a legend and, for intensities, a colour bar with its unit. Lengths are
//! in nm, y runs downwards as in a raster. Nothing here reads or writes files, or knows of devices.
//!
//! | picture | of |
//! |---|---|
//! | [`draw`] | one field: target, mask, aerial image, printed contours, PV band, checked edges, and a table |
//! | [`whole::draw`] | a layout of many fields, downsampled: target, mask and print, its worst place marked |
//! | [`aerial::draw`] | one aerial image with its scale |
//! | [`draw_optics`] | source, pupil, kernels |
//! | [`samples::draw`] | what a network makes of some clips |
//! | [`chart::draw`] | lines and points over two axes |
//!
//! # Why the charts are drawn here
//!
//! Panels need a page with antialiased lines of any width, text with a second font for what the first does not have (−, µ, Σ),
//! ticks at round values and a colour bar: rasters with contours over them are no plotting crate's chart. On that page a chart is
//! a hundred lines more, which also place labels so that none covers another. `plotters` would have to be given this page as
//! its backend (its own bitmaps have one font, without a fallback), which takes as many lines as it saves, and
//! places no labels.

pub mod aerial;
mod axis;
mod canvas;
pub mod chart;
mod error;
mod optics;
mod overview;
mod panel;
pub mod samples;
mod view;
pub mod whole;

pub use error::PictureError;
pub use optics::draw_optics;
pub use overview::{Scene, SiteMark, draw};
