//! Options that all cases share.

mod shared;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

pub(crate) use shared::FarmOptions;

/// Cells along x and y, written 128x64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cells {
    pub(crate) x: usize,
    pub(crate) y: usize,
}

impl std::str::FromStr for Cells {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no grid; expected cells along x and y, such as 128x64");
        let (x, y) = text.split_once(['x', 'X', '×']).ok_or_else(wrong)?;
        let count = |t: &str| t.trim().parse::<usize>().map_err(|_| wrong());
        let (x, y) = (count(x)?, count(y)?);
        if !(8..=4096).contains(&x) || !(8..=4096).contains(&y) {
            return Err(format!("{text}: expected 8 to 4096 cells each way"));
        }
        Ok(Self { x, y })
    }
}

impl std::fmt::Display for Cells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.x, self.y)
    }
}

impl Cells {
    /// How many times finer than a base grid, on which the case's body is resolved.
    pub(crate) fn fineness(self, base: Self, what: &str) -> Result<usize> {
        let times = self.x / base.x;
        if times == 0 {
            bail!(
                "--grid {self} is too coarse for the {what}: expected {base} or a multiple of it"
            );
        }
        if self.x != times * base.x || self.y != times * base.y {
            bail!(
                "--grid {self} does not fit the {what}: expected {base} or a multiple of it, such as {}",
                Self { x: 2 * base.x, y: 2 * base.y }
            );
        }
        Ok(times)
    }
}

/// How a case is run and what is written.
#[derive(Args, Debug)]
pub(crate) struct RunOptions {
    /// Also give the gradient of a quantity of the table, by its short name (cd, cl, dp, nu, …).
    #[arg(long, value_name = "NAME")]
    pub(crate) gradient: Option<String>,
    /// By how much the residual must fall before the flow counts as converged.
    #[arg(long, value_name = "R", default_value = "1e-11", allow_negative_numbers = true)]
    pub(crate) tolerance: f64,
    /// Most Newton steps on one grid.
    #[arg(long, value_name = "N", default_value_t = 25)]
    pub(crate) steps: usize,
    /// Threads [default: all cores].
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Directory for report.json, overview.png, convergence.png, fields.vti and fields.vtr [default: out/cfd-CASE].
    #[arg(long, short, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Write no files.
    #[arg(long)]
    pub(crate) no_files: bool,
    /// Print JSON and nothing else.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the case and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) farm: FarmOptions,
}

/// Sets the number of threads of everything that follows.
pub(crate) fn use_threads(count: Option<usize>) -> Result<()> {
    let Some(count) = count else { return Ok(()) };
    if count == 0 {
        bail!("--threads must be 1 or more");
    }
    rayon::ThreadPoolBuilder::new().num_threads(count).build_global()?;
    Ok(())
}

/// Refuses numbers that are not positive.
pub(crate) fn positive(option: &str, value: f64) -> Result<f64> {
    if value.is_finite() && value > 0.0 {
        return Ok(value);
    }
    bail!("{option} must be a positive number, got {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_read_and_refused_in_a_sentence() {
        assert_eq!("128x64".parse(), Ok(Cells { x: 128, y: 64 }));
        for wrong in ["128", "128x", "axb", "-1x5", "128x64x2"] {
            assert!(wrong.parse::<Cells>().is_err(), "{wrong}");
        }
        assert!("2x2".parse::<Cells>().is_err());
    }

    #[test]
    fn a_grid_that_cannot_resolve_the_body_is_refused() {
        let base = Cells { x: 128, y: 64 };
        let fineness = |x, y| Cells { x, y }.fineness(base, "cylinder");
        assert_eq!(fineness(256, 128).ok(), Some(2));
        let error = |x, y| fineness(x, y).map_err(|e| e.to_string()).err().unwrap_or_default();
        assert!(error(64, 32).contains("too coarse"));
        assert!(error(256, 64).contains("does not fit"));
    }
}
