//! Sources by the names that people give them.

use std::path::PathBuf;
use std::sync::Arc;

use super::{BlockSource, Chunk, Nats, Part, Shared};
use crate::FarmError;
use crate::clock::Wall;
use crate::desk::Desk;
use crate::job::Opened;
use crate::ledger::{FileLedger, Ledger, NatsLedger};
use crate::nats::{Address, Connection};

/// Who hands out blocks.
#[derive(Clone, Debug)]
pub enum Named {
    /// `local`: the workers themselves, over the job's folder.
    Local,
    /// `slurm`, `lsf`, `kubernetes`: each task of an array has its part.
    Array,
    /// `nats://HOST:PORT`, `tls://HOST:PORT`: a server of NATS with JetStream.
    Nats(Address),
}

impl Named {
    /// A source by its name, as it was given to `option`; the server lets us in with the file `auth`, and its certificate is signed by
    /// those in `ca`.
    ///
    /// # Errors
    ///
    /// [`FarmError::Setting`] if the name means nothing, or the files mean nothing to it.
    pub fn parse(
        option: &str,
        name: &str,
        auth: Option<PathBuf>,
        ca: Option<PathBuf>,
    ) -> Result<Self, FarmError> {
        let is_nats = ["nats://", "tls://"].iter().any(|scheme| name.starts_with(scheme));
        match name {
            // Everybody of the machine can read it there, and it would be in what is said of the server.
            name if is_nats && name.contains('@') => Err(FarmError::Setting(format!(
                "{option} names a secret: leave out what is before the @, and name a file that holds it (user:password, or a token), \
                 readable by its owner alone, by --auth"
            ))),
            name if !is_nats && (auth.is_some() || ca.is_some()) => Err(FarmError::Setting(
                format!("--auth and --ca mean nothing to {option} {name}: leave them out"),
            )),
            "local" => Ok(Self::Local),
            "slurm" | "lsf" | "kubernetes" => Ok(Self::Array),
            url if is_nats => Ok(Self::Nats(Address { url: url.into(), auth, ca })),
            other => Err(FarmError::Setting(format!(
                "{option} is local, slurm, lsf, kubernetes, nats://HOST:PORT or tls://HOST:PORT; got {other:?}"
            ))),
        }
    }

    /// Joins a job as the worker `me`.
    ///
    /// # Errors
    ///
    /// [`FarmError`] if the ledger or the server cannot be used, or no array's task is here.
    pub fn join(&self, job: &Opened, me: &str) -> Result<Box<dyn BlockSource>, FarmError> {
        let (total, lease) = (job.job.blocks, job.job.lease());
        let desk = || Ok::<_, FarmError>(Desk::new(FileLedger::open(&job.shared("ledger")?)?, me));
        Ok(match self {
            Self::Local => Box::new(Shared::join(desk()?, Wall::default(), total, lease)?),
            Self::Array => {
                let part = Part::of_environment(&|name| std::env::var(name).ok())?;
                Box::new(Chunk::join(desk()?, total, part)?)
            }
            Self::Nats(address) => {
                let connection = Arc::new(Connection::open(address, me)?);
                Box::new(Nats::join(connection, me, job.id.short(), total, lease)?)
            }
        })
    }

    /// A job's ledger alone.
    ///
    /// # Errors
    ///
    /// As [`Named::join`].
    pub fn ledger(&self, job: &Opened) -> Result<Arc<dyn Ledger>, FarmError> {
        Ok(match self {
            Self::Local | Self::Array => Arc::new(FileLedger::open(&job.shared("ledger")?)?),
            Self::Nats(address) => {
                let connection = Arc::new(Connection::open(address, "lithoburn-farm")?);
                Arc::new(NatsLedger::open(connection, job.id.short())?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_source_or_a_sentence() {
        let named = |name: &str| Named::parse("--source", name, None, None);
        assert!(matches!(named("local"), Ok(Named::Local)));
        assert!(matches!(named("slurm"), Ok(Named::Array)));
        assert!(matches!(named("tls://a:4222"), Ok(Named::Nats(_))));
        let error = named("http://a").expect_err("no source").to_string();
        assert!(error.starts_with("--source is local,") && error.contains("http://a"), "{error}");
        let error = named("nats://me:s3cret@a:4222").expect_err("a secret").to_string();
        assert!(error.contains("--auth") && !error.contains("s3cret"), "{error}");
        let secret = Some(PathBuf::from("secret"));
        let error = Named::parse("--farm", "local", secret, None).expect_err("no server");
        assert!(error.to_string().contains("nothing to --farm local"), "{error}");
    }
}
