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

pub mod aerial;
mod optics;
mod overview;
mod panel;
pub mod samples;
mod view;
pub mod whole;

use lithoburn_page::{axis, canvas};

pub use lithoburn_page::{PictureError, chart};
pub use optics::draw_optics;
pub use overview::{Scene, SiteMark, draw};
