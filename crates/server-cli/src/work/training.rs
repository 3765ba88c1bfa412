//! A training run in a job's folder: the program's own loop, whose state goes on after any kill.

use std::path::Path;

use anyhow::{Context, Result, bail};
use lithoburn_engine::{Folder, default_kernels};
use lithoburn_layout::write_whole;
use lithoburn_pool::Chosen;
use lithoburn_server::jobs::Training;
use lithoburn_server::layouts::Progress;
use lithoburn_train::{End, News, TrainConfig, Trained};

/// Trains, and leaves weights, configuration and report in `out`; none if it was stopped.
pub(super) fn train(
    training: &Training,
    devices: &[Chosen],
    out: &Path,
    stop: &dyn Fn() -> bool,
    say: &mut dyn FnMut(Progress),
) -> Result<Option<Trained>> {
    let config = config(training)?;
    let _folder = Folder::claim(out)?;
    let devices: Vec<_> = devices.iter().map(|chosen| chosen.device.clone()).collect();
    let total = config.steps;
    let mut watch = |news: News| {
        let step = match news {
            News::Resumed(records) => records.last().map(|record| record.step),
            News::Look(record, _) => Some(record.step),
            News::Labels(..) | News::LayerByLayer(_) | News::ThroughHost(_) => None,
        };
        if let Some(done) = step {
            say(Progress { phase: "train".into(), done, total });
        }
        !stop()
    };
    let trained = lithoburn_train::train(&config, &default_kernels()?, &devices, out, &mut watch)?;
    if matches!(trained.end, End::Stopped) {
        return Ok(None);
    }
    let report = serde_json::to_vec_pretty(&trained).context("the report has no JSON")?;
    write_whole(&out.join("report.json"), &report)?;
    Ok(Some(trained))
}

fn config(training: &Training) -> Result<TrainConfig> {
    let mut config = match training.model.as_deref() {
        None | Some("neural-ilt-fast") => TrainConfig::neural_ilt_fast(),
        Some("neural-ilt") => TrainConfig::default(),
        Some("gan-opc") => TrainConfig::gan_opc(),
        Some(other) => bail!("no network {other:?} is trained here"),
    };
    config.steps = training.steps.unwrap_or(config.steps);
    config.minutes = training.minutes.or(config.minutes);
    if training.minutes.is_some() && training.steps.is_none() {
        // The clock ends it.
        config.steps = usize::MAX >> 16;
    }
    config.batch = training.batch.unwrap_or(config.batch);
    config.learning_rate = training.learning_rate.unwrap_or(config.learning_rate);
    config.seed = training.seed.unwrap_or(config.seed);
    config.patience = training.patience.or(config.patience);
    config.validate_every = training.validate_every.unwrap_or(config.validate_every);
    config.validation_clips = training.validation_clips.unwrap_or(config.validation_clips);
    Ok(config)
}
