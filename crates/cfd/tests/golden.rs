//! Tables of published and computed values, in a folder beside the repository or where `LITHOBURN_REFERENCE` says.

use std::path::{Path, PathBuf};

/// Contents of a golden table, or `None` with a word if the tables are not there.
pub(crate) fn table(name: &str) -> Option<String> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = std::env::var_os("LITHOBURN_REFERENCE").map_or_else(beside, PathBuf::from);
    let found = [root.clone(), root.join("..").join("..").join("shared")]
        .iter()
        .find_map(|root| std::fs::read_to_string(root.join("golden/cfd").join(name)).ok());
    if found.is_none() {
        println!("skipped: no golden/cfd/{name} under {}", root.display());
    }
    found
}
