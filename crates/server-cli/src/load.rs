//! Load: how a server does under so many requests at once, or so many a second.

mod images;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use lithoburn_layout::write_whole;
use lithoburn_server::load::{
    Address, Arrivals, Cargo, Findings, Level, Load, LoadError, Offered, Source, Stop, Target,
    Terms, watch,
};

use images::Fields;
use lithoburn_terminal::Verdict;

/// Load a server of the Open Inference Protocol: throughput, latencies with intervals, and where the time goes.
#[derive(Args, Debug)]
pub(crate) struct LoadArgs {
    /// The server's HTTP port.
    #[arg(long, value_name = "URL", default_value = "http://localhost:8000")]
    url: String,
    /// The server's gRPC port: requests go there, and not over HTTP.
    #[arg(long, value_name = "URL")]
    grpc_url: Option<String>,
    /// Model that is asked; may be left out if the server has one only.
    #[arg(long, short)]
    model: Option<String>,
    /// Its version; the server's choice without one.
    #[arg(long, value_name = "V")]
    model_version: Option<String>,
    /// Requests in flight, one level each: a list such as 1,2,4, or 1..256 for every power of two between.
    #[arg(long, value_name = "LIST", default_value = "1,2,4,8,16,32,64", value_parser = levels)]
    concurrency: Levels,
    /// Requests a second instead, one level each: they come by a schedule, whatever becomes of them.
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "concurrency")]
    rate: Vec<f64>,
    /// How requests of a schedule arrive.
    #[arg(long, value_enum, default_value = "poisson")]
    arrivals: ArrivalName,
    /// What requests carry.
    #[command(flatten)]
    cargo: CargoArgs,
    /// How long is measured.
    #[command(flatten)]
    terms: TermArgs,
    /// The server's page of metrics; without it, where the server says, port 8002, and the HTTP port are tried.
    #[arg(long, value_name = "URL")]
    metrics_url: Option<String>,
    /// A file with the token that the server asks for, in its first line.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Directory for load.csv (perf_analyzer's columns, and more), load.json and load.png.
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What requests carry.
#[derive(Args, Clone, Debug)]
pub(crate) struct CargoArgs {
    /// Items in a request.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) batch: usize,
    /// Side of an image where the model leaves it free, in px: one number, or HEIGHTxWIDTH.
    #[arg(long, value_name = "PX", default_value = "256", value_parser = sides)]
    pub(crate) size: Sides,
    /// Datatype of inputs instead of the model's own: FP32, FP16, BF16, UINT8, BOOL, or BYTES (a bit a pixel).
    #[arg(long, value_name = "TYPE")]
    pub(crate) datatype: Option<String>,
    /// Different requests that are sent in turn.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) different: usize,
    /// Seed of the random targets.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Files to send instead: raw little-endian FP32 pixels, one image each, or layouts, cut into fields side by side.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) data: Vec<PathBuf>,
    /// Side of a pixel of such layouts, in nm.
    #[arg(long, value_name = "NM", default_value_t = 2.0)]
    pub(crate) pixel: f64,
}

/// How long is measured.
#[derive(Args, Clone, Debug)]
pub(crate) struct TermArgs {
    /// Time before anything counts, in s.
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub(crate) warm_up: f64,
    /// Length of a window, in s.
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    pub(crate) window: f64,
    /// Windows of a level at most; it ends before if three in a row agree.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) most_windows: usize,
    /// By what share of the least the last windows' rates and mean latencies may differ.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub(crate) stability: f64,
    /// Longest that a request may take, in s.
    #[arg(long, value_name = "S", default_value_t = 60.0)]
    pub(crate) timeout: f64,
    /// Most requests of a schedule in flight; what arrives then waits, and its latency grows.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) max_in_flight: usize,
}

/// Numbers of a list.
#[derive(Clone, Debug)]
pub(crate) struct Levels(pub(crate) Vec<usize>);

/// Height and width, in px.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sides(pub(crate) [usize; 2]);

/// How requests arrive, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ArrivalName {
    /// At random, independently of each other.
    Poisson,
    /// At equal distances.
    Constant,
}

/// Reads `1,2,4` or `1..256`.
pub(crate) fn levels(text: &str) -> Result<Levels, String> {
    let number = |text: &str| match text.trim().parse::<usize>() {
        Ok(0) | Err(_) => Err(format!("{text:?} is no number of 1 or more")),
        Ok(number) => Ok(number),
    };
    let mut found = Vec::new();
    for part in text.split(',') {
        match part.split_once("..") {
            None => found.push(number(part)?),
            Some((from, to)) => {
                let (from, to) = (number(from)?, number(to)?);
                let doubled = std::iter::successors(Some(from), |n| n.checked_mul(2));
                found.extend(doubled.take_while(|n| *n <= to));
                if from > to {
                    return Err(format!("{part:?} is empty; write the smaller number first"));
                }
            }
        }
    }
    Ok(Levels(found))
}

fn sides(text: &str) -> Result<Sides, String> {
    let side = |text: &str| {
        let number = text.trim().parse::<usize>().ok().filter(|n| *n > 0);
        number.ok_or_else(|| format!("{text:?} is no size; expected 256, or 256x512"))
    };
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    Ok(Sides([side(height)?, side(width)?]))
}

impl CargoArgs {
    /// What requests carry.
    pub(crate) fn cargo(&self) -> Result<Cargo> {
        let source = match self.data.is_empty() {
            true => Source::Random { different: self.different, seed: self.seed },
            false => {
                let most = self.different.max(1) * self.batch.max(1);
                let fields = Fields { sides: self.size.0, pixel_nm: self.pixel, most };
                Source::Images(fields.of(&self.data)?)
            }
        };
        let datatype = self.datatype.as_ref().map(|name| name.to_uppercase());
        Ok(Cargo { batch: self.batch, sides: self.size.0, datatype, source })
    }
}

impl TermArgs {
    /// How long is measured.
    pub(crate) fn terms(&self) -> Result<Terms> {
        let seconds = |option: &str, seconds: f64| {
            let length = Duration::try_from_secs_f64(seconds);
            length.with_context(|| format!("{option} {seconds}: expected seconds, 0 or more"))
        };
        Ok(Terms {
            warm_up: seconds("--warm-up", self.warm_up)?,
            window: seconds("--window", self.window)?,
            most_windows: self.most_windows,
            within: self.stability,
            timeout: seconds("--timeout", self.timeout)?,
            most_in_flight: self.max_in_flight,
        })
    }
}

/// Runs the job.
///
/// # Errors
///
/// One that says what was wrong and what to do.
pub(crate) fn load(args: &LoadArgs) -> Result<Verdict> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let stop = stop_on_ctrl_c();
    runtime.block_on(async {
        let load = prepare(args).await?;
        let told = &mut |findings: &Findings| told(findings, args.out.as_deref());
        let findings = load.run(&stop, told).await?;
        lithoburn_terminal::say(false, &format!("\n{}", table(&findings)));
        for level in findings.levels.iter().filter(|level| level.failed() > 0) {
            lithoburn_terminal::say(
                false,
                &format!("failed at {}: {}", level.offered, level.reasons()),
            );
        }
        let stable = findings.levels.iter().all(|level| level.stable);
        Ok(if stable { Verdict::Done } else { Verdict::NotMet })
    })
}

/// The first Ctrl-C asks the run to stop, which keeps what it has; the second ends the process.
pub(crate) fn stop_on_ctrl_c() -> Stop {
    let stop = Stop::default();
    let (asked, again) = (stop.clone(), AtomicBool::new(false));
    // Without a handler Ctrl-C ends the process at once: levels that are over are on disk by then.
    let _ = ctrlc::set_handler(move || {
        if again.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        asked.ask();
    });
    stop
}

/// Where a server is, with the token in a file's first line.
pub(crate) fn address(url: &str, token_file: Option<&Path>) -> Result<Address> {
    let mut address = Address::parse(url)?;
    if let Some(file) = token_file {
        let text = std::fs::read_to_string(file);
        let text = text.with_context(|| format!("cannot read {}", file.display()))?;
        address.token = text.lines().next().map(|line| line.trim().to_string());
    }
    Ok(address)
}

async fn prepare(args: &LoadArgs) -> Result<Load> {
    let address = address(&args.url, args.token_file.as_deref())?;
    let model = match &args.model {
        Some(model) => model.clone(),
        None => only_model(&address).await?,
    };
    let target = Target::find(&address, &model, args.model_version.as_deref()).await?;
    let given = args.metrics_url.as_deref().map(|url| address.beside(url)).transpose()?;
    let metrics = watch::find(&address, given.as_ref()).await;
    if let (None, Some(given)) = (&metrics, given) {
        bail!("{given}/metrics has no metrics");
    }
    let arrivals = match args.arrivals {
        ArrivalName::Poisson => Arrivals::Poisson,
        ArrivalName::Constant => Arrivals::Constant,
    };
    let levels = match args.rate.is_empty() {
        true => args.concurrency.0.iter().map(|&count| Offered::Concurrency(count)).collect(),
        false => args.rate.iter().map(|&r| Offered::Rate { per_second: r, arrivals }).collect(),
    };
    let grpc = args.grpc_url.as_deref().map(|url| address.beside(url)).transpose()?;
    Ok(Load {
        target,
        metrics,
        grpc,
        cargo: args.cargo.cargo()?,
        levels,
        terms: args.terms.terms()?,
    })
}

async fn only_model(address: &Address) -> Result<String> {
    let models = Target::models(address).await?;
    match &models[..] {
        [only] => Ok(only.clone()),
        [] => bail!("{address} has no model"),
        some => bail!("{address} has several models; choose by --model one of {}", some.join(", ")),
    }
}

/// Says what a level found, and leaves all that is known until now on disk.
pub(crate) fn told(findings: &Findings, out: Option<&Path>) -> Result<(), LoadError> {
    if let Some(level) = findings.levels.last() {
        lithoburn_terminal::say(false, &line(level));
    }
    out.map_or(Ok(()), |out| write(findings, out))
}

/// Leaves load.csv, load.json and load.png in a directory.
pub(crate) fn write(findings: &Findings, out: &Path) -> Result<(), LoadError> {
    let files = [
        ("load.csv", findings.csv().into_bytes()),
        ("load.json", findings.json()?),
        ("load.png", findings.charts()?),
    ];
    let failed = |error: &dyn std::fmt::Display| LoadError::File {
        path: out.display().to_string(),
        problem: error.to_string(),
    };
    std::fs::create_dir_all(out).map_err(|e| failed(&e))?;
    let mut files = files.iter();
    files.try_for_each(|(name, bytes)| write_whole(&out.join(name), bytes).map_err(|e| failed(&e)))
}

/// A level in one line.
pub(crate) fn line(level: &Level) -> String {
    let cells = row(level);
    let state = if level.interrupted { ", interrupted" } else { "" };
    let offered = match level.offered {
        Offered::Concurrency(count) => format!("{count} in flight"),
        Offered::Rate { per_second, .. } => format!("{per_second:.1} a second"),
    };
    format!(
        "{offered}: {} items/s, p50 {} ms, p99 {} ms, {} requests, {} failed{state}",
        cells[1],
        cells[2],
        cells[5],
        level.requests,
        level.failed()
    )
}

fn row(level: &Level) -> Vec<String> {
    let dash = || String::from("–");
    let mut cells = vec![level.offered.to_string(), spread(level.items_per_second, 1.0, 1)];
    for (_, estimate) in level.latency.percentiles() {
        cells.push(estimate.map_or_else(dash, |e| spread(e, 1e-3, 2)));
    }
    let share = |value: Option<f64>| value.map_or_else(dash, |v| format!("{:.0} %", 100.0 * v));
    cells.push(level.server.and_then(|s| s.batch).map_or_else(dash, |b| format!("{b:.1}")));
    cells.push(share(level.machine.mean(|device| device.computing)));
    cells.push(level.failed().to_string());
    cells.push(if level.stable { "yes".into() } else { "no".into() });
    cells
}

/// A value with half its interval.
fn spread(estimate: lithoburn_server::load::Estimate, factor: f64, digits: usize) -> String {
    let value = factor * estimate.value;
    match estimate.interval {
        Some([low, high]) => {
            format!("{value:.digits$} ± {:.digits$}", factor * (high - low) / 2.0)
        }
        None => format!("{value:.digits$}"),
    }
}

/// All levels.
pub(crate) fn table(findings: &Findings) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header([
        "load",
        "items/s",
        "p50 ms",
        "p90 ms",
        "p95 ms",
        "p99 ms",
        "p99.9 ms",
        "batch",
        "devices busy",
        "failed",
        "stable",
    ]);
    table.add_rows(findings.levels.iter().map(row));
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_lists_or_powers_of_two() {
        let read = |text| levels(text).map(|levels| levels.0);
        assert_eq!(read("1,3, 9"), Ok(vec![1, 3, 9]));
        assert_eq!(read("1..256").map(|all| all.len()), Ok(9));
        assert_eq!(read("3..20,64"), Ok(vec![3, 6, 12, 64]));
        for text in ["", "0", "a", "8..1", "1,,2", "-1"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_a_side_or_two() {
        assert_eq!(sides("64").map(|s| s.0), Ok([64, 64]));
        assert_eq!(sides("64x128").map(|s| s.0), Ok([64, 128]));
        assert!(sides("0").is_err() && sides("64x").is_err());
    }
}
