//! What a crate that depends on the library has to build: resolved by Cargo, not compiled.

use std::path::Path;
use std::process::Command;

use lithoburn_testing::Need;

/// Crates that download or need a C++ library; the workspace has stand-ins for them, which do not travel with a dependency.
const STAND_INS: [&str; 2] = ["cubecl-llvm ", "turso "];
/// What those bring.
const HEAVY: [&str; 4] = ["llvm-sys ", "tracel-llvm-bundler ", "clang-sys ", "bindgen "];

/// The crates that a dependent would build, one a line; none if the registry cannot be asked.
fn crates(features: &str, patches: &str) -> Option<String> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).canonicalize().ok()?;
    let folder = tempfile::tempdir().ok()?;
    let manifest = format!(
        "[package]\nname = \"dependent\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n\
         [dependencies]\nlithoburn = {{ path = {root:?}{features} }}\n[workspace]\n{}",
        patches.replace("ROOT", &root.display().to_string())
    );
    std::fs::write(folder.path().join("Cargo.toml"), manifest).ok()?;
    std::fs::write(folder.path().join("lib.rs"), "").ok()?;
    std::fs::copy(root.join("Cargo.lock"), folder.path().join("Cargo.lock")).ok()?;
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--edges", "normal,build", "--prefix", "none"])
        .current_dir(folder.path())
        .output()
        .ok()?;
    let found = String::from_utf8_lossy(&tree.stdout).into_owned();
    tree.status.success().then_some(found)
}

fn has(tree: &str, name: &str) -> bool {
    tree.lines().any(|line| line.starts_with(name))
}

#[test]
fn a_crate_that_depends_on_the_library_builds_from_the_registry_alone() {
    for features in ["", ", default-features = false"] {
        let found = crates(features, "");
        let Some(tree) = Need::Registry.met(found, "the registry of crates does not answer") else {
            return;
        };
        assert!(has(&tree, "lithoburn-engine ") && has(&tree, "burn-flex "), "{tree}");
        assert_eq!(has(&tree, "cubecl-wgpu "), features.is_empty(), "{tree}");
        for name in STAND_INS.iter().chain(&HEAVY) {
            assert!(!has(&tree, name), "{name}is built:\n{tree}");
        }
    }
}

/// The two lines that the feature `cuda` asks for, as the library's first page has them.
#[test]
fn cuda_needs_two_lines_more_and_nothing_that_is_downloaded() {
    let page = include_str!("../crates/lithoburn/lib.rs");
    let lines = ["cubecl-llvm", "turso"]
        .map(|name| format!("{name} = {{ path = \"LITHOBURN/vendor/{name}\" }}"));
    for line in &lines {
        assert!(page.contains(line), "the first page does not say {line}");
    }
    let patches = format!("[patch.crates-io]\n{}\n", lines.join("\n").replace("LITHOBURN", "ROOT"));
    let found = crates(", features = [\"cuda\"]", &patches);
    let Some(tree) = Need::Registry.met(found, "the registry of crates does not answer") else {
        return;
    };
    for name in STAND_INS {
        let line = tree.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        assert!(line.contains("vendor"), "{name}is not the stand-in: {line}");
    }
    for name in HEAVY {
        assert!(!has(&tree, name), "{name}is built:\n{tree}");
    }
}
