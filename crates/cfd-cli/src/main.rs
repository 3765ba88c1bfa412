//! `lithoburn-cfd`: flow cases with their gradients, pictures and proofs; `lithoburn cfd` runs this program.
//!
//! Exit status: 0 done, 1 not converged or outside a tolerance, 2 bad input.

mod cases;
mod check;
mod farm;
mod number;
mod optimize;
mod options;
mod pictures;
mod profile;
mod report;
mod run;
mod shape_file;
mod studies;
mod study;
mod sweep;
mod unsteady;
mod verify;
mod vtk;
mod warming;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lithoburn_cfd::Error;
use lithoburn_terminal::Verdict;

/// Differentiable flow: steady and exact, with gradients of drag, lift, pressure drop and heat.
#[derive(Parser)]
#[command(name = "lithoburn-cfd", bin_name = "lithoburn cfd", version)]
struct Cli {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// A box whose lid moves.
    Cavity(studies::CavityArgs),
    /// A box with a warm and a cold wall.
    HeatedCavity(studies::HeatedCavityArgs),
    /// Flow between plates, with a body of your own if you like.
    Channel(studies::ChannelArgs),
    /// A cylinder, or an outline of your own, in a stream or in the DFG benchmark's channel.
    Cylinder(studies::CylinderArgs),
    /// A NACA 4-digit section in a stream.
    Airfoil(studies::AirfoilArgs),
    /// A channel with heated floor and fins.
    Exchanger(studies::ExchangerArgs),
    /// Test gradients: Euler's identity and Taylor remainders.
    Check(check::CheckArgs),
    /// Compare with published results, row by row.
    Verify(verify::VerifyArgs),
    /// Find a better shape or design.
    Optimize(optimize::OptimizeArgs),
    /// Measure where time goes, for one to all threads.
    Profile(profile::ProfileArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.job {
        Job::Cavity(args) => args.run(),
        Job::HeatedCavity(args) => args.run(),
        Job::Channel(args) => args.run(),
        Job::Cylinder(args) => args.run(),
        Job::Airfoil(args) => args.run(),
        Job::Exchanger(args) => args.run(),
        Job::Check(args) => check::check(args),
        Job::Verify(args) => verify::verify(args),
        Job::Optimize(args) => optimize::optimize(args),
        Job::Profile(args) => profile::profile(args),
    };
    // A flow that did not converge is no bad input.
    let is_the_solvers = matches!(
        result.as_ref().err().and_then(|error| error.downcast_ref()),
        Some(Error::NotConverged(_) | Error::Singular { .. })
    );
    let status = lithoburn_terminal::finish(result);
    if is_the_solvers { Verdict::NotMet.into() } else { status }
}
