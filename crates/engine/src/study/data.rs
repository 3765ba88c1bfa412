//! Replicas of a network that share tiles.

use std::sync::Arc;
use std::time::Duration;

use burn::tensor::{DType, Device, Tensor, TensorData};
use lithoburn_models::MaskNetwork;
use lithoburn_pool::{Crew, Failure, Member, Report, Terms, Worker, memory};

use super::{Growth, Kind, Measurement, Study};
use crate::EngineError;
use crate::proposer::quickest;

/// Different tiles; more would only be more memory.
const DIFFERENT: usize = 32;
/// Batches of each device before it counts as warm.
const WARM: usize = 8;
/// Devices that are busy for more of the time than this are what limits a run.
const BUSY: f64 = 0.97;

/// A tile's target in host memory.
type Tile = Arc<Vec<f32>>;

/// A network on a device, by the quickest way that it has.
struct Replica {
    network: Box<dyn MaskNetwork>,
    device: Device,
    precision: DType,
    size: usize,
    batch: usize,
}

impl Replica {
    fn run(&self, tiles: &[&[f32]]) -> Result<Vec<f32>, Failure> {
        let mut data = Vec::with_capacity(tiles.len() * self.size * self.size);
        tiles.iter().for_each(|tile| data.extend_from_slice(tile));
        let data = TensorData::new(data, [tiles.len(), 1, self.size, self.size]);
        let x = Tensor::<4>::from_data(data, &self.device).cast(self.precision);
        let logits = self.network.logits(x).cast(DType::F32);
        logits.try_into_vec_as::<f32>().map_err(|e| Failure::of_message(&e.to_string()))
    }
}

impl Worker<Tile, f32> for Replica {
    fn run(&mut self, batch: &[Arc<Tile>]) -> Result<Vec<f32>, Failure> {
        // The last batches are smaller; computed as whole ones, they need no kernels of their own.
        let last = batch.last().into_iter().cycle();
        let whole = batch.iter().chain(last).take(self.batch);
        let tiles: Vec<&[f32]> = whole.map(|tile| tile.as_slice()).collect();
        let logits = Self::run(self, &tiles)?;
        let images = logits.chunks_exact(self.size * self.size);
        Ok(images.take(batch.len()).map(|logits| logits[0]).collect())
    }
}

pub(super) fn measure(
    study: &Study,
    growth: Growth,
    devices: usize,
) -> Result<Measurement, EngineError> {
    let mut crew = crew(study, devices)?;
    // Loads the networks and compiles their kernels; then how much one device does tells how much there is to do.
    run(&mut crew, study, WARM * devices * study.batch)?;
    let trial = run(&mut crew, study, WARM * devices * study.batch)?;
    let rate = (WARM * devices * study.batch) as f64 / trial.seconds;
    let most = study.counts.iter().copied().max().unwrap_or(devices);
    let one = rate / devices as f64 * study.seconds;
    let each = (one.ceil() as usize).next_multiple_of(study.batch * most);
    let images = match growth {
        Growth::Strong => each * most,
        Growth::Weak => each * devices,
    };
    let report = run(&mut crew, study, images)?;
    let rate = report.rate();
    let members = &report.members;
    let worst = members.iter().map(|m| m.latency).fold([0.0_f64; 3], |worst, l| {
        [worst[0].max(l.p50), worst[1].max(l.p95), worst[2].max(l.p99)]
    });
    let utilisation: Vec<f64> = members.iter().map(|m| m.utilisation).collect();
    let held = |d: &lithoburn_pool::Chosen| memory::held(&d.name, &d.device);
    Ok(Measurement {
        kind: Kind::Data,
        growth,
        devices,
        batch: study.batch,
        images,
        seconds: report.seconds,
        rate,
        speedup: None,
        predicted: devices as f64,
        efficiency: None,
        latency: worst,
        memory: study.devices[..devices].iter().map(held).collect(),
        bubble: None,
        traffic: None,
        bottleneck: bottleneck(&utilisation, &report),
        utilisation,
        price_per_1000: None,
    })
}

fn bottleneck(utilisation: &[f64], report: &Report) -> String {
    let least = utilisation.iter().copied().fold(f64::INFINITY, f64::min);
    let uneven = 100.0 * report.imbalance();
    match least > BUSY {
        true => format!("the devices: each is busy for {:.1} % or more", 100.0 * least),
        false => format!(
            "the host: a device waits for {:.1} % of the time; the devices' busy times differ by {uneven:.1} %",
            100.0 * (1.0 - least)
        ),
    }
}

/// A crew of replicas.
fn crew(study: &Study, devices: usize) -> Result<Crew<Tile, f32>, EngineError> {
    let member = |chosen: &lithoburn_pool::Chosen| {
        let device = chosen.device.clone();
        let (method, precision) = (study.method, study.precision);
        let (size, batch) = (study.size, study.batch);
        let make = move || {
            let network = quickest(method, None, &device);
            let (network, _) = network.map_err(|e| Failure::Task(e.to_string()))?;
            let device = device.clone();
            let replica = Replica { network, device, precision, size, batch };
            Ok(Box::new(replica) as Box<dyn Worker<Tile, f32>>)
        };
        Member { name: chosen.name.clone(), batch: study.batch, make: Arc::new(make), arrive: None }
    };
    let members = study.devices[..devices].iter().map(member).collect();
    Crew::open(members).map_err(|e| EngineError::Pool(e.to_string()))
}

/// Has a crew compute images.
fn run(crew: &mut Crew<Tile, f32>, study: &Study, images: usize) -> Result<Report, EngineError> {
    let tiles = tiles(study.size);
    let tasks = (0..images).map(|i| Ok::<Tile, EngineError>(tiles[i % tiles.len()].clone()));
    let terms = Terms {
        ahead: 3 * study.devices.len() * study.batch,
        first_deadline: Duration::from_secs(900),
        ..Terms::default()
    };
    Ok(crew.share(tasks, &terms, &|| false, &mut |_, _: f32| Ok(()))?)
}

/// Bars of many widths.
fn tiles(size: usize) -> Vec<Tile> {
    let tile = |k: usize| {
        let inside = |i: usize| (i % size) / (6 + k % 7) % 3 < 1 && (i / size) / (20 + k) % 4 != 1;
        Arc::new((0..size * size).map(|i| f32::from(u8::from(inside(i)))).collect())
    };
    (0..DIFFERENT).map(tile).collect()
}
