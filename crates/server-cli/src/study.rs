//! Study: what each device brings to a server, and what limits it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use lithoburn_layout::write_whole;
use lithoburn_server::load::{Level, LoadError};
use lithoburn_server::study::{Results, Starter, Study};

use crate::load::{CargoArgs, Levels, TermArgs, levels, line, stop_on_ctrl_c};
use lithoburn_terminal::Verdict;

/// What is asked if no model is named.
const MODEL: &str = "neural-ilt-fast";

/// Start a server with so many devices, load it at every concurrency, and report what each device brings, what limits it, what
/// it costs, and which configuration to take.
#[derive(Args, Debug)]
pub(crate) struct StudyArgs {
    /// Numbers of devices: a list such as 1,2,4, or 1..8.
    #[arg(long, value_name = "LIST", default_value = "1,2,4,8", value_parser = levels)]
    gpus: Levels,
    /// Requests in flight: a list such as 1,2,4, or 1..256 for every power of two between.
    #[arg(long, value_name = "LIST", default_value = "1..256", value_parser = levels)]
    concurrency: Levels,
    /// Devices that sleep instead: ms of a batch and of each item in it. Needs no GPU; what it finds is the server's own share.
    #[arg(long, value_name = "BASE,ITEM", num_args = 0..=1, default_missing_value = "80,4")]
    sleeping: Option<String>,
    /// Most items in a batch of devices that sleep.
    #[arg(long, value_name = "N", default_value_t = 8)]
    most_batch: usize,
    /// Devices, of which the first ones are used, if not cuda:0,cuda:1,….
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    devices: Vec<String>,
    /// Model that is asked [default: neural-ilt-fast].
    #[arg(long, short)]
    model: Option<String>,
    /// Price of an hour with each number of devices, or one price for each device.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    price_per_hour: Vec<f64>,
    /// Longest latency that 99 of 100 requests may have at saturation, in ms.
    #[arg(long, value_name = "MS")]
    p99_limit: Option<f64>,
    /// Command that starts a server, instead of lithoburn serve: {devices} becomes their number, {names} their names. When ready it
    /// prints {"http": "HOST:PORT", "metrics": "HOST:PORT"}; it ends when its standard input does, or at SIGTERM.
    #[arg(long, value_name = "COMMAND")]
    server: Option<String>,
    /// What requests carry.
    #[command(flatten)]
    cargo: CargoArgs,
    /// How long is measured.
    #[command(flatten)]
    terms: TermArgs,
    /// Longest that a server may take until it is ready, in s: kernels are compiled then.
    #[arg(long, value_name = "S", default_value_t = 900.0)]
    patience: f64,
    /// Directory for report.md, raw.csv, study.json, charts and the servers' metrics.
    #[arg(long, short, value_name = "DIR", default_value = "study")]
    out: PathBuf,
}

/// Runs the job.
///
/// # Errors
///
/// One that says what was wrong and what to do.
pub(crate) fn study(args: &StudyArgs) -> Result<Verdict> {
    let scratch = Scratch::new(&args.out)?;
    let study = prepare(args, &scratch.0)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let stop = stop_on_ctrl_c();
    let told = &mut |results: &Results, level: Option<&Level>| told(results, level, &args.out);
    let results = runtime.block_on(study.run(&stop, told))?;
    lithoburn_terminal::say(
        false,
        &format!("\n{}\nwrote {}/report.md", results.markdown(), args.out.display()),
    );
    Ok(if stop.asked() { Verdict::NotMet } else { Verdict::Done })
}

/// A folder for what servers keep while a study runs.
struct Scratch(PathBuf);

impl Scratch {
    fn new(out: &Path) -> Result<Self> {
        let folder = out.join(format!(".servers-{}", std::process::id()));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder.canonicalize()?))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is of no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Says what a level found; what is known when a configuration is over is on disk.
fn told(results: &Results, level: Option<&Level>, out: &Path) -> Result<(), LoadError> {
    if let Some(level) = level {
        lithoburn_terminal::say(false, &line(level));
        return Ok(());
    }
    if let Some(last) = results.configurations.last() {
        lithoburn_terminal::say(false, &format!("{} devices are done", last.devices));
    }
    let failed = |error: &dyn std::fmt::Display| LoadError::File {
        path: out.display().to_string(),
        problem: error.to_string(),
    };
    std::fs::create_dir_all(out).map_err(|e| failed(&e))?;
    let files = results.files()?;
    let mut files = files.iter();
    files.try_for_each(|(name, bytes)| write_whole(&out.join(name), bytes).map_err(|e| failed(&e)))
}

fn prepare(args: &StudyArgs, scratch: &Path) -> Result<Study> {
    let patience = Duration::try_from_secs_f64(args.patience);
    let patience =
        patience.with_context(|| format!("--patience {}: expected seconds", args.patience))?;
    let (command, what, model) = server(args, scratch)?;
    let most = args.gpus.0.iter().copied().max().unwrap_or(0);
    let names = match args.devices.is_empty() {
        true => (0..most).map(|index| format!("cuda:{index}")).collect(),
        false => args.devices.clone(),
    };
    if names.len() < most {
        bail!("--gpus asks for {most} devices, --devices names {}", names.len());
    }
    let shown = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    Ok(Study {
        starter: Starter { command, names, what, shown: format!("lithoburn {shown}"), patience },
        devices: args.gpus.0.clone(),
        model: args.model.clone().unwrap_or(model),
        cargo: args.cargo.cargo()?,
        concurrency: args.concurrency.0.clone(),
        terms: args.terms.terms()?,
        prices: prices(&args.price_per_hour, &args.gpus.0),
        limit_ms: args.p99_limit,
    })
}

/// One price is each device's; several are those of the configurations.
fn prices(given: &[f64], devices: &[usize]) -> Option<Vec<f64>> {
    match given {
        [] => None,
        [each] => Some(devices.iter().map(|&n| each * n as f64).collect()),
        several => Some(several.to_vec()),
    }
}

/// The command that starts a server, what its devices are, and the model that is asked if none is named.
fn server(args: &StudyArgs, scratch: &Path) -> Result<(Vec<String>, String, String)> {
    if let Some(command) = &args.server {
        let command: Vec<String> = command.split_whitespace().map(String::from).collect();
        if command.is_empty() {
            bail!(
                "--server is empty; expected a command such as \"my-server --devices {{devices}}\""
            );
        }
        let model =
            args.model.clone().context("--server needs --model, the model that is asked")?;
        let what = format!("devices of {}", command[0]);
        return Ok((command, what, model));
    }
    let own = std::env::current_exe().context("this program's own path is not known")?;
    let data = scratch.display().to_string();
    let mut command = vec![own.display().to_string(), "serve".into(), "--data".into(), data];
    for port in ["--http-port", "--grpc-port", "--metrics-port"] {
        command.extend([port.to_string(), "0".into()]);
    }
    let mut more = |arguments: &[&str]| command.extend(arguments.iter().map(ToString::to_string));
    let Some(times) = &args.sleeping else {
        let model = args.model.clone().unwrap_or_else(|| MODEL.into());
        more(&["--devices", "{names}", "--models", &model]);
        return Ok((command, "cards".into(), model));
    };
    let (base, item) = times.split_once(',').unwrap_or((times, "0"));
    for part in [base, item] {
        let number = part.trim().parse::<f64>().ok().filter(|ms| ms.is_finite() && *ms >= 0.0);
        number.with_context(|| {
            format!("--sleeping {times}: {part:?} is no time; expected ms, such as 80,4")
        })?;
    }
    let file = scratch.join("serve.toml");
    write_whole(&file, format!("[queue]\nsleeping_batch = {}\n", args.most_batch).as_bytes())?;
    let (config, times) = (file.display().to_string(), format!("{},{}", base.trim(), item.trim()));
    more(&["--config", &config, "--devices", "sleeping:{devices}", "--sleeping", &times]);
    let batch = args.most_batch;
    let what = format!("devices that sleep {base} ms and {item} ms an item, {batch} in a batch");
    Ok((command, what, "sleeping".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_each_configurations_or_each_devices() {
        assert_eq!(prices(&[], &[1, 2]), None);
        assert_eq!(prices(&[1.5], &[1, 2, 4]), Some(vec![1.5, 3.0, 6.0]));
        assert_eq!(prices(&[1.5, 2.5], &[1, 2]), Some(vec![1.5, 2.5]));
    }
}
