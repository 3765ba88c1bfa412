#![recursion_limit = "256"]
//! The only integration binary. Tests against reference data are skipped without it, and say so ([`lithoburn_testing`]).

mod chip;
mod cli;
mod correction;
mod dependent;
mod golden;
mod images;
mod import;
mod invariance;
mod layouts;
mod optics;
mod options;
mod programs;
mod reference;
mod surrogate;
