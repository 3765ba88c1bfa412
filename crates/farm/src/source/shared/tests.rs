use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::Digest;
use crate::clock::Set;
use crate::ledger::MemoryLedger;

const LEASE: Duration = Duration::from_secs(30);

/// A worker.
type One = Shared<Arc<MemoryLedger>, Set>;

struct Farm {
    ledger: Arc<MemoryLedger>,
    clock: Set,
    total: u64,
}

impl Farm {
    fn new(total: u64) -> Self {
        Self { ledger: Arc::default(), clock: Set::default(), total }
    }

    fn worker(&self, name: &str) -> One {
        let desk = Desk::new(self.ledger.clone(), name);
        Shared::join(desk, self.clock.clone(), self.total, LEASE).expect("in memory")
    }

    fn at(&self, seconds: u64) {
        self.clock.to(Duration::from_secs(seconds));
    }
}

fn receipt(worker: &str) -> Receipt {
    let digest = Digest::of(b"x");
    Receipt {
        digest,
        bytes: 1,
        attempt: 1,
        worker: worker.into(),
        device: "d".into(),
        seconds: 1.0,
    }
}

fn block(next: Next) -> Lease {
    match next {
        Next::Block(lease) => lease,
        other => panic!("no block: {other:?}"),
    }
}

fn beat(beat: u64) -> Beat {
    Beat { beat, ..Beat::default() }
}

#[test]
fn a_worker_gets_neighbouring_blocks_and_a_second_one_begins_a_little_further_on()
-> Result<(), FarmError> {
    let farm = Farm::new(100);
    let (a, b) = (farm.worker("a"), farm.worker("b"));
    let of = |w: &Shared<_, _>| (0..5).map(|_| block(w.next().expect("free")).block).collect();
    let (ours, theirs): (Vec<u64>, Vec<u64>) = (of(&a), of(&b));
    assert_eq!((ours, theirs), (vec![0, 1, 2, 3, 4], vec![9, 10, 11, 12, 13]));
    Ok(())
}

#[test]
fn every_block_is_handed_out_once_and_the_end_is_seen_by_all() -> Result<(), FarmError> {
    let farm = Farm::new(200);
    let workers = [farm.worker("a"), farm.worker("b"), farm.worker("c")];
    let mut got = Vec::new();
    'all: for second in 1.. {
        farm.at(second);
        for worker in &workers {
            match worker.next()? {
                Next::Block(lease) => {
                    got.push(lease.block);
                    assert_eq!(worker.commit(&lease, &receipt("a"))?, Committed::First);
                }
                _ => break 'all,
            }
        }
    }
    got.sort_unstable();
    assert_eq!(got, (0..200).collect::<Vec<_>>());
    farm.at(600);
    for worker in &workers {
        assert_eq!(worker.next()?, Next::Finished);
    }
    Ok(())
}

#[test]
fn an_idle_worker_sees_the_end_with_the_last_result_however_long_it_waited() -> Result<(), FarmError>
{
    let farm = Farm::new(2);
    let (busy, idle) = (farm.worker("busy"), farm.worker("idle"));
    let last = [block(busy.next()?), block(busy.next()?)];
    for second in 1..20 {
        farm.at(second);
        busy.renew(&[], &beat(second))?;
        assert_eq!(idle.next()?, Next::Wait, "after {second} s");
    }
    for lease in &last {
        assert_eq!(idle.next()?, Next::Wait);
        busy.commit(lease, &receipt("busy"))?;
    }
    farm.clock.to(Duration::from_millis(19_050));
    assert_eq!(idle.next()?, Next::Finished);
    Ok(())
}

/// The bar: twice the time of a lease.
#[test]
fn a_dead_workers_block_is_another_ones_within_two_leases_and_not_before_one()
-> Result<(), FarmError> {
    let farm = Farm::new(1);
    let (dead, other) = (farm.worker("dead"), farm.worker("other"));
    let lost = block(dead.next()?);
    let mut taken = None;
    for second in 1..=60 {
        farm.at(second);
        other.renew(&[], &beat(second))?;
        if let Next::Block(lease) = other.next()? {
            taken = Some((second, lease));
            break;
        }
    }
    let (second, lease) = taken.expect("taken over");
    assert!((30..=60).contains(&second), "after {second} s");
    assert_eq!(lease, Lease::of(0, 2));
    assert_eq!(other.commit(&lease, &receipt("other"))?, Committed::First);
    // The zombie.
    assert_eq!(dead.renew(std::slice::from_ref(&lost), &beat(2))?, std::slice::from_ref(&lost));
    assert!(matches!(dead.commit(&lost, &receipt("dead"))?, Committed::Same(_)));
    Ok(())
}

/// Clocks that are hours apart change nothing, as nobody reads another's: one worker's clock stands for all here, so the entries'
/// own words of time are what could be believed by mistake.
#[test]
fn a_worker_that_beats_keeps_its_block_whatever_it_says_of_time() -> Result<(), FarmError> {
    let farm = Farm::new(1);
    let (slow, other) = (farm.worker("slow"), farm.worker("other"));
    let lease = block(slow.next()?);
    for second in (0..100_000_u64).step_by(10) {
        farm.at(second);
        let says = Beat { up_s: if second % 20 == 0 { -7200.0 } else { 1e9 }, ..beat(second) };
        assert!(slow.renew(std::slice::from_ref(&lease), &says)?.is_empty());
        assert_eq!(other.next()?, Next::Wait, "after {second} s");
    }
    Ok(())
}

#[test]
fn a_worker_that_left_gives_its_blocks_back_without_a_lease_to_wait_for() -> Result<(), FarmError> {
    let farm = Farm::new(2);
    let (a, b) = (farm.worker("a"), farm.worker("b"));
    let lease = block(a.next()?);
    a.fail(&lease, &Ended::Released("leaves".into()))?;
    a.renew(&[], &Beat { left: true, ..beat(9) })?;
    farm.at(11);
    let mut got = vec![block(b.next()?).block, block(b.next()?).block];
    got.sort_unstable();
    assert_eq!(got, [0, 1]);
    Ok(())
}

#[test]
fn a_block_that_kills_three_workers_is_parked_and_the_rest_goes_on() -> Result<(), FarmError> {
    let farm = Farm::new(3);
    let last = farm.worker("last");
    let mut now = 0;
    for name in ["a", "b", "c"] {
        let worker = farm.worker(name);
        // Whoever takes block 0 is not heard of again.
        while block(worker.next()?).block != 0 {}
        for _ in 0..7 {
            now += 10;
            farm.at(now);
            last.renew(&[], &beat(now))?;
        }
        let lost = last.next()?;
        if name != "c" {
            // Given back by `last`, which does not count.
            last.fail(&block(lost), &Ended::Released("not mine".into()))?;
        }
    }
    let mut done = Vec::new();
    while let Next::Block(lease) = last.next()? {
        done.push(lease.block);
        last.commit(&lease, &receipt("last"))?;
    }
    assert!(!done.contains(&0), "{done:?}");
    assert_eq!(last.progress()?.parked, [0]);
    let why = last.desk().why_parked(0)?.expect("parked");
    assert_eq!(why.matches("not heard of").count(), 3, "{why}");
    Ok(())
}

#[test]
fn workers_that_are_asked_to_leave_get_no_more_blocks() -> Result<(), FarmError> {
    let farm = Farm::new(9);
    let worker = farm.worker("a");
    block(worker.next()?);
    farm.ledger.put(&Entry::drain(), b"")?;
    farm.at(11);
    assert_eq!(worker.next()?, Next::Drained);
    Ok(())
}

/// How far from the first open block others are handed out, to workers that compute so many a second.
fn farthest(total: u64, workers: &[&str], a_second: usize) -> Result<u64, FarmError> {
    let farm = Farm::new(total);
    let workers: Vec<_> = workers.iter().map(|name| farm.worker(name)).collect();
    let (mut open, mut farthest): (std::collections::BTreeSet<u64>, u64) =
        ((0..total).collect(), 0);
    'all: for second in 1.. {
        farm.at(second);
        for worker in std::iter::repeat_n(&workers, a_second).flatten() {
            let Next::Block(lease) = worker.next()? else { break 'all };
            open.remove(&lease.block);
            let front = open.first().copied().unwrap_or(total);
            farthest = farthest.max(lease.block.saturating_sub(front));
            worker.commit(&lease, &receipt("w"))?;
        }
    }
    assert!(open.is_empty(), "{open:?}");
    Ok(farthest)
}

/// Who puts results together does so in the order of their blocks: without this, four workers would begin in four places, and nearly all
/// of it be left to the end. Two workers of two cards each take eight blocks a second.
#[test]
fn blocks_are_handed_out_not_far_from_the_first_that_is_open() -> Result<(), FarmError> {
    let four = farthest(480, &["a", "b", "c", "d"], 1)?;
    assert!(four <= 480 / 8, "{four} blocks before the first open one");
    let two = farthest(770, &["a", "b"], 8)?;
    assert!(two <= 770 / 12, "{two} blocks before the first open one");
    Ok(())
}

/// Names of blocks that the job has not, and a try that nobody counts: left by a hand, or by another program.
#[test]
fn what_lies_in_the_ledger_and_is_nobodys_keeps_no_block_from_being_done() -> Result<(), FarmError>
{
    let farm = Farm::new(5);
    for block in [5, 99, u64::MAX] {
        for kind in [Kind::Lease, Kind::Failed] {
            farm.ledger.create(&Entry::of_try(kind, block, 1), b"{}")?;
        }
        farm.ledger.create(&Entry::of_block(Kind::Receipt, block), b"{}")?;
    }
    farm.ledger.create(&Entry::of_try(Kind::Lease, 3, 0), b"{}")?;
    let (a, b) = (farm.worker("a"), farm.worker("b"));
    assert_eq!(b.progress()?.done, 0);
    let mut done = Vec::new();
    for second in 0..100 {
        farm.at(second);
        if let Next::Block(lease) = [&a, &b][second as usize % 2].next()? {
            b.commit(&lease, &receipt("b"))?;
            done.push(lease.block);
        }
    }
    done.sort_unstable();
    assert_eq!((done, a.next()?, b.next()?), (vec![0, 1, 2, 3, 4], Next::Finished, Next::Finished));
    Ok(())
}

/// A farm of three blocks: `slow` has one, and `quick` has done the other two, each in two seconds.
fn slow_and_quick() -> Result<(Farm, [One; 2], Lease), FarmError> {
    let farm = Farm::new(3);
    let (slow, quick) = (farm.worker("slow"), farm.worker("quick"));
    let held = block(slow.next()?);
    for second in [0, 2] {
        farm.at(second);
        let lease = block(quick.next()?);
        farm.at(second + 2);
        assert_eq!(quick.commit(&lease, &receipt("quick"))?, Committed::First);
    }
    Ok((farm, [slow, quick], held))
}

/// What a worker gets that asks every second from one on, and when.
fn asked(
    farm: &Farm,
    worker: &One,
    seconds: std::ops::Range<u64>,
) -> Result<Option<(u64, Lease)>, FarmError> {
    for second in seconds {
        farm.at(second);
        if let Next::Block(lease) = worker.next()? {
            return Ok(Some((second, lease)));
        }
    }
    Ok(None)
}

/// A lease is 30 s here, and a block 2 s: who waits for a lease ends much later.
#[test]
fn who_has_nothing_to_do_copies_what_another_has_had_for_longer_than_blocks_take()
-> Result<(), FarmError> {
    let (farm, [slow, quick], held) = slow_and_quick()?;
    let (second, copy) = asked(&farm, &quick, 4..30)?.expect("a copy");
    assert!((5..=8).contains(&second), "after {second} s");
    assert_eq!(copy, Lease { is_copy: true, ..held.clone() });
    assert!(slow.renew(std::slice::from_ref(&held), &beat(1))?.is_empty(), "its lease is its own");
    assert!(!slow.has_result(held.block)?);
    assert_eq!(quick.commit(&copy, &receipt("quick"))?, Committed::First);
    assert!(slow.has_result(held.block)?);
    assert!(matches!(slow.commit(&held, &receipt("slow"))?, Committed::Same(_)));
    farm.at(60);
    assert_eq!((slow.next()?, quick.next()?), (Next::Finished, Next::Finished));
    Ok(())
}

#[test]
fn a_try_is_copied_once_by_a_worker_that_has_no_block_and_the_copy_is_no_try()
-> Result<(), FarmError> {
    let (farm, [slow, quick], held) = slow_and_quick()?;
    let third = farm.worker("third");
    let (second, copy) = asked(&farm, &quick, 4..30)?.expect("a copy");
    // Who has a copy gets no second one, who never had a block does not know how long they take, and there is one copy.
    assert_eq!(asked(&farm, &quick, second..29)?, None);
    assert_eq!(asked(&farm, &third, 29..30)?, None);
    quick.fail(&copy, &Ended::Failed("no memory".into()))?;
    quick.renew(&[], &beat(2))?;
    slow.renew(&[], &beat(2))?;
    assert_eq!(asked(&farm, &quick, 30..50)?, None, "not again");
    assert!(!slow.desk().has_ended(held.block, 1)?, "the try goes on");
    assert_eq!(slow.commit(&held, &receipt("slow"))?, Committed::First);
    assert!(slow.progress()?.is_finished() && slow.progress()?.parked.is_empty());
    Ok(())
}

/// One that failed may be what kills its workers.
#[test]
fn a_second_try_is_not_copied() -> Result<(), FarmError> {
    let (farm, [slow, quick], held) = slow_and_quick()?;
    slow.fail(&held, &Ended::Failed("no memory".into()))?;
    farm.at(5);
    assert_eq!(block(slow.next()?).attempt, 2);
    for second in 6..100 {
        farm.at(second);
        slow.renew(&[], &beat(second))?;
        quick.renew(&[], &beat(second))?;
        assert_eq!(quick.next()?, Next::Wait, "after {second} s");
    }
    Ok(())
}

/// Counts listings.
#[derive(Default)]
struct Listed(MemoryLedger, AtomicU64);

impl Ledger for Listed {
    fn create(&self, entry: &Entry, value: &[u8]) -> Result<bool, FarmError> {
        self.0.create(entry, value)
    }

    fn put(&self, entry: &Entry, value: &[u8]) -> Result<(), FarmError> {
        self.0.put(entry, value)
    }

    fn read(&self, entry: &Entry) -> Result<Option<Vec<u8>>, FarmError> {
        self.0.read(entry)
    }

    fn remove(&self, entry: &Entry) -> Result<(), FarmError> {
        self.0.remove(entry)
    }

    fn list(&self, kind: Kind) -> Result<Vec<About>, FarmError> {
        self.1.fetch_add(u64::from(kind == Kind::Lease), Ordering::Relaxed);
        self.0.list(kind)
    }
}

/// Late in a job nearly every block that a worker believes open is another one's. 64 workers at 8192 blocks of 100 ms take 12.8 s.
#[test]
fn the_ledger_is_listed_seldom_though_many_workers_are_quick() -> Result<(), FarmError> {
    const WORKERS: u64 = 64;
    let (ledger, clock) = (Arc::new(Listed::default()), Set::default());
    let join = |i: u64| {
        let desk = Desk::new(ledger.clone(), format!("w{i:02}"));
        Shared::join(desk, clock.clone(), 128 * WORKERS, LEASE)
    };
    let workers: Vec<_> = (0..WORKERS).map(join).collect::<Result<_, _>>()?;
    let (mut done, mut rounds) = (0, 0);
    while done < 128 * WORKERS {
        rounds += 1;
        clock.to(Duration::from_millis(100 * rounds));
        for worker in &workers {
            if let Next::Block(lease) = worker.next()? {
                worker.commit(&lease, &receipt("w"))?;
                done += 1;
            }
        }
    }
    let listed = ledger.1.load(Ordering::Relaxed);
    assert!(rounds <= 140, "{rounds} rounds instead of 128");
    assert!(listed <= 6 * WORKERS, "{listed} listings by {WORKERS} workers in {rounds} rounds");
    Ok(())
}
