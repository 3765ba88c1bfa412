//! Benchmarks over clips: a row each, and averages.

mod cards;
mod front;
mod models;
mod networks;
mod surrogate;
mod training;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use lithoburn_engine::{Correction, Metrics, Report};
use lithoburn_layout::{Bounds, Coverage, Layout, TileGrid, trace, write_whole};
use serde::Serialize;

use crate::Verdict;
use crate::options::{
    Asked, DeviceOptions, KernelOptions, LayoutOptions, ModelOptions, RuleOptions, StyleOptions,
};
use crate::progress::Progress;
use lithoburn_terminal::{print_json, say, table};

/// Run a benchmark.
#[derive(Subcommand, Debug)]
pub enum BenchJob {
    /// Every clip of a folder, or windows of one layout: L2, PV band, EPE, shots and time, with averages.
    Iccad13(Iccad13Args),
    /// The same at several weights of the PV band and several shot budgets: table and chart of the front.
    Front(Iccad13Args),
    /// All methods beside each other, networks alone and corrected: table and chart of quality against time.
    Models(Iccad13Args),
    /// Descent with the true model at every step, and through its surrogate: quality, calls of the true model, time.
    Surrogate(surrogate::SurrogateArgs),
    /// Networks alone: tiles a second by each way that the device has, and how far their logits are from the CPU's.
    Networks(networks::NetworksArgs),
    /// Training of networks alone: milliseconds of a forward pass, of its gradients and of a step of Adam.
    Training(training::TrainingArgs),
    /// Training over several cards: steps and images a second on 1, 2, 4 … of them, the network alone and the whole step.
    Cards(cards::CardsArgs),
}

/// Clips and settings.
#[derive(Args, Debug)]
pub struct Iccad13Args {
    /// Folder of .glp clips, or one layout file that windows are cut from.
    #[arg(long, value_name = "PATH")]
    clips: PathBuf,
    /// Side of the windows of a layout file, in nm.
    #[arg(long, value_name = "NM", default_value_t = 1280.0)]
    window: f64,
    /// Most windows taken from a layout file, spread evenly over it.
    #[arg(long, value_name = "N", default_value_t = 100)]
    windows: usize,
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
    /// Directory for NAME-MODEL.json and NAME-MODEL.md.
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// First part of the files' names.
    #[arg(long, value_name = "NAME", default_value = "iccad13")]
    name: String,
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
    /// With probes at 3 nm.
    epe_violations_3nm: Option<f64>,
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
        BenchJob::Front(args) => front::front(args),
        BenchJob::Models(args) => models::models(args),
        BenchJob::Surrogate(args) => surrogate::surrogate(args),
        BenchJob::Networks(args) => networks::networks(args),
        BenchJob::Training(args) => training::training(args),
        BenchJob::Cards(args) => cards::cards(args),
    }
}

/// The clips of a folder or the windows of a layout.
fn layouts(args: &Iccad13Args) -> Result<Vec<Layout>> {
    if args.clips.is_file() {
        return windows(args);
    }
    clips_of(&args.clips, &args.drawing)
}

/// The clips of a folder, in the order of their numbers.
fn clips_of(folder: &Path, drawing: &LayoutOptions) -> Result<Vec<Layout>> {
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
    clips.iter().map(|path| drawing.read(path)).collect()
}

/// Pieces of polygons thinner than this, left by a window's border, are dropped, in nm.
const LEAST_PIECE_NM: f64 = 40.0;
/// Windows with less of their area covered are passed over.
const LEAST_COVER: f64 = 0.02;

/// Windows of a layout, cut on its pixels.
fn windows(args: &Iccad13Args) -> Result<Vec<Layout>> {
    let whole = args.drawing.read(&args.clips)?;
    let none = || format!("{} has no polygon", args.clips.display());
    let extent = whole.extent().with_context(none)?;
    let grid = TileGrid::cover(extent, args.window, 0.0, args.drawing.pixel)?;
    let cut = |index: usize| {
        let frame = grid.frame(index);
        let raster = whole.rasterize(&frame, Coverage::Exact);
        let pieces = trace::polygons(&raster, frame.origin_nm).into_iter();
        let wide = |b: Bounds| b.width() >= LEAST_PIECE_NM && b.height() >= LEAST_PIECE_NM;
        let share = raster.area_nm2() / (args.window * args.window);
        let pieces = pieces.filter(|p| wide(p.bounds())).collect();
        (share, Layout::new(format!("{}_{index}", whole.name), pieces))
    };
    let all: Vec<Layout> = (0..grid.len())
        .map(cut)
        .filter(|(share, window)| *share >= LEAST_COVER && !window.polygons.is_empty())
        .map(|(_, window)| window)
        .collect();
    let step = (all.len() as f64 / args.windows.max(1) as f64).max(1.0);
    let count = (all.len() as f64 / step).round() as usize;
    Ok((0..count).filter_map(|i| all.get((i as f64 * step) as usize).cloned()).collect())
}

/// The correction that the options describe, on a device that was tested.
fn correction<'a>(args: &Iccad13Args, layouts: &'a [Layout]) -> Result<Correction<'a>> {
    let device = args.device.choose()?;
    say(args.json, &format!("device {} ({})", device.name, device.card));
    let Iccad13Args { model, kernels, drawing, rules, style, .. } = args;
    let asked = Asked { model, kernels, drawing, rules, style };
    Ok(asked.correction(Correction::of(layouts))?.on(vec![device]).batch(args.batch))
}

/// Corrects and measures all clips. Of each mask only the numbers are kept, so that memory holds one batch.
fn measured(args: &Iccad13Args, correction: &Correction) -> Result<Table> {
    let mut progress = Progress::new(args.json);
    let mut clips = Vec::new();
    correction.run_each(args.warm, &mut |event| progress.show(event), &mut |mask| {
        let (clip, report) = (mask.report().layout.clone(), mask.report().clone());
        clips.push(Row { clip, report });
        Ok(())
    })?;
    drop(progress);
    averages(args, clips)
}

fn iccad13(args: &Iccad13Args) -> Result<Verdict> {
    let layouts = layouts(args)?;
    let table = measured(args, &correction(args, &layouts)?)?;
    match args.json {
        true => print_json(&table)?,
        false => say(false, &render(&table)),
    }
    if let Some(out) = &args.out {
        let name = format!("{}-{}", args.name, name(&table));
        write(&table, out, &name)?;
        say(args.json, &format!("wrote {}/{name}.{{json,md}}", out.display()));
    }
    Ok(Verdict::Done)
}

impl Row {
    /// The mask's numbers.
    fn after(&self) -> Metrics {
        self.report.after.unwrap_or_default()
    }
}

fn averages(args: &Iccad13Args, clips: Vec<Row>) -> Result<Table> {
    let first = clips.first().context("there is no clip to correct")?.report.clone();
    let mean =
        |value: &dyn Fn(&Row) -> f64| clips.iter().map(value).sum::<f64>() / clips.len() as f64;
    Ok(Table {
        model: first.model.model.name().into(),
        device: first.device,
        card: first.card,
        kernels: first.kernels,
        raster: format!("{:?}", args.drawing.raster).to_lowercase(),
        batch: args.batch,
        warm: args.warm,
        command: std::env::args().skip(1).fold("lithoburn".into(), |line, word| line + " " + &word),
        version: env!("CARGO_PKG_VERSION"),
        l2_nm2: mean(&|r| r.after().l2_nm2),
        pvb_nm2: mean(&|r| r.after().pvb_nm2),
        epe_violations: mean(&|r| r.after().epe_violations as f64),
        epe_violations_3nm: clips
            .iter()
            .map(|r| r.after().epe_violations_3nm)
            .sum::<Option<usize>>()
            .map(|sum| sum as f64 / clips.len() as f64),
        shots: mean(&|r| r.after().shots as f64),
        shots_adabox: mean(&|r| r.after().shots_adabox.unwrap_or(0) as f64),
        min_shape_area_nm2: mean(&|r| r.after().min_shape_area_nm2.unwrap_or(0.0)),
        min_shape_distance_nm: mean(&|r| r.after().min_shape_distance_nm.unwrap_or(0.0)),
        violations: clips.iter().map(|r| r.report.violations.len()).sum(),
        seconds: mean(&|r| r.report.seconds.optimize),
        clips,
    })
}

/// What the files are called after: the model, and the batch if there is one.
fn name(t: &Table) -> String {
    match t.batch {
        1 => t.model.clone(),
        n => format!("{}-batch{n}", t.model),
    }
}

/// The table as JSON, for programs, and as Markdown, for people.
fn write(t: &Table, out: &Path, name: &str) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let file = |ending: &str| out.join(format!("{name}.{ending}"));
    write_whole(&file("json"), &serde_json::to_vec_pretty(t)?)?;
    let (header, rows) = (header(), rows(t));
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = format!(
        "# {} clips, {}\n\n`{}`\n\nlithoburn {}, {} ({}), kernels {}, {} raster, batch {}{}\n\n",
        t.clips.len(),
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

fn header() -> [&'static str; 9] {
    [
        "clip",
        "L2 nm²",
        "PVB nm²",
        "EPE",
        "EPE 3 nm",
        "shots",
        "min area nm²",
        "min gap nm",
        "mask s",
    ]
}

fn render(t: &Table) -> String {
    table(&header(), &rows(t))
}

fn rows(t: &Table) -> Vec<Vec<String>> {
    let row = |r: &Row| {
        let m = r.after();
        let some = |v: Option<f64>| v.map_or("–".into(), |v| format!("{v:.1}"));
        let seconds = r.report.seconds.optimize;
        vec![
            r.clip.clone(),
            format!("{:.0}", m.l2_nm2),
            format!("{:.0}", m.pvb_nm2),
            m.epe_violations.to_string(),
            m.epe_violations_3nm.map_or("–".into(), |count| count.to_string()),
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
        t.epe_violations_3nm.map_or("–".into(), |mean| format!("{mean:.1}")),
        format!("{:.1}", t.shots),
        format!("{:.1}", t.min_shape_area_nm2),
        format!("{:.1}", t.min_shape_distance_nm),
        format!("{:.2}", t.seconds),
    ]);
    rows
}
