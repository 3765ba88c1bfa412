//! Simulation alone: how a mask images and prints.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use lithoburn_engine::Evaluator;
use lithoburn_layout::{Frame, Raster, png, write_whole};
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
    let evaluator = Evaluator::new(&kernels);
    let [best, defocus] = evaluator.aerial(&mask, args.drawing.pixel)?;
    let mut images = Vec::new();
    for (name, corner) in evaluator.window().corners() {
        let image = if corner.focus == lithoburn_litho::Focus::Best { &best } else { &defocus };
        let data = image.data.iter().map(|&v| v * corner.dose as f32).collect();
        let aerial = Raster { data, ..*image };
        let threshold = evaluator.resist().threshold as f32;
        let printed = aerial.data.iter().map(|&v| f32::from(u8::from(v >= threshold))).collect();
        write_whole(&out.join(format!("aerial_{name}.png")), &png::encode(&aerial))?;
        let printed = Raster { data: printed, ..aerial };
        write_whole(&out.join(format!("printed_{name}.png")), &png::encode(&printed))?;
        images.push((name.to_string(), aerial));
    }
    write_whole(&out.join("aerial.safetensors"), &encode(&images)?)?;
    say(
        false,
        &format!(
            "wrote {}/aerial.safetensors (nominal, outer, inner: f32 [{}, {}]; the dose is in the intensity) and PNGs",
            out.display(),
            frame.height,
            frame.width
        ),
    );
    Ok(Verdict::Done)
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
