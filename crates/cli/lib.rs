//! The command line: one file per job, shared by the programs `infer` and `lithoburn`.
//!
//! Exit status: 0 done, 1 ran but a requirement was not met, 2 failed.

pub mod bench;
mod crew;
pub mod devices;
pub mod doctor;
pub mod export;
pub mod generate;
pub mod import;
pub mod infer;
pub mod kernels;
pub mod layout;
mod optics;
mod options;
mod profile;
pub mod programs;
mod progress;
pub mod scaling;
pub mod score;
pub mod simulate;
pub mod train;
pub mod window;

pub use lithoburn_terminal::Verdict;

/// Runs a job and ends the process with its result as exit status; an error is one line on the terminal.
pub fn run(job: impl FnOnce() -> anyhow::Result<Verdict>) -> ! {
    lithoburn_terminal::listen();
    let result = job();
    lithoburn_terminal::end(result, lithoburn_pool::has_used_graphics())
}
