//! The scheduler with models that sleep, or fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::model::{
    Answer, Batch, Device, Executor, Fault, Model, Request, Signature, Wanted, Work,
};
use crate::sleeping::Sleeping;
use crate::tensor::{Datatype, Tensor};

mod ahead;
mod faults;
mod spread;

const MS: Duration = Duration::from_millis(1);

/// A request for one square of this side, all of whose pixels are `value`.
fn square(side: usize, value: u8) -> Request {
    let data = vec![value; side * side];
    let tensor = Tensor::new(Datatype::Uint8, vec![1, 1, side, side], data).expect("fits");
    let wanted = Wanted { output: 0, datatype: Datatype::Uint8 };
    Request { inputs: vec![tensor], outputs: vec![wanted], ..Request::default() }
}

fn devices(n: usize) -> Vec<Device> {
    (0..n).map(|at| Device::new(format!("sleeping:{at}"))).collect()
}

/// A scheduler that has loaded this.
async fn serving(n: usize, model: impl Model + 'static, terms: Terms) -> Scheduler {
    let scheduler = Scheduler::start(devices(n), terms).expect("starts");
    assert!(scheduler.add(Arc::new(model)));
    scheduler.settled().await;
    scheduler
}

fn urgent(priority: u32) -> Urgency {
    Urgency { priority, timeout: None }
}

fn within(timeout: Duration) -> Urgency {
    Urgency { priority: 0, timeout: Some(timeout) }
}

/// The first byte of an answer.
fn value(answered: &Answered) -> u8 {
    answered.outputs[0].data.contiguous().expect("reads")[0]
}

fn refused(scheduler: &Scheduler, reason: Reason) -> u64 {
    scheduler.snapshot().models[0].counts.refused.get(&reason).copied().unwrap_or(0)
}

#[tokio::test]
async fn each_request_gets_its_own_answer_whatever_batch_it_was_in() {
    let model = Sleeping::new("tile", MS, MS / 10, 8);
    let scheduler = serving(2, model, Terms::default()).await;
    let tickets: Vec<_> = (0..50_u8)
        .map(|k| {
            scheduler.submit("tile", None, square(4 + usize::from(k % 3), k), Urgency::default())
        })
        .collect();
    for (ticket, k) in tickets.into_iter().zip(0..) {
        let answered = ticket.expect("let in").answer().await.expect("answered");
        assert_eq!(value(&answered), k);
        assert_eq!(answered.outputs[0].shape[2], 4 + usize::from(k % 3), "nothing is padded");
    }
    let snapshot = scheduler.snapshot();
    let counts = &snapshot.models[0].counts;
    assert_eq!((counts.success.count, counts.inferences), (50, 50));
    assert!(counts.executions < 50, "some shared a batch: {}", counts.executions);
    let requests: u64 = snapshot.devices.iter().map(|device| device.counts.requests).sum();
    assert_eq!(requests, 50);
    assert!(scheduler.stop(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_full_queue_a_deadline_and_a_hang_up_are_refusals_and_all_are_counted() {
    let model = Sleeping::new("tile", 100 * MS, Duration::ZERO, 1);
    let scheduler = serving(1, model, Terms { capacity: 3, ..Terms::default() }).await;
    let submit = |urgency| scheduler.submit("tile", None, square(4, 7), urgency);
    let first = submit(Urgency::default()).expect("let in");
    while scheduler.snapshot().waiting > 0 {
        tokio::time::sleep(MS).await;
    }
    let late = submit(within(5 * MS)).expect("let in");
    let gone = submit(Urgency::default()).expect("let in");
    let last = submit(Urgency::default()).expect("let in");
    assert!(matches!(submit(Urgency::default()), Err(Refusal::QueueFull(3))));
    drop(gone);
    assert_eq!(late.answer().await.expect_err("too late"), Refusal::Deadline);
    assert_eq!(value(&first.answer().await.expect("answered")), 7);
    assert_eq!(value(&last.answer().await.expect("answered")), 7);
    for reason in [Reason::QueueFull, Reason::Deadline, Reason::Canceled] {
        assert_eq!(refused(&scheduler, reason), 1, "{reason}");
    }
    let unknown = scheduler.submit("nope", None, square(4, 0), Urgency::default());
    assert!(matches!(unknown, Err(Refusal::Unknown(_))));
    assert_eq!(scheduler.snapshot().refused[&Reason::UnknownModel], 1);
    assert_eq!(scheduler.snapshot().models[0].counts.fail.count, 3);
}

#[tokio::test]
async fn the_more_urgent_of_those_who_wait_is_next() {
    let model = Sleeping::new("tile", 20 * MS, Duration::ZERO, 1);
    let scheduler = serving(1, model, Terms::default()).await;
    let submit = |priority| scheduler.submit("tile", None, square(4, 0), urgent(priority));
    let running = submit(0).expect("let in");
    while scheduler.snapshot().waiting > 0 {
        tokio::time::sleep(MS).await;
    }
    let (idle, usual) = (submit(2).expect("let in"), submit(1).expect("let in"));
    let order = AtomicUsize::new(0);
    let place = |ticket: Ticket| async {
        ticket.answer().await.expect("answered");
        order.fetch_add(1, Ordering::SeqCst)
    };
    let (first, third, second) = tokio::join!(place(running), place(idle), place(usual));
    assert_eq!((first, second, third), (0, 1, 2));
}

#[tokio::test]
async fn what_was_taken_is_done_before_the_end_and_nothing_new_is_taken() {
    let model = Sleeping::new("tile", 30 * MS, Duration::ZERO, 1);
    let scheduler = serving(1, model, Terms::default()).await;
    let submit = || scheduler.submit("tile", None, square(4, 1), Urgency::default());
    let tickets: Vec<_> = (0..3).map(|_| submit().expect("let in")).collect();
    let answers = async {
        for ticket in tickets {
            ticket.answer().await.expect("answered");
        }
    };
    let stop = async {
        let stopped = scheduler.stop(Duration::from_secs(10));
        tokio::pin!(stopped);
        tokio::select! { biased; _ = &mut stopped => panic!("too early"), () = tokio::task::yield_now() => () }
        assert_eq!(submit().err(), Some(Refusal::Stopping));
        stopped.await
    };
    assert!(tokio::join!(answers, stop).1);
    assert_eq!(scheduler.readiness(), Readiness::Stopping);
}

#[tokio::test]
async fn a_new_version_is_loaded_while_the_old_one_serves_and_the_old_one_leaves_without_a_loss() {
    let model = |version| Sleeping::new("tile", 5 * MS, Duration::ZERO, 4).with_version(version);
    let scheduler = serving(2, model(1), Terms::default()).await;
    let stop = AtomicBool::new(false);
    let clients = async {
        let (mut versions, mut answered) = (std::collections::BTreeSet::new(), 0);
        while !stop.load(Ordering::SeqCst) {
            let ticket = scheduler.submit("tile", None, square(4, 0), Urgency::default());
            versions.insert(ticket.expect("let in").answer().await.expect("answered").version);
            answered += 1;
        }
        assert!(answered > 0);
        versions
    };
    let reload = async {
        tokio::time::sleep(20 * MS).await;
        assert!(scheduler.load(Arc::new(model(2))).await);
        assert!(!scheduler.load(Arc::new(model(2))).await, "it is there already");
        assert!(scheduler.unload("tile", 1).await);
        tokio::time::sleep(20 * MS).await;
        stop.store(true, Ordering::SeqCst);
    };
    let (versions, ()) = tokio::join!(clients, reload);
    assert_eq!(versions.into_iter().collect::<Vec<_>>(), [1, 2]);
    assert!(matches!(scheduler.state("tile", Some(1)), Err(Refusal::Unknown(_))));
    assert_eq!(scheduler.readiness(), Readiness::Ready);
}

#[tokio::test]
async fn what_no_device_holds_is_refused_before_it_waits() {
    let model = Sleeping::new("tile", MS, MS, 8).with_pixels(100);
    let scheduler = serving(1, model, Terms::default()).await;
    let large = scheduler.submit("tile", None, square(11, 0), Urgency::default());
    assert!(matches!(large, Err(Refusal::TooLarge { came: 121, most: 100, .. })));
    // Two of 49 pixels fit together, three do not.
    let tickets: Vec<_> = (0..9)
        .map(|_| scheduler.submit("tile", None, square(7, 0), Urgency::default()).expect("let in"))
        .collect();
    for ticket in tickets {
        assert!(ticket.answer().await.expect("answered").batch <= 2);
    }
    assert_eq!(refused(&scheduler, Reason::TooLarge), 1);
}
