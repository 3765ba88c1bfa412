//! Scores of anybody's mask.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use lithoburn_engine::{Evaluator, Metrics};
use lithoburn_layout::{Bounds, Coverage, Frame, Layer, Layout, Library, Raster, ReadOptions};

use crate::Verdict;
use crate::options::{KernelOptions, LayoutOptions, open};
use lithoburn_terminal::{note, print_json, say, table};

/// A mask, the target that it is for, and how both are read.
#[derive(Args, Debug)]
pub(crate) struct PairOptions {
    /// Mask: .gds, .oas, .glp or .png.
    #[arg(long, short, value_name = "FILE")]
    pub mask: PathBuf,
    /// Target: .gds, .oas, .glp or .png.
    #[arg(long, short, value_name = "FILE")]
    pub target: PathBuf,
    /// Layer and datatype of the mask [default: --layer if the mask has it, else its only one].
    #[arg(long, value_name = "L/D")]
    mask_layer: Option<Layer>,
    /// Cell of the mask [default: --cell if the mask has it, else its top cell].
    #[arg(long, value_name = "NAME")]
    mask_cell: Option<String>,
    #[command(flatten)]
    pub kernels: KernelOptions,
    #[command(flatten)]
    pub drawing: LayoutOptions,
    /// Side of the mask's pixel in nm, if it is a PNG [default: what makes it cover the field].
    #[arg(long, value_name = "NM")]
    pub mask_pixel: Option<f64>,
}

impl PairOptions {
    /// Mask and target on the target's field of `field_nm`.
    pub(crate) fn rasters(&self, target: &Layout, field_nm: f64) -> Result<[Raster; 2]> {
        let frame = Frame::centred(target, field_nm, self.drawing.pixel)?;
        let raster = target.rasterize(&frame, drawn(target, self.drawing.coverage()));
        Ok([self.mask_on(&frame, target)?, raster])
    }

    /// The mask on the target's frame. A mask without a window of its own keeps its coordinates if the
    /// target has none either; an image covers the field.
    fn mask_on(&self, frame: &Frame, target: &Layout) -> Result<Raster> {
        let library = self.mask_library()?;
        if self.drawing.window.is_some() {
            // Both are in the layout's coordinates, and the mask may reach beyond the window of its target.
            return Ok(library.window(frame.bounds())?.rasterize(frame, self.drawing.coverage()));
        }
        let mut mask = library.flatten()?;
        let Some(window) = mask.window else {
            let placed = if target.window.is_some() {
                Frame::centred(&mask, frame.bounds().width(), frame.pixel_nm)?
            } else {
                *frame
            };
            return Ok(mask.rasterize(&placed, self.drawing.coverage()));
        };
        let field = frame.bounds().width();
        let pixels = (window.width() / self.drawing.pixel).max(1.0);
        let pixel_nm = self.mask_pixel.unwrap_or(field / pixels);
        if self.mask_pixel.is_none() && pixel_nm != self.drawing.pixel {
            note(&format!(
                "note: the mask is an image of {pixels} pixels: taken as {pixel_nm} nm each, so that it covers the field of \
                 {field} nm; --mask-pixel takes another size"
            ));
        }
        let scale = pixel_nm / self.drawing.pixel;
        for point in mask.polygons.iter_mut().flat_map(|p| &mut p.points) {
            *point = point.map(|v| v * scale);
        }
        mask.window = Some(Bounds { min: window.min, max: window.max.map(|v| v * scale) });
        Ok(mask.rasterize(&Frame::centred(&mask, field, frame.pixel_nm)?, Coverage::Exact))
    }
}

impl PairOptions {
    /// The mask's file. `--layer` and `--cell` are the target's, and the mask's where it has them too.
    fn mask_library(&self) -> Result<Library> {
        let target = self.drawing.reading()?;
        let named = self.mask_layer.is_some() || self.mask_cell.is_some();
        let own = ReadOptions {
            layer: self.mask_layer,
            cell: self.mask_cell.clone(),
            pixel_nm: target.pixel_nm,
        };
        if named || (target.layer.is_none() && target.cell.is_none()) {
            return open(&self.mask, &own);
        }
        open(&self.mask, &target).or_else(|_| open(&self.mask, &own))
    }
}

/// Measure a mask against a target: L2, PV band, EPE, shots, smallest shape and gap.
#[derive(Args, Debug)]
pub struct ScoreArgs {
    #[command(flatten)]
    pair: PairOptions,
    /// Print JSON and nothing else.
    #[arg(long)]
    json: bool,
}

/// Runs the job.
///
/// # Errors
///
/// One that says what was wrong and what to do.
pub fn score(args: &ScoreArgs) -> Result<Verdict> {
    let (kernels, _) = args.pair.kernels.load()?;
    let target = args.pair.drawing.read(&args.pair.target)?;
    let [mask, raster] = args.pair.rasters(&target, kernels.period_nm)?;
    let evaluator = Evaluator::new(&kernels, &args.pair.kernels.process()?);
    let mut metrics = evaluator.evaluate(&mask, &raster, 0)?.metrics;
    metrics.measure_mask(&mask);
    match args.json {
        true => print_json(&metrics)?,
        false => say(false, &table(&["", "mask"], &rows(&metrics))),
    }
    Ok(Verdict::Done)
}

/// An image is its pixels already; only polygons have edges to be ruled.
fn drawn(layout: &Layout, coverage: Coverage) -> Coverage {
    if layout.window.is_some() { Coverage::Exact } else { coverage }
}

fn rows(metrics: &Metrics) -> Vec<Vec<String>> {
    metrics.table(metrics).into_iter().map(|[name, value, _]| vec![name, value]).collect()
}
