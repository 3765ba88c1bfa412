//! `merge`: a job's results become the mask.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use lithoburn_engine::{EngineError, Report, Shares, default_directory, program, unpacked};
use lithoburn_farm::Digest;
use lithoburn_farm::FarmError;
use lithoburn_farm::collect::{Collector, Look};
use lithoburn_farm::desk::Desk;
use lithoburn_farm::job::Opened;

use crate::devices::{Devices, Opening};
use crate::settings::Settings;
use crate::source::{AnyLedger, SourceOptions};
use lithoburn_terminal::{Progress, Verdict, go_on, print_json, say};

/// Between two looks for results that are not there yet: at least so long, and so many times as long as a look takes.
const PAUSE: Duration = Duration::from_millis(30);
const PAUSES: u32 = 9;
/// The longest of them: who asks is heard within a second.
const MOST: Duration = Duration::from_millis(500);

/// Put a job's results together, as they come, and write the mask and its report.
#[derive(Args, Debug)]
pub(crate) struct MergeArgs {
    /// The job's folder.
    job: PathBuf,
    #[command(flatten)]
    source: SourceOptions,
    #[command(flatten)]
    devices: Devices,
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
    // What is not measured needs no card.
    let opening = if settings.measures() { args.devices.open(false) } else { Opening::cpu() }?;
    let asked = settings.with(&job.job.inputs);
    let library = asked.library()?;
    let begun = asked.correction(&library)?.devices(opening.names.clone()).begin()?;
    let planned = begun.on(opening.devices()?)?;
    let shares = settings.shares(&planned)?;
    job.admit(program(), &Digest::of_key(&shares.fingerprint()?))?;
    let out = args.out.clone().unwrap_or_else(|| default_directory(library.name()));
    let out = place(&out, &settings)?;
    let merge = Merge {
        job: &job,
        shares: &shares,
        source: &args.source,
        wait: !args.no_wait,
        quiet: args.json,
    };
    let report = merge.leave_in(&out, &|| !go_on())?;
    told(&report, settings.rehearsal()?.is_some(), planned.mask_file(), &out, args.json)
}

/// Results that are put together.
pub(crate) struct Merge<'a> {
    pub(crate) job: &'a Opened,
    pub(crate) shares: &'a Shares<'a>,
    pub(crate) source: &'a SourceOptions,
    /// Waits for what is missing.
    pub(crate) wait: bool,
    pub(crate) quiet: bool,
}

impl Merge<'_> {
    /// Puts a job's results together, as they come, and leaves the mask and its report in a folder.
    ///
    /// # Errors
    ///
    /// If that cannot be done, results are missing for good, or `stop` says so.
    pub(crate) fn leave_in(&self, out: &Path, stop: &(dyn Fn() -> bool + Sync)) -> Result<Report> {
        let desk = Desk::new(self.source.ledger(self.job)?, "merge");
        let results = self.job.results()?;
        let mut collector = Collector::new(&desk, &results, self.job.job.blocks, []);
        let progress = Progress::new(self.quiet);
        // The engine's errors have no room for ours.
        let mut theirs: Option<anyhow::Error> = None;
        let mut answers = |_: &dyn Fn() -> bool| {
            self.next(&mut collector).map_err(|error| {
                let text = error.to_string();
                theirs.get_or_insert(error);
                EngineError::Setting(text)
            })
        };
        let report = self.shares.collect_in(out, &mut answers, stop, &mut |event| {
            progress.show("merging", event.done as u64, event.total as u64, "tiles")
        });
        drop(progress);
        match (theirs, report) {
            (Some(error), _) => Err(error),
            (None, report) => Ok(report?),
        }
    }

    fn next(&self, collector: &mut Collector<'_, AnyLedger>) -> Result<Cores> {
        let start = Instant::now();
        match collector.look()? {
            Look::All => Ok(None),
            Look::Result(_, bytes) => Ok(Some(unpacked(&bytes)?)),
            Look::Lost(block, why) => {
                say(self.quiet, &format!("block {block} is computed again: {why}"));
                Ok(Some(Vec::new()))
            }
            Look::Nothing(progress) if !self.wait => bail!(FarmError::Stopped(format!(
                "{} of {} blocks are done; without --no-wait merge waits for the others",
                progress.done, progress.total
            ))),
            Look::Nothing(_) => {
                std::thread::sleep(PAUSE.max(PAUSES * start.elapsed()).min(MOST));
                Ok(Some(Vec::new()))
            }
        }
    }
}

/// Cores of the next block; none at the moment, or none any more.
type Cores = Option<Vec<([u8; 32], Vec<u8>)>>;

/// A rehearsal's polygons, which are no mask's.
const REHEARSAL: &str = "rehearsal";

/// Where the mask goes: a rehearsal's polygons never lie beside a mask.
pub(crate) fn place(out: &Path, settings: &Settings) -> Result<PathBuf> {
    Ok(if settings.rehearsal()?.is_some() { out.join(REHEARSAL) } else { out.to_path_buf() })
}

/// Says what came out.
pub(crate) fn told(
    report: &Report,
    is_rehearsal: bool,
    mask: &str,
    out: &Path,
    json: bool,
) -> Result<Verdict> {
    if is_rehearsal {
        let file = rehearsed(mask, out)?;
        say(json, &format!("wrote {}: the design, as this was a rehearsal", file.display()));
        return Ok(Verdict::Done);
    }
    if json {
        print_json(report)?;
    } else {
        if let (Some(before), Some(after)) = (report.before, report.after) {
            let rows: Vec<Vec<String>> = before.table(&after).into_iter().map(Vec::from).collect();
            let header = ["", "before (design as mask)", "after"];
            say(false, &lithoburn_terminal::table(&header, &rows));
        }
        say(
            false,
            &format!("wrote {}/{{mask.png, {mask}, whole.png, report.json}}", out.display()),
        );
    }
    Ok(if report.is_met() { Verdict::Done } else { Verdict::NotMet })
}

/// Leaves nothing that could be taken for a mask.
fn rehearsed(mask: &str, out: &Path) -> Result<PathBuf> {
    let file = out.join(REHEARSAL).with_extension(mask.rsplit('.').next().unwrap_or_default());
    std::fs::rename(out.join(mask), &file)?;
    for name in ["mask.png", "whole.png", "overview.png", "report.json"] {
        match std::fs::remove_file(out.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(file)
}
