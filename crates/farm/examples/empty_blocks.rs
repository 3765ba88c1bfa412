//! What a farm's engine costs: blocks that take no time, and blocks of a second, by one source.
//!
//! ```text
//! cargo run --release -p lithoburn-farm --example empty_blocks -- [local | nats://HOST:PORT] [BLOCKS] [WORKERS] [MILLISECONDS]
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use lithoburn_farm::clock::Wall;
use lithoburn_farm::desk::Desk;
use lithoburn_farm::events::Events;
use lithoburn_farm::job::{Cost, Job, Opened};
use lithoburn_farm::ledger::FileLedger;
use lithoburn_farm::manifest::{Block, Manifest};
use lithoburn_farm::nats::{Address, Connection};
use lithoburn_farm::source::{BlockSource, Nats, Shared};
use lithoburn_farm::worker::{Terms, Work, WorkError, Worker};
use lithoburn_farm::{Digest, FarmError};

const LEASE: Duration = Duration::from_secs(30);

/// Computes nothing, for a while.
struct Sleep(Duration);

impl Work for Sleep {
    fn run(
        &mut self,
        blocks: &mut (dyn Iterator<Item = (u64, Block)> + Send),
        _stop: &(dyn Fn() -> bool + Sync),
        done: &mut dyn FnMut(u64, Vec<u8>) -> Result<(), WorkError>,
    ) -> Result<(), WorkError> {
        std::thread::scope(|scope| {
            // As devices do: the next block is drawn while one is computed.
            let (drawn, next) = std::sync::mpsc::sync_channel(1);
            scope.spawn(move || {
                for (number, _) in blocks {
                    if drawn.send(number).is_err() {
                        break;
                    }
                }
            });
            next.into_iter().try_for_each(|number| {
                std::thread::sleep(self.0);
                done(number, Vec::new())
            })
        })
    }
}

fn planned(folder: &std::path::Path, blocks: u64) -> Result<Opened, FarmError> {
    let block = |item| Block { at: [0, 0], items: vec![item] };
    let manifest = Manifest::write(&(0..blocks).map(block).collect::<Vec<_>>());
    let job = Job {
        version: Job::VERSION,
        name: "empty".into(),
        release: "0".into(),
        program: String::new(),
        fingerprint: Digest::of(&std::process::id().to_le_bytes()),
        inputs: Vec::new(),
        settings: serde_json::Value::Null,
        blocks,
        items: blocks,
        manifest: Digest::of(&manifest),
        cost: Cost::of(blocks, 1.0),
        lease_s: LEASE.as_secs_f64(),
        store: None,
    };
    job.write(folder, &manifest)
}

fn joined(job: &Opened, source: &str, me: &str) -> Result<Box<dyn BlockSource>, FarmError> {
    let total = job.job.blocks;
    if source == "local" {
        let desk = Desk::new(FileLedger::open(&job.own("ledger"))?, me);
        return Ok(Box::new(Shared::join(desk, Wall::default(), total, LEASE)?));
    }
    let address = Address { url: source.into(), ..Address::default() };
    let connection = Arc::new(Connection::open(&address, me)?);
    Ok(Box::new(Nats::join(connection, me, job.id.short(), total, LEASE)?))
}

fn work(
    job: &Opened,
    source: &dyn BlockSource,
    me: &str,
    takes: Duration,
) -> Result<(), FarmError> {
    let (manifest, results) = (job.manifest()?, job.results()?);
    let events = Events::open(&job.own("events"), me)?;
    let terms = Terms { name: me.into(), device: "none".into(), lease: LEASE, patience: LEASE };
    let (manifest, results, events) = (&manifest, &results, &events);
    let worker = Worker { source, manifest, results, events, tally: Arc::default(), terms };
    worker.work(&mut Sleep(takes), &|| false, &|_| ()).map(drop)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, or: u64| args.get(i).map_or(Ok(or), |text| text.parse());
    let source = args.first().map_or("local", String::as_str);
    let (blocks, workers, ms) = (number(1, 10_000)?, number(2, 4)?, number(3, 0)?);
    let folder = tempfile::tempdir()?;
    let job = planned(folder.path(), blocks)?;
    let takes = Duration::from_millis(ms);
    let names: Vec<String> = (0..workers).map(|i| format!("worker-{i}")).collect();
    let sources: Result<Vec<_>, _> = names.iter().map(|name| joined(&job, source, name)).collect();
    let (sources, start) = (sources?, Instant::now());
    let worked: Result<(), FarmError> = std::thread::scope(|scope| {
        let one = |name: &str, source: &dyn BlockSource| work(&job, source, name, takes);
        let threads: Vec<_> = names
            .iter()
            .zip(&sources)
            .map(|(name, source)| scope.spawn(move || one(name, &**source)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|t| t.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
    });
    worked?;
    let took = start.elapsed().as_secs_f64();
    let ideal = blocks as f64 / workers as f64 * takes.as_secs_f64();
    println!(
        "{source}: {blocks} blocks of {ms} ms, {workers} workers: {took:.2} s, {:.0} blocks/s",
        blocks as f64 / took
    );
    if ideal > 0.0 {
        println!("{:.2} % more than {ideal:.2} s", 100.0 * (took / ideal - 1.0));
    }
    Ok(())
}
