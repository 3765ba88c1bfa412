//! What a person sees.

use std::io::Write;

/// Writes an error: what went wrong, and in what, from the outside in. Nothing in it can move the cursor or set colours.
pub(crate) fn complain(error: &anyhow::Error) {
    say(&format!("error: {}", told(error)));
}

/// Writes lines on standard error, where people look; what is on standard output is for programs.
pub(crate) fn say(text: &str) {
    let shown = |c: char| match c {
        '\n' => "\n".to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    let text: String = text.chars().map(shown).collect();
    let _ = writeln!(std::io::stderr(), "{text}");
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
