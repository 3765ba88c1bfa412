//! Slurm as the placer: a controller and two nodes with two pretended cards each, started by the test itself; one node is killed.
//!
//! Slurm notices a dead node after a while and starts its tasks again two minutes later: this takes some minutes where Slurm is.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lithoburn_farm::FarmError;
use lithoburn_farm::desk::Desk;
use lithoburn_farm::events::{What, read_all};
use lithoburn_farm::job::Opened;
use lithoburn_farm::ledger::{FileLedger, Kind, Ledger};
use lithoburn_farm::source::{Chunk, Part};
use lithoburn_testing::Need;

use crate::toy::{self, Toy};

/// Longest that the whole may take.
const PATIENCE: Duration = Duration::from_secs(500);
const BLOCKS: u64 = 400;
const TASKS: u64 = 8;

fn ledger(job: &Opened) -> FileLedger {
    FileLedger::open(&job.own("ledger")).expect("writable")
}

fn worked(job: &Opened, name: &str, takes: Duration) -> Result<(), FarmError> {
    let part = Part::of_environment(&|name| std::env::var(name).ok())?;
    let source = Chunk::join(Desk::new(ledger(job), name), job.job.blocks, part)?;
    toy::work(job, &source, name, &mut Toy::taking(takes), Duration::from_secs(30)).map(drop)
}

/// Not a test: the other half of the one below, which Slurm starts.
#[test]
fn is_a_worker() {
    if let Some(told) = toy::told("slurm") {
        let job = Opened::read(&told.folder).expect("planned");
        worked(&job, &told.name, told.takes).expect("works to the end");
    }
}

/// Daemons of this test alone.
struct Site {
    folder: PathBuf,
    controller: Child,
    nodes: Vec<Child>,
}

impl Site {
    /// Starts Slurm; without it, or the right to, the test says that it is skipped.
    fn start(folder: &Path) -> Option<Self> {
        let found = ["slurmctld", "slurmd", "sbatch"].iter().all(|name| on_path(name));
        let why = "no Slurm on the path (Debian's slurmctld, slurmd, slurm-client), or not root";
        Need::Slurm.met((found && is_root()).then_some(()), why)?;
        configure(folder);
        let controller = daemon(folder, "slurmctld", &["-D", "-i"]);
        let node = |name: &str| daemon(folder, "slurmd", &["-D", "-N", name]);
        let site = Self { folder: folder.into(), controller, nodes: vec![node("n1"), node("n2")] };
        let start = Instant::now();
        while site.ask("sinfo", &["-h", "-o", "%T %D"]).trim() != "idle 2" {
            assert!(start.elapsed() < Duration::from_secs(60), "{}", site.logs());
            std::thread::sleep(Duration::from_millis(300));
        }
        Some(site)
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).env("SLURM_CONF", self.folder.join("slurm.conf"));
        command
    }

    fn ask(&self, program: &str, args: &[&str]) -> String {
        let output = self.command(program, args).output().expect("started");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn logs(&self) -> String {
        let read = |name| std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        ["slurmctld.log", "n1.log", "n2.log"].map(read).concat()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.ask("scancel", &["--name", "toy"]);
        for daemon in self.nodes.iter_mut().chain([&mut self.controller]) {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).exists())
}

#[cfg(unix)]
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0)
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

fn port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("ours").port()
}

fn configure(folder: &Path) {
    let at = folder.display();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("Linux");
    let host = host.trim();
    let [controller, n1, n2] = [port(), port(), port()];
    let text = format!(
        "ClusterName=toy\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={controller}\nSlurmUser=root\nAuthType=auth/none\n\
         CredType=cred/none\nStateSaveLocation={at}/state\nSlurmdSpoolDir={at}/spool-%n\nSlurmctldPidFile={at}/ctld.pid\n\
         SlurmdPidFile={at}/%n.pid\nSlurmctldLogFile={at}/slurmctld.log\nSlurmdLogFile={at}/%n.log\nProctrackType=proctrack/linuxproc\n\
         SwitchType=switch/none\nTaskPlugin=task/none\nSelectType=select/cons_tres\nSelectTypeParameters=CR_Core\nGresTypes=gpu\n\
         SlurmdParameters=config_overrides\nReturnToService=2\nSlurmdTimeout=10\nMailProg=/bin/true\nMpiDefault=none\n\
         NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} CPUs=2 Gres=gpu:2\n\
         NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2} CPUs=2 Gres=gpu:2\n\
         PartitionName=toy Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
    );
    std::fs::write(folder.join("slurm.conf"), text).expect("written");
    let gres = format!("NodeName=n[1-2] Name=gpu File={at}/card[0-1]\n");
    std::fs::write(folder.join("gres.conf"), gres).expect("written");
    std::fs::create_dir_all(folder.join("state")).expect("made");
    (0..2).for_each(|i| std::fs::write(folder.join(format!("card{i}")), b"").expect("written"));
}

fn daemon(folder: &Path, program: &str, args: &[&str]) -> Child {
    let mut command = Command::new(program);
    command.args(args).env("SLURM_CONF", folder.join("slurm.conf"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("started")
}

/// The bar: a node's daemon is killed in the middle; its tasks run on unknown to Slurm, and again elsewhere.
#[test]
fn a_killed_node_changes_no_byte_and_no_block_counts_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut site) = Site::start(folder.path()) else { return };
    let job = toy::plan(&folder.path().join("job"), BLOCKS);
    let program = std::env::current_exe().expect("this program");
    let wrap = format!("exec {} --exact slurm::is_a_worker --nocapture", program.display());
    let sent = site
        .command("sbatch", &["--array", &format!("0-{}", TASKS - 1), "--gres=gpu:1", "--requeue"])
        .args(["--job-name=toy", "--open-mode=append", "--output=toy.log", "--wrap", &wrap])
        .current_dir(folder.path())
        .env(toy::ROLE, "slurm")
        .env(toy::FOLDER, job.folder())
        .env(toy::TAKES, "100")
        .env(toy::LEASE, "30000")
        .output()
        .expect("started");
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let desk = Desk::new(ledger(&job), "test");
    let start = Instant::now();
    while desk.progress(BLOCKS).expect("there").done < 40 {
        assert!(start.elapsed() < PATIENCE, "{}", site.logs());
        std::thread::sleep(Duration::from_millis(100));
    }
    site.nodes[0].kill().expect("it runs");
    site.nodes[0].wait().expect("it ended");
    let mut wait = |_: &_| {
        assert!(start.elapsed() < PATIENCE, "{}\n{}", site.ask("squeue", &[]), site.logs());
        true
    };
    let whole = toy::merge_while(&job, ledger(&job), &mut wait).expect("whole");
    assert_eq!(whole, toy::whole(&job));
    assert_eq!(ledger(&job).list(Kind::Receipt).expect("listed").len() as u64, BLOCKS);
    let all = read_all(&job.own("events")).expect("there");
    let count = |what| all.iter().flat_map(|(_, e)| e).filter(|e| e.what == what).count() as u64;
    assert_eq!((count(What::Committed), count(What::Different)), (BLOCKS, 0));
}
