//! Names of workers: unique over all machines, and harmless wherever they are written.

use std::sync::OnceLock;

/// A name for this process: its machine, its number, and four random digits, as process numbers repeat.
pub(crate) fn process() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .ok()
            .or_else(|| std::env::var("HOSTNAME").ok())
            .unwrap_or_default();
        let host = plain(host.trim());
        let random: u16 = rand::random();
        format!(
            "{}-{}-{random:04x}",
            if host.is_empty() { "host" } else { &host },
            std::process::id()
        )
    })
}

/// A unique name for a worker of this process.
pub fn worker_name(hint: Option<&str>) -> String {
    match hint.map(plain).filter(|hint| !hint.is_empty()) {
        Some(hint) => format!("{hint}-{}", process()),
        None => process().to_string(),
    }
}

/// Letters, digits and dashes: what file systems and subjects of messages take.
fn plain(name: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    name.chars().take(60).map(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workers_name_is_of_harmless_letters() {
        let name = worker_name(Some("../rack 7.a>*"));
        assert!(name.starts_with("---rack-7-a---"), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_ne!(worker_name(Some("a")), worker_name(Some("b")));
    }
}
