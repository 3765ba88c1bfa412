//! What is served: methods, networks and the simulator, as the scheduler's models.

mod catalogue;
mod executor;
mod repository;
mod runner;

pub(crate) use catalogue::{Described, Settings, described_methods, shipped};
pub(crate) use executor::Served;
pub(crate) use repository::repository;
pub(crate) use runner::Runner;
