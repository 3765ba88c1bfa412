//! A toy in place of masks: an item's result is a hash of its number, and the whole is all of them in order.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lithoburn_farm::collect::Collector;
use lithoburn_farm::desk::{Desk, Progress};
use lithoburn_farm::events::Events;
use lithoburn_farm::job::{Cost, Job, Opened};
use lithoburn_farm::ledger::Ledger;
use lithoburn_farm::manifest::{Block, Manifest, blocks};
use lithoburn_farm::source::BlockSource;
use lithoburn_farm::worker::{Outcome, Terms, Work, WorkError, Worker};
use lithoburn_farm::{Digest, FarmError, worker_name};

/// Says to a process of this test's program that it is a worker, and of what: what it is told comes in other variables.
pub(crate) const ROLE: &str = "LITHOBURN_TOY_ROLE";
/// The job's folder.
pub(crate) const FOLDER: &str = "LITHOBURN_TOY_FOLDER";
/// Milliseconds that a block takes.
pub(crate) const TAKES: &str = "LITHOBURN_TOY_TAKES_MS";
/// Milliseconds of a lease.
pub(crate) const LEASE: &str = "LITHOBURN_TOY_LEASE_MS";

/// How often a block that takes its time looks whether to stop.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Computes blocks one by one, and has the next one before that, as devices do.
pub(crate) struct Toy {
    pub(crate) takes: Duration,
    /// Items that cannot be computed.
    pub(crate) poison: Vec<u64>,
    /// Items whose result is wrong here.
    pub(crate) wrong: Vec<u64>,
}

impl Toy {
    pub(crate) fn taking(takes: Duration) -> Self {
        Self { takes, poison: Vec::new(), wrong: Vec::new() }
    }
}

pub(crate) fn of_item(item: u64) -> Vec<u8> {
    Digest::of(&item.to_le_bytes()).as_str().as_bytes()[..8].to_vec()
}

impl Work for Toy {
    fn run(
        &mut self,
        blocks: &mut (dyn Iterator<Item = (u64, Block)> + Send),
        stop: &(dyn Fn() -> bool + Sync),
        done: &mut dyn FnMut(u64, Vec<u8>) -> Result<(), WorkError>,
    ) -> Result<(), WorkError> {
        let mut next = blocks.next();
        while let Some((number, block)) = next {
            next = blocks.next();
            let start = Instant::now();
            while start.elapsed() < self.takes && !stop() {
                std::thread::sleep(self.takes.saturating_sub(start.elapsed()).min(LOOK_EVERY));
            }
            if start.elapsed() < self.takes {
                return Ok(());
            }
            if block.items.iter().any(|item| self.poison.contains(item)) {
                let reason = "an item that nobody can compute".into();
                return Err(WorkError::Block { block: number, reason });
            }
            let mut bytes: Vec<u8> = block.items.iter().flat_map(|&item| of_item(item)).collect();
            if block.items.iter().any(|item| self.wrong.contains(item)) {
                bytes[0] ^= 1;
            }
            done(number, bytes)?;
        }
        Ok(())
    }
}

/// A job of so many blocks of four items.
pub(crate) fn plan(folder: &Path, count: u64) -> Opened {
    let items = (0..4 * count).map(|item| (item, [item % (4 * count), 0]));
    let blocks = blocks(items, [4, 1]);
    assert_eq!(blocks.len() as u64, count);
    let manifest = Manifest::write(&blocks);
    let job = Job {
        version: Job::VERSION,
        name: "toy".into(),
        release: "0".into(),
        program: "p".repeat(64),
        fingerprint: Digest::of(b"settings"),
        inputs: Vec::new(),
        settings: serde_json::Value::Null,
        blocks: count,
        items: 4 * count,
        manifest: Digest::of(&manifest),
        cost: Cost::of(4 * count, 4.0),
        lease_s: 1.5,
        store: None,
    };
    job.write(folder, &manifest).expect("writable")
}

/// What one process finds.
pub(crate) fn whole(job: &Opened) -> Vec<u8> {
    (0..job.job.items).flat_map(of_item).collect()
}

/// Works with a source until its end.
pub(crate) fn work(
    job: &Opened,
    source: &dyn BlockSource,
    name: &str,
    toy: &mut Toy,
    lease: Duration,
) -> Result<Outcome, FarmError> {
    let (manifest, results) = (job.manifest()?, job.results()?);
    let events = Events::open(&job.own("events"), name)?;
    let terms =
        Terms { name: name.into(), device: "toy".into(), lease, patience: Duration::from_secs(60) };
    let (manifest, results, events) = (&manifest, &results, &events);
    Worker { source, manifest, results, events, tally: Arc::default(), terms }.work(
        toy,
        &|| false,
        &|_| (),
    )
}

/// Waits for all results and puts them together.
pub(crate) fn merge(job: &Opened, ledger: impl Ledger) -> Result<Vec<u8>, FarmError> {
    merge_while(job, ledger, &mut |_| true)
}

/// As [`merge`], as long as `wait` says so.
pub(crate) fn merge_while(
    job: &Opened,
    ledger: impl Ledger,
    wait: &mut dyn FnMut(&Progress) -> bool,
) -> Result<Vec<u8>, FarmError> {
    let (desk, results) = (Desk::new(ledger, "merge"), job.results()?);
    let manifest = job.manifest()?;
    let mut whole = vec![0; 8 * job.job.items as usize];
    Collector::new(&desk, &results, job.job.blocks, []).all(wait, &mut |number, bytes| {
        let block = manifest.block(number).expect("planned");
        for (item, bytes) in block.items.iter().zip(bytes.chunks(8)) {
            whole[8 * *item as usize..][..8].copy_from_slice(bytes);
        }
        Ok(())
    })?;
    Ok(whole)
}

/// A worker that is a process of its own: this test's program, told by its environment to be one. It is killed when it is dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn start(job: &Opened, role: &str, takes: Duration, lease: Duration) -> Self {
        Self::with(job, role, takes, lease, &[], &[])
    }

    /// With more in its environment, started by another program.
    pub(crate) fn with(
        job: &Opened,
        role: &str,
        takes: Duration,
        lease: Duration,
        more: &[(&str, String)],
        by: &[&str],
    ) -> Self {
        let program = std::env::current_exe().expect("this program");
        let program = program.to_str().expect("UTF-8");
        let words: Vec<&str> = by.iter().copied().chain([program]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command.args(["--exact", &format!("{role}::is_a_worker"), "--nocapture"]);
        command.env(ROLE, role).env(FOLDER, job.folder());
        command.env(TAKES, takes.as_millis().to_string());
        command.env(LEASE, lease.as_millis().to_string());
        command.envs(more.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        Self(command.spawn().expect("started"))
    }

    /// As `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ended");
    }

    /// Whether it ended well.
    pub(crate) fn ends_well(mut self) -> bool {
        self.0.wait().expect("it ends").success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a worker's process is told.
pub(crate) struct Told {
    pub(crate) folder: PathBuf,
    pub(crate) takes: Duration,
    pub(crate) lease: Duration,
    pub(crate) name: String,
}

/// What this process is told, if it is a worker in that role.
pub(crate) fn told(role: &str) -> Option<Told> {
    let of = |name: &str| std::env::var(name).ok();
    let ms = |name: &str| Some(Duration::from_millis(of(name)?.parse().ok()?));
    let is_it = of(ROLE)? == role;
    let folder = of(FOLDER)?.into();
    is_it.then_some(Told { folder, takes: ms(TAKES)?, lease: ms(LEASE)?, name: worker_name(None) })
}
