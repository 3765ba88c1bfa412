//! How a program ends: 0 done, 1 ran but something does not hold, 2 failed.

use std::error::Error;
use std::process::ExitCode;

use crate::complain;

/// What a job that ran says about its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done, and everything that was asked for holds.
    Done,
    /// Ran, but something is missing or does not hold.
    NotMet,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Done => Self::SUCCESS,
            Verdict::NotMet => Self::from(1),
        }
    }
}

/// Turns a job's result into an exit status, and says what its error is.
pub fn finish<E: AsRef<dyn Error + Send + Sync>>(result: Result<Verdict, E>) -> ExitCode {
    result.map_or_else(
        |error| {
            complain(error.as_ref());
            ExitCode::from(2)
        },
        ExitCode::from,
    )
}
