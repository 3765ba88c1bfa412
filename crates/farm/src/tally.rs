//! A worker's counters, and how Prometheus reads them.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::FarmError;

/// Upper ends of the histograms' buckets, in milliseconds.
const BUCKETS_MS: [u64; 12] =
    [1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000];
/// How long a reader of the counters may take to ask.
const ASKING: Duration = Duration::from_secs(5);
/// Bytes of a question, at most.
const QUESTION: u64 = 16 << 10;

/// Times, counted by their size.
#[derive(Debug, Default)]
pub struct Times {
    buckets: [AtomicU64; BUCKETS_MS.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Times {
    /// One more.
    pub fn add(&self, took: Duration) {
        let ms = took.as_secs_f64() * 1e3;
        if let Some(i) = BUCKETS_MS.iter().position(|&end| ms <= end as f64) {
            self.buckets[i].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// The sum of all.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us.load(Ordering::Relaxed))
    }

    fn write(&self, text: &mut String, name: &str, help: &str, labels: &str) {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut below = 0;
        for (bucket, end) in self.buckets.iter().zip(BUCKETS_MS) {
            below += bucket.load(Ordering::Relaxed);
            let end = end as f64 * 1e-3;
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{end}\"}} {below}");
        }
        let (count, sum) = (self.count.load(Ordering::Relaxed), self.sum().as_secs_f64());
        let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}");
    }
}

/// What a worker counts.
#[derive(Debug, Default)]
pub struct Tally {
    /// Results that count.
    pub committed: AtomicU64,
    /// Results that came after an equal one.
    pub late: AtomicU64,
    /// Results that came after another one.
    pub different: AtomicU64,
    /// Tries that failed.
    pub failed: AtomicU64,
    /// Blocks that were given back.
    pub released: AtomicU64,
    /// Copies that were begun of blocks that others had for long.
    pub copies: AtomicU64,
    /// Leases that another worker took over.
    pub lost: AtomicU64,
    /// Questions to the source that failed and were asked again.
    pub trouble: AtomicU64,
    /// Items of the results that count.
    pub items: AtomicU64,
    /// Bytes of the results that count.
    pub bytes: AtomicU64,
    /// Blocks that are held.
    pub held: AtomicU64,
    /// Milliseconds in which at least one block was held.
    pub busy_ms: AtomicU64,
    /// From lease to result.
    pub block: Times,
    /// From result to receipt.
    pub commit: Times,
    /// From asking for a block to the answer.
    pub next: Times,
}

impl Tally {
    /// As Prometheus reads it (text format 0.0.4).
    pub fn text(&self, worker: &str, job: &str) -> String {
        let labels = format!("worker=\"{worker}\",job=\"{job}\"");
        let mut text = String::new();
        let blocks = "lithoburn_farm_blocks_total";
        let _ = writeln!(text, "# HELP {blocks} Tries of blocks by how they ended.");
        let _ = writeln!(text, "# TYPE {blocks} counter");
        let ends = [
            ("committed", &self.committed),
            ("late", &self.late),
            ("different", &self.different),
            ("failed", &self.failed),
            ("released", &self.released),
        ];
        for (end, count) in ends {
            let count = count.load(Ordering::Relaxed);
            let _ = writeln!(text, "{blocks}{{{labels},end=\"{end}\"}} {count}");
        }
        let singles = [
            ("items_total", "counter", "Items of results that count.", &self.items),
            ("result_bytes_total", "counter", "Bytes of results that count.", &self.bytes),
            ("copies_total", "counter", "Copies of blocks that others had for long.", &self.copies),
            ("leases_lost_total", "counter", "Leases that others took over.", &self.lost),
            ("source_errors_total", "counter", "Failed questions to the source.", &self.trouble),
            ("blocks_held", "gauge", "Blocks under lease.", &self.held),
        ];
        for (name, kind, help, value) in singles {
            let name = format!("lithoburn_farm_{name}");
            let value = value.load(Ordering::Relaxed);
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            let _ = writeln!(text, "{name}{{{labels}}} {value}");
        }
        let busy = "lithoburn_farm_busy_seconds_total";
        let seconds = self.busy_ms.load(Ordering::Relaxed) as f64 * 1e-3;
        let _ =
            writeln!(text, "# HELP {busy} Time with at least one block.\n# TYPE {busy} counter");
        let _ = writeln!(text, "{busy}{{{labels}}} {seconds}");
        let times = [
            ("block_seconds", "From lease to result.", &self.block),
            ("commit_seconds", "From result to receipt.", &self.commit),
            ("next_seconds", "From asking for a block to the answer.", &self.next),
        ];
        for (name, help, times) in times {
            times.write(&mut text, &format!("lithoburn_farm_{name}"), help, &labels);
        }
        text
    }
}

/// Answers HTTP with a worker's counters while it lives.
#[derive(Debug)]
pub struct Exporter {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Exporter {
    /// Listens at an address, such as `127.0.0.1:9464`.
    ///
    /// # Errors
    ///
    /// [`FarmError::Setting`] if it cannot.
    pub fn start(
        address: &str,
        text: impl Fn() -> String + Send + 'static,
    ) -> Result<Self, FarmError> {
        let failed = |e: std::io::Error| {
            FarmError::Setting(format!("cannot listen at {address} for --metrics: {e}"))
        };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let ended = Arc::new(AtomicBool::new(false));
        let theirs = ended.clone();
        let serve = move || {
            for stream in listener.incoming().take_while(|_| !theirs.load(Ordering::SeqCst)) {
                // A reader that goes away is its own affair.
                let _ = stream.and_then(|stream| answer(stream, &text()));
            }
        };
        std::thread::Builder::new().name("metrics".into()).spawn(serve).map_err(failed)?;
        Ok(Self { address, ended })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread, which then ends.
        let _ = TcpStream::connect_timeout(&self.address, ASKING);
    }
}

fn answer(stream: TcpStream, text: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(ASKING))?;
    stream.set_write_timeout(Some(ASKING))?;
    let mut reader = BufReader::new((&stream).take(QUESTION));
    let (start, mut line) = (Instant::now(), String::new());
    while reader.read_line(&mut line)? > 2 {
        if !line.ends_with('\n') || start.elapsed() > ASKING {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        line.clear();
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close";
    write!(&stream, "{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_over_http() {
        let tally = Arc::new(Tally::default());
        tally.committed.store(7, Ordering::Relaxed);
        tally.block.add(Duration::from_millis(20));
        tally.block.add(Duration::from_secs(1000));
        let theirs = tally.clone();
        let exporter = Exporter::start("127.0.0.1:0", move || theirs.text("a", "j"));
        let exporter = exporter.expect("a free port");
        let mut stream = TcpStream::connect(exporter.address()).expect("it listens");
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").expect("asked");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answered");
        for line in [
            "HTTP/1.1 200 OK",
            "lithoburn_farm_blocks_total{worker=\"a\",job=\"j\",end=\"committed\"} 7",
            "lithoburn_farm_block_seconds_bucket{worker=\"a\",job=\"j\",le=\"0.01\"} 0",
            "lithoburn_farm_block_seconds_bucket{worker=\"a\",job=\"j\",le=\"0.03\"} 1",
            "lithoburn_farm_block_seconds_bucket{worker=\"a\",job=\"j\",le=\"+Inf\"} 2",
            "lithoburn_farm_block_seconds_count{worker=\"a\",job=\"j\"} 2",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn who_asks_without_an_end_is_hung_up_on_and_the_next_one_is_answered() {
        let exporter = Exporter::start("127.0.0.1:0", || "counters".into()).expect("a free port");
        let mut endless = TcpStream::connect(exporter.address()).expect("it listens");
        let part = [b'a'; 4096];
        let written = (0..10_000).take_while(|_| endless.write_all(&part).is_ok()).count();
        assert!(written < 10_000, "it took 40 MB of one line");
        let mut stream = TcpStream::connect(exporter.address()).expect("it listens");
        write!(stream, "GET /metrics HTTP/1.1\r\n\r\n").expect("asked");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answered");
        assert!(text.ends_with("counters"), "{text}");
    }

    #[test]
    fn an_address_that_cannot_be_had_is_named() {
        let error = Exporter::start("256.0.0.1:1", String::new).expect_err("no address");
        assert!(error.to_string().contains("256.0.0.1:1"), "{error}");
    }
}
