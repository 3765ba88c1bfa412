//! A correction's part as a scheduler's model: tensors become fields, and what comes out becomes tensors.

use std::rc::Rc;
use std::sync::Arc;

use lithoburn_engine::{EngineError, Loaded, failure};
use lithoburn_layout::Raster;
use lithoburn_pool::{Chosen, Failure};
use lithoburn_server::model::{
    Answer, Batch, Device, Executor, Fault, Model, Port, Request, Signature, Stop, Work,
};
use lithoburn_server::tensor::{Datatype, Tensor};

use super::Described;

/// Most items of a request.
const MOST_ITEMS: usize = 64;

/// A model that is served on some devices.
pub(crate) struct Served {
    described: Described,
    signature: Signature,
    devices: Vec<Chosen>,
}

impl Served {
    /// A model on the devices that a server has.
    pub(crate) fn new(described: Described, devices: Vec<Chosen>) -> Self {
        let signature = signature(&described);
        Self { described, signature, devices }
    }
}

/// Fields are `[items, height, width]`: square, with as many pixels as are computed with, or a whole multiple or part of them.
fn signature(described: &Described) -> Signature {
    Signature {
        name: described.name.clone(),
        version: described.version,
        platform: "lithoburn".into(),
        max_batch: MOST_ITEMS,
        inputs: vec![port(described.part.input())],
        outputs: described.part.outputs().iter().copied().map(port).collect(),
    }
}

/// A field of pixels has every datatype; of intensities and logits, which are no pixels, nothing is left in whole numbers.
fn port(name: &str) -> Port {
    let port = Port::pixels(name, vec![None, None]);
    match name.starts_with("aerial") || name == "logits" {
        true => Port { also: vec![Datatype::Fp16, Datatype::Bf16], ..port },
        false => port,
    }
}

impl Model for Served {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn runs_on(&self, device: &Device) -> bool {
        self.devices.iter().any(|chosen| chosen.name == device.name)
    }

    fn executor(&self, device: &Device) -> Result<Box<dyn Executor>, Fault> {
        let chosen = self.devices.iter().find(|chosen| chosen.name == device.name);
        let chosen = chosen.ok_or_else(|| Fault::Lost(format!("no device {device}")))?;
        let Described { part, correction, .. } = &self.described;
        let room = correction.room(*part, chosen).map_err(|error| fault(&error))?;
        let loaded = correction.load(*part, chosen).map_err(|error| fault(&error))?;
        let pixels = room.saturating_mul(loaded.side() * loaded.side());
        Ok(Box::new(OnDevice { loaded: Rc::new(loaded), pixels }))
    }
}

/// What becomes of a device that failed so.
fn fault(error: &EngineError) -> Fault {
    match failure(error) {
        Failure::OutOfMemory(text) => Fault::OutOfMemory(text),
        Failure::Lost(text) => Fault::Lost(text),
        Failure::Broken(text) => Fault::Broken(text),
        Failure::Task(text) => Fault::Request(text),
        Failure::Stopped => Fault::Stopped,
    }
}

/// A model on the thread of its device.
struct OnDevice {
    loaded: Rc<Loaded>,
    pixels: usize,
}

impl Executor for OnDevice {
    fn pixels(&self) -> usize {
        self.pixels
    }

    fn warm_up(&mut self) -> Result<(), Fault> {
        match Rc::get_mut(&mut self.loaded) {
            Some(loaded) => loaded.warm_up().map_err(|error| fault(&error)),
            // It computes already.
            None => Ok(()),
        }
    }

    fn prepare(&mut self, batch: &Batch) -> Result<Box<dyn Work>, Fault> {
        let mut fields = Vec::new();
        for request in &batch.requests {
            fields.extend(self.fields(request)?);
        }
        let (loaded, requests, stop) =
            (self.loaded.clone(), batch.requests.clone(), batch.stop.clone());
        Ok(Box::new(Fields { loaded, requests, fields, outputs: Vec::new(), stop }))
    }
}

impl OnDevice {
    /// A request's fields.
    fn fields(&self, request: &Request) -> Result<Vec<Raster>, Fault> {
        let Some(tensor) = request.inputs.first() else { return Ok(Vec::new()) };
        let &[items, height, width] = tensor.shape.as_slice() else {
            return Err(Fault::Request(format!(
                "expected [items, height, width], got {:?}",
                tensor.shape
            )));
        };
        let values = tensor.to_f32().map_err(|error| Fault::Request(error.to_string()))?;
        if let Some(wrong) = values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
            return Err(Fault::Request(format!(
                "a pixel is {wrong}: expected 0 for dark, 1 for pattern, and between them what part of the pixel is covered"
            )));
        }
        let pixel_nm = self.loaded.pixel_nm(width.max(1));
        let raster = |data: &[f32]| Raster { width, height, pixel_nm, data: data.to_vec() };
        let fields: Vec<Raster> =
            values.chunks_exact((height * width).max(1)).map(raster).collect();
        debug_assert_eq!(fields.len(), items);
        Ok(fields)
    }
}

/// A batch of fields on its way. The device's runtime has no start without a wait, so that it is computed in `finish`.
struct Fields {
    loaded: Rc<Loaded>,
    requests: Vec<Arc<Request>>,
    fields: Vec<Raster>,
    /// For each output a raster a field.
    outputs: Vec<Vec<Raster>>,
    stop: Stop,
}

impl Work for Fields {
    fn finish(&mut self) -> Result<(), Fault> {
        let stop = self.stop.clone();
        let found = self.loaded.run(&self.fields, &mut || !stop.asked());
        self.outputs = found.map_err(|error| match error {
            // A field that does not fit is its client's.
            EngineError::Setting(text) => Fault::Request(text),
            other => fault(&other),
        })?;
        Ok(())
    }

    fn collect(self: Box<Self>) -> Result<Vec<Answer>, Fault> {
        let mut first = 0;
        let mut answers = Vec::with_capacity(self.requests.len());
        for request in &self.requests {
            let items = request
                .inputs
                .first()
                .and_then(|tensor| tensor.shape.first())
                .copied()
                .unwrap_or(0);
            answers.push(self.answer(request, first, items)?);
            first += items;
        }
        Ok(answers)
    }
}

impl Fields {
    /// What a request gets of the fields from `first` on.
    fn answer(&self, request: &Request, first: usize, items: usize) -> Result<Answer, Fault> {
        let tensor = |wanted: &lithoburn_server::model::Wanted| {
            let rasters =
                self.outputs.get(wanted.output).and_then(|all| all.get(first..first + items));
            let rasters = rasters
                .ok_or_else(|| Fault::Broken("the device gave fewer fields than it got".into()))?;
            let (height, width) =
                rasters.first().map_or((0, 0), |raster| (raster.height, raster.width));
            let values: Vec<f32> =
                rasters.iter().flat_map(|raster| raster.data.iter().copied()).collect();
            Tensor::from_f32(wanted.datatype, vec![items, height, width], &values)
                .map_err(|error| Fault::Broken(error.to_string()))
        };
        request.outputs.iter().map(tensor).collect()
    }
}

#[cfg(test)]
mod tests;
