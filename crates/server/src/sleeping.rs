//! A model that sleeps: the scheduler and the sockets alone are measured and tested with it, on any machine, with any number of devices.
//!
//! A batch takes a time of its own and a time for each item, as on a card. Its answer is the target. Like a card it computes on its
//! own: `launch` returns at once and `finish` waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{Answer, Batch, Device, Executor, Fault, Model, Port, Signature, Stop, Work};
use crate::tensor::Tensor;

/// A model that sleeps.
#[derive(Clone, Debug)]
pub struct Sleeping {
    signature: Signature,
    base: Duration,
    item: Duration,
    pixels: usize,
}

impl Sleeping {
    /// A batch of n items takes `base + n · item`. It maps `target` to `mask`, `[max_batch, 1, height, width]`, as networks do.
    #[must_use]
    pub fn new(name: impl Into<String>, base: Duration, item: Duration, max_batch: usize) -> Self {
        let shape = vec![Some(1), None, None];
        let signature = Signature {
            name: name.into(),
            version: 1,
            platform: "sleeping".into(),
            max_batch,
            inputs: vec![Port::pixels("target", shape.clone())],
            outputs: vec![Port::pixels("mask", shape)],
        };
        Self { signature, base, item, pixels: usize::MAX }
    }

    /// Of another version.
    #[must_use]
    pub fn with_version(mut self, version: u64) -> Self {
        self.signature.version = version;
        self
    }

    /// With a device memory that holds so many pixels of a batch.
    #[must_use]
    pub fn with_pixels(self, pixels: usize) -> Self {
        Self { pixels, ..self }
    }

    /// With inputs and outputs whose shapes have these axes, and no axis of items: each request is a batch.
    #[must_use]
    pub fn unbatched(mut self, shape: Vec<Option<usize>>) -> Self {
        self.signature.max_batch = 0;
        for port in self.signature.inputs.iter_mut().chain(&mut self.signature.outputs) {
            port.shape.clone_from(&shape);
        }
        self
    }
}

impl Model for Sleeping {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn executor(&self, _device: &Device) -> Result<Box<dyn Executor>, Fault> {
        Ok(Box::new(self.clone()))
    }
}

impl Executor for Sleeping {
    fn pixels(&self) -> usize {
        self.pixels
    }

    fn warm_up(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn prepare(&mut self, batch: &Batch) -> Result<Box<dyn Work>, Fault> {
        let items: usize = batch.requests.iter().map(|request| self.signature.items(request)).sum();
        let items = u32::try_from(items).unwrap_or(u32::MAX);
        let answers = batch.requests.iter().map(answer).collect::<Result<_, _>>()?;
        let takes = self.base.saturating_add(self.item.saturating_mul(items));
        Ok(Box::new(Asleep { takes, wakes: None, answers, stop: batch.stop.clone() }))
    }
}

/// The target in the datatype that is wanted.
fn answer(request: &Arc<crate::model::Request>) -> Result<Answer, Fault> {
    let Some(target) = request.inputs.first() else { return Ok(Vec::new()) };
    let wrong = |error: crate::tensor::TensorError| Fault::Request(error.to_string());
    let given = request.outputs.iter().map(|wanted| {
        if wanted.datatype == target.datatype {
            return Ok(target.clone());
        }
        let values = target.to_f32().map_err(wrong)?;
        Tensor::from_f32(wanted.datatype, target.shape.clone(), &values).map_err(wrong)
    });
    given.collect()
}

/// A batch that is asleep.
struct Asleep {
    takes: Duration,
    wakes: Option<Instant>,
    answers: Vec<Answer>,
    stop: Stop,
}

/// How often a sleeper looks whether anybody still waits.
const LOOK: Duration = Duration::from_millis(20);

impl Work for Asleep {
    fn launch(&mut self) -> Result<(), Fault> {
        self.wakes = Some(Instant::now() + self.takes);
        Ok(())
    }

    fn settles_within(&mut self, time: Duration) -> bool {
        let Some(wakes) = self.wakes else { return true };
        let left = wakes.saturating_duration_since(Instant::now());
        std::thread::sleep(left.min(time));
        left <= time || self.stop.asked()
    }

    fn finish(&mut self) -> Result<(), Fault> {
        let wakes = self.wakes.unwrap_or_else(|| Instant::now() + self.takes);
        loop {
            let left = wakes.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if self.stop.asked() {
                return Err(Fault::Stopped);
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    fn collect(self: Box<Self>) -> Result<Vec<Answer>, Fault> {
        Ok(self.answers)
    }
}
