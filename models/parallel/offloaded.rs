//! Weights in host memory, brought to the device one layer at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use burn::tensor::{DType, Tensor};
use lithoburn_ranks::budget::Reservation;
use lithoburn_ranks::{PipelineError, caught};
use serde::Serialize;

use super::cost::Extent;
use super::stage::{layer_within, synced};
use super::{Distributed, ParallelError, Place, Summary, check_image};
use crate::head::Head;
use crate::kernel::Kernel;
use crate::program::{Activations, Layer, LayerKind, Program};

/// A network whose weights are in host memory. While a layer computes, a second thread brings the next one's weights.
#[derive(Debug)]
pub struct Offloaded {
    program: Program,
    place: Place,
    bringer: Mutex<Bringer>,
    report: Mutex<OffloadReport>,
}

/// How a pass went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct OffloadReport {
    /// Of the whole pass.
    pub wall_seconds: f64,
    /// Of it, waiting for weights.
    pub waited_seconds: f64,
    /// Weights that were brought.
    pub weight_bytes: u64,
}

/// Weights on the device, and the memory that they hold; None at the end of a pass.
type Brought = Option<Result<(Kernel, Reservation), PipelineError>>;

#[derive(Debug)]
struct Bringer {
    /// None while it is dropped.
    ask: Option<Sender<()>>,
    kernels: Receiver<Brought>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Offloaded {
    /// Copies the program's weights to host memory, in the precision that they will have on the device.
    ///
    /// # Errors
    ///
    /// [`ParallelError::Rank`] if the weights cannot be read from where they are.
    pub fn new(program: &Program, place: &Place, precision: DType) -> Result<Self, ParallelError> {
        let on_host = |layer: &Layer| {
            let kind = match &layer.kind {
                LayerKind::Convolve { kernel, relu } => {
                    let kernel = kernel.on_host(precision).map_err(PipelineError::Failed)?;
                    LayerKind::Convolve { kernel, relu: *relu }
                }
                other => other.clone(),
            };
            Ok::<_, PipelineError>(Layer { name: layer.name.clone(), kind })
        };
        let layers = program.layers.iter().map(on_host).collect::<Result<Vec<_>, _>>()?;
        let program = Program { architecture: program.architecture.clone(), layers, ..*program };
        let bringer = Bringer::new(&program, place, precision)?;
        Ok(Self {
            program,
            place: place.clone(),
            bringer: Mutex::new(bringer),
            report: Mutex::default(),
        })
    }

    fn pass(
        &self,
        bringer: &Bringer,
        x: Tensor<4>,
        images: [usize; 4],
        report: &mut OffloadReport,
    ) -> Result<Tensor<4>, PipelineError> {
        let (home, size, mut extent) = (x.device(), x.dtype().size(), Extent::of(images));
        let bytes = (extent.values() * size) as u64;
        let mut held = self.place.budget.reserve(bytes, "its input")?;
        let mut state = Activations { x, skips: Vec::new() }.onto(&self.place.device);
        for layer in &self.program.layers {
            let LayerKind::Convolve { relu, .. } = layer.kind else {
                state = layer_within(layer, state, &mut extent, &mut held)?;
                continue;
            };
            let start = Instant::now();
            let (kernel, weights) = bringer.next()?;
            report.waited_seconds += start.elapsed().as_secs_f64();
            report.weight_bytes += weights.bytes();
            let kind = LayerKind::Convolve { kernel, relu };
            let layer = Layer { name: layer.name.clone(), kind };
            state = layer_within(&layer, state, &mut extent, &mut held)?;
            // Its weights are in use until it is computed.
            synced(&self.place.device)?;
        }
        Ok(state.onto(&home).x)
    }

    /// How the last pass went.
    pub fn report(&self) -> OffloadReport {
        self.report.lock().map(|report| *report).unwrap_or_default()
    }
}

impl Program {
    /// Bytes that an offloaded network needs of its device, for images `[batch, 1, height, width]`: the images that a layer
    /// works on, its weights and the next one's.
    pub fn offloaded_bytes(&self, images: [usize; 4], precision: DType) -> u64 {
        let extents = self.extents(images);
        let count = |layer: &Layer| layer.weight_count();
        let weights: Vec<usize> = self.layers.iter().map(count).collect();
        let next = |i: usize| weights[i + 1..].iter().find(|&&count| count > 0).unwrap_or(&0);
        let values = |i: usize| extents[i].working(&self.layers[i].kind) + weights[i] + next(i);
        let most = (0..self.layers.len()).map(values).max().unwrap_or(0);
        (most * precision.size()) as u64
    }
}

impl Bringer {
    fn new(program: &Program, place: &Place, precision: DType) -> Result<Self, PipelineError> {
        let kernel = |layer: &Layer| match &layer.kind {
            LayerKind::Convolve { kernel, .. } => Some((layer.name.clone(), kernel.clone())),
            _ => None,
        };
        let list: Vec<(String, Kernel)> = program.layers.iter().filter_map(kernel).collect();
        let (ask, asked) = channel();
        // Without room: the next kernel waits in the thread's hands.
        let (give, kernels) = sync_channel(0);
        let (place, stop) = (place.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let work = move || {
            while asked.recv().is_ok() {
                if !bring(&list, &place, precision, &stopped, &give) || give.send(None).is_err() {
                    return;
                }
            }
        };
        let failed = |e| PipelineError::Failed(format!("no thread could be started: {e}"));
        let thread = std::thread::Builder::new().name("weights".into()).spawn(work);
        Ok(Self { ask: Some(ask), kernels, stop, thread: Some(thread.map_err(failed)?) })
    }

    fn begin(&self) -> Result<(), PipelineError> {
        self.stop.store(false, Ordering::SeqCst);
        let sent = self.ask.as_ref().is_some_and(|ask| ask.send(()).is_ok());
        if sent { Ok(()) } else { Err(gone()) }
    }

    fn next(&self) -> Result<(Kernel, Reservation), PipelineError> {
        match self.kernels.recv() {
            Ok(Some(brought)) => brought,
            Ok(None) | Err(_) => Err(gone()),
        }
    }

    /// Stops what is under way, and waits for that.
    fn end(&self) {
        self.stop.store(true, Ordering::SeqCst);
        while let Ok(Some(_)) = self.kernels.recv() {}
    }
}

fn gone() -> PipelineError {
    PipelineError::Ended("the thread that brings weights is gone".into())
}

/// Brings kernels one after the other; false if nobody takes them.
fn bring(
    list: &[(String, Kernel)],
    place: &Place,
    precision: DType,
    stop: &AtomicBool,
    give: &SyncSender<Brought>,
) -> bool {
    for (name, kernel) in list {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let brought = caught(|| {
            let bytes = (kernel.count() * precision.size()) as u64;
            let held = place.budget.reserve(bytes, &format!("weights of {name}"))?;
            Ok((kernel.placed(&place.device, precision), held))
        });
        let failed = brought.is_err();
        if give.send(Some(brought)).is_err() {
            return false;
        }
        if failed {
            break;
        }
    }
    true
}

impl Drop for Bringer {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            // It catches its panics, so there is nothing to learn here.
            drop(thread.join());
        }
    }
}

impl Distributed for Offloaded {
    fn form(&self) -> (Head, usize) {
        (self.program.head, self.program.stride)
    }

    fn try_logits(&self, x: Tensor<4>) -> Result<Tensor<4>, ParallelError> {
        let images = check_image(&x, self.program.stride)?;
        let ended = |_| PipelineError::Ended("an earlier pass panicked".into());
        let bringer = self.bringer.lock().map_err(ended)?;
        let mut report = OffloadReport::default();
        let start = Instant::now();
        bringer.begin()?;
        let result = caught(|| self.pass(&bringer, x, images, &mut report));
        bringer.end();
        report.wall_seconds = start.elapsed().as_secs_f64();
        if let Ok(mut last) = self.report.lock() {
            *last = report;
        }
        Ok(result?)
    }

    fn summary(&self) -> Summary {
        let OffloadReport { wall_seconds, waited_seconds, weight_bytes } = self.report();
        Summary {
            wall_seconds,
            busy_seconds: vec![wall_seconds - waited_seconds],
            exchanged_bytes: weight_bytes,
            exchange_seconds: vec![waited_seconds],
            best_bubble: None,
        }
    }
}
