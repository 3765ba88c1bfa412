//! A job's process.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{JobsError, Terms};
use crate::layouts::Progress;

/// The log's last bytes, among which the error is.
const TAIL: u64 = 4096;
/// What a program of ours exits with when it says what was wrong.
const REFUSED: i32 = 2;
/// What it exits with when the mask leaves something to be wished: its files are there.
const NOT_MET: i32 = 1;

/// Time in which an ended process's last lines are read.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How an attempt ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Its files are there.
    Done,
    /// It will not do better another time.
    Failed(String),
    /// It died of itself.
    Died(String),
    /// It was left, to go on later.
    Left,
}

/// Why a process is asked to end.
enum Asked {
    Cancelled,
    Stopping,
    TooLong,
}

pub(super) struct Process {
    child: Child,
    /// While it is open, the process goes on.
    leash: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Process {
    /// Starts the program in a job's folder; what it writes on standard error is the log.
    pub(super) fn start(terms: &Terms, folder: &Path) -> Result<Self, JobsError> {
        let log = folder.join("log.txt");
        let file = OpenOptions::new().create(true).append(true).open(&log);
        let file = file.map_err(|e| JobsError::Write(log.clone(), e))?;
        let mut command = Command::new(&terms.program);
        command
            .args(&terms.arguments)
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .kill_on_drop(true);
        // A terminal's Ctrl-C is the server's: it ends its job in its own way.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(|e| JobsError::Write(terms.program.clone(), e))?;
        let leash = child.stdin.take();
        let out = child.stdout.take().ok_or_else(|| {
            JobsError::Write(terms.program.clone(), std::io::ErrorKind::BrokenPipe.into())
        })?;
        Ok(Self { child, leash, lines: BufReader::new(out).lines(), log })
    }

    /// Follows the process to its end, which the job's client, its limits or the server's may bring.
    pub(super) async fn wait(
        &mut self,
        terms: &Terms,
        spent: Duration,
        cancelled: &CancellationToken,
        stopping: &CancellationToken,
        watch: &mut (dyn FnMut(Progress) + Send),
    ) -> Ended {
        let soft = sleep(terms.soft.saturating_sub(spent));
        tokio::pin!(soft);
        let asked = loop {
            tokio::select! {
                biased;
                () = cancelled.cancelled() => break Asked::Cancelled,
                () = stopping.cancelled() => break Asked::Stopping,
                () = &mut soft => break Asked::TooLong,
                Ok(Some(line)) = self.lines.next_line() => heard(&line, watch),
                // Its output may be open still, by a process that it left behind.
                status = self.child.wait() => return self.exited(status, watch).await,
            }
        };
        self.end(terms, spent, &asked).await;
        match asked {
            Asked::Cancelled | Asked::Stopping => Ended::Left,
            Asked::TooLong => Ended::Failed(format!(
                "it took longer than its limit of {} s: ask for less of the layout, or raise the limit",
                terms.soft.as_secs()
            )),
        }
    }

    /// Asks the process to end, and ends it if it does not.
    async fn end(&mut self, terms: &Terms, spent: Duration, asked: &Asked) {
        drop(self.leash.take());
        let time = match asked {
            Asked::TooLong => terms.hard.saturating_sub(terms.soft.max(spent)),
            Asked::Cancelled | Asked::Stopping => terms.grace,
        };
        if timeout(time, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    /// Hears what it said last, and how it ended.
    async fn exited(
        &mut self,
        status: std::io::Result<ExitStatus>,
        watch: &mut (dyn FnMut(Progress) + Send),
    ) -> Ended {
        drop(self.leash.take());
        while let Ok(Ok(Some(line))) = timeout(LAST_WORDS, self.lines.next_line()).await {
            heard(&line, watch);
        }
        match status {
            Ok(status) => match status.code() {
                Some(0 | NOT_MET) => Ended::Done,
                Some(REFUSED) => Ended::Failed(self.last_words()),
                _ => Ended::Died(how(status)),
            },
            Err(error) => Ended::Died(error.to_string()),
        }
    }

    /// The error at the log's end.
    fn last_words(&self) -> String {
        let text = tail(&self.log).unwrap_or_default();
        let said = text.rsplit_once("error: ").map_or(text.as_str(), |(_, said)| said).trim();
        match said.is_empty() {
            true => "it failed and did not say why; its log may tell".into(),
            false => said.into(),
        }
    }
}

fn heard(line: &str, watch: &mut (dyn FnMut(Progress) + Send)) {
    // What is no progress is somebody's print, and no news.
    if let Ok(progress) = serde_json::from_str(line) {
        watch(progress);
    }
}

/// The last bytes of a file, as text.
fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// How a process ended that did not exit as it should.
fn how(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("was ended by signal {signal}");
    }
    match status.code() {
        Some(code) => format!("exited with {code}"),
        None => "ended".into(),
    }
}
