//! What devices and the process do, as metrics: written for Prometheus, and read from a server's page.

mod cards;
mod exposition;
pub mod live;
pub mod names;
pub mod process;
mod render;
#[cfg(test)]
mod tests;

pub use cards::{Card, Cards};
pub use exposition::{Page, Sample};
pub use render::{DeviceWork, ModelWork, Work, render, render_gpus};
