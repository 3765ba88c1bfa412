//! The page of our own metrics, in Prometheus' text format 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::cards::Card;
use super::{names, process};
use crate::schedule::{DeviceSnapshot, DeviceState, Durations, ModelSnapshot, Reason, Snapshot};

/// A device of the server, as its scheduler tells of it. Counters are since the server's start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceWork {
    /// Its name, such as `cuda:0`.
    pub name: String,
    /// The card's identity, if it is one of NVIDIA's.
    pub uuid: Option<String>,
    /// Whether it takes work.
    pub up: bool,
    /// Requests that it has at the moment.
    pub in_flight: u64,
    /// Batches that it computed.
    pub batches: u64,
    /// Items that it computed.
    pub items: u64,
    /// Seconds of `input`, `infer` and `output`.
    pub seconds: [f64; 3],
    /// Times that it failed.
    pub faults: u64,
}

/// A version of a model, as the scheduler tells of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelWork {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Requests that wait for a device.
    pub waiting: u64,
    /// Requests that were answered, by how long they took.
    pub durations: Durations,
    /// Requests that were not, by reason.
    pub refused: Vec<(&'static str, u64)>,
}

/// What the server does, as its scheduler tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Work {
    /// Its devices.
    pub devices: Vec<DeviceWork>,
    /// Its models.
    pub models: Vec<ModelWork>,
    /// Requests that were refused before a model was known, by reason.
    pub refused: Vec<(&'static str, u64)>,
}

impl From<&Snapshot> for Work {
    fn from(snapshot: &Snapshot) -> Self {
        let device = |d: &DeviceSnapshot| DeviceWork {
            name: d.device.name.clone(),
            uuid: d.device.uuid.clone(),
            up: !matches!(d.state, DeviceState::Lost(_)),
            in_flight: d.running as u64,
            batches: d.counts.batches,
            items: d.counts.items,
            seconds: [d.counts.input_ns, d.counts.infer_ns, d.counts.output_ns]
                .map(|ns| 1e-9 * ns as f64),
            faults: d.counts.faults,
        };
        let model = |m: &ModelSnapshot| ModelWork {
            name: m.signature.name.clone(),
            version: m.signature.version,
            waiting: m.waiting as u64,
            durations: m.counts.durations,
            refused: by_reason(&m.counts.refused),
        };
        Self {
            refused: by_reason(&snapshot.refused),
            devices: snapshot.devices.iter().map(device).collect(),
            models: snapshot.models.iter().map(model).collect(),
        }
    }
}

/// All reasons, so that a counter is there before it counts.
fn by_reason(counts: &BTreeMap<Reason, u64>) -> Vec<(&'static str, u64)> {
    let count = |reason: &Reason| counts.get(reason).copied().unwrap_or(0);
    Reason::ALL.iter().map(|reason| (reason.name(), count(reason))).collect()
}

/// Names of the stages, in the order of [`DeviceWork::seconds`].
const STAGES: [&str; 3] = ["input", "infer", "output"];
const DIRECTIONS: [&str; 2] = ["receive", "transmit"];

/// A page that is being written.
struct Sheet<'a>(&'a mut String);

/// Names of labels and their values.
type Labels = Vec<(&'static str, String)>;

/// Labels and the value of a sample.
type Row = (Labels, f64);

impl Sheet<'_> {
    /// Writes a metric, unless it has no samples.
    fn family(&mut self, name: &str, kind: &str, help: &str, rows: Vec<Row>) {
        if rows.is_empty() {
            return;
        }
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        rows.into_iter().for_each(|(labels, value)| self.line(name, &labels, value));
    }

    fn line(&mut self, name: &str, labels: &Labels, value: f64) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    /// Writes how long things took.
    fn histogram<'a>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl Iterator<Item = (Labels, &'a Durations)>,
    ) {
        let mut rows = rows.peekable();
        if rows.peek().is_none() {
            return;
        }
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (labels, durations) in rows {
            let mut bucket = |bound: String, count: u64| {
                let labels = [labels.clone(), vec![("le", bound)]].concat();
                self.line(&format!("{name}_bucket"), &labels, count as f64);
            };
            durations.cumulative().for_each(|(bound, count)| bucket(format!("{bound:.4}"), count));
            bucket("+Inf".into(), durations.count());
            self.line(&format!("{name}_sum"), &labels, durations.seconds());
            self.line(&format!("{name}_count"), &labels, durations.count() as f64);
        }
    }
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Appends the page of `lithoburn_*` and `process_*`. What is not known has no line.
pub fn render(page: &mut String, work: &Work, cards: &[Card]) {
    let mut sheet = Sheet(page);
    scheduler(&mut sheet, work);
    models(&mut sheet, work);
    hardware(&mut sheet, work, cards);
    own(&mut sheet);
}

/// Appends what Triton tells of cards, by its names: one label, and numbers without exponents, as its clients' patterns want them.
pub fn render_gpus(page: &mut String, cards: &[Card]) {
    let mut sheet = Sheet(page);
    let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Card) -> Option<f64>| {
        let row = |card: &Card| Some((vec![("gpu_uuid", card.uuid.clone())], value(card)?));
        sheet.family(name, kind, help, cards.iter().filter_map(row).collect());
    };
    let (gauge, bytes) = ("gauge", |bytes: Option<u64>| bytes.map(|bytes| bytes as f64));
    family("nv_gpu_utilization", gauge, "GPU utilization rate [0.0 - 1.0)", &|c| c.utilization);
    family("nv_gpu_memory_total_bytes", gauge, "GPU total memory, in bytes", &|c| {
        bytes(c.memory_size)
    });
    family("nv_gpu_memory_used_bytes", gauge, "GPU used memory, in bytes", &|c| {
        bytes(c.memory_used)
    });
    family("nv_gpu_power_usage", gauge, "GPU power usage in watts", &|c| c.power);
    family("nv_gpu_power_limit", gauge, "GPU power management limit in watts", &|c| c.power_limit);
    let help = "GPU energy consumption in joules since the driver was loaded";
    family("nv_energy_consumption", "counter", help, &|c| c.energy);
}

fn device(work: &DeviceWork) -> Labels {
    vec![("device", work.name.clone())]
}

fn scheduler(sheet: &mut Sheet<'_>, work: &Work) {
    let each = |value: &dyn Fn(&DeviceWork) -> f64| -> Vec<Row> {
        work.devices.iter().map(|d| (device(d), value(d))).collect()
    };
    sheet.family(
        names::UP,
        "gauge",
        "Whether the device takes work.",
        each(&|d| f64::from(u8::from(d.up))),
    );
    sheet.family(
        names::IN_FLIGHT,
        "gauge",
        "Requests that the device has.",
        each(&|d| d.in_flight as f64),
    );
    sheet.family(
        names::BATCHES,
        "counter",
        "Batches that the device computed.",
        each(&|d| d.batches as f64),
    );
    sheet.family(
        names::ITEMS,
        "counter",
        "Items that the device computed.",
        each(&|d| d.items as f64),
    );
    sheet.family(
        names::FAULTS,
        "counter",
        "Times that the device failed.",
        each(&|d| d.faults as f64),
    );
    let stages = work.devices.iter().flat_map(|d| {
        let stage = move |(name, seconds): (&&str, &f64)| {
            let labels = vec![("device", d.name.clone()), ("stage", (*name).to_string())];
            (labels, *seconds)
        };
        STAGES.iter().zip(&d.seconds).map(stage)
    });
    let help = "Seconds that the device took inputs, computed, and gave outputs.";
    sheet.family(names::STAGE_SECONDS, "counter", help, stages.collect());
}

fn model(work: &ModelWork) -> Labels {
    vec![("model", work.name.clone()), ("version", work.version.to_string())]
}

fn models(sheet: &mut Sheet<'_>, work: &Work) {
    let waiting = work.models.iter().map(|m| (model(m), m.waiting as f64));
    sheet.family(names::QUEUE, "gauge", "Requests that wait for a device.", waiting.collect());
    let nobody = vec![("model", String::new()), ("version", String::new())];
    let all = work.models.iter().map(|m| (model(m), &m.refused));
    let refused = all.chain([(nobody, &work.refused)]).flat_map(|(labels, refused)| {
        refused.iter().map(move |(reason, count)| {
            ([labels.clone(), vec![("reason", (*reason).to_string())]].concat(), *count as f64)
        })
    });
    let help = "Requests that were not answered, by reason.";
    sheet.family(names::REFUSALS, "counter", help, refused.collect());
    sheet.histogram(
        names::REQUEST_SECONDS,
        "Times of requests, from their coming to their answer.",
        work.models.iter().map(|m| (model(m), &m.durations)),
    );
}

/// Cards have the names of the server's devices; those that it does not use are left out.
fn hardware(sheet: &mut Sheet<'_>, work: &Work, cards: &[Card]) {
    let card = |d: &DeviceWork| cards.iter().find(|card| d.uuid.as_ref() == Some(&card.uuid));
    let used: Vec<(&DeviceWork, &Card)> =
        work.devices.iter().filter_map(|d| Some((d, card(d)?))).collect();
    let info = |(d, card): &(&DeviceWork, &Card)| {
        let labels = vec![
            ("device", d.name.clone()),
            ("uuid", card.uuid.clone()),
            ("card", card.name.clone()),
        ];
        (labels, 1.0)
    };
    sheet.family(names::INFO, "gauge", "What the device is.", used.iter().map(info).collect());
    let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Card) -> Option<f64>| {
        let rows = used.iter().filter_map(|(d, card)| Some((device(d), value(card)?)));
        sheet.family(name, kind, help, rows.collect());
    };
    let gauge = "gauge";
    family(names::UTILIZATION, gauge, "Share of the time that any kernel ran.", &|c| c.utilization);
    family(names::SM_ACTIVITY, gauge, "Share of the multiprocessors that had work.", &|c| {
        c.sm_activity
    });
    family(names::TENSOR_ACTIVITY, gauge, "Share of the time that tensor units worked.", &|c| {
        c.tensor_activity
    });
    family(names::MEMORY_USED, gauge, "Memory in use.", &|c| c.memory_used.map(|b| b as f64));
    family(names::MEMORY_SIZE, gauge, "Memory that there is.", &|c| {
        c.memory_size.map(|b| b as f64)
    });
    family(names::POWER, gauge, "Power that is drawn.", &|c| c.power);
    family(names::POWER_LIMIT, gauge, "Power that may be drawn.", &|c| c.power_limit);
    family(names::ENERGY, "counter", "Energy since the driver was loaded.", &|c| c.energy);
    family(names::TEMPERATURE, gauge, "Temperature of the chip.", &|c| c.temperature);
    let both = |rates: fn(&Card) -> Option<[f64; 2]>| -> Vec<Row> {
        let rows = used.iter().filter_map(|(d, card)| Some((d, rates(card)?)));
        rows.flat_map(|(d, rates)| {
            let row = |i: usize| {
                let labels = vec![("device", d.name.clone()), ("direction", DIRECTIONS[i].into())];
                (labels, rates[i])
            };
            [row(0), row(1)]
        })
        .collect()
    };
    let (pcie, nvlink) = (both(|card| card.pcie), both(|card| card.nvlink));
    sheet.family(names::PCIE, gauge, "What goes over PCI Express.", pcie);
    sheet.family(names::NVLINK, gauge, "What goes over NVLink.", nvlink);
}

/// The process itself, by the names that Prometheus' own clients use.
fn own(sheet: &mut Sheet<'_>) {
    let one = |value: Option<f64>| value.map(|value| (Vec::new(), value)).into_iter().collect();
    let cpu = one(process::cpu().map(|time| time.as_secs_f64()));
    sheet.family(process::CPU, "counter", "Processor time of the server.", cpu);
    let resident = one(process::resident_bytes().map(|bytes| bytes as f64));
    sheet.family(process::RESIDENT, "gauge", "Memory that the server holds.", resident);
    let files = one(process::open_files().map(|count| count as f64));
    sheet.family(process::FILES, "gauge", "Files and sockets that the server holds open.", files);
}
