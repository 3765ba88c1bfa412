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
    passes("open_inference_clients", &["open-inference-openapi", "open-inference-grpc", "numpy"])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kserve_client_is_answered() {
    passes("kserve_sdk", &["kserve", "numpy"]).await;
}
