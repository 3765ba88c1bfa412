//! Options of lists of cases that several machines share.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use lithoburn_farm::source::Named;

/// Sharing a list of cases.
#[derive(Args, Debug)]
#[command(next_help_heading = "Several machines")]
pub(crate) struct FarmOptions {
    /// Share the cases with every machine that runs this same line: local, over the folder --out, which all must see;
    /// nats://HOST:4222 or tls://HOST:4222, by a server of NATS with JetStream; slurm, lsf or kubernetes, as the tasks of an array.
    #[arg(long, value_name = "WHO", num_args = 0..=1, default_missing_value = "local")]
    farm: Option<String>,
    /// File that the server lets us in with: a token, user:password, an NKey's seed, or credentials.
    #[arg(long, value_name = "FILE", requires = "farm")]
    auth: Option<PathBuf>,
    /// Certificates (PEM) that the server's own is signed by.
    #[arg(long, value_name = "FILE", requires = "farm")]
    ca: Option<PathBuf>,
    /// Seconds after which a case whose machine is not heard of is another one's.
    #[arg(
        long,
        value_name = "S",
        default_value_t = 30.0,
        requires = "farm",
        allow_negative_numbers = true
    )]
    pub(crate) lease: f64,
}

impl FarmOptions {
    /// Whether cases are shared.
    pub(crate) fn is_asked(&self) -> bool {
        self.farm.is_some()
    }

    /// Who hands out cases, if they are shared.
    ///
    /// # Errors
    ///
    /// If the name means nothing.
    pub(crate) fn source(&self) -> Result<Option<Named>> {
        let named =
            |name: &String| Named::parse("--farm", name, self.auth.clone(), self.ca.clone());
        Ok(self.farm.as_ref().map(named).transpose()?)
    }

    /// Refuses to share what is no list of cases.
    ///
    /// # Errors
    ///
    /// If sharing was asked for.
    pub(crate) fn refuse(&self, what: &str) -> Result<()> {
        if self.is_asked() {
            bail!(
                "--farm shares a list of steady cases, such as --re 10,20,40, and means nothing to {what}"
            );
        }
        Ok(())
    }
}
