//! The programs as a user runs them: what all their tests need.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The clip that README begins with.
pub(crate) const EXAMPLE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/layouts/metal_clip.glp");

/// An empty folder of a test's own.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("temporary folder");
    folder
}

pub(crate) fn lithoburn(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lithoburn")).args(arguments).output().expect("starts")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
