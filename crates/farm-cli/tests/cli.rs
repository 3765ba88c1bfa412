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
    // In one command, which finds the job done but for a result that is lost.
    lose_a_result(&job);
    let again = folder.path().join("again");
    let mut run = vec!["run", text(&chip), "--farm", text(&job), "--out", text(&again)];
    run.extend(["--no-measure", "--devices", "cpu", "--lease", "2"]);
    run.extend(SMALL);
    let said = done(&run);
    assert!(said.contains("is computed again") && said.contains("lithoburn farm work"), "{said}");
    assert_eq!(std::fs::read(again.join("mask.oas")).expect("written"), mask);
}

/// As a file system that forgets one.
fn lose_a_result(job: &Path) {
    let folders =
        |path: &Path| std::fs::read_dir(path).expect("there").map(|e| e.expect("there").path());
    let results = folders(job).map(|path| path.join("results")).find(|path| path.exists());
    let first = folders(&results.expect("one job")).next().expect("some");
    let file = folders(&first).next().expect("some");
    std::fs::remove_file(file).expect("ours");
}

/// Ten kills, of workers and of merges; and nothing is left that could be taken for a mask.
#[test]
fn a_rehearsal_that_is_killed_ten_times_leaves_the_same_bytes_and_no_mask() {
    let folder = tempfile::tempdir().expect("a folder");
    let (chip, job) = (chip(folder.path()), folder.path().join("job"));
    done(&plan(&chip, &job, &["--lease", "1", "--rehearse", "20"]));
    let merging = |job: &Path, out: &Path| {
        let mut command = farm(&["merge", text(job), "--out", text(out)]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("started")
    };
    let out = folder.path().join("out");
    for turn in 0..5 {
        let mut both = [worker(&job), merging(&job, &out)];
        std::thread::sleep(Duration::from_millis(150 + 90 * turn));
        for process in &mut both {
            let _ = process.kill();
            process.wait().expect("it ended");
        }
    }
    let mut last = worker(&job);
    done(&["merge", text(&job), "--out", text(&out)]);
    assert!(last.wait().expect("it ends").success());
    let once = folder.path().join("once");
    done(&plan(&chip, &once, &["--rehearse", "0"]));
    assert!(worker(&once).wait().expect("it ends").success());
    let smooth = folder.path().join("smooth");
    done(&["merge", text(&once), "--out", text(&smooth)]);
    let read = |out: &Path| std::fs::read(out.join("rehearsal/rehearsal.oas")).expect("written");
    assert_eq!(read(&out), read(&smooth));
    let left: Vec<_> = std::fs::read_dir(out.join("rehearsal")).expect("there").collect();
    assert_eq!(left.len(), 1, "{left:?}");
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
