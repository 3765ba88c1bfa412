//! The programs, run as a user runs them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::programs::{EXAMPLE, folder, lithoburn, path, text};

#[test]
fn infer_improves_the_example_and_leaves_whole_files() {
    let out = folder("infer");
    let run = Command::new(env!("CARGO_BIN_EXE_infer"))
        .args([EXAMPLE, "--device", "cpu", "--correct", "8", "--json", "--out", path(&out)])
        .args(["--style", "pixels"])
        .output()
        .expect("starts");
    assert!(run.status.success(), "{}", text(&run.stderr));
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).expect("JSON");
    let number = |when: &str, key: &str| report[when][key].as_f64().expect("a number");
    let sum = |when: &str| number(when, "l2_nm2") + number(when, "pvb_nm2");
    assert!(sum("after") < 0.8 * sum("before"), "{report}");
    assert!(number("after", "epe_violations") < number("before", "epe_violations"));
    for key in ["epe_sites", "shots", "min_shape_area_nm2", "min_shape_distance_nm"] {
        assert!(number("after", key) > 0.0, "{key}");
    }
    let written = std::fs::read(out.join("report.json")).expect("report.json");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&written).expect("JSON"), report);
    for file in ["mask.png", "mask.gds", "overview.png"] {
        assert!(std::fs::metadata(out.join(file)).expect(file).len() > 1000, "{file}");
    }
    // The three forms of the mask score alike.
    let score = |mask: &str| {
        let run =
            lithoburn(&["score", "--mask", path(&out.join(mask)), "--target", EXAMPLE, "--json"]);
        assert!(run.status.success(), "{}", text(&run.stderr));
        serde_json::from_slice::<serde_json::Value>(&run.stdout).expect("JSON")
    };
    for mask in ["mask.png", "mask.gds"] {
        let found = score(mask);
        assert_eq!(found["l2_nm2"], report["after"]["l2_nm2"], "{mask}");
        assert_eq!(found["pvb_nm2"], report["after"]["pvb_nm2"], "{mask}");
    }
}

#[test]
fn simulate_writes_three_images() {
    let out = folder("simulate");
    let run = lithoburn(&["simulate", EXAMPLE, "--pixel", "4", "--out", path(&out)]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let bytes = std::fs::read(out.join("aerial.safetensors")).expect("aerial.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    for name in ["nominal", "outer", "inner"] {
        assert_eq!(tensors.tensor(name).expect(name).shape(), [512, 512]);
        assert!(out.join(format!("printed_{name}.png")).exists());
        // A square image with its scale beside it.
        let picture = std::fs::read(out.join(format!("aerial_{name}.png"))).expect("a picture");
        let side =
            |at: usize| u32::from_be_bytes(picture[at..at + 4].try_into().expect("four bytes"));
        assert_eq!([side(16), side(20)], [1190, 1162]);
    }
}

/// Nobody has to ask for tiles: a line says that there are some.
#[test]
fn a_layout_larger_than_a_field_is_corrected_in_tiles() {
    let out = folder("tiles");
    let wide = out.join("wide.glp");
    let bars =
        "   RECT N M1 0 0 3000 80\n   RECT N M1 0 300 80 900\n   RECT N M1 2600 300 90 700\n";
    std::fs::write(&wide, format!("CELL T PRIME\n{bars}ENDMSG\n")).expect("writes");
    let mask = |name: &str, more: &[&str]| {
        let out = out.join(name);
        let run = ["infer", path(&wide), "--device", "cpu", "--correct", "4", "--pixel", "4"];
        let run = lithoburn(&[&run[..], &["--out", path(&out)], more].concat());
        assert!(matches!(run.status.code(), Some(0 | 1)), "{}", text(&run.stderr));
        (std::fs::read(out.join("mask.gds")).expect("mask.gds"), text(&run.stdout))
    };
    let (unasked, said) = mask("unasked", &[]);
    assert!(said.contains("3000 x 1200 nm and one field is 2048 nm: cut into"), "{said}");
    let (asked, json) = mask("asked", &["--tile", "2048", "--json"]);
    assert_eq!(unasked, asked);
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(report["fields"].as_u64() > Some(6), "{report}");
    assert!(out.join("asked/mask.png").exists());
    // One field and its shot budget are not cut.
    let shots = lithoburn(&["infer", path(&wide), "--device", "cpu", "--shots", "50"]);
    assert_eq!(shots.status.code(), Some(2));
    assert!(text(&shots.stderr).contains("field"), "{}", text(&shots.stderr));
}

/// A contact far below the resolution: the mask's numbers once read like those of a perfect one.
#[test]
fn a_mask_that_does_not_print_its_design_is_not_met_and_says_what_is_missing() {
    let out = folder("unprinted");
    let small = out.join("small.glp");
    let shapes = "   RECT N M1 0 0 24 24\n   RECT N M1 400 0 120 600\n";
    std::fs::write(&small, format!("CELL T PRIME\n{shapes}ENDMSG\n")).expect("writes");
    let infer = |layout: &Path, more: &[&str]| {
        let run = ["infer", path(layout), "--device", "cpu", "--correct", "0", "--pixel", "4"];
        let run = lithoburn(&[&run[..], &["--out", path(&out.join("run"))], more].concat());
        assert_eq!(run.status.code(), Some(1), "{}", text(&run.stderr));
        text(&run.stdout)
    };
    let said = infer(&small, &[]);
    assert!(said.contains("1 shapes do not print at all") && said.contains("24 x 24 nm"), "{said}");
    let report: serde_json::Value =
        serde_json::from_str(&infer(&small, &["--json"])).expect("JSON");
    assert_eq!(report["unprinted"]["shapes"], 1);
    assert_eq!(report["unprinted"]["places"][0]["min_nm"], serde_json::json!([0.0, 0.0]));
    assert!(report["unprinted"]["resolution_nm"].as_f64() > Some(24.0), "{report}");
    // Alone, it leaves no edge at all.
    std::fs::write(&small, "CELL T PRIME\n   RECT N M1 0 0 24 24\nENDMSG\n").expect("writes");
    let report: serde_json::Value =
        serde_json::from_str(&infer(&small, &["--json"])).expect("JSON");
    assert!(report["after"]["epe_mean_nm"].is_null(), "{report}");
    assert!(infer(&small, &[]).contains('–'));
}

/// All masks of runs are called mask.gds: what is made of one is called after its folder.
#[test]
fn simulations_of_two_runs_masks_do_not_overwrite_each_other() {
    let place = folder("masks");
    for run in ["one", "two"] {
        std::fs::create_dir_all(place.join(run)).expect("a folder");
        std::fs::copy(EXAMPLE, place.join(run).join("mask.glp")).expect("copied");
        let simulate = Command::new(env!("CARGO_BIN_EXE_lithoburn"))
            .args(["simulate", &format!("{run}/mask.glp"), "--pixel", "8"])
            .current_dir(&place)
            .output()
            .expect("starts");
        assert!(simulate.status.success(), "{}", text(&simulate.stderr));
        assert!(place.join(format!("out/{run}-mask/printed_nominal.png")).exists());
    }
}

/// Every wrong input ends in one line that says what and what to do, exit 2, and no file.
#[test]
fn wrong_input_is_one_clear_line() {
    let inputs = folder("wrong");
    let write = |name: &str, bytes: &[u8]| {
        let file = inputs.join(name);
        std::fs::write(&file, bytes).expect("writes");
        file
    };
    let whole = std::fs::read(EXAMPLE).expect("example");
    let cases = [
        (inputs.join("missing.glp"), vec![], "missing.glp"),
        (write("empty.gds", b""), vec![], "empty"),
        (write("cut.glp", &whole[..whole.len() / 2]), vec![], "cut short"),
        (write("text.gds", b"this is no GDSII"), vec![], "GDSII header"),
        (write("text.png", b"this is no PNG"), vec![], "PNG"),
        (write("notes.txt", b"hello"), vec![], ".gds, .glp or .png"),
        (write("nothing.glp", b"CELL A PRIME\nENDMSG\n"), vec![], "no polygons"),
        (write("flat.glp", b"CELL A PRIME\n RECT N M1 0 0 0 10\nENDMSG\n"), vec![], "no area"),
        (
            write("huge.glp", b"CELL A PRIME\n RECT N M1 0 0 40000 80\nENDMSG\n"),
            vec!["--shots", "10"],
            "leave out --shots",
        ),
        (PathBuf::from(EXAMPLE), vec!["--device", "cuda:99"], "cuda:99"),
        (PathBuf::from(EXAMPLE), vec!["--pixel", "3"], "whole number"),
        (PathBuf::from(EXAMPLE), vec!["--pixel", "0"], "--pixel"),
        (PathBuf::from(EXAMPLE), vec!["--weights", path(&inputs)], "config.json"),
        (PathBuf::from(EXAMPLE), vec!["--kernels", EXAMPLE], "optical kernels"),
    ];
    for (layout, options, expected) in cases {
        let out = folder("wrong-out");
        let base = ["infer", path(&layout), "--device", "cpu", "--out", path(&out)];
        let device = options.contains(&"--device");
        let base: Vec<&str> =
            if device { vec![base[0], base[1], base[4], base[5]] } else { base.to_vec() };
        let run = lithoburn(&[base, options.clone()].concat());
        let error = text(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{layout:?} {options:?}: {error}");
        assert!(
            error.contains(expected) && error.lines().count() == 1,
            "{layout:?} {options:?}: {error}"
        );
        assert!(!error.contains("panicked"), "{error}");
        let left = std::fs::read_dir(&out).map(Iterator::count).unwrap_or(0);
        assert_eq!(left, 0, "{layout:?} left files");
    }
}

#[test]
fn an_out_directory_that_is_a_file_is_refused() {
    let file = folder("unwritable").join("file");
    std::fs::write(&file, b"in the way").expect("writes");
    let run = lithoburn(&["infer", EXAMPLE, "--device", "cpu", "--out", path(&file)]);
    assert_eq!(run.status.code(), Some(2));
    assert!(text(&run.stderr).contains("cannot write"), "{}", text(&run.stderr));
}

/// How a graphics driver is tested without being able to take the program with it.
#[test]
fn a_program_started_as_a_probe_answers_for_its_device_and_ends() {
    let probe = |name: &str| {
        let program = env!("CARGO_BIN_EXE_infer");
        Command::new(program).env("LITHOBURN_PROBE", name).output().expect("starts")
    };
    let working = probe("cpu");
    assert_eq!(working.status.code(), Some(0), "{}", text(&working.stderr));
    let missing = probe("cuda:99");
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("LITHOBURN_PROBE it is not here"));
}

#[test]
fn kernels_are_made_from_options_with_a_picture() {
    let out = folder("kernels");
    let file = out.join("annular.safetensors");
    let small = ["--period", "300", "--source-step", "0.1", "--count", "6", "--out", path(&file)];
    let line = ["kernels", "make", "--source", "annular", "--sigma", "0.9", "--defocus-nm", "30"];
    let lens = ["--na", "1.35", "--index", "1.7", "--aberrations", "Z7=0.02,Z9=-0.01"];
    let run = lithoburn(&[&line[..], &lens, &small].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert!(text(&run.stdout).contains("energy kept"), "{}", text(&run.stdout));
    assert!(out.join("annular.png").exists());
    assert!(lithoburn(&["kernels", "check", path(&file)]).status.success());
    std::fs::remove_file(out.join("annular.png")).expect("removes");
    let run = lithoburn(&[&line[..], &lens, &small, &["--no-plot"]].concat());
    assert!(run.status.success() && !out.join("annular.png").exists());
}

#[test]
fn wrong_optics_are_one_clear_line() {
    let out = folder("wrong-optics");
    let file = out.join("none.safetensors");
    let flat = out.join("flat.png");
    let black = out.join("black.png");
    for (file, height) in [(&flat, 4), (&black, 8)] {
        let raster = lithoburn::layout::Raster::new(8, height, 1.0);
        let image = lithoburn::layout::png::encode(&raster).expect("an image");
        std::fs::write(file, image).expect("writes");
    }
    let image = |file: &Path| format!("image:{}", path(file));
    let (flat, black) = (image(&flat), image(&black));
    let cases = [
        (["--na", "-1"], "--na must be positive"),
        (["--na", "1.35"], "--index"),
        (["--sigma", "9"], "at most 2"),
        (["--source", "star"], "image:FILE"),
        (["--aberrations", "Z99=1"], "expected Z2 to Z37"),
        (["--aberrations", "coma"], "Z4=0.01"),
        (["--source", &flat], "square"),
        (["--source", &black], "black"),
        (["--source", "image:nowhere.png"], "nowhere.png"),
    ];
    for (options, expected) in cases {
        let run = lithoburn(&[&["kernels", "make", "--out", path(&file)][..], &options].concat());
        let error = text(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{options:?}: {error}");
        assert!(error.contains(expected) && error.lines().count() == 1, "{options:?}: {error}");
        assert!(!file.exists());
    }
    let run = lithoburn(&["kernels", "import", "--bin", path(&out), "--out", path(&file)]);
    let error = text(&run.stderr);
    assert!(run.status.code() == Some(2) && error.contains("scales.txt"), "{error}");
}

#[test]
fn devices_names_the_cpu_and_every_job_has_help() {
    let run = lithoburn(&["devices"]);
    assert!(run.status.success() && text(&run.stdout).contains("cpu"));
    let jobs = ["infer", "simulate", "score", "bench", "kernels", "generate", "train", "devices"];
    for job in jobs.into_iter().chain(["export", "import"]) {
        assert!(lithoburn(&[job, "--help"]).status.success(), "{job}");
    }
}

/// Rules that no mask of the example can keep: the best mask is there, the places are named, the status is 1.
#[test]
fn rules_that_cannot_be_met_leave_a_mask_and_say_so() {
    let out = folder("rules");
    std::fs::create_dir_all(&out).expect("a folder");
    let rules = out.join("rules.json");
    std::fs::write(&rules, r#"{"min_width_nm": 160}"#).expect("written");
    let run = Command::new(env!("CARGO_BIN_EXE_infer"))
        .args([EXAMPLE, "--device", "cpu", "--correct", "4", "--rules", path(&rules)])
        .args(["--out", path(&out)])
        .output()
        .expect("starts");
    assert_eq!(run.status.code(), Some(1), "{}", text(&run.stderr));
    assert!(text(&run.stdout).contains("breaks its rules"), "{}", text(&run.stdout));
    let report = std::fs::read(out.join("report.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
    assert_eq!(report["violations"][0]["rule"], "width");
    assert!(report["after"]["l2_nm2"].as_f64() < report["before"]["l2_nm2"].as_f64());
    std::fs::write(&rules, r#"{"min_width": 160}"#).expect("written");
    let run = lithoburn(&["infer", EXAMPLE, "--device", "cpu", "--rules", path(&rules)]);
    assert_eq!(run.status.code(), Some(2));
    assert!(text(&run.stderr).contains("min_width_nm"), "{}", text(&run.stderr));
}

#[test]
fn a_window_has_a_report_and_a_picture() {
    let out = folder("window");
    let run = lithoburn(&[
        "window",
        "--mask",
        EXAMPLE,
        "--target",
        EXAMPLE,
        "--pixel",
        "4",
        "--foci",
        "0",
        "--out",
        path(&out),
    ]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let report = std::fs::read(out.join("window.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
    // A bare design misses its edges: no dose has them all within 15 nm.
    assert_eq!(report["best_latitude"].as_f64(), Some(0.0));
    assert_eq!(report["matrix"].as_array().map(Vec::len), Some(5));
    assert!(std::fs::metadata(out.join("window.png")).expect("a picture").len() > 1000);
}

/// They are only read until it is known that this run goes on with them.
#[test]
fn a_refused_training_leaves_the_files_of_the_run_before() {
    let out = folder("refused-training");
    let files = [
        ("checkpoint.safetensors", "damaged"),
        ("training.json", "the settings of the run before"),
        ("log.jsonl", "{\"step\":50}\n"),
    ];
    for (file, content) in files {
        std::fs::write(out.join(file), content).expect("writes");
    }
    let run = lithoburn(&["train", "--devices", "cpu", "--steps", "1", "--out", path(&out)]);
    let error = text(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{error}");
    assert!(error.contains("checkpoint.safetensors") && error.contains("start anew"), "{error}");
    for (file, content) in files {
        assert_eq!(std::fs::read_to_string(out.join(file)).expect("is there"), content, "{file}");
    }
}

/// The mask of a shot budget is that many rectangles, in the file too.
#[test]
fn a_shot_budget_is_kept() {
    let out = folder("shots");
    let run = Command::new(env!("CARGO_BIN_EXE_infer"))
        .args([EXAMPLE, "--device", "cpu", "--correct", "4", "--shots", "40", "--json"])
        .args(["--out", path(&out)])
        .output()
        .expect("starts");
    assert!(run.status.code().is_some_and(|code| code < 2), "{}", text(&run.stderr));
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).expect("JSON");
    let shots = report["after"]["shots"].as_u64().expect("a number");
    assert!((3..=40).contains(&shots), "{shots}");
    let mask = lithoburn::layout::Layout::read(&out.join("mask.gds"), &Default::default());
    assert_eq!(mask.expect("reads").polygons.len() as u64, shots);
    let sum = |when: &str| {
        report[when]["l2_nm2"].as_f64().unwrap_or(f64::NAN)
            + report[when]["pvb_nm2"].as_f64().unwrap_or(f64::NAN)
    };
    assert!(sum("after") < 0.6 * sum("before"), "{report}");
}

/// Files of others: what is in them, by name, by content, through a pipe.
#[test]
fn layout_lists_cells_and_layers_with_what_fits() {
    let json = |run: &Output| -> serde_json::Value {
        assert!(run.status.success(), "{}", text(&run.stderr));
        serde_json::from_slice(&run.stdout).expect("JSON")
    };
    let clip = json(&lithoburn(&["layout", EXAMPLE, "--json"]));
    assert_eq!((&clip["format"], &clip["cells"][0]["top"]), (&"GLP".into(), &true.into()));
    let layer = &clip["cells"][0]["layers"][0];
    assert_eq!(layer["fields"], serde_json::json!([1, 1]));
    assert!(layer["smallest_nm"].as_f64() > Some(10.0), "{layer}");
    let piped = |bytes: &[u8], options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lithoburn"));
        let pipes = command.args([&["layout", "-"], options].concat());
        let pipes = pipes.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().expect("starts");
        child.stdin.take().expect("a pipe").write_all(bytes).expect("takes it");
        child.wait_with_output().expect("ends")
    };
    let whole = std::fs::read(EXAMPLE).expect("example");
    assert_eq!(json(&piped(&whole, &["--json", "--format", "glp"])), clip);
    let wide = "CELL T PRIME\n RECT N M1 0 0 30000 80\nENDMSG\n";
    let shown = text(&piped(wide.as_bytes(), &[]).stdout);
    assert!(shown.contains("30.000 x 0.080") && shown.contains("--tile 2048: 40 x 1"), "{shown}");
    let refused = piped(b"hello", &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("--format"), "{}", text(&refused.stderr));
}

#[test]
fn what_the_system_said_is_in_an_error_once() {
    for arguments in [["layout", "missing.gds"], ["simulate", "missing.gds"]] {
        let run = lithoburn(&arguments);
        let error = text(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{error}");
        assert_eq!(error.matches("No such file").count(), 1, "{error}");
    }
    let kernels = lithoburn(&["simulate", EXAMPLE, "--kernels", "missing.safetensors"]);
    assert_eq!(text(&kernels.stderr).matches("No such file").count(), 1);
}

/// A name with an escape sequence is shown, not acted upon.
#[test]
fn names_in_files_cannot_move_the_cursor() {
    let file = folder("escape").join("x\u{1b}[2J.glp");
    std::fs::write(&file, "CELL A PRIME\nENDMSG\n").expect("writes");
    let error = text(&lithoburn(&["layout", path(&file)]).stdout);
    assert!(!error.contains('\u{1b}'), "{error:?}");
    let error = text(&lithoburn(&["simulate", path(&file)]).stderr);
    assert!(error.contains("x\\u{1b}[2J.glp") && !error.contains('\u{1b}'), "{error:?}");
}

/// `--layer` and `--cell` are the target's; our own mask is on another layer, and is found all the same.
#[test]
fn a_mask_is_scored_against_a_target_of_another_layer_in_a_window() {
    let folder = tempfile::tempdir().expect("a folder");
    let [target, mask] = ["target.gds", "mask.gds"].map(|name| folder.path().join(name));
    let bars = |by: f64| {
        let bar = |x: f64| lithoburn::layout::Polygon::rectangle(x, 0.0, x + 80.0 + by, 600.0);
        lithoburn::layout::Layout::new("bars", [0.0, 200.0, 9000.0].map(bar).to_vec())
    };
    let layer = |layer| lithoburn::layout::Layer { layer, datatype: 0 };
    let write = |file: &std::path::Path, layout: lithoburn::layout::Layout, layer| {
        let bytes = lithoburn::layout::gds::encode(file, &layout, layer, 1.0).expect("encodes");
        std::fs::write(file, bytes).expect("writes");
    };
    write(&target, bars(0.0), layer(11));
    write(&mask, bars(10.0), layer(1));
    let [target, mask] = [&target, &mask].map(|file| file.to_str().expect("a name"));
    let pair = ["score", "--mask", mask, "--target", target, "--layer", "11/0", "--json"];
    let whole = lithoburn(&pair);
    let error = String::from_utf8_lossy(&whole.stderr).into_owned();
    assert!(error.contains("--window"), "the layout is larger than a field: {error}");
    let window = ["--window", "-100,-100,400,700", "--pixel", "4"];
    let scored = lithoburn(&[&pair[..], &window[..]].concat());
    let report: serde_json::Value = serde_json::from_slice(&scored.stdout).expect("JSON");
    assert_eq!(report["shots"], 2, "{report}");
}

/// A layout on standard input is known by its first bytes; what is none is refused.
#[test]
fn standard_input_is_a_layout_too() {
    let piped = |bytes: &[u8]| {
        let mut run = Command::new(env!("CARGO_BIN_EXE_lithoburn"))
            .args(["layout", "-", "--json"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("starts");
        std::io::Write::write_all(&mut run.stdin.take().expect("piped"), bytes).expect("reads");
        run.wait_with_output().expect("ends")
    };
    let clip = piped(&std::fs::read(EXAMPLE).expect("the example"));
    let found: serde_json::Value = serde_json::from_slice(&clip.stdout).expect("JSON");
    assert_eq!(found["cells"][0]["layers"][0]["polygons"], 3, "{found}");
    let noise = piped(b"no layout");
    assert_eq!(noise.status.code(), Some(2), "{}", String::from_utf8_lossy(&noise.stderr));
}
