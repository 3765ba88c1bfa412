//! The source without a daemon: files on a shared folder.

use std::collections::BTreeSet;
use std::time::Duration;

use lithoburn_farm::FarmError;
use lithoburn_farm::clock::Wall;
use lithoburn_farm::desk::Desk;
use lithoburn_farm::events::{What, read_all};
use lithoburn_farm::job::Opened;
use lithoburn_farm::ledger::{Entry, FileLedger, Kind, Ledger};
use lithoburn_farm::source::Shared;
use lithoburn_farm::worker::Outcome;

use crate::toy::{self, Process, Toy};

const LEASE: Duration = Duration::from_millis(1500);

fn ledger(job: &Opened) -> FileLedger {
    FileLedger::open(&job.own("ledger")).expect("writable")
}

fn worked(job: &Opened, name: &str, toy: &mut Toy, lease: Duration) -> Result<Outcome, FarmError> {
    let desk = Desk::new(ledger(job), name);
    let source = Shared::join(desk, Wall::default(), job.job.blocks, lease)?;
    toy::work(job, &source, name, toy, lease)
}

/// Waits for something that comes soon.
fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Not a test: the other half of those below, which start this program again.
#[test]
fn is_a_worker() {
    if let Some(told) = toy::told("local") {
        let job = Opened::read(&told.folder).expect("planned");
        let mut toy = Toy::taking(told.takes);
        worked(&job, &told.name, &mut toy, told.lease).expect("works to the end");
    }
}

/// Blocks that were committed, over all workers.
fn committed(job: &Opened) -> Vec<u64> {
    let all = read_all(&job.own("events")).expect("there");
    let events = all.into_iter().flat_map(|(_, events)| events);
    let mut blocks: Vec<u64> =
        events.filter(|e| e.what == What::Committed).filter_map(|e| e.block).collect();
    blocks.sort_unstable();
    blocks
}

#[test]
fn workers_that_are_threads_find_what_one_process_finds() {
    let folder = tempfile::tempdir().expect("a folder");
    let job = toy::plan(folder.path(), 100);
    std::thread::scope(|scope| {
        for name in ["a", "b", "c"] {
            let job = &job;
            scope.spawn(move || worked(job, name, &mut Toy::taking(Duration::ZERO), LEASE));
        }
    });
    assert_eq!(toy::merge(&job, ledger(&job)).expect("whole"), toy::whole(&job));
    assert_eq!(committed(&job), (0..100).collect::<Vec<_>>());
}

/// Two of four processes are killed in the middle of their blocks, and one is started late.
#[test]
fn killed_processes_lose_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let job = toy::plan(folder.path(), 400);
    let start = || Process::start(&job, "local", Duration::from_millis(10), LEASE);
    let mut workers: Vec<Process> = (0..4).map(|_| start()).collect();
    until(|| ledger(&job).list(Kind::Receipt).expect("listed").len() > 20);
    workers.drain(..2).for_each(|mut worker| worker.kill());
    workers.push(start());
    let whole = toy::merge(&job, ledger(&job)).expect("whole");
    assert_eq!(whole, toy::whole(&job));
    assert!(workers.into_iter().all(Process::ends_well));
    let committed = committed(&job);
    assert!(committed.windows(2).all(|pair| pair[0] < pair[1]), "one was committed twice");
    // A worker that was killed between its commit and its note has one block fewer in its log than in the ledger.
    assert!(committed.len() >= 390 && committed.len() <= 400, "{}", committed.len());
}

#[test]
fn a_poison_block_is_parked_after_three_tries_and_the_rest_is_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let job = toy::plan(folder.path(), 20);
    let mut toy = Toy { poison: vec![4 * 7 + 1], ..Toy::taking(Duration::ZERO) };
    assert_eq!(worked(&job, "a", &mut toy, LEASE).expect("goes on"), Outcome::Finished);
    let progress = Desk::new(ledger(&job), "b").progress(20).expect("there");
    assert_eq!((progress.done, progress.parked), (19, vec![7]));
    let error = toy::merge(&job, ledger(&job)).expect_err("one is missing").to_string();
    assert!(error.contains("1 of 20 blocks") && error.contains("block 7 failed"), "{error}");
    assert_eq!(error.matches("nobody can compute").count(), 3, "{error}");
    Desk::new(ledger(&job), "b").forgive(7).expect("forgiven");
    let outcome = worked(&job, "c", &mut Toy::taking(Duration::ZERO), LEASE);
    assert_eq!(outcome.expect("works"), Outcome::Finished);
    assert_eq!(toy::merge(&job, ledger(&job)).expect("whole"), toy::whole(&job));
}

/// A card that computes wrongly is found when its block is computed twice: both machines are named, and the block is parked.
#[test]
fn two_machines_that_disagree_are_both_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let job = toy::plan(folder.path(), 1);
    let [right, wrong] = [vec![], vec![2]];
    let lease = Duration::from_millis(300);
    std::thread::scope(|scope| {
        // The first sleeps through its lease; its result comes late.
        let late = scope.spawn(|| {
            let desk = Desk::new(ledger(&job), "late");
            let source = Shared::join(desk, Wall::default(), 1, lease).expect("joined");
            let silent = Silent(source);
            let mut toy = Toy { wrong, ..Toy::taking(20 * lease) };
            toy::work(&job, &silent, "late", &mut toy, lease)
        });
        let begun = Entry::of_try(Kind::Lease, 0, 1);
        until(|| ledger(&job).read(&begun).expect("readable").is_some());
        let mut toy = Toy { wrong: right, ..Toy::taking(Duration::ZERO) };
        worked(&job, "quick", &mut toy, lease).expect("works");
        late.join().expect("no panic").expect("works");
    });
    let error = toy::merge(&job, ledger(&job)).expect_err("parked").to_string();
    assert!(error.contains("two results"), "{error}");
    assert!(error.contains("by quick on toy") && error.contains("by late on toy"), "{error}");
}

/// A slow machine has the last block for a minute: a quick one computes it too, and the slow one leaves as soon as it is done.
#[test]
fn the_last_block_of_a_slow_machine_is_a_quick_ones_and_neither_waits_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let job = toy::plan(folder.path(), 12);
    let lease = 2 * LEASE;
    std::thread::scope(|scope| {
        let slow =
            scope.spawn(|| worked(&job, "slow", &mut Toy::taking(Duration::from_secs(60)), lease));
        until(|| !ledger(&job).list(Kind::Lease).expect("listed").is_empty());
        let quick = worked(&job, "quick", &mut Toy::taking(Duration::from_millis(10)), lease);
        assert_eq!(quick.expect("works"), Outcome::Finished);
        assert_eq!(slow.join().expect("no panic").expect("works"), Outcome::Finished);
    });
    assert_eq!(toy::merge(&job, ledger(&job)).expect("whole"), toy::whole(&job));
    assert_eq!(committed(&job), (0..12).collect::<Vec<_>>());
    let copies = ledger(&job).list(Kind::Copy).expect("listed");
    assert!(!copies.is_empty() && copies.len() <= 2, "{copies:?}");
    let desk = Desk::new(ledger(&job), "test");
    let by = |block| desk.receipt(block).expect("readable").expect("done").worker;
    assert!((0..12).all(|block| by(block) == "quick"), "the slow one did not compute to the end");
    assert!(ledger(&job).list(Kind::Failed).expect("listed").is_empty(), "nobody lost a lease");
}

/// A source whose renewals do not come through, as behind a network that is cut.
struct Silent<S>(S);

impl<S: lithoburn_farm::source::BlockSource> lithoburn_farm::source::BlockSource for Silent<S> {
    fn next(&self) -> Result<lithoburn_farm::source::Next, FarmError> {
        self.0.next()
    }

    fn renew(
        &self,
        _: &[lithoburn_farm::desk::Lease],
        _: &lithoburn_farm::source::Beat,
    ) -> Result<Vec<lithoburn_farm::desk::Lease>, FarmError> {
        Err(FarmError::Server("the network is cut".into()))
    }

    fn commit(
        &self,
        lease: &lithoburn_farm::desk::Lease,
        receipt: &lithoburn_farm::desk::Receipt,
    ) -> Result<lithoburn_farm::desk::Committed, FarmError> {
        self.0.commit(lease, receipt)
    }

    fn fail(
        &self,
        lease: &lithoburn_farm::desk::Lease,
        ended: &lithoburn_farm::desk::Ended,
    ) -> Result<lithoburn_farm::desk::Fate, FarmError> {
        self.0.fail(lease, ended)
    }

    fn has_result(&self, _: u64) -> Result<bool, FarmError> {
        Err(FarmError::Server("the network is cut".into()))
    }

    fn progress(&self) -> Result<lithoburn_farm::desk::Progress, FarmError> {
        self.0.progress()
    }
}

/// A file in place of the folder of results: nothing can be written there, as on a full disk.
#[test]
fn a_worker_that_cannot_write_says_so_and_its_blocks_go_to_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let job = toy::plan(folder.path(), 5);
    let results = job.own("results");
    std::fs::create_dir_all(&results).expect("made");
    let in_the_way: Vec<_> = (0..256).map(|i| results.join(format!("{i:02x}"))).collect();
    in_the_way.iter().for_each(|path| std::fs::write(path, b"").expect("written"));
    let error = worked(&job, "a", &mut Toy::taking(Duration::ZERO), LEASE).expect_err("no room");
    assert!(error.to_string().contains("results"), "{error}");
    in_the_way.iter().for_each(|path| std::fs::remove_file(path).expect("there"));
    let outcome = worked(&job, "b", &mut Toy::taking(Duration::ZERO), LEASE);
    assert_eq!(outcome.expect("works"), Outcome::Finished);
    assert_eq!(toy::merge(&job, ledger(&job)).expect("whole"), toy::whole(&job));
    let parked = Desk::new(ledger(&job), "c").progress(5).expect("there").parked;
    assert!(parked.is_empty(), "no block is to blame: {parked:?}");
}

/// Files whose times are hours before and after now change nothing: nobody reads them.
#[test]
fn clocks_that_are_hours_apart_change_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let job = toy::plan(folder.path(), 60);
    let skew = Duration::from_secs(5 * 3600);
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            let job = &job;
            let mut toy = Toy::taking(Duration::from_millis(10));
            // Long enough for a machine with much to do: leases must not run out by themselves here.
            scope.spawn(move || worked(job, name, &mut toy, 20 * LEASE).expect("works"));
        }
        for round in 0..20 {
            std::thread::sleep(Duration::from_millis(20));
            for path in files_below(&job.own("ledger")) {
                let now = std::time::SystemTime::now();
                let time = if round % 2 == 0 { now - skew } else { now + skew };
                // The file may be gone, or replaced.
                let _ = std::fs::File::open(&path).and_then(|file| file.set_modified(time));
            }
        }
    });
    assert_eq!(toy::merge(&job, ledger(&job)).expect("whole"), toy::whole(&job));
    let all = read_all(&job.own("events")).expect("there");
    let lost = all.iter().flat_map(|(_, events)| events).filter(|e| e.what == What::Lost).count();
    assert_eq!((lost, committed(&job).len()), (0, 60));
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let below = |path: std::path::PathBuf| match path.is_dir() {
        true => files_below(&path),
        false => vec![path],
    };
    entries.flat_map(|entry| below(entry.path())).collect()
}

#[test]
fn a_worker_that_is_asked_to_leave_finishes_what_it_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let job = toy::plan(folder.path(), 3000);
    let lease = Duration::from_millis(300);
    std::thread::scope(|scope| {
        let worker =
            scope.spawn(|| worked(&job, "a", &mut Toy::taking(Duration::from_millis(20)), lease));
        until(|| !ledger(&job).list(Kind::Receipt).expect("listed").is_empty());
        ledger(&job).put(&Entry::drain(), b"").expect("written");
        let outcome = worker.join().expect("no panic").expect("works");
        assert_eq!(outcome, Outcome::Drained);
    });
    let done: BTreeSet<u64> = committed(&job).into_iter().collect();
    assert!(!done.is_empty() && done.len() < 3000, "{}", done.len());
    let progress = Desk::new(ledger(&job), "b").progress(3000).expect("there");
    assert_eq!(progress.done as usize, done.len(), "nothing is half done");
    let stopped = toy::merge_while(&job, ledger(&job), &mut |_| false).expect_err("not whole");
    assert!(stopped.to_string().contains("of 3000 blocks are done and kept"), "{stopped}");
}
