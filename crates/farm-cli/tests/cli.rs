//! The program as a user meets it: a chip planned, worked by several processes, merged, and compared with one process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use lithoburn_engine::{Correction, MaskFormat, Model};
use lithoburn_layout::generate::{Chip, ClipRules};
use lithoburn_layout::{Layer, Library, PolygonWriter};

/// Tiles that a CPU computes in a moment: 1024 nm on pixels of 8 nm, and few steps.
const SMALL: [&str; 12] = [
    "--model",
    "neural-ilt-fast",
    "--correct",
    "2",
    "--tile",
    "1024",
    "--halo",
    "256",
    "--pixel",
    "8",
    "--block",
    "2x2",
];

fn farm(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lithoburn-farm"));
    command.args(args);
    command
}

fn run(args: &[&str]) -> Output {
    farm(args).output().expect("it starts")
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

fn done(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    said(&output)
}

/// A chip of some µm.
fn chip(folder: &Path) -> PathBuf {
    let path = folder.join("chip.oas");
    let layer = Layer { layer: 1, datatype: 0 };
    let mut writer = PolygonWriter::create(&path, "chip", layer, 1.0).expect("writable");
    let chip = Chip { side_nm: 4000.0, seed: 3, rules: ClipRules::default() };
    chip.write(&mut writer).expect("writable");
    writer.finish().expect("writable");
    path
}

/// What one process makes of it.
fn alone(chip: &Path, out: &Path) -> Vec<u8> {
    let library = Library::read(chip, &Default::default()).expect("a layout");
    Correction::of(&library)
        .model(Model::NeuralIltFast)
        .correct(2)
        .pixel_nm(8.0)
        .tile_nm(1024.0)
        .halo_nm(256.0)
        .device("cpu")
        .format(MaskFormat::Oasis)
        .measure(false)
        .run_in(out)
        .expect("it runs");
    std::fs::read(out.join("mask.oas")).expect("written")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn plan<'a>(chip: &'a Path, job: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["plan", text(chip), "--out", text(job), "--no-measure"];
    args.extend(SMALL);
    args.extend(more);
    args
}

fn worker(job: &Path) -> Child {
    let mut command = farm(&["work", text(job), "--devices", "cpu", "--quiet"]);
    command.stdin(Stdio::null()).spawn().expect("started")
}

/// The promise of the whole: a killed worker, two others, and the mask of one process, byte for byte.
#[test]
fn a_farms_mask_is_byte_for_byte_that_of_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let (chip, job) = (chip(folder.path()), folder.path().join("job"));
    let planned = done(&plan(&chip, &job, &["--lease", "2"]));
    assert!(planned.contains("different tiles in"), "{planned}");
    let mut killed = worker(&job);
    std::thread::sleep(Duration::from_millis(1500));
    killed.kill().expect("it runs");
    killed.wait().expect("it ended");
    let mut workers = [worker(&job), worker(&job)];
    let out = folder.path().join("out");
    done(&["merge", text(&job), "--out", text(&out)]);
    for worker in &mut workers {
        assert!(worker.wait().expect("it ends").success());
    }
    let mask = std::fs::read(out.join("mask.oas")).expect("written");
    assert_eq!(mask, alone(&chip, &folder.path().join("alone")));
    let status = done(&["status", text(&job)]);
    assert!(status.contains("(100.0 %)") && status.contains("left"), "{status}");
}

#[test]
fn what_does_not_fit_a_job_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let (chip, job) = (chip(folder.path()), folder.path().join("job"));
    let refused = |args: &[&str], parts: &[&str]| {
        let output = run(args);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        parts.iter().for_each(|part| assert!(said.contains(part), "{part:?} in {said}"));
    };
    refused(&["work", text(&job)], &["there is no job", "farm plan"]);
    let far = ["--window", "900000,900000,901000,901000"];
    refused(&plan(&chip, &job, &far), &["--window 900000,900000,901000,901000"]);
    done(&plan(&chip, &job, &[]));
    refused(&plan(&chip, &job, &["--band", "2"]), &["is another job", "--out"]);
    let work = ["work", text(&job), "--devices", "cpu", "--source"];
    let with = |source: &str, parts: &[&str]| {
        let args: Vec<&str> = work.iter().copied().chain([source]).collect();
        refused(&args, parts);
    };
    with("rabbit", &["--source is local", "rabbit"]);
    with("slurm", &["no array task is here"]);
    with("nats://127.0.0.1:1", &["nobody answers at nats://127.0.0.1:1"]);
    std::fs::write(&chip, b"%SEMI-OASIS").expect("changed");
    refused(&["work", text(&job), "--devices", "cpu"], &["layout changed", "chip.oas"]);
}
