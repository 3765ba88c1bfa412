//! The test that a device has to pass: a product and a convolution, compared with the CPU.
//!
//! Drivers can be half installed, and wrong results from fused or tuned kernels have been reported;
//! better to find out in a second than in a mask.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};

use crate::device::{self, DeviceName};

/// Longest that a device may take; cold compilation of the test's kernels is a few seconds.
const PATIENCE: Duration = Duration::from_secs(180);
/// Largest difference allowed: TF32 keeps 10 bits, and the values are of order 1.
const TOLERANCE: f32 = 2e-2;
/// Panics are silent while this is set: a device that fails its test is an answer, not a bug.
static QUIET: AtomicBool = AtomicBool::new(false);

/// What the names of a crew's threads begin with.
const CREW_THREAD: &str = "pool ";

/// Installs a panic hook that is silent during smoke tests.
fn install_hook() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // What happens on a device's thread of a crew is in the crew's report.
            let thread = std::thread::current();
            let reported = thread.name().is_some_and(|name| name.starts_with(CREW_THREAD));
            if !QUIET.load(Ordering::Relaxed) && !reported {
                usual(info);
            }
        }));
    });
}

/// Runs something that may panic or hang in a foreign library; says why it failed.
pub(crate) fn guarded<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    install_hook();
    QUIET.store(true, Ordering::Relaxed);
    let (sender, receiver) = mpsc::channel();
    let run = move || {
        let result = catch_unwind(AssertUnwindSafe(work)).map_err(|panic| reason(panic.as_ref()));
        // Nobody listens any more if this took too long.
        let _ = sender.send(result);
    };
    let spawned = std::thread::Builder::new().name("device-test".into()).spawn(run);
    let result = match spawned {
        Ok(_) => receiver
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs()))),
        Err(error) => Err(format!("no thread could be started: {error}")),
    };
    QUIET.store(false, Ordering::Relaxed);
    result
}

/// The first line of a panic's message.
fn reason(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown reason");
    text.lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or(text)
        .trim()
        .chars()
        .take(160)
        .collect()
}

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
            let verdict = name.parse().and_then(device::probe);
            let reason = verdict.err();
            // Only the exit status and this line are read.
            reason.iter().for_each(|reason| eprintln!("{PROBE} {reason}"));
            std::process::exit(i32::from(reason.is_some()));
        }
        Err(_) => ANSWERS.store(true, Ordering::Relaxed),
    }
}

/// Tests a device in a process of its own, if this program can be one.
pub(crate) fn test_apart(name: DeviceName, device: &Device) -> Result<(), String> {
    let program = std::env::current_exe().ok().filter(|_| ANSWERS.load(Ordering::Relaxed));
    let Some(program) = program else { return test(device) };
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

/// Tests a device.
pub(crate) fn test(device: &Device) -> Result<(), String> {
    let device = device.clone();
    let found = guarded(move || compute(&device))??;
    let expected = compute(&Device::flex())?;
    let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    match found.len() == expected.len() && off <= TOLERANCE {
        true => Ok(()),
        false => Err(format!("its results differ from the CPU's by {off:.3}")),
    }
}

/// A product and a convolution of fixed numbers.
fn compute(device: &Device) -> Result<Vec<f32>, String> {
    let wave = |n: usize, shape: &[usize]| {
        let values: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin() * 0.25).collect();
        TensorData::new(values, shape.to_vec())
    };
    let a = Tensor::<2>::from_data(wave(64 * 64, &[64, 64]), device);
    let product = a.clone().matmul(a).reshape([64 * 64]);
    let image = Tensor::<4>::from_data(wave(4 * 16 * 16, &[1, 4, 16, 16]), device);
    let weight = Tensor::<4>::from_data(wave(8 * 4 * 9, &[8, 4, 3, 3]), device);
    let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let convolved = conv2d(image, weight, None, options).reshape([8 * 16 * 16]);
    let both = Tensor::cat(vec![product, convolved], 0);
    both.try_into_vec_as::<f32>().map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_passes() {
        assert_eq!(test(&Device::flex()), Ok(()));
    }

    #[test]
    fn a_panic_becomes_a_reason() {
        let result: Result<(), String> = guarded(|| panic!("no driver\nand more"));
        assert_eq!(result, Err("no driver".to_string()));
    }
}
