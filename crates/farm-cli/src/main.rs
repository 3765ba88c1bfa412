//! `lithoburn-farm`: a layout planned, worked and merged by several machines; `lithoburn farm` runs this program.
//!
//! Exit status: 0 done, 1 ran but something is missing, 2 failed.

mod devices;
mod masks;
mod merge;
mod plan;
mod run;
mod settings;
mod simulate;
mod source;
mod status;
mod submit;
mod timeline;
mod work;

use clap::{Parser, Subcommand};

/// A layout of any size by any number of machines.
#[derive(Parser)]
#[command(name = "lithoburn-farm", bin_name = "lithoburn farm", version)]
struct Cli {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Cut a layout into blocks and write down everything that determines its mask.
    Plan(plan::PlanArgs),
    /// Work for a job until nothing is left; any number of workers may come and go.
    Work(work::WorkArgs),
    /// Plan, work and merge in one, with all machines that join; `lithoburn infer --farm` runs this.
    Run(run::RunArgs),
    /// Say how far a job is, and who does what.
    Status(status::StatusArgs),
    /// Put a job's results together, as they come, and write the mask and its report.
    Merge(merge::MergeArgs),
    /// Print what to hand to Slurm, LSF or Kubernetes.
    Submit(submit::SubmitArgs),
    /// Draw who did what when.
    Timeline(timeline::TimelineArgs),
    /// Simulate farms of any size, by the same source under a clock that is set by hand.
    Simulate(simulate::SimulateArgs),
    /// Ask all workers to finish what they have and leave.
    Drain(status::DrainArgs),
    /// Try blocks again that were given up.
    Retry(status::RetryArgs),
}

fn main() {
    lithoburn_pool::prepare_graphics();
    lithoburn_pool::answer_probes();
    lithoburn_engine::answer_ahead();
    let cli = Cli::parse();
    match &cli.job {
        Job::Work(args) => args.how.hide_other_cards(),
        Job::Run(args) => args.how.hide_other_cards(),
        _ => (),
    }
    lithoburn_terminal::listen();
    let result = match &cli.job {
        Job::Plan(args) => plan::plan(args),
        Job::Work(args) => work::work(args),
        Job::Run(args) => run::run(args),
        Job::Status(args) => status::status(args),
        Job::Merge(args) => merge::merge(args),
        Job::Submit(args) => submit::submit(args),
        Job::Timeline(args) => timeline::timeline(args),
        Job::Simulate(args) => simulate::simulate(args),
        Job::Drain(args) => status::drain(args),
        Job::Retry(args) => status::retry(args),
    };
    lithoburn_terminal::end(result, lithoburn_pool::has_used_graphics())
}
