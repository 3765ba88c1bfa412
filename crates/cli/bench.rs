//! Benchmarks over a folder of clips: a row each, and averages.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use lithoburn_engine::{Job, Report};
use serde::Serialize;

use crate::Verdict;
use crate::options::{DeviceOptions, KernelOptions, LayoutOptions, ModelOptions, RuleOptions, fields};
use crate::terminal::{Progress, go_on, print_json, say, table};

/// Run a benchmark.
#[derive(Subcommand, Debug)]
pub enum BenchJob {
    /// Every .glp clip of a folder: L2, PV band, EPE, shots and time, with averages.
    Iccad13(Iccad13Args),
}

/// Clips and settings.
#[derive(Args, Debug)]
pub struct Iccad13Args {
    /// Folder of .glp clips.
    #[arg(long, value_name = "DIR")]
    clips: PathBuf,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    device: DeviceOptions,
    #[command(flatten)]
    kernels: KernelOptions,
    #[command(flatten)]
    drawing: LayoutOptions,
    #[command(flatten)]
    rules: RuleOptions,
    /// Print JSON and nothing else.
    #[arg(long)]
    json: bool,
}

/// One clip's result.
#[derive(Clone, Debug, Serialize)]
struct Row {
    clip: String,
    seconds: f64,
    #[serde(flatten)]
    report: Report,
}

/// Everything a reader needs to repeat the run.
#[derive(Clone, Debug, Serialize)]
struct Table {
    model: String,
    device: String,
    card: String,
    kernels: String,
    raster: String,
    version: &'static str,
    l2_nm2: f64,
    pvb_nm2: f64,
    epe_violations: f64,
    shots: f64,
    shots_adabox: f64,
    min_shape_area_nm2: f64,
    min_shape_distance_nm: f64,
    seconds: f64,
    clips: Vec<Row>,
}

/// Runs the job.
///
/// # Errors
///
/// One that says what was wrong and what to do.
pub fn bench(job: &BenchJob) -> Result<Verdict> {
    match job {
        BenchJob::Iccad13(args) => iccad13(args),
    }
}

/// The clips of a folder, in the order of their numbers.
fn clips(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut clips: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    clips.retain(|p| p.extension().is_some_and(|e| e == "glp"));
    clips.sort_by_key(|p| {
        let name = p.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        (name.len(), name)
    });
    if clips.is_empty() {
        bail!("{} has no .glp clips", folder.display());
    }
    Ok(clips)
}

fn iccad13(args: &Iccad13Args) -> Result<Verdict> {
    let clips = clips(&args.clips)?;
    let (kernels, kernels_name) = args.kernels.load()?;
    let device = args.device.choose()?;
    say(args.json, &format!("device {} ({})", device.name, device.card));
    let job = Job {
        model: args.model.model(),
        kernels,
        kernels_name,
        device,
        pixel_nm: args.drawing.pixel,
        coverage: args.drawing.coverage(),
        fields: fields(None),
        rules: args.rules.load()?,
    };
    let mut rows = Vec::new();
    for path in clips {
        if !go_on() {
            bail!("interrupted after {} clips", rows.len());
        }
        let layout = args.drawing.read(&path)?;
        let mut progress = Progress::new(args.json);
        let start = Instant::now();
        let report = job.run(&layout, &mut |event| progress.show(event))?.report;
        let seconds = start.elapsed().as_secs_f64();
        rows.push(Row { clip: layout.name, seconds, report });
    }
    let table = averages(args, &job, rows);
    match args.json {
        true => print_json(&table)?,
        false => say(false, &render(&table)),
    }
    Ok(Verdict::Done)
}

fn averages(args: &Iccad13Args, job: &Job, clips: Vec<Row>) -> Table {
    let mean =
        |value: &dyn Fn(&Row) -> f64| clips.iter().map(value).sum::<f64>() / clips.len() as f64;
    Table {
        model: job.model.name().into(),
        device: job.device.name.clone(),
        card: job.device.card.clone(),
        kernels: job.kernels_name.clone(),
        raster: format!("{:?}", args.drawing.raster).to_lowercase(),
        version: env!("CARGO_PKG_VERSION"),
        l2_nm2: mean(&|r| r.report.after.l2_nm2),
        pvb_nm2: mean(&|r| r.report.after.pvb_nm2),
        epe_violations: mean(&|r| r.report.after.epe_violations as f64),
        shots: mean(&|r| r.report.after.shots as f64),
        shots_adabox: mean(&|r| r.report.after.shots_adabox as f64),
        min_shape_area_nm2: mean(&|r| r.report.after.min_shape_area_nm2.unwrap_or(0.0)),
        min_shape_distance_nm: mean(&|r| r.report.after.min_shape_distance_nm.unwrap_or(0.0)),
        seconds: mean(&|r| r.report.seconds.load + r.report.seconds.optimize),
        clips,
    }
}

fn render(t: &Table) -> String {
    let row = |r: &Row| {
        let m = &r.report.after;
        let some = |v: Option<f64>| v.map_or("–".into(), |v| format!("{v:.1}"));
        let seconds = r.report.seconds.load + r.report.seconds.optimize;
        vec![
            r.clip.clone(),
            format!("{:.0}", m.l2_nm2),
            format!("{:.0}", m.pvb_nm2),
            m.epe_violations.to_string(),
            m.shots.to_string(),
            some(m.min_shape_area_nm2),
            some(m.min_shape_distance_nm),
            format!("{seconds:.2}"),
        ]
    };
    let mut rows: Vec<Vec<String>> = t.clips.iter().map(row).collect();
    rows.push(vec![
        "average".into(),
        format!("{:.1}", t.l2_nm2),
        format!("{:.1}", t.pvb_nm2),
        format!("{:.1}", t.epe_violations),
        format!("{:.1}", t.shots),
        format!("{:.1}", t.min_shape_area_nm2),
        format!("{:.1}", t.min_shape_distance_nm),
        format!("{:.2}", t.seconds),
    ]);
    let header =
        ["clip", "L2 nm²", "PVB nm²", "EPE", "shots", "min area nm²", "min gap nm", "mask s"];
    table(&header, &rows)
}
