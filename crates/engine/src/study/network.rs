//! One network over several devices: layers, channels or rows.

use std::ops::Range;
use std::time::Instant;

use burn::tensor::{DType, Device, Tensor, TensorData};
use lithoburn_models::parallel::{
    LayerCost, Offloaded, PipelineTerms, Pipelined, ShardTerms, Sharded, Spatial, Speeds, costs,
};
use lithoburn_models::{
    EncoderDecoderConfig, MaskNetwork, NeuralIltConfig, ParallelError, Place, Program,
};
use lithoburn_pool::Latency;
use lithoburn_pool::{Chosen, memory};
use lithoburn_ranks::PipelineError;
use lithoburn_ranks::pipeline::PipelineReport;

use super::{Growth, Kind, Measurement, Study};
use crate::EngineError;
use crate::devices::team::{balanced, cuts, link_speed, places};
use crate::proposer::load_network;

/// Runs of each layer when its cost is measured.
const REPEATS: usize = 3;
/// Passes before the clock runs.
const WARM: usize = 2;
/// Halvings of networks with random weights, and convolutions at the coarse size: enough of them that stages of a pipeline can be even.
const HALVINGS: usize = 2;
const DEPTH: usize = 48;
/// Seed of networks with random weights.
const SEED: u64 = 1;

pub(super) fn measure(
    study: &Study,
    kind: Kind,
    devices: usize,
    costs: &mut Vec<LayerCost>,
) -> Result<Result<Measurement, ParallelError>, EngineError> {
    let bench = Setting::new(study, devices)?;
    Ok(match kind {
        Kind::Pipeline => bench.pipeline(costs),
        Kind::Tensor => bench.tensor(),
        Kind::Spatial => bench.spatial(),
        _ => bench.offload(),
    })
}

/// What all ways have in common.
struct Setting<'a> {
    study: &'a Study,
    chosen: &'a [Chosen],
    program: Program,
    places: Vec<Place>,
}

/// Passes over the same images.
struct Passes {
    images: usize,
    seconds: Vec<f64>,
}

impl Passes {
    fn rate(&self) -> f64 {
        (self.images * self.seconds.len()) as f64 / self.seconds.iter().sum::<f64>()
    }
}

impl<'a> Setting<'a> {
    fn new(study: &'a Study, devices: usize) -> Result<Self, EngineError> {
        let program = match study.width {
            Some(width) => {
                let fast = EncoderDecoderConfig::new(vec![width; HALVINGS], true, DEPTH);
                let config = NeuralIltConfig { fast: Some(fast), ..NeuralIltConfig::fast() };
                config.random_program(SEED)
            }
            None => load_network(study.method, None, &Device::flex())?.0.program(),
        };
        let chosen = &study.devices[..devices];
        Ok(Self { study, chosen, program, places: places(chosen, None) })
    }

    fn shape(&self, batch: usize) -> [usize; 4] {
        [batch, 1, self.study.size, self.study.size]
    }

    /// Targets of a batch, in host memory.
    fn targets(&self, batch: usize) -> TensorData {
        let size = self.study.size;
        let inside = |i: usize| (i % size) / 7 % 3 < 1 && (i / size) / 23 % 4 != 1;
        let data: Vec<f32> =
            (0..batch * size * size).map(|i| f32::from(u8::from(inside(i)))).collect();
        TensorData::new(data, self.shape(batch))
    }

    /// Targets on the first device.
    fn placed(&self, targets: &TensorData) -> Tensor<4> {
        Tensor::<4>::from_data(targets.clone(), &self.chosen[0].device).cast(self.study.precision)
    }

    /// Times passes over images that come from host memory, and whose logits go there.
    fn passes(
        &self,
        images: usize,
        pass: impl Fn() -> Result<(), ParallelError>,
    ) -> Result<Passes, ParallelError> {
        let timed = || {
            let start = Instant::now();
            pass().map(|()| start.elapsed().as_secs_f64())
        };
        for _ in 0..WARM {
            timed()?;
        }
        let (start, mut seconds) = (Instant::now(), Vec::new());
        while seconds.len() < 3 || start.elapsed().as_secs_f64() < self.study.seconds {
            seconds.push(timed()?);
        }
        Ok(Passes { images, seconds })
    }

    /// Times passes over one batch.
    fn batches(&self, network: &dyn MaskNetwork) -> Result<Passes, ParallelError> {
        let targets = self.targets(self.study.batch);
        self.passes(self.study.batch, || fetched(network.logits(self.placed(&targets))))
    }

    /// Times passes over micro-batches, of which several are in flight.
    fn streams(&self, network: &Pipelined) -> Result<Passes, ParallelError> {
        let Study { batch, micro_batches, .. } = *self.study;
        let targets = self.targets(batch);
        self.passes(batch * micro_batches, || {
            let mut result = Ok(());
            let images = (0..micro_batches).map(|_| self.placed(&targets));
            network.stream(images, |logits| {
                let found = fetched(logits);
                result = result.clone().and(found);
            })?;
            result
        })
    }

    fn found(&self, kind: Kind, passes: &Passes, predicted: f64) -> Measurement {
        let latency = Latency::of(&passes.seconds);
        let held = |d: &Chosen| memory::held(&d.name, &d.device);
        Measurement {
            kind,
            growth: Growth::Strong,
            devices: self.chosen.len(),
            batch: self.study.batch,
            images: passes.images * passes.seconds.len(),
            seconds: passes.seconds.iter().sum(),
            rate: passes.rate(),
            speedup: None,
            predicted,
            efficiency: None,
            latency: [latency.p50, latency.p95, latency.p99],
            utilisation: Vec::new(),
            memory: self.chosen.iter().map(held).collect(),
            bubble: None,
            traffic: None,
            bottleneck: String::new(),
            price_per_1000: None,
        }
    }

    /// Layers: cut where measured costs say, which are the same for any number of devices.
    fn pipeline(&self, known: &mut Vec<LayerCost>) -> Result<Measurement, ParallelError> {
        let Study { batch, precision, micro_batches, .. } = *self.study;
        let shape = self.shape(batch);
        if known.is_empty() && self.study.width.is_some() {
            *known = self.estimated(shape);
        }
        if known.is_empty() {
            *known = costs(&self.program, &self.chosen[0].device, shape, precision, REPEATS)?;
        }
        let mut costs = known.clone();
        let many = micro_batches as f64;
        let terms = PipelineTerms { micro_batch: batch, precision, ..PipelineTerms::default() };
        let start = Instant::now();
        let (network, cuts) = match self.study.width {
            None => balanced(&self.program, &self.places, &mut costs, terms, shape)?,
            // Its weights are many: no trials.
            Some(_) => {
                let cuts = cuts(&costs, &self.places, link_speed(&self.places)?)?;
                (Pipelined::new(&self.program, &self.places, &cuts, terms)?, cuts)
            }
        };
        let laid = start.elapsed().as_secs_f64();
        let stage = |cut: &Range<usize>| costs[cut.clone()].iter().map(|c| c.seconds).sum::<f64>();
        let stages: Vec<f64> = cuts.iter().map(stage).collect();
        let passes = self.streams(&network)?;
        let report = network.report();
        // Where costs were not measured before, the stages' own times are what the formula is about.
        let each = |busy: &f64| busy / report.items.max(1) as f64;
        let stages: Vec<f64> = match self.study.width {
            Some(_) => report.busy_seconds.iter().map(each).collect(),
            None => stages,
        };
        let (sum, most) = (stages.iter().sum::<f64>(), stages.iter().copied().fold(0.0, f64::max));
        let predicted = many * sum / (sum + (many - 1.0) * most);
        let mut found = self.found(Kind::Pipeline, &passes, predicted);
        found.utilisation =
            report.busy_seconds.iter().map(|busy| busy / report.wall_seconds).collect();
        found.bubble = Some([report.bubble(), report.best_bubble()]);
        let bytes = |cut: &Range<usize>| costs[cut.end - 1].output_bytes;
        found.traffic = Some(cuts[..cuts.len() - 1].iter().map(bytes).sum());
        found.bottleneck = limits(&report, laid);
        Ok(found)
    }

    /// Costs by arithmetic: to measure every layer of a network that fits no card, all its weights would have to be made twice.
    fn estimated(&self, shape: [usize; 4]) -> Vec<LayerCost> {
        let (program, precision) = (&self.program, self.study.precision);
        let layer = |i: usize| {
            let need = program.need(i..i + 1, shape, precision);
            LayerCost {
                name: program.layers[i].name.clone(),
                seconds: program.operations(i..i + 1, shape) / Speeds::default().operations,
                weight_bytes: need.weights,
                output_bytes: need.output,
                peak_bytes: need.working,
            }
        };
        (0..program.layers.len()).map(layer).collect()
    }

    /// Channels.
    fn tensor(&self) -> Result<Measurement, ParallelError> {
        let Study { batch, precision, .. } = *self.study;
        let terms = ShardTerms { images: self.shape(batch), precision, ..ShardTerms::default() };
        let network = Sharded::new(&self.program, &self.places, terms)?;
        let passes = self.batches(&network)?;
        let (ways, report) = (network.ways(), network.report());
        let predicted = ways.alone_seconds / ways.seconds;
        let mut found = self.found(Kind::Tensor, &passes, predicted);
        self.exchanged(&mut found, &report);
        let how = if network.is_native() { "NCCL" } else { "copies between devices" };
        found.bottleneck += &format!(", sums by {how}");
        Ok(found)
    }

    /// Rows.
    fn spatial(&self) -> Result<Measurement, ParallelError> {
        let network = Spatial::new(&self.program, &self.places, self.study.precision)?;
        let passes = self.batches(&network)?;
        let predicted = self.places.len() as f64;
        let mut found = self.found(Kind::Spatial, &passes, predicted);
        self.exchanged(&mut found, &network.report());
        Ok(found)
    }

    /// What ranks told each other.
    fn exchanged(
        &self,
        found: &mut Measurement,
        report: &lithoburn_models::parallel::sharded::ShardReport,
    ) {
        let wall = report.wall_seconds;
        found.utilisation = report.rank_seconds.iter().map(|s| s / wall).collect();
        found.traffic = Some(report.traffic.iter().map(|t| t.bytes).sum());
        let waiting = report.traffic.iter().map(|t| t.seconds).fold(0.0, f64::max);
        let exchanges = report.traffic.iter().map(|t| t.exchanges).max().unwrap_or(0);
        found.bottleneck = match self.places.len() {
            1 => "the device".into(),
            _ => format!(
                "{exchanges} exchanges a pass, which a rank spends {:.0} % of its {:.2} ms on",
                100.0 * waiting / wall,
                wall * 1e3
            ),
        };
    }

    /// Weights from host memory.
    fn offload(&self) -> Result<Measurement, ParallelError> {
        let network = Offloaded::new(&self.program, &self.places[0], self.study.precision)?;
        let passes = self.batches(&network)?;
        let report = network.report();
        let mut found = self.found(Kind::Offload, &passes, 1.0);
        found.traffic = Some(report.weight_bytes);
        found.utilisation = vec![1.0 - report.waited_seconds / report.wall_seconds];
        found.bottleneck = format!(
            "weights: {:.0} % of a pass is waiting for them, at {:.1} GB/s",
            100.0 * report.waited_seconds / report.wall_seconds,
            report.weight_bytes as f64 * 1e-9 / report.wall_seconds
        );
        Ok(found)
    }
}

/// What limits a pipeline whose weights were laid on its devices in some seconds.
fn limits(report: &PipelineReport, laid: f64) -> String {
    let (stages, items) = (report.busy_seconds.len() as f64, report.items as f64);
    let each: Vec<String> =
        report.busy_seconds.iter().map(|busy| format!("{:.2}", busy / items * 1e3)).collect();
    let most = report.busy_seconds.iter().copied().fold(0.0, f64::max);
    let slowest = report.busy_seconds.iter().position(|&busy| busy >= most).unwrap_or(0) + 1;
    let even = stages * items / (items + stages - 1.0);
    format!(
        "stage {slowest}, of stages that take {} ms a micro-batch; together they are {:.3} times as fast as one after the other, {:.3} \
         of the {even:.3} of an even pipeline; weights were laid in {laid:.1} s",
        each.join(", "),
        report.speedup(),
        report.speedup() / even,
    )
}

/// Logits in host memory.
fn fetched(logits: Tensor<4>) -> Result<(), ParallelError> {
    let data = logits.cast(DType::F32).try_into_data();
    data.map(drop).map_err(|error| failed(error.to_string()))
}

fn failed(text: String) -> ParallelError {
    ParallelError::Rank(PipelineError::Failed(text))
}
