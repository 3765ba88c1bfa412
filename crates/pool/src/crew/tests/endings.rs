//! Stops, errors, panics, bounds, and crews that go on.

use super::*;

#[test]
fn after_ctrl_c_what_runs_is_delivered_and_nothing_new_begins() {
    let begun = Arc::new(AtomicUsize::new(0));
    let crew: Vec<_> = (0..4)
        .map(|i| {
            let begun = begun.clone();
            does(&format!("d{i}"), 2, move |tasks: &[usize]| {
                begun.fetch_add(tasks.len(), Ordering::Relaxed);
                std::thread::sleep(MS);
                Ok(answers(tasks))
            })
        })
        .collect();
    let ctrl_c = CtrlC::after(20);
    let mut delivered = 0;
    let report =
        share(crew, list(10_000), &Terms::default(), &|| ctrl_c.stop(), &mut |n, result| {
            assert_eq!(result, answer(n));
            ctrl_c.seen();
            delivered += 1;
            Ok::<(), Infallible>(())
        });
    let report = report.expect("to stop is no error");
    assert!(report.stopped);
    assert_eq!((report.tasks, begun.load(Ordering::Relaxed)), (delivered, delivered));
    // 16 may be under way, and as many results may lie before the sink, or twice as many if it lags.
    assert!((20..=70).contains(&delivered), "{delivered}");
}

#[test]
fn a_stopped_run_in_order_is_whole_up_to_its_first_gap() {
    let stopped = share_ordered(vec![quick("a", 2)], list(10), &Terms::default(), &|| true);
    let (results, report) = stopped.expect("to stop is no error");
    assert!(report.stopped && results.len() <= report.tasks);
}

#[test]
fn errors_of_the_maker_and_of_the_sink_end_the_run() {
    let tasks = (0..100).map(|task| if task == 30 { Err("no window 30") } else { Ok(task) });
    let outcome = share_ordered(vec![quick("a", 2)], tasks, &Terms::default(), &|| false);
    assert!(matches!(outcome, Err(PoolError::Tasks("no window 30"))));
    let sink = &mut |n, _| if n == 5 { Err("disk full") } else { Ok(()) };
    let tasks = (0..100).map(Ok::<usize, &str>);
    let outcome = share(vec![quick("a", 2)], tasks, &Terms::default(), &|| false, sink);
    assert!(matches!(outcome, Err(PoolError::Sink("disk full"))));
}

#[test]
fn a_panic_of_the_maker_reaches_the_caller() {
    let run = || {
        let tasks = (0..100).map(|task| {
            if task == 30 {
                std::panic::resume_unwind(Box::new("maker"));
            }
            Ok::<usize, Infallible>(task)
        });
        share_ordered(vec![quick("a", 2)], tasks, &Terms::default(), &|| false)
    };
    let panic = std::panic::catch_unwind(run).err();
    assert_eq!(panic.and_then(|p| p.downcast_ref::<&str>().copied()), Some("maker"));
}

#[test]
fn without_limits_a_run_ends_as_well() {
    let terms = Terms {
        ahead: usize::MAX,
        first_deadline: Duration::MAX,
        first_deadline_each: Duration::MAX,
        least_deadline: Duration::MAX,
        patience: f64::MAX,
        retries: usize::MAX,
    };
    let crew = vec![quick("a", usize::MAX), quick("b", usize::MAX)];
    assert_whole(ordered(crew, 1000, &terms), 1000);
    // An iterator that is as long as can be, and is stopped.
    let crew = vec![quick("a", usize::MAX), quick("b", 3)];
    let ctrl_c = CtrlC::after(100);
    let terms = Terms { ahead: 50, ..terms };
    let sink = &mut |_, _| {
        ctrl_c.seen();
        Ok(())
    };
    let report = share(crew, list(usize::MAX), &terms, &|| ctrl_c.stop(), sink);
    assert!(report.is_ok_and(|report| report.stopped && report.tasks >= 100));
}

#[test]
fn a_crew_remembers_its_workers_its_batches_and_its_dead() {
    let makes = Arc::new(AtomicUsize::new(0));
    let counted = |member: Member<usize, usize>| {
        let (makes, make) = (makes.clone(), member.make);
        let make = move || {
            makes.fetch_add(1, Ordering::Relaxed);
            make()
        };
        Member { make: Arc::new(make), ..member }
    };
    let small =
        SimulatedDevice { capacity: Some(2), per_task: MS / 10, ..SimulatedDevice::default() };
    let small = small.member("small", 8, |task| answer(*task));
    let lost = does("lost", 8, |_: &[usize]| Err(Failure::Lost("cable".into())));
    let mut crew = Crew::open(vec![counted(small), counted(lost)]).expect("two can be seated");
    for run in 0..4 {
        let terms = Terms::default();
        let report = assert_whole(crew.share_ordered(list(100), &terms, &|| false), 100);
        assert_eq!((report.members[0].tasks, report.members[0].batch), (100, 2), "{run}");
        assert!(
            matches!(&report.members[1].state, MemberState::Dead(why) if why.contains("cable"))
        );
        assert_eq!((report.faults.is_empty(), crew.alive()), (run > 0, 1), "{report:?}");
    }
    assert_eq!(makes.load(Ordering::Relaxed), 2);
    crew.close(Duration::from_secs(10));
}

#[test]
fn a_crew_goes_on_after_every_end_of_a_run_and_does_nothing_once_dead() {
    let work = |tasks: &[usize]| match tasks[0] {
        666.. => Err(Failure::Lost("cable".into())),
        _ => Ok(answers(tasks)),
    };
    let mut crew = Crew::open(vec![does("a", 3, work)]).expect("one can be seated");
    let terms = Terms::default();
    let stopped = crew.share_ordered(list(100), &terms, &|| true);
    assert!(stopped.is_ok_and(|(_, report)| report.stopped));
    let sink = &mut |n, _| if n == 5 { Err("disk full") } else { Ok(()) };
    let outcome = crew.share((0..100).map(Ok), &terms, &|| false, sink);
    assert!(matches!(outcome, Err(PoolError::Sink("disk full"))));
    let outcome = crew.share_ordered((0..9).map(|_| Err("no window")), &terms, &|| false);
    assert!(matches!(outcome, Err(PoolError::Tasks("no window"))));
    assert_whole(crew.share_ordered(list(100), &terms, &|| false), 100);
    for _ in 0..2 {
        let outcome = crew.share_ordered((600..700).map(Ok::<_, Infallible>), &terms, &|| false);
        assert!(matches!(outcome, Err(PoolError::Dead { .. })), "{outcome:?}");
    }
    // Nothing to do needs nobody.
    assert_whole(crew.share_ordered(list(0), &terms, &|| false), 0);
}

/// A task that counts how many of its kind there are.
struct Live(Arc<AtomicUsize>);

impl Live {
    fn new(count: &Arc<AtomicUsize>, most: &AtomicUsize) -> Self {
        let now = count.fetch_add(1, Ordering::SeqCst) + 1;
        most.fetch_max(now, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn the_tasks_that_live_at_once_are_bounded_and_none_stays() {
    let (live, most) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
    let device =
        SimulatedDevice { per_task: MS / 20, capacity: Some(3), ..SimulatedDevice::default() };
    let crew = (0..3).map(|i| device.member(&format!("d{i}"), 4, |_: &Live| ())).collect();
    let terms = Terms { ahead: 5, ..Terms::default() };
    let tasks = (0..500).map(|_| Ok::<Live, Infallible>(Live::new(&live, &most)));
    let report = share(crew, tasks, &terms, &|| false, &mut |_, ()| Ok(()));
    assert_eq!(report.map(|report| report.tasks).ok(), Some(500));
    // Five wait, and each of three devices has at most two batches of four.
    assert!(most.load(Ordering::SeqCst) <= 5 + 3 * 2 * 4, "{most:?}");
    assert_eq!(live.load(Ordering::SeqCst), 0);
}

#[test]
fn results_do_not_pile_up_before_a_slow_sink() {
    let (live, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let crew = (0..2)
        .map(|i| {
            let (live, most) = (live.clone(), most.clone());
            let answer = move |_: &usize| Live::new(&live, &most);
            SimulatedDevice::default().member(&format!("d{i}"), 4, answer)
        })
        .collect();
    let report = share(crew, list(300), &Terms::default(), &|| false, &mut |_, _: Live| {
        std::thread::sleep(MS / 10);
        Ok(())
    });
    assert_eq!(report.map(|report| report.tasks).ok(), Some(300));
    // The lag that is allowed, 2 · 8, and what is under way when it is reached, 2 · 8 + 1.
    assert!(most.load(Ordering::SeqCst) <= 33, "{most:?}");
}

#[test]
fn a_slow_maker_does_not_keep_devices_waiting_for_full_batches() {
    let tasks = (0..20).map(|task| {
        std::thread::sleep(5 * MS);
        Ok::<usize, Infallible>(task)
    });
    let start = Instant::now();
    let (results, report) =
        share_ordered(vec![quick("a", 16)], tasks, &Terms::default(), &|| false)
            .expect("nothing fails");
    assert_eq!(results.len(), 20);
    // Full batches would be two; each task is done as it comes, or a few are if the machine is busy.
    assert!(report.members[0].batches > 4, "{:?} {:?}", report.members, start.elapsed());
}

/// What an earlier run made, did and lost is none of the next one's.
#[test]
fn a_crew_goes_on_after_its_sink_panicked() {
    let slow = SimulatedDevice { per_task: MS, ..SimulatedDevice::default() };
    let slow = |name| slow.member(name, 3, |task: &usize| answer(*task));
    let mut crew = Crew::open(vec![slow("a"), slow("b")]).expect("two can be seated");
    let terms = Terms { ahead: 40, ..Terms::default() };
    for _ in 0..5 {
        let mut sink = |_, _| -> Result<(), Infallible> { panic!("disk gone") };
        let ended = crate::panics::caught(|| crew.share(list(500), &terms, &|| false, &mut sink));
        assert_eq!(ended.map(|_| ()).expect_err("panics").message(), Some("disk gone"));
        assert_whole(crew.share_ordered((0..30).map(Ok), &terms, &|| false), 30);
    }
}

#[test]
fn a_device_lost_in_the_batch_of_a_broken_run_is_given_up_in_the_next() {
    let lost = does("lost", 1, |_: &[usize]| {
        std::thread::sleep(50 * MS);
        Err(Failure::Lost("cable".into()))
    });
    let mut crew = Crew::open(vec![lost, quick("good", 1)]).expect("two can be seated");
    let terms = Terms { first_deadline: Duration::MAX, ..Terms::default() };
    let mut sink = |_, _| -> Result<(), Infallible> { panic!("disk gone") };
    let ended = crate::panics::caught(|| crew.share(list(4), &terms, &|| false, &mut sink));
    assert!(ended.is_err());
    let report = assert_whole(crew.share_ordered(list(30), &terms, &|| false), 30);
    assert!(matches!(report.members[0].state, MemberState::Dead(_)), "{report:?}");
}

#[test]
fn nothing_to_do_needs_no_worker() {
    let make = || -> Result<Box<dyn Worker<usize, usize>>, Failure> { unreachable!("no tasks") };
    let member = Member { name: "a".into(), batch: 1, make: Arc::new(make), arrive: None };
    let report = assert_whole(ordered(vec![member], 0, &Terms::default()), 0);
    assert!(report.faults.is_empty() && report.members[0].state == MemberState::Fine);
}
