//! Tables of published and computed values, among the reference data.

use lithoburn_testing::reference;

/// Contents of a golden table; without it, the test says that it is skipped.
pub(crate) fn table(name: &str) -> Option<String> {
    let path = reference(&format!("golden/cfd/{name}"))?;
    Some(std::fs::read_to_string(path).expect("a golden table"))
}
