//! The program as its users meet it: what it writes, what it refuses, and its exit status.

use std::path::Path;
use std::process::{Command, Output};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lithoburn-cfd"));
    command.current_dir(folder).args(arguments);
    command.output().expect("the program runs")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Exit status 2, one line, and these words in it.
fn refused(arguments: &[&str], words: &[&str]) {
    let folder = folder();
    write_outlines(folder.path());
    let output = run(folder.path(), arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?}: {word:?} is not in {said:?}");
    }
}

fn write_outlines(folder: &Path) {
    let outline = |name: &str, d: &str| {
        std::fs::write(folder.join(name), format!("<svg><path d='{d}'/></svg>")).expect("a file");
    };
    outline("square.svg", "M0 0H1V1H0Z");
    outline("bow.svg", "M0 0L1 1L1 0L0 1Z");
    outline("flat.svg", "M0 0H1H2Z");
    std::fs::write(folder.join("noise.svg"), [0xff, 0xfe, 0x00]).expect("a file");
}

#[test]
fn a_case_writes_its_report_pictures_and_fields() {
    let folder = folder();
    let arguments =
        ["cavity", "--re", "100", "--grid", "32x32", "--gradient", "dissipation", "--out", "o"];
    let output = run(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let file = |name: &str| std::fs::read(folder.path().join("o").join(name)).expect("the file");
    for picture in ["overview.png", "convergence.png"] {
        assert!(file(picture).starts_with(b"\x89PNG"), "{picture}");
    }
    let report: serde_json::Value = serde_json::from_slice(&file("report.json")).expect("JSON");
    assert_eq!(report["converged"], true);
    assert!(report["gradient"]["by"].as_array().is_some_and(|by| !by.is_empty()));
    for (fields, kind) in [("fields.vti", "ImageData"), ("fields.vtr", "RectilinearGrid")] {
        assert!(String::from_utf8_lossy(&file(fields)).contains(kind));
    }
}

#[test]
fn a_flow_that_does_not_converge_is_status_1_with_its_history_and_advice() {
    let folder = folder();
    let arguments = ["cavity", "--re", "1000", "--grid", "16x16", "--steps", "1", "--out", "o"];
    let output = run(folder.path(), &arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("not converged") && said.contains("finer grid"), "{said}");
    let report = std::fs::read(folder.path().join("o/report.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
    assert_eq!(report["converged"], false);
    assert!(report["history"]["steps"].as_array().is_some_and(|steps| !steps.is_empty()));
}

#[test]
fn a_dry_run_prints_the_case_and_writes_nothing() {
    let folder = folder();
    let output = run(folder.path(), &["cylinder", "--dry-run"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("128x64") && said.contains("radius"),
        "{said}"
    );
    assert!(!folder.path().join("out").exists());
    let json = run(folder.path(), &["cylinder", "--dry-run", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(value["case"], "cylinder");
}

/// The steady flow is what a run in time ends in: another solver of the same equations.
#[test]
fn a_cavity_that_warms_up_ends_in_its_steady_flow_and_has_its_gradient() {
    let folder = folder();
    let arguments = [
        "heated-cavity",
        "--ra",
        "1e3",
        "--grid",
        "16x16",
        "--unsteady",
        "--time",
        "1",
        "--gradient",
        "nu",
        "--out",
        "o",
    ];
    let output = run(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let file = |name: &str| std::fs::read(folder.path().join("o").join(name)).expect("the file");
    for picture in ["overview.png", "warming.png"] {
        assert!(file(picture).starts_with(b"\x89PNG"), "{picture}");
    }
    let report: serde_json::Value = serde_json::from_slice(&file("report.json")).expect("JSON");
    let nusselt = &report["quantities"][0];
    let off = nusselt["deviation"].as_f64().expect("a deviation");
    assert!(nusselt["key"] == "nu" && off.abs() < 1e-4, "{nusselt}");
    // What is given at the start is more than what is given in the end.
    let history = &report["series"][0];
    let first = history["values"][0].as_f64().expect("a number");
    assert!(first > 2.0 && history["settled"].as_f64().is_some_and(|at| at > 0.01), "{first}");
    let mean = report["gradient"]["value"].as_f64().expect("a mean");
    let values: Vec<f64> =
        history["values"].as_array().expect("values").iter().filter_map(|v| v.as_f64()).collect();
    let plain = values.iter().sum::<f64>() / values.len() as f64;
    assert!((mean - plain).abs() < 1e-9 * plain, "{mean} {plain}");
}

#[test]
fn cases_beside_each_other_are_those_alone_and_one_that_fails_leaves_the_others() {
    let folder = folder();
    let arguments = ["cavity", "--re", "50,100,200", "--grid", "16x16", "--out", "o"];
    let output = run(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let alone = run(folder.path(), &["cavity", "--re", "100", "--grid", "16x16", "--out", "p"]);
    assert_eq!(alone.status.code(), Some(0));
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("the file");
    let json =
        |name: &str| -> serde_json::Value { serde_json::from_slice(&read(name)).expect("JSON") };
    let (many, one) = (json("o/re-100/report.json"), json("p/report.json"));
    assert_eq!(many["quantities"], one["quantities"]);
    assert!(read("o/sweep.png").starts_with(b"\x89PNG"));
    let table = String::from_utf8(read("o/sweep.csv")).expect("text");
    let first: Vec<&str> = table.lines().map(|line| line.split(',').next().unwrap_or("")).collect();
    assert_eq!(first, ["re", "50", "100", "200"]);
    let some = ["cavity", "--re", "1,1000000", "--grid", "16x16", "--steps", "6", "--out", "q"];
    let output = run(folder.path(), &some);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let outcomes = json("q/sweep.json");
    assert_eq!(outcomes[0]["converged"], true);
    assert_eq!(outcomes[1]["converged"], false);
    assert!(outcomes[1]["error"].as_str().is_some_and(|e| e.contains("not converged")));
    assert_eq!(json("q/re-1000000/report.json")["converged"], false);
}

#[test]
fn a_steady_cylinder_beyond_shedding_is_warned_of() {
    let folder = folder();
    let warned = |re: &str| {
        let output = run(folder.path(), &["cylinder", "--re", re, "--dry-run"]);
        String::from_utf8_lossy(&output.stderr).contains("--unsteady")
    };
    assert!(warned("100") && !warned("40"));
}

#[test]
fn numbers_that_make_no_sense_are_refused_by_name() {
    refused(&["cavity", "--re", "-5"], &["--re", "-5"]);
    refused(&["cylinder", "--re", "nan"], &["--re", "NaN"]);
    refused(&["cavity", "--tolerance", "0"], &["--tolerance"]);
    refused(&["cavity", "--threads", "0"], &["--threads"]);
    refused(&["cavity", "--grid", "4x4"], &["8 to 4096"]);
    refused(&["cylinder", "--grid", "64x32"], &["too coarse", "128x64"]);
    refused(&["cylinder", "--width", "0.4"], &["touches"]);
    refused(&["airfoil", "--naca", "12"], &["four digits"]);
    refused(&["airfoil", "--alpha", "90"], &["--alpha"]);
    refused(&["heated-cavity", "--ra", "0"], &["--ra"]);
    refused(&["cavity", "--gradient", "drag"], &["dissipation"]);
    refused(&["verify", "--rows", "99"], &["--rows 99"]);
    refused(&["cavity", "--re", "100,100"], &["re-100", "listed twice"]);
    refused(&["airfoil", "--alpha", "0,90"], &["--alpha", "90"]);
    refused(&["cylinder", "--re", "20,-1"], &["--re", "-1"]);
    refused(&["heated-cavity", "--ra", "1e3,1e4", "--unsteady"], &["one --ra"]);
    refused(&["heated-cavity", "--unsteady", "--step", "-1"], &["--step", "-1"]);
    refused(&["heated-cavity", "--unsteady", "--time", "nan"], &["--time", "NaN"]);
    refused(&["heated-cavity", "--unsteady", "--step", "9"], &["longer than --time"]);
    refused(&["exchanger", "--unsteady", "--step", "0.5"], &["cells a step", "take"]);
}

#[test]
fn outlines_that_are_none_are_refused_by_file() {
    refused(&["channel", "--shape", "bow.svg"], &["bow.svg", "crosses itself"]);
    refused(&["channel", "--shape", "flat.svg"], &["flat.svg"]);
    refused(&["channel", "--shape", "noise.svg"], &["noise.svg"]);
    refused(&["channel", "--shape", "missing.svg"], &["missing.svg"]);
    refused(&["channel", "--shape", "square.png"], &[".svg"]);
    refused(&["channel", "--shape", "square.svg", "--size", "1.2"], &["make it smaller"]);
    refused(&["channel", "--shape", "square.svg", "--at", "9,9"], &["move it"]);
    refused(&["channel", "--shape", "square.svg", "--grid", "16x16"], &["finer --grid"]);
}
