//! Foreign libraries may panic or hang: what they do is run where neither harms.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Longest that a device may take; cold compilation of the test's kernels is a few seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_reason() {
        let result: Result<(), String> = guarded(|| panic!("no driver\nand more"));
        assert_eq!(result, Err("no driver".to_string()));
    }
}
