//! What a person sees: progress, tables, one-line errors, and Ctrl-C.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lithoburn_engine::{Event, Phase};

static STOP: AtomicBool = AtomicBool::new(false);

/// Listens to Ctrl-C: the first one asks the job to stop, a second one ends the process.
pub(crate) fn prepare() {
    let listen = || {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    };
    // Without a handler Ctrl-C ends the process at once, which loses nothing either.
    let _ = ctrlc::set_handler(listen);
}

/// Whether the user has not asked to stop.
pub(crate) fn go_on() -> bool {
    !STOP.load(Ordering::SeqCst)
}

/// Writes an error: what went wrong, and in what, from the outside in. Nothing in it can move the cursor or set colours.
pub(crate) fn complain(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr(), "error: {}", plain(&told(error)));
}

/// An error with its sources. Many repeat their source's text, which is said once.
fn told(error: &anyhow::Error) -> String {
    let texts = error.chain().map(ToString::to_string);
    texts.fold(String::new(), |said, text| match said.as_str() {
        "" => text,
        already if already.contains(&text) => said,
        _ => format!("{said}: {text}"),
    })
}

/// A text whose control characters, but for the ends of lines, are shown instead of obeyed.
fn plain(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' => "\n".to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").chars().map(shown).collect()
}

/// Writes a line for people; nothing in JSON mode, whose output is for programs.
pub(crate) fn say(json: bool, text: &str) {
    if !json {
        let _ = writeln!(std::io::stdout(), "{}", plain(text));
    }
}

/// Writes a line that people should read whatever standard output is for.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "note: {}", plain(text));
}

/// Writes a value as JSON on standard output.
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    Ok(writeln!(std::io::stdout(), "{text}")?)
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

/// Time between two lines of a long run that nobody watches on a terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// A bar that follows a run's events; where there is no terminal, a line now and then.
pub(crate) struct Progress {
    bar: ProgressBar,
    phase: Option<Phase>,
    /// When the next line is due, if lines are written.
    due: Option<Instant>,
    start: Instant,
}

impl Progress {
    /// A bar on the terminal, lines elsewhere, or nothing if output is JSON.
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
        Self { bar, phase: None, due: (!json && !terminal).then(|| start + LINE_EVERY), start }
    }

    /// Shows an event; false if the user asked to stop.
    pub(crate) fn show(&mut self, event: Event) -> bool {
        let name = match event.phase {
            Phase::Rasterize => "drawing",
            Phase::Load => "loading",
            Phase::Optimize => "optimising",
            Phase::Fit => "fitting shots",
            Phase::Evaluate => "measuring",
            Phase::Simulate => "simulating",
        };
        if self.phase != Some(event.phase) {
            self.phase = Some(event.phase);
            self.bar.set_prefix(name);
            self.bar.set_message("");
        }
        if self.due.is_some_and(|due| Instant::now() >= due) {
            self.due = Some(Instant::now() + LINE_EVERY);
            let seconds = self.start.elapsed().as_secs();
            let _ = writeln!(
                std::io::stderr(),
                "{name} {} of {}, {seconds} s",
                event.done,
                event.total
            );
        }
        self.bar.set_length(event.total as u64);
        self.bar.set_position(event.done as u64);
        if let Some(loss) = event.loss_nm2 {
            self.bar.set_message(format!("loss {loss:.0} nm²"));
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
    fn an_error_says_each_text_once_and_keeps_its_lines() {
        let inner = anyhow::anyhow!("no such file");
        let error = inner.context("cannot read a.gds: no such file").context("the target\nis bad");
        assert_eq!(told(&error), "the target\nis bad: cannot read a.gds: no such file");
    }

    #[test]
    fn names_from_files_cannot_drive_the_terminal() {
        assert_eq!(plain("cell \u{1b}[31mRED\u{7}\nnext"), "cell \\u{1b}[31mRED\\u{7}\nnext");
    }
}
