//! `lithoburn cfd`: hands over to the program `lithoburn-cfd`.
//!
//! Flow is a program of its own, so that nothing of it is built or linked for masks: the way of `git` and `cargo`, whose
//! subcommands are programs beside them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::Verdict;

/// Differentiable flow: cavities, channels, cylinders, airfoils, exchangers, and their gradients.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub struct CfdArgs {
    /// What lithoburn-cfd is told; --help lists its jobs.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    rest: Vec<OsString>,
}

/// The program beside this one, or on the path if there is none.
fn program() -> PathBuf {
    let name = format!("lithoburn-cfd{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe().map(|own| own.with_file_name(&name));
    beside.ok().filter(|path| path.exists()).unwrap_or_else(|| name.into())
}

/// Runs the job: the other program's exit status is this one's.
///
/// # Errors
///
/// If the program is not there.
pub fn cfd(args: &CfdArgs) -> Result<Verdict> {
    let program = program();
    let status = Command::new(&program).args(&args.rest).status().with_context(|| {
        format!(
            "cannot run {}, which solves flows: build it with `cargo build --release -p lithoburn-cfd-cli` and \
             leave it beside this program",
            program.display()
        )
    })?;
    match status.code() {
        Some(0) => Ok(Verdict::Done),
        // It has said why by itself.
        code => std::process::exit(code.unwrap_or(130)),
    }
}
