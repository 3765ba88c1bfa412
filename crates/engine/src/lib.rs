//! The main job: a layout in, a corrected mask with its images and metrics out.
//!
//! ```text
//! Layout ─ fields ─► Proposer (model, on a device) ─► masks ─ stitch ─► Mask
//!                                        Evaluator (always f32 on the CPU) ─► before, after
//! ```
//!
//! [`Job`] is everything a run depends on, [`Job::run`] runs it, [`Outcome::write`] leaves whole files.

mod built_in;
pub mod chip;
mod devices;
mod error;
mod evaluate;
mod field;
mod files;
mod focus;
pub mod print;
mod proposer;
mod shots;
pub mod study;
mod surrogate;
mod tiles;

pub use built_in::{default_kernels, load_kernels, shipped_surrogates, shipped_weights};
pub use devices::{Fleet, Probe, Team, Way, Wish, balanced, cuts, fleet, link_speed, probe};
pub use error::EngineError;
pub use evaluate::{Evaluation, Evaluator, Metrics};
pub use field::{Event, Job, MaskStyle, Outcome, Report, Stage};
pub use files::{MASK_LAYER, probe_directory};
pub use focus::{Exposed, WindowReport, WindowSettings, kernels_at, process_window, through_focus};
pub use proposer::{Kept, Method, Model, Proposer, load_network};
pub use surrogate::{CORRECT_EVERY, Compared, Comparison, Run, TrueModel};
