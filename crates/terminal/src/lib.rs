//! What people see of every program: lines, tables, progress, errors, and Ctrl-C.
//!
//! Results go to standard output, and all else to standard error. Names come from files: nothing that is said moves the cursor or sets
//! colours by itself.

mod progress;
mod verdict;

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
pub use progress::Progress;
use serde::Serialize;
pub use verdict::{Verdict, end, finish};

static STOP: AtomicBool = AtomicBool::new(false);

/// Listens to Ctrl-C: the first one asks the job to stop, a second one ends the process.
pub fn listen() {
    let stop = || {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    };
    // Without a handler Ctrl-C ends the process at once, which leaves no file half written either.
    let _ = ctrlc::set_handler(stop);
}

/// Whether the user has not asked to stop.
pub fn go_on() -> bool {
    !STOP.load(Ordering::SeqCst)
}

/// An error with its sources, from the outside in. Many repeat their source's text, which is said once.
fn told(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    chain.map(ToString::to_string).fold(String::new(), |said, text| match said.as_str() {
        "" => text,
        already if already.contains(&text) => said,
        _ => format!("{said}: {text}"),
    })
}

/// A text whose control characters, but for the ends of lines, are shown instead of obeyed. Lines end with what can be seen.
pub fn plain(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' => "\n".to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").chars().map(shown).collect()
}

/// Writes what went wrong, and in what.
pub fn complain(error: &(dyn Error + 'static)) {
    note(&format!("error: {}", told(error)));
}

/// Writes a result's line; nothing in JSON mode, whose output is for programs.
pub fn say(json: bool, text: &str) {
    if !json {
        let _ = writeln!(std::io::stdout(), "{}", plain(text));
    }
}

/// Writes a line beside the result, which people should read whatever standard output is for.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", plain(text));
}

/// Shows a line that the next one takes the place of, where somebody watches.
pub fn passing(text: &str) {
    let mut error = std::io::stderr();
    if error.is_terminal() {
        let _ = write!(error, "\r{}\x1b[K", plain(text));
    }
}

/// Takes the last passing line away.
pub fn passed() {
    passing("");
}

/// Begins a view anew: over the last one on a terminal, else after it.
pub fn again() {
    let mut out = std::io::stdout();
    // The screen's first place, and what is below it erased.
    let begin = if out.is_terminal() { "\x1b[H\x1b[2J" } else { "\n" };
    let _ = out.write_all(begin.as_bytes());
}

/// Writes a value as JSON on standard output.
///
/// # Errors
///
/// If it has no JSON, or nobody reads.
pub fn print_json(value: &impl Serialize) -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    writeln!(std::io::stdout(), "{text}")
}

/// A table with a header; columns after the first are right-aligned.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(header.to_vec());
    table.add_rows(rows.to_vec());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// Seconds as people say them.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Nested(&'static str, Option<Box<Self>>);

    impl std::fmt::Display for Nested {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Nested {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|inner| inner as &(dyn Error + 'static))
        }
    }

    #[test]
    fn an_error_says_each_text_once_and_keeps_its_lines() {
        let inner = Nested("no such file", None);
        let middle = Nested("cannot read a.gds: no such file", Some(Box::new(inner)));
        let error = Nested("the target\nis bad", Some(Box::new(middle)));
        assert_eq!(told(&error), "the target\nis bad: cannot read a.gds: no such file");
    }

    #[test]
    fn names_from_files_cannot_drive_the_terminal() {
        assert_eq!(plain("cell \u{1b}[31mRED\u{7}\nnext"), "cell \\u{1b}[31mRED\\u{7}\nnext");
    }

    #[test]
    fn numbers_end_below_each_other() {
        let rows = [vec!["a".into(), "1".into()], vec!["b".into(), "100".into()]];
        let table = table(&["", "n"], &rows);
        let end = |name: &str| {
            let line = table.lines().find(|line| line.contains(name)).expect("a row");
            line.trim_end().chars().count()
        };
        assert_eq!(end(" a "), end(" b "));
    }

    #[test]
    fn durations_are_as_people_say_them() {
        let said = [0.4, 59.6, 61.0, 7325.0].map(duration);
        assert_eq!(said, ["0 s", "1 min 0 s", "1 min 1 s", "2 h 2 min"]);
    }
}
