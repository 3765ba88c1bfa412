//! A correction's part as a scheduler's model: tensors become fields, and what comes out becomes tensors.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use lithoburn_engine::{EngineError, Fields, Loaded, Sizes, failure};
use lithoburn_layout::Raster;
use lithoburn_litho::PackedImages;
use lithoburn_pool::Failure;
use lithoburn_server::model::{
    Answer, Batch, Device, Executor, Fault, Model, Port, Request, Signature, Stop, Wanted, Work,
};
use lithoburn_server::tensor::{Datatype, Tensor, TensorError};
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
        let (tried, on) = (correction.clone(), chosen.clone());
        let room = move || tried.room(part, &on).map_err(|error| fault(&error));
        let room = runner.first(room)?;
        let loaded = runner.each(move |shelf| {
            let loaded = correction.load(part, &chosen).map_err(|error| fault(&error))?;
            let sizes = loaded.sizes();
            shelf.insert(number, loaded);
            Ok(sizes)
        });
        let place = |sizes: Sizes| Place { number, room: room.max(1), sizes };
        match loaded.map(|sizes| sizes.first().copied().map(place)) {
            Ok(Some(place)) => Ok(Box::new(OnDevice { runner, place })),
            Ok(None) => Err(Fault::Lost(format!("no thread for {device}"))),
            Err(fault) => {
                // A hand may have it.
                runner.tell_each(move |shelf| drop(shelf.remove(&number)));
                Err(fault)
            }
        }
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
    /// Fields that the device holds.
    room: usize,
    /// The sizes of fields.
    sizes: Sizes,
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
        self.place.room.saturating_mul(self.place.sizes.side.pow(2))
    }

    fn hands(&self) -> usize {
        self.runner.hands().min(self.place.room)
    }

    fn warm_up(&mut self) -> Result<(), Fault> {
        let number = self.place.number;
        let warm =
            move |shelf: &mut Shelf| of(shelf, number)?.warm_up().map_err(|error| fault(&error));
        self.runner.each(warm).map(drop)
    }

    fn prepare(&mut self, batch: &Batch) -> Result<Box<dyn Work>, Fault> {
        let sizes = self.place.sizes;
        let fields = batch.requests.par_iter().map(|request| fields(request, sizes));
        let fields: Vec<Fields> = fields.collect::<Result<_, Fault>>()?;
        Ok(Box::new(Flight {
            runner: self.runner.clone(),
            number: self.place.number,
            requests: batch.requests.clone(),
            fields: Some(together(fields, sizes.field_nm)),
            computed: None,
            outputs: Vec::new(),
            stop: batch.stop.clone(),
        }))
    }
}

impl Drop for OnDevice {
    fn drop(&mut self) {
        let number = self.place.number;
        self.runner.tell_each(move |shelf| drop(shelf.remove(&number)));
    }
}

/// A request's fields: bits, if all of its pixels are 0 or 1.
fn fields(request: &Request, sizes: Sizes) -> Result<Fields, Fault> {
    let wrong = |error: &dyn std::fmt::Display| Fault::Request(error.to_string());
    let tensor = request.inputs.first().ok_or_else(|| wrong(&"expected an input"))?;
    let &[_, height, width] = tensor.shape.as_slice() else {
        return Err(wrong(&format!("expected [items, height, width], got {:?}", tensor.shape)));
    };
    sizes.check(width, height).map_err(|error| wrong(&error))?;
    if let Some(words) = tensor.to_words().map_err(|error| wrong(&error))? {
        return Ok(Fields::Bits(PackedImages { side: width, words }));
    }
    let values = tensor.to_f32().map_err(|error| wrong(&error))?;
    if let Some(other) = values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        return Err(wrong(&format!(
            "a pixel is {other}: expected 0 for dark, 1 for pattern, and between them what part of the pixel is covered"
        )));
    }
    let pixel_nm = sizes.pixel_nm(width);
    let raster = |data: &[f32]| Raster { width, height, pixel_nm, data: data.to_vec() };
    Ok(Fields::Values(values.par_chunks_exact(height * width).map(raster).collect()))
}

/// The fields of several requests: bits, if all are.
fn together(fields: Vec<Fields>, field_nm: f64) -> Fields {
    let bits: Option<Vec<&PackedImages>> = fields
        .iter()
        .map(|fields| match fields {
            Fields::Bits(bits) => Some(bits),
            Fields::Values(_) => None,
        })
        .collect();
    if let Some(bits) = bits {
        let words: Vec<&[u32]> = bits.iter().map(|bits| &bits.words[..]).collect();
        let side = bits.first().map_or(0, |bits| bits.side);
        return Fields::Bits(PackedImages { side, words: words.concat() });
    }
    Fields::Values(fields.into_iter().flat_map(|fields| fields.into_rasters(field_nm)).collect())
}

/// A batch of fields on its way.
struct Flight {
    runner: Arc<Runner>,
    /// Of the model.
    number: u64,
    requests: Vec<Arc<Request>>,
    /// Until they are launched.
    fields: Option<Fields>,
    computed: Option<Pending<Vec<Fields>>>,
    /// For each output as many fields.
    outputs: Vec<Fields>,
    stop: Stop,
}

impl Work for Flight {
    fn launch(&mut self) -> Result<(), Fault> {
        let (number, stop) = (self.number, self.stop.clone());
        let launched = || Fault::Broken("the batch was launched before".into());
        let fields = self.fields.take().ok_or_else(launched)?;
        self.computed = Some(self.runner.begin(move |shelf, unwanted| {
            let go_on = &mut || !stop.asked() && !unwanted.is_set();
            of(shelf, number)?.run(fields, go_on).map_err(|error| match error {
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
fn answer(outputs: &[Fields], request: &Request, fields: Range<usize>) -> Result<Answer, Fault> {
    let tensor = |wanted: &Wanted| {
        let all = outputs.get(wanted.output);
        let fewer = || Fault::Broken("the device gave fewer fields than it got".into());
        let all = all.filter(|all| all.len() >= fields.end).ok_or_else(fewer)?;
        tensor(all, wanted.datatype, fields.clone())
            .map_err(|error| Fault::Broken(error.to_string()))
    };
    request.outputs.iter().map(tensor).collect()
}

/// Some of these fields as a tensor.
fn tensor(all: &Fields, datatype: Datatype, range: Range<usize>) -> Result<Tensor, TensorError> {
    let items = range.len();
    match all {
        Fields::Bits(bits) => {
            let each = bits.side * bits.row_words();
            let words = &bits.words[range.start * each..range.end * each];
            Tensor::from_words(datatype, vec![items, bits.side, bits.side], words)
        }
        Fields::Values(rasters) => {
            let rasters = &rasters[range];
            let [height, width] = rasters.first().map_or([0; 2], |of| [of.height, of.width]);
            let values = match rasters {
                [alone] => Cow::Borrowed(&alone.data),
                several => {
                    let each: Vec<&[f32]> = several.iter().map(|field| &field.data[..]).collect();
                    Cow::Owned(each.concat())
                }
            };
            Tensor::from_f32(datatype, vec![items, height, width], &values)
        }
    }
}

#[cfg(test)]
mod tests;
