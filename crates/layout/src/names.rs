//! Names as people see them: escaped, cut to a handful, the nearest first.
//!
//! A file may give its cells any bytes as names. What would move a terminal's cursor, turn its text around or stand for
//! no character is shown as an escape, so that a name cannot pretend to be something else.

use std::path::Path;

/// Names that a message shows at most.
const SHOWN: usize = 5;
/// Characters of one name that a message shows at most.
const LONGEST: usize = 64;
/// Characters of a name that are compared with another's.
const COMPARED: usize = 32;

/// A name of any bytes as text; those that are no UTF-8 become `\xNN`, so that different names stay different.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut name = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        name.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| name += &format!("\\x{byte:02X}"));
    }
    name
}

/// A name without anything that a terminal acts upon, and not too long.
pub fn shown(name: &str) -> String {
    let mut shown = String::new();
    for c in name.chars().take(LONGEST) {
        match is_harmless(c) {
            true => shown.push(c),
            false => shown.extend(c.escape_default()),
        }
    }
    if name.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// Whether a character is only itself: no control character, and none that changes the direction of text.
fn is_harmless(c: char) -> bool {
    !(c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'))
}

/// The first few of some names, and how many there are more.
pub(crate) fn few<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let mut names = names.into_iter();
    let first: Vec<String> = names.by_ref().take(SHOWN).map(|n| shown(n.as_ref())).collect();
    match names.count() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// As [`few`], those that look most like `wanted` first.
pub(crate) fn nearest<T: AsRef<str>>(wanted: &str, names: impl IntoIterator<Item = T>) -> String {
    let mut names: Vec<(usize, T)> =
        names.into_iter().map(|name| (difference(wanted, name.as_ref()), name)).collect();
    names.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.as_ref().cmp(b.1.as_ref())));
    few(names.into_iter().map(|(_, name)| name))
}

/// Letters to change, add or take away to make one name the other, whatever their case (Levenshtein).
fn difference(a: &str, b: &str) -> usize {
    let letters =
        |s: &str| s.chars().take(COMPARED).flat_map(char::to_lowercase).collect::<Vec<_>>();
    let (a, b) = (letters(a), letters(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

/// What files made of a layout are called: the file's name without its ending, then the cell that was asked for, so that
/// two of one file do not overwrite each other.
pub(crate) fn stem(path: &Path, cell: Option<&str>) -> String {
    let name = path.file_stem().map(|stem| text(stem.as_encoded_bytes())).unwrap_or_default();
    let stem = match cell {
        Some(cell) => format!("{}.{}", safe(&name), safe(cell)),
        None => safe(&name),
    };
    // A name of dots alone is a folder that is there already.
    match stem.trim_start_matches('.') {
        "" => "layout".into(),
        _ => stem,
    }
}

/// A name that can be a file's.
fn safe(name: &str) -> String {
    let legal = |c: char| is_harmless(c) && !"/\\:*?\"<>|".contains(c);
    name.chars().take(LONGEST).map(|c| if legal(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_upon_is_escaped() {
        assert_eq!(shown("A\u{1b}[2J\rB\u{202e}C é"), "A\\u{1b}[2J\\rB\\u{202e}C é");
        assert_eq!(shown(&"x".repeat(100)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn names_of_other_bytes_stay_different() {
        assert_eq!(text(b"caf\xE9"), "caf\\xE9");
        assert_ne!(text(b"\xE9"), text(b"\xE8"));
        assert_eq!(text("größe".as_bytes()), "größe");
    }

    #[test]
    fn lists_are_cut_to_a_handful_with_the_nearest_first() {
        let names: Vec<String> = (0..437).map(|i| format!("CELL_{i}")).collect();
        assert_eq!(few(&names), "CELL_0, CELL_1, CELL_2, CELL_3, CELL_4 and 432 more");
        assert!(nearest("cell_42", &names).starts_with("CELL_42, "));
        assert_eq!(few(["A"]), "A");
    }

    #[test]
    fn two_cells_of_one_file_have_names_of_their_own_and_none_leaves_its_folder() {
        let stem = |path: &str, cell: Option<&str>| stem(Path::new(path), cell);
        assert_eq!(stem("a/chip.gds", None), "chip");
        assert_eq!(stem("a/chip.gds", Some("INV/1")), "chip.INV_1");
        assert_eq!(stem("...glp", None), "layout");
        assert_eq!(stem(".glp", None), ".glp");
        assert_eq!(stem("", Some("..")), "layout");
    }

    #[cfg(unix)]
    #[test]
    fn file_names_that_are_no_text_stay_different() {
        use std::os::unix::ffi::OsStrExt;
        let stem = |bytes: &[u8]| stem(Path::new(std::ffi::OsStr::from_bytes(bytes)), None);
        assert_eq!([stem(b"\xE9.gds"), stem(b"\xE8.gds")], ["_xE9", "_xE8"]);
    }
}
