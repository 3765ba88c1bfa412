//! Training from the command line.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use lithoburn_layout::write_whole;
use lithoburn_pictures::PictureError;
use lithoburn_pictures::chart::{self, Chart, Series};
use lithoburn_pictures::samples::{self, Images};
use lithoburn_pool::{Chosen, DeviceName};
use lithoburn_train::{End, Network, News, Record, Sample, TrainConfig, Trained, train as fit};

use crate::Verdict;
use crate::options::{BakeOptions, KernelOptions};
use lithoburn_terminal::{go_on, say};

mod surrogate;

/// What can be trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Pupil {
    /// The published U-Net.
    NeuralIlt,
    /// Neural-ILT with a backbone that never computes at full resolution.
    NeuralIltFast,
    /// A generator, first through the simulator, then against a discriminator.
    GanOpc,
    /// A forward model of the given optics and resist, for Surrogate-ILT.
    SurrogateIlt,
}

/// Train a network through the simulator, on generated clips. No data set is needed. The same command goes
/// on with a run that was stopped or killed.
#[derive(Args, Debug)]
pub struct TrainArgs {
    /// Directory for config.json, model.safetensors, training.json, log.jsonl, loss.png, report.json and
    /// samples/.
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,
    /// What to train [default: neural-ilt-fast, or what the --config is of].
    #[arg(long, short, value_enum)]
    model: Option<Pupil>,
    /// A JSON file with the whole configuration (training.json of a former run); options override it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Devices that share each batch, such as cuda:0,cuda:1: auto, cuda, cuda:N, vulkan, vulkan:N, wgpu, gl
    /// or cpu.
    #[arg(
        long,
        short,
        visible_alias = "device",
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "auto"
    )]
    devices: Vec<DeviceName>,
    #[command(flatten)]
    kernels: KernelOptions,
    #[command(flatten)]
    bake: BakeOptions,
    /// Channels of the U-Net at full resolution; 64 in the paper.
    #[arg(long)]
    width: Option<usize>,
    /// Clips per step, on all devices together.
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
    /// Validations without a better one after which to stop.
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
    /// Leave out the adversarial phase: the simulator teaches to the end.
    #[arg(long)]
    no_adversary: bool,
    /// A folder of layouts (.glp, .gds, .oas, .png with pixels of 1 nm) to train on instead of generated clips; every eighth
    /// is kept for validation.
    #[arg(long, value_name = "DIR")]
    layouts: Option<PathBuf>,
    /// Seed of clips and weights.
    #[arg(long)]
    seed: Option<u64>,
    /// Compute the network in f32; neural-ilt is trained in bf16 otherwise.
    #[arg(long)]
    f32: bool,
    /// Compute the network in bf16, which a Hopper card does as one operation; neural-ilt-fast and gan-opc are trained in f32 otherwise.
    #[arg(long, conflicts_with = "f32")]
    bf16: bool,
}

impl TrainArgs {
    fn config(&self) -> Result<TrainConfig> {
        let mut config = match (&self.config, self.model.unwrap_or(Pupil::NeuralIltFast)) {
            (Some(_), _) if self.model.is_some() => {
                anyhow::bail!("--config says which network to train: leave out --model")
            }
            (Some(path), _) => {
                let bytes = std::fs::read(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                serde_json::from_slice(&bytes)
                    .with_context(|| format!("{} is no training configuration", path.display()))?
            }
            (None, Pupil::NeuralIlt) => TrainConfig::default(),
            (None, Pupil::NeuralIltFast) => TrainConfig::neural_ilt_fast(),
            (None, Pupil::GanOpc) => TrainConfig::gan_opc(),
            (None, Pupil::SurrogateIlt) => unreachable!("a surrogate has its own configuration"),
        };
        match (&mut config.network, self.width) {
            (_, None) => (),
            (Network::NeuralIlt(network), Some(width)) if network.fast.is_none() => {
                network.width = width;
            }
            _ => anyhow::bail!("--width is for neural-ilt: other networks take --config FILE"),
        }
        config.batch = self.batch.unwrap_or(config.batch);
        config.steps = self.steps.unwrap_or(config.steps);
        config.minutes = self.minutes.or(config.minutes);
        if self.minutes.is_some() && self.steps.is_none() {
            config.steps = usize::MAX >> 16;
        }
        config.learning_rate = self.learning_rate.unwrap_or(config.learning_rate);
        config.seed = self.seed.unwrap_or(config.seed);
        config.patience = self.patience.or(config.patience);
        config.layouts = self.layouts.clone().or(config.layouts);
        config.bf16 = (config.bf16 || self.bf16) && !self.f32;
        let process = self.kernels.process()?;
        if process.diffusion_nm != 0.0 {
            anyhow::bail!("networks are trained without --diffusion: leave it out");
        }
        if self.kernels.corners.is_some() {
            config.loss.window = process.window;
        }
        if self.no_adversary {
            config.adversarial = None;
        }
        Ok(config)
    }
}

/// Runs the job.
///
/// # Errors
///
/// One that says what was wrong and what to do.
pub fn train(args: &TrainArgs) -> Result<Verdict> {
    if args.model == Some(Pupil::SurrogateIlt) {
        return surrogate::train(args);
    }
    if args.bake.bake.is_some() {
        anyhow::bail!(
            "--bake is for surrogate-ilt: networks are trained with the threshold resist"
        );
    }
    let config = args.config()?;
    let (kernels, name) = args.kernels.load()?;
    let _folder = lithoburn_engine::Folder::claim(&args.out)?;
    let chosen: Result<Vec<Chosen>, _> =
        args.devices.iter().map(|&name| lithoburn_pool::choose(name)).collect();
    let chosen = chosen?;
    for device in &chosen {
        say(false, &format!("device   {} ({}): {}", device.name, device.card, device.reason));
    }
    say(false, &format!("optics   {name}; the first steps compile kernels and are slow"));
    let devices: Vec<_> = chosen.iter().map(|c| c.device.clone()).collect();
    let mut diary = Diary::new(&args.out);
    let mut problem = None;
    let mut watch = |news: News| match diary.note(news) {
        Ok(()) => go_on(),
        Err(error) => {
            problem = Some(error);
            false
        }
    };
    let trained = fit(&config, &kernels, &devices, &args.out, &mut watch)?;
    if let Some(error) = problem {
        return Err(error);
    }
    let report = serde_json::to_vec_pretty(&trained)?;
    write_whole(&args.out.join("report.json"), &report)?;
    say(false, &summary(&trained, &args.out));
    Ok(Verdict::Done)
}

fn summary(trained: &Trained, out: &Path) -> String {
    let out = out.display();
    match trained.end {
        End::Stopped => format!("stopped; the same command goes on from {out}"),
        End::Done | End::EarlyStop => format!(
            "best validation, after {} steps: L2 {:.0} + PV band {:.0} nm² per clip; weights {} in {out}",
            trained.best_step,
            trained.best_l2_nm2,
            trained.best_pvb_nm2,
            trained.hash.get(..12).unwrap_or("–"),
        ),
    }
}

/// Examples between two lines of the terminal.
const LABELS_A_LINE: usize = 512;

/// The run's log, curve and pictures.
struct Diary {
    out: PathBuf,
    /// Begun with its first line: a run that is refused leaves a former one's.
    log: Option<File>,
    records: Vec<Record>,
}

impl Diary {
    fn new(out: &Path) -> Self {
        Self { out: out.into(), log: None, records: Vec::new() }
    }

    fn note(&mut self, news: News) -> Result<()> {
        match news {
            News::Resumed(records) => {
                let steps = records.last().map_or(0, |r| r.step);
                say(false, &format!("resumed after {steps} steps"));
                records.iter().try_for_each(|record| self.add(record))
            }
            News::LayerByLayer(why) => {
                say(false, &format!("trained layer by layer: {why}"));
                Ok(())
            }
            News::ThroughHost(why) => {
                say(false, &format!("gradients travel through the host: {why}"));
                Ok(())
            }
            News::Labels(done, total) => {
                // A line for each of some hundred would be too many.
                if done % LABELS_A_LINE == 0 || done == total {
                    say(false, &format!("examples by the ILT solver: {done} of {total}"));
                }
                Ok(())
            }
            News::Look(record, samples) => {
                self.add(record)?;
                say(false, &describe(record));
                if record.l2_nm2.is_some() {
                    write_whole(&self.out.join("loss.png"), &self.curve()?)?;
                }
                self.draw(record.step, samples)
            }
        }
    }

    fn add(&mut self, record: &Record) -> Result<()> {
        self.records.push(*record);
        let (line, path) = (serde_json::to_string(record)?, self.out.join("log.jsonl"));
        let open = |log: Option<File>| log.map_or_else(|| File::create(&path), Ok);
        let log = open(self.log.take()).and_then(|mut log| writeln!(log, "{line}").map(|()| log));
        self.log = Some(log.with_context(|| format!("cannot write {}", path.display()))?);
        Ok(())
    }

    /// What the network makes of some clips, if there are some.
    fn draw(&self, step: usize, samples: &[Sample]) -> Result<()> {
        if samples.is_empty() {
            return Ok(());
        }
        let rows: Vec<Images> = samples
            .iter()
            .map(|s| Images { size: s.size, target: &s.target, mask: &s.mask, print: &s.print })
            .collect();
        let folder = self.out.join("samples");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let png = samples::draw(&format!("validation clips after {step} steps"), &rows)?;
        Ok(write_whole(&folder.join(format!("step-{step:06}.png")), &png)?)
    }

    /// The loss and the validations over the steps.
    fn curve(&self) -> Result<Vec<u8>, PictureError> {
        let series = |name: &str, value: fn(&Record) -> Option<f64>| {
            let point = |r: &Record| Some([r.step as f64, value(r)?]);
            let points = self.records.iter().filter_map(point).collect();
            Series { name: name.into(), points, labels: Vec::new(), joined: true }
        };
        let chart = |title: &str, series: Vec<Series>| Chart {
            title: title.into(),
            x: "steps".into(),
            y: "nm² per clip".into(),
            series,
        };
        // The first looks are far above the rest, and would flatten it.
        let late = |r: &Record| (r.step >= 50).then_some(r.loss_nm2);
        chart::draw(&[
            chart("Training loss", vec![series("soft error at three corners", late)]),
            chart(
                "Validation, hard masks",
                vec![series("L2", |r| r.l2_nm2), series("PV band", |r| r.pvb_nm2)],
            ),
        ])
    }
}

fn describe(record: &Record) -> String {
    let validation = match (record.l2_nm2, record.pvb_nm2) {
        (Some(l2), Some(pvb)) => format!("  validation L2 {l2:.0} PV band {pvb:.0} nm²"),
        _ => String::new(),
    };
    let told =
        record.told_apart.map_or(String::new(), |t| format!("  told apart {:.0} %", t * 100.0));
    format!(
        "step {:6}  {:6.1} s  loss {:.0} nm²{told}{validation}",
        record.step, record.seconds, record.loss_nm2
    )
}
