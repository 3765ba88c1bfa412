//! Cards of a driver that a test compiles, and pages that Prometheus' own tools read.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lithoburn_testing::Need;

use super::*;

mod dashboard;

/// Compiles the driver's library of `tests/nvml.c`, if there is a C compiler.
fn library(folder: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry/tests/nvml.c");
    let library = folder.join("libnvidia-ml.so");
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source);
    let compiled = command.stderr(Stdio::inherit()).status().is_ok_and(|status| status.success());
    Need::Tools.met(compiled.then_some(library), "no C compiler (cc) here")
}

fn work() -> Work {
    let device = |index: u32| DeviceWork {
        name: format!("cuda:{index}"),
        uuid: Some(format!("GPU-{index}")),
        up: true,
        in_flight: 2,
        batches: 10,
        items: 80,
        seconds: [0.5, 7.25, 0.25],
        faults: 0,
    };
    let model = ModelWork {
        name: "a \"b\"\\c\nd".to_string(),
        version: 3,
        waiting: 5,
        refused: vec![("queue_full", 7)],
        ..ModelWork::default()
    };
    let cpu = DeviceWork { name: "cpu".into(), ..Default::default() };
    Work {
        devices: vec![device(0), device(1), cpu],
        models: vec![model],
        refused: vec![("invalid", 2)],
    }
}

#[test]
fn cards_are_told_of_as_the_driver_tells() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(library) = library(folder.path()) else { return };
    let cards = Cards::open_library(library.as_os_str()).expect("the library has two cards");
    let first = cards.now();
    assert_eq!(first.len(), 2);
    assert_eq!((first[0].uuid.as_str(), first[1].name.as_str()), ("GPU-0", "Card \"1\""));
    assert_eq!((first[0].utilization, first[1].utilization), (Some(0.4), Some(0.41)));
    assert_eq!((first[1].memory_used, first[1].memory_size), (Some(4 << 30), Some(80 << 30)));
    assert_eq!((first[0].power, first[0].power_limit), (Some(250.5), Some(700.0)));
    assert_eq!((first[0].temperature, first[1].temperature), (Some(50.0), Some(51.0)));
    // What a card does not tell is none; performance counters need two looks.
    assert_eq!((first[1].energy, first[0].sm_activity, first[0].pcie), (None, None, None));
    assert!((first[0].energy.expect("told") - 123_456_789.012).abs() < 1e-3);
    let deadline = Instant::now() + Duration::from_secs(60);
    let second = loop {
        let cards = cards.now();
        if cards[0].sm_activity.is_some() || Instant::now() > deadline {
            break cards;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    // The library's counters have their own numbers: 2, 5, 21, 20, 60, 61.
    assert_eq!((second[0].sm_activity, second[0].tensor_activity), (Some(0.02), Some(0.05)));
    const MIB: f64 = 1024.0 * 1024.0;
    assert_eq!(second[0].pcie, Some([21.0 * MIB, 20.0 * MIB]));
    assert_eq!(second[0].nvlink, Some([60.0 * MIB, 61.0 * MIB]));
    assert_eq!((second[1].sm_activity, second[1].nvlink), (None, None));
    assert_eq!(second[1].pcie, Some([2000.0 * 1024.0, 1000.0 * 1024.0]));
}

#[test]
fn a_machine_without_the_drivers_library_has_no_cards_and_says_nothing() {
    let missing = Cards::open_library(std::ffi::OsStr::new("/nowhere/libnvidia-ml.so.1"));
    assert!(missing.is_err());
    let mut page = String::new();
    render(&mut page, &work(), &[]);
    assert!(!page.contains(names::POWER) && page.contains(names::BATCHES), "{page}");
}

#[test]
fn a_page_says_what_the_scheduler_and_the_driver_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(library) = library(folder.path()) else { return };
    let cards = Cards::open_library(library.as_os_str()).expect("the library has two cards");
    let mut text = String::new();
    render(&mut text, &work(), &cards.now());
    let page = Page::parse(&text);
    assert_eq!(page.with(names::ITEMS, ("device", "cuda:1")), Some(80.0));
    assert_eq!(page.with(names::STAGE_SECONDS, ("stage", "infer")), Some(7.25));
    assert_eq!(page.with(names::QUEUE, ("model", "a \"b\"\\c\nd")), Some(5.0));
    assert_eq!(page.with(names::REFUSALS, ("reason", "queue_full")), Some(7.0));
    assert_eq!(page.with(names::REFUSALS, ("model", "")), Some(2.0));
    assert_eq!(page.with("lithoburn_request_seconds_bucket", ("le", "+Inf")), Some(0.0));
    assert_eq!(page.with(names::POWER, ("device", "cuda:1")), Some(251.5));
    assert_eq!(page.with(names::MEMORY_USED, ("device", "cpu")), None);
    assert_eq!(page.with(names::UP, ("device", "cpu")), Some(0.0));
    assert_eq!(page.with(names::INFO, ("uuid", "GPU-0")), Some(1.0));
}

/// perf_analyzer's pattern: the name, one label, a plain decimal.
#[test]
fn tritons_names_of_a_cards_numbers_are_as_its_clients_read_them() {
    let card = Card {
        uuid: "GPU-7".into(),
        utilization: Some(1.0),
        memory_size: Some(141 << 30),
        memory_used: Some(123_456_789_012),
        energy: Some(98_765_432_109.5),
        ..Card::default()
    };
    let mut page = String::from("# first\n");
    render_gpus(&mut page, &[card]);
    for line in [
        "nv_gpu_utilization{gpu_uuid=\"GPU-7\"} 1",
        "nv_gpu_memory_total_bytes{gpu_uuid=\"GPU-7\"} 151397597184",
        "nv_gpu_memory_used_bytes{gpu_uuid=\"GPU-7\"} 123456789012",
        "nv_energy_consumption{gpu_uuid=\"GPU-7\"} 98765432109.5",
    ] {
        assert!(page.contains(&format!("\n{line}\n")), "{line}: {page}");
    }
    // What the card does not tell has no line.
    assert!(!page.contains("nv_gpu_power_usage"), "{page}");
}

/// The linter of Prometheus itself: names, units, help, types.
#[test]
fn prometheus_own_linter_finds_nothing_in_our_page() {
    let promtool = Command::new("promtool").arg("--version").stdout(Stdio::null()).status();
    let here = promtool.is_ok_and(|status| status.success()).then_some(());
    let Some(()) = Need::Tools.met(here, "no promtool here (Debian: prometheus)") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(library) = library(folder.path()) else { return };
    let cards = Cards::open_library(library.as_os_str()).expect("the library has two cards");
    let mut text = String::new();
    render(&mut text, &work(), &cards.now());
    let (code, said) = lint(&text);
    assert_eq!(code, Some(0), "{said}\n{text}");
    // It does find what is wrong.
    let (code, said) = lint(&text.replace(names::ITEMS, "lithoburn_device_items"));
    assert_eq!(code, Some(3), "{said}");
}

fn lint(page: &str) -> (Option<i32>, String) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(page.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into())
}
