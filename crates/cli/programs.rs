//! Jobs that are programs of their own: `lithoburn cfd`, `serve`, `load`, `farm` and others hand over to the program beside this one.
//!
//! What they need is not built or linked for masks: the way of `git` and `cargo`, whose subcommands are programs beside them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, anyhow};
use clap::Args;

use crate::Verdict;

/// What the other program is told.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub struct Rest {
    /// What the program is told; --help lists what it takes.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    rest: Vec<OsString>,
}

impl Rest {
    /// What this program itself was told.
    pub(crate) fn new(rest: Vec<OsString>) -> Self {
        Self { rest }
    }
}

/// A program beside this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its file's name.
    name: &'static str,
    /// What it does.
    does: &'static str,
    /// Job that it is told, if it has several.
    job: Option<&'static str>,
}

impl Program {
    /// Flow.
    pub const CFD: Self = Self { name: "lithoburn-cfd", does: "solves flows", job: None };

    /// A job of the server's program.
    pub const fn server(job: &'static str) -> Self {
        let does = "serves masks and loads servers";
        Self { name: "lithoburn-server", does, job: Some(job) }
    }

    /// Several machines, for a job of theirs or for what they are told.
    pub const fn farm(job: Option<&'static str>) -> Self {
        Self { name: "lithoburn-farm", does: "shares work among machines", job }
    }

    /// Runs it: its exit status is this program's.
    ///
    /// # Errors
    ///
    /// If it is not there, or cannot be run.
    pub fn run(self, told: &Rest) -> Result<Verdict> {
        let program = self.file();
        let error = hand_over(Command::new(&program).args(self.job).args(&told.rest))?;
        let Some(error) = error else { return Ok(Verdict::Done) };
        Err(anyhow!(error).context(format!(
            "cannot run {}, which {}: build it with `cargo build --release -p {}-cli` and leave it beside this program",
            program.display(),
            self.does,
            self.name
        )))
    }

    /// The program beside this one, or on the path if there is none.
    fn file(self) -> PathBuf {
        let own = std::env::current_exe().ok();
        let name = format!("{}{}", self.name, std::env::consts::EXE_SUFFIX);
        beside(own.as_deref(), name.as_ref()).unwrap_or_else(|| name.into())
    }
}

fn beside(own: Option<&Path>, name: &OsStr) -> Option<PathBuf> {
    own.map(|own| own.with_file_name(name)).filter(|path| path.exists())
}

/// Becomes the other program, so that signals reach it and no other process waits; returns only if it cannot be run.
#[cfg(unix)]
fn hand_over(command: &mut Command) -> Result<Option<std::io::Error>> {
    use std::os::unix::process::CommandExt;
    Ok(Some(command.exec()))
}

/// Runs the other program and ends as it does.
#[cfg(not(unix))]
fn hand_over(command: &mut Command) -> Result<Option<std::io::Error>> {
    match command.status() {
        Err(error) => Ok(Some(error)),
        Ok(status) => match status.code() {
            Some(0) => Ok(None),
            // It has said why by itself.
            code => std::process::exit(code.unwrap_or(130)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_beside_this_one_goes_before_the_paths() {
        let folder = tempfile::tempdir().expect("a folder");
        let (own, name) = (folder.path().join("lithoburn"), OsStr::new("lithoburn-server"));
        assert_eq!(beside(Some(&own), name), None);
        std::fs::write(folder.path().join(name), "").expect("written");
        assert_eq!(beside(Some(&own), name), Some(folder.path().join(name)));
        assert_eq!(beside(None, name), None);
    }
}
