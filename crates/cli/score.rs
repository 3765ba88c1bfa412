//! Scores of anybody's mask.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use lithoburn_engine::{Evaluator, Metrics};
use lithoburn_layout::{Bounds, Coverage, Frame, Layout, Raster};

use crate::Verdict;
use crate::options::{KernelOptions, LayoutOptions};
use crate::terminal::{print_json, say, table};

/// Measure a mask against a target: L2, PV band, EPE, shots, smallest shape and gap.
#[derive(Args, Debug)]
pub struct ScoreArgs {
    /// Mask: .gds, .glp or .png.
    #[arg(long, short, value_name = "FILE")]
    mask: PathBuf,
    /// Target: .gds, .glp or .png.
    #[arg(long, short, value_name = "FILE")]
    target: PathBuf,
    #[command(flatten)]
    kernels: KernelOptions,
    #[command(flatten)]
    drawing: LayoutOptions,
    /// Side of the mask's pixel in nm, if it is a PNG [default: what makes it cover the field].
    #[arg(long, value_name = "NM")]
    mask_pixel: Option<f64>,
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
    let (kernels, _) = args.kernels.load()?;
    let target = args.drawing.read(&args.target)?;
    let frame = Frame::centred(&target, kernels.period_nm, args.drawing.pixel)?;
    let coverage = args.drawing.coverage();
    let raster = target.rasterize(&frame, drawn(&target, coverage));
    let mask = mask_on(&args.mask, args.mask_pixel, &args.drawing, &frame, &target)?;
    let mut metrics =
        Evaluator::new(&kernels, &args.kernels.process()?).evaluate(&mask, &raster, 0)?.metrics;
    metrics.shots = lithoburn_layout::fracture::shot_count(&mask);
    metrics.shots_adabox = lithoburn_layout::fracture::adabox_count(&mask, 0);
    metrics.min_shape_area_nm2 = lithoburn_layout::shapes::smallest_area_nm2(&mask);
    metrics.min_shape_distance_nm = lithoburn_layout::shapes::smallest_distance_nm(&mask);
    match args.json {
        true => print_json(&metrics)?,
        false => say(false, &table(&["", "mask"], &rows(&metrics))),
    }
    Ok(Verdict::Done)
}

/// An image is its pixels already; only polygons have edges to be ruled.
pub(crate) fn drawn(layout: &Layout, coverage: Coverage) -> Coverage {
    if layout.window.is_some() { Coverage::Exact } else { coverage }
}

fn rows(metrics: &Metrics) -> Vec<Vec<String>> {
    metrics.table(metrics).into_iter().map(|[name, value, _]| vec![name, value]).collect()
}

/// The mask on the target's frame. A mask without a window of its own keeps its coordinates if the
/// target has none either; an image covers the field.
pub(crate) fn mask_on(
    path: &Path,
    mask_pixel: Option<f64>,
    drawing: &LayoutOptions,
    frame: &Frame,
    target: &Layout,
) -> Result<Raster> {
    let mut mask = drawing.read(path)?;
    let Some(window) = mask.window else {
        let placed = if target.window.is_some() {
            Frame::centred(&mask, frame.bounds().width(), frame.pixel_nm)?
        } else {
            *frame
        };
        return Ok(mask.rasterize(&placed, drawing.coverage()));
    };
    let field = frame.bounds().width();
    let pixels = (window.width() / drawing.pixel).max(1.0);
    let scale = mask_pixel.map_or(field / pixels, |nm| nm) / drawing.pixel;
    for point in mask.polygons.iter_mut().flat_map(|p| &mut p.points) {
        *point = point.map(|v| v * scale);
    }
    mask.window = Some(Bounds { min: window.min, max: window.max.map(|v| v * scale) });
    Ok(mask.rasterize(&Frame::centred(&mask, field, frame.pixel_nm)?, Coverage::Exact))
}
