//! The main job: a layout in, a corrected mask with its images and metrics out.
//!
//! ```text
//! Correction ─ plan ─► one field:  Layout ─► Proposer (model, on a device) ─► Mask ◄─ Evaluator (always f32 on the CPU)
//!                 └──► many tiles: Library ─► tiles, one flow ─► chip: cores of masks, put together in order
//!                                                            └─► print: contours of a mask's print
//! ```
//!
//! [`Correction`] describes a run, [`Correction::run`] gives a [`Mask`] in memory, [`Correction::run_in`] whole files in a directory for
//! a layout of any size.

mod ahead;
mod built_in;
mod chip;
mod comparison;
mod compiling;
mod correction;
mod devices;
mod early;
mod error;
mod evaluate;
mod event;
mod field;
mod files;
mod focus;
mod goal;
mod loaded;
mod mask;
mod model;
mod network_kernels;
pub mod print;
mod proposer;
mod report;
mod setup;
mod shots;
pub mod study;
mod style;
mod surrogate;
mod threads;
mod tiles;

pub use built_in::{default_kernels, load_kernels, shipped_surrogates, shipped_weights};
pub use chip::auto_halo_nm;
pub use chip::shares::{PackedCore, Shares, Solver, Unsolved, packed, unpacked};
pub use comparison::{Compared, Comparison, Descended};
pub use compiling::answer_ahead;
pub use correction::{Begun, Correction, Design, Planned};
pub use devices::failure;
pub use devices::fleet::{Fleet, Wish};
pub use devices::lane::Lane;
pub use devices::probe::Probe;
pub use devices::team::{Team, Way, balanced, cuts, link_speed};
pub use error::EngineError;
pub use evaluate::{Evaluation, Evaluator, Metrics};
pub use event::{Event, Phase};
pub use files::default_directory;
pub use focus::{Exposed, WindowReport, WindowSettings, kernels_at, process_window, through_focus};
pub use goal::Goal;
pub use loaded::{Fields, Loaded, Part, Sizes};
pub use mask::Mask;
pub use model::{CORRECT, CORRECT_EVERY, Method, Model, ModelSettings};
pub use proposer::{Kept, calibration_targets, load_network};
pub use report::{ChipReport, Place, Report, Seams, Seconds, Unprinted};
pub use setup::program;
pub use style::{MASK_LAYER, MaskFormat, MaskStyle};
pub use surrogate::TrueModel;
pub use tiles::folder::Folder;
pub use tiles::{Answers, JOURNAL};
