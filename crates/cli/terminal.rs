//! What a person sees: progress, tables, one-line errors, and Ctrl-C.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lithoburn_engine::{Event, Stage};

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

/// Writes an error as one line.
pub(crate) fn complain(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr(), "error: {}", one_line(error));
}

/// An error and its causes, but those that the message before has said; without what a terminal acts upon.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    words.join(" ").chars().map(escaped).collect()
}

/// Writes a line for people; nothing in JSON mode, whose output is for programs.
pub(crate) fn say(json: bool, text: &str) {
    if !json {
        let _ = writeln!(std::io::stdout(), "{text}");
    }
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

/// A bar that follows a run's events.
pub(crate) struct Progress {
    bar: ProgressBar,
    stage: Option<Stage>,
}

impl Progress {
    /// A bar on the terminal, or none if nobody looks or output is JSON.
    pub(crate) fn new(json: bool) -> Self {
        let hidden = json || !std::io::stderr().is_terminal();
        let target =
            if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{prefix:>10} {bar:32} {pos}/{len} {msg} {eta}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self { bar, stage: None }
    }

    /// Shows an event; false if the user asked to stop.
    pub(crate) fn show(&mut self, event: Event) -> bool {
        if self.stage != Some(event.stage) {
            self.stage = Some(event.stage);
            self.bar.set_prefix(match event.stage {
                Stage::Rasterize => "drawing",
                Stage::Load => "loading",
                Stage::Optimize => "optimising",
                Stage::Fit => "fitting shots",
                Stage::Evaluate => "measuring",
                Stage::Simulate => "simulating",
            });
            self.bar.set_message("");
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
