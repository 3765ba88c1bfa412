//! Devices that hang, devices that are slow, and processes that were stopped.

use std::sync::atomic::AtomicU64;

use super::*;

/// Every deadline is this long.
fn short(deadline: Duration) -> Terms {
    Terms {
        first_deadline: deadline,
        first_deadline_each: Duration::ZERO,
        least_deadline: deadline,
        ..Terms::default()
    }
}

/// A wall's clock that a test sets.
#[derive(Clone, Default)]
struct Wall(Arc<AtomicU64>);

impl Wall {
    fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    }

    fn clock(&self) -> Clock {
        let wall = self.clone();
        Clock::reading(move || Duration::from_millis(wall.0.load(Ordering::Relaxed)))
    }

    /// Time goes by in ticks that the scheduler, which looks every 10 ms, sees.
    fn tick(&self, times: usize) {
        for _ in 0..times {
            self.advance(900 * MS);
            std::thread::sleep(30 * MS);
        }
    }

    fn share(&self, crew: Vec<Member<usize, usize>>, tasks: usize, terms: &Terms) -> Outcome {
        let mut crew = Crew::timed_by(self.clock(), crew)?;
        crew.share_ordered(list(tasks), terms, &|| false)
    }
}

#[test]
fn an_hour_in_which_the_process_was_stopped_makes_no_device_hang() {
    let wall = Wall::default();
    let stopped = wall.clone();
    let crew = vec![does("a", 4, move |tasks: &[usize]| {
        // Ctrl-Z, an hour later fg, and some looks of the scheduler at its clock.
        stopped.advance(Duration::from_secs(3600));
        std::thread::sleep(50 * MS);
        Ok(answers(tasks))
    })];
    let report = assert_whole(wall.share(crew, 12, &short(Duration::from_secs(60))), 12);
    assert_eq!(report.members[0].state, MemberState::Fine);
    // Of each hour a second counts, for the pace as well.
    assert!(report.members[0].latency.p99 <= 1.0, "{report:?}");
}

#[test]
fn a_device_hangs_by_a_clock_that_goes_on() {
    let wall = Wall::default();
    let ticking = wall.clone();
    let crew = vec![
        does("late", 1, move |tasks: &[usize]| {
            ticking.tick(20);
            Ok(answers(tasks))
        }),
        quick("good", 1),
    ];
    let report = assert_whole(wall.share(crew, 8, &short(Duration::from_secs(3))), 8);
    assert!(matches!(&report.members[0].state, MemberState::Dead(why) if why.contains("hung")));
}

/// `--device cpu --model ilt --batch 100`: healthy, and longer than any fixed deadline for a batch.
#[test]
fn a_first_batch_has_time_for_each_of_its_tasks() {
    let wall = Wall::default();
    let terms =
        Terms { first_deadline_each: Duration::from_secs(1), ..short(Duration::from_secs(2)) };
    let slow = |batch: usize| {
        let ticking = wall.clone();
        vec![does("slow", batch, move |tasks: &[usize]| {
            ticking.tick(5);
            Ok(answers(tasks))
        })]
    };
    let report = assert_whole(wall.share(slow(10), 10, &terms), 10);
    assert_eq!(report.members[0].state, MemberState::Fine);
    // A batch of one has the time of one.
    assert!(matches!(wall.share(slow(1), 1, &terms), Err(PoolError::Dead { .. })));
}

#[test]
fn a_worker_whose_making_hangs_costs_its_device_not_the_run() {
    let make = || {
        std::thread::sleep(5000 * MS);
        Err(Failure::Broken("too late".into()))
    };
    let bad = Member { name: "bad".into(), batch: 4, make: Arc::new(make), arrive: None };
    let slow = SimulatedDevice { per_task: 2 * MS, ..SimulatedDevice::default() };
    let good = slow.member("good", 4, |task: &usize| answer(*task));
    let start = Instant::now();
    let report = assert_whole(ordered(vec![bad, good], 40, &short(400 * MS)), 40);
    assert!(start.elapsed() < 4000 * MS, "it was waited for: {:?}", start.elapsed());
    assert!(matches!(&report.members[0].state, MemberState::Dead(why) if why.contains("hung")));
}

#[test]
fn a_device_that_is_never_opened_is_given_up_at_its_deadline() {
    let never = || {
        std::thread::sleep(5000 * MS);
        Ok(())
    };
    let absent = Member { arrive: Some(Arc::new(never)), ..quick("absent", 4) };
    let outcome = ordered(vec![absent], 4, &short(300 * MS));
    let Err(PoolError::Dead { reasons, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(reasons[0].contains("not opened by its deadline"), "{reasons:?}");
}

/// The batch of a run whose sink panicked may hang: the next run does not wait behind it.
#[test]
fn a_batch_that_hangs_since_an_earlier_run_is_seen_in_the_next() {
    let late = does("late", 1, |tasks: &[usize]| {
        std::thread::sleep(5000 * MS);
        Ok(answers(tasks))
    });
    let mut crew = Crew::open(vec![late, quick("good", 1)]).expect("two can be seated");
    let terms = short(600 * MS);
    let run = std::panic::AssertUnwindSafe(|| {
        let mut sink = |_, _| -> Result<(), Infallible> { panic!("a sink") };
        crate::panics::caught(|| crew.share(list(4), &terms, &|| false, &mut sink))
    });
    assert!(run().is_err());
    let start = Instant::now();
    let report = assert_whole(crew.share_ordered(list(20), &terms, &|| false), 20);
    assert!(start.elapsed() < 4000 * MS, "it was waited for: {:?}", start.elapsed());
    assert!(matches!(&report.members[0].state, MemberState::Dead(why) if why.contains("hung")));
}

#[test]
fn a_device_that_hangs_is_left_behind_and_its_late_results_count_for_nothing() {
    let late = does("late", 2, |tasks: &[usize]| {
        std::thread::sleep(5000 * MS);
        Ok(tasks.iter().map(|_| 0).collect())
    });
    let slow = SimulatedDevice { per_task: 2 * MS, ..SimulatedDevice::default() };
    let good = slow.member("good", 2, |task: &usize| answer(*task));
    let terms = Terms { ahead: 8, ..short(400 * MS) };
    let start = Instant::now();
    let report = assert_whole(ordered(vec![late, good], 30, &terms), 30);
    assert!(start.elapsed() < 4000 * MS, "it was waited for: {:?}", start.elapsed());
    assert!(matches!(&report.members[0].state, MemberState::Dead(why) if why.contains("hung")));
    assert_eq!(report.faults[0].kind, FaultKind::Hung);
}
