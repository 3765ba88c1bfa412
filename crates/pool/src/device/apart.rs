//! A device's test in a process of its own, which a graphics driver can crash without harm.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::tensor::Device;

use super::guard::{PATIENCE, guarded};
use super::name::DeviceName;
use super::{cache, self_test, survey};

/// Set in a process that was started to test the device it names.
const PROBE: &str = "LITHOBURN_PROBE";
/// Whether this program answers when it is started with [`PROBE`].
static ANSWERS: AtomicBool = AtomicBool::new(false);

/// Spares users of machines without a desktop the complaints of graphics libraries.
///
/// Call it first in `main`, before any thread is started.
#[allow(unsafe_code, reason = "the only way to set a variable; sound while there is one thread")]
pub fn quiet_graphics() {
    // Wayland's client library prints an error for every display it looks for without this folder.
    const FOLDER: &str = "XDG_RUNTIME_DIR";
    if cfg!(target_os = "linux") && std::env::var_os(FOLDER).is_none() {
        // SAFETY: documented above; nothing else reads or writes the environment now.
        unsafe { std::env::set_var(FOLDER, std::env::temp_dir()) };
    }
}

/// Lets devices be tested in a process of their own, which a graphics driver can crash without harm.
///
/// Call it first in `main`. It starts this program again with an environment variable set, and in that
/// process it does not return. A program that does not call it tests devices in its own process.
pub fn answer_probes() {
    match std::env::var(PROBE) {
        Ok(name) => {
            let verdict = name.parse().and_then(probe);
            let reason = verdict.err();
            // Only the exit status and this line are read.
            reason.iter().for_each(|reason| eprintln!("{PROBE} {reason}"));
            std::process::exit(i32::from(reason.is_some()));
        }
        Err(_) => ANSWERS.store(true, Ordering::Relaxed),
    }
}

/// Tests a device in a process of its own, if this program can be one.
pub(crate) fn test(name: DeviceName, device: &Device) -> Result<(), String> {
    let program = std::env::current_exe().ok().filter(|_| ANSWERS.load(Ordering::Relaxed));
    let Some(program) = program else { return self_test::test(device) };
    let mut command = Command::new(program);
    command.env(PROBE, name.to_string()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("its test could not be started: {e}"))?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                // Nothing is lost if it is gone already.
                let _ = child.kill();
                return Err(format!("no answer within {} s", PATIENCE.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let mut said = String::new();
    if let Some(mut pipe) = child.stderr.take() {
        let _ = pipe.read_to_string(&mut said);
    }
    let reason = said.lines().find_map(|line| line.strip_prefix(PROBE));
    match (status.success(), reason) {
        (true, _) => Ok(()),
        (false, Some(reason)) => Err(reason.trim().to_string()),
        (false, None) => Err(format!("its driver crashed ({status})")),
    }
}

/// Tests a named device in this process.
fn probe(wanted: DeviceName) -> Result<(), String> {
    cache::prepare();
    let candidate = survey::named(wanted).ok_or("it is not here")?;
    let device = candidate.device.clone();
    guarded(move || cache::activate(&device))?;
    self_test::test(&candidate.device)
}
