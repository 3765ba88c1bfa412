//! What was found, as a table for programs: the columns of `perf_analyzer`, and more.

use serde::{Deserialize, Serialize};

use super::level::Level;
use super::{Estimate, Load, LoadError, Offered};

/// What a run of load found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// Version of the program that measured.
    pub lithoburn: String,
    /// The server.
    pub url: String,
    /// The model.
    pub model: String,
    /// Datatype of the inputs, where it is not the model's own.
    pub datatype: Option<String>,
    /// Sides of the inputs where the model leaves them free: height, width.
    pub sides: [usize; 2],
    /// Length of a window, in seconds.
    pub window_seconds: f64,
    /// By how much of the least the last windows may differ.
    pub within: f64,
    /// Levels, in the order in which they were measured.
    pub levels: Vec<Level>,
}

/// A column: its name, and what a level has in it.
type Column = (String, Box<dyn Fn(&Level) -> String>);

impl Findings {
    /// Of a run that begins.
    pub(crate) fn new(load: &Load) -> Self {
        Self {
            lithoburn: env!("CARGO_PKG_VERSION").into(),
            url: load.target.address.to_string(),
            model: load.target.model.clone(),
            datatype: load.cargo.datatype.clone(),
            sides: load.cargo.sides,
            window_seconds: load.terms.window.as_secs_f64(),
            within: load.terms.within,
            levels: Vec::new(),
        }
    }

    /// As JSON.
    ///
    /// # Errors
    ///
    /// [`LoadError::File`] if they have no JSON.
    pub fn json(&self) -> Result<Vec<u8>, LoadError> {
        let json = serde_json::to_vec_pretty(self);
        json.map_err(|e| LoadError::File { path: "load.json".into(), problem: e.to_string() })
    }

    /// A line for each level. Times are in µs; the first columns are those of `perf_analyzer`, whole numbers as there.
    /// What was not measured is empty.
    #[must_use]
    pub fn csv(&self) -> String {
        let columns = self.columns();
        let line = |cells: Vec<String>| cells.join(",") + "\n";
        let head = line(columns.iter().map(|(name, _)| name.clone()).collect());
        let rows = self.levels.iter();
        rows.fold(head, |text, level| {
            text + &line(columns.iter().map(|(_, cell)| quoted(&cell(level))).collect())
        })
    }

    fn columns(&self) -> Vec<Column> {
        let rates = self.levels.iter().any(|level| matches!(level.offered, Offered::Rate { .. }));
        let offered = if rates { "Request Rate" } else { "Concurrency" };
        let mut columns = vec![column(offered, |level| level.offered.to_string())];
        columns.extend(parts());
        columns.extend(percentiles());
        columns.extend(more());
        columns
    }
}

impl std::fmt::Display for Offered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Concurrency(count) => write!(f, "{count}"),
            Self::Rate { per_second, .. } => write!(f, "{per_second}"),
        }
    }
}

fn column(name: &str, cell: impl Fn(&Level) -> String + 'static) -> Column {
    (name.into(), Box::new(cell))
}

/// A number without a fraction; nothing for none.
fn whole(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:.0}"))
}

/// A number with some digits; nothing for none.
fn some(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:.4}"))
}

/// Where the time goes.
fn parts() -> Vec<Column> {
    let server =
        |of: fn(&super::Stages) -> f64| move |level: &Level| whole(level.server.as_ref().map(of));
    vec![
        column("Inferences/Second", |l| format!("{:.3}", l.items_per_second.value)),
        column("Client Send", |l| whole(Some(l.client.send_us))),
        column("Network+Server Send/Recv", |l| whole(l.network_us())),
        column("Server Queue", server(|s| s.queue_us)),
        column("Server Compute Input", server(|s| s.compute_input_us)),
        column("Server Compute Infer", server(|s| s.compute_infer_us)),
        column("Server Compute Output", server(|s| s.compute_output_us)),
        column("Client Recv", |l| whole(Some(l.client.receive_us))),
    ]
}

fn percentiles() -> Vec<Column> {
    let named = |index: usize, name: &str| {
        column(name, move |l| whole(l.latency.percentiles()[index].1.map(|e| e.value)))
    };
    let names = ["p50 latency", "p90 latency", "p95 latency", "p99 latency"];
    let mut columns: Vec<Column> = names.iter().enumerate().map(|(i, n)| named(i, n)).collect();
    columns.push(column("Avg latency", |l| whole(l.latency.mean)));
    columns.push(named(4, "p99.9 latency"));
    columns.push(column("Max latency", |l| whole(l.latency.most)));
    columns
}

/// What `perf_analyzer` does not tell.
fn more() -> Vec<Column> {
    let mut columns = Vec::new();
    for (index, name) in ["p50", "p90", "p95", "p99", "p99.9"].into_iter().enumerate() {
        let bound = move |l: &Level, side: usize| {
            whole(l.latency.percentiles()[index].1.and_then(|e| e.interval).map(|i| i[side]))
        };
        columns.push(column(&format!("{name} low"), move |l| bound(l, 0)));
        columns.push(column(&format!("{name} high"), move |l| bound(l, 1)));
    }
    let bound = |side: usize| {
        move |l: &Level| some(l.items_per_second.interval.map(|interval| interval[side]))
    };
    columns.push(column("Inferences/Second low", bound(0)));
    columns.push(column("Inferences/Second high", bound(1)));
    columns.extend([
        column("Stable", |l| l.stable.to_string()),
        column("Seconds", |l| format!("{:.3}", l.seconds)),
        column("Requests", |l| l.requests.to_string()),
        column("Failures", |l| l.failed().to_string()),
        column("Unfinished", |l| l.unfinished.to_string()),
        column("Late", |l| whole(Some(l.client.late_us))),
        column("Request Batch", |l| l.batch.to_string()),
        column("Server Batch", |l| some(l.server.and_then(|s| s.batch))),
        column("Client Cores", |l| some(l.client.cores)),
        column("Server Cores", |l| some(l.machine.cores)),
        column("Device Computing", |l| some(l.machine.mean(|d| d.computing))),
        column("Avg GPU Utilization", |l| some(l.machine.mean(|d| d.utilization))),
        column("Avg GPU Power Usage", |l| some(l.machine.mean(|d| d.power_watts))),
        column("Max GPU Memory Usage", |l| whole(l.machine.sum(|d| d.memory_bytes))),
        column("Energy per Inference", |l| some(l.energy_joules())),
        column("Failure Reasons", Level::reasons),
    ]);
    columns
}

impl Level {
    /// Requests that failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Time of a request between the client's socket and the server's queue and back, in µs; none if the server tells
    /// nothing.
    #[must_use]
    pub fn network_us(&self) -> Option<f64> {
        let (server, mean) = (self.server?, self.latency.mean?);
        let stages = [
            server.queue_us,
            server.compute_input_us,
            server.compute_infer_us,
            server.compute_output_us,
        ];
        let ours = self.client.late_us + self.client.send_us + self.client.receive_us;
        Some((mean - ours - stages.iter().sum::<f64>()).max(0.0))
    }

    /// Energy of all devices for an item, in J; none if any device does not tell.
    #[must_use]
    pub fn energy_joules(&self) -> Option<f64> {
        let power = self.machine.sum(|device| device.power_watts)?;
        (self.items_per_second.value > 0.0).then(|| power / self.items_per_second.value)
    }

    /// Reasons of failures and how often each was given.
    #[must_use]
    pub fn reasons(&self) -> String {
        let told = self.failures.iter().map(|(reason, count)| format!("{count} × {reason}"));
        told.collect::<Vec<_>>().join("; ")
    }
}

impl Estimate {
    /// Half the interval's width, as a share of the value; none without an interval.
    #[must_use]
    pub fn spread(&self) -> Option<f64> {
        let [low, high] = self.interval?;
        (self.value > 0.0).then(|| (high - low) / (2.0 * self.value))
    }
}

/// A cell, in quotes where it has to be.
fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.into(),
    }
}
