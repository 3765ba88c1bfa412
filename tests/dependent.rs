//! What a crate that depends on the library has to build: resolved by Cargo; compiled and run only where there is time for it.

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

/// A stranger's program, built from nothing but the registry and this folder: its three lines make a mask. `LITHOBURN_DEPENDENT`
/// names the folder to build in, which later runs use again; it is built as `--profile quick` builds.
#[test]
fn a_dependent_crate_compiles_and_makes_a_mask_in_three_lines() {
    const PROGRAM: &str = r#"
        use lithoburn::prelude::*;

        fn main() -> Result<(), Box<dyn std::error::Error>> {
            let design = Layout::new("bar", vec![Polygon::rectangle(0.0, 0.0, 80.0, 600.0)]);
            let mask = Correction::of(&design).model(Model::NeuralIltFast).device("cpu").pixel_nm(4.0).run()?;
            assert!(!mask.polygons().is_empty());
            mask.write("out")?;
            Ok(())
        }
    "#;
    let why =
        "LITHOBURN_DEPENDENT names no folder to build a dependent crate in, which takes minutes";
    let named = std::env::var_os("LITHOBURN_DEPENDENT");
    let Some(target) = Need::Build.met(named, why) else { return };
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let root = root.canonicalize().expect("this repository");
    let ours = std::fs::read_to_string(root.join("Cargo.toml")).expect("a manifest");
    let profile = ours.split_once("[profile.quick]").expect("the profile").1;
    let profile = profile.split("[patch").next().unwrap_or_default();
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = format!(
        "[package]\nname = \"dependent\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
         [[bin]]\nname = \"dependent\"\npath = \"main.rs\"\n\
         [dependencies]\nlithoburn = {{ path = {root:?}, default-features = false }}\n\
         [workspace]\n[profile.quick]{profile}"
    );
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("written");
    };
    write("Cargo.toml", &manifest);
    write("main.rs", PROGRAM);
    std::fs::copy(root.join("Cargo.lock"), folder.path().join("Cargo.lock")).expect("copied");
    let run = Command::new(env!("CARGO"))
        .args(["run", "--profile", "quick"])
        .env("CARGO_TARGET_DIR", target)
        .current_dir(folder.path())
        .output()
        .expect("starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert!(folder.path().join("out/mask.gds").exists());
}
