//! Order, bounds, failures and speed of pipelines whose stages are closures.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::thread::ready;

fn named<A: 'static>(stages: Vec<Make<A>>) -> Vec<(String, Make<A>)> {
    stages.into_iter().enumerate().map(|(i, stage)| (format!("stage {i}"), stage)).collect()
}

fn adding(count: usize, ahead: usize) -> Pipeline<u64> {
    let stage = |i: usize| ready(move |x: u64| Ok(x * 10 + i as u64));
    Pipeline::new(named((0..count).map(stage).collect()), ahead).expect("starts")
}

fn results(pipeline: &Pipeline<u64>, items: u64) -> Result<Vec<u64>, PipelineError> {
    let mut found = Vec::new();
    pipeline.run(0..items, |number, x| {
        assert_eq!(number, found.len());
        found.push(x);
    })?;
    Ok(found)
}

#[test]
fn every_item_passes_every_stage_in_order() {
    for (stages, ahead, items) in [(1, 0, 5), (3, 0, 20), (3, 1, 1), (5, 2, 40), (2, 1, 0)] {
        let pipeline = adding(stages, ahead);
        let through = |x| (0..stages as u64).fold(x, |x, i| x * 10 + i);
        let expected: Vec<u64> = (0..items).map(through).collect();
        assert_eq!(results(&pipeline, items).expect("runs"), expected);
        // And again: the threads are still there.
        assert_eq!(results(&pipeline, items).expect("runs"), expected);
    }
}

#[test]
fn an_item_that_fails_fails_the_run_and_not_the_pipeline() {
    let picky = ready(|x: u64| match x {
        13 => Err(PipelineError::OutOfMemory("out of memory".into())),
        x => Ok(x),
    });
    let stages = named(vec![ready(Ok), picky, ready(Ok)]);
    let pipeline = Pipeline::new(stages, 1).expect("starts");
    let error = results(&pipeline, 20).expect_err("13 is among them");
    assert_eq!(error, PipelineError::OutOfMemory("stage 1: out of memory".into()));
    assert_eq!(results(&pipeline, 13).expect("12 is the last").len(), 13);
}

#[test]
fn a_panic_ends_the_pipeline_and_nobody_waits() {
    for items in [4, 50] {
        let fragile = ready(|x: u64| if x == 3 { panic!("a bad day") } else { Ok(x) });
        let stages = named(vec![ready(Ok), fragile, ready(Ok)]);
        let pipeline = Pipeline::new(stages, 1).expect("starts");
        let error = results(&pipeline, items).expect_err("3 is among them");
        let PipelineError::Panicked(text) = error else { panic!("{error}") };
        assert!(text.starts_with("stage 1: panicked: a bad day (at ") && text.contains(file!()));
        assert!(matches!(results(&pipeline, 1), Err(PipelineError::Ended(_))));
    }
}

#[test]
fn a_stage_that_cannot_be_made_is_named() {
    let broken: Make<u64> = Box::new(|| Err(PipelineError::Failed("no such card".into())));
    let error = Pipeline::new(named(vec![ready(Ok), broken]), 1).expect_err("one is broken");
    assert_eq!(error, PipelineError::Failed("stage 1: no such card".into()));
    let panics: Make<u64> = Box::new(|| panic!("worse"));
    assert!(Pipeline::new(named(vec![panics, ready(Ok)]), 1).is_err());
}

/// Between two stages wait at most as many as was said, and one is in each stage's hands.
#[test]
fn items_in_flight_are_bounded() {
    let (live, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let ahead = 1;
    let enter = {
        let (live, most) = (Arc::clone(&live), Arc::clone(&most));
        ready(move |x: u64| {
            most.fetch_max(live.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            Ok(x)
        })
    };
    let leave = ready(move |x: u64| {
        std::thread::sleep(Duration::from_millis(1));
        live.fetch_sub(1, Ordering::SeqCst);
        Ok(x)
    });
    let pipeline = Pipeline::new(named(vec![enter, leave]), ahead).expect("starts");
    pipeline.run(0..50, |_, _| ()).expect("runs");
    assert!(most.load(Ordering::SeqCst) <= ahead + 2, "{most:?}");
}

#[test]
fn the_bubble_of_equal_stages_is_the_formula() {
    for (stages, items) in [(1, 1), (4, 1), (4, 16), (8, 3)] {
        let formula = (stages - 1) as f64 / (items + stages - 1) as f64;
        assert!((bubble(&vec![0.3; stages], items) - formula).abs() < 1e-12);
    }
    // Stages of 1 and 3 s, two items: 1 3 3 is 7 s, of which each of the two stages works 2 and 6.
    assert!((bubble(&[1.0, 3.0], 2) - (1.0 - 8.0 / 14.0)).abs() < 1e-12);
}

/// Stages that sleep need no processor, so this holds on a busy machine too.
#[test]
fn stages_work_at_the_same_time() {
    let sleepy = |_| {
        ready(|x: u64| {
            std::thread::sleep(Duration::from_millis(4));
            Ok(x)
        })
    };
    let pipeline = Pipeline::new(named((0..4).map(sleepy).collect()), 1).expect("starts");
    let report = pipeline.run(0..16, |_, _| ()).expect("runs");
    assert_eq!((report.items, report.busy_seconds.len()), (16, 4));
    // 4·16/(16+3) = 3.4 at best.
    assert!(report.speedup() > 2.0, "{report:?}");
    assert!(report.bubble() >= report.best_bubble() - 0.15, "{report:?}");
}

/// What happens within ten seconds, on a thread that may hang.
fn soon<A: Send + 'static>(work: impl FnOnce() -> A + Send + 'static) -> A {
    let (say, hear) = channel();
    std::thread::spawn(move || say.send(work()));
    hear.recv_timeout(Duration::from_secs(10)).expect("it hangs")
}

#[test]
fn a_panic_of_the_sink_or_of_the_items_hangs_nobody() {
    let message = soon(|| {
        let pipeline = adding(3, 1);
        let run = || pipeline.run(0..20, |number, _| assert!(number < 3, "a full disk"));
        let panic = lithoburn_pool::panics::caught(run).map(drop).expect_err("it panics");
        assert!(matches!(results(&pipeline, 1), Err(PipelineError::Ended(_))));
        drop(pipeline);
        panic.message().map(String::from)
    });
    assert_eq!(message.as_deref(), Some("a full disk"));
    let message = soon(|| {
        let pipeline = adding(3, 0);
        let items = (0..20).inspect(|item| assert!(*item < 5, "a damaged file"));
        let panic = lithoburn_pool::panics::caught(|| pipeline.run(items, |_, _| ()));
        drop(pipeline);
        panic.map(drop).expect_err("it panics").message().map(String::from)
    });
    assert_eq!(message.as_deref(), Some("a damaged file"));
}

/// For tests that wait for what never comes.
fn impatient() -> Patience {
    Patience { longest: Duration::from_millis(300), ..Patience::default() }
}

fn hangs() -> ! {
    loop {
        std::thread::park();
    }
}

#[test]
fn a_stage_that_hangs_is_named_and_left_behind() {
    let error = soon(|| {
        let stuck = ready(|x: u64| if x == 3 { hangs() } else { Ok(x) });
        let stages = named(vec![ready(Ok), stuck, ready(Ok)]);
        let pipeline = Pipeline::with_patience(stages, 1, impatient()).expect("starts");
        let error = results(&pipeline, 20).expect_err("3 never comes");
        assert!(matches!(results(&pipeline, 1), Err(PipelineError::Ended(_))));
        error
    });
    assert!(
        matches!(&error, PipelineError::Hung(text) if text.starts_with("stage 1: ")),
        "{error}"
    );
}

#[test]
fn a_stage_whose_making_hangs_is_named_and_left_behind() {
    let error = soon(|| {
        let stuck: Make<u64> = Box::new(|| hangs());
        let stages = named(vec![ready(Ok), stuck]);
        Pipeline::with_patience(stages, 1, impatient()).map(drop).expect_err("it is never made")
    });
    assert!(matches!(&error, PipelineError::Hung(text) if text.contains("stage 1")), "{error}");
}

/// Each stage is slow, and none longer than is waited for a sign of life.
#[test]
fn a_slow_pipeline_is_no_hanging_one() {
    let slow = |_| {
        ready(|x: u64| {
            std::thread::sleep(Duration::from_millis(120));
            Ok(x)
        })
    };
    let stages = named((0..4).map(slow).collect());
    let pipeline = Pipeline::with_patience(stages, 1, impatient()).expect("starts");
    assert_eq!(results(&pipeline, 2).expect("nothing hangs"), [0, 1]);
}
