//! `lithoburn-server serve` as its clients meet it: on the CPU, on ports that the system chooses.

mod serve {
    pub(crate) mod browser;
    pub(crate) mod deployment;
    pub(crate) mod image;
    pub(crate) mod server;
}

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use lithoburn_engine::{Correction, Model};
use lithoburn_layout::{Layer, Layout, Library, Polygon, ReadOptions, gds};
use serde_json::Value;
use serve::server::{Answer, Server};

const LAYER: Layer = Layer { layer: 1, datatype: 0 };

/// A layout of one field.
fn clip() -> Vec<u8> {
    let bars = (0..3).map(|i| {
        let x = 300.0 + 200.0 * f64::from(i);
        Polygon::rectangle(x, 300.0, x + 80.0, 1100.0)
    });
    encoded(bars.collect())
}

/// A layout of many tiles of 512 nm, no two alike.
fn block() -> Vec<u8> {
    let bar = |i: u32| {
        let (column, row) = (f64::from(i % 12), f64::from(i / 12));
        let (x, y) = (column * 260.0, row * 260.0);
        Polygon::rectangle(x, y, x + 70.0 + column, y + 150.0 + row)
    };
    encoded((0..144).map(bar).collect())
}

fn encoded(polygons: Vec<Polygon>) -> Vec<u8> {
    let layout = Layout::new("clip", polygons);
    gds::encode(Path::new("clip.gds"), &layout, LAYER, 1.0).expect("a layout")
}

/// What the engine alone makes of a layout, with what a query of the tests asks for.
fn corrected(bytes: &[u8], tile: Option<(f64, f64)>) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("layout.gds");
    std::fs::write(&path, bytes).expect("written");
    let library = Library::read(&path, &ReadOptions { pixel_nm: 2.0, ..ReadOptions::default() })
        .expect("a layout");
    let correction = Correction::of(&library)
        .model(Model::NeuralIltFast)
        .correct(2)
        .pixel_nm(2.0)
        .device("cpu")
        .tile_nm(tile.map(|(tile, _)| tile))
        .halo_nm(tile.map(|(_, halo)| halo))
        .measure(tile.is_none());
    correction.run_in(folder.path().join("out")).expect("a mask");
    std::fs::read(folder.path().join("out/mask.gds")).expect("a mask")
}

const CLIP: &str = "model=neural-ilt-fast&correct=2&pixel=2";
const BLOCK: &str = "model=neural-ilt-fast&correct=2&pixel=2&tile=512&halo=128&measure=false";

#[test]
fn a_layout_comes_back_as_the_mask_that_the_engine_makes_of_it() {
    let server = Server::start(&["--models", "neural-ilt-fast,simulator"]);
    let expected = corrected(&clip(), None);
    let mask = server.upload(&format!("/v1/masks?{CLIP}"), "clip.gds", &clip());
    assert_eq!((mask.status, mask.body == expected), (200, true), "{}", mask.text());
    let report =
        server.upload(&format!("/v1/masks?{CLIP}&format=json"), "clip.gds", &clip()).json();
    assert_eq!(report["model"]["name"], "neural-ilt-fast");
    assert!(report["after"]["l2_nm2"].as_f64().is_some_and(|l2| l2 > 0.0), "{report}");
    let png = server.upload(&format!("/v1/masks?{CLIP}&format=png"), "clip.gds", &clip());
    assert!(png.status == 200 && png.body.starts_with(b"\x89PNG"));
    let oas = server.upload(&format!("/v1/masks?{CLIP}&format=oas"), "clip.gds", &clip());
    assert!(oas.status == 200 && oas.body.starts_with(b"%SEMI-OASIS"), "{}", oas.text());
    refusals(&server);
    tensors(&server);
    assert_eq!(server.stop(), Some(0), "a graceful stop");
}

/// A method of a settings file is one for tensors, for layouts, and for jobs.
#[test]
fn a_method_of_ones_own_corrects_layouts_and_jobs() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("serve.toml");
    let text = "models = ['simulator']\n[[model]]\nname = 'quick'\nmethod = 'neural-ilt-fast'\ncorrect = 2\n";
    std::fs::write(&config, text).expect("written");
    let server = Server::start(&["--config", config.to_str().expect("text")]);
    let expected = corrected(&clip(), None);
    let mask = server.upload("/v1/masks?model=quick&pixel=2", "clip.gds", &clip());
    assert!(mask.status == 200 && mask.body == expected, "{}", mask.status);
    let job = server.upload("/v1/jobs?pixel=2", "clip.gds", &clip()).json();
    let path = format!("/v1/jobs/{}", job["id"].as_str().expect("a number"));
    let ended = server.until(&path, |job| job["state"] != "queued" && job["state"] != "running");
    assert_eq!(ended["state"], "done", "{ended}");
    assert!(server.get(&format!("{path}/mask")).body == expected);
    assert_eq!(server.get("/v2/models/quick/ready").status, 200);
    assert_eq!(server.stop(), Some(0));
}

/// Each thing that is wrong with a layout, in words of what came.
fn refusals(server: &Server) {
    let masks = |query: &str, name: &str, bytes: &[u8]| {
        server.upload(&format!("/v1/masks?{query}"), name, bytes)
    };
    for (answer, status, named) in [
        (masks("", "clip.gds", b"no layout"), 400, "layout.gds"),
        (masks("", "clip.oas", &clip()), 400, "layout.oas"),
        (masks("", "clip.gds", &clip()[..clip().len() / 2]), 400, "layout.gds"),
        (masks("cell=NONE", "clip.gds", &clip()), 400, "NONE"),
        (masks("layer=77/0", "clip.gds", &clip()), 400, "77/0"),
        (masks("layer=x", "clip.gds", &clip()), 400, "layer"),
        (masks("tile=300&halo=100", "clip.gds", &clip()), 400, "128"),
        (masks("model=ilt", "clip.gds", &clip()), 404, "neural-ilt-fast"),
        (masks("tiel=2048", "clip.gds", &clip()), 400, "tiel"),
    ] {
        assert_eq!(answer.status, status, "{named}: {}", answer.text());
        let error = answer.json()["error"].as_str().unwrap_or_default().to_string();
        assert!(error.contains(named) && !error.contains("uploads"), "{named}: {error}");
    }
}

/// What the Open Inference Protocol says of a model, and an image of a mask.
fn tensors(server: &Server) {
    let metadata = server.get("/v2/models/simulator").json();
    let outputs: Vec<&str> = metadata["outputs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|o| o["name"].as_str())
        .collect();
    assert_eq!(
        outputs,
        ["aerial", "aerial_defocus", "print", "print_outer", "print_inner"],
        "{metadata}"
    );
    let ask = |side: usize, value: f64| {
        let data = vec![value; side * side];
        let outputs = [serde_json::json!({"name": "aerial"}), serde_json::json!({"name": "print"})];
        let input = serde_json::json!({"name": "mask", "shape": [1, side, side], "datatype": "FP32", "data": data});
        let body = serde_json::json!({"inputs": [input], "outputs": outputs});
        server.post("/v2/models/simulator/infer", "application/json", body.to_string().as_bytes())
    };
    // Light through an open mask is even: the clear field, but for what the kernels that are left out hold. It prints
    // everywhere, and a dark mask nowhere.
    let values = |answer: &Value, at: usize| {
        let data = answer["outputs"][at]["data"].as_array().expect("numbers");
        data.iter().filter_map(Value::as_f64).collect::<Vec<_>>()
    };
    let (open, dark) = (ask(64, 1.0).json(), ask(64, 0.0).json());
    let light = values(&open, 0);
    assert!(
        light.iter().all(|v| (0.9..1.01).contains(v) && (v - light[0]).abs() < 1e-4),
        "{}",
        light[0]
    );
    assert_eq!(values(&open, 1), vec![1.0; 64 * 64]);
    assert_eq!((values(&dark, 0), values(&dark, 1)), (vec![0.0; 64 * 64], vec![0.0; 64 * 64]));
    for (answer, wanted) in [(ask(60, 1.0), "1024 x 1024"), (ask(64, 255.0), "255")] {
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains(wanted), "{}", answer.text());
    }
}

/// The server dies without a word ten times, its job with it; what comes out is what would have come.
#[test]
fn a_job_whose_server_is_killed_ten_times_ends_as_if_never_killed() {
    let expected = corrected(&block(), Some((512.0, 128.0)));
    let data = tempfile::tempdir().expect("a folder");
    let mut server = Server::start_in(data.path(), &["--models", "neural-ilt-fast"]);
    let answer = server.upload(&format!("/v1/jobs?{BLOCK}"), "block.gds", &block());
    assert_eq!(answer.status, 202, "{}", answer.text());
    let job = answer.json();
    let path = format!("/v1/jobs/{}", job["id"].as_str().expect("a number"));
    let mut kills = 0;
    for kill in 0..10 {
        // Until it has got on, at another moment each time.
        let attempts = server.get(&path).json()["attempts"].as_u64().unwrap_or(0);
        let start = Instant::now();
        let job = loop {
            let job = server.get(&path).json();
            let under_way = job["state"] == "running"
                && job["progress"]["done"].as_u64().is_some_and(|done| done > 0);
            if under_way || job["state"] == "done" {
                break job;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "{job}");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_ne!(job["state"], "failed", "{job}");
        std::thread::sleep(Duration::from_millis(37 * kill));
        kills += u64::from(job["state"] == "running" && job["attempts"].as_u64() >= Some(attempts));
        server.kill();
        server = Server::start_in(data.path(), &["--models", "neural-ilt-fast"]);
    }
    assert!(kills >= 5, "it was under way {kills} times");
    let ended = server.until(&path, |job| job["state"] != "queued" && job["state"] != "running");
    assert_eq!(ended["state"], "done", "{ended}");
    let mask = server.get(&format!("{path}/mask"));
    assert!(mask.body == expected, "{} bytes, {} expected", mask.body.len(), expected.len());
    let log = server.get(&format!("{path}/log"));
    assert_eq!(log.status, 200);
    assert_eq!(server.stop(), Some(0));
}

/// A training of some steps, asked for as a job; where it is.
fn training(server: &Server) -> String {
    let asked = br#"{"model": "neural-ilt-fast", "steps": 12, "batch": 1, "validate_every": 1, "validation_clips": 1, "seed": 3}"#;
    let answer = server.post("/v1/trainings", "application/json", asked);
    assert_eq!(answer.status, 202, "{}", answer.text());
    format!("/v1/jobs/{}", answer.json()["id"].as_str().expect("a number"))
}

/// As the job above, with a training run, whose weights are those of a run that nobody killed. A server has jobs if it has a method.
#[test]
fn a_training_whose_server_is_killed_ten_times_ends_as_if_never_killed() {
    const MODELS: [&str; 2] = ["--models", "ilt"];
    let ended = |server: &Server, path: &str| {
        let ended = server.until(path, |job| job["state"] != "queued" && job["state"] != "running");
        assert_eq!(ended["state"], "done", "{ended}");
        server.get(&format!("{path}/model.safetensors"))
    };
    let undisturbed = Server::start(&MODELS);
    let expected = ended(&undisturbed, &training(&undisturbed));
    assert_eq!((expected.status, undisturbed.stop()), (200, Some(0)));
    let data = tempfile::tempdir().expect("a folder");
    let mut server = Server::start_in(data.path(), &MODELS);
    let path = training(&server);
    let mut steps = 0;
    for kill in 1..=10 {
        let got_on =
            |job: &Value| job["progress"]["done"].as_u64().is_some_and(|done| done > steps);
        let job = server.until(&path, |job| got_on(job) || job["state"] == "failed");
        assert_eq!(job["state"], "running", "kill {kill}: {job}");
        steps = job["progress"]["done"].as_u64().unwrap_or_default();
        server.kill();
        server = Server::start_in(data.path(), &MODELS);
    }
    let weights = ended(&server, &path);
    assert!(
        weights.body == expected.body,
        "{} and {} bytes",
        weights.body.len(),
        expected.body.len()
    );
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn whoever_sends_no_token_gets_in_nowhere_but_at_the_health_checks() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokens");
    std::fs::write(&file, "fab:0123456789abcdef-fab\nlab:0123456789abcdef-lab\n").expect("written");
    let file = file.to_str().expect("text");
    let server =
        Server::start(&["--devices", "sleeping:2", "--sleeping", "1,1", "--token-file", file]);
    for path in ["/", "/v1/jobs", "/v1/status", "/v2", "/v2/models/sleeping", "/page.js"] {
        assert_eq!(server.get(path).status, 401, "{path}");
        let with = server.ask("GET", path, &["Authorization: Bearer 0123456789abcdef-fab"], b"");
        assert!(with.status == 200 || path == "/v1/jobs", "{path}: {}", with.text());
    }
    for path in ["/v2/health/live", "/v2/health/ready"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    assert_eq!(server.at("metrics", "GET", "/metrics", &[], b"").status, 401);
    let metrics = server.at(
        "metrics",
        "GET",
        "/metrics",
        &["Authorization: Bearer 0123456789abcdef-lab"],
        b"",
    );
    assert!(metrics.text().contains("nv_inference_request_success"), "{}", metrics.text());
    assert_eq!(server.stop(), Some(0));
}

fn refused(arguments: &[&str], words: &[&str]) {
    let data = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lithoburn-server"));
    command.arg("serve").arg("--data").arg(data.path());
    for port in ["--http-port", "--grpc-port", "--metrics-port"] {
        if !arguments.contains(&port) {
            command.args([port, "0"]);
        }
    }
    let output: Output = command.args(arguments).output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?}: {word:?} is not in {said:?}");
    }
    assert!(said.starts_with("error: "), "{said}");
}

#[test]
fn a_server_that_cannot_be_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_string()
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let cpu = ["--devices", "sleeping"];
    let with = |more: &[&'static str]| [&cpu[..], more].concat();
    let owned = |more: &[&str], words: &[&str]| refused(&[&cpu[..], more].concat(), words);
    refused(&with(&["--bind", "0.0.0.0"]), &["--token-file", "--insecure"]);
    refused(&["--devices", "gpu"], &["--devices", "cuda:N"]);
    refused(&["--devices", "cpu", "--models", "unet"], &["unet", "neural-ilt-fast", "simulator"]);
    owned(&["--http-port", &port], &["in use", "--http-port", &port]);
    owned(
        &["--config", &file("wrong.toml", "[limits]\nbody_bytes = 'x'")],
        &["wrong.toml", "limits.body_bytes"],
    );
    owned(&["--config", "/no/such.toml"], &["/no/such.toml"]);
    owned(&["--token-file", &file("short", "fab:secret")], &["line 1", "16 characters"]);
    let (certificate, key) = (file("c.pem", "nothing"), file("k.pem", "nothing"));
    owned(&["--tls-cert", &certificate, "--tls-key", &key], &["c.pem", "BEGIN CERTIFICATE"]);
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).expect("a folder");
    refused(&["--devices", "cpu", "--repository", empty.to_str().expect("text")], &["no model"]);
}

#[test]
fn two_servers_do_not_share_their_jobs_folder() {
    let data = tempfile::tempdir().expect("a folder");
    let sleeping = ["--devices", "sleeping:1"];
    let first = Server::start_in(data.path(), &sleeping);
    let mut command = Command::new(env!("CARGO_BIN_EXE_lithoburn-server"));
    command.args([
        "serve",
        "--http-port",
        "0",
        "--grpc-port",
        "0",
        "--metrics-port",
        "0",
        "--data",
    ]);
    let second = command.arg(data.path()).args(sleeping).output().expect("the program runs");
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(second.status.code() == Some(2) && said.contains("--data"), "{said}");
    assert_eq!(first.stop(), Some(0));
}

/// A layout dropped onto the page is corrected and shown, in a real browser.
#[test]
fn a_layout_dropped_on_the_page_is_corrected_and_shown() {
    let Some(mut browser) = serve::browser::Browser::open() else { return };
    let server = Server::start(&["--models", "neural-ilt-fast,simulator"]);
    let folder = tempfile::tempdir().expect("a folder");
    let layout = folder.path().join("bars.gds");
    std::fs::write(&layout, clip()).expect("written");
    browser.go(&server.url("/"));
    browser.until("document.getElementById('health').textContent === 'ready'");
    browser.choose("#layout", &layout);
    browser.run("document.getElementById('pixel').value = '2'");
    browser.run("document.getElementById('form').requestSubmit()");
    browser.until("!document.getElementById('metrics').hidden");
    browser.until("[...document.querySelectorAll('#pictures img')].every((i) => i.complete && i.naturalWidth > 0)");
    let pictures = browser.run("[...document.querySelectorAll('#pictures figcaption')].map((f) => f.textContent).join('; ')");
    for wanted in ["Target", "Mask", "Print", "process window"] {
        assert!(pictures.contains(wanted), "{pictures}");
    }
    let summary = browser.run("document.getElementById('summary').textContent");
    assert!(summary.contains("bars is done"), "{summary}");
    let listed = browser.run("document.getElementById('jobs').textContent");
    assert!(listed.contains("bars"), "{listed}");
    assert_eq!(browser.run("document.getElementById('mask').hidden.toString()"), "false");
    assert_eq!(browser.errors(), Vec::<String>::new(), "nothing was refused or failed on the page");
    let picture = browser.screenshot();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000);
    if let Some(path) = std::env::var_os("LITHOBURN_PAGE_PICTURE") {
        std::fs::write(path, &picture).expect("written");
    }
    // What is wrong is said where one looks.
    let wrong = folder.path().join("wrong.gds");
    std::fs::write(&wrong, b"no layout").expect("written");
    browser.choose("#layout", &wrong);
    browser.run("document.getElementById('form').requestSubmit()");
    browser.until("document.getElementById('summary').textContent.includes('wrong failed')");
    drop(browser);
    assert_eq!(server.stop(), Some(0));
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}
