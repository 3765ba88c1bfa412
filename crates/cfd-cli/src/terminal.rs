//! What a person sees: tables, lines, one-line errors, and Ctrl-C.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use lithoburn_cfd::Error;

static STOP: AtomicBool = AtomicBool::new(false);

/// What a job that ran says about its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Done, and everything that was asked for holds.
    Done,
    /// Ran, but something does not hold.
    NotMet,
}

/// Makes Ctrl-C ask the job to stop; a second one ends the process.
pub(crate) fn listen() {
    let stop = || {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    };
    // Without a handler Ctrl-C ends the process at once, which loses no file either.
    let _ = ctrlc::set_handler(stop);
}

/// Whether the user has not asked to stop.
pub(crate) fn go_on() -> bool {
    !STOP.load(Ordering::SeqCst)
}

/// Turns a result into an exit status; an error is one line. A flow that did not converge is no bad input.
pub(crate) fn finish(result: anyhow::Result<Verdict>) -> ExitCode {
    match result {
        Ok(Verdict::Done) => ExitCode::SUCCESS,
        Ok(Verdict::NotMet) => ExitCode::from(1),
        Err(error) => {
            let line = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
            let _ = writeln!(std::io::stderr(), "error: {line}");
            let solver = matches!(
                error.downcast_ref::<Error>(),
                Some(Error::NotConverged(_) | Error::Singular { .. })
            );
            ExitCode::from(if solver { 1 } else { 2 })
        }
    }
}

/// Writes a line for people; nothing in JSON mode, whose output is for programs.
pub(crate) fn say(json: bool, text: &str) {
    if !json {
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}

/// Writes a line beside the result.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Shows a line that the next one takes the place of, where somebody watches.
pub(crate) fn passing(text: &str) {
    let mut error = std::io::stderr();
    if error.is_terminal() {
        let _ = write!(error, "\r{text}\x1b[K");
    }
}

/// Takes the last passing line away.
pub(crate) fn passed() {
    passing("");
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

/// A number with six significant digits, without an exponent where that is shorter.
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    if !(1e-3..1e6).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let decimals = (5 - magnitude.log10().floor() as i32).max(0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_six_digits() {
        assert_eq!(number(1.516_845_62), "1.51685");
        assert_eq!(number(123.456_789), "123.457");
        assert_eq!(number(3.2e-12), "3.200e-12");
        assert_eq!(number(0.0), "0");
    }
}
