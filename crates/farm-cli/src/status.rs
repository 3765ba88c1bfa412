//! `status`, `drain`, `retry`: how far a job is, and what people say to it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use lithoburn_farm::desk::{Desk, Progress};
use lithoburn_farm::job::Opened;
use lithoburn_farm::ledger::{About, Entry, Kind, Ledger};
use lithoburn_farm::source::Beat;
use serde::Serialize;

use crate::source::{AnyLedger, SourceOptions};
use lithoburn_terminal::{Verdict, again, duration, go_on, plain, print_json, say, table};

/// Between two looks of --watch.
const EVERY: Duration = Duration::from_secs(2);

/// Cells of the bar of --watch.
const BAR: usize = 64;

/// Say how far a job is, and who does what.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// The job's folder.
    job: PathBuf,
    #[command(flatten)]
    source: SourceOptions,
    /// Look again and again, until the job is done: a live view on a terminal.
    #[arg(long)]
    watch: bool,
    /// Print JSON and nothing else.
    #[arg(long, conflicts_with = "watch")]
    json: bool,
}

/// A look at a job.
#[derive(Debug, Serialize)]
struct Status {
    job: String,
    progress: Progress,
    /// Blocks under lease.
    running: u64,
    /// Blocks a second of all workers together, since each joined.
    blocks_per_second: f64,
    /// Seconds until the end at that speed; none if nobody works.
    eta_s: Option<f64>,
    workers: Vec<One>,
    /// Blocks that were given up, and why.
    parked: Vec<(u64, String)>,
    /// Whether workers are asked to leave.
    draining: bool,
}

#[derive(Debug, Serialize)]
struct One {
    name: String,
    /// Not heard of for the time of a lease, as far as was watched.
    is_silent: bool,
    #[serde(flatten)]
    beat: Beat,
}

/// Beats that were seen, and since when they are the same.
type Seen = HashMap<String, (u64, Instant)>;

/// Runs the job.
pub(crate) fn status(args: &StatusArgs) -> Result<Verdict> {
    let job = Opened::read(&args.job)?;
    let desk = Desk::new(args.source.ledger(&job)?, "status");
    let mut seen = Seen::new();
    loop {
        let status = look(&job, &desk, &mut seen)?;
        if args.json {
            print_json(&status)?;
        } else {
            if args.watch {
                again();
                say(false, &bar(&status.progress));
            }
            tell(&status);
        }
        let is_finished = status.progress.is_finished();
        if is_finished || !args.watch || !go_on() {
            let met = !is_finished || status.parked.is_empty();
            return Ok(if met { Verdict::Done } else { Verdict::NotMet });
        }
        std::thread::sleep(EVERY);
    }
}

fn look(job: &Opened, desk: &Desk<AnyLedger>, seen: &mut Seen) -> Result<Status> {
    let progress = desk.progress(job.job.blocks)?;
    let mut workers = Vec::new();
    for about in desk.ledger().list(Kind::Worker)? {
        let About::Name(name) = about else { continue };
        let bytes = desk.ledger().read(&Entry::of_worker(&name))?.unwrap_or_default();
        let beat: Beat = serde_json::from_slice(&bytes).unwrap_or_default();
        let since = seen.get(&name).filter(|(last, _)| *last == beat.beat).map(|(_, since)| *since);
        let since = since.unwrap_or_else(Instant::now);
        seen.insert(name.clone(), (beat.beat, since));
        let is_silent = !beat.left && since.elapsed() >= job.job.lease();
        workers.push(One { name, is_silent, beat });
    }
    let here = || workers.iter().filter(|one| !one.beat.left && !one.is_silent);
    let speed = |one: &One| one.beat.done as f64 / one.beat.up_s.max(1.0);
    // The sum of nothing would be a negative zero.
    let blocks_per_second: f64 = here().fold(0.0, |sum, one| sum + speed(one));
    let left = progress.total - progress.done - progress.parked.len() as u64;
    let running = here().map(|one| one.beat.holds.len() as u64).sum();
    let mut parked = Vec::new();
    for &block in &progress.parked {
        parked.push((block, desk.why_parked(block)?.unwrap_or_default()));
    }
    Ok(Status {
        job: job.id.short().into(),
        eta_s: (blocks_per_second > 0.0).then(|| left as f64 / blocks_per_second),
        draining: desk.ledger().read(&Entry::drain())?.is_some(),
        progress,
        running,
        blocks_per_second,
        workers,
        parked,
    })
}

/// How far a job is, as a bar: done, given up, open.
fn bar(progress: &Progress) -> String {
    let cells = |blocks: u64| (blocks as usize * BAR).div_ceil(progress.total.max(1) as usize);
    let done = cells(progress.done).min(BAR);
    let parked = cells(progress.parked.len() as u64).min(BAR - done);
    ["█".repeat(done), "×".repeat(parked), "·".repeat(BAR - done - parked)].concat()
}

fn tell(status: &Status) {
    let Status { progress, running, .. } = status;
    let share = 100.0 * progress.done as f64 / progress.total.max(1) as f64;
    let eta = status.eta_s.map_or("nobody works".into(), |s| format!("{} to go", duration(s)));
    say(
        false,
        &format!(
            "job {}: {} of {} blocks done ({share:.1} %), {running} running, {} given up; {:.2} blocks/s, {eta}{}",
            status.job,
            progress.done,
            progress.total,
            progress.parked.len(),
            status.blocks_per_second,
            if status.draining { "; workers are asked to leave" } else { "" }
        ),
    );
    let row = |one: &One| {
        let Beat { device, holds, done, failed, up_s, busy_s, left, .. } = &one.beat;
        let state = match (left, one.is_silent) {
            (true, _) => "left",
            (false, true) => "silent",
            (false, false) => "here",
        };
        let holds: Vec<String> = holds.iter().map(ToString::to_string).collect();
        let busy = 100.0 * busy_s / up_s.max(1e-3);
        vec![
            plain(&one.name),
            plain(device),
            state.into(),
            done.to_string(),
            failed.to_string(),
            format!("{:.0} %", busy.min(100.0)),
            holds.join(" "),
        ]
    };
    let rows: Vec<Vec<String>> = status.workers.iter().map(row).collect();
    if !rows.is_empty() {
        let header = ["worker", "devices", "state", "done", "failed", "busy", "blocks"];
        say(false, &table(&header, &rows));
    }
    for (block, why) in &status.parked {
        say(false, &format!("block {block} {why}"));
    }
}

/// Ask all workers to finish what they have and leave.
#[derive(Args, Debug)]
pub(crate) struct DrainArgs {
    /// The job's folder.
    job: PathBuf,
    #[command(flatten)]
    source: SourceOptions,
    /// Let workers in again.
    #[arg(long)]
    undo: bool,
}

/// Runs the job.
pub(crate) fn drain(args: &DrainArgs) -> Result<Verdict> {
    let job = Opened::read(&args.job)?;
    let ledger = args.source.ledger(&job)?;
    match args.undo {
        true => ledger.remove(&Entry::drain())?,
        false => ledger.put(&Entry::drain(), b"")?,
    }
    let said =
        if args.undo { "workers may come again" } else { "workers leave after their blocks" };
    say(false, &format!("job {}: {said}", job.id.short()));
    Ok(Verdict::Done)
}

/// Try blocks again that were given up.
#[derive(Args, Debug)]
pub(crate) struct RetryArgs {
    /// The job's folder.
    job: PathBuf,
    #[command(flatten)]
    source: SourceOptions,
    /// These blocks alone.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    blocks: Vec<u64>,
}

/// Runs the job.
pub(crate) fn retry(args: &RetryArgs) -> Result<Verdict> {
    let job = Opened::read(&args.job)?;
    let desk = Desk::new(args.source.ledger(&job)?, "retry");
    let parked = desk.progress(job.job.blocks)?.parked;
    let wanted = if args.blocks.is_empty() { &parked } else { &args.blocks };
    for &block in wanted {
        parked.contains(&block).then_some(()).with_context(|| {
            format!(
                "--blocks {block} is not one that was given up; lithoburn farm status lists those"
            )
        })?;
        desk.forgive(block)?;
    }
    say(false, &format!("job {}: {} blocks are tried again", job.id.short(), wanted.len()));
    Ok(Verdict::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_what_is_done_and_what_was_given_up_and_is_never_too_long() {
        let of = |total, done, parked: u64| {
            let bar = bar(&Progress { total, done, parked: (0..parked).collect() });
            assert_eq!(bar.chars().count(), BAR, "{bar}");
            ['█', '×', '·'].map(|cell| bar.chars().filter(|&c| c == cell).count())
        };
        assert_eq!(of(64, 32, 1), [32, 1, 31]);
        assert_eq!(of(1000, 1, 0), [1, 0, 63]);
        assert_eq!(of(1000, 999, 1), [64, 0, 0]);
        assert_eq!(of(0, 0, 0), [0, 0, 64]);
    }
}
