//! How long a network's forward pass, way back and optimiser take on a device, by each way that it has.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};
use burn::tensor::{DType, Device, Distribution, Tensor};
use clap::Args;
use lithoburn_layout::write_whole;
use lithoburn_models::hopper::NotFused;
use lithoburn_models::hopper::training::AdamStep;
use lithoburn_models::{LayerKind, Program, Training};
use serde::Serialize;

use super::networks::{middle, programs};
use crate::Verdict;
use crate::options::DeviceOptions;
use lithoburn_terminal::{print_json, say, table};

/// Steps before the clock runs, and those of which the device waits for none.
const WARM: usize = 3;
const AHEAD: usize = 10;

/// What to measure.
#[derive(Args, Debug)]
pub struct TrainingArgs {
    #[command(flatten)]
    device: DeviceOptions,
    /// Images in a batch.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "16")]
    batches: Vec<usize>,
    /// Side of an image, in pixels.
    #[arg(long, value_name = "PX", default_value_t = 256)]
    size: usize,
    /// Leave out the layers one by one where there is a faster way.
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
    /// Forward pass, ms.
    forward_ms: f64,
    /// Forward pass and the gradients of all weights, ms.
    gradient_ms: f64,
    /// The same and a step of Adam, ms.
    step_ms: Option<f64>,
    /// From building the network to its first gradient, s.
    first_s: f64,
    /// ‖difference‖ / ‖reference‖ of a small batch's gradient from the CPU's in f32.
    off: Option<f64>,
}

/// Measures all networks.
pub(super) fn training(args: &TrainingArgs) -> Result<Verdict> {
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
        for &batch in &args.batches {
            rows.extend(measured(args, name, &program, batch, &device.device)?);
        }
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

fn measured(
    args: &TrainingArgs,
    network: &'static str,
    program: &Program,
    batch: usize,
    device: &Device,
) -> Result<Vec<Row>> {
    let image = |low: f64| {
        let of = Distribution::Uniform(low, 1.0);
        Tensor::<4>::random([batch, 1, args.size, args.size], of, device)
    };
    let (x, of_logits, start) = (image(0.0), image(-1.0), Instant::now());
    let mut rows = Vec::new();
    match Training::new(program, device, DType::F32) {
        Ok(training) => {
            let row = Row { network, batch, ..fused(training, &x, &of_logits, start)? };
            say(args.json, &cells(&row).join("  "));
            rows.push(row);
        }
        Err(NotFused::Card) => {}
        Err(why) => say(args.json, &format!("{network} is trained layer by layer: {why}")),
    }
    if rows.is_empty() || !args.only_fused {
        let row = Row { network, batch, ..layers(program, &x, &of_logits, device)? };
        say(args.json, &cells(&row).join("  "));
        rows.push(row);
    }
    Ok(rows)
}

/// Waits for the device by a number of what it makes.
fn wait<const D: usize>(x: Tensor<D>) -> Result<()> {
    let first = (0..D).fold(x, |x, dim| x.narrow(dim, 0, 1));
    first.cast(DType::F32).try_into_vec_as::<f32>()?;
    Ok(())
}

/// Milliseconds of a call, of which the device has many ahead.
fn timed<const D: usize>(mut call: impl FnMut() -> Tensor<D>) -> Result<f64> {
    for _ in 0..WARM {
        wait(call())?;
    }
    let call = std::cell::RefCell::new(call);
    let round = || -> Result<f64> {
        let start = Instant::now();
        let mut last = None;
        for _ in 0..AHEAD {
            last = Some((call.borrow_mut())());
        }
        last.map_or(Ok(()), wait)?;
        Ok(start.elapsed().as_secs_f64() / AHEAD as f64)
    };
    Ok(1e3 * middle(round)?)
}

fn fused(
    mut training: Training,
    x: &Tensor<4>,
    of_logits: &Tensor<4>,
    start: Instant,
) -> Result<Row> {
    let gradient = |training: &Training| {
        let pass = training.pass(x.clone());
        training.gradient(pass, of_logits.clone())
    };
    wait(gradient(&training))?;
    let first_s = start.elapsed().as_secs_f64();
    let forward_ms = timed(|| training.pass(x.clone()).logits)?;
    let gradient_ms = timed(|| gradient(&training))?;
    let off = Some(training.off());
    let mut count = 0;
    let step_ms = timed(|| {
        count += 1;
        let (betas, rate) = ([0.9, 0.999], 1e-5);
        let step = AdamStep { betas, epsilon: 1e-5, most_norm: 1.0, scale: 1.0, rate, count };
        training.step(gradient(&training), step);
        training.values().clone()
    })?;
    let (way, step_ms) = ("one operation", Some(step_ms));
    Ok(Row { network: "", batch: 0, way, forward_ms, gradient_ms, step_ms, first_s, off })
}

/// Layer by layer in bf16, as training runs where there is no faster way.
fn layers(program: &Program, x: &Tensor<4>, of_logits: &Tensor<4>, device: &Device) -> Result<Row> {
    let (start, tracked) = (Instant::now(), device.clone().autodiff());
    let layers = program.placed(0..program.layers.len(), &tracked, DType::F32);
    let layers = layers.iter().map(|layer| layer.tracked(&tracked)).collect();
    let program = Program { layers, ..program.clone() };
    let first = program.layers.iter().find_map(|layer| match &layer.kind {
        LayerKind::Convolve { kernel, .. } => Some(kernel.tensors(&tracked).0),
        _ => None,
    });
    let x = Tensor::from_inner(x.clone().cast(DType::BF16));
    let of_logits = Tensor::from_inner(of_logits.clone());
    let gradient = || {
        let logits = program.run(x.clone()).cast(DType::F32);
        let gradients = (logits * of_logits.clone()).sum().backward();
        first
            .as_ref()
            .and_then(|weight| weight.grad(&gradients))
            .unwrap_or_else(|| x.clone().inner())
    };
    wait(gradient())?;
    let first_s = start.elapsed().as_secs_f64();
    let forward_ms = timed(|| program.run(x.clone()).inner())?;
    let gradient_ms = timed(gradient)?;
    let (way, step_ms, off) = ("layer by layer", None, None);
    Ok(Row { network: "", batch: 0, way, forward_ms, gradient_ms, step_ms, first_s, off })
}

const HEADER: [&str; 8] =
    ["network", "batch", "way", "forward ms", "with gradient ms", "with Adam ms", "first s", "off"];

fn cells(row: &Row) -> Vec<String> {
    let shown = |ms: Option<f64>| ms.map_or("–".into(), |ms| format!("{ms:.3}"));
    vec![
        row.network.into(),
        row.batch.to_string(),
        row.way.into(),
        shown(Some(row.forward_ms)),
        shown(Some(row.gradient_ms)),
        shown(row.step_ms),
        format!("{:.2}", row.first_s),
        row.off.map_or("–".into(), |off| format!("{off:.1e}")),
    ]
}
