//! Training of Surrogate-ILT's forward model from the command line.

use std::io::Write;

use anyhow::{Context, Result, bail};
use lithoburn_train::{SurrogateRecord, SurrogateTraining, train_surrogate};

use super::TrainArgs;
use crate::Verdict;
use lithoburn_terminal::{go_on, say};

/// The configuration that the options describe.
fn config(args: &TrainArgs) -> Result<SurrogateTraining> {
    let foreign = [
        ("--width", args.width.is_some()),
        ("--minutes", args.minutes.is_some()),
        ("--patience", args.patience.is_some()),
        ("--no-adversary", args.no_adversary),
        ("--f32", args.f32),
        ("--bf16", args.bf16),
        ("--layouts", args.layouts.is_some()),
    ];
    if let Some((option, _)) = foreign.iter().find(|(_, given)| *given) {
        bail!("{option} is not for surrogate-ilt, which is trained by steps and in f32");
    }
    let mut config = match &args.config {
        Some(path) => {
            let bytes =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is no training configuration", path.display()))?
        }
        None => SurrogateTraining::default(),
    };
    let process = args.kernels.process()?;
    if process.diffusion_nm != 0.0 {
        bail!("a surrogate is trained for a resist without --diffusion, or with --bake");
    }
    config.window = process.window;
    config.bake = args.bake.load()?.or(config.bake);
    config.batch = args.batch.unwrap_or(config.batch);
    config.steps = args.steps.unwrap_or(config.steps);
    config.learning_rate = args.learning_rate.unwrap_or(config.learning_rate);
    config.seed = args.seed.unwrap_or(config.seed);
    Ok(config)
}

/// Runs the job.
pub(super) fn train(args: &TrainArgs) -> Result<Verdict> {
    let config = config(args)?;
    let (kernels, name) = args.kernels.load()?;
    let _folder = lithoburn_engine::Folder::claim(&args.out)?;
    let [name_of_device] = args.devices[..] else {
        bail!("surrogate-ilt is trained on one device, got {}", args.devices.len());
    };
    let device = lithoburn_pool::choose(name_of_device)?;
    say(false, &format!("device   {} ({}): {}", device.name, device.card, device.reason));
    say(false, &format!("optics   {name}; first come masks and their true images"));
    let path = args.out.join("log.jsonl");
    let mut log =
        std::fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut show = |record: &SurrogateRecord| {
        let line = serde_json::to_string(record).unwrap_or_default();
        let written = writeln!(log, "{line}").is_ok();
        let SurrogateRecord { step, seconds, mse, .. } = record;
        say(false, &format!("step {step:6}  {seconds:6.1} s  mean square error {mse:.2e}"));
        written && go_on()
    };
    let trained = train_surrogate(&config, &kernels, &device.device, &args.out, &mut show)?;
    let [masks, images, steps] = trained.seconds;
    say(
        false,
        &format!(
            "{} parameters, {:.0} kB; mean square error {:.2e} held out, {:.2e} on optimised masks (worst {:.2e}); \
             {masks:.1} s masks, {images:.1} s true images, {steps:.1} s steps; weights {} in {}",
            trained.parameters,
            trained.bytes as f64 / 1000.0,
            trained.held_out_mse,
            trained.optimized_mse,
            trained.worst_optimized_mse,
            trained.weights_sha256.get(..12).unwrap_or("–"),
            args.out.display()
        ),
    );
    Ok(Verdict::Done)
}
