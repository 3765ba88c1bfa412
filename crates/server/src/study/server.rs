//! A server that a study starts and ends.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::load::{Address, LoadError};

/// Stands for the number of devices in a command.
const COUNT: &str = "{devices}";
/// Stands for the names of so many devices.
const NAMES: &str = "{names}";

/// How servers of a study are started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Starter {
    /// Program and arguments. `{devices}` in an argument becomes their number, `{names}` their names.
    ///
    /// When it is ready, the program prints a line of JSON with its addresses: `{"http": "127.0.0.1:8000", "metrics":
    /// "127.0.0.1:8002"}`. It ends when its standard input is closed, or at SIGTERM.
    pub command: Vec<String>,
    /// Names of devices, of which the first ones are used.
    pub names: Vec<String>,
    /// What the devices are, in a few words.
    pub what: String,
    /// The study's own command line.
    pub shown: String,
    /// Longest that a server may take until it is ready.
    pub patience: Duration,
}

/// A server that runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    /// Its HTTP port.
    pub address: Address,
    /// Its page of metrics, if it says where.
    pub metrics: Option<Address>,
    child: Child,
}

/// What a server says when it is ready.
#[derive(Deserialize)]
struct Ready {
    http: String,
    metrics: Option<String>,
}

impl Starter {
    /// Starts a server with so many devices, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// [`LoadError::Start`] if it ends before, or is not ready in time.
    pub async fn start(&self, devices: usize) -> Result<Running, LoadError> {
        let failed = |problem: String| LoadError::Start {
            configuration: format!("{devices} devices"),
            problem,
        };
        let names =
            self.names.iter().take(devices).map(String::as_str).collect::<Vec<_>>().join(",");
        let fill = |part: &String| part.replace(COUNT, &devices.to_string()).replace(NAMES, &names);
        let filled = self.command.iter().map(fill);
        let command: Vec<String> = filled.collect();
        let [program, arguments @ ..] = &command[..] else {
            return Err(failed("no program is named".into()));
        };
        let mut process = Command::new(program);
        process.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = process.spawn().map_err(|e| failed(format!("{program}: {e}")))?;
        let found = tokio::time::timeout(self.patience, ready(&mut child)).await;
        let found = found.unwrap_or_else(|_| Err(format!("not ready within {:?}", self.patience)));
        let ready = found.map_err(failed)?;
        let metrics = ready.metrics.as_deref().map(Address::parse).transpose()?;
        Ok(Running { address: Address::parse(&ready.http)?, metrics, child })
    }
}

/// Reads what a server prints until it says that it is ready.
async fn ready(child: &mut Child) -> Result<Ready, String> {
    let stdout = child.stdout.take().ok_or("its output is not read")?;
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await.map_err(|e| e.to_string())? {
        if let Ok(ready) = serde_json::from_str(&line) {
            // What it prints from now on must not stop it.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok(ready);
        }
    }
    let status = child.wait().await.map_err(|e| e.to_string())?;
    Err(format!("it ended before it was ready ({status})"))
}

impl Running {
    /// Asks the server to end, and waits for a while; then it is killed.
    pub async fn stop(mut self) {
        const PATIENCE: Duration = Duration::from_secs(10);
        drop(self.child.stdin.take());
        if let Some(id) = self.child.id().filter(|_| cfg!(unix)) {
            // It may be ending already, for want of input.
            let _ = Command::new("kill").arg(id.to_string()).stderr(Stdio::null()).status().await;
        }
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            // Nothing is lost if it is gone by now.
            let _ = self.child.kill().await;
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn starter(script: &str) -> Starter {
        Starter {
            command: ["sh", "-c", script].map(String::from).into(),
            names: ["a", "b", "c", "d"].map(String::from).into(),
            what: "a script".into(),
            shown: String::new(),
            patience: Duration::from_secs(30),
        }
    }

    #[tokio::test]
    async fn a_server_says_where_it_is_and_ends_when_its_input_does() {
        let script = r#"test {names} = a,b,c && echo '{"http": "127.0.0.1:700{devices}", "metrics": null}'; cat"#;
        let running = starter(script).start(3).await.expect("it is ready");
        assert_eq!(running.address.authority, "127.0.0.1:7003");
        running.stop().await;
    }

    #[tokio::test]
    async fn a_server_that_ends_or_stays_silent_is_an_error_that_says_so() {
        let ended = starter("echo no; exit 3").start(2).await.expect_err("it ended").to_string();
        assert!(ended.contains("2 devices") && ended.contains("exit status: 3"), "{ended}");
        let silent = Starter { patience: Duration::from_millis(300), ..starter("sleep 60") };
        let silent = silent.start(1).await.expect_err("it is silent").to_string();
        assert!(silent.contains("not ready within 300ms"), "{silent}");
        let missing = Starter { command: vec!["/no/such/program".into()], ..starter("") };
        let missing = missing.start(1).await.expect_err("it is not there").to_string();
        assert!(missing.contains("/no/such/program"), "{missing}");
    }
}
