//! Real clients: they are installed into a folder of their own, from the package index, and all their calls are made.
//!
//! It downloads some hundred MB, so that it has to be asked for: `LITHOBURN_CLIENTS=<folder>` names the folder, which is made if it is not there
//! and used again if it is.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{listening, models, started};

/// Names the folder of the installed clients.
const CLIENTS: &str = "LITHOBURN_CLIENTS";

/// The folder, or the test says that it is skipped.
fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os(CLIENTS).map(PathBuf::from);
    lithoburn_testing::Need::Registry
        .met(folder, format_args!("{CLIENTS} names no folder to install clients into"))
}

fn run(command: &mut Command) {
    let done = command.output().expect("starts");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(done.status.success(), "{command:?}:\n{text}");
}

/// A Python that has these packages.
fn python(folder: &Path, name: &str, packages: &[&str]) -> PathBuf {
    let room = folder.join(name);
    let (python, done) = (room.join("bin/python"), room.join("installed"));
    if !done.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&room));
        run(Command::new(&python).args(["-m", "pip", "install", "-q"]).args(packages));
        std::fs::write(done, packages.join("\n")).expect("writes");
    }
    python
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/clients").join(name)
}

/// Runs a script with a server's HTTP and gRPC addresses.
async fn passes(name: &'static str, packages: &'static [&'static str]) {
    let Some(folder) = folder() else { return };
    let server = started(models(8)).await;
    let (http, grpc) = (listening(server.http()).await, listening(server.grpc()).await);
    let work = move || {
        let python = python(&folder, name, packages);
        let script = script(&format!("{name}.py"));
        run(Command::new(python).arg(script).arg(http.to_string()).arg(grpc.to_string()));
    };
    tokio::task::spawn_blocking(work).await.expect("passes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_of_tritonclient_is_answered() {
    passes("triton", &["tritonclient[http,grpc]", "ml_dtypes", "numpy"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_open_inference_clients_are_answered() {
    passes(
        "open_inference_clients",
        &["open-inference-openapi", "open-inference-grpc", "grpcio", "protobuf"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kserve_client_is_answered() {
    passes("kserve_sdk", &["kserve", "numpy"]).await;
}

/// Names the program perf_analyzer, which has no package that runs everywhere. Where its libraries are, it has to know itself.
const ANALYZER: &str = "LITHOBURN_PERF_ANALYZER";

/// Ways to load a server; `HTTP`, `GRPC` and `METRICS` stand for addresses.
const WAYS: [&str; 8] = [
    "-u HTTP -i http --concurrency-range 2",
    "-u HTTP -i http -a --concurrency-range 4",
    "-u HTTP -i http --request-rate-range 50",
    "-u HTTP -i http --concurrency-range 2 --collect-metrics --metrics-url METRICS/metrics",
    "-u HTTP -i http --concurrency-range 2 --shared-memory system --output-shared-memory-size 16384",
    "-u GRPC -i grpc -a --concurrency-range 4",
    "-u GRPC -i grpc --streaming --concurrency-range 4",
    "-u GRPC -i grpc --concurrency-range 2 --shared-memory system --output-shared-memory-size 16384",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn perf_analyzer_measures_in_all_its_ways() {
    let program = std::env::var_os(ANALYZER);
    let why = format_args!("{ANALYZER} names no program");
    let Some(program) = lithoburn_testing::Need::Registry.met(program, why) else { return };
    let server = started(models(8)).await;
    let addresses = [
        ("HTTP", listening(server.http()).await),
        ("GRPC", listening(server.grpc()).await),
        ("METRICS", listening(server.metrics()).await),
    ];
    let work = move || {
        for way in WAYS {
            let with = |way: String, (word, address): &(&str, std::net::SocketAddr)| {
                way.replace(word, &address.to_string())
            };
            let way = addresses.iter().fold(way.to_string(), with);
            let options =
                ["-m", "tile", "--shape", "target:1,64,64", "-p", "500", "-r", "4", "-s", "999"];
            run(Command::new(&program).args(options).args(way.split(' ')));
        }
    };
    tokio::task::spawn_blocking(work).await.expect("passes");
}
