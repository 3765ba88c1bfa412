//! Faults, deaths, stops and bounds: whatever happens, every result is delivered once.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::failure::Failure;
use super::fault_injection::{CtrlC, Faults, Injected, Injector};
use super::report::{FaultKind, MemberReport, MemberState};
use super::simulated::SimulatedDevice;
use super::worker::Worker;
use super::*;

const MS: Duration = Duration::from_millis(1);

/// A worker that is a function of batches.
struct Does<F>(F);

impl<F: FnMut(&[usize]) -> Result<Vec<usize>, Failure>> Worker<usize, usize> for Does<F> {
    fn run(&mut self, batch: &[Arc<usize>]) -> Result<Vec<usize>, Failure> {
        let batch: Vec<usize> = batch.iter().map(|task| **task).collect();
        (self.0)(&batch)
    }
}

fn does<F>(name: &str, batch: usize, work: F) -> Member<usize, usize>
where
    F: Fn(&[usize]) -> Result<Vec<usize>, Failure> + Clone + Send + Sync + 'static,
{
    let make = move || Ok(Box::new(Does(work.clone())) as Box<dyn Worker<usize, usize>>);
    Member { name: name.into(), batch, make: Arc::new(make) }
}

/// What a task's result should be.
fn answer(task: usize) -> usize {
    task.wrapping_mul(2_654_435_761) ^ 0x5bd1
}

fn answers(batch: &[usize]) -> Vec<usize> {
    batch.iter().map(|&task| answer(task)).collect()
}

fn quick(name: &str, batch: usize) -> Member<usize, usize> {
    SimulatedDevice::default().member(name, batch, |task| answer(*task))
}

fn list(tasks: usize) -> impl Iterator<Item = Result<usize, Infallible>> + Send {
    (0..tasks).map(Ok)
}

type Outcome = Result<(Vec<usize>, Report), PoolError<Infallible>>;

fn ordered(crew: Vec<Member<usize, usize>>, tasks: usize, terms: &Terms) -> Outcome {
    share_ordered(crew, list(tasks), terms, &|| false)
}

fn assert_whole(outcome: Outcome, tasks: usize) -> Report {
    let (results, report) = outcome.expect("the run can be done");
    assert_eq!(results, (0..tasks).map(answer).collect::<Vec<_>>());
    assert_eq!(report.tasks, tasks);
    assert_eq!(report.members.iter().map(|member| member.tasks).sum::<usize>(), tasks);
    assert!(!report.stopped);
    report
}

#[test]
fn one_to_eight_devices_give_the_answers_of_one_in_order() {
    for devices in 1..=8 {
        let crew = (0..devices).map(|i| quick(&format!("d{i}"), 4)).collect();
        assert_whole(ordered(crew, 500, &Terms::default()), 500);
    }
    assert_whole(ordered(vec![quick("d", 4)], 0, &Terms::default()), 0);
}

#[test]
fn a_crew_without_devices_or_batches_is_refused() {
    let none = ordered(Vec::new(), 3, &Terms::default());
    assert!(matches!(none, Err(PoolError::Crew(CrewError::Empty))));
    let error = ordered(vec![quick("d", 0)], 3, &Terms::default()).err();
    assert!(error.is_some_and(|error| error.to_string().contains("device d")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Iterators that know their length and those that do not, batches of any size, few tasks ahead.
    #[test]
    fn every_task_is_done_once(
        batches in proptest::collection::vec(1_usize..9, 1..9),
        tasks in 0_usize..200,
        ahead in 0_usize..40,
        exact in any::<bool>(),
    ) {
        let crew: Vec<_> =
            batches.iter().enumerate().map(|(i, b)| quick(&format!("d{i}"), *b)).collect();
        let terms = Terms { ahead, ..Terms::default() };
        let mut seen = vec![0; tasks];
        let mut sink = |number: usize, result: usize| -> Result<(), Infallible> {
            assert_eq!(result, answer(number));
            seen[number] += 1;
            Ok(())
        };
        let report = if exact {
            share(crew, list(tasks), &terms, &|| false, &mut sink)
        } else {
            share(crew, list(usize::MAX).take_while(|task| task.as_ref().is_ok_and(|t| *t < tasks)),
                &terms, &|| false, &mut sink)
        };
        let report = report.expect("nothing fails");
        prop_assert!(seen.iter().all(|times| *times == 1), "{:?}", seen);
        let bound = ahead.max(1) + 2 * batches.iter().sum::<usize>();
        prop_assert!(report.held <= bound, "{} > {}", report.held, bound);
    }

    /// All but one device die, each at a moment of its own.
    #[test]
    fn devices_that_die_at_any_moment_lose_and_double_nothing(
        deaths in proptest::collection::vec(0_usize..30, 0..7),
        batch in 1_usize..6,
        tasks in 0_usize..150,
    ) {
        let mut crew = vec![quick("survivor", batch)];
        for (i, &after) in deaths.iter().enumerate() {
            let done = AtomicUsize::new(0);
            let done = Arc::new(done);
            crew.push(does(&format!("d{i}"), batch, move |tasks: &[usize]| {
                match done.fetch_add(1, Ordering::Relaxed) {
                    n if n < after => Ok(answers(tasks)),
                    _ => Err(Failure::Lost("gone".into())),
                }
            }));
        }
        let mut seen = vec![0; tasks];
        let report = share(crew, list(tasks), &Terms::default(), &|| false, &mut |n, result| {
            assert_eq!(result, answer(n));
            seen[n] += 1;
            Ok(())
        });
        prop_assert!(report.is_ok());
        prop_assert!(seen.iter().all(|times| *times == 1), "{:?}", seen);
    }
}

/// The bar of the design: a thousand faults, and every output is that of a run without.
#[test]
fn a_thousand_faults_in_random_runs_change_no_result() {
    let mut faults = 0;
    let mut sorts = std::collections::BTreeSet::new();
    for seed in 0.. {
        if faults >= 1000 {
            break;
        }
        let injector = Injector::new(seed);
        // Hanging costs real time; one run in sixteen has it.
        let hangs = seed % 16 == 0;
        let deadline = if hangs { 500 * MS } else { Duration::from_secs(60) };
        let terms = Terms {
            ahead: 1 + seed as usize % 32,
            first_deadline: deadline,
            least_deadline: deadline,
            retries: 100,
            ..Terms::default()
        };
        let tasks = 40 + (seed as usize * 37) % 100;
        let report = assert_whole(ordered(faulty_crew(&injector, hangs), tasks, &terms), tasks);
        let counts = injector.counts();
        let count = |sort: Injected| counts.get(&sort).copied().unwrap_or(0);
        // A hang can end before it is seen; slow batches are none of the report's business.
        let sure = injector.count() - count(Injected::Slow) - count(Injected::Hang);
        let dead = |member: &&MemberReport| matches!(member.state, MemberState::Dead(_));
        // A device that is given up may have begun another batch, of which nobody hears.
        let unheard = report.members.iter().filter(dead).count();
        assert!(report.faults.len() + unheard >= sure, "{seed}: {counts:?} {:?}", report.faults);
        faults += injector.count();
        sorts.extend(counts.into_keys());
    }
    assert_eq!(sorts.len(), 8, "{sorts:?}");
}

/// Five devices: one that is only unlucky, four that can be lost in every way.
fn faulty_crew(injector: &Injector, hangs: bool) -> Vec<Member<usize, usize>> {
    let unlucky = Faults {
        panic: 0.2,
        broken: 0.1,
        wrong_count: 0.1,
        slow: 0.05,
        slow_for: MS,
        unmade: 0.2,
        most: Some(8),
        ..Faults::default()
    };
    let doomed = Faults {
        out_of_memory: 0.1,
        capacity: Some(6),
        lost: 0.05,
        hang: if hangs { 0.05 } else { 0.0 },
        hang_for: 800 * MS,
        ..unlucky.clone()
    };
    let fate = |i: usize| if i == 0 { unlucky.clone() } else { doomed.clone() };
    (0..5).map(|i| injector.member(quick(&format!("d{i}"), 8), fate(i))).collect()
}

#[test]
fn memory_that_runs_out_halves_the_batch_for_good() {
    let small = SimulatedDevice { capacity: Some(3), ..SimulatedDevice::default() };
    let crew = vec![small.member("small", 16, |task: &usize| answer(*task))];
    let report = assert_whole(ordered(crew, 100, &Terms::default()), 100);
    let member = &report.members[0];
    // 16, 8 and 4 do not fit; 2 does.
    assert_eq!((member.batch, &member.state), (2, &MemberState::Halved(3)));
    // At each size the next batch may have begun already.
    assert!((3..=6).contains(&report.faults.len()), "{:?}", report.faults);
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
    let bad = Member { name: "bad".into(), batch: 4, make: Arc::new(make) };
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
fn a_device_that_hangs_is_left_behind_and_its_late_results_count_for_nothing() {
    let late = does("late", 2, |tasks: &[usize]| {
        std::thread::sleep(5000 * MS);
        Ok(tasks.iter().map(|_| 0).collect())
    });
    let slow = SimulatedDevice { per_task: 2 * MS, ..SimulatedDevice::default() };
    let good = slow.member("good", 2, |task: &usize| answer(*task));
    let terms =
        Terms { first_deadline: 400 * MS, least_deadline: 400 * MS, ahead: 8, ..Terms::default() };
    let start = Instant::now();
    let report = assert_whole(ordered(vec![late, good], 30, &terms), 30);
    assert!(start.elapsed() < 4000 * MS, "it was waited for: {:?}", start.elapsed());
    assert!(matches!(&report.members[0].state, MemberState::Dead(why) if why.contains("hung")));
    assert_eq!(report.faults[0].kind, FaultKind::Hung);
}

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
