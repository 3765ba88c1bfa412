//! `merge`: a job's results become the mask.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use lithoburn_engine::{EngineError, Report, default_directory, program, unpacked};
use lithoburn_farm::Digest;
use lithoburn_farm::FarmError;
use lithoburn_farm::collect::{Collector, Look};
use lithoburn_farm::desk::Desk;
use lithoburn_farm::job::Opened;

use crate::settings::Settings;
use crate::source::SourceOptions;
use crate::terminal::{Progress, Verdict, go_on, print_json, say};
use crate::work::devices;

/// Between two looks for results that are not there yet.
const PAUSE: Duration = Duration::from_millis(200);

/// Put a job's results together, as they come, and write the mask and its report.
#[derive(Args, Debug)]
pub(crate) struct MergeArgs {
    /// The job's folder.
    job: PathBuf,
    #[command(flatten)]
    source: SourceOptions,
    /// Device that masks are measured on.
    #[arg(long, short, value_name = "NAME", default_value = "cpu")]
    device: String,
    /// End with an error if results are missing, instead of waiting for them.
    #[arg(long)]
    no_wait: bool,
    /// Directory for the mask, its report and its pictures [default: out/LAYOUT].
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the report as JSON and nothing else.
    #[arg(long)]
    json: bool,
}

/// Runs the job.
pub(crate) fn merge(args: &MergeArgs) -> Result<Verdict> {
    let job = Opened::read(&args.job)?;
    let settings = Settings::of(&job)?;
    let asked = settings.with(&job.job.inputs);
    let library = asked.library()?;
    let devices = devices(std::slice::from_ref(&args.device))?;
    let planned = asked.correction(&library, devices)?.plan()?;
    let shares = planned.shares()?;
    job.admit(program(), &Digest::of_key(&shares.fingerprint()?))?;
    let (desk, results) = (Desk::new(args.source.ledger(&job)?, "merge"), job.results()?);
    let mut collector = Collector::new(&desk, &results, job.job.blocks, []);
    let out = args.out.clone().unwrap_or_else(|| default_directory(library.name()));
    let progress = Progress::new(args.json);
    // The engine's errors have no room for ours.
    let mut theirs: Option<anyhow::Error> = None;
    let mut answers = |_: &dyn Fn() -> bool| {
        next(&mut collector, args).map_err(|error| {
            let text = error.to_string();
            theirs.get_or_insert(error);
            EngineError::Setting(text)
        })
    };
    let report = shares.collect_in(&out, &mut answers, &|| !go_on(), &mut |event| {
        progress.show("merging", event.done as u64, event.total as u64, "tiles")
    });
    drop(progress);
    match (theirs, report) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(report)) => told(args, &report, planned.mask_file(), &out),
    }
}

/// Cores of the next block; none at the moment, or none any more.
type Cores = Option<Vec<([u8; 32], Vec<u8>)>>;

fn next(
    collector: &mut Collector<'_, crate::source::AnyLedger>,
    args: &MergeArgs,
) -> Result<Cores> {
    match collector.look()? {
        Look::All => Ok(None),
        Look::Result(_, bytes) => Ok(Some(unpacked(&bytes)?)),
        Look::Lost(block, why) => {
            say(args.json, &format!("block {block} is computed again: {why}"));
            Ok(Some(Vec::new()))
        }
        Look::Nothing(progress) if args.no_wait => bail!(FarmError::Stopped(format!(
            "{} of {} blocks are done; without --no-wait merge waits for the others",
            progress.done, progress.total
        ))),
        Look::Nothing(_) => {
            std::thread::sleep(PAUSE);
            Ok(Some(Vec::new()))
        }
    }
}

fn told(args: &MergeArgs, report: &Report, mask: &str, out: &std::path::Path) -> Result<Verdict> {
    if args.json {
        print_json(report)?;
    } else {
        if let (Some(before), Some(after)) = (report.before, report.after) {
            let rows: Vec<Vec<String>> = before.table(&after).into_iter().map(Vec::from).collect();
            let header = ["", "before (design as mask)", "after"];
            say(false, &crate::terminal::table(&header, &rows));
        }
        say(
            false,
            &format!("wrote {}/{{mask.png, {mask}, whole.png, report.json}}", out.display()),
        );
    }
    Ok(if report.is_met() { Verdict::Done } else { Verdict::NotMet })
}
