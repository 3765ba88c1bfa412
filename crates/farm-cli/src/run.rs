//! `run`: a layout planned, worked at and merged by one program, and by all machines that join it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use lithoburn_engine::{Report, default_directory};
use lithoburn_farm::desk::Desk;
use lithoburn_farm::worker::Outcome;

use crate::devices::names;
use crate::merge::{Merge, place, told};
use crate::plan::{Wish, planned};
use crate::settings::Settings;
use crate::source::SourceOptions;
use crate::work::{AtWork, How};
use lithoburn_terminal::{Verdict, go_on, say};

/// How often one who has nothing to do looks whether that is so still.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Plan a layout, work at it, and merge: all in one, and other machines may join.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    wish: Wish,
    /// Who hands out the tiles: nats://HOST:4222 or tls://HOST:4222, with the job in DIR/job of --out; or a folder for the job that all
    /// machines share.
    #[arg(long, value_name = "WHERE")]
    farm: String,
    /// File that the server lets us in with.
    #[arg(long, value_name = "FILE")]
    farm_auth: Option<PathBuf>,
    /// Certificates (PEM) that the server's own is signed by.
    #[arg(long, value_name = "FILE")]
    farm_ca: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) how: How,
    /// Directory for the mask, its report and its pictures [default: out/LAYOUT].
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the report as JSON and nothing else.
    #[arg(long)]
    json: bool,
}

impl RunArgs {
    fn is_served(&self) -> bool {
        self.farm.contains("://")
    }

    /// Who hands out blocks.
    fn source(&self) -> SourceOptions {
        let source = if self.is_served() { self.farm.clone() } else { "local".into() };
        SourceOptions { source, auth: self.farm_auth.clone(), ca: self.farm_ca.clone() }
    }

    /// Where the mask goes.
    fn directory(&self, layout: &str) -> PathBuf {
        self.out.clone().unwrap_or_else(|| default_directory(layout))
    }

    /// The job's folder.
    fn folder(&self, layout: &str) -> PathBuf {
        if self.is_served() {
            self.directory(layout).join("job")
        } else {
            PathBuf::from(&self.farm)
        }
    }
}

/// Runs the job.
pub(crate) fn run(args: &RunArgs) -> Result<Verdict> {
    args.how.check()?;
    let source = args.source();
    // Devices open while the layout is cut.
    let opening = args.how.open(args.wish.settings())?;
    let job = planned(&args.wish, &|layout| args.folder(layout), args.json)?;
    let joins = match source.source.as_str() {
        "local" => String::new(),
        url => format!(" --source {url}"),
    };
    say(args.json, &format!("others   lithoburn farm work {}{joins}", job.address()?));
    let settings = Settings::of(&job)?;
    let asked = settings.with(&job.job.inputs);
    let library = asked.library()?;
    let correction = asked.correction(&library)?.batch(args.how.batch);
    let begun = correction.devices(opening.names.clone()).begin()?;
    let devices = opening.devices()?;
    let device = names(&devices);
    say(args.json, &format!("devices  {device}"));
    let planned = begun.on(devices)?;
    planned.notes().iter().for_each(|note| say(args.json, &format!("note     {note}")));
    let shares = settings.shares(&planned)?;
    let (source, quiet) = (&source, args.json);
    let at_work = AtWork {
        job: &job,
        settings: &settings,
        shares: &shares,
        source,
        how: &args.how,
        device,
        quiet: true,
    };
    let merge = Merge { job: &job, shares: &shares, source, wait: true, quiet };
    let out = place(&args.directory(library.name()), &settings)?;
    let report = together(at_work, &merge, &out)?;
    told(&report, settings.rehearsal()?.is_some(), planned.mask_file(), &out, args.json)
}

/// Works and merges beside each other; if one fails, the other ends.
fn together(at_work: AtWork<'_>, merge: &Merge<'_>, out: &Path) -> Result<Report> {
    let ended = AtomicBool::new(false);
    let stop = || !go_on() || ended.load(Ordering::SeqCst);
    let (worked, merged) = std::thread::scope(|scope| {
        let _ending = Ending(&ended);
        let working = scope.spawn(|| {
            let _ending = Ending(&ended);
            at_work_until(&at_work, &stop)
        });
        let merged = merge.leave_in(out, &stop);
        ended.store(true, Ordering::SeqCst);
        // A panic there is a bug of ours, and goes on here as one.
        (working.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), merged)
    });
    match (worked, merged) {
        (_, Ok(report)) => Ok(report),
        (Err(error), Err(_)) => Err(error)
            .context("this machine could not go on; the same command does, with what is done"),
        (Ok(Outcome::Drained), Err(_)) => bail!(
            "workers were asked to leave; after lithoburn farm drain --undo the same command goes on, with what is done"
        ),
        (Ok(_), Err(error)) => Err(error),
    }
}

/// Works until it is stopped, asked to leave or fails; also when nothing was left to do for a while, as the merge may find a result lost.
fn at_work_until(at_work: &AtWork<'_>, stop: &(dyn Fn() -> bool + Sync)) -> Result<Outcome> {
    let desk = Desk::new(at_work.source.ledger(at_work.job)?, "run");
    loop {
        let outcome = at_work.run(stop)?;
        if outcome != Outcome::Finished {
            return Ok(outcome);
        }
        while !stop() && desk.progress(at_work.job.job.blocks)?.is_finished() {
            std::thread::sleep(LOOK_EVERY);
        }
        if stop() {
            return Ok(outcome);
        }
    }
}

/// Ends the other part of a run when it goes out of scope, as it does in a panic.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
