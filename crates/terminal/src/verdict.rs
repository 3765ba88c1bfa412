//! How a program ends: 0 done, 1 ran but something does not hold, 2 failed.

use std::error::Error;
use std::io::Write;
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
    ExitCode::from(status(result))
}

/// Ends the process with a job's result when all is written that it had to write, without what libraries do at its exit: a graphics
/// driver takes its time to put away what the system takes back anyway, and must not be put away while a thread is opening it. With a
/// `farewell` they do it after a job that ran: a driver may still be writing down what it compiled.
pub fn end<E: AsRef<dyn Error + Send + Sync>>(result: Result<Verdict, E>, farewell: bool) -> ! {
    let farewell = farewell && result.is_ok();
    let status = status(result);
    // Nobody reads it if this fails.
    let _ = std::io::stdout().flush();
    if farewell {
        std::process::exit(status.into());
    }
    signal_hook::low_level::exit(status.into())
}

/// The exit status of a result, after its error was said.
fn status<E: AsRef<dyn Error + Send + Sync>>(result: Result<Verdict, E>) -> u8 {
    match result {
        Ok(Verdict::Done) => 0,
        Ok(Verdict::NotMet) => 1,
        Err(error) => {
            complain(error.as_ref());
            2
        }
    }
}
