//! Whole layouts, by the engine: as `infer` does them, files and all.

use std::path::Path;
use std::sync::Arc;

use lithoburn_engine::{
    Correction, EngineError, Event, Folder, MASK_LAYER, Mask, MaskFormat, ModelSettings, Planned,
};
use lithoburn_layout::{Layout, Library, Raster, ReadOptions, oasis, png, write_whole};
use lithoburn_litho::LithoError;
use lithoburn_pool::Chosen;
use lithoburn_server::layouts::masks::{Corrector, MaskOrder, Wrong};
use lithoburn_server::layouts::{Ask, Format, Progress};

/// Database unit of OASIS files of one field, in nm.
const UNIT_NM: f64 = 0.1;

/// A method that corrects layouts.
#[derive(Clone, Debug)]
pub(crate) struct Method {
    /// Its name.
    pub(crate) name: String,
    /// What it is, with its weights and steps.
    pub(crate) settings: ModelSettings,
}

/// Corrects layouts on some devices.
#[derive(Clone)]
pub(crate) struct Engine {
    devices: Vec<Chosen>,
    methods: Arc<[Method]>,
}

impl Engine {
    /// By these methods; the first is used if none is asked for.
    pub(crate) fn new(devices: Vec<Chosen>, methods: Vec<Method>) -> Self {
        Self { devices, methods: methods.into() }
    }

    fn settings(&self, ask: &Ask) -> Result<ModelSettings, Wrong> {
        let wanted = ask.model.as_deref();
        let found =
            self.methods.iter().find(|method| wanted.is_none_or(|name| name == method.name));
        let names: Vec<&str> = self.methods.iter().map(|method| method.name.as_str()).collect();
        let none =
            || Wrong::Request(format!("no model {wanted:?}: expected one of {}", names.join(", ")));
        let method = found.ok_or_else(none)?;
        let mut settings = method.settings.clone();
        if let Some(steps) = ask.correct {
            if settings.model.network().is_none() {
                return Err(Wrong::Request(format!(
                    "correct means nothing to {}: leave it out",
                    method.name
                )));
            }
            settings.correct = steps;
        }
        Ok(settings)
    }

    fn run(
        &self,
        order: &MaskOrder,
        stop: &(dyn Fn() -> bool + Sync),
        watch: &mut dyn FnMut(Progress),
    ) -> Result<(), Wrong> {
        let MaskOrder { layout, name, ask, folder } = order;
        let settings = self.settings(ask)?;
        let hidden = |error: &EngineError| wrong(error, layout);
        let library = read(layout, ask).map_err(|error| hidden(&error))?;
        let format =
            if ask.format == Some(Format::Oas) { MaskFormat::Oasis } else { MaskFormat::Gds };
        let planned = Correction::of(&library)
            .model(settings)
            .pixel_nm(ask.pixel.unwrap_or(1.0))
            .tile_nm(ask.tile)
            .halo_nm(ask.halo)
            .format(format)
            .measure(ask.measure.unwrap_or(true))
            .on(self.devices.clone())
            .plan()
            .map_err(|error| hidden(&error))?;
        let done = match planned.tiles() {
            None => field(&planned, folder, name, format, stop, watch),
            Some(_) => {
                let mut heard = |event: Event| {
                    watch(progress(&event));
                    true
                };
                planned.run_in(folder, stop, &mut heard).map(drop)
            }
        };
        done.map_err(|error| hidden(&error))
    }
}

impl Corrector for Engine {
    fn models(&self) -> Vec<String> {
        self.methods.iter().map(|method| method.name.clone()).collect()
    }

    fn correct(
        &self,
        order: &MaskOrder,
        stop: &(dyn Fn() -> bool + Sync),
        watch: &mut dyn FnMut(Progress),
    ) -> Result<(), Wrong> {
        self.run(order, stop, watch)
    }
}

/// A layout of one field: beside the files of every run what the page shows, the target and the print.
fn field(
    planned: &Planned,
    folder: &Path,
    name: &str,
    format: MaskFormat,
    stop: &(dyn Fn() -> bool + Sync),
    watch: &mut dyn FnMut(Progress),
) -> Result<(), EngineError> {
    let mask = planned.run(&mut |event| {
        watch(progress(&event));
        !stop()
    })?;
    mask.write(folder)?;
    let _folder = Folder::claim(folder)?;
    if format == MaskFormat::Oasis {
        let path = folder.join(format.file());
        let layout = Layout::new(name, mask.polygons().to_vec());
        write_whole(&path, &oasis::encode(&path, &layout, MASK_LAYER, UNIT_NM)?)?;
    }
    for (file, raster) in [("target.png", mask.target()), ("print.png", &print(&mask))] {
        write_whole(&folder.join(file), &png::encode(raster)?)?;
    }
    Ok(())
}

/// The nominal print on the target's pixels.
fn print(mask: &Mask) -> Raster {
    let target = mask.target();
    let pixels = mask.evaluation().prints.nominal.to_pixels();
    let data = pixels.iter().map(|&on| f32::from(u8::from(on))).collect();
    Raster { data, ..Raster::new(target.width, target.height, target.pixel_nm) }
}

fn read(path: &Path, ask: &Ask) -> Result<Library, EngineError> {
    let layer = ask.layer.as_deref().map(str::parse).transpose();
    let layer =
        layer.map_err(|problem: String| EngineError::Setting(format!("layer: {problem}")))?;
    let options = ReadOptions { layer, cell: ask.cell.clone(), pixel_nm: ask.pixel.unwrap_or(1.0) };
    Ok(Library::read(path, &options)?)
}

fn progress(event: &Event) -> Progress {
    let phase = serde_json::to_value(event.phase).ok();
    let phase = phase.and_then(|phase| phase.as_str().map(String::from)).unwrap_or_default();
    Progress { phase, done: event.done, total: event.total }
}

/// What a client is told: the layout has the name that it came with, and none of this machine's paths.
fn wrong(error: &EngineError, layout: &Path) -> Wrong {
    let folder = layout.parent().map(|folder| format!("{}/", folder.display())).unwrap_or_default();
    let text = error.to_string();
    let text = if folder.len() > 1 { text.replace(&folder, "") } else { text };
    match error {
        EngineError::Layout(_) | EngineError::Setting(_) => Wrong::Request(text),
        EngineError::Stopped(_) | EngineError::Litho(LithoError::Interrupted) => Wrong::Stopped,
        _ => Wrong::Failed(text),
    }
}
