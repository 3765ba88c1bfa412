//! `work`: this machine's devices at a job's blocks.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use lithoburn_engine::{Shares, program};
use lithoburn_farm::events::Events;
use lithoburn_farm::job::Opened;
use lithoburn_farm::manifest::Manifest;
use lithoburn_farm::tally::{Exporter, Tally};
use lithoburn_farm::worker::{Outcome, Terms, Work, Worker};
use lithoburn_farm::{Digest, worker_name};

use crate::devices::{Devices, Opening, names};
use crate::masks::{Masks, Rehearsal};
use crate::settings::Settings;
use crate::source::SourceOptions;
use lithoburn_terminal::{Progress, Verdict, duration, go_on, say};

/// Work for a job until nothing is left; any number of workers may come and go.
#[derive(Args, Debug)]
pub(crate) struct WorkArgs {
    /// The job's folder.
    job: PathBuf,
    #[command(flatten)]
    source: SourceOptions,
    #[command(flatten)]
    pub(crate) how: How,
    /// Say nothing but errors.
    #[arg(long, short)]
    quiet: bool,
}

/// How this machine works.
#[derive(Args, Debug)]
pub(crate) struct How {
    #[command(flatten)]
    devices: Devices,
    /// Tiles that each device computes at once [default: what its memory holds, at most 96; 1 on the CPU].
    #[arg(long, value_name = "N")]
    pub(crate) batch: Option<usize>,
    /// A word that the worker's name begins with.
    #[arg(long, value_name = "WORD")]
    name: Option<String>,
    /// Seconds for which a source that cannot be reached is asked again.
    #[arg(long, value_name = "S", default_value_t = 600.0, allow_negative_numbers = true)]
    patience: f64,
    /// Address at which Prometheus reads this worker's counters, such as 127.0.0.1:9464.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<String>,
}

/// A machine at work.
pub(crate) struct AtWork<'a> {
    pub(crate) job: &'a Opened,
    pub(crate) settings: &'a Settings,
    pub(crate) shares: &'a Shares<'a>,
    pub(crate) source: &'a SourceOptions,
    pub(crate) how: &'a How,
    /// Its devices, for people.
    pub(crate) device: String,
    pub(crate) quiet: bool,
}

/// Runs the job.
pub(crate) fn work(args: &WorkArgs) -> Result<Verdict> {
    let WorkArgs { source, how, quiet, .. } = args;
    how.check()?;
    let job = Opened::read(&args.job)?;
    let settings = Settings::of(&job)?;
    let opening = how.open(&settings)?;
    let asked = settings.with(&job.job.inputs);
    let library = asked.library()?;
    let correction = asked.correction(&library)?.batch(how.batch);
    let begun = correction.devices(opening.names.clone()).begin()?;
    let devices = opening.devices()?;
    let device = names(&devices);
    let planned = begun.on(devices)?;
    planned.notes().iter().for_each(|note| say(*quiet, &format!("note     {note}")));
    let shares = settings.shares(&planned)?;
    job.admit(program(), &Digest::of_key(&shares.fingerprint()?))?;
    let at_work = AtWork {
        job: &job,
        settings: &settings,
        shares: &shares,
        source,
        how,
        device,
        quiet: *quiet,
    };
    at_work.run(&|| !go_on())?;
    Ok(Verdict::Done)
}

impl How {
    /// Spares CUDA the cards that are not named. For `main`, before any thread is started.
    pub(crate) fn hide_other_cards(&self) {
        self.devices.hide_others();
    }

    /// # Errors
    ///
    /// If an option is out of range.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.batch != Some(0), "--batch must be 1 or more");
        self.patience().map(drop)
    }

    fn patience(&self) -> Result<Duration> {
        let patience = Duration::try_from_secs_f64(self.patience);
        patience.map_err(|_| anyhow!("--patience must be 0 s or more, got {}", self.patience))
    }

    /// Begins to open the devices of a job, which share its tiles as they come; a rehearsal has none.
    pub(crate) fn open(&self, settings: &Settings) -> Result<Opening> {
        if settings.rehearses() { Opening::cpu() } else { self.devices.open(!settings.measures()) }
    }
}

impl AtWork<'_> {
    /// Works until nothing is left, it is asked to leave, or `stop` says so.
    ///
    /// # Errors
    ///
    /// If this machine cannot go on.
    pub(crate) fn run(&self, stop: &(dyn Fn() -> bool + Sync)) -> Result<Outcome> {
        let (start, job, quiet) = (Instant::now(), self.job, self.quiet);
        let manifest = job.manifest()?;
        let mut work = self.work(&manifest, stop)?;
        let name = worker_name(self.how.name.as_deref());
        let source = self.source.join(job, &name)?;
        say(quiet, &format!("worker   {name} on {}, job {}", self.device, job.id.short()));
        let (results, events) = (job.results()?, Events::open(&job.own("events"), &name)?);
        let tally = Arc::new(Tally::default());
        let metrics = self.how.metrics.as_deref();
        let _exporter = metrics.map(|at| exported(at, &tally, &name, job)).transpose()?;
        let (lease, patience) = (job.job.lease(), self.how.patience()?);
        let terms = Terms { name, device: self.device.clone(), lease, patience };
        let progress = Progress::new(quiet);
        let (manifest, results, events) = (&manifest, &results, &events);
        let worker =
            Worker { source: &*source, manifest, results, events, tally: tally.clone(), terms };
        let outcome = worker.work(&mut *work, stop, &|beat| {
            let held = format!("blocks, {} held", beat.holds.len());
            progress.show("working", beat.done, job.job.blocks, &held);
        })?;
        drop(progress);
        say(quiet, &ended(outcome, &tally, start.elapsed().as_secs_f64()));
        Ok(outcome)
    }

    /// What computes blocks, ready to: what a card loads and compiles first keeps no block from other machines.
    fn work(
        &self,
        manifest: &Manifest,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Box<dyn Work + '_>> {
        if let Some(tile) = self.settings.rehearsal()? {
            return Ok(Box::new(Rehearsal { shares: self.shares, tile }));
        }
        let mut solver = self.shares.solver()?;
        if let Some(&tile) =
            manifest.block(0).and_then(|block| block.items.first().copied()).as_ref()
        {
            solver.warm_up(tile, stop)?;
        }
        Ok(Box::new(Masks(solver)))
    }
}

fn exported(at: &str, tally: &Arc<Tally>, name: &str, job: &Opened) -> Result<Exporter> {
    let (tally, name, id) = (tally.clone(), name.to_string(), job.id.short().to_string());
    Ok(Exporter::start(at, move || tally.text(&name, &id))?)
}

/// What is said at the end.
fn ended(outcome: Outcome, tally: &Tally, seconds: f64) -> String {
    let why = match outcome {
        Outcome::Finished => "nothing is left",
        Outcome::Drained => "was asked to leave",
        Outcome::Stopped => "was stopped",
    };
    let [blocks, items] =
        [&tally.committed, &tally.items].map(|count| count.load(Ordering::Relaxed));
    format!(
        "{blocks} blocks, {items} tiles in {}; {why}; waited {:.1} s for blocks",
        duration(seconds),
        tally.next.sum().as_secs_f64()
    )
}
