//! Where a worker's blocks come from, by name.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use lithoburn_farm::clock::Wall;
use lithoburn_farm::desk::Desk;
use lithoburn_farm::job::Opened;
use lithoburn_farm::ledger::{FileLedger, Ledger, NatsLedger};
use lithoburn_farm::nats::{Address, Connection};
use lithoburn_farm::source::{BlockSource, Chunk, Nats, Part, Shared};

/// Who hands out blocks.
#[derive(Args, Clone, Debug)]
pub(crate) struct SourceOptions {
    /// local: the job's folder alone, which all machines share; nats://HOST:4222 or tls://HOST:4222: a server of NATS with JetStream;
    /// slurm, lsf or kubernetes: an array task's part of the blocks, in the job's folder.
    #[arg(long, value_name = "WHO", default_value = "local")]
    pub(crate) source: String,
    /// File that the server lets us in with: a token, user:password, an NKey's seed, or credentials.
    #[arg(long, value_name = "FILE")]
    pub(crate) auth: Option<PathBuf>,
    /// Certificates (PEM) that the server's own is signed by.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

/// A ledger of any kind.
pub(crate) type AnyLedger = Arc<dyn Ledger>;

enum Who {
    Local,
    Array,
    Nats(Address),
}

impl SourceOptions {
    fn who(&self) -> Result<Who> {
        let is_nats = ["nats://", "tls://"].iter().any(|scheme| self.source.starts_with(scheme));
        let (auth, ca) = (self.auth.clone(), self.ca.clone());
        match self.source.as_str() {
            url if !is_nats && (auth.is_some() || ca.is_some()) => {
                bail!("--auth and --ca mean nothing to --source {url}: leave them out")
            }
            "local" => Ok(Who::Local),
            "slurm" | "lsf" | "kubernetes" => Ok(Who::Array),
            url if is_nats => Ok(Who::Nats(Address { url: url.into(), auth, ca })),
            other => bail!(
                "--source is local, slurm, lsf, kubernetes, nats://HOST:PORT or tls://HOST:PORT; got {other:?}"
            ),
        }
    }

    /// As [`Self::who`], if it can serve a job.
    fn for_job(&self, job: &Opened) -> Result<Who> {
        let who = self.who()?;
        if let (Some(store), false) = (&job.job.store, matches!(who, Who::Nats(_))) {
            bail!(
                "the job is in {store}, where machines share no files: its blocks are handed out by a server, --source nats://HOST:4222"
            );
        }
        Ok(who)
    }

    /// Joins a job as a worker.
    pub(crate) fn join(&self, job: &Opened, me: &str) -> Result<Box<dyn BlockSource>> {
        let (total, lease) = (job.job.blocks, job.job.lease());
        Ok(match self.for_job(job)? {
            Who::Local => {
                let desk = Desk::new(FileLedger::open(&job.own("ledger"))?, me);
                Box::new(Shared::join(desk, Wall::default(), total, lease)?)
            }
            Who::Array => {
                let part = Part::of_environment(&|name| std::env::var(name).ok())?;
                let desk = Desk::new(FileLedger::open(&job.own("ledger"))?, me);
                Box::new(Chunk::join(desk, total, part)?)
            }
            Who::Nats(address) => {
                let connection = Arc::new(Connection::open(&address, me)?);
                Box::new(Nats::join(connection, me, job.id.short(), total, lease)?)
            }
        })
    }

    /// The ledger alone.
    pub(crate) fn ledger(&self, job: &Opened) -> Result<AnyLedger> {
        Ok(match self.for_job(job)? {
            Who::Local | Who::Array => Arc::new(FileLedger::open(&job.own("ledger"))?),
            Who::Nats(address) => {
                let connection = Arc::new(Connection::open(&address, "lithoburn-farm")?);
                Arc::new(NatsLedger::open(connection, job.id.short())?)
            }
        })
    }
}
