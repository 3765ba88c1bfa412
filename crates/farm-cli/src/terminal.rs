//! What a person sees: tables, progress, one-line errors, and Ctrl-C.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

static STOP: AtomicBool = AtomicBool::new(false);

/// Time between two lines of a long run that nobody watches on a terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// What a job that ran says about its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Done.
    Done,
    /// Ran, but something is missing.
    NotMet,
}

/// Makes Ctrl-C ask the job to stop; a second one ends the process.
pub(crate) fn listen() {
    let stop = || {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    };
    // Without a handler Ctrl-C ends the process at once: its leases run out.
    let _ = ctrlc::set_handler(stop);
}

/// Whether the user has not asked to stop.
pub(crate) fn go_on() -> bool {
    !STOP.load(Ordering::SeqCst)
}

/// Turns a result into an exit status; an error is told from the outside in, each text once.
pub(crate) fn finish(result: anyhow::Result<Verdict>) -> ExitCode {
    match result {
        Ok(Verdict::Done) => ExitCode::SUCCESS,
        Ok(Verdict::NotMet) => ExitCode::from(1),
        Err(error) => {
            let told =
                error.chain().map(ToString::to_string).fold(String::new(), |said, text| match said
                    .as_str()
                {
                    "" => text,
                    already if already.contains(&text) => said,
                    _ => format!("{said}: {text}"),
                });
            let _ = writeln!(std::io::stderr(), "error: {}", plain(&told));
            ExitCode::from(2)
        }
    }
}

/// A text whose control characters, but for the ends of lines, are shown instead of obeyed.
pub(crate) fn plain(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' => "\n".to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}

/// Writes a line for people; nothing in JSON mode, whose output is for programs.
pub(crate) fn say(json: bool, text: &str) {
    if !json {
        let _ = writeln!(std::io::stdout(), "{}", plain(text));
    }
}

/// Begins a view anew: over the last one on a terminal, else after it.
pub(crate) fn again() {
    let mut out = std::io::stdout();
    // The screen's first place, and what is below it erased.
    let begin = if out.is_terminal() { "\x1b[H\x1b[2J" } else { "\n" };
    let _ = out.write_all(begin.as_bytes());
}

/// Writes a value as JSON on standard output.
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(value)?)?)
}

/// A table with a header; columns after the first are right-aligned.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(header.to_vec());
    table.add_rows(rows.to_vec());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// Seconds as people say them.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

/// A bar on the terminal; where there is none, a line now and then.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// When the next line is due, if lines are written.
    due: Option<Mutex<Instant>>,
    start: Instant,
}

impl Progress {
    /// A bar, lines, or nothing if output is JSON.
    pub(crate) fn new(json: bool) -> Self {
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

    /// Shows how far a phase is; false if the user asked to stop.
    pub(crate) fn show(&self, phase: &'static str, done: u64, total: u64, more: &str) -> bool {
        self.bar.set_prefix(phase);
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(more.to_string());
        if let Some(due) = &self.due {
            let mut due = due.lock().unwrap_or_else(PoisonError::into_inner);
            if Instant::now() >= *due {
                *due = Instant::now() + LINE_EVERY;
                let seconds = self.start.elapsed().as_secs();
                let _ =
                    writeln!(std::io::stderr(), "{phase} {done} of {total} {more}, {seconds} s");
            }
        }
        go_on()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_as_people_say_them() {
        let said = [0.4, 59.6, 61.0, 7325.0].map(duration);
        assert_eq!(said, ["0 s", "1 min 0 s", "1 min 1 s", "2 h 2 min"]);
    }
}
