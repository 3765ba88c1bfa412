//! How fast networks are on a device, and by which way: as one operation where the card has it, and layer by layer.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use burn::tensor::{DType, Device, Distribution, Tensor};
use clap::{Args, ValueEnum};
use lithoburn_engine::{Method, calibration_targets, load_network};
use lithoburn_layout::write_whole;
use lithoburn_models::hopper::{Hopper, NotFused, Prepared};
use lithoburn_models::host::is_host;
use lithoburn_models::matrix::has_matrix_units;
use lithoburn_models::{Head, Host, MaskNetwork, MatrixUnits, NeuralIltConfig, Program};
use serde::Serialize;

use crate::Verdict;
use crate::options::DeviceOptions;
use lithoburn_terminal::{print_json, say, table};

/// Passes before the clock runs …
const WARM: usize = 3;
/// … and seconds of passes without a pause: a card that waited for a compiler has slowed down, and by Vulkan takes its time to be quick again.
const WARM_S: f64 = 1.0;
/// Passes of which the device waits for none, and all of whose logits stay, so that none is left out: seconds of them, at least so many and at
/// most so many. The look at the last of them takes as long as a short pass.
const AHEAD_S: f64 = 0.02;
const AHEAD: (usize, usize) = (20, 200);
/// Rounds, of which the middle one counts.
const ROUNDS: usize = 7;
/// A pass that takes longer, in seconds, fills a device alone.
const LONG: f64 = 0.02;
/// What there is to measure: the shipped networks, and the published U-Net.
pub(super) const NETWORKS: [&str; 4] =
    ["neural-ilt-fast", "gan-opc", "neural-ilt", "neural-ilt-64"];
/// Width of the U-Net that was published, and the seed of its weights here.
const PUBLISHED: (usize, u64) = (64, 1);

/// Kernels of a network's steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KernelsName {
    /// The device's own choice.
    Own,
    /// Those of matrix units: products of 16 x 16 matrices on CUDA or Vulkan. The own choice of cards that are not Hopper, and of Vulkan.
    Matrix,
    /// A Hopper card's in eight bits: weights and images in e4m3, calibrated on generated clips. Never a device's own choice.
    #[value(name = "e4m3")]
    EightBits,
}

/// The list of layers, run as it is.
struct LayerByLayer(Program);

impl MaskNetwork for LayerByLayer {
    fn head(&self) -> Head {
        self.0.head
    }

    fn stride(&self) -> usize {
        self.0.stride
    }

    fn logits(&self, x: Tensor<4>) -> Tensor<4> {
        self.0.run(x)
    }
}

/// What to measure.
#[derive(Args, Debug)]
pub struct NetworksArgs {
    #[command(flatten)]
    device: DeviceOptions,
    /// Images in a batch.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,16,64")]
    batches: Vec<usize>,
    /// Side of an image, in pixels.
    #[arg(long, value_name = "PX", default_value_t = 256)]
    size: usize,
    /// Networks to measure.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    #[arg(value_parser = NETWORKS, default_values = NETWORKS)]
    networks: Vec<String>,
    /// Kernels to measure where a network is one operation.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_enum, default_value = "own")]
    kernels: Vec<KernelsName>,
    /// Leave out the passes layer by layer where there is a faster way.
    #[arg(long)]
    only_fused: bool,
    /// File for the rows as JSON.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON and nothing else.
    #[arg(long)]
    json: bool,
}

/// One network, one batch, one way.
#[derive(Clone, Debug, Serialize)]
struct Row {
    network: &'static str,
    batch: usize,
    way: &'static str,
    /// Images a second, passes enqueued ahead of the device.
    tiles_per_second: f64,
    /// From images in host memory to logits in host memory, ms.
    host_to_host_ms: f64,
    /// From targets in host memory to masks in host memory, ms.
    mask_ms: f64,
    /// From building the pass to its first logits, s: it compiles what the kernel cache does not have.
    first_s: f64,
    /// ‖difference‖ / ‖reference‖ of its logits from those in f32, layer by layer on the CPU; for one image.
    off: f64,
}

/// A way to compute a network's logits.
struct Way {
    name: &'static str,
    network: Box<dyn MaskNetwork>,
    /// What it computes in.
    dtype: DType,
    /// What it took to make.
    seconds: f64,
}

/// Measures all networks.
pub(super) fn networks(args: &NetworksArgs) -> Result<Verdict> {
    let whole = args.size.is_multiple_of(32) && args.size > 0;
    ensure!(
        whole,
        "--size must be a multiple of 32, the networks' largest stride; got {}",
        args.size
    );
    ensure!(!args.batches.contains(&0), "--batches must be 1 or more");
    let device = args.device.choose()?;
    say(args.json, &format!("device {} ({})", device.name, device.card));
    let mut rows = Vec::new();
    for (name, program) in programs()? {
        if !args.networks.iter().any(|asked| asked == name) {
            continue;
        }
        rows.extend(measured(args, name, &program, &device.device)?);
    }
    if let Some(out) = &args.out {
        write_whole(out, &serde_json::to_vec_pretty(&rows)?)?;
    }
    match args.json {
        true => print_json(&rows)?,
        false => say(false, &table(&HEADER, &rows.iter().map(cells).collect::<Vec<_>>())),
    }
    Ok(Verdict::Done)
}

/// The shipped networks, and the published U-Net with random weights.
pub(super) fn programs() -> Result<Vec<(&'static str, Program)>> {
    let shipped = |method: Method| -> Result<(&'static str, Program)> {
        Ok((method.name(), load_network(method, None, &Device::flex())?.0.program()))
    };
    let methods = [Method::NeuralIltFast, Method::GanOpc, Method::NeuralIlt].map(shipped);
    let mut programs = methods.into_iter().collect::<Result<Vec<_>>>()?;
    let published = NeuralIltConfig { width: PUBLISHED.0, ..NeuralIltConfig::default() };
    programs.push(("neural-ilt-64", published.random_program(PUBLISHED.1)));
    Ok(programs)
}

fn measured(
    args: &NetworksArgs,
    name: &'static str,
    program: &Program,
    device: &Device,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for way in ways(args, name, program, device) {
        for &batch in &args.batches {
            let shape = [batch, 1, args.size, args.size];
            let x = Tensor::<4>::random(shape, Distribution::Default, &Device::flex());
            let start = Instant::now();
            let off = off(program, &way, &x, device)?;
            let first_s = way.seconds + start.elapsed().as_secs_f64();
            let [tiles_per_second, host_to_host_ms, mask_ms] = timed(&way, &x, device)?;
            let row = Row {
                network: name,
                batch,
                way: way.name,
                tiles_per_second,
                host_to_host_ms,
                mask_ms,
                first_s,
                off,
            };
            say(args.json, &cells(&row).join("  "));
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The ways that a device has for a network, the quickest first.
fn ways(args: &NetworksArgs, name: &str, program: &Program, device: &Device) -> Vec<Way> {
    let mut ways = Vec::new();
    for &kernels in &args.kernels {
        let start = Instant::now();
        let fused = fused(kernels, program, device);
        let seconds = start.elapsed().as_secs_f64();
        match fused {
            // The device's own choice may be named once more.
            Ok((name, _)) if ways.iter().any(|way: &Way| way.name == name) => {}
            Ok((name, network)) => ways.push(Way { name, network, dtype: DType::F32, seconds }),
            Err(None) => {}
            Err(Some(why)) => say(args.json, &format!("{name} runs layer by layer: {why}")),
        }
    }
    if ways.is_empty() || !args.only_fused {
        let dtype = if is_host(device) { DType::F32 } else { DType::BF16 };
        let layers = program.placed(0..program.layers.len(), device, dtype);
        let network = Box::new(LayerByLayer(Program { layers, ..program.clone() }));
        ways.push(Way { name: "layer by layer", network, dtype, seconds: 0.0 });
    }
    ways
}

/// A network as one operation, with that way's name; or why it is none, if there is something to say.
fn fused(
    kernels: KernelsName,
    program: &Program,
    device: &Device,
) -> Result<(&'static str, Box<dyn MaskNetwork>), Option<String>> {
    let by_matrix_units = || -> Result<(&'static str, Box<dyn MaskNetwork>), Option<String>> {
        let network = MatrixUnits::new(program, device).map_err(|e| Some(e.to_string()))?;
        Ok(("matrix units", Box::new(network)))
    };
    if kernels == KernelsName::Matrix {
        return by_matrix_units();
    }
    if kernels == KernelsName::EightBits {
        let targets = calibration_targets(program).map_err(|e| Some(e.to_string()))?;
        let prepared = Prepared::in_eight_bits(program, &targets);
        let network = prepared.and_then(|prepared| prepared.on(device));
        return Ok(("e4m3", Box::new(network.map_err(|e| Some(e.to_string()))?)));
    }
    let network: Box<dyn MaskNetwork> = match is_host(device) {
        true => Box::new(Host::new(program).map_err(Some)?),
        false => match Hopper::new(program, device) {
            Ok(hopper) => Box::new(hopper),
            Err(NotFused::Card) if has_matrix_units(device) => return by_matrix_units(),
            Err(NotFused::Card) => return Err(None),
            Err(why) => return Err(Some(why.to_string())),
        },
    };
    Ok(("one operation", network))
}

fn placed(x: &Tensor<4>, device: &Device, dtype: DType) -> Tensor<4> {
    let x = x.clone().to_device(device);
    if dtype == DType::F32 { x } else { x.cast(dtype) }
}

fn read(y: Tensor<4>) -> Result<Vec<f32>> {
    Ok(y.cast(DType::F32).try_into_vec_as::<f32>()?)
}

/// How far the last image's logits are from the CPU's in f32.
fn off(program: &Program, way: &Way, x: &Tensor<4>, device: &Device) -> Result<f64> {
    let last = x.dims()[0] - 1;
    let expected = read(program.run(x.clone().narrow(0, last, 1)))?;
    let found = read(way.network.logits(placed(x, device, way.dtype)).narrow(0, last, 1))?;
    let square = |values: &mut dyn Iterator<Item = f32>| -> f64 {
        values.map(|v| f64::from(v).powi(2)).sum()
    };
    let difference = square(&mut found.iter().zip(&expected).map(|(a, b)| a - b));
    Ok((difference / square(&mut expected.iter().copied())).sqrt())
}

/// Images a second; milliseconds from host to host, and from targets to masks.
fn timed(way: &Way, x: &Tensor<4>, device: &Device) -> Result<[f64; 3]> {
    let on_device = placed(x, device, way.dtype);
    let pass = |x| way.network.logits(x);
    let corner = |y: Tensor<4>| read(y.narrow(2, 0, 1).narrow(3, 0, 1).narrow(0, 0, 1));
    let targets = x.to_data();
    let there_and_back = || -> Result<f64> {
        let targets = targets.clone();
        let start = Instant::now();
        let logits = way.network.host_logits(targets, device, way.dtype)?;
        // Bytes may not be here before they are looked at.
        ensure!(logits.as_slice::<f32>()?.last().is_some(), "no logits");
        Ok(start.elapsed().as_secs_f64())
    };
    let mask = || -> Result<f64> {
        let start = Instant::now();
        let target = x.clone().to_device(device).squeeze_dim::<3>(1);
        way.network.forward(target, way.dtype).try_into_vec_as::<f32>()?;
        Ok(start.elapsed().as_secs_f64())
    };
    let mut usual = f64::MAX;
    for _ in 0..WARM {
        usual = usual.min(there_and_back()?);
        mask()?;
    }
    let (least, most) = AHEAD;
    let passes = if usual > LONG { 1 } else { ((AHEAD_S / usual) as usize).clamp(least, most) };
    let ahead = || -> Result<f64> {
        let start = Instant::now();
        let mut all: Vec<Tensor<4>> = (0..passes).map(|_| pass(on_device.clone())).collect();
        corner(all.pop().context("some passes")?)?;
        Ok(start.elapsed().as_secs_f64() / passes as f64)
    };
    let begun = Instant::now();
    while begun.elapsed().as_secs_f64() < WARM_S {
        ahead()?;
    }
    let seconds = [middle(ahead)?, middle(there_and_back)?, middle(mask)?];
    Ok([x.dims()[0] as f64 / seconds[0], 1e3 * seconds[1], 1e3 * seconds[2]])
}

/// The middle of some rounds.
pub(super) fn middle(round: impl Fn() -> Result<f64>) -> Result<f64> {
    let mut seconds = (0..ROUNDS).map(|_| round()).collect::<Result<Vec<f64>>>()?;
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[ROUNDS / 2])
}

const HEADER: [&str; 8] =
    ["network", "batch", "way", "tiles/s", "host to host ms", "mask ms", "first s", "off"];

fn cells(row: &Row) -> Vec<String> {
    vec![
        row.network.into(),
        row.batch.to_string(),
        row.way.into(),
        format!("{:.0}", row.tiles_per_second),
        format!("{:.3}", row.host_to_host_ms),
        format!("{:.3}", row.mask_ms),
        format!("{:.2}", row.first_s),
        format!("{:.1e}", row.off),
    ]
}
