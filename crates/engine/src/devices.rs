//! Devices of a job: what a model takes of each, who computes what, and one network over several.

mod fleet;
mod probe;
mod team;

pub use fleet::{Fleet, Wish, fleet};
pub use probe::{Probe, probe};
pub use team::{Team, Way, balanced, cuts, link_speed};
pub(crate) use team::{places, stage_costs};
