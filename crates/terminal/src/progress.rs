//! How far a long run is: a bar on the terminal; where there is none, a line now and then.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{go_on, note};

/// Time between two lines of a long run that nobody watches on a terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// A bar, or lines; gone when it is dropped.
pub struct Progress {
    bar: ProgressBar,
    /// When the next line is due, if lines are written.
    due: Option<Mutex<Instant>>,
    start: Instant,
}

impl Progress {
    /// A bar, lines, or nothing if output is JSON.
    #[must_use]
    pub fn new(json: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = match json || !terminal {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{prefix:>10} {bar:32} {pos}/{len} {msg} {eta}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        let start = Instant::now();
        let due = (!json && !terminal).then(|| Mutex::new(start + LINE_EVERY));
        Self { bar, due, start }
    }

    /// Shows how far a phase is, and `more` about it; false if the user asked to stop.
    pub fn show(&self, phase: &'static str, done: u64, total: u64, more: &str) -> bool {
        self.bar.set_prefix(phase);
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(more.to_string());
        if self.is_due() {
            let space = if more.is_empty() { "" } else { " " };
            let seconds = self.start.elapsed().as_secs();
            note(&format!("{phase} {done} of {total}{space}{more}, {seconds} s"));
        }
        go_on()
    }

    /// Whether a line is due; the next one is some time later.
    fn is_due(&self) -> bool {
        let Some(due) = &self.due else { return false };
        let mut due = due.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_due = now >= *due;
        if is_due {
            *due = now + LINE_EVERY;
        }
        is_due
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
