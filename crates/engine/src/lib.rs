//! The main job: a layout in, a corrected mask with its images and metrics out.
//!
//! ```text
//! Layout ─ fields ─► Proposer (model, on a device) ─► masks ─ stitch ─► Mask
//!                                        Evaluator (always f32 on the CPU) ─► before, after
//! ```
//!
//! [`Job`] is everything a run depends on, [`Job::run`] runs it, [`Outcome::write`] leaves whole files.

mod assets;
pub mod chip;
mod error;
mod evaluate;
mod fleet;
mod focus;
mod job;
pub mod overview;
pub mod print;
mod probe;
mod propose;
pub mod scaling;
mod shots;
mod spread;
mod surrogate;
mod write;

pub use assets::{default_kernels, load_kernels, shipped_surrogates, shipped_weights};
pub use error::EngineError;
pub use evaluate::{Evaluation, Evaluator, Metrics};
pub use fleet::{Fleet, Wish, fleet};
pub use focus::{Exposed, WindowReport, WindowSettings, kernels_at, process_window, through_focus};
pub use job::{Event, Job, MaskStyle, Outcome, Report, Stage};
pub use probe::{Probe, probe};
pub use propose::{Kept, Method, Model, Proposer, load_network};
pub use spread::{Team, Way, balanced, cuts, link_speed};
pub use surrogate::{CORRECT_EVERY, Compared, Comparison, Run, TrueModel};
pub use write::{MASK_LAYER, probe_directory};
