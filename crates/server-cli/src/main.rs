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
mod top;
mod work;

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

fn main() -> ExitCode {
    // What looks for devices asks programs like this one whether a driver answers.
    lithoburn_pool::prepare_graphics();
    lithoburn_pool::answer_probes();
    lithoburn_engine::answer_ahead();
    let cli = Cli::parse();
    lithoburn_terminal::finish(match &cli.job {
        Job::Serve(args) => serve::serve(args),
        Job::Load(args) => load::load(args),
        Job::Study(args) => study::study(args),
        Job::Top(args) => top::top(args),
        Job::Work(args) => work::work(args),
    })
}
