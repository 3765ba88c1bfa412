//! Where a worker's blocks come from, by name.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use lithoburn_farm::job::Opened;
use lithoburn_farm::ledger::Ledger;
use lithoburn_farm::source::{BlockSource, Named};

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

impl SourceOptions {
    fn named(&self) -> Result<Named> {
        Ok(Named::parse("--source", &self.source, self.auth.clone(), self.ca.clone())?)
    }

    /// Joins a job as a worker.
    pub(crate) fn join(&self, job: &Opened, me: &str) -> Result<Box<dyn BlockSource>> {
        Ok(self.named()?.join(job, me)?)
    }

    /// The ledger alone.
    pub(crate) fn ledger(&self, job: &Opened) -> Result<AnyLedger> {
        Ok(self.named()?.ledger(job)?)
    }
}
