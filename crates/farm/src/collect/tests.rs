use super::*;
use crate::desk::{Committed, Lease, Mismatch, Receipt};
use crate::ledger::{Entry, MemoryLedger};

fn commit(desk: &Desk<MemoryLedger>, results: &Results, block: u64, bytes: &[u8]) -> Receipt {
    let digest = results.put(bytes).expect("writable");
    let (worker, device) = ("a".into(), "d".into());
    let receipt = Receipt { digest, bytes: 1, attempt: 1, worker, device, seconds: 1.0 };
    let lease = Lease::of(block, 1);
    assert_eq!(desk.commit(&lease, &receipt).expect("in memory"), Committed::First);
    receipt
}

#[test]
fn each_result_is_read_once_and_those_that_were_taken_before_are_not() -> Result<(), FarmError> {
    let folder = tempfile::tempdir().expect("a folder");
    let (desk, results) = (Desk::new(MemoryLedger::default(), "m"), Results::open(folder.path())?);
    (0..3).for_each(|block| drop(commit(&desk, &results, block, &[block as u8])));
    let mut collector = Collector::new(&desk, &results, 5, [1]);
    let mut seen = Vec::new();
    let mut looks = 0;
    let mut wait = |progress: &Progress| {
        looks += 1;
        assert_eq!((progress.done, progress.total), (2 + looks, 5));
        commit(&desk, &results, 2 + looks, &[2 + looks as u8]);
        true
    };
    collector.all(&mut wait, &mut |block, bytes| {
        assert_eq!(bytes, [block as u8]);
        seen.push(block);
        Ok(())
    })?;
    assert_eq!(seen, [0, 2, 3, 4]);
    Ok(())
}

/// A store that loses a write: the file, or what is in it.
#[test]
fn a_result_that_was_lost_is_computed_again_and_nothing_else_is() -> Result<(), FarmError> {
    let folder = tempfile::tempdir().expect("a folder");
    let (desk, results) = (Desk::new(MemoryLedger::default(), "m"), Results::open(folder.path())?);
    let receipts: Vec<Receipt> =
        (0..3).map(|block| commit(&desk, &results, block, &[block as u8])).collect();
    let path = |i: usize| {
        let digest = receipts[i].digest.as_str();
        folder.path().join(&digest[..2]).join(digest)
    };
    std::fs::remove_file(path(0)).expect("lost");
    std::fs::write(path(2), b"").expect("cut");
    let mut collector = Collector::new(&desk, &results, 3, []);
    let mut lost = Vec::new();
    loop {
        match collector.look()? {
            Look::Lost(block, _) => lost.push(block),
            Look::Result(block, bytes) => assert_eq!((block, bytes), (1, vec![1])),
            Look::Nothing(progress) => break assert_eq!(progress.done, 1),
            Look::All => panic!("two are lost"),
        }
    }
    assert_eq!(lost, [0, 2]);
    assert_eq!(desk.take_over(0, "")?.map(|lease| lease.attempt), Some(1));
    Ok(())
}

#[test]
fn parked_blocks_are_named_with_their_reasons_once_all_others_are_there() -> Result<(), FarmError> {
    let folder = tempfile::tempdir().expect("a folder");
    let (desk, results) = (Desk::new(MemoryLedger::default(), "m"), Results::open(folder.path())?);
    let receipt = commit(&desk, &results, 0, b"x");
    let two =
        Mismatch { first: receipt.clone(), second: Receipt { worker: "b".into(), ..receipt } };
    let bytes = serde_json::to_vec(&two).expect("JSON");
    desk.ledger().create(&Entry::of_block(Kind::Mismatch, 0), &bytes)?;
    commit(&desk, &results, 1, b"y");
    let mut collector = Collector::new(&desk, &results, 2, []);
    assert!(matches!(collector.look()?, Look::Result(1, _)));
    let error = collector.look().expect_err("parked").to_string();
    assert!(error.contains("1 of 2 blocks") && error.contains("by b on d"), "{error}");
    Ok(())
}
