//! Devices that are opened while others are at work.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use super::*;

/// A member whose device is there when the returned end says so, or never if it is dropped.
fn awaited(member: Member<usize, usize>) -> (Sender<()>, Member<usize, usize>) {
    let (comes, gate) = channel::<()>();
    let gate: Mutex<Receiver<()>> = Mutex::new(gate);
    let arrive = move || {
        let come = gate.lock().unwrap_or_else(PoisonError::into_inner).recv();
        come.map_err(|_| Failure::Lost("no such card".into()))
    };
    (comes, Member { arrive: Some(Arc::new(arrive)), ..member })
}

fn slow(name: &str) -> Member<usize, usize> {
    let device = SimulatedDevice { per_task: 2 * MS, ..SimulatedDevice::default() };
    device.member(name, 2, |task: &usize| answer(*task))
}

/// It comes once the other has done some tasks.
#[test]
fn a_device_that_comes_late_takes_its_part() {
    let (comes, late) = awaited(slow("late"));
    let mut crew = Crew::open(vec![slow("first"), late]).expect("two can be seated");
    let mut results = vec![None; 200];
    let mut sink = |number: usize, result| -> Result<(), Infallible> {
        if number == 20 {
            comes.send(()).expect("it is awaited");
        }
        results[number] = Some(result);
        Ok(())
    };
    let report = crew.share(list(200), &Terms::default(), &|| false, &mut sink);
    let report = report.expect("all can be done");
    let done = results.into_iter().flatten().collect::<Vec<usize>>();
    assert_eq!(done, (0..200).map(answer).collect::<Vec<_>>());
    let tasks: Vec<usize> = report.members.iter().map(|member| member.tasks).collect();
    assert!(tasks[0] >= 20 && tasks[1] > 20, "{tasks:?}");
    assert!(report.faults.is_empty());
}

/// The other is slow, so that there is a run which the failure can be a fault of.
#[test]
fn a_device_that_fails_to_open_costs_itself_alone() {
    let (comes, late) = awaited(quick("late", 4));
    drop(comes);
    let report = assert_whole(ordered(vec![slow("first"), late], 300, &Terms::default()), 300);
    let dead = |why: &String| why.contains("could not be opened") && why.contains("no such card");
    assert!(matches!(&report.members[1].state, MemberState::Dead(why) if dead(why)), "{report:?}");
    assert_eq!((report.faults.len(), report.faults[0].kind), (1, FaultKind::Lost));
}

/// One that has failed before a run begins is a fault of that run, and of no other.
#[test]
fn a_failure_between_runs_is_told_by_the_next() {
    let (tells, told) = channel();
    let arrive = move || {
        tells.send(()).expect("it is waited for");
        Err(Failure::Lost("no such card".into()))
    };
    let late = Member { arrive: Some(Arc::new(arrive)), ..quick("late", 1) };
    let mut crew = Crew::open(vec![slow("first"), late]).expect("two can be seated");
    told.recv().expect("it is opened");
    std::thread::sleep(50 * MS);
    let first = assert_whole(crew.share_ordered(list(200), &Terms::default(), &|| false), 200);
    let kinds: Vec<FaultKind> = first.faults.iter().map(|fault| fault.kind).collect();
    assert_eq!(kinds, [FaultKind::Lost]);
    let second = assert_whole(crew.share_ordered(list(20), &Terms::default(), &|| false), 20);
    assert!(second.faults.is_empty(), "{second:?}");
    assert!(matches!(second.members[1].state, MemberState::Dead(_)), "{second:?}");
}

#[test]
fn a_panic_while_a_device_is_opened_is_its_failure() {
    let arrive: Arrive = Arc::new(|| panic!("a driver's bug"));
    let late = Member { arrive: Some(arrive), ..quick("late", 4) };
    let report = assert_whole(ordered(vec![slow("first"), late], 40, &Terms::default()), 40);
    let said = |why: &String| why.contains("a driver's bug");
    assert!(matches!(&report.members[1].state, MemberState::Dead(why) if said(why)), "{report:?}");
}

#[test]
fn where_no_device_comes_the_run_ends() {
    let gone = |name: &str| {
        let (comes, member) = awaited(quick(name, 1));
        drop(comes);
        member
    };
    let outcome = ordered(vec![gone("a"), gone("b")], 10, &Terms::default());
    let Err(PoolError::Dead { reasons, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(reasons.iter().all(|reason| reason.contains("could not be opened")), "{reasons:?}");
}

/// The run that is over does not wait for it; the next one has it.
#[test]
fn a_device_that_comes_after_all_work_is_done_is_there_for_the_next_run() {
    let (comes, late) = awaited(slow("late"));
    let mut crew = Crew::open(vec![slow("first"), late]).expect("two can be seated");
    let first = assert_whole(crew.share_ordered(list(20), &Terms::default(), &|| false), 20);
    assert_eq!((first.members[0].tasks, first.members[1].tasks), (20, 0));
    comes.send(()).expect("it is awaited");
    let second = assert_whole(crew.share_ordered(list(200), &Terms::default(), &|| false), 200);
    assert!(second.members[1].tasks > 0, "{second:?}");
    crew.close(Duration::from_secs(60));
}

#[test]
fn nobody_waits_for_a_device_that_is_still_being_opened() {
    let (_comes, late) = awaited(quick("late", 1));
    let start = Instant::now();
    assert_whole(ordered(vec![quick("first", 1), late], 10, &Terms::default()), 10);
    assert!(start.elapsed() < Duration::from_secs(30), "the crew's end waited for it");
}

/// Of two devices one breaks on its first task and the other never comes: the task is tried again all the same.
#[test]
fn a_task_is_not_kept_for_a_device_that_is_not_there() {
    let (_comes, late) = awaited(quick("late", 1));
    let tried = Arc::new(AtomicUsize::new(0));
    let breaks_once =
        does("first", 1, move |tasks: &[usize]| match tried.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Failure::Broken("once".into())),
            _ => Ok(answers(tasks)),
        });
    assert_whole(ordered(vec![breaks_once, late], 5, &Terms::default()), 5);
}
