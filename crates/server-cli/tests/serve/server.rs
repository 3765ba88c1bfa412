//! A server of its own for a test, and a client as small as can be.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Time for anything at all: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a server answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// A server on ports that the system chose, ready.
pub(crate) struct Server {
    child: Child,
    addresses: Value,
    /// Its jobs' folder, unless the test has it.
    _data: Option<tempfile::TempDir>,
    /// Held open, as a terminal does.
    _out: BufReader<ChildStdout>,
}

impl Server {
    /// With a folder of its own, on the CPU unless told otherwise.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let mut server = Self::start_in(data.path(), arguments);
        server._data = Some(data);
        server
    }

    /// With a folder that outlives it.
    pub(crate) fn start_in(data: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lithoburn-server"));
        command.arg("serve");
        if !arguments.contains(&"--devices") {
            command.args(["--devices", "cpu"]);
        }
        command
            .args(["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"])
            .arg("--data")
            .arg(data);
        let spawned = command.args(arguments).stdout(Stdio::piped()).spawn();
        let mut child = spawned.expect("the program runs");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("it says where it is");
        let addresses = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        Self { child, addresses, _data: None, _out: out }
    }

    /// An address on its HTTP port.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addresses["http"].as_str().expect("an address"))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, kind: &str, body: &[u8]) -> Answer {
        self.ask("POST", path, &[&format!("Content-Type: {kind}")], body)
    }

    /// Sends a layout as a form does.
    pub(crate) fn upload(&self, path: &str, name: &str, bytes: &[u8]) -> Answer {
        let head = format!(
            "--edge\r\nContent-Disposition: form-data; name=\"layout\"; filename=\"{name}\"\r\n\r\n"
        );
        let body = [head.as_bytes(), bytes, b"\r\n--edge--\r\n"].concat();
        self.post(path, "multipart/form-data; boundary=edge", &body)
    }

    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        self.at("http", method, path, headers, body)
    }

    /// Of one of its ports. HTTP/1.0, whose answers end with their connection.
    pub(crate) fn at(
        &self,
        port: &str,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Answer {
        let address = self.addresses[port].as_str().expect("an address");
        let mut socket = TcpStream::connect(address).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n",
            body.len()
        );
        headers.iter().for_each(|header| head.extend([header, "\r\n"]));
        head.push_str("\r\n");
        socket.write_all(head.as_bytes()).expect("written");
        // A server that refuses need not read what it refuses.
        let _ = socket.write_all(body);
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let status = String::from_utf8_lossy(&answer[..end])
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok());
        Answer { status: status.expect("a status"), body: answer[end + 4..].to_vec() }
    }

    /// What is at a path as soon as it is so.
    pub(crate) fn until(&self, path: &str, what: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let value = serde_json::from_slice(&self.get(path).body).expect("JSON");
            if what(&value) {
                return value;
            }
            assert!(start.elapsed() < PATIENCE, "{value}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it without a word.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ended");
    }

    /// Tells it to stop, as systemd and Kubernetes do; its exit status.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(told.expect("kill runs").success());
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not stop");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that a failed test left.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
