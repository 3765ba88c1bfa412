//! A device's test in a process of its own, which a graphics driver can crash without harm.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use super::guard::guarded;
use super::name::DeviceName;
use super::{cache, graphics, self_test, survey};

/// Set in a process that was started to test the device it names.
const PROBE: &str = "LITHOBURN_PROBE";
/// Whether this program answers when it is started with [`PROBE`].
static ANSWERS: AtomicBool = AtomicBool::new(false);

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
            // A good device would not be used if the process came to harm now.
            end_at_once(i32::from(reason.is_some()))
        }
        Err(_) => ANSWERS.store(true, Ordering::Relaxed),
    }
}

/// Ends a process that had a device, without what libraries do at an exit: threads of theirs may still be at work, and one process of a hundred ended
/// in a heap that was no heap any more. What it wrote must be written: nothing is flushed, and a graphics driver that keeps what it compiled may not have written it yet.
pub fn end_at_once(status: i32) -> ! {
    signal_hook::low_level::exit(status)
}

/// A device's test in a process of its own, under way. It ends with this at the latest.
pub(super) struct Test {
    process: Child,
    said: Option<Receiver<Option<String>>>,
    begun: Instant,
}

impl Test {
    /// Begins to test a device that is named, if this program can be such a process.
    ///
    /// # Errors
    ///
    /// Why the process could not be started.
    pub(super) fn of(name: DeviceName) -> Option<Result<Self, String>> {
        let program = std::env::current_exe().ok().filter(|_| ANSWERS.load(Ordering::Relaxed))?;
        let mut command = Command::new(program);
        command.env(PROBE, name.to_string());
        graphics::keep_none(&mut command);
        Some(Self::by(command))
    }

    fn by(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let started = command.spawn();
        let mut process = started.map_err(|e| format!("its test could not be started: {e}"))?;
        let said = process.stderr.take().map(reason_in);
        Ok(Self { process, said, begun: Instant::now() })
    }

    /// What the test finds, or that it took longer than `patience` since it began.
    pub(super) fn verdict(mut self, patience: Duration) -> Result<(), String> {
        let Some(status) = ended(&mut self.process, self.begun, patience)? else {
            return Err(format!("no answer within {} s", patience.as_secs()));
        };
        if status.success() {
            return Ok(());
        }
        // A process that it started may hold the pipe for longer.
        let said = self.said.take();
        let reason = said.and_then(|said| said.recv_timeout(Duration::from_secs(1)).ok().flatten());
        Err(reason.unwrap_or_else(|| format!("its driver crashed ({status})")))
    }
}

impl Drop for Test {
    fn drop(&mut self) {
        // Nothing is lost if it is gone already; without the wait it would stay as a zombie.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How a process ended; none if it did not in time.
fn ended(
    process: &mut Child,
    begun: Instant,
    patience: Duration,
) -> Result<Option<ExitStatus>, String> {
    loop {
        match process.try_wait().map_err(|e| e.to_string())? {
            None if begun.elapsed() < patience => std::thread::sleep(Duration::from_millis(10)),
            status => return Ok(status),
        }
    }
}

/// Reads what a process says while it runs, because a full pipe would stop it; the reason is told at the pipe's end.
fn reason_in(pipe: ChildStderr) -> Receiver<Option<String>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut reason = None;
        // Drivers write what is not UTF-8.
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            reason = line.strip_prefix(PROBE).map(|text| text.trim().to_string()).or(reason);
        }
        // Nobody listens any more if the test was good.
        let _ = sender.send(reason);
    });
    receiver
}

/// Tests a named device in this process.
fn probe(wanted: DeviceName) -> Result<(), String> {
    cache::prepare();
    let candidate = survey::named(wanted).ok_or("it is not here")?;
    let device = candidate.device.clone();
    guarded(move || cache::activate(&device))?;
    self_test::test(&candidate.device)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn verdict(command: Command, patience: Duration) -> Result<(), String> {
        Test::by(command)?.verdict(patience)
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// A pipe holds 64 KiB; who waits for the end before it reads waits for ever.
    #[test]
    fn a_driver_that_says_much_is_heard_to_the_end() {
        let chatty = |end: &str| {
            let script = format!("yes warning | head -c 1000000 >&2; {end}");
            verdict(shell(&script), Duration::from_secs(60))
        };
        assert_eq!(chatty("exit 0"), Ok(()));
        assert_eq!(
            chatty(&format!("echo '{PROBE} no kernels' >&2; exit 1")),
            Err("no kernels".into())
        );
        assert!(chatty("kill -SEGV $$").is_err_and(|reason| reason.contains("crashed")));
    }

    /// Signal 0 asks whether there is such a process; a zombie is one.
    fn is_there(process: u32) -> bool {
        let asked = shell(&format!("kill -0 {process}")).stderr(Stdio::null()).status();
        asked.expect("sh is here").success()
    }

    #[test]
    fn a_test_that_hangs_is_ended_and_leaves_no_zombie() {
        let start = Instant::now();
        let test = Test::by(shell("exec sleep 60")).expect("sh is here");
        let process = test.process.id();
        assert!(is_there(process));
        let reason = test.verdict(Duration::from_secs(1)).expect_err("it hangs");
        assert!(reason.contains("no answer") && start.elapsed() < Duration::from_secs(30));
        assert!(!is_there(process));
    }

    /// Where the device turns out not to be here.
    #[test]
    fn a_test_that_nobody_waits_for_ends_with_it() {
        let test = Test::by(shell("exec sleep 60")).expect("sh is here");
        let process = test.process.id();
        drop(test);
        assert!(!is_there(process));
    }
}
