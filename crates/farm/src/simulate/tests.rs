use super::*;

fn farm(cards: usize, blocks: u64) -> Farm {
    Farm {
        cards,
        blocks,
        block_s: 2.0,
        spread: 0.0,
        start_s: 0.0,
        lease_s: 30.0,
        deaths: 0.0,
        return_s: 60.0,
        result_bytes: 1_000_000,
        store_bytes_per_s: 1e12,
        store_s: 0.0,
        ledger_per_s: 1e9,
        ledger_s: 0.0,
        merge_per_s: 1e9,
        seed: 1,
    }
}

/// 640 blocks of 2 s on 64 cards are ten rounds.
#[test]
fn cards_that_never_wait_take_the_time_of_the_arithmetic() -> Result<(), FarmError> {
    let run = farm(64, 640).run()?;
    assert!((run.ideal_s - 20.0).abs() < 1e-9);
    assert!((run.seconds - 20.0).abs() < 0.05, "{run:?}");
    assert_eq!((run.committed, run.late, run.died), (640, 0, 0));
    Ok(())
}

/// A store of 10 MB/s takes 64 s for 640 results of 1 MB, whatever the cards do.
#[test]
fn a_slow_store_is_the_limit_that_arithmetic_says() -> Result<(), FarmError> {
    let run = Farm { store_bytes_per_s: 1e7, ..farm(64, 640) }.run()?;
    assert!((run.seconds - 66.0).abs() < 1.0, "{run:?}");
    assert!(run.store_busy > 0.95, "{run:?}");
    // A ledger of 100 operations a second: at least a claim and a receipt for each block.
    let run = Farm { ledger_per_s: 100.0, ..farm(64, 640) }.run()?;
    assert!(run.seconds >= 12.8 && run.operations >= 1280, "{run:?}");
    // A merge of 20 blocks a second ends after 32 s and the first round.
    let run = Farm { merge_per_s: 20.0, ..farm(64, 640) }.run()?;
    assert!((run.merged_s - 34.0).abs() < 0.2, "{run:?}");
    Ok(())
}

#[test]
fn every_block_is_committed_once_though_a_fifth_of_the_workers_die() -> Result<(), FarmError> {
    for seed in 0..2 {
        let dying = Farm { deaths: 0.2, spread: 0.5, seed, ..farm(20, 300) };
        let run = dying.run()?;
        assert_eq!(run.committed, 300);
        assert!(run.died >= 1 && run.recovery_s <= 60.0 + 2.0 * 10.0, "{run:?}");
        assert_eq!(dying.run()?, run, "the same seed, the same run");
    }
    Ok(())
}

/// With a lease of five minutes, who waited for it would end after ten times the 30 s that the work takes. A block takes 2 s, and another
/// worker's copy of it the same: those that live do all the work, and the end takes some blocks' time.
#[test]
fn the_death_of_a_worker_near_the_end_costs_blocks_and_no_lease() -> Result<(), FarmError> {
    let mut died = 0;
    for seed in 0..20 {
        let run = Farm { deaths: 0.1, lease_s: 300.0, seed, ..farm(20, 300) }.run()?;
        assert_eq!(run.committed, 300);
        let living = 600.0 / (20 - run.died) as f64;
        assert!(run.seconds < living + 5.0 * 2.0, "{run:?}");
        died += run.died;
    }
    assert!(died > 20, "{died}");
    Ok(())
}

/// Log-normal times with a deviation of a million averages have no end.
#[test]
fn times_without_measure_end_all_the_same() -> Result<(), FarmError> {
    let run = Farm { spread: 1e6, ..farm(4, 40) }.run()?;
    assert_eq!(run.committed, 40);
    Ok(())
}

#[test]
fn a_farm_that_cannot_be_is_refused() {
    for bad in [
        Farm { cards: 0, ..farm(1, 1) },
        Farm { block_s: f64::NAN, ..farm(1, 1) },
        Farm { ledger_per_s: 0.0, ..farm(1, 1) },
        Farm { deaths: -1.0, ..farm(1, 1) },
        Farm { cards: 1 << 40, ..farm(1, 1) },
        Farm { blocks: u64::MAX, ..farm(1, 1) },
        Farm { block_s: 1e12, ..farm(1, 1) },
        Farm { start_s: 1e300, ..farm(1, 1) },
    ] {
        assert!(bad.run().is_err(), "{bad:?}");
    }
}
