//! Scaling studies.

use std::path::PathBuf;

use anyhow::{Result, bail};
use burn::tensor::DType;
use clap::{Args, ValueEnum};
use lithoburn_engine::Method;
use lithoburn_engine::study::{Kind, Study};
use lithoburn_pool::Chosen;

use crate::Verdict;
use crate::crew::devices;
use lithoburn_terminal::{go_on, say};

/// Measure how a network scales over devices: images per second, efficiency, latency, memory, bubbles; table, raw numbers and
/// charts.
#[derive(Args, Debug)]
pub struct ScalingArgs {
    /// Numbers of devices.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,2,4,8")]
    gpus: Vec<usize>,
    /// Devices, of which the first ones are used: all (every GPU), or names such as cuda:0,cuda:1,cpu.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "all")]
    devices: Vec<String>,
    /// Ways to share.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        value_enum,
        default_value = "data,pipeline,tensor"
    )]
    parallel: Vec<KindName>,
    /// Measure the scheduler alone, on devices that sleep: needs no GPU.
    #[arg(long)]
    simulate: bool,
    /// Whose network.
    #[arg(long, value_enum, default_value = "neural-ilt")]
    model: NetworkName,
    /// An encoder-decoder of this width, some fifty convolutions deep, with random weights instead, for all but data: at 8704 and f32 its
    /// weights are 147 GiB, more than an H200 holds.
    #[arg(long)]
    width: Option<usize>,
    /// Precision of the network.
    #[arg(long, value_enum, default_value = "bf16")]
    precision: Precision,
    /// Images in a batch.
    #[arg(long, value_name = "N", default_value_t = 16)]
    batch: usize,
    /// Side of an image, in pixels.
    #[arg(long, value_name = "PX", default_value_t = 256)]
    size: usize,
    /// Micro-batches of a pipeline.
    #[arg(long, value_name = "M", default_value_t = 16)]
    micro_batches: usize,
    /// About how long each measurement takes, in seconds.
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    seconds: f64,
    /// Price of a device and hour, for the price of 1000 images.
    #[arg(long, value_name = "PRICE")]
    price_per_hour: Option<f64>,
    /// Directory for README.md, raw.csv, findings.json, scaling.png and devices.png.
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Ways to share, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KindName {
    /// Tiles among replicas.
    Data,
    /// Layers.
    Pipeline,
    /// Channels.
    Tensor,
    /// Rows of an image.
    Spatial,
    /// Weights from host memory, on one device.
    Offload,
}

/// Networks, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NetworkName {
    /// The published U-Net.
    NeuralIlt,
    /// The lighter one.
    NeuralIltFast,
    /// GAN-OPC's generator.
    GanOpc,
}

/// Precisions, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Precision {
    /// 32 bits.
    F32,
    /// 16 bits with f32's range.
    Bf16,
    /// 16 bits.
    F16,
}

/// Runs the job.
///
/// # Errors
///
/// One that says what was wrong and what to do.
pub fn scaling(args: &ScalingArgs) -> Result<Verdict> {
    let study = study(args)?;
    for device in &study.devices {
        say(false, &format!("device   {} ({})", device.name, device.card));
    }
    let findings = study.run(&mut |line| {
        say(false, &format!("measuring {line}"));
        go_on()
    })?;
    say(false, &format!("\n{}", findings.markdown()));
    if let Some(out) = &args.out {
        findings.write(out)?;
        let files = "{README.md, raw.csv, findings.json, scaling.png, devices.png}";
        say(false, &format!("wrote {}/{files}", out.display()));
    }
    Ok(Verdict::Done)
}

fn study(args: &ScalingArgs) -> Result<Study> {
    if args.gpus.contains(&0) || args.batch == 0 || args.micro_batches == 0 {
        bail!("--gpus, --batch and --micro-batches must be 1 or more");
    }
    if !(args.seconds.is_finite() && args.seconds > 0.0) {
        bail!("--seconds must be more than 0, got {}", args.seconds);
    }
    if args.size == 0 || !args.size.is_multiple_of(32) {
        bail!("--size must be a multiple of 32, the networks' largest stride; got {}", args.size);
    }
    if args.width.is_some() && args.parallel.contains(&KindName::Data) && !args.simulate {
        bail!("--width is for one network over several devices: leave data out of --parallel");
    }
    let kind = |name: &KindName| match name {
        KindName::Data => Kind::Data,
        KindName::Pipeline => Kind::Pipeline,
        KindName::Tensor => Kind::Tensor,
        KindName::Spatial => Kind::Spatial,
        KindName::Offload => Kind::Offload,
    };
    let (devices, kinds): (Vec<Chosen>, Vec<Kind>) = match args.simulate {
        true => (Vec::new(), vec![Kind::Simulated]),
        false => (devices(&args.devices)?, args.parallel.iter().map(kind).collect()),
    };
    Ok(Study {
        devices,
        counts: args.gpus.clone(),
        kinds,
        method: match args.model {
            NetworkName::NeuralIlt => Method::NeuralIlt,
            NetworkName::NeuralIltFast => Method::NeuralIltFast,
            NetworkName::GanOpc => Method::GanOpc,
        },
        width: args.width,
        precision: match args.precision {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::BF16,
            Precision::F16 => DType::F16,
        },
        batch: args.batch,
        size: args.size,
        micro_batches: args.micro_batches,
        seconds: args.seconds,
        price_per_hour: args.price_per_hour,
    })
}
