//! Benchmarks over a folder of clips: a row each, and averages.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use lithoburn_engine::{Job, Report};
use lithoburn_layout::write_whole;
use serde::Serialize;

use crate::Verdict;
use crate::options::{
    DeviceOptions, KernelOptions, LayoutOptions, ModelOptions, RuleOptions, StyleOptions, fields,
};
use crate::terminal::{Progress, print_json, say, table};

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
    #[command(flatten)]
    style: StyleOptions,
    /// Clips computed at once.
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: usize,
    /// Compute the first batch once before the clock runs, so that compiling is not counted.
    #[arg(long)]
    warm: bool,
    /// Directory for iccad13-MODEL.json and iccad13-MODEL.md.
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON and nothing else.
    #[arg(long)]
    json: bool,
}

/// One clip's result.
#[derive(Clone, Debug, Serialize)]
struct Row {
    clip: String,
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
    batch: usize,
    warm: bool,
    command: String,
    version: &'static str,
    l2_nm2: f64,
    pvb_nm2: f64,
    epe_violations: f64,
    shots: f64,
    shots_adabox: f64,
    min_shape_area_nm2: f64,
    min_shape_distance_nm: f64,
    violations: usize,
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
        style: args.style.style()?,
    };
    let layouts: Result<Vec<_>> = clips.iter().map(|path| args.drawing.read(path)).collect();
    let mut progress = Progress::new(args.json);
    let outcomes =
        job.run_all(&layouts?, args.batch, args.warm, &mut |event| progress.show(event))?;
    drop(progress);
    let row =
        |o: lithoburn_engine::Outcome| Row { clip: o.report.layout.clone(), report: o.report };
    let rows = outcomes.into_iter().map(row).collect();
    let table = averages(args, &job, rows);
    match args.json {
        true => print_json(&table)?,
        false => say(false, &render(&table)),
    }
    if let Some(out) = &args.out {
        write(&table, out)?;
        say(args.json, &format!("wrote {}/iccad13-{}.{{json,md}}", out.display(), name(&table)));
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
        batch: args.batch,
        warm: args.warm,
        command: std::env::args().skip(1).fold("lithoburn".into(), |line, word| line + " " + &word),
        version: env!("CARGO_PKG_VERSION"),
        l2_nm2: mean(&|r| r.report.after.l2_nm2),
        pvb_nm2: mean(&|r| r.report.after.pvb_nm2),
        epe_violations: mean(&|r| r.report.after.epe_violations as f64),
        shots: mean(&|r| r.report.after.shots as f64),
        shots_adabox: mean(&|r| r.report.after.shots_adabox as f64),
        min_shape_area_nm2: mean(&|r| r.report.after.min_shape_area_nm2.unwrap_or(0.0)),
        min_shape_distance_nm: mean(&|r| r.report.after.min_shape_distance_nm.unwrap_or(0.0)),
        violations: clips.iter().map(|r| r.report.violations.len()).sum(),
        seconds: mean(&|r| r.report.seconds.optimize),
        clips,
    }
}

/// What the files are called after: the model, and the batch if there is one.
fn name(t: &Table) -> String {
    match t.batch {
        1 => t.model.clone(),
        n => format!("{}-batch{n}", t.model),
    }
}

/// The table as JSON, for programs, and as Markdown, for people.
fn write(t: &Table, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let file = |ending: &str| out.join(format!("iccad13-{}.{ending}", name(t)));
    write_whole(&file("json"), &serde_json::to_vec_pretty(t)?)?;
    let (header, rows) = (header(), rows(t));
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = format!(
        "# ICCAD 2013 clips, {}\n\n`{}`\n\nlithoburn {}, {} ({}), kernels {}, {} raster, batch {}{}\n\n",
        t.model,
        t.command,
        t.version,
        t.device,
        t.card,
        t.kernels,
        t.raster,
        t.batch,
        if t.warm { ", warm" } else { "" },
    );
    text += &line(&header.map(String::from));
    text += &line(&header.map(|_| "---".into()));
    rows.iter().for_each(|row| text += &line(row));
    text += &format!("\nViolations of the mask rules: {}.\n", t.violations);
    write_whole(&file("md"), text.as_bytes())?;
    Ok(())
}

fn header() -> [&'static str; 8] {
    ["clip", "L2 nm²", "PVB nm²", "EPE", "shots", "min area nm²", "min gap nm", "mask s"]
}

fn render(t: &Table) -> String {
    table(&header(), &rows(t))
}

fn rows(t: &Table) -> Vec<Vec<String>> {
    let row = |r: &Row| {
        let m = &r.report.after;
        let some = |v: Option<f64>| v.map_or("–".into(), |v| format!("{v:.1}"));
        let seconds = r.report.seconds.optimize;
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
    rows
}
