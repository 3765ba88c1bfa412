//! Networks as ONNX files.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use burn::tensor::{DType, Device, Tensor, TensorData};
use clap::{Args, ValueEnum};
use lithoburn_engine::{Method, load_network};
use lithoburn_exchange::onnx;
use lithoburn_layout::generate::ClipRules;
use lithoburn_layout::write_whole;
use lithoburn_models::Parallel;
use lithoburn_pool::DeviceName;
use lithoburn_train::field_clip;
use safetensors::tensor::{Dtype, TensorView};

use crate::Verdict;
use lithoburn_terminal::say;

/// Side of the field that a network is written for, unless told otherwise, in nm.
const FIELD_NM: f64 = 2048.0;

/// A method with a network, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NetworkName {
    /// Neural-ILT's U-Net.
    NeuralIlt,
    /// The same with a lighter network.
    NeuralIltFast,
    /// GAN-OPC's generator.
    GanOpc,
}

impl From<NetworkName> for Method {
    fn from(name: NetworkName) -> Self {
        match name {
            NetworkName::NeuralIlt => Self::NeuralIlt,
            NetworkName::NeuralIltFast => Self::NeuralIltFast,
            NetworkName::GanOpc => Self::GanOpc,
        }
    }
}

/// Write a network as an ONNX file: target in, mask out, f32, batches of any number.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,
    /// Which network.
    #[arg(long, short, value_enum, default_value = "neural-ilt-fast")]
    model: NetworkName,
    /// Directory of weights instead of the built-in ones: config.json, model.safetensors.
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,
    /// Side of the target in the network's pixels [default: a field of 2048 nm].
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    /// Also write N generated targets and this program's masks for them beside FILE, as .samples.safetensors:
    /// other programs can be checked by them (examples/check_onnx.py).
    #[arg(long, value_name = "N", default_value_t = 0)]
    samples: u64,
    /// Seed of the generated targets.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the job.
///
/// # Errors
///
/// If the weights do not load, the network cannot take the size, or a file cannot be written.
pub fn export(args: &ExportArgs) -> Result<Verdict> {
    let device = lithoburn_pool::choose(DeviceName::Cpu)?.device;
    let (network, hash) = load_network(args.model.into(), args.weights.as_deref(), &device)?;
    let (program, pixel_nm) = (network.program(), network.head().pixel_nm);
    let size = args.size.unwrap_or((FIELD_NM / pixel_nm).round() as usize);
    let bytes = onnx::export(&program, size)?;
    let samples = match args.samples {
        0 => None,
        count => Some(samples(network.as_ref(), size, args.seed, count, &device)?),
    };
    write_whole(&args.onnx, &bytes)?;
    let (name, weights) = (&program.architecture, &hash.get(..12).unwrap_or("–"));
    let mask = size * network.head().upsample;
    say(false, &format!("network  {name}, weights {weights}, in {}", args.onnx.display()));
    say(false, &format!("target   [batch, 1, {size}, {size}], pixels of {pixel_nm} nm"));
    let mask_nm = network.mask_pixel_nm();
    say(false, &format!("mask     [batch, 1, {mask}, {mask}], pixels of {mask_nm} nm"));
    if let Some(samples) = samples {
        let path = args.onnx.with_extension("samples.safetensors");
        write_whole(&path, &samples)?;
        say(
            false,
            &format!("samples  {} from seed {}, in {}", args.samples, args.seed, path.display()),
        );
    }
    Ok(Verdict::Done)
}

/// Generated targets and the network's masks for them: a safetensors file of `target` and `mask`.
fn samples(
    network: &dyn Parallel,
    size: usize,
    seed: u64,
    count: u64,
    device: &Device,
) -> Result<Vec<u8>> {
    let (pixel_nm, side) = (network.head().pixel_nm, size * network.head().upsample);
    let rules = fitting(size, pixel_nm)?;
    let (mut targets, mut masks) = (Vec::new(), Vec::new());
    for index in 0..count {
        let target = field_clip(&rules, seed, index, size as f64 * pixel_nm, pixel_nm).shares();
        let data = TensorData::new(target.clone(), [1, size, size]);
        let mask = network.forward(Tensor::from_data(data, device), DType::F32);
        targets.extend(target);
        masks.extend(mask.try_into_vec_as::<f32>().context("cannot read a mask")?);
    }
    let bytes = |values: Vec<f32>| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let (targets, masks) = (bytes(targets), bytes(masks));
    let view = |side: usize, bytes| {
        TensorView::new(Dtype::F32, vec![count as usize, 1, side, side], bytes)
    };
    let tensors = [("target", view(size, &targets)?), ("mask", view(side, &masks)?)];
    Ok(safetensors::serialize(tensors, None)?)
}

/// The default rules with windows that fit the field.
fn fitting(size: usize, pixel_nm: f64) -> Result<ClipRules> {
    let (rules, field) = (ClipRules::default(), size as f64 * pixel_nm);
    let [least, most] = rules.window_nm;
    if field < f64::from(least) {
        bail!("--samples needs targets of at least {least} nm; --size {size} is {field} nm");
    }
    Ok(ClipRules { window_nm: [least, most.min(field as u32)], ..rules })
}
