//! What a server is told: by options, and by a file, of which options go before.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use lithoburn_server::security::{Limits, Tokens};
use serde::Deserialize;

use crate::models;

/// Ports by default, as Triton has them.
const PORTS: [u16; 3] = [8000, 8001, 8002];

/// Serve layouts and tensors over HTTP and gRPC, with jobs, metrics and a page at /.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// Settings (TOML); options go before them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Devices: all GPUs that work, or a list such as cuda:0,cuda:1 or cpu; sleeping:N for devices that only sleep [default: all].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    devices: Option<Vec<String>>,
    /// What of the shipped models is served: methods, their networks (NAME-network), simulator [default: everything].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// Folder with weights of one's own: models/NAME/VERSION/ with config.json and model.safetensors.
    #[arg(long, value_name = "DIR")]
    repository: Option<PathBuf>,
    /// Address to listen on; beyond this machine's own, tokens are asked for [default: 127.0.0.1].
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<IpAddr>,
    /// Port of HTTP; 0 lets the system choose [default: 8000].
    #[arg(long, value_name = "PORT")]
    http_port: Option<u16>,
    /// Port of gRPC [default: 8001].
    #[arg(long, value_name = "PORT")]
    grpc_port: Option<u16>,
    /// Port of /metrics [default: 8002].
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,
    /// Tokens that clients must send one of: lines of NAME:TOKEN.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Lets everybody in who reaches the address.
    #[arg(long)]
    insecure: bool,
    /// Certificates (PEM), the server's first: all ports speak TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Another name that browsers know this server by, if no token is asked for.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Folder for jobs and layouts on their way [default: lithoburn in the user's state directory].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Time of a batch and of each of its items on devices that sleep, in ms.
    #[arg(long, value_name = "BASE,ITEM", value_delimiter = ',', num_args = 1..)]
    sleeping: Option<Vec<f64>>,
    /// Logs as lines of JSON; LITHOBURN_LOG=info says more.
    #[arg(long)]
    log_json: bool,
}

/// A settings file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    bind: Option<IpAddr>,
    http_port: Option<u16>,
    grpc_port: Option<u16>,
    metrics_port: Option<u16>,
    devices: Option<Vec<String>>,
    models: Option<Vec<String>>,
    repository: Option<PathBuf>,
    token_file: Option<PathBuf>,
    insecure: bool,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    hosts: Vec<String>,
    data: Option<PathBuf>,
    shared_memory: Option<bool>,
    queue: Queue,
    limits: FileLimits,
    jobs: JobLimits,
    model: Vec<models::Settings>,
}

/// What waits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Queue {
    /// Requests that wait at most.
    pub(super) capacity: usize,
    /// How long one may wait if it does not say.
    pub(super) timeout_ms: Option<u64>,
    /// Most items in a batch of devices that sleep.
    pub(super) sleeping_batch: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { capacity: 1024, timeout_ms: None, sleeping_batch: 32 }
    }
}

/// Limits of doors; those left out have their defaults.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileLimits {
    connections: Option<usize>,
    streams: Option<u32>,
    header_bytes: Option<usize>,
    header_seconds: Option<u64>,
    handshake_seconds: Option<u64>,
    body_bytes: Option<usize>,
    layout_bytes: Option<usize>,
    body_pause_seconds: Option<u64>,
    drain_seconds: Option<u64>,
}

/// Limits of jobs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct JobLimits {
    /// Devices that jobs have, instead of the server's own.
    pub(super) devices: Option<Vec<String>>,
    /// Jobs that wait at most.
    pub(super) queued: usize,
    /// Layouts that wait at most for one that is corrected while its client waits.
    pub(super) waiting: usize,
    /// Time after which a job is asked to end.
    pub(super) soft_seconds: u64,
    /// Time after which it is ended.
    pub(super) hard_seconds: u64,
    /// Time that an ended job is kept.
    pub(super) keep_hours: u64,
}

impl Default for JobLimits {
    fn default() -> Self {
        let hour = 3600;
        Self {
            devices: None,
            queued: 64,
            waiting: 8,
            soft_seconds: 6 * hour,
            hard_seconds: 6 * hour + hour / 4,
            keep_hours: 7 * 24,
        }
    }
}

/// What a server is told, checked.
#[derive(Debug)]
pub(super) struct Settings {
    /// The file that some of it comes from.
    pub(super) config: Option<PathBuf>,
    pub(super) bind: IpAddr,
    /// Of HTTP, gRPC and metrics.
    pub(super) ports: [u16; 3],
    pub(super) devices: Vec<String>,
    pub(super) models: Vec<String>,
    pub(super) model: Vec<models::Settings>,
    pub(super) repository: Option<PathBuf>,
    pub(super) tokens: Option<Tokens>,
    pub(super) insecure: bool,
    pub(super) tls: Option<[PathBuf; 2]>,
    pub(super) hosts: Vec<String>,
    pub(super) data: PathBuf,
    pub(super) shared_memory: bool,
    pub(super) queue: Queue,
    pub(super) limits: Limits,
    pub(super) jobs: JobLimits,
    pub(super) sleeping: [Duration; 2],
    pub(super) log_json: bool,
}

impl ServeArgs {
    /// What options and the file say.
    pub(super) fn settings(&self) -> Result<Settings> {
        let file = self.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let port =
            |own: Option<u16>, file: Option<u16>, at: usize| own.or(file).unwrap_or(PORTS[at]);
        let ports = [
            port(self.http_port, file.http_port, 0),
            port(self.grpc_port, file.grpc_port, 1),
            port(self.metrics_port, file.metrics_port, 2),
        ];
        let token_file = self.token_file.as_ref().or(file.token_file.as_ref());
        let certificate = self.tls_cert.clone().or(file.tls_cert);
        let tls = match (certificate, self.tls_key.clone().or(file.tls_key)) {
            (Some(certificate), Some(key)) => Some([certificate, key]),
            (None, None) => None,
            _ => bail!("tls_cert and tls_key belong together: one of them is missing"),
        };
        let hosts = if self.host.is_empty() { file.hosts } else { self.host.clone() };
        Ok(Settings {
            config: self.config.clone(),
            bind: self.bind.or(file.bind).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            ports,
            devices: self.devices.clone().or(file.devices).unwrap_or_else(|| vec!["all".into()]),
            models: self.models.clone().or(file.models).unwrap_or_default(),
            model: file.model,
            repository: self.repository.clone().or(file.repository),
            tokens: token_file.map(|path| Tokens::read(path)).transpose()?,
            insecure: self.insecure || file.insecure,
            tls,
            hosts,
            data: self.data.clone().or(file.data).unwrap_or_else(state_directory),
            shared_memory: file.shared_memory.unwrap_or(true),
            queue: file.queue,
            limits: file.limits.checked()?,
            jobs: file.jobs.checked()?,
            sleeping: self.sleeping()?,
            log_json: self.log_json,
        })
    }

    fn sleeping(&self) -> Result<[Duration; 2]> {
        let ms = match self.sleeping.as_deref() {
            None => [10.0, 1.0],
            Some(&[base, item]) => [base, item],
            Some(other) => bail!("--sleeping takes BASE,ITEM in ms, got {} numbers", other.len()),
        };
        let duration = |ms: f64| Duration::try_from_secs_f64(ms / 1000.0);
        match ms.map(duration) {
            [Ok(base), Ok(item)] => Ok([base, item]),
            _ => bail!("--sleeping takes BASE,ITEM of 0 ms or more, got {},{}", ms[0], ms[1]),
        }
    }
}

/// The models that a settings file describes.
pub(super) fn models(path: &Path) -> Result<Vec<models::Settings>> {
    Ok(read(path)?.model)
}

/// A settings file; an error names the field.
fn read(path: &Path) -> Result<File> {
    let named = || format!("the settings {}", path.display());
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", named()))?;
    let values =
        toml::Deserializer::parse(&text).map_err(|e| anyhow::anyhow!("{}: {e}", named()))?;
    serde_path_to_error::deserialize(values).map_err(|error| {
        let (field, problem) = (error.path().to_string(), error.into_inner());
        match field.as_str() {
            "." => anyhow::anyhow!("{}: {}", named(), problem.message()),
            field => anyhow::anyhow!("{}, {field}: {}", named(), problem.message()),
        }
    })
}

impl FileLimits {
    fn checked(self) -> Result<Limits> {
        let own = Limits::default();
        let seconds = |given: Option<u64>, own: Duration| given.map_or(own, Duration::from_secs);
        let limits = Limits {
            connections: self.connections.unwrap_or(own.connections),
            streams: self.streams.unwrap_or(own.streams),
            header_bytes: self.header_bytes.unwrap_or(own.header_bytes),
            header_time: seconds(self.header_seconds, own.header_time),
            handshake_time: seconds(self.handshake_seconds, own.handshake_time),
            body_bytes: self.body_bytes.unwrap_or(own.body_bytes),
            layout_bytes: self.layout_bytes.unwrap_or(own.layout_bytes),
            body_pause: seconds(self.body_pause_seconds, own.body_pause),
            drain_time: seconds(self.drain_seconds, own.drain_time),
        };
        if limits.connections == 0 || limits.streams == 0 || limits.body_bytes == 0 {
            bail!("limits: connections, streams and body_bytes must be 1 or more");
        }
        Ok(limits)
    }
}

impl JobLimits {
    fn checked(self) -> Result<Self> {
        if self.hard_seconds < self.soft_seconds {
            bail!(
                "jobs: hard_seconds is {}, less than soft_seconds, {}: a job is asked before it is ended",
                self.hard_seconds,
                self.soft_seconds
            );
        }
        Ok(self)
    }
}

/// Where a program's state is kept: systemd's folder for it, or the user's.
fn state_directory() -> PathBuf {
    let folder =
        |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let own = folder("STATE_DIRECTORY");
    let state = || {
        folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")))
    };
    own.or_else(|| state().map(|state| state.join("lithoburn")))
        .unwrap_or_else(|| "lithoburn-data".into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Told {
        #[command(flatten)]
        args: ServeArgs,
    }

    fn told(text: &str, more: &[&str]) -> Result<Settings> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        let path = file.path().to_str().expect("text");
        let all = ["serve", "--config", path].into_iter().chain(more.iter().copied());
        Told::try_parse_from(all).expect("options").args.settings()
    }

    #[test]
    fn a_file_says_what_options_do_not() {
        let text = "bind = '0.0.0.0'\nhttp_port = 9000\ndevices = ['cpu']\nmodels = ['ilt']\ninsecure = true\n\
                    [limits]\nbody_bytes = 1000\nheader_seconds = 3\n[jobs]\nqueued = 5\ndevices = ['cuda:3']\n\
                    [[model]]\nname = 'small'\nmethod = 'ilt'\nfield_nm = 512\n";
        let settings =
            told(text, &["--http-port", "0", "--devices", "cpu,cuda:1"]).expect("settings");
        assert_eq!(settings.ports, [0, 8001, 8002]);
        assert_eq!(settings.devices, ["cpu", "cuda:1"]);
        assert_eq!(
            (settings.models.as_slice(), settings.bind.to_string()),
            (&["ilt".to_string()][..], "0.0.0.0".into())
        );
        assert_eq!(
            (settings.limits.body_bytes, settings.limits.header_time),
            (1000, Duration::from_secs(3))
        );
        assert_eq!((settings.jobs.queued, settings.model[0].name.as_str()), (5, "small"));
        assert_eq!(settings.jobs.devices, Some(vec!["cuda:3".to_string()]));
        let bare =
            Told::try_parse_from(["serve", "--sleeping", "80,4"]).expect("options").args.settings();
        let bare = bare.expect("settings");
        assert_eq!((bare.bind.to_string(), bare.ports), ("127.0.0.1".into(), PORTS));
        assert_eq!(bare.sleeping, [80, 4].map(Duration::from_millis));
    }

    #[test]
    fn what_is_wrong_with_settings_is_named_by_its_field() {
        for (text, wanted) in [
            ("http_prot = 1", "http_prot"),
            ("http_port = 'x'", "http_port"),
            ("http_port = 70000", "http_port"),
            ("[limits]\nbody_bytes = -1", "limits.body_bytes"),
            ("[jobs]\nqueued = 1.5", "jobs.queued"),
            ("[jobs]\nsoft_seconds = 10\nhard_seconds = 5", "hard_seconds"),
            ("[[model]]\nname = 'a'\nkind = 'methods'", "model[0].kind"),
            ("[[model]]\nmethod = 'ilt'", "name"),
            ("bind = 'here'", "bind"),
            ("tls_cert = 'a.pem'", "tls_key"),
            ("token_file = '/no/such/file'", "/no/such/file"),
            ("http_port 9", "line 1"),
        ] {
            let error = format!("{:#}", told(text, &[]).expect_err(text));
            assert!(error.contains(wanted), "{text}: {error}");
        }
        let missing =
            Told::try_parse_from(["serve", "--config", "/no/such.toml"]).expect("options");
        let error = format!("{:#}", missing.args.settings().expect_err("missing"));
        assert!(error.contains("/no/such.toml"), "{error}");
        assert!(Told::try_parse_from(["serve", "--tls-cert", "a"]).is_err(), "a key is missing");
    }
}
