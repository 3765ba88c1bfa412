//! `lithoburn-server`: serves masks over HTTP and gRPC, loads servers, and studies what each card brings.

mod load;

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
    /// Load a server and measure what it does.
    Load(load::LoadArgs),
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
    let cli = Cli::parse();
    let result = match &cli.job {
        Job::Load(args) => load::load(args),
    };
    match result {
        Ok(Verdict::Done) => ExitCode::SUCCESS,
        Ok(Verdict::NotMet) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(2)
        }
    }
}
