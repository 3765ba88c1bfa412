//! A sweep that several machines share: each runs the same line, and takes the cases that nobody has.
//!
//! ```text
//! cases ─► job.json, blocks.bin ─► source ─ lease ─► a thread a case ─► its files, then its numbers ─► receipt
//!                                                                             all receipts ─► sweep.csv
//! ```
//!
//! A case is a block of [`lithoburn_farm`]: computed at least once, counted once, whoever is killed when. Its files go straight into its
//! folder, each whole; its result is its numbers to the last bit, so that two machines that computed one case can be compared.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lithoburn_farm::collect::{Collector, Look};
use lithoburn_farm::desk::{Desk, Receipt};
use lithoburn_farm::events::Events;
use lithoburn_farm::job::{Cost, JOB, Job, Opened};
use lithoburn_farm::ledger::Ledger;
use lithoburn_farm::manifest::{Block, Manifest};
use lithoburn_farm::source::Named;
use lithoburn_farm::worker::{Terms, Work, WorkError, Worker};
use lithoburn_farm::{Digest, FarmError, worker_name};
use serde::{Deserialize, Serialize};

use crate::cases::{Outcome, Point, solve};
use crate::options::{RunOptions, positive};
use crate::report::Row;
use lithoburn_terminal::{go_on, note};

/// Between two questions of a thread that has no case while others of this machine compute.
const PAUSE: Duration = Duration::from_millis(100);
/// Rounds of a tenth of a second without a case after which it is said that others have the rest.
const WAITING: usize = 20;
/// How long a source that cannot be reached is asked again.
const PATIENCE: Duration = Duration::from_secs(600);

/// Takes part in a sweep until none of its cases is left, and gives those that are done, in their order.
///
/// # Errors
///
/// If the folder has another sweep, or the source cannot be used.
pub(crate) fn share(
    source: &Named,
    options: &RunOptions,
    points: &mut [Point],
) -> Result<Vec<Outcome>> {
    let job = planned(options, points)?;
    let name = worker_name(Some("cfd"));
    let joined = source.join(&job, &name)?;
    if !options.json {
        let folder = job.folder().display();
        note(&format!("{} cases shared as {name} (lithoburn farm status {folder})", points.len()));
    }
    let (manifest, results) = (job.manifest()?, job.results()?);
    let events = Events::open(&job.own("events"), &name)?;
    let device = "cpu".to_string();
    let terms = Terms { name, device, lease: job.job.lease(), patience: PATIENCE };
    let (manifest, results, events) = (&manifest, &results, &events);
    let worker =
        Worker { source: &*joined, manifest, results, events, tally: Arc::default(), terms };
    let places = points.iter_mut().map(Mutex::new).collect();
    let mut cases =
        Cases { options, points: places, threads: rayon::current_num_threads(), rounds: 0 };
    worker.work(&mut cases, &|| !go_on(), &|_| ())?;
    let desk = Desk::new(source.ledger(&job)?, "sweep");
    gathered(&desk, &job, points)
}

/// The sweep as a job, in the folder of all cases; the same line finds it there again.
fn planned(options: &RunOptions, points: &[Point]) -> Result<Opened> {
    let folder = points[0].study.directory(options).join("farm");
    let program = std::env::current_exe().context("cannot find this program's file")?;
    let program = Digest::of_file(&program)?.as_str().to_string();
    let fingerprint = fingerprint(options, points);
    if folder.join(JOB).exists() {
        let job = Opened::read(&folder)?;
        refuse_another(&job, points, &folder)?;
        job.admit(&program, &fingerprint)?;
        return Ok(job);
    }
    let count = points.len() as u64;
    let block = |item| Block { at: [item as u32, 0], items: vec![item] };
    let manifest = Manifest::write(&(0..count).map(block).collect::<Vec<_>>());
    let job = Job {
        version: Job::VERSION,
        name: points[0].study.name.into(),
        release: env!("CARGO_PKG_VERSION").into(),
        program,
        fingerprint,
        inputs: Vec::new(),
        settings: names(points).into(),
        blocks: count,
        items: count,
        manifest: Digest::of(&manifest),
        cost: Cost::of(count, 1.0),
        lease_s: positive("--lease", options.farm.lease)?,
        store: None,
    };
    Ok(job.write(&folder, &manifest)?)
}

fn names(points: &[Point]) -> Vec<String> {
    points.iter().map(Point::name).collect()
}

/// A folder has the cases of one line.
fn refuse_another(job: &Opened, points: &[Point], folder: &Path) -> Result<()> {
    if job.job.name == points[0].study.name
        && job.job.settings == serde_json::Value::from(names(points))
    {
        return Ok(());
    }
    bail!(
        "{} has another list of cases: run the same line as there, or choose another --out",
        folder.display()
    )
}

/// Everything that determines numbers and files of all cases.
fn fingerprint(options: &RunOptions, points: &[Point]) -> Digest {
    let all = points.iter().map(|point| {
        let study = &point.study;
        let keys: Vec<&str> = study.quantities.iter().map(|q| q.key).collect();
        format!("{} {keys:?} {:?}", point.name(), study.case)
    });
    let run = format!("{:?} {}", options.gradient, options.no_files);
    Digest::of(all.chain([run]).collect::<Vec<_>>().join("\n").as_bytes())
}

/// A case's numbers as machines tell them to each other: the same bytes wherever they were computed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Numbers {
    error: Option<String>,
    /// Values as the bits of their f64, which no reader of JSON rounds.
    values: Vec<u64>,
}

impl Numbers {
    fn of(outcome: &Outcome) -> Self {
        let values = outcome.quantities.iter().map(|row| row.value.to_bits()).collect();
        Self { error: outcome.error.clone(), values }
    }

    fn outcome(self, point: &Point, seconds: f64) -> Outcome {
        let values = self.values.into_iter().map(f64::from_bits);
        let rows =
            point.study.quantities.iter().zip(values).map(|(q, value)| Row::valued(q, value));
        Outcome::of(point, self.error.map_or_else(|| Ok(rows.collect()), Err), seconds)
    }
}

/// The cases as a worker computes them: each thread takes one, and the next when it is done.
struct Cases<'a> {
    options: &'a RunOptions,
    points: Vec<Mutex<&'a mut Point>>,
    threads: usize,
    /// How often the source was asked anew.
    rounds: usize,
}

impl Cases<'_> {
    /// Computes a case and writes its files.
    fn solved(&self, number: u64) -> Result<Vec<u8>, WorkError> {
        let failed = |reason: String| WorkError::Block { block: number, reason };
        let point = self.points.get(number as usize).ok_or_else(|| failed("is no case".into()))?;
        let mut point = point.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = solve(&mut point, self.options);
        serde_json::to_vec(&Numbers::of(&outcome)).map_err(|e| failed(e.to_string()))
    }

    /// A thread's life: case after case, until there is none, neither now nor from a machine that dies while others of ours are computed.
    fn take(
        &self,
        draw: &(dyn Fn() -> Option<u64> + Sync),
        busy: &AtomicUsize,
        stop: &(dyn Fn() -> bool + Sync),
        sender: &SyncSender<Solved>,
    ) {
        while !stop() {
            if let Some(number) = draw() {
                let solved = self.solved(number);
                busy.fetch_sub(1, Ordering::SeqCst);
                if sender.send(solved.map(|bytes| (number, bytes))).is_err() {
                    break;
                }
            } else if busy.load(Ordering::SeqCst) == 0 {
                break;
            } else {
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// A case's number and its result.
type Solved = Result<(u64, Vec<u8>), WorkError>;

impl Work for Cases<'_> {
    fn run(
        &mut self,
        blocks: &mut (dyn Iterator<Item = (u64, Block)> + Send),
        stop: &(dyn Fn() -> bool + Sync),
        done: &mut dyn FnMut(u64, Vec<u8>) -> Result<(), WorkError>,
    ) -> Result<(), WorkError> {
        self.rounds += 1;
        if self.rounds == WAITING && !self.options.json {
            note("other machines have the cases that are left");
        }
        let (blocks, busy) = (Mutex::new(blocks), AtomicUsize::new(0));
        let draw = || {
            let mut blocks = blocks.lock().unwrap_or_else(PoisonError::into_inner);
            let (number, _) = blocks.next()?;
            busy.fetch_add(1, Ordering::SeqCst);
            Some(number)
        };
        let (cases, busy, draw) = (&*self, &busy, &draw);
        std::thread::scope(|scope| {
            let (sender, solved) = sync_channel(cases.threads);
            for _ in 0..cases.threads {
                let sender = sender.clone();
                scope.spawn(move || cases.take(draw, busy, stop, &sender));
            }
            drop(sender);
            solved.into_iter().try_for_each(|solved: Solved| {
                let (number, bytes) = solved?;
                done(number, bytes)
            })
        })
    }
}

/// The outcomes that the ledger has, in the order of the cases; a case that was given up is one that says why.
fn gathered<L: Ledger>(desk: &Desk<L>, job: &Opened, points: &[Point]) -> Result<Vec<Outcome>> {
    let (results, total) = (job.results()?, points.len() as u64);
    let mut collector = Collector::new(desk, &results, total, []);
    let mut outcomes = BTreeMap::new();
    loop {
        match collector.look() {
            // What was committed a moment ago comes with the next look.
            Ok(Look::Nothing(progress)) if progress.done > outcomes.len() as u64 => {}
            Ok(Look::All | Look::Nothing(_)) => break,
            Ok(Look::Result(block, bytes)) => {
                let numbers: Numbers = serde_json::from_slice(&bytes).with_context(|| {
                    format!("the result of case {block} is not what was written")
                })?;
                let seconds = desk.receipt(block)?.map_or(0.0, |receipt: Receipt| receipt.seconds);
                let point = &points[block as usize];
                outcomes.insert(block, numbers.outcome(point, seconds));
            }
            Ok(Look::Lost(block, why)) => {
                note(&format!("{} is to be computed again: {why}", points[block as usize].name()));
            }
            Err(FarmError::Parked(_)) => break,
            Err(error) => return Err(error.into()),
        }
    }
    for block in desk.progress(total)?.parked {
        let why = desk.why_parked(block)?.unwrap_or_default();
        let point = &points[block as usize];
        let why = format!("{why}; lithoburn farm retry {} tries it again", job.folder().display());
        outcomes.insert(block, Outcome::of(point, Err(why), 0.0));
    }
    Ok(outcomes.into_values().collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::studies;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: RunOptions,
    }

    #[test]
    fn numbers_cross_machines_to_the_last_bit_and_failures_with_their_reason() -> Result<()> {
        let point = Point::new(&[("re", "40".into())], studies::stream(40.0, 50.0, 1)?);
        let values = [0.1 + 0.2, f64::NAN, -0.0];
        let rows = point.study.quantities.iter().zip(values).map(|(q, v)| Row::valued(q, v));
        let there_and_back = |found| -> Result<Outcome> {
            let bytes = serde_json::to_vec(&Numbers::of(&Outcome::of(&point, found, 1.0)))?;
            Ok(serde_json::from_slice::<Numbers>(&bytes)?.outcome(&point, 2.0))
        };
        let back = there_and_back(Ok(rows.collect()))?;
        let bits = |value: f64| value.to_bits();
        let found: Vec<u64> = back.quantities.iter().map(|row| bits(row.value)).collect();
        assert_eq!(found, values.map(bits));
        let failed = there_and_back(Err("not converged".into()))?;
        assert_eq!(failed.error.as_deref(), Some("not converged"));
        Ok(())
    }

    #[test]
    fn a_fingerprint_is_of_what_is_computed() -> Result<()> {
        let Line { options } = Line::parse_from(["sweep"]);
        let of = |re: f64| -> Result<Digest> {
            let point = Point::new(&[("re", "x".into())], studies::stream(re, 50.0, 1)?);
            Ok(fingerprint(&options, &[point]))
        };
        assert_eq!(of(40.0)?, of(40.0)?);
        assert_ne!(of(40.0)?, of(40.000_000_1)?);
        Ok(())
    }
}
