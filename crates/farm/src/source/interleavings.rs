//! Every order of the ledger's operations, as far as Shuttle tries: three workers, one of which dies in between.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{BlockSource, Next, Shared};
use crate::clock::Set;
use crate::desk::{Committed, Desk, Ended, Receipt};
use crate::ledger::{About, Entry, Kind, Ledger, MemoryLedger};
use crate::{Digest, FarmError};

const BLOCKS: u64 = 4;
const LEASE: Duration = Duration::from_secs(3);

/// Lets another thread go on before each operation: between two of them anything can happen.
#[derive(Default)]
struct Yielding(MemoryLedger);

impl Ledger for Yielding {
    fn create(&self, entry: &Entry, value: &[u8]) -> Result<bool, FarmError> {
        shuttle::thread::yield_now();
        self.0.create(entry, value)
    }

    fn put(&self, entry: &Entry, value: &[u8]) -> Result<(), FarmError> {
        shuttle::thread::yield_now();
        self.0.put(entry, value)
    }

    fn read(&self, entry: &Entry) -> Result<Option<Vec<u8>>, FarmError> {
        shuttle::thread::yield_now();
        self.0.read(entry)
    }

    fn remove(&self, entry: &Entry) -> Result<(), FarmError> {
        shuttle::thread::yield_now();
        self.0.remove(entry)
    }

    fn list(&self, kind: Kind) -> Result<Vec<About>, FarmError> {
        shuttle::thread::yield_now();
        self.0.list(kind)
    }
}

/// Commits that counted, by block.
type Counted = Arc<Mutex<BTreeMap<u64, usize>>>;

/// Works until nothing is left. The one that `dies` does so with its first block; the one that `fails` fails once.
fn work(ledger: Arc<Yielding>, clock: Set, name: &str, counted: &Counted) -> Result<(), FarmError> {
    let source = Shared::join(Desk::new(ledger, name), clock.clone(), BLOCKS, LEASE)?;
    let mut has_failed = false;
    for beat in 1..10_000_u64 {
        source.renew(&[], &super::Beat { beat, ..super::Beat::default() })?;
        match source.next()? {
            Next::Block(_) if name == "dies" => return Ok(()),
            Next::Block(lease) if name == "fails" && !has_failed => {
                has_failed = true;
                source.fail(&lease, &Ended::Failed("once".into()))?;
            }
            Next::Block(lease) => {
                let digest = Digest::of(&lease.block.to_le_bytes());
                let (worker, device) = (name.into(), "d".into());
                let attempt = lease.attempt;
                let receipt = Receipt { digest, bytes: 8, attempt, worker, device, seconds: 0.0 };
                match source.commit(&lease, &receipt)? {
                    Committed::First => {
                        *counted.lock().expect("whole").entry(lease.block).or_default() += 1;
                    }
                    Committed::Same(_) => {}
                    Committed::Different(other) => panic!("{other:?}"),
                }
            }
            Next::Wait => clock.to(Duration::from_millis(700 * beat)),
            Next::Finished => return Ok(()),
            Next::Drained => panic!("nobody asked"),
        }
    }
    panic!("{name} has no end");
}

#[test]
fn in_every_order_each_block_is_committed_once_and_none_is_missing() {
    let run = || {
        let (ledger, clock) = (Arc::new(Yielding::default()), Set::default());
        let counted = Counted::default();
        let threads = ["works", "fails", "dies"].map(|name| {
            let (ledger, clock, counted) = (ledger.clone(), clock.clone(), counted.clone());
            shuttle::thread::spawn(move || {
                work(ledger, clock, name, &counted).expect("a ledger in memory");
            })
        });
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        let counted = counted.lock().expect("whole").clone();
        assert_eq!(counted, (0..BLOCKS).map(|block| (block, 1)).collect());
    };
    shuttle::check_random(run, 400);
    shuttle::check_pct(run, 200, 3);
}
