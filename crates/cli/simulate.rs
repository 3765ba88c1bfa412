//! Simulation alone: how a mask images and prints.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use lithoburn_engine::{Evaluator, through_focus};
use lithoburn_layout::{Frame, Raster, png, write_whole};
use lithoburn_litho::{Corner, Focus, KernelSet, Resist};
use safetensors::tensor::{Dtype, TensorView};

use crate::Verdict;
use crate::options::{KernelOptions, LayoutOptions};
use crate::terminal::say;

/// Simulate a mask (or a layout, taken as mask): aerial images and prints at three corners.
#[derive(Args, Debug)]
pub struct SimulateArgs {
    /// Mask: .gds, .glp or .png.
    mask: PathBuf,
    #[command(flatten)]
    kernels: KernelOptions,
    #[command(flatten)]
    drawing: LayoutOptions,
    /// Simulate at this distance from best focus instead of at the corners, in nm.
    #[arg(long, value_name = "NM", allow_negative_numbers = true)]
    focus: Option<f64>,
    /// Simulate at this dose instead of at the corners: a factor on the intensity.
    #[arg(long, value_name = "D")]
    dose: Option<f64>,
    /// Directory for aerial.safetensors and the images [default: out/MASK].
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs the job.
///
/// # Errors
///
/// One that says what was wrong and what to do.
pub fn simulate(args: &SimulateArgs) -> Result<Verdict> {
    let layout = args.drawing.read(&args.mask)?;
    let (kernels, _) = args.kernels.load()?;
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| lithoburn_engine::Outcome::default_directory(&layout.name));
    lithoburn_engine::probe_directory(&out)?;
    let frame = Frame::centred(&layout, kernels.period_nm, args.drawing.pixel)?;
    let mask = layout.rasterize(&frame, args.drawing.coverage());
    let images = match (args.focus, args.dose) {
        (None, None) => at_corners(args, &kernels, &mask)?,
        (focus, dose) => {
            vec![at_condition(args, &kernels, &mask, focus.unwrap_or(0.0), dose.unwrap_or(1.0))?]
        }
    };
    for (name, aerial) in &images {
        let threshold = Resist::default().threshold as f32;
        let printed = aerial.data.iter().map(|&v| f32::from(u8::from(v >= threshold))).collect();
        write_whole(&out.join(format!("aerial_{name}.png")), &png::encode(aerial))?;
        let printed = Raster { data: printed, ..*aerial };
        write_whole(&out.join(format!("printed_{name}.png")), &png::encode(&printed))?;
    }
    write_whole(&out.join("aerial.safetensors"), &encode(&images)?)?;
    say(
        false,
        &format!(
            "wrote {}/aerial.safetensors ({}: f32 [{}, {}]; the dose is in the intensity) and PNGs",
            out.display(),
            images.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "),
            frame.height,
            frame.width
        ),
    );
    Ok(Verdict::Done)
}

/// Images at the three corners, with their doses.
fn at_corners(
    args: &SimulateArgs,
    kernels: &KernelSet,
    mask: &Raster,
) -> Result<Vec<(String, Raster)>> {
    let evaluator = Evaluator::new(kernels, &args.kernels.process()?);
    let [best, defocus] = evaluator.aerial(mask, args.drawing.pixel)?;
    let image = |(name, corner): (&str, Corner)| {
        let image = if corner.focus == Focus::Best { &best } else { &defocus };
        (name.to_string(), exposed(image, corner.dose))
    };
    Ok(evaluator.window().corners().map(image).to_vec())
}

/// The image at one focus and dose.
fn at_condition(
    args: &SimulateArgs,
    kernels: &KernelSet,
    mask: &Raster,
    focus_nm: f64,
    dose: f64,
) -> Result<(String, Raster)> {
    if !(focus_nm.is_finite() && dose.is_finite() && dose > 0.0) {
        bail!("--focus must be finite and --dose positive, got {focus_nm} nm and {dose}");
    }
    let process = args.kernels.process()?;
    let images = through_focus(kernels, &process, mask, &[focus_nm], args.drawing.pixel)?;
    let image = images.first().context("no image was made")?;
    Ok((format!("focus{focus_nm}_dose{dose}"), exposed(image, dose)))
}

fn exposed(image: &Raster, dose: f64) -> Raster {
    let data = image.data.iter().map(|&v| v * dose as f32).collect();
    Raster { data, ..*image }
}

fn encode(images: &[(String, Raster)]) -> Result<Vec<u8>> {
    let bytes = |r: &Raster| r.data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let data: Vec<Vec<u8>> = images.iter().map(|(_, r)| bytes(r)).collect();
    let mut views = Vec::new();
    for ((name, raster), bytes) in images.iter().zip(&data) {
        views.push((name, TensorView::new(Dtype::F32, vec![raster.height, raster.width], bytes)?));
    }
    let pixel = images.first().map_or(1.0, |(_, r)| r.pixel_nm);
    let metadata = HashMap::from([("pixel_nm".to_string(), pixel.to_string())]);
    Ok(safetensors::serialize(views, Some(metadata))?)
}
