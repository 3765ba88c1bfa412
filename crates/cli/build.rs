//! Makes programs smaller where the linker can: functions of the same code stand once, and a position-independent program's
//! relocations are packed. Together an eighth of a program with all GPU runtimes.
//!
//! Which linker there is, is not known before it is asked: an empty program is linked with each option, and run where it can be, since
//! a C library older than 2.36 does not load packed relocations. Where one does not work, programs are as large as they were.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const OPTIONS: [&str; 2] = ["-Wl,--icf=all", "-Wl,-z,pack-relative-relocs"];

fn main() {
    // Two other programs have this script, too; a change of the script itself is seen without being told.
    println!("cargo::rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    for option in OPTIONS.into_iter().filter(|option| works(option).unwrap_or(false)) {
        println!("cargo::rustc-link-arg-bins={option}");
    }
}

/// Whether a program links and runs with an option; none if that cannot be found out.
fn works(option: &str) -> Option<bool> {
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return Some(false);
    }
    let program = PathBuf::from(std::env::var_os("OUT_DIR")?).join("linked");
    let linked = link(option, &program)?;
    let native = std::env::var("HOST").ok()? == std::env::var("TARGET").ok()?;
    Some(linked && (!native || Command::new(&program).status().ok()?.success()))
}

/// Links an empty program as Cargo links this one.
fn link(option: &str, program: &Path) -> Option<bool> {
    let mut rustc = Command::new(std::env::var_os("RUSTC")?);
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    rustc.args(flags.split('\u{1f}').filter(|flag| !flag.is_empty()));
    if let Some(linker) = std::env::var_os("RUSTC_LINKER") {
        rustc.arg("-C").arg({
            let mut argument = std::ffi::OsString::from("linker=");
            argument.push(linker);
            argument
        });
    }
    let link_arg = format!("link-arg={option}");
    rustc.args(["--crate-type", "bin", "--target"]).arg(std::env::var_os("TARGET")?);
    rustc.args(["-C", &link_arg, "-o"]).arg(program).arg("-").stdin(Stdio::piped());
    let mut running = rustc.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    running.stdin.take()?.write_all(b"fn main() {}").ok()?;
    Some(running.wait().ok()?.success())
}
