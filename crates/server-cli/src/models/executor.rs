//! A correction's part as a scheduler's model: tensors become fields, and what comes out becomes tensors.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use lithoburn_engine::{EngineError, Loaded, failure};
use lithoburn_layout::Raster;
use lithoburn_pool::Failure;
use lithoburn_server::model::{
    Answer, Batch, Device, Executor, Fault, Model, Port, Request, Signature, Stop, Wanted, Work,
};
use lithoburn_server::tensor::{Datatype, Tensor};
use rayon::prelude::*;

use super::Described;
use super::runner::{Pending, Runner, Shelf};

/// Most items of a request.
const MOST_ITEMS: usize = 64;

/// A model that is served on some devices.
pub(crate) struct Served {
    described: Described,
    signature: Signature,
    runners: Vec<Arc<Runner>>,
}

impl Served {
    /// A model on the devices that a server has.
    pub(crate) fn new(described: Described, runners: Vec<Arc<Runner>>) -> Self {
        let signature = signature(&described);
        Self { described, signature, runners }
    }

    fn runner(&self, device: &Device) -> Option<&Arc<Runner>> {
        self.runners.iter().find(|runner| runner.device.name == device.name)
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
        self.runner(device).is_some()
    }

    fn executor(&self, device: &Device) -> Result<Box<dyn Executor>, Fault> {
        let runner = self.runner(device);
        let runner = runner.ok_or_else(|| Fault::Lost(format!("no device {device}")))?.clone();
        let (number, chosen) = (runner.number(), runner.device.clone());
        let Described { part, correction, .. } = self.described.clone();
        let place = runner.run(move |shelf| {
            let room = correction.room(part, &chosen).map_err(|error| fault(&error))?;
            let loaded = correction.load(part, &chosen).map_err(|error| fault(&error))?;
            let (side, field_nm) = (loaded.side(), loaded.pixel_nm(1));
            shelf.insert(number, loaded);
            Ok(Place { number, pixels: room.saturating_mul(side * side), field_nm })
        })?;
        Ok(Box::new(OnDevice { runner, place }))
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

/// Where a model is on its device, and what has to be known of it elsewhere.
#[derive(Clone, Copy)]
struct Place {
    number: u64,
    /// Most pixels of a batch.
    pixels: usize,
    /// Side of a field, in nm.
    field_nm: f64,
}

/// A model on a device.
struct OnDevice {
    runner: Arc<Runner>,
    place: Place,
}

/// What has a number on a device.
fn of(shelf: &mut Shelf, number: u64) -> Result<&mut Loaded, Fault> {
    shelf.get_mut(&number).ok_or_else(|| Fault::Broken("the model is not on its device".into()))
}

impl Executor for OnDevice {
    fn pixels(&self) -> usize {
        self.place.pixels
    }

    fn warm_up(&mut self) -> Result<(), Fault> {
        let number = self.place.number;
        self.runner.run(move |shelf| of(shelf, number)?.warm_up().map_err(|error| fault(&error)))
    }

    fn prepare(&mut self, batch: &Batch) -> Result<Box<dyn Work>, Fault> {
        let field_nm = self.place.field_nm;
        let fields = batch.requests.par_iter().map(|request| fields(request, field_nm));
        let fields: Vec<Vec<Raster>> = fields.collect::<Result<_, Fault>>()?;
        Ok(Box::new(Fields {
            runner: self.runner.clone(),
            number: self.place.number,
            requests: batch.requests.clone(),
            fields: fields.into_iter().flatten().collect(),
            computed: None,
            outputs: Vec::new(),
            stop: batch.stop.clone(),
        }))
    }
}

impl Drop for OnDevice {
    fn drop(&mut self) {
        let number = self.place.number;
        drop(self.runner.begin(move |shelf, _| {
            shelf.remove(&number);
            Ok(())
        }));
    }
}

/// A request's fields.
fn fields(request: &Request, field_nm: f64) -> Result<Vec<Raster>, Fault> {
    let Some(tensor) = request.inputs.first() else { return Ok(Vec::new()) };
    let &[_, height, width] = tensor.shape.as_slice() else {
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
    let pixel_nm = field_nm / width.max(1) as f64;
    let raster = |data: Vec<f32>| Raster { width, height, pixel_nm, data };
    let area = (height * width).max(1);
    if values.len() == area {
        return Ok(vec![raster(values)]);
    }
    Ok(values.par_chunks_exact(area).map(|data| raster(data.to_vec())).collect())
}

/// A batch of fields on its way.
struct Fields {
    runner: Arc<Runner>,
    /// Of the model.
    number: u64,
    requests: Vec<Arc<Request>>,
    /// Until they are launched.
    fields: Vec<Raster>,
    computed: Option<Pending<Vec<Vec<Raster>>>>,
    /// For each output a raster a field.
    outputs: Vec<Vec<Raster>>,
    stop: Stop,
}

impl Work for Fields {
    fn launch(&mut self) -> Result<(), Fault> {
        let (number, stop) = (self.number, self.stop.clone());
        let fields = std::mem::take(&mut self.fields);
        self.computed = Some(self.runner.begin(move |shelf, unwanted| {
            let go_on = &mut || !stop.asked() && !unwanted.is_set();
            of(shelf, number)?.run(&fields, go_on).map_err(|error| match error {
                // A field that does not fit is its client's.
                EngineError::Setting(text) => Fault::Request(text),
                other => fault(&other),
            })
        }));
        Ok(())
    }

    fn settles_within(&mut self, time: Duration) -> bool {
        self.computed.as_mut().is_none_or(|computed| computed.settles_within(time))
    }

    fn finish(&mut self) -> Result<(), Fault> {
        if self.computed.is_none() {
            self.launch()?;
        }
        if let Some(computed) = self.computed.take() {
            self.outputs = computed.wait()?;
        }
        Ok(())
    }

    fn collect(self: Box<Self>) -> Result<Vec<Answer>, Fault> {
        let items = |request: &Arc<Request>| {
            let target = request.inputs.first();
            target.and_then(|target| target.shape.first()).copied().unwrap_or(0)
        };
        let mut first = 0;
        let place = |request| {
            let from = first;
            first += items(request);
            (request, from..first)
        };
        let places: Vec<(&Arc<Request>, Range<usize>)> = self.requests.iter().map(place).collect();
        let outputs = &self.outputs;
        places.into_par_iter().map(|(request, fields)| answer(outputs, request, fields)).collect()
    }
}

/// What a request gets of the outputs, whose fields are these.
fn answer(
    outputs: &[Vec<Raster>],
    request: &Request,
    fields: Range<usize>,
) -> Result<Answer, Fault> {
    let tensor = |wanted: &Wanted| {
        let rasters = outputs.get(wanted.output).and_then(|all| all.get(fields.clone()));
        let rasters = rasters
            .ok_or_else(|| Fault::Broken("the device gave fewer fields than it got".into()))?;
        let (height, width) =
            rasters.first().map_or((0, 0), |raster| (raster.height, raster.width));
        let values = match rasters {
            [alone] => Cow::Borrowed(&alone.data),
            several => {
                let each: Vec<&[f32]> = several.iter().map(|field| &field.data[..]).collect();
                Cow::Owned(each.concat())
            }
        };
        Tensor::from_f32(wanted.datatype, vec![fields.len(), height, width], &values)
            .map_err(|error| Fault::Broken(error.to_string()))
    };
    request.outputs.iter().map(tensor).collect()
}

#[cfg(test)]
mod tests;
