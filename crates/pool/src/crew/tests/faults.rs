//! What each fault costs, and what it does not.

use super::*;

#[test]
fn memory_that_runs_out_halves_the_batch_for_good() {
    let small = SimulatedDevice { capacity: Some(3), ..SimulatedDevice::default() };
    let crew = vec![small.member("small", 16, |task: &usize| answer(*task))];
    let report = assert_whole(ordered(crew, 100, &Terms::default()), 100);
    let member = &report.members[0];
    // 16, 8 and 4 do not fit; 2 does. A batch may hold less than it could, where tasks come more slowly than they are taken: half of it is then
    // what is tried next.
    assert_eq!(member.batch, 2);
    let MemberState::Halved(times @ 1..=3) = member.state else { panic!("{:?}", member.state) };
    // At each size the next batch may have begun already.
    assert!((times..=2 * times).contains(&report.faults.len()), "{:?}", report.faults);
    assert!(report.faults.iter().all(|fault| fault.kind == FaultKind::OutOfMemory));
}

#[test]
fn a_device_that_has_no_room_for_one_task_is_dropped_and_says_so() {
    let none = SimulatedDevice { capacity: Some(0), ..SimulatedDevice::default() };
    let crew = vec![none.member("none", 4, |task: &usize| answer(*task)), quick("room", 4)];
    let report = assert_whole(ordered(crew, 50, &Terms::default()), 50);
    assert!(
        matches!(&report.members[0].state, MemberState::Dead(why) if why.contains("batch of one"))
    );
}

#[test]
fn when_all_devices_are_lost_the_error_has_every_reason_and_results_were_delivered() {
    let dies = |name: &str| {
        does(name, 2, |tasks: &[usize]| match tasks[0] {
            0..10 => Ok(answers(tasks)),
            _ => Err(Failure::Lost("cable".into())),
        })
    };
    let mut delivered = 0;
    let outcome =
        share(vec![dies("a"), dies("b")], list(50), &Terms::default(), &|| false, &mut |_, _| {
            delivered += 1;
            Ok::<(), Infallible>(())
        });
    let Err(PoolError::Dead { reasons, report }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(reasons, ["a: device lost: cable", "b: device lost: cable"]);
    assert!((9..=12).contains(&delivered), "{delivered}");
    assert_eq!(report.tasks, delivered);
}

#[test]
fn a_task_that_breaks_every_worker_is_named_and_the_rest_of_its_batch_is_not() {
    let crew = ["a", "b"].map(|name| {
        does(name, 8, |tasks: &[usize]| {
            if tasks.contains(&13) {
                std::panic::resume_unwind(Box::new("index out of bounds"));
            }
            Ok(answers(tasks))
        })
    });
    let terms = Terms { retries: 4, ..Terms::default() };
    let outcome = ordered(crew.into(), 64, &terms);
    let Err(PoolError::Task { task, tries, reason, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((task, tries, reason.as_str()), (13, 5, "index out of bounds"));
}

#[test]
fn a_device_that_breaks_on_everything_is_given_up_and_its_tasks_are_done_elsewhere() {
    let bad = does("bad", 4, |_: &[usize]| std::panic::resume_unwind(Box::new("driver bug")));
    let slow = SimulatedDevice { per_task: MS, ..SimulatedDevice::default() };
    let good = slow.member("good", 4, |task: &usize| answer(*task));
    let report = assert_whole(ordered(vec![bad, good], 100, &Terms::default()), 100);
    assert!(matches!(&report.members[0].state, MemberState::Dead(why) if why.contains("4 times")));
}

#[test]
fn a_worker_that_cannot_be_made_costs_its_device_not_the_run() {
    let make = || Err(Failure::Broken("no such file".into()));
    let bad = Member { name: "bad".into(), batch: 4, make: Arc::new(make), arrive: None };
    let outcome = ordered(vec![bad.clone()], 5, &Terms::default());
    let Err(PoolError::Dead { reasons, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(reasons[0].contains("no such file"), "{reasons:?}");
    let slow = SimulatedDevice { per_task: MS, ..SimulatedDevice::default() };
    let good = slow.member("good", 4, |task: &usize| answer(*task));
    assert_whole(ordered(vec![bad, good], 40, &Terms::default()), 40);
}

#[test]
fn a_wrong_task_ends_the_run() {
    let crew = vec![does("a", 1, |tasks: &[usize]| match tasks[0] {
        7 => Err(Failure::Task("not square".into())),
        _ => Ok(answers(tasks)),
    })];
    let error = ordered(crew, 20, &Terms::default()).err().map(|error| error.to_string());
    assert_eq!(
        error.as_deref(),
        Some("task 7 cannot be done: not square (tried 1 times, last on a)")
    );
}

#[test]
fn the_wrong_task_of_a_batch_is_named_and_not_the_first_of_it() {
    let crew = ["a", "b"].map(|name| {
        does(name, 8, |tasks: &[usize]| match tasks.contains(&13) {
            true => Err(Failure::Task("not square".into())),
            false => Ok(answers(tasks)),
        })
    });
    let outcome = ordered(crew.into(), 64, &Terms::default());
    let Err(PoolError::Task { task, reason, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((task, reason.as_str()), (13, "not square"));
}

#[test]
fn a_panic_of_a_worker_is_reported_with_its_line() {
    let line = line!() + 1;
    let bad = does("bad", 4, |_: &[usize]| panic!("driver bug"));
    let slow = SimulatedDevice { per_task: MS, ..SimulatedDevice::default() };
    let good = slow.member("good", 4, |task: &usize| answer(*task));
    let report = assert_whole(ordered(vec![bad, good], 40, &Terms::default()), 40);
    let place = format!("driver bug (at {}:{line}:", file!());
    assert!(report.faults.iter().all(|fault| fault.text.contains(&place)), "{:?}", report.faults);
}
