//! Layouts of many tiles, run as a user runs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use lithoburn::layout::{
    Coverage, Frame, Layer, Layout, Polygon, ReadOptions, gds, png, write_whole,
};

use crate::programs::{folder, path, text};

const LAYER: Layer = Layer { layer: 11, datatype: 0 };

/// Bars of several widths, of which some cross the tiles' borders; `(columns, rows)` cells of 1024 nm, the same in every
/// `period`-th.
fn bars(folder: &Path, cells: [usize; 2], period: usize) -> PathBuf {
    let mut polygons = Vec::new();
    for cell in 0..cells[0] * cells[1] {
        let [x, y] = [cell % cells[0], cell / cells[0]].map(|v| v as f64 * 1024.0);
        let kind = (cell % cells[0] % period) as f64;
        let bar = |x0: f64, y0: f64, w: f64, h: f64| {
            Polygon::rectangle(x + x0, y + y0, x + x0 + w, y + y0 + h)
        };
        polygons.push(bar(0.0, 0.0, 70.0 + 10.0 * kind, 640.0));
        polygons.push(bar(240.0, 160.0, 560.0, 80.0));
        polygons.push(bar(300.0, 420.0, 90.0, 420.0 + 20.0 * kind));
        polygons.push(bar(560.0, 500.0, 330.0, 100.0));
        polygons.push(bar(200.0 + 30.0 * kind, 930.0, 620.0, 70.0));
    }
    let layout = Layout::new("bars", polygons);
    let file = folder.join("bars.gds");
    write_whole(&file, &gds::encode(&file, &layout, LAYER, 1.0).expect("it fits"))
        .expect("written");
    file
}

/// A quick correction of tiles of 2048 nm on the CPU.
fn infer(layout: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_infer"));
    command.args([path(layout), "--model", "gan-opc", "--correct", "2", "--tile", "2048"]);
    command.args(["--out", path(out), "--json"]).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn done(output: Output) -> serde_json::Value {
    // 1 says that the mask breaks a rule somewhere, as that of a network with two steps may.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn run(mut command: Command) -> serde_json::Value {
    done(command.output().expect("starts"))
}

/// The numbers of a report that do not depend on time and devices.
fn numbers(report: &serde_json::Value) -> [serde_json::Value; 5] {
    let chip = |key: &str| report["chip"][key].clone();
    [
        report["after"].clone(),
        report["violations"].clone(),
        chip("polygons"),
        chip("seams"),
        chip("unique"),
    ]
}

#[test]
fn any_number_of_devices_gives_the_mask_of_one_and_a_killed_run_goes_on() {
    let folder = folder("chip/same");
    let layout = bars(&folder, [4, 3], 3);
    let one = folder.join("one");
    let report = run(infer(&layout, &one, &["--device", "cpu"]));
    assert_eq!(report["chip"]["tiles"], serde_json::json!([6, 5]));
    assert!(report["after"]["l2_nm2"].as_f64() < report["before"]["l2_nm2"].as_f64(), "{report}");
    assert!(report["chip"]["seams"]["sites"].as_u64() > Some(20), "{report}");
    // Measuring is not optimising.
    assert!(report["seconds"]["evaluate"].as_f64() > Some(0.0), "{report}");
    assert!(!one.join("tiles.journal").exists());
    let mask = std::fs::read(one.join("mask.gds")).expect("mask.gds");
    for file in ["mask.png", "overview.png", "whole.png"] {
        assert!(std::fs::metadata(one.join(file)).expect(file).len() > 1000, "{file}");
    }

    let three = folder.join("three");
    let shared = run(infer(&layout, &three, &["--devices", "cpu,cpu,cpu"]));
    assert_eq!(numbers(&shared), numbers(&report));
    assert_eq!(std::fs::read(three.join("mask.gds")).expect("mask.gds"), mask);

    // Killed again and again, each time a little later, until it comes through.
    let killed = folder.join("killed");
    let (mut kills, mut resumed) = (0, 0);
    let report_of_last = loop {
        let mut child = infer(&layout, &killed, &["--device", "cpu"]).spawn().expect("starts");
        std::thread::sleep(Duration::from_millis(900 + 150 * kills));
        let over = child.try_wait().expect("it is ours").is_some();
        if over || kills == 10 {
            break done(child.wait_with_output().expect("ends"));
        }
        child.kill().expect("it runs");
        child.wait().expect("ends");
        kills += 1;
        // Killed after the mask was written, there is a whole one; before that, there is none.
        if let Ok(written) = std::fs::read(killed.join("mask.gds")) {
            assert_eq!(written, mask);
        }
        resumed += usize::from(killed.join("tiles.journal").exists());
    };
    assert!(kills >= 1 && resumed >= 1, "{kills} kills, {resumed} with something to go on from");
    assert_eq!(numbers(&report_of_last), numbers(&report));
    assert_eq!(std::fs::read(killed.join("mask.gds")).expect("mask.gds"), mask);
    let mut left: Vec<String> = std::fs::read_dir(&killed)
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    left.sort();
    assert_eq!(left, ["mask.gds", "mask.png", "overview.png", "report.json", "whole.png"]);
}

#[test]
fn equal_tiles_are_computed_once_and_other_settings_are_refused() {
    let folder = folder("chip/reuse");
    let layout = bars(&folder, [5, 1], 1);
    let out = folder.join("out");
    // With this halo cores are 1024 nm, as the cells are.
    let quick = ["--device", "cpu", "--no-measure", "--style", "pixels", "--halo", "512"];
    let mut child = infer(&layout, &out, &quick).spawn().expect("starts");
    // As soon as something is kept.
    while std::fs::metadata(out.join("tiles.journal")).map_or(0, |m| m.len()) < 100 {
        assert!(child.try_wait().expect("it is ours").is_none(), "too quick to be stopped");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("it runs");
    child.wait().expect("ends");
    let other = infer(&layout, &out, &["--device", "cpu", "--band", "1", "--halo", "512"])
        .output()
        .expect("starts");
    assert_eq!(other.status.code(), Some(2));
    let error = text(&other.stderr);
    assert!(error.contains("tiles.journal") && error.contains("other settings"), "{error}");

    let report = run(infer(&layout, &out, &quick));
    // Those at the ends differ, and all between them are equal.
    let (tiles, unique) = (report["fields"].as_u64(), report["chip"]["unique"].as_u64());
    assert!(unique < tiles && unique > Some(3), "{report}");
    assert!(report["chip"]["resumed"].as_u64() >= Some(1), "{report}");
    assert!(!out.join("overview.png").exists() && out.join("whole.png").exists());

    // OASIS in, OASIS out: the same polygons.
    let again = folder.join("again");
    let oas = [&quick[..], &["--format", "oas"]].concat();
    run(infer(&layout, &again, &oas));
    let read = |file: &Path| Layout::read(file, &ReadOptions::default()).expect("ours").polygons;
    assert_eq!(read(&again.join("mask.oas")), read(&out.join("mask.gds")));
}

#[test]
fn what_does_not_fit_tiles_is_refused_and_leaves_no_folder() {
    let folder = folder("chip/refused");
    let layout = bars(&folder, [3, 1], 1);
    let out = folder.join("out");
    let cases: [(&[&str], &str); 9] = [
        (&["--tile", "2048", "--halo", "500"], "multiple of 128"),
        (&["--tile", "2048", "--halo", "1024"], "core of 0 nm"),
        (&["--tile", "2048", "--shots", "100"], "shot budget"),
        (&["--tile", "2048", "--halo", "wide"], "auto"),
        (&["--tile", "7"], "expected a --tile of 384 nm"),
        (&["--tile", "nan"], "tile must be more than 0 nm"),
        (&["--tile", "-2048"], "tile must be more than 0 nm"),
        (&["--tile", "1e12"], "smaller tile"),
        (&["--pixel", "-1"], "--pixel must be a positive number of nm, got -1"),
    ];
    for (more, expected) in cases {
        let output = Command::new(env!("CARGO_BIN_EXE_infer"))
            .args([path(&layout), "--device", "cpu", "--out", path(&out)])
            .args(more)
            .output()
            .expect("starts");
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {error}");
        assert!(error.contains(expected) && !error.contains("panicked"), "{more:?}: {error}");
        assert!(more.contains(&"--halo") || !error.contains("--halo"), "{more:?}: {error}");
    }
    assert!(!out.exists());
}

/// Each of billions of empty tiles was once drawn and hashed.
#[test]
fn two_bars_centimetres_apart_are_a_handful_of_tiles() {
    let folder = folder("chip/stray");
    let bar = |x: f64, y: f64| Polygon::rectangle(x, y, x + 80.0, y + 600.0);
    let design = Layout::new("stray", vec![bar(0.0, 0.0), bar(26_000_000.0, 33_000_000.0)]);
    let file = folder.join("stray.gds");
    write_whole(&file, &gds::encode(&file, &design, LAYER, 1.0).expect("it fits"))
        .expect("written");
    let out = folder.join("out");
    let report = run(infer(&file, &out, &["--device", "cpu", "--pixel", "8"]));
    assert!(report["fields"].as_u64() <= Some(24), "{report}");
    assert!(report["chip"]["empty"].as_u64() > Some(1_000_000_000), "{report}");
    // Their masks are where they are.
    let mask = Layout::read(&out.join("mask.gds"), &ReadOptions::default()).expect("ours");
    let far = mask.polygons.iter().filter(|p| p.bounds().min[0] > 25_999_000.0).count();
    assert!(far > 0 && far < mask.polygons.len(), "{far} of {}", mask.polygons.len());
    let simulated = Command::new(env!("CARGO_BIN_EXE_lithoburn"))
        .args(["simulate", path(&file), "--tile", "4096", "--pixel", "8", "--device", "cpu"])
        .args(["--out", path(&folder.join("print"))])
        .output()
        .expect("starts");
    assert!(simulated.status.success(), "{}", text(&simulated.stderr));
}

/// The second once took the first one's journal, and swept its half written mask away.
#[test]
fn two_runs_into_one_folder_do_not_meet() {
    let folder = folder("chip/twice");
    let layout = bars(&folder, [6, 4], 6);
    let out = folder.join("out");
    let mut first = infer(&layout, &out, &["--device", "cpu"]).spawn().expect("starts");
    while std::fs::metadata(out.join("tiles.journal")).map_or(0, |m| m.len()) < 100 {
        assert!(first.try_wait().expect("it is ours").is_none(), "too quick to be met");
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = infer(&layout, &out, &["--device", "cpu"]).output().expect("starts");
    assert_eq!(second.status.code(), Some(2));
    let error = text(&second.stderr);
    let process = format!("process {} writes into", first.id());
    assert!(error.contains(&process) && error.contains("--out"), "{error}");
    done(first.wait_with_output().expect("ends"));
    assert!(out.join("mask.gds").exists() && !out.join("lithoburn.lock").exists());
}

#[test]
fn what_was_not_measured_is_null() {
    let folder = folder("chip/null");
    let layout = bars(&folder, [3, 1], 1);
    let report = run(infer(
        &layout,
        &folder.join("out"),
        &["--device", "cpu", "--no-measure", "--pixel", "8"],
    ));
    for key in ["before", "after", "unprinted"] {
        assert!(report[key].is_null(), "{key}: {report}");
    }
    assert!(report["chip"]["violations"].is_null() && report["chip"]["seams"].is_null());
    assert_eq!(report["band"], 5.0);
    assert_eq!(report["kernels_sha256"].as_str().map(str::len), Some(64));
    assert_eq!(report["mask_is_empty"], false);
    // Phases of their own.
    let seconds = &report["seconds"];
    let all = ["rasterize", "load", "optimize"].map(|key| seconds[key].as_f64().expect("a number"));
    assert!(all.iter().all(|&s| s > 0.0), "{seconds}");
}

/// Tiles of two sizes, whose borders lie elsewhere: the printed contours are the same shapes.
#[test]
fn prints_do_not_depend_on_the_tiles() {
    let folder = folder("chip/print");
    let layout = bars(&folder, [6, 5], 6);
    let simulate = |tile: &str, format: &str| {
        let out = folder.join(tile);
        let run = Command::new(env!("CARGO_BIN_EXE_lithoburn"))
            .args(["simulate", path(&layout), "--tile", tile, "--halo", "1024", "--pixel", "8"])
            .args(["--device", "cpu", "--format", format, "--out", path(&out)])
            .output()
            .expect("starts");
        assert!(run.status.success(), "{}", text(&run.stderr));
        out
    };
    let (small, large) = (simulate("4096", "gds"), simulate("8192", "oas"));
    let frame = Frame { origin_nm: [-64.0, -64.0], pixel_nm: 4.0, width: 1600, height: 1344 };
    for corner in ["nominal", "outer", "inner"] {
        let drawn = |file: PathBuf| {
            let layout = Layout::read(&file, &ReadOptions::default()).expect("ours");
            layout.rasterize(&frame, Coverage::Exact)
        };
        let [a, b] = [
            small.join(format!("printed_{corner}.gds")),
            large.join(format!("printed_{corner}.oas")),
        ]
        .map(drawn);
        let differing: f64 =
            a.data.iter().zip(&b.data).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() * 16.0;
        // Contours are simplified within 0.5 nm, from points that the tiles' borders move.
        assert!(
            a.area_nm2() > 1e5 && differing < 0.01 * a.area_nm2(),
            "{corner}: {differing} of {}",
            a.area_nm2()
        );
    }
}

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let folder = folder("chip/dry");
    let layout = bars(&folder, [3, 2], 2);
    let out = folder.join("out");
    let dry = |more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_infer"))
            .args([path(&layout), "--model", "gan-opc", "--correct", "2", "--tile", "2048"])
            .args(["--dry-run", "--out", path(&out)])
            .args(more)
            .output()
            .expect("starts")
    };
    let shared = dry(&["--devices", "cpu,cpu"]);
    let said = text(&shared.stdout);
    assert!(shared.status.success(), "{}", text(&shared.stderr));
    for word in ["cpu#2", "data", "2.00 times one device predicted"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let layers = text(&dry(&["--devices", "cpu,cpu", "--parallel", "pipeline"]).stdout);
    assert!(layers.contains("cut into 2 stages"), "{layers}");
    assert!(!out.exists());
    // Nothing fits a MiB, where the system tells how much there is.
    if cfg!(target_os = "linux") {
        let small = dry(&["--device", "cpu", "--memory", "cpu=1MiB"]);
        assert_eq!(small.status.code(), Some(2));
        assert!(text(&small.stderr).contains("does not fit"), "{}", text(&small.stderr));
    }
    let json = dry(&["--devices", "cpu,cpu", "--json"]);
    let plan: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(plan["ranks"].as_array().map(Vec::len), Some(2), "{plan}");
    let other = dry(&["--device", "cpu", "--memory", "cuda:7=1GiB"]);
    assert!(text(&other.stderr).contains("the devices are cpu"), "{}", text(&other.stderr));
    let wrong = dry(&["--device", "cpu", "--memory", "much"]);
    assert!(text(&wrong.stderr).contains("NAME=SIZE"), "{}", text(&wrong.stderr));
}

#[test]
fn a_limit_of_memory_counts_without_tiles_and_one_that_cannot_be_meant_is_refused() {
    let folder = folder("chip/limit");
    let layout = bars(&folder, [1, 1], 1);
    let run = |limit: &str| {
        let done = Command::new(env!("CARGO_BIN_EXE_infer"))
            .args([path(&layout), "--model", "gan-opc", "--correct", "2", "--device", "cpu"])
            .args(["--memory", limit, "--out", path(&folder.join("out"))])
            .output()
            .expect("starts");
        assert_eq!(done.status.code(), Some(2), "{limit}: {}", text(&done.stderr));
        text(&done.stderr)
    };
    // Where the system tells how much there is.
    if cfg!(target_os = "linux") {
        assert!(run("cpu=1MiB").contains("does not fit"));
    }
    assert!(run("cuda:7=1GiB").contains("the devices are cpu"));
    for (limit, part) in [("cpu=1", "too little"), ("foo=1GiB", "no device")] {
        let said = run(limit);
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_network_in_parts_proposes_the_same_mask() {
    let folder = folder("chip/parts");
    let layout = bars(&folder, [1, 1], 1);
    let mask = |name: &str, more: &[&str]| {
        let out = folder.join(name);
        let run = Command::new(env!("CARGO_BIN_EXE_infer"))
            .args([path(&layout), "--model", "gan-opc", "--correct", "1", "--out", path(&out)])
            .args(more)
            .output()
            .expect("starts");
        assert!(matches!(run.status.code(), Some(0 | 1)), "{}", text(&run.stderr));
        let file = out.join("mask.png");
        png::decode(&file, &std::fs::read(&file).expect("mask.png"), 1.0).expect("a picture").data
    };
    let stages = mask("stages", &["--devices", "cpu,cpu,cpu", "--parallel", "pipeline"]);
    assert!(mask("host", &["--device", "cpu", "--offload"]) == stages, "weights from the host");
    // One device's steps are fused, and channels are summed in another order: a pixel at the threshold may be either.
    let one = mask("one", &["--device", "cpu"]);
    let channels = mask("channels", &["--devices", "cpu,cpu", "--parallel", "tensor"]);
    let open = stages.iter().filter(|&&pixel| pixel > 0.5).count();
    for other in [one, channels] {
        assert_eq!(other.len(), stages.len());
        let differing = other.iter().zip(&stages).filter(|(a, b)| a != b).count();
        assert!(open > 0 && differing * 1000 <= open, "{differing} of {open} open pixels");
    }
    let refused = Command::new(env!("CARGO_BIN_EXE_infer"))
        .args([path(&layout), "--model", "ilt", "--devices", "cpu,cpu", "--parallel", "tensor"])
        .output()
        .expect("starts");
    assert!(text(&refused.stderr).contains("no network to cut"), "{}", text(&refused.stderr));
}

/// The numbers are the machine's; that they are there, and add up, is ours.
#[test]
fn a_study_of_the_scheduler_leaves_its_files() {
    let out = folder("chip/study");
    let run = Command::new(env!("CARGO_BIN_EXE_lithoburn"))
        .args(["scaling", "--simulate", "--gpus", "1,3", "--batch", "2", "--seconds", "0.1"])
        .args(["--price-per-hour", "6", "--out", path(&out)])
        .output()
        .expect("starts");
    assert!(run.status.success(), "{}", text(&run.stderr));
    let findings = std::fs::read(out.join("findings.json")).expect("findings.json");
    let findings: serde_json::Value = serde_json::from_slice(&findings).expect("JSON");
    let rows = findings["measurements"].as_array().expect("a list");
    let kinds: Vec<[String; 2]> =
        rows.iter().map(|r| [r["growth"].to_string(), r["devices"].to_string()]).collect();
    assert_eq!(kinds, [["\"strong\"", "1"], ["\"strong\"", "3"], ["\"weak\"", "3"]]);
    let of = |row: &serde_json::Value, key: &str| row[key].as_f64().expect("a number");
    for row in rows {
        let (rate, price) = (of(row, "rate"), of(row, "price_per_1000"));
        assert!((rate - of(row, "images") / of(row, "seconds")).abs() < 1e-6 * rate);
        assert!((price - 6.0 * of(row, "devices") * 1000.0 / rate / 3600.0).abs() < 1e-9);
        assert!(of(row, "efficiency") > 0.3 && of(row, "efficiency") < 1.01, "{row}");
    }
    let csv = std::fs::read_to_string(out.join("raw.csv")).expect("raw.csv");
    assert_eq!(csv.lines().count(), 1 + rows.len());
    let columns: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
    assert!(columns.iter().all(|&count| count == columns[0]), "{columns:?}");
    for file in ["README.md", "scaling.png", "devices.png"] {
        assert!(std::fs::metadata(out.join(file)).expect(file).len() > 500, "{file}");
    }
}

/// Ctrl-C while tiles are solved and measured: an end in words, nothing half written, and something to go on from.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_run_that_can_go_on() {
    let folder = folder("chip/interrupted");
    let layout = bars(&folder, [8, 8], 8);
    let out = folder.join("out");
    let mut child = infer(&layout, &out, &["--device", "cpu"]).spawn().expect("starts");
    while std::fs::metadata(out.join("tiles.journal")).map_or(0, |m| m.len()) < 2000 {
        assert!(child.try_wait().expect("it is ours").is_none(), "too quick to be stopped");
        std::thread::sleep(Duration::from_millis(5));
    }
    let told = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(told.expect("kill is everywhere").success());
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains("interrupted") && error.contains("goes on from there"), "{error}");
    let left: Vec<_> = std::fs::read_dir(&out).expect("a folder").flatten().collect();
    assert!(left.len() == 1 && left[0].file_name() == "tiles.journal", "{left:?}");
}
