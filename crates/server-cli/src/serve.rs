//! `lithoburn serve`: layouts and tensors in, masks out, for many clients at once.
//!
//! The command line and a file say what is served ([`options`]), devices are tested, models are described, and only then is a port opened. Models are
//! brought to their devices while the server answers already that it is alive; it is ready when they are warm.

mod options;
mod ports;
#[cfg(unix)]
mod reload;
mod status;
mod text;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lithoburn_pool::Chosen;
use lithoburn_server::jobs::{self, Jobs};
use lithoburn_server::layouts::masks;
use lithoburn_server::model::{Device, Model};
use lithoburn_server::page;
use lithoburn_server::protocol;
use lithoburn_server::schedule::{self, Readiness};
use lithoburn_server::security::{may_bind, threads};
use lithoburn_server::server::{Builder, Server};
use lithoburn_server::sleeping::Sleeping;
use lithoburn_server::telemetry::Cards;
use tokio::signal;
use tokio_util::sync::CancellationToken;

use crate::corrector::{Engine, Method};
use crate::devices::{chosen, sleeping};
use crate::models::{Described, Runner, Served, described_methods, repository, shipped};
use lithoburn_terminal::Verdict;
use lithoburn_terminal::note;
pub(crate) use options::ServeArgs;
use options::Settings;
use ports::Ports;

/// What is served, and where.
struct Planned {
    settings: Settings,
    devices: Vec<Chosen>,
    /// Their threads.
    runners: Vec<Arc<Runner>>,
    described: Vec<Described>,
    methods: Vec<Method>,
    /// Devices that sleep, instead of others.
    sleepers: Option<usize>,
}

/// Serves until it is told to stop.
///
/// # Errors
///
/// One that says what was wrong and what to do, before anything is served.
pub(crate) fn serve(args: &ServeArgs) -> Result<Verdict> {
    let settings = args.settings()?;
    may_bind(settings.bind, settings.tokens.is_some(), settings.insecure)?;
    log(settings.log_json);
    let planned = Planned::new(settings)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(threads()).enable_all().build();
    runtime.context("no threads for connections")?.block_on(run(planned))
}

/// The methods that correct layouts: the shipped ones among these models, a repository's, and those of a settings file.
pub(crate) fn methods_of(
    models: &[String],
    folder: Option<&Path>,
    config: Option<&Path>,
) -> Result<Vec<Method>> {
    let mut all = described(models, folder)?;
    for model in config.map(options::models).transpose()?.unwrap_or_default() {
        all.push(model.described()?);
    }
    Ok(described_methods(&all))
}

fn described(models: &[String], folder: Option<&Path>) -> Result<Vec<Described>> {
    let mut all = shipped(models)?;
    if let Some(folder) = folder {
        // A repository's model of a shipped one's name is a newer version of it, or takes its place.
        let own = repository(folder)?;
        all.retain(|ours| {
            own.iter().all(|theirs| (&theirs.name, theirs.version) != (&ours.name, ours.version))
        });
        all.extend(own);
    }
    Ok(all)
}

impl Planned {
    fn new(settings: Settings) -> Result<Self> {
        let sleepers = sleeping(&settings.devices)?;
        if sleepers.is_some() {
            return Ok(Self {
                settings,
                devices: Vec::new(),
                runners: Vec::new(),
                described: Vec::new(),
                methods: Vec::new(),
                sleepers,
            });
        }
        let mut described = described(&settings.models, settings.repository.as_deref())?;
        for model in &settings.model {
            described.push(model.described().context("serve.toml")?);
        }
        let devices = chosen(&settings.devices)?;
        let runners = devices.iter().cloned().map(Runner::start).collect::<std::io::Result<_>>();
        let runners = runners.context("no threads for devices")?;
        let methods = described_methods(&described);
        Ok(Self { settings, devices, runners, described, methods, sleepers })
    }

    /// The scheduler's side.
    fn server(&self) -> Builder {
        let settings = &self.settings;
        let terms =
            schedule::Terms { capacity: settings.queue.capacity, ..schedule::Terms::default() };
        let protocol = protocol::Settings {
            body_limit: settings.limits.body_bytes,
            // Whoever comes from elsewhere has no memory in common with this machine.
            shared_memory: settings.bind.is_loopback() && settings.shared_memory,
            timeout: settings.queue.timeout_ms.map(Duration::from_millis),
            ..protocol::Settings::default()
        };
        let server = Server::builder().terms(terms).settings(protocol).cards(Cards::open());
        if let Some(count) = self.sleepers {
            let [base, item] = settings.sleeping;
            let model = Sleeping::new("sleeping", base, item, settings.queue.sleeping_batch);
            let devices = (0..count).map(|i| Device::new(format!("sleeping:{i}")));
            return server.devices(devices).model(Arc::new(model));
        }
        let models = self.described.iter().map(|described| {
            Arc::new(Served::new(described.clone(), self.runners.clone())) as Arc<dyn Model>
        });
        let devices = self.devices.iter().map(|chosen| Device {
            name: chosen.name.clone(),
            uuid: lithoburn_pool::identity(&chosen.name),
        });
        models.fold(server.devices(devices), Builder::model)
    }

    fn job_terms(&self) -> Result<jobs::Terms> {
        let settings = &self.settings;
        let program = std::env::current_exe().context("the program does not know its own file")?;
        let theirs = settings.jobs.devices.as_deref().map(chosen).transpose();
        let theirs = theirs.context("[jobs] devices")?;
        let devices = theirs.as_ref().unwrap_or(&self.devices);
        let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
        let mut arguments = vec!["work".to_string(), "--devices".into(), names.join(",")];
        if !settings.models.is_empty() {
            arguments.extend(["--models".into(), settings.models.join(",")]);
        }
        if let Some(folder) = &settings.repository {
            arguments.extend(["--repository".into(), folder.display().to_string()]);
        }
        if let Some(file) = &settings.config {
            arguments.extend(["--config".into(), file.display().to_string()]);
        }
        let own = &settings.jobs;
        Ok(jobs::Terms {
            queued: own.queued,
            soft: Duration::from_secs(own.soft_seconds),
            hard: Duration::from_secs(own.hard_seconds),
            keep: Duration::from_secs(own.keep_hours.saturating_mul(3600)),
            ..jobs::Terms::new(settings.data.clone(), program, arguments)
        })
    }
}

async fn run(planned: Planned) -> Result<Verdict> {
    let start = Instant::now();
    // Ports first: a server that nobody can reach need not warm up.
    let ports = Ports::bind(&planned.settings).await?;
    // Jobs are left at once, and requests when they are answered.
    let (leave, stop) = (CancellationToken::new(), CancellationToken::new());
    let jobs = Jobs::open(planned.job_terms()?, leave.clone())?;
    let server = Arc::new(planned.server().start()?);
    note(&text::begin(&planned, &ports));
    let routes = routes(&planned, &server, &jobs, ports.metrics(), &stop);
    let serving = ports.serve(&planned.settings, &server, routes, &stop);
    let working = (!planned.methods.is_empty()).then(|| tokio::spawn(jobs.clone().work()));
    #[cfg(unix)]
    if let Some(folder) = planned.settings.repository.clone() {
        let (scheduler, runners) = (server.scheduler().clone(), planned.runners.clone());
        tokio::spawn(reload::Follower::new(folder, scheduler, runners).follow());
    }
    tokio::spawn(announce(server.clone(), ports.addresses(&planned.settings), start));
    until_told().await;
    note(
        "stopping: what is in flight ends, jobs go on when the server starts again; once more ends at once",
    );
    tokio::spawn(async {
        until_told().await;
        std::process::exit(130);
    });
    leave.cancel();
    let whole = server.stop(planned.settings.limits.drain_time).await;
    stop.cancel();
    for task in serving.into_iter().chain(working) {
        // A task that panicked has said so.
        let _ = task.await;
    }
    match whole {
        true => Ok(Verdict::Done),
        false => {
            note("some requests were not answered in time");
            Ok(Verdict::NotMet)
        }
    }
}

/// What is added to the protocol's paths.
fn routes(
    planned: &Planned,
    server: &Arc<Server>,
    jobs: &Jobs,
    metrics_port: u16,
    stop: &CancellationToken,
) -> ports::Routes {
    let settings = &planned.settings;
    let own = server.clone();
    let (devices, methods) = (planned.devices.clone(), planned.methods.clone());
    let names: Vec<String> = methods.iter().map(|method| method.name.clone()).collect();
    let told = names.clone();
    let status = move || status::status(&own.snapshot(), &devices, &told, metrics_port);
    let source: page::Source = Arc::new(status);
    let pages = page::routes(source, jobs.clone(), stop.clone());
    if methods.is_empty() {
        return pages;
    }
    let most = settings.limits.layout_bytes as u64;
    let terms = masks::Terms { bytes: most, at_once: 1, waiting: settings.jobs.waiting };
    let engine = Arc::new(Engine::new(planned.devices.clone(), methods));
    pages.merge(masks::routes(engine, settings.data.join("uploads"), terms)).merge(jobs::routes(
        jobs.clone(),
        names,
        most,
        stop.clone(),
    ))
}

/// Says when the server is ready: to people, and with its addresses to programs.
async fn announce(server: Arc<Server>, addresses: serde_json::Value, start: Instant) {
    let readiness = server.settled().await;
    for problem in readiness.problems() {
        note(&format!("note: {problem}"));
    }
    let seconds = start.elapsed().as_secs_f64();
    match readiness {
        Readiness::Ready => note(&format!("ready after {seconds:.1} s")),
        other => note(&format!("{} after {seconds:.1} s", other.name())),
    }
    lithoburn_terminal::say(false, &addresses.to_string());
}

/// Returns at Ctrl-C, and at SIGTERM, which systemd and Kubernetes send.
async fn until_told() {
    #[cfg(unix)]
    {
        let terminate = signal::unix::signal(signal::unix::SignalKind::terminate());
        if let Ok(mut terminate) = terminate {
            tokio::select! {
                _ = signal::ctrl_c() => (),
                _ = terminate.recv() => (),
            }
            return;
        }
    }
    let _ = signal::ctrl_c().await;
}

/// What happens, as lines on standard error: notes alone, unless RUST_LOG's levels are asked for.
fn log(json: bool) {
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let wanted = std::env::var("LITHOBURN_LOG").ok().and_then(|level| level.parse().ok());
    let level: LevelFilter = wanted.unwrap_or(LevelFilter::WARN);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(level);
    let _ = match json {
        true => registry.with(lines.json()).try_init(),
        false => registry.with(lines.with_ansi(false)).try_init(),
    };
}
