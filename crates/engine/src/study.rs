//! Scaling studies: how much faster several devices are than one, and why not more.
//!
//! | kind | what is shared | on |
//! |---|---|---|
//! | data | tiles among replicas of a network, by the pool's scheduler | devices |
//! | pipeline | layers; micro-batches are in flight | devices |
//! | tensor | channels of each convolution | devices |
//! | spatial | rows of each image | devices |
//! | offload | nothing: weights come from the host as they are needed | one device |
//! | simulated | tasks among devices that sleep: the scheduler alone | any machine |
//!
//! Every measurement is warm, reads its results back, and is of a network alone, from targets in host memory to logits in host
//! memory. *Strong* scaling keeps the work and adds devices; *weak* scaling gives every device the same work.

mod data;
mod network;
mod simulated;
mod text;

use burn::tensor::DType;
use lithoburn_pool::Chosen;
use serde::Serialize;

use crate::EngineError;
use crate::model::Method;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Study {
    /// The devices, of which the first ones are used.
    pub devices: Vec<Chosen>,
    /// Numbers of devices.
    pub counts: Vec<usize>,
    /// Ways to share.
    pub kinds: Vec<Kind>,
    /// Whose network.
    pub method: Method,
    /// An encoder-decoder of this width, some fifty convolutions deep, with random weights instead, to measure models of any size.
    pub width: Option<usize>,
    /// Its precision.
    pub precision: DType,
    /// Images in a batch.
    pub batch: usize,
    /// Side of an image, in pixels.
    pub size: usize,
    /// Micro-batches in flight.
    pub micro_batches: usize,
    /// About how long a measurement takes, in seconds.
    pub seconds: f64,
    /// Price of a device and hour, in any currency.
    pub price_per_hour: Option<f64>,
}

/// A way to share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Tiles among replicas.
    Data,
    /// Layers.
    Pipeline,
    /// Channels.
    Tensor,
    /// Rows.
    Spatial,
    /// Weights from host memory, on one device.
    Offload,
    /// Tasks among devices that sleep.
    Simulated,
}

impl Kind {
    /// Its name in the CLI.
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Pipeline => "pipeline",
            Self::Tensor => "tensor",
            Self::Spatial => "spatial",
            Self::Offload => "offload",
            Self::Simulated => "simulated",
        }
    }
}

/// What grows with the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Growth {
    /// Nothing: the same work.
    Strong,
    /// The work.
    Weak,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// Way to share.
    pub kind: Kind,
    /// What grows.
    pub growth: Growth,
    /// Devices.
    pub devices: usize,
    /// Images in a batch of a device.
    pub batch: usize,
    /// Images.
    pub images: usize,
    /// Seconds.
    pub seconds: f64,
    /// Images a second.
    pub rate: f64,
    /// Rate over that of one device; none if one device was not measured.
    pub speedup: Option<f64>,
    /// Speedup that was predicted before.
    pub predicted: f64,
    /// Speedup over devices.
    pub efficiency: Option<f64>,
    /// Seconds of a batch: half, 95 and 99 of 100 took no longer.
    pub latency: [f64; 3],
    /// Share of the time in which each device was busy.
    pub utilisation: Vec<f64>,
    /// Bytes held on each device, where it tells.
    pub memory: Vec<Option<u64>>,
    /// Share of the time that stages stood idle, and by the formula.
    pub bubble: Option<[f64; 2]>,
    /// Bytes between devices for a batch.
    pub traffic: Option<u64>,
    /// What limits it, with the evidence.
    pub bottleneck: String,
    /// Price of 1000 images.
    pub price_per_1000: Option<f64>,
}

impl Measurement {
    /// Sets it beside the rate of one device, if that was measured.
    fn compare(&mut self, alone: Option<f64>) {
        self.speedup = alone.map(|one| self.rate / one);
        self.efficiency = self.speedup.map(|speedup| speedup / self.devices as f64);
    }
}

/// All measurements, with what a reader needs to repeat them.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// The command.
    pub command: String,
    /// Cards.
    pub cards: Vec<String>,
    /// The network.
    pub network: String,
    /// Its precision.
    pub precision: String,
    /// Side of an image, in pixels.
    pub size: usize,
    /// The measurements.
    pub measurements: Vec<Measurement>,
    /// What else was found.
    pub notes: Vec<String>,
    /// What was left out, and why.
    pub left_out: Vec<String>,
    /// Version of the program.
    pub version: &'static str,
}

impl Study {
    /// Measures. `say` hears a line before each measurement; false stops.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if a network does not load or a device fails.
    pub fn run(&self, say: &mut dyn FnMut(&str) -> bool) -> Result<Findings, EngineError> {
        let mut findings = Findings {
            command: std::env::args().skip(1).fold("lithoburn".into(), |l, word| l + " " + &word),
            cards: self.devices.iter().map(|d| format!("{} ({})", d.name, d.card)).collect(),
            network: match self.width {
                _ if self.kinds == [Kind::Simulated] => "the scheduler".into(),
                Some(width) => format!("an encoder-decoder of width {width}, random weights"),
                None => self.method.name().into(),
            },
            precision: format!("{:?}", self.precision).to_lowercase(),
            size: self.size,
            measurements: Vec::new(),
            notes: Vec::new(),
            left_out: Vec::new(),
            version: env!("CARGO_PKG_VERSION"),
        };
        for &kind in &self.kinds {
            let (mut alone, mut costs) = (None, Vec::new());
            for (growth, devices) in self.runs(kind) {
                if kind != Kind::Simulated && devices > self.devices.len() {
                    let have = self.devices.len();
                    let line = format!("{} on {devices} devices: there are {have}", kind.name());
                    findings.left_out.push(line);
                    continue;
                }
                if !say(&format!("{} {growth:?} on {devices}", kind.name()).to_lowercase()) {
                    return Err(EngineError::Stopped("the study is not complete".into()));
                }
                let mut found = match kind {
                    Kind::Data => data::measure(self, growth, devices)?,
                    Kind::Simulated => simulated::measure(self, growth, devices),
                    _ => match network::measure(self, kind, devices, &mut costs)? {
                        Ok(found) => found,
                        Err(error) if error.is_out_of_memory() => {
                            let line = format!("{} on {devices} devices: {error}", kind.name());
                            findings.left_out.push(line);
                            continue;
                        }
                        Err(error) => return Err(error.into()),
                    },
                };
                if devices == 1 {
                    alone = Some(found.rate);
                }
                if kind != Kind::Simulated {
                    found.compare(alone);
                }
                let hourly = self.price_per_hour.map(|price| price * devices as f64);
                found.price_per_1000 = hourly.map(|price| price * 1000.0 / found.rate / 3600.0);
                findings.measurements.push(found);
            }
        }
        if self.kinds.contains(&Kind::Simulated) {
            findings.notes = simulated::notes();
        }
        Ok(findings)
    }

    /// What is measured of a kind, the smallest number of devices first.
    fn runs(&self, kind: Kind) -> Vec<(Growth, usize)> {
        let mut counts = self.counts.clone();
        counts.sort_unstable();
        counts.dedup();
        let strong = counts.iter().map(|&n| (Growth::Strong, n));
        match kind {
            Kind::Offload => vec![(Growth::Strong, 1)],
            Kind::Data | Kind::Simulated => {
                let weak = counts.iter().filter(|&&n| n > 1).map(|&n| (Growth::Weak, n));
                strong.chain(weak).collect()
            }
            _ => strong.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_three(rate: f64) -> Measurement {
        Measurement {
            kind: Kind::Data,
            growth: Growth::Strong,
            devices: 3,
            batch: 4,
            images: 100,
            seconds: 100.0 / rate,
            rate,
            speedup: None,
            predicted: 3.0,
            efficiency: None,
            latency: [0.0; 3],
            utilisation: vec![1.0; 3],
            memory: vec![None; 3],
            bubble: None,
            traffic: None,
            bottleneck: String::new(),
            price_per_1000: None,
        }
    }

    /// Three devices are not compared with a third of themselves.
    #[test]
    fn a_speedup_is_told_only_beside_one_device_that_was_measured() {
        let mut alone = of_three(50.0);
        alone.compare(None);
        assert_eq!((alone.speedup, alone.efficiency), (None, None));
        let mut beside = of_three(50.0);
        beside.compare(Some(20.0));
        assert_eq!(beside.speedup, Some(2.5));
        assert!(beside.efficiency.is_some_and(|e| (e - 2.5 / 3.0).abs() < 1e-12));
    }
}
