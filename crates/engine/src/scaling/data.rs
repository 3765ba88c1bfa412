//! Replicas of a network that share tiles.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use burn::tensor::{DType, Device, Tensor, TensorData};
use lithoburn_models::onnx::Exported;
use lithoburn_pool::{Failure, Member, Report, Terms, Worker, memory, share};

use super::{Growth, Kind, Measurement, Study};
use crate::EngineError;
use crate::propose::{Method, load_network};

/// Different tiles; more would only be more memory.
const DIFFERENT: usize = 32;
/// Passes before a device counts as warm.
const WARM: usize = 3;
/// Devices that are busy for more of the time than this are what limits a run.
const BUSY: f64 = 0.97;

/// A tile's target in host memory.
type Tile = Arc<Vec<f32>>;

/// Opens when every device is warm.
#[derive(Default)]
struct Gate {
    warm: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        *self.warm.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }

    fn wait(&self, devices: usize) {
        let warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        let cold = |warm: &mut usize| *warm < devices;
        drop(self.changed.wait_while(warm, cold));
    }
}

/// Opens the gate also if the device fails.
struct Ticket(Arc<Gate>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.pass();
    }
}

/// A network on a device.
struct Replica {
    network: Box<dyn Exported>,
    device: Device,
    precision: DType,
    size: usize,
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
        let tiles: Vec<&[f32]> = batch.iter().map(|tile| tile.as_slice()).collect();
        let logits = Self::run(self, &tiles)?;
        Ok(logits.chunks_exact(self.size * self.size).map(|logits| logits[0]).collect())
    }
}

/// What a run took.
struct Took {
    seconds: f64,
    report: Report,
}

pub(super) fn measure(
    study: &Study,
    growth: Growth,
    devices: usize,
) -> Result<Measurement, EngineError> {
    // How much one device does in the time tells how much there is to do.
    let trial = run(study, devices, 4 * devices * study.batch)?;
    let rate = (4 * devices * study.batch) as f64 / trial.seconds;
    let most = study.counts.iter().copied().max().unwrap_or(devices);
    let one = rate / devices as f64 * study.seconds;
    let each = (one.ceil() as usize).next_multiple_of(study.batch * most);
    let images = match growth {
        Growth::Strong => each * most,
        Growth::Weak => each * devices,
    };
    let took = run(study, devices, images)?;
    let rate = images as f64 / took.seconds;
    let members = &took.report.members;
    let worst = members.iter().map(|m| m.latency).fold([0.0_f64; 3], |worst, l| {
        [worst[0].max(l.p50), worst[1].max(l.p95), worst[2].max(l.p99)]
    });
    let utilisation: Vec<f64> = members.iter().map(|m| m.busy_seconds / took.seconds).collect();
    let held = |d: &lithoburn_pool::Chosen| memory::held(&d.name, &d.device);
    Ok(Measurement {
        kind: Kind::Data,
        growth,
        devices,
        batch: study.batch,
        images,
        seconds: took.seconds,
        rate,
        // Of the first measurement, which is the reference.
        speedup: devices as f64,
        predicted: devices as f64,
        efficiency: 1.0,
        latency: worst,
        memory: study.devices[..devices].iter().map(held).collect(),
        bubble: None,
        traffic: None,
        bottleneck: bottleneck(&utilisation, &took.report),
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

fn run(study: &Study, devices: usize, images: usize) -> Result<Took, EngineError> {
    let gate = Arc::new(Gate::default());
    let tiles = tiles(study.size);
    let member = |chosen: &lithoburn_pool::Chosen| {
        let (gate, device) = (gate.clone(), chosen.device.clone());
        let (method, precision, size) = (study.method, study.precision, study.size);
        let (warm, batch) = (tiles[0].clone(), study.batch);
        let make = move || {
            let _ticket = Ticket(gate.clone());
            let replica = replica(method, precision, size, &device)?;
            let several: Vec<&[f32]> = vec![warm.as_slice(); batch];
            for _ in 0..WARM {
                replica.run(&several)?;
            }
            Ok(Box::new(replica) as Box<dyn Worker<Tile, f32>>)
        };
        Member { name: chosen.name.clone(), batch: study.batch, make: Arc::new(make) }
    };
    let crew: Vec<_> = study.devices[..devices].iter().map(member).collect();
    let start = Mutex::new(None);
    let tasks = (0..images).map(|i| {
        if i == 0 {
            gate.wait(devices);
            *start.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        Ok::<Tile, EngineError>(tiles[i % tiles.len()].clone())
    });
    let terms = Terms {
        ahead: 3 * devices * study.batch,
        first_deadline: Duration::from_secs(900),
        ..Terms::default()
    };
    let mut last = Instant::now();
    let report = share(crew, tasks, &terms, &|| false, &mut |_, _: f32| {
        last = Instant::now();
        Ok(())
    })?;
    let start = start.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or(last);
    Ok(Took { seconds: (last - start).as_secs_f64(), report })
}

fn replica(
    method: Method,
    precision: DType,
    size: usize,
    device: &Device,
) -> Result<Replica, Failure> {
    let network = load_network(method, None, device);
    let (network, _) = network.map_err(|e| Failure::Task(e.to_string()))?;
    Ok(Replica { network, device: device.clone(), precision, size })
}

/// Bars of many widths.
fn tiles(size: usize) -> Vec<Tile> {
    let tile = |k: usize| {
        let inside = |i: usize| (i % size) / (6 + k % 7) % 3 < 1 && (i / size) / (20 + k) % 4 != 1;
        Arc::new((0..size * size).map(|i| f32::from(u8::from(inside(i)))).collect())
    };
    (0..DIFFERENT).map(tile).collect()
}
