//! Sweeps that several processes share: whoever is killed when, the same bytes as one process alone.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lithoburn_testing::Need;

/// Six cases that take long enough to be killed in.
const SWEEP: [&str; 5] = ["cavity", "--re", "100,200,300,400,500,600", "--grid", "40x40"];
/// Files of a case in which there are no seconds.
const FILES: [&str; 4] = ["overview.png", "convergence.png", "fields.vti", "fields.vtr"];

fn line(folder: &Path, out: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lithoburn-cfd"));
    command.current_dir(folder).args(SWEEP).args(["--threads", "1", "--out", out]).args(more);
    command
}

fn start(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

fn end(child: Child) -> Output {
    child.wait_with_output().expect("the program ends")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// All that a sweep wrote and that does not tell how long it took.
fn written(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let cases = ["100", "200", "300", "400", "500", "600"].map(|re| out.join(format!("re-{re}")));
    let files = cases.iter().flat_map(|case| FILES.iter().map(move |file| case.join(file)));
    let tables = ["sweep.csv", "sweep.png"].map(|file| out.join(file));
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path.strip_prefix(out).expect("below").to_path_buf(), bytes)
    };
    files.chain(tables).map(read).collect()
}

fn alone(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let output = end(start(line(folder, "alone", &[])));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    written(&folder.join("alone"))
}

/// Entries of the job's ledger of a kind, on files.
fn entries(out: &Path, kind: &str) -> usize {
    let below = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
    let jobs = below(out.join("farm")).map(|entry| entry.path().join("ledger").join(kind));
    jobs.map(|folder| {
        below(folder).filter(|e| !e.file_name().to_string_lossy().starts_with('.')).count()
    })
    .sum()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(120), "{what} within two minutes");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// As `kill -9`, in the middle of its second case at the earliest.
fn killed_at_work(folder: &Path, out: &str, more: &[&str], leases: &dyn Fn() -> usize) {
    let mut doomed = start(line(folder, out, more));
    until("a second case is begun", || leases() >= 2);
    doomed.kill().expect("it runs");
    let output = end(doomed);
    assert!(!output.status.success(), "it was killed");
}

#[test]
fn a_killed_worker_loses_nothing_and_the_sweep_has_the_bytes_of_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("o");
    let shared = ["--farm", "--lease", "3"];
    killed_at_work(folder.path(), "o", &shared, &|| entries(&out, "lease"));
    assert!(entries(&out, "receipt") < entries(&out, "lease"), "a case was under way");
    let workers = [(); 2].map(|()| start(line(folder.path(), "o", &shared)));
    for output in workers.map(end) {
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(String::from_utf8_lossy(&output.stdout).contains("6 cases in"));
    }
    assert_eq!(written(&out), alone(folder.path()));
    assert_eq!(entries(&out, "receipt"), 6);
    // The same line once more computes nothing and says the same.
    let again = end(start(line(folder.path(), "o", &shared)));
    assert_eq!((again.status.code(), entries(&out, "receipt")), (Some(0), 6), "{}", said(&again));
    assert!(!said(&again).contains("re-100:"), "{}", said(&again));
}

#[test]
fn tasks_of_an_array_have_their_parts_and_the_last_one_writes_the_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("o");
    for (task, done) in [(0, 3), (1, 6)] {
        let mut command = line(folder.path(), "o", &["--farm", "slurm"]);
        command.env("SLURM_ARRAY_TASK_ID", task.to_string()).env("SLURM_ARRAY_TASK_COUNT", "2");
        let output = end(start(command));
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert_eq!(entries(&out, "receipt"), done);
        assert_eq!(out.join("sweep.csv").exists(), task == 1);
    }
    assert_eq!(written(&out), alone(folder.path()));
}

/// A server of NATS that ends with the test.
struct Server(Child, String);

impl Server {
    fn start(program: &Path, store: &Path) -> Self {
        let port =
            TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("ours").port();
        let mut command = Command::new(program);
        command.args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"]).arg(store);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
        until("nats-server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self(child, format!("nats://127.0.0.1:{port}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_server_hands_out_cases_and_those_of_a_killed_worker_again() {
    let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("nats-server")).find(|p| p.exists())
    };
    let Some(program) = Need::Nats.met(named.or_else(on_path), "no nats-server on the path") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&program, &folder.path().join("store"));
    let shared = ["--farm", &server.1, "--lease", "3"];
    // The ledger is in the server; what a case leaves first is its folder.
    let begun = || {
        let entries = std::fs::read_dir(folder.path().join("o")).into_iter().flatten().flatten();
        entries.filter(|e| e.file_name().to_string_lossy().starts_with("re-")).count()
    };
    killed_at_work(folder.path(), "o", &shared, &begun);
    let workers = [(); 2].map(|()| start(line(folder.path(), "o", &shared)));
    for output in workers.map(end) {
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    assert_eq!(written(&folder.path().join("o")), alone(folder.path()));
}

#[test]
fn what_cannot_be_shared_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |arguments: &[&str], words: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lithoburn-cfd"));
        let output = command.current_dir(folder.path()).args(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(words), "{arguments:?}: {}", said(&output));
    };
    let one = ["cavity", "--re", "100", "--grid", "16x16", "--farm"];
    refused(&one, "--farm shares a list of steady cases");
    refused(&["exchanger", "--farm"], "means nothing to one case");
    refused(&["cylinder", "--unsteady", "--farm"], "means nothing to --unsteady");
    refused(&["cavity", "--re", "1,2", "--farm", "ftp://a"], "--farm is local, slurm");
    refused(&["cavity", "--re", "1,2", "--farm", "--auth", "x"], "nothing to --farm local");
    refused(&["cavity", "--re", "1,2", "--lease", "5"], "--farm");
    refused(&["cavity", "--re", "1,2", "--farm", "--lease", "0"], "--lease must be a positive");
    let both = ["cavity", "--grid", "16x16", "--out", "o", "--farm", "--re"];
    let first = Command::new(env!("CARGO_BIN_EXE_lithoburn-cfd"))
        .current_dir(folder.path())
        .args(both)
        .arg("50,100")
        .output()
        .expect("it runs");
    assert_eq!(first.status.code(), Some(0), "{}", said(&first));
    refused(&[&both[..], &["50,200"]].concat(), "has another list of cases");
    refused(&[&both[..], &["50,100", "--clustering", "0"]].concat(), "settings");
}
