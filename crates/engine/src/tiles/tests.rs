//! The flow with devices that compute nothing: what becomes of panics, stops, repetitions and strays.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use lithoburn_layout::{Coverage, Library, ReadOptions, TileGrid};
use lithoburn_pool::{Failure, Worker};

use super::*;

/// Longest that a run that must end may take.
const SOON: Duration = Duration::from_secs(60);

/// The first byte of a target's digest, as its answer.
struct Echo(Key);

impl Answer for Echo {
    fn key(&self) -> &Key {
        &self.0
    }

    fn to_bytes(&self) -> Vec<u8> {
        vec![self.0[0]]
    }
}

/// A device that counts its tiles and may wait for a sign.
struct Counter {
    computed: Arc<AtomicUsize>,
    slow: Duration,
}

impl Worker<Tile, Echo> for Counter {
    fn run(&mut self, batch: &[Arc<Tile>]) -> Result<Vec<Echo>, Failure> {
        std::thread::sleep(self.slow);
        self.computed.fetch_add(batch.len(), Ordering::SeqCst);
        Ok(batch.iter().map(|tile| Echo(tile.key)).collect())
    }
}

fn member(computed: &Arc<AtomicUsize>, slow: Duration) -> Member<Tile, Echo> {
    let computed = computed.clone();
    let make = move || {
        let computed = computed.clone();
        Ok(Box::new(Counter { computed, slow }) as Box<dyn Worker<Tile, Echo>>)
    };
    Member { name: "counter".into(), batch: 1, make: Arc::new(make), arrive: None }
}

/// Bars at these places, in nm.
fn library(bars: &[[i64; 2]]) -> Library {
    let bar = |[x, y]: &[i64; 2]| format!("   RECT N M1 {x} {y} 80 300\n");
    let text: String = bars.iter().map(bar).collect();
    let text = format!("CELL T PRIME\n{text}ENDMSG\n");
    Library::from_bytes(Path::new("bars.glp"), text.as_bytes(), &ReadOptions::default())
        .expect("it is one")
}

/// Tiles of 512 nm with halos of 128 nm, on pixels of 8 nm.
fn grid(library: &Library) -> TileGrid {
    TileGrid::cover_library(library, library.extent(), 512.0, 128.0, 8.0).expect("it fits")
}

fn flow<'a>(library: &'a Library, folder: &Folder) -> Flow<'a> {
    let grid = grid(library);
    let source = Source { library, grid, coverage: Coverage::Exact, finest_nm: None };
    let occupied = Occupied::of(library, &grid).expect("not too many");
    Flow::open(source, occupied, folder, Kind::Mask, &[7; 32]).expect("a new journal")
}

/// Puts all tiles together in order; none if the run ends before.
fn all(flow: &Flow) -> Result<Option<Vec<u8>>, EngineError> {
    let mut found = Vec::new();
    for &tile in flow.occupied.tiles() {
        let Some(keys) = flow.take(&[tile]) else { return Ok(None) };
        found.extend(flow.answer(&keys[0])?);
        flow.assembled(1);
    }
    Ok(Some(found))
}

const PHASES: [Phase; 2] = [Phase::Optimize, Phase::Evaluate];

/// Runs something on a thread of its own that must end, by a panic or not.
fn ends<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> std::thread::Result<T> {
    let (say, heard) = mpsc::channel();
    let working = std::thread::spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let _ = say.send(());
        result
    });
    heard.recv_timeout(SOON).expect("it hangs");
    working.join().expect("panics are caught")
}

/// Row after row of bars, of which every other is the same.
fn rows() -> Library {
    let bars: Vec<[i64; 2]> =
        (0..24).map(|i| [256 * (i % 6) + 8 * (i % 2), 256 * (i / 6)]).collect();
    library(&bars)
}

#[test]
fn each_different_target_is_computed_once_and_all_tiles_come_in_order() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = Folder::claim(place.path()).expect("it is ours");
    let (library, computed) = (rows(), Arc::default());
    let flow = flow(&library, &folder);
    let crew = vec![member(&computed, Duration::ZERO), member(&computed, Duration::ZERO)];
    let ran = flow.run(crew, || all(&flow), PHASES, &|| false, &mut |_| true).expect("runs");
    let expected: Vec<u8> = flow
        .occupied
        .tiles()
        .iter()
        .map(|&tile| flow.source.tile(tile).expect("reads").key[0])
        .collect();
    assert_eq!(ran.built, Some(expected));
    let unique = flow.journal().count(Kind::Mask);
    assert_eq!(computed.load(Ordering::SeqCst), unique);
    assert!(unique < flow.occupied.len(), "{unique} of {}", flow.occupied.len());
    assert!(ran.drawing > 0.0 && ran.computing > 0.0);
    flow.finish().expect("deleted");
    assert!(!folder.file(JOURNAL).exists());
}

#[test]
fn a_run_that_was_stopped_goes_on_and_computes_nothing_twice() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = Folder::claim(place.path()).expect("it is ours");
    let (library, computed) = (rows(), Arc::<AtomicUsize>::default());
    let first = flow(&library, &folder);
    let stop = || computed.load(Ordering::SeqCst) >= 3;
    let crew = vec![member(&computed, Duration::from_millis(2))];
    let ran = first.run(crew, || all(&first), PHASES, &stop, &mut |_| true).expect("ends well");
    assert!(ran.built.is_none());
    let error = first.interrupted(&folder).to_string();
    assert!(error.contains("goes on from there"), "{error}");
    drop(first);
    let second = flow(&library, &folder);
    assert!(second.resumed >= 3, "{}", second.resumed);
    let crew = vec![member(&computed, Duration::ZERO)];
    let ran = second.run(crew, || all(&second), PHASES, &|| false, &mut |_| true).expect("runs");
    assert_eq!(ran.built.map(|b| b.len()), Some(second.occupied.len()));
    assert_eq!(computed.load(Ordering::SeqCst), second.journal().count(Kind::Mask));
}

/// The one who puts together waited inside the scope for tiles that would never come.
#[test]
fn a_panic_of_who_watches_ends_all_parts() {
    let ended = ends(|| {
        let place = tempfile::tempdir().expect("a folder");
        let folder = Folder::claim(place.path()).expect("it is ours");
        let (library, computed) = (rows(), Arc::default());
        let flow = flow(&library, &folder);
        let mut events = 0;
        let mut watch = |_: Event| {
            events += 1;
            assert!(events < 3, "the watcher breaks");
            true
        };
        let crew = vec![member(&computed, Duration::from_millis(1))];
        flow.run(crew, || all(&flow), PHASES, &|| false, &mut watch).map(|ran| ran.built.is_some())
    });
    assert!(ended.is_err(), "the panic goes on");
}

#[test]
fn a_panic_of_who_puts_together_ends_all_parts() {
    let ended = ends(|| {
        let place = tempfile::tempdir().expect("a folder");
        let folder = Folder::claim(place.path()).expect("it is ours");
        let (library, computed) = (rows(), Arc::default());
        let flow = flow(&library, &folder);
        let crew = vec![member(&computed, Duration::from_millis(5))];
        let build = || -> Result<Option<()>, EngineError> {
            flow.take(&flow.occupied.tiles()[..1]);
            panic!("the builder breaks")
        };
        flow.run(crew, build, PHASES, &|| false, &mut |_| true).map(|ran| ran.built.is_some())
    });
    assert!(ended.is_err(), "the panic goes on");
}

#[test]
fn a_device_that_cannot_compute_ends_the_run_with_its_reason() {
    struct Broken;
    impl Worker<Tile, Echo> for Broken {
        fn run(&mut self, _: &[Arc<Tile>]) -> Result<Vec<Echo>, Failure> {
            Err(Failure::Lost("off the bus".into()))
        }
    }
    let error = ends(|| {
        let place = tempfile::tempdir().expect("a folder");
        let folder = Folder::claim(place.path()).expect("it is ours");
        let library = rows();
        let flow = flow(&library, &folder);
        let make = || Ok(Box::new(Broken) as Box<dyn Worker<Tile, Echo>>);
        let crew =
            vec![Member { name: "card".into(), batch: 1, make: Arc::new(make), arrive: None }];
        let ran = flow.run(crew, || all(&flow), PHASES, &|| false, &mut |_| true);
        ran.map(|ran| ran.built.is_some()).expect_err("no device is left").to_string()
    });
    assert!(ended_with(&error, "off the bus"), "{error:?}");
}

/// Answers are written on a thread of their own, whose error is the run's.
#[test]
fn a_journal_that_cannot_be_written_ends_the_run_with_its_reason() {
    let error = ends(|| {
        let place = tempfile::tempdir().expect("a folder");
        let folder = Folder::claim(place.path()).expect("it is ours");
        let (library, computed) = (rows(), Arc::default());
        let flow = flow(&library, &folder);
        flow.journal().spoil();
        let crew = vec![member(&computed, Duration::from_millis(1))];
        let ran = flow.run(crew, || all(&flow), PHASES, &|| false, &mut |_| true);
        ran.map(|ran| ran.built.is_some()).expect_err("nothing is kept").to_string()
    });
    assert!(ended_with(&error, JOURNAL), "{error:?}");
}

fn ended_with(error: &std::thread::Result<String>, words: &str) -> bool {
    error.as_ref().is_ok_and(|error| error.contains(words))
}

/// 26 by 33 mm of tiles of 256 nm: some thirteen billion, of which a handful is drawn.
#[test]
fn a_stray_polygon_centimetres_away_costs_nothing() {
    let start = Instant::now();
    let place = tempfile::tempdir().expect("a folder");
    let folder = Folder::claim(place.path()).expect("it is ours");
    let (library, computed) = (library(&[[0, 0], [26_000_000, 33_000_000]]), Arc::default());
    let flow = flow(&library, &folder);
    let tiles = flow.occupied.len();
    assert!(flow.source.grid.len() > 10_000_000_000 && tiles <= 40, "{tiles}");
    let crew = vec![member(&computed, Duration::ZERO)];
    let ran = flow.run(crew, || all(&flow), PHASES, &|| false, &mut |_| true).expect("runs");
    assert_eq!(ran.built.map(|b| b.len()), Some(tiles));
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

/// Answers wait in the journal while the first tile's is missing, however many there are.
#[test]
fn tiles_behind_a_slow_one_wait_on_disk() {
    struct FirstLast(Arc<AtomicUsize>, Key, usize);
    impl Worker<Tile, Echo> for FirstLast {
        fn run(&mut self, batch: &[Arc<Tile>]) -> Result<Vec<Echo>, Failure> {
            let start = Instant::now();
            // The first tile's device hangs until all others are computed.
            while batch[0].key == self.1
                && self.0.load(Ordering::SeqCst) < self.2
                && start.elapsed() < SOON
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(batch.iter().map(|tile| Echo(tile.key)).collect())
        }
    }
    let place = tempfile::tempdir().expect("a folder");
    let folder = Folder::claim(place.path()).expect("it is ours");
    let library = rows();
    let flow = flow(&library, &folder);
    let keys: std::collections::HashSet<Key> = flow
        .occupied
        .tiles()
        .iter()
        .map(|&tile| flow.source.tile(tile).expect("reads").key)
        .collect();
    let first = flow.source.tile(flow.occupied.tiles()[0]).expect("reads").key;
    let (done, others) = (Arc::new(AtomicUsize::new(0)), keys.len() - 1);
    let member = || {
        let done = done.clone();
        let make = move || {
            Ok(Box::new(FirstLast(done.clone(), first, others)) as Box<dyn Worker<Tile, Echo>>)
        };
        Member { name: "device".into(), batch: 1, make: Arc::new(make), arrive: None }
    };
    let crew = vec![member(), member()];
    let waited = AtomicUsize::new(0);
    let build = || {
        let Some(_) = flow.take(&flow.occupied.tiles()[..1]) else { return Ok(None) };
        waited.store(flow.journal().count(Kind::Mask), Ordering::SeqCst);
        Ok::<_, EngineError>(Some(()))
    };
    let ran = flow.run(crew, build, PHASES, &|| false, &mut |_| true).expect("runs");
    assert!(ran.built.is_some() && waited.load(Ordering::SeqCst) > others / 2, "{waited:?}");
}

/// Answers that other machines found come in any order, some before their tiles were looked at; a second run needs none of them again.
#[test]
fn answers_that_others_found_are_put_together_in_order() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = Folder::claim(place.path()).expect("it is ours");
    let library = rows();
    let flow = flow(&library, &folder);
    let keys: Vec<Key> =
        flow.occupied.tiles().iter().map(|&i| flow.source.tile(i).expect("small").key).collect();
    let mut left: Vec<Key> = keys.clone();
    left.sort_unstable();
    left.dedup();
    let gathered = |flow: &Flow, left: &mut Vec<Key>| {
        let mut answers =
            |_: &dyn Fn() -> bool| Ok(left.pop().map(|key| vec![(key, vec![key[0]])]));
        let gather = |watch: &mut dyn FnMut(Event) -> bool| {
            flow.gather(&mut answers, PHASES[0], &|| false, watch).map(|()| Default::default())
        };
        flow.drive(gather, || all(flow), PHASES[1], &|| false, &mut |_| true)
    };
    let ran = gathered(&flow, &mut left).expect("all answers come");
    let expected: Vec<u8> = keys.iter().map(|key| key[0]).collect();
    assert_eq!(ran.built, Some(expected.clone()));
    drop(flow);
    let again = self::flow(&library, &folder);
    let ran = gathered(&again, &mut Vec::new()).expect("they are in the journal");
    assert_eq!(ran.built, Some(expected));
}

#[test]
fn tiles_without_an_answer_are_an_error_and_a_giver_that_fails_ends_the_run() {
    let run = |answers: &mut Answers<'_>| {
        let place = tempfile::tempdir().expect("a folder");
        let folder = Folder::claim(place.path()).expect("it is ours");
        let library = rows();
        let flow = flow(&library, &folder);
        let gather = |watch: &mut dyn FnMut(Event) -> bool| {
            flow.gather(answers, PHASES[0], &|| false, watch).map(|()| Default::default())
        };
        let ran = flow.drive(gather, || all(&flow), PHASES[1], &|| false, &mut |_| true);
        ran.map(|ran| ran.built).expect_err("not whole").to_string()
    };
    let failed = run(&mut |_| Err(EngineError::Setting("the shelf fell".into())));
    assert_eq!(failed, "the shelf fell");
    let missing = run(&mut |_| Ok(None));
    assert!(missing.contains("tiles have no answer"), "{missing}");
}
