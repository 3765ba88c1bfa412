use super::*;
use crate::ledger::MemoryLedger;
use std::sync::Arc;

fn desks() -> [Desk<Arc<MemoryLedger>>; 2] {
    let ledger = Arc::new(MemoryLedger::default());
    ["a", "b"].map(|name| Desk::new(ledger.clone(), name))
}

fn receipt(worker: &str, bytes: &[u8]) -> Receipt {
    Receipt {
        digest: Digest::of(bytes),
        bytes: bytes.len() as u64,
        attempt: 1,
        worker: worker.into(),
        device: "cpu".into(),
        seconds: 1.0,
    }
}

#[test]
fn the_first_result_counts_and_a_late_equal_one_changes_nothing() -> Result<(), FarmError> {
    let [a, b] = desks();
    let lease = a.claim(3, 1)?.expect("free");
    assert_eq!(b.claim(3, 1)?, None);
    let again = b.take_over(3, "a was not heard of")?.expect("a is lost");
    assert_eq!(again.attempt, 2);
    assert_eq!(b.commit(&again, &receipt("b", b"x"))?, Committed::First);
    assert_eq!(b.commit(&again, &receipt("b", b"x"))?, Committed::First, "said twice");
    assert_eq!(a.commit(&lease, &receipt("a", b"x"))?, Committed::Same(receipt("b", b"x")));
    assert_eq!(a.receipt(3)?, Some(receipt("b", b"x")));
    assert_eq!(a.progress(5)?, Progress { total: 5, done: 1, parked: vec![] });
    assert_eq!(a.take_over(3, "")?, None, "what is done is not taken over");
    Ok(())
}

#[test]
fn two_results_of_a_block_park_it_and_name_both_machines() -> Result<(), FarmError> {
    let [a, b] = desks();
    let lease = Lease::of(0, 1);
    a.commit(&lease, &receipt("a", b"x"))?;
    assert_eq!(b.commit(&lease, &receipt("b", b"y"))?, Committed::Different(receipt("a", b"x")));
    assert_eq!(a.progress(1)?, Progress { total: 1, done: 0, parked: vec![0] });
    let why = a.why_parked(0)?.expect("parked");
    for part in ["by a on cpu", "by b on cpu", Digest::of(b"x").short(), Digest::of(b"y").short()] {
        assert!(why.contains(part), "{why}");
    }
    a.forgive(0)?;
    assert_eq!((a.why_parked(0)?, a.receipt(0)?), (None, None));
    Ok(())
}

#[test]
fn three_failed_tries_park_a_block_and_tries_that_were_given_back_do_not_count()
-> Result<(), FarmError> {
    let [a, b] = desks();
    for attempt in 1..=6 {
        let lease = a.claim(9, attempt)?.expect("free");
        let (ended, fate) = match attempt {
            1 | 3 | 4 => (Ended::Released("the disk is full".into()), Fate::Again),
            6 => (Ended::Failed(format!("try {attempt}")), Fate::Parked),
            _ => (Ended::Failed(format!("try {attempt}")), Fate::Again),
        };
        assert_eq!(a.end(&lease, &ended)?, fate, "try {attempt}");
    }
    assert_eq!(b.why_parked(9)?.as_deref(), Some("failed: try 2; try 5; try 6"));
    assert_eq!(b.take_over(9, "")?, None);
    // A zombie's result is a result.
    a.commit(&Lease::of(9, 2), &receipt("a", b"x"))?;
    assert_eq!(b.progress(9)?.parked, Vec::<u64>::new());
    Ok(())
}

#[test]
fn a_result_that_was_lost_is_taken_back_and_its_block_is_free() -> Result<(), FarmError> {
    let [a, b] = desks();
    let lease = a.claim(1, 1)?.expect("free");
    a.commit(&lease, &receipt("a", b"x"))?;
    assert!(!b.retract(1, &receipt("b", b"x"))?, "another receipt");
    assert!(b.retract(1, &receipt("a", b"x"))?);
    assert_eq!(b.take_over(1, "")?.map(|lease| lease.attempt), Some(2));
    Ok(())
}

/// A ledger that does what it is asked, and whose first answer is lost.
#[derive(Default)]
struct Mute(MemoryLedger, std::sync::atomic::AtomicBool);

impl Ledger for Mute {
    fn create(&self, entry: &Entry, value: &[u8]) -> Result<bool, FarmError> {
        let created = self.0.create(entry, value)?;
        match self.1.swap(true, std::sync::atomic::Ordering::SeqCst) {
            true => Ok(created),
            false => Err(FarmError::Server("no answer".into())),
        }
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
        self.0.list(kind)
    }
}

#[test]
fn a_claim_whose_answer_was_lost_is_ones_own_and_nobody_elses() -> Result<(), FarmError> {
    let ledger = Arc::new(Mute::default());
    let [a, b] = ["a", "b"].map(|name| Desk::new(ledger.clone(), name));
    assert!(a.claim(3, 1).is_err());
    assert_eq!(b.claim(3, 1)?, None);
    assert_eq!(a.claim(3, 1)?, Some(Lease::of(3, 1)));
    assert_eq!(a.claim(3, 1)?, None, "it was told");
    Ok(())
}
