//! A real browser without a window, told what to do over pipes (the Chrome DevTools Protocol).

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lithoburn_testing::Need;
use serde_json::{Value, json};

const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) struct Browser {
    child: Child,
    to: File,
    from: File,
    session: String,
    next: u64,
    /// What came and was no answer yet.
    rest: Vec<u8>,
    errors: Vec<String>,
    _folder: tempfile::TempDir,
}

/// The browser's file, on the path.
fn found() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let all = std::env::split_paths(&path).flat_map(|folder| NAMES.map(|name| folder.join(name)));
    all.into_iter().find(|file| file.is_file())
}

impl Browser {
    /// A browser with one page, or none where there is no Chromium; then the test is skipped.
    pub(crate) fn open() -> Option<Self> {
        let program = Need::Tools.met(found(), "no chromium on the path")?;
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = |name: &str| {
            let path = folder.path().join(name);
            assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
            path
        };
        let (to, from) = (pipe("to"), pipe("from"));
        let script = "exec \"$1\" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                      --hide-scrollbars --force-device-scale-factor=1 --window-size=1280,1000 --user-data-dir=\"$2\" \
                      --remote-debugging-pipe about:blank 3<\"$3\" 4>\"$4\"";
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "sh"])
            .arg(program)
            .arg(folder.path().join("profile"))
            .arg(&to)
            .arg(&from);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh runs");
        // Each end waits for the other.
        let to = File::create(to).expect("a pipe");
        let from = File::open(from).expect("a pipe");
        let (session, rest, errors) = (String::new(), Vec::new(), Vec::new());
        let mut browser = Self { child, to, from, session, next: 0, rest, errors, _folder: folder };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attached = browser.call(
            "Target.attachToTarget",
            json!({"targetId": target["targetId"], "flatten": true}),
        );
        browser.session = attached["sessionId"].as_str().expect("a session").into();
        for domain in ["Page", "Runtime", "Log", "DOM"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.to.write_all(message.to_string().as_bytes()).expect("written");
        self.to.write_all(b"\0").expect("written");
        loop {
            let answer = self.message();
            if answer["id"] == id {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.heard(&answer);
        }
    }

    /// The next message; they end with a zero.
    fn message(&mut self) -> Value {
        loop {
            if let Some(end) = self.rest.iter().position(|&byte| byte == 0) {
                let message: Vec<u8> = self.rest.drain(..=end).collect();
                return serde_json::from_slice(&message[..end]).expect("JSON");
            }
            let mut piece = [0; 1 << 16];
            let read = self.from.read(&mut piece).expect("the browser speaks");
            assert!(read > 0, "the browser ended");
            self.rest.extend_from_slice(&piece[..read]);
        }
    }

    /// Keeps what the page complains of.
    fn heard(&mut self, event: &Value) {
        let complaint = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => &event["params"]["exceptionDetails"],
            Some("Log.entryAdded") if event["params"]["entry"]["level"] == "error" => {
                &event["params"]["entry"]
            }
            _ => return,
        };
        // What a job has not is not shown; the browser mentions it.
        let missing = complaint["url"].as_str().is_some_and(|url| url.ends_with("whole.png"));
        if !missing {
            self.errors.push(complaint.to_string());
        }
    }

    pub(crate) fn go(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
        self.until(
            "document.readyState === 'complete' && document.getElementById('form') !== null",
        );
    }

    /// The value of an expression, as text.
    pub(crate) fn run(&mut self, expression: &str) -> String {
        let found =
            self.call("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}));
        assert!(found.get("exceptionDetails").is_none(), "{expression}: {found}");
        match &found["result"]["value"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    pub(crate) fn until(&mut self, condition: &str) {
        let start = Instant::now();
        while self.run(&format!("Boolean({condition})")) != "true" {
            assert!(
                start.elapsed() < PATIENCE,
                "{condition}: {}",
                self.run("document.body?.innerText")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Chooses a file, as dropping it does.
    pub(crate) fn choose(&mut self, input: &str, file: &Path) {
        let document = self.call("DOM.getDocument", json!({}));
        let node = self.call(
            "DOM.querySelector",
            json!({"nodeId": document["root"]["nodeId"], "selector": input}),
        );
        self.call("DOM.setFileInputFiles", json!({"nodeId": node["nodeId"], "files": [file]}));
    }

    pub(crate) fn errors(&self) -> Vec<String> {
        self.errors.clone()
    }

    /// The page's upper part as PNG.
    pub(crate) fn screenshot(&mut self) -> Vec<u8> {
        let clip = json!({"x": 0, "y": 0, "width": 1280, "height": 1480, "scale": 1});
        let shot = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let shot = self.call("Page.captureScreenshot", shot);
        base64(shot["data"].as_str().expect("an image"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u32> = text
        .bytes()
        .filter_map(|c| DIGITS.iter().position(|&d| d == c))
        .map(|d| d as u32)
        .collect();
    let bytes = digits.chunks(4).flat_map(|quad| {
        let word = quad.iter().fold(0, |word, d| word << 6 | d) << (6 * (4 - quad.len()));
        word.to_be_bytes().into_iter().skip(1).take(quad.len() * 6 / 8).collect::<Vec<_>>()
    });
    bytes.collect()
}
