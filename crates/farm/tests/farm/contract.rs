//! What every ledger must do, whatever it is kept in.

use std::collections::BTreeSet;

use lithoburn_farm::ledger::{About, Entry, FileLedger, Kind, Ledger, MemoryLedger};

fn entries() -> Vec<Entry> {
    vec![
        Entry::of_try(Kind::Lease, 7, 2),
        Entry::of_try(Kind::Failed, 0, 1),
        Entry::of_try(Kind::Released, 98_304, 3),
        Entry::of_block(Kind::Receipt, 12),
        Entry::of_block(Kind::Parked, 1),
        Entry::of_block(Kind::Mismatch, 1),
        Entry::of_worker("rack7-node-12-ab3f"),
        Entry::drain(),
    ]
}

/// Panics where a ledger does not.
pub(crate) fn keeps_the_contract(ledger: &dyn Ledger) {
    for entry in entries() {
        assert_eq!(ledger.read(&entry).expect("readable"), None);
        assert!(ledger.create(&entry, b"first").expect("writable"), "{entry}");
        assert!(!ledger.create(&entry, b"second").expect("writable"), "{entry}");
        assert_eq!(ledger.read(&entry).expect("readable").as_deref(), Some(&b"first"[..]));
    }
    for entry in entries() {
        assert_eq!(ledger.list(entry.kind).expect("listed"), std::slice::from_ref(&entry.about));
        ledger.put(&entry, b"renewed").expect("writable");
        assert_eq!(ledger.read(&entry).expect("readable").as_deref(), Some(&b"renewed"[..]));
        ledger.remove(&entry).expect("removed");
        ledger.remove(&entry).expect("nothing to remove");
        assert!(ledger.list(entry.kind).expect("listed").is_empty());
        assert!(ledger.create(&entry, b"again").expect("writable"), "{entry} was removed");
        ledger.remove(&entry).expect("removed");
    }
    let blocks: Vec<u64> = vec![3, 10, 200, 1000];
    for &block in blocks.iter().rev() {
        ledger.create(&Entry::of_block(Kind::Receipt, block), b"").expect("writable");
    }
    let listed = ledger.list(Kind::Receipt).expect("listed");
    assert_eq!(listed, blocks.into_iter().map(About::Block).collect::<Vec<_>>(), "in order");
    one_of_many_creates(ledger);
}

fn one_of_many_creates(ledger: &dyn Ledger) {
    for block in 2000..2020 {
        let entry = Entry::of_try(Kind::Lease, block, 1);
        let won: BTreeSet<u8> = std::thread::scope(|scope| {
            let create = |i: u8| ledger.create(&entry, &[i]).expect("writable").then_some(i);
            let threads: Vec<_> = (0..8).map(|i| scope.spawn(move || create(i))).collect();
            threads.into_iter().filter_map(|t| t.join().expect("no panic")).collect()
        });
        let holder = ledger.read(&entry).expect("readable").expect("there");
        assert_eq!(won.into_iter().collect::<Vec<_>>(), holder, "block {block}");
    }
}

#[test]
fn a_ledger_in_memory_keeps_the_contract() {
    keeps_the_contract(&MemoryLedger::default());
}

#[test]
fn a_ledger_of_files_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("a folder");
    keeps_the_contract(&FileLedger::open(folder.path()).expect("writable"));
}
