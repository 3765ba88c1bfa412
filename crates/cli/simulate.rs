//! Simulation alone: how a mask images and prints.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use lithoburn_engine::print::Printing;
use lithoburn_engine::{Evaluator, Folder, MaskFormat, default_directory, through_focus};
use lithoburn_layout::{Frame, Raster, png, write_whole};
use lithoburn_litho::{Corner, Focus, KernelSet};
use lithoburn_pictures::aerial::Aerial;
use safetensors::tensor::{Dtype, TensorView};

use crate::Verdict;
use crate::crew::{CrewOptions, TileOptions};
use crate::options::{DeviceOptions, KernelOptions, LayoutOptions};
use crate::progress::Progress;
use lithoburn_terminal::{go_on, say, table};

/// Simulate a mask (or a layout, taken as mask): aerial images and prints at three corners.
#[derive(Args, Debug)]
pub struct SimulateArgs {
    /// Mask: .gds, .oas, .glp or .png.
    mask: PathBuf,
    #[command(flatten)]
    device: DeviceOptions,
    #[command(flatten)]
    crew: CrewOptions,
    #[command(flatten)]
    tiles: TileOptions,
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
    /// Directory for aerial.safetensors and the images [default: out/MASK; of DIR/mask.gds, out/DIR-mask].
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl SimulateArgs {
    /// Spares CUDA the cards that no option names. For `main`, before any thread is started.
    pub fn hide_other_cards(&self) {
        self.crew.hide_other_cards(&self.device);
    }
}

/// Runs the job.
///
/// # Errors
///
/// One that says what was wrong and what to do.
pub fn simulate(args: &SimulateArgs) -> Result<Verdict> {
    match args.tiles.tile {
        None => field(args),
        Some(tile_nm) => chip(args, tile_nm),
    }
}

/// Where the files go. A run's own mask is called `mask`, as everybody's is: its folder says whose it is.
fn directory(args: &SimulateArgs, name: &str) -> PathBuf {
    let folder = args.mask.parent().and_then(|folder| folder.file_name());
    let owner = folder.filter(|_| name == "mask").and_then(|folder| folder.to_str());
    let own = || match owner {
        Some(owner) => default_directory(&format!("{owner}-mask")),
        None => default_directory(name),
    };
    args.out.clone().unwrap_or_else(own)
}

/// A mask of any size: contours at the three corners.
fn chip(args: &SimulateArgs, tile_nm: f64) -> Result<Verdict> {
    if args.focus.is_some() || args.dose.is_some() {
        bail!("--focus and --dose are for one field: leave out --tile, or give --corners");
    }
    let opening = args.crew.open(&args.device, false)?;
    let library = args.drawing.library(&args.mask)?;
    let (kernels, kernels_name) = args.kernels.load()?;
    let out = directory(args, library.name());
    let devices = opening.devices()?;
    let printing = Printing::of(&library, kernels, kernels_name, &devices)
        .process(args.kernels.process()?)
        .tile_nm(tile_nm)
        .halo_nm(args.tiles.halo()?)
        .pixel_nm(args.drawing.pixel)
        .coverage(args.drawing.coverage())
        .batch(args.crew.batch)
        .format(args.tiles.format.into());
    let mut progress = Progress::new(false);
    let report = printing.run(&out, &|| !go_on(), &mut |event| progress.show(event))?;
    drop(progress);
    let areas = &report.areas;
    let rows = [
        ("mask", areas.mask_nm2),
        ("printed, nominal", areas.printed_nm2[0]),
        ("printed, outer", areas.printed_nm2[1]),
        ("printed, inner", areas.printed_nm2[2]),
        ("nominal print is not the mask (L2)", areas.l2_nm2),
        ("PV band", areas.pvb_nm2),
    ];
    let rows = rows.map(|(name, nm2)| vec![name.to_string(), format!("{:.3} µm²", nm2 * 1e-6)]);
    say(false, &table(&["", "area"], &rows));
    crate::crew::say_pool(&report.pool);
    say(
        false,
        &format!(
            "{:.1} s: {} x {} tiles of {} nm with a halo of {} nm, {} simulated; {:.0} s per mm²",
            report.seconds,
            report.tiles[0],
            report.tiles[1],
            report.tile_nm,
            report.halo_nm,
            report.simulated,
            report.seconds_per_mm2
        ),
    );
    let format = MaskFormat::from(args.tiles.format).ending();
    say(
        false,
        &format!(
            "wrote {}/{{printed_nominal.{format}, printed_outer.{format}, printed_inner.{format}, report.json}}",
            out.display()
        ),
    );
    Ok(Verdict::Done)
}

/// A mask of one field: images and prints.
fn field(args: &SimulateArgs) -> Result<Verdict> {
    let layout = args.drawing.read(&args.mask)?;
    let (kernels, kernels_name) = args.kernels.load()?;
    let out = directory(args, &layout.name);
    let _folder = Folder::claim(&out)?;
    let frame = Frame::centred(&layout, kernels.period_nm, args.drawing.pixel)?;
    let mask = layout.rasterize(&frame, args.drawing.coverage());
    let images = match (args.focus, args.dose) {
        (None, None) => at_corners(args, &kernels, &mask)?,
        (focus, dose) => {
            vec![at_condition(args, &kernels, &mask, focus.unwrap_or(0.0), dose.unwrap_or(1.0))?]
        }
    };
    for (name, aerial) in &images {
        let threshold = args.kernels.process()?.resist.threshold as f32;
        let printed = aerial.data.iter().map(|&v| f32::from(u8::from(v >= threshold))).collect();
        let picture = lithoburn_pictures::aerial::draw(&Aerial {
            title: &format!("{} · {name}", layout.name),
            subtitle: &format!("{kernels_name} · {} nm pixels", aerial.pixel_nm),
            image: aerial,
            level: f64::from(threshold),
            origin_nm: frame.origin_nm,
        })?;
        write_whole(&out.join(format!("aerial_{name}.png")), &picture)?;
        let printed = Raster { data: printed, ..*aerial };
        write_whole(&out.join(format!("printed_{name}.png")), &png::encode(&printed)?)?;
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
