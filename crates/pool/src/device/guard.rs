//! Foreign libraries may panic or hang: what they do is run where neither harms.

use std::sync::mpsc;
use std::time::Duration;

use crate::panics::{Quiet, caught};

/// Longest that a device may take; cold compilation of the test's kernels is a few seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);

/// Runs something that may panic or hang in a foreign library; says why it failed.
pub(super) fn guarded<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    // Libraries have threads of their own, whose panics are news of the same failure.
    let _quiet = Quiet::new();
    let (sender, receiver) = mpsc::channel();
    // Nobody listens any more if this took too long.
    let run = move || drop(sender.send(caught(work).map_err(|panic| panic.to_string())));
    match std::thread::Builder::new().name("device-test".into()).spawn(run) {
        Ok(_) => receiver
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs()))),
        Err(error) => Err(format!("no thread could be started: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_reason_with_its_place() {
        let result: Result<(), String> = guarded(|| panic!("no driver\nand more"));
        let reason = result.expect_err("it panics");
        assert!(reason.starts_with("no driver (at ") && reason.contains(file!()), "{reason}");
    }
}
