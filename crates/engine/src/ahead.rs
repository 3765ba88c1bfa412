//! Kernels compiled ahead, in processes beside the run.
//!
//! A first run on a card compiles a hundred kernels, and a CUDA device compiles one after the other. The kernel cache is shared by
//! processes, so a first run starts this program some times more: each process launches a part of the descent on a field of anything,
//! goes through levels without their steps, loads the network, or measures a mask, and ends. What one has compiled, the others and the
//! run find done. Nothing waits for these processes, and no result comes from them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use lithoburn_litho::ilt::Work;
use lithoburn_pool::{Chosen, cache, memory};
use serde::{Deserialize, Serialize};

use crate::built_in::default_kernels;
use crate::early::Early;
use crate::model::Model;
use crate::setup::{Setup, build};

/// Set in a process that was started to compile a part.
pub(crate) const AHEAD: &str = "LITHOBURN_AHEAD";
/// Processors that are left to the run.
const OWN: usize = 2;
/// Bytes of a card's memory that a process beside the run may need.
const BYTES: u64 = 1 << 30;
/// Launches of a step whose kernels take longest to compile (prints, back to the mask's spectrum, powers, the mask's gradient), and the
/// one that depends most on the level (Adam's).
const LONGEST: [usize; 4] = [3, 5, 2, 6];
const BY_LEVEL: usize = 7;
/// How often processes are looked at, and the next one is started: the driver makes contexts on a card one after the other, and the
/// process that compiles longest shall not wait for the others'.
const PACE: Duration = Duration::from_millis(100);
/// Whether this program answers when it is started with [`AHEAD`].
pub(crate) static ANSWERS: AtomicBool = AtomicBool::new(false);

/// What a process compiles, on a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub device: String,
    /// Model whose descent it is.
    pub model: Model,
    pub kernels: Kernels,
}

/// Kernels that are compiled together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Kernels {
    /// Those of a part of a level's work.
    Work(usize, Work),
    /// All that a level needs besides its steps and its errors, with the mask rules.
    Around(usize),
    /// The same for all levels, and for what comes between them.
    Levels,
    /// Those of the network, if the model has one; and whatever else the run needs besides steps, which the others have by then.
    Network,
    /// Those that measure masks.
    Measures,
}

/// Processes that compile beside a run; they end with it at the latest.
#[derive(Debug)]
pub(crate) struct Ahead {
    marker: PathBuf,
    /// Its end tells the thread that watches them.
    _run: Sender<()>,
}

impl Ahead {
    /// Starts them, where a card has never run this program's model: on CUDA with the built-in optics, if the program
    /// [answers](crate::answer_ahead) and the host has processors for them.
    pub(crate) fn start(setup: &Setup, devices: &[Chosen]) -> Option<Self> {
        let device = devices.iter().find(|device| device.name.starts_with("cuda"))?;
        answers().then(|| Self::on(setup, &device.name))?
    }

    /// The same, on a thread of its own, while devices of these names are still being opened: the driver names a card, whose folder that
    /// tells, long before the card can compute.
    pub(crate) fn early(setup: &Setup, names: &[String]) -> Option<Early<Option<Self>>> {
        let card = |name: &String| match name.as_str() {
            "all" | "auto" => Some("cuda:0".to_string()),
            name => name.starts_with("cuda").then(|| name.to_string()),
        };
        let (device, setup) = (names.iter().find_map(card).filter(|_| answers())?, setup.clone());
        let start = move || cache::activate_card(&device).then(|| Self::on(&setup, &device))?;
        Some(Early::begin("ahead", start))
    }

    fn on(setup: &Setup, device: &str) -> Option<Self> {
        let marker = marker(setup)?;
        // Reading the optics again takes longer than looking for a file.
        if marker.exists() || setup.kernels != default_kernels().ok()? {
            return None;
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let memory = memory::free(device).map_or(0, |bytes| (bytes / BYTES) as usize / 2);
        let processes = processors.saturating_sub(OWN).min(memory);
        let program = std::env::current_exe().ok()?;
        let parts = parts(setup, device).into_iter().take(processes);
        let command = move |part: Part| {
            let text = serde_json::to_string(&part).ok()?;
            let mut command = Command::new(&program);
            command
                .env(AHEAD, text)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            Some(command)
        };
        let commands = parts.filter_map(command);
        let (run, ends) = mpsc::channel();
        let done = marker.clone();
        let watch = move || {
            if watched(commands, &ends) {
                mark(&done);
            }
        };
        std::thread::Builder::new().name("ahead".into()).spawn(watch).ok()?;
        Some(Self { marker, _run: run })
    }

    /// Notes that a run has been through: what it needed is in the cache, whether these processes are done or not. Without it, short
    /// runs that find most kernels there would start them, and end them, every time.
    pub(crate) fn finished(&self) {
        mark(&self.marker);
    }
}

fn answers() -> bool {
    ANSWERS.load(Ordering::Relaxed)
}

/// Without the marker the next run starts the processes again.
fn mark(marker: &Path) {
    let _ = std::fs::write(marker, []);
}

/// Starts processes one after the other, waits for them, and ends those that are left when the run ends; says whether all did what
/// they were to do.
fn watched(commands: impl Iterator<Item = Command>, run: &mpsc::Receiver<()>) -> bool {
    let (mut commands, mut children, mut good) = (commands.fuse(), Vec::<Child>::new(), true);
    loop {
        match commands.next().map(|mut command| command.spawn()) {
            Some(Ok(child)) => children.push(child),
            Some(Err(_)) => good = false,
            None if children.is_empty() => return good,
            None => {}
        }
        if run.recv_timeout(PACE) == Err(mpsc::RecvTimeoutError::Disconnected) {
            children.iter_mut().for_each(|child| drop((child.kill(), child.wait())));
            return false;
        }
        children.retain_mut(|child| match child.try_wait() {
            Ok(None) => true,
            ended => {
                good &= ended.ok().flatten().is_some_and(|status| status.success());
                false
            }
        });
    }
}

/// What is compiled in processes: what takes longest first.
fn parts(setup: &Setup, device: &str) -> Vec<Part> {
    let last = setup.model.descent().levels.len().checked_sub(1);
    let step = |level: usize, first: usize| Kernels::Work(level, Work::Step { first });
    let mut kernels = Vec::new();
    if let Some(last) = last {
        kernels.extend(LONGEST[..2].iter().map(|&first| step(0, first)));
        kernels.extend([false, true].map(|hard| Kernels::Work(last, Work::Errors { hard })));
    }
    kernels.extend(setup.model.model.network().map(|_| Kernels::Network));
    if let Some(last) = last {
        kernels.extend(LONGEST[2..].iter().map(|&first| step(0, first)));
        kernels.extend([Kernels::Levels, Kernels::Around(last)]);
        kernels.extend((1..=last).rev().map(|level| step(level, BY_LEVEL)));
    }
    kernels.push(Kernels::Measures);
    let part = |kernels| Part { device: device.to_string(), model: setup.model.model, kernels };
    kernels.into_iter().map(part).collect()
}

/// The file that says that a program's kernels of a model are in the cache: a build, a model and a pixel have one.
fn marker(setup: &Setup) -> Option<PathBuf> {
    let mut hash = DefaultHasher::new();
    (build()?, setup.model.model.name()).hash(&mut hash);
    (setup.pixel_nm.to_bits(), setup.model.correct).hash(&mut hash);
    cache::folder().map(|folder| folder.join(format!("ahead-{:016x}", hash.finish())))
}

#[cfg(test)]
mod tests {
    use lithoburn_litho::ilt::LAUNCHES;
    use lithoburn_pool::choose;

    use super::*;
    use crate::compiling::plain;

    fn setup() -> Setup {
        plain(Model::NeuralIltFast).expect("the default settings")
    }

    #[test]
    fn every_variant_of_the_errors_and_every_level_is_some_process_work() {
        let parts = parts(&setup(), "cuda:0");
        let has = |kernels: Kernels| parts.iter().any(|part| part.kernels == kernels);
        assert!([true, false].iter().all(|&hard| has(Kernels::Work(2, Work::Errors { hard }))));
        assert!(LONGEST.iter().all(|&first| has(Kernels::Work(0, Work::Step { first }))));
        let by_level = |level| has(Kernels::Work(level, Work::Step { first: BY_LEVEL }));
        assert!(by_level(1) && by_level(2) && has(Kernels::Network) && has(Kernels::Measures));
        assert!(has(Kernels::Around(2)) && has(Kernels::Levels));
        assert!(LONGEST.iter().all(|&first| first < LAUNCHES) && BY_LEVEL < LAUNCHES);
        let text = serde_json::to_string(&parts[0]).expect("a part as text");
        assert_eq!(serde_json::from_str::<Part>(&text).expect("a part"), parts[0]);
    }

    #[test]
    fn nothing_is_started_on_the_cpu() {
        let cpu = choose(lithoburn_pool::DeviceName::Cpu).expect("there is always a CPU");
        assert!(Ahead::start(&setup(), &[cpu]).is_none());
        let names = |names: [&str; 2]| names.map(String::from);
        assert!(Ahead::early(&setup(), &names(["cpu", "vulkan:0"])).is_none());
        assert!(
            Ahead::early(&setup(), &names(["cpu", "cuda:0"])).is_none(),
            "the tests answer none"
        );
    }

    #[test]
    fn a_run_that_is_through_leaves_its_marker() {
        let folder = tempfile::tempdir().expect("a folder");
        let ahead = Ahead { marker: folder.path().join("ahead-0"), _run: mpsc::channel().0 };
        assert!(!ahead.marker.exists());
        ahead.finished();
        assert!(ahead.marker.exists());
    }

    #[cfg(unix)]
    #[test]
    fn processes_end_with_the_run() {
        let sleeping = || {
            let mut command = Command::new("sleep");
            command.arg("600");
            command
        };
        let (run, ends) = mpsc::channel();
        drop(run);
        assert!(!watched([sleeping(), sleeping()].into_iter(), &ends));
        let (_run, ends) = mpsc::channel();
        let watch = |programs: &[&str]| watched(programs.iter().map(Command::new), &ends);
        assert!(watch(&[]) && watch(&["true"]) && watch(&["true", "true"]));
        assert!(!watch(&["true", "false"]) && !watch(&["false", "true"]));
        assert!(!watch(&["there-is-no-such-program", "true"]));
    }
}
