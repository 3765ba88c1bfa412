#![recursion_limit = "256"]
//! `lithoburn-server`: serves masks over HTTP and gRPC, loads servers, and studies what each card brings.
//!
//! Exit status: 0 done, 1 ran but a requirement was not met, 2 failed.

mod corrector;
mod devices;
mod load;
mod models;
mod serve;
mod study;
mod terminal;
mod top;
mod work;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Serve masks, load servers, and study what each card brings.
#[derive(Parser)]
#[command(name = "lithoburn-server", version)]
struct Cli {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Serve layouts and tensors over HTTP and gRPC, with jobs, metrics and a page.
    Serve(Box<serve::ServeArgs>),
    /// Load a server and measure what it does.
    Load(load::LoadArgs),
    /// Report what each device brings to a server, and what limits it.
    Study(study::StudyArgs),
    /// Show what a server's devices, models and jobs do, live.
    Top(top::TopArgs),
    /// Work at a job of a server, in its folder.
    #[command(hide = true)]
    Work(work::WorkArgs),
}

/// What a job that ran says about its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Done.
    Done,
    /// Ran, but what was asked for was not met.
    NotMet,
}

/// Writes a line for people.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn main() -> ExitCode {
    // What looks for devices asks programs like this one whether a driver answers.
    lithoburn_pool::quiet_graphics();
    lithoburn_pool::answer_probes();
    lithoburn_engine::answer_ahead();
    let cli = Cli::parse();
    let result = match &cli.job {
        Job::Serve(args) => serve::serve(args),
        Job::Load(args) => load::load(args),
        Job::Study(args) => study::study(args),
        Job::Top(args) => top::top(args),
        Job::Work(args) => work::work(args),
    };
    match result {
        Ok(Verdict::Done) => ExitCode::SUCCESS,
        Ok(Verdict::NotMet) => ExitCode::from(1),
        Err(error) => {
            terminal::complain(&error);
            ExitCode::from(2)
        }
    }
}
