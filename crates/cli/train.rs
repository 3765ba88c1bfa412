//! Training from the command line.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use lithoburn_train::{Record, TrainConfig, train_neural_ilt};

use crate::Verdict;
use crate::options::{BakeOptions, DeviceOptions, KernelOptions};
use crate::terminal::{go_on, say};

mod surrogate;

/// What is trained, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Trainee {
    /// A network that proposes masks.
    NeuralIlt,
    /// A forward model of the given optics and resist.
    SurrogateIlt,
}

/// Train Neural-ILT through the simulator, on generated clips. No data set, no labels.
#[derive(Args, Debug)]
pub struct TrainArgs {
    /// What is trained.
    #[arg(long, value_enum, default_value = "neural-ilt")]
    model: Trainee,
    /// Directory for config.json, model.safetensors, training.json and log.jsonl.
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,
    /// A JSON file with the whole configuration (training.json of a former run); options override it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceOptions,
    #[command(flatten)]
    kernels: KernelOptions,
    #[command(flatten)]
    bake: BakeOptions,
    /// Channels of the U-Net at full resolution; 64 in the paper.
    #[arg(long)]
    width: Option<usize>,
    /// Clips per step.
    #[arg(long)]
    batch: Option<usize>,
    /// Steps of Adam.
    #[arg(long)]
    steps: Option<usize>,
    /// Minutes the run may take, compiling included; the learning rate then follows the clock.
    #[arg(long)]
    minutes: Option<f64>,
    /// Step size of Adam.
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Seed of clips and weights.
    #[arg(long)]
    seed: Option<u64>,
    /// Compute the network in f32 instead of bf16.
    #[arg(long)]
    f32: bool,
}

impl TrainArgs {
    fn config(&self) -> Result<TrainConfig> {
        let mut config = match &self.config {
            Some(path) => {
                let bytes = std::fs::read(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                serde_json::from_slice(&bytes)
                    .with_context(|| format!("{} is no training configuration", path.display()))?
            }
            None => TrainConfig::default(),
        };
        config.network.width = self.width.unwrap_or(config.network.width);
        config.batch = self.batch.unwrap_or(config.batch);
        config.steps = self.steps.unwrap_or(config.steps);
        config.minutes = self.minutes.or(config.minutes);
        if self.minutes.is_some() && self.steps.is_none() {
            config.steps = usize::MAX >> 16;
        }
        config.learning_rate = self.learning_rate.unwrap_or(config.learning_rate);
        config.seed = self.seed.unwrap_or(config.seed);
        config.bf16 &= !self.f32;
        Ok(config)
    }
}

/// Runs the job.
///
/// # Errors
///
/// One that says what was wrong and what to do.
pub fn train(args: &TrainArgs) -> Result<Verdict> {
    if args.model == Trainee::SurrogateIlt {
        return surrogate::train(args);
    }
    let config = args.config()?;
    let (kernels, name) = args.kernels.load()?;
    lithoburn_engine::probe_directory(&args.out)?;
    let device = args.device.choose()?;
    say(false, &format!("device   {} ({}): {}", device.name, device.card, device.reason));
    say(false, &format!("optics   {name}; the first steps compile kernels and are slow"));
    let path = args.out.join("log.jsonl");
    let mut log =
        std::fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut show = |record: &Record| {
        let line = serde_json::to_string(record).unwrap_or_default();
        let written = writeln!(log, "{line}").is_ok();
        say(false, &describe(record));
        written && go_on()
    };
    let trained = train_neural_ilt(&config, &kernels, &device.device, &args.out, &mut show)?;
    say(
        false,
        &format!(
            "best validation: L2 + PV band {:.0} nm² per clip; weights {} in {}",
            trained.best_nm2,
            &trained.hash.get(..12).unwrap_or("–"),
            args.out.display()
        ),
    );
    Ok(Verdict::Done)
}

fn describe(record: &Record) -> String {
    let validation = match (record.l2_nm2, record.pvb_nm2) {
        (Some(l2), Some(pvb)) => format!("  validation L2 {l2:.0} PV band {pvb:.0} nm²"),
        _ => String::new(),
    };
    format!(
        "step {:6}  {:6.1} s  loss {:.0} nm²{validation}",
        record.step, record.seconds, record.loss_nm2
    )
}
