#![recursion_limit = "256"]
//! The only integration binary. Tests against reference data skip without it, and say so.

mod chip;
mod cli;
mod golden;
mod import;
mod invariance;
mod layouts;
mod optics;
mod reference;
mod surrogate;
