//! `work`: this machine's devices at a job's blocks.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use lithoburn_engine::program;
use lithoburn_farm::events::Events;
use lithoburn_farm::job::Opened;
use lithoburn_farm::tally::{Exporter, Tally};
use lithoburn_farm::worker::{Outcome, Terms, Worker};
use lithoburn_farm::{Digest, worker_name};
use lithoburn_pool::{Chosen, DeviceName, choose, choose_all};

use crate::masks::Masks;
use crate::settings::Settings;
use crate::source::SourceOptions;
use crate::terminal::{Progress, Verdict, duration, go_on, say};

/// Work for a job until nothing is left; any number of workers may come and go.
#[derive(Args, Debug)]
pub(crate) struct WorkArgs {
    /// The job's folder.
    job: PathBuf,
    #[command(flatten)]
    source: SourceOptions,
    /// Devices of this machine: auto, all (every GPU), or names such as cuda:0,cuda:1,cpu.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "auto")]
    devices: Vec<String>,
    /// Tiles that each device computes at once [default: what its memory holds, at most 96; 1 on the CPU].
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// A word that the worker's name begins with.
    #[arg(long, value_name = "WORD")]
    name: Option<String>,
    /// Seconds for which a source that cannot be reached is asked again.
    #[arg(long, value_name = "S", default_value_t = 600.0)]
    patience: f64,
    /// Address at which Prometheus reads this worker's counters, such as 127.0.0.1:9464.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<String>,
    /// Say nothing but errors.
    #[arg(long, short)]
    quiet: bool,
}

/// Runs the job.
pub(crate) fn work(args: &WorkArgs) -> Result<Verdict> {
    let patience = Duration::try_from_secs_f64(args.patience);
    ensure!(patience.is_ok(), "--patience must be 0 s or more, got {}", args.patience);
    ensure!(args.batch != Some(0), "--batch must be 1 or more");
    let start = Instant::now();
    let job = Opened::read(&args.job)?;
    let manifest = job.manifest()?;
    let settings = Settings::of(&job)?;
    let asked = settings.with(&job.job.inputs);
    let library = asked.library()?;
    let devices = devices(&args.devices)?;
    let device = devices.iter().map(|d| d.name.as_str()).collect::<Vec<_>>().join(",");
    let planned = asked.correction(&library, devices)?.batch(args.batch).plan()?;
    planned.notes().iter().for_each(|note| say(args.quiet, &format!("note     {note}")));
    let shares = planned.shares()?;
    job.admit(program(), &Digest::of_key(&shares.fingerprint()?))?;
    let name = worker_name(args.name.as_deref());
    let source = args.source.join(&job, &name)?;
    say(args.quiet, &format!("worker   {name} on {device}, job {}", job.id.short()));
    let (results, events) = (job.results()?, Events::open(&job.own("events"), &name)?);
    let tally = Arc::new(Tally::default());
    let _exporter =
        args.metrics.as_deref().map(|at| exported(at, &tally, &name, &job)).transpose()?;
    let patience = patience.unwrap_or_default();
    let terms = Terms { name, device, lease: job.job.lease(), patience };
    let progress = Progress::new(args.quiet);
    let (manifest, results, events) = (&manifest, &results, &events);
    let worker =
        Worker { source: &*source, manifest, results, events, tally: tally.clone(), terms };
    let outcome = worker.work(&mut Masks(shares.solver()?), &|| !go_on(), &|beat| {
        let held = format!("blocks, {} held", beat.holds.len());
        progress.show("working", beat.done, job.job.blocks, &held);
    })?;
    drop(progress);
    say(args.quiet, &ended(outcome, &tally, start.elapsed().as_secs_f64()));
    Ok(Verdict::Done)
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

/// Devices by name, tested.
pub(crate) fn devices(names: &[String]) -> Result<Vec<Chosen>> {
    let named = |name: &String| -> Result<Chosen> {
        let name: DeviceName = name.parse().map_err(|e| anyhow::anyhow!("--devices: {e}"))?;
        Ok(choose(name)?)
    };
    match names {
        [all] if all == "all" => Ok(choose_all()),
        names => names.iter().map(named).collect(),
    }
}
