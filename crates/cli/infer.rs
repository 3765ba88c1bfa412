//! The main job: propose a mask for a layout, measure it, and leave its files.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use lithoburn_engine::chip::Chip;
use lithoburn_engine::{Evaluator, Job, Outcome, Report, fleet, probe_directory};
use lithoburn_layout::Violation;
use lithoburn_pool::Chosen;

use crate::Verdict;
use crate::crew::{CrewOptions, PlanOptions, TileOptions, say_plan};
use crate::options::{
    DeviceOptions, KernelOptions, LayoutOptions, ModelOptions, RuleOptions, StyleOptions,
};
use crate::terminal::{Progress, go_on, print_json, say, table};

/// Find the mask whose print is the design.
#[derive(Args, Debug)]
pub struct InferArgs {
    /// Layout to correct: .gds, .oas, .glp or .png.
    pub layout: PathBuf,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    device: DeviceOptions,
    #[command(flatten)]
    crew: CrewOptions,
    #[command(flatten)]
    plan: PlanOptions,
    #[command(flatten)]
    tiles: TileOptions,
    #[command(flatten)]
    kernels: KernelOptions,
    #[command(flatten)]
    drawing: LayoutOptions,
    #[command(flatten)]
    rules: RuleOptions,
    #[command(flatten)]
    style: StyleOptions,
    /// With --tile: write the mask without simulating and measuring it, which takes most of the CPU's time.
    #[arg(long, requires = "tile")]
    no_measure: bool,
    /// Directory for mask.png, mask.gds, report.json and overview.png [default: out/LAYOUT].
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the report as JSON and nothing else.
    #[arg(long)]
    json: bool,
}

/// Runs the job.
///
/// # Errors
///
/// One that says what was wrong and what to do; then nothing was written.
pub fn infer(args: &InferArgs) -> Result<Verdict> {
    match args.tiles.tile {
        None => field(args),
        Some(tile_nm) => chip(args, tile_nm),
    }
}

/// Where the files go.
fn directory(args: &InferArgs, layout: &str) -> PathBuf {
    args.out.clone().unwrap_or_else(|| Outcome::default_directory(layout))
}

/// The job on a device, and what is said of it first.
fn job(args: &InferArgs, device: Chosen) -> Result<Job> {
    let (kernels, kernels_name) = args.kernels.load()?;
    if args.kernels.kernels.is_none() && args.model.weights.is_none() {
        say(args.json, "optics   built-in kernels and weights");
    }
    Ok(Job {
        model: args.model.model()?,
        kernels,
        kernels_name,
        device,
        pixel_nm: args.drawing.pixel,
        coverage: args.drawing.coverage(),
        process: args.kernels.process()?,
        band: args.model.band()?,
        rules: args.rules.load()?,
        style: args.style.style()?,
        team: None,
    })
}

fn announce(json: bool, device: &Chosen) {
    say(json, &format!("device   {} ({}): {}", device.name, device.card, device.reason));
}

/// A layout of one field.
fn field(args: &InferArgs) -> Result<Verdict> {
    let start = Instant::now();
    let layout = args.drawing.read(&args.layout)?;
    let out = directory(args, &layout.name);
    probe_directory(&out)?;
    let devices = args.crew.choose(&args.device)?;
    let device = devices.first().context("no device was named")?.clone();
    announce(args.json, &device);
    let mut job = job(args, device)?;
    if args.plan.is_joint() || args.plan.dry_run {
        let fleet = fleet(&job, &devices, &args.plan.wish(&args.crew, 1))?;
        say_plan(args.json, &fleet);
        if args.plan.dry_run {
            return Ok(Verdict::Done);
        }
        job.team = fleet.lanes.into_iter().next().and_then(|lane| lane.team);
    }
    let mut progress = Progress::new(args.json);
    let outcome = job.run(&layout, &mut |event| progress.show(event))?;
    drop(progress);
    outcome.write(&out, &Evaluator::new(&job.kernels, &job.process))?;
    finish(args, &outcome.report, &out, start)
}

/// A layout of any size.
fn chip(args: &InferArgs, tile_nm: f64) -> Result<Verdict> {
    let start = Instant::now();
    let library = args.drawing.library(&args.layout)?;
    let out = directory(args, library.name());
    let devices = args.crew.choose(&args.device)?;
    devices.iter().for_each(|device| announce(args.json, device));
    let first = devices.first().context("no device was named")?.clone();
    let mut job = job(args, first)?;
    if (job.kernels.period_nm - tile_nm).abs() > 1e-6 {
        // The optics of another field: their reach is what both periods hold.
        let ambit_nm = job.kernels.period_nm.min(tile_nm) / 2.0;
        job.kernels = job.kernels.within_ambit(ambit_nm, tile_nm)?;
    }
    let mut chip = Chip {
        job: &job,
        library: &library,
        halo_nm: args.tiles.halo()?,
        lanes: Vec::new(),
        plan: None,
        format: args.tiles.format.into(),
        measure: !args.no_measure,
    };
    let tiles = chip.grid()?.len();
    let fleet = fleet(&job, &devices, &args.plan.wish(&args.crew, tiles))?;
    if devices.len() > 1 || args.plan.dry_run || args.plan.is_joint() {
        say_plan(args.json, &fleet);
    }
    if args.plan.dry_run {
        return Ok(Verdict::Done);
    }
    (chip.lanes, chip.plan) = (fleet.lanes, Some(fleet.plan));
    let mut progress = Progress::new(args.json);
    let report = chip.run(&out, &|| !go_on(), &mut |event| progress.show(event))?;
    drop(progress);
    finish(args, &report, &out, start)
}

/// Says what came out.
fn finish(args: &InferArgs, report: &Report, out: &Path, start: Instant) -> Result<Verdict> {
    match args.json {
        true => print_json(report)?,
        false => summary(args, report, out, start.elapsed().as_secs_f64()),
    }
    match report.violations.is_empty() {
        true => Ok(Verdict::Done),
        false => Ok(Verdict::NotMet),
    }
}

fn summary(args: &InferArgs, report: &Report, out: &Path, seconds: f64) {
    if !args.no_measure {
        let rows: Vec<Vec<String>> =
            report.before.table(&report.after).into_iter().map(Vec::from).collect();
        say(false, &table(&["", "before (design as mask)", "after"], &rows));
    }
    if let Some(line) = broken(&report.violations) {
        say(false, &line);
    }
    let s = report.seconds;
    match &report.chip {
        Some(chip) => {
            crate::crew::say_pool(&chip.pool);
            let resumed = match chip.resumed {
                0 => String::new(),
                n => format!(" ({n} from the run before)"),
            };
            say(
                false,
                &format!(
                    "{seconds:.1} s: {} x {} tiles, {} different{resumed}, {} polygons",
                    chip.tiles[0], chip.tiles[1], chip.unique, chip.polygons
                ),
            );
        }
        None => say(
            false,
            &format!(
                "{seconds:.1} s: load {:.1}, optimise {:.1}, measure {:.1}",
                s.load, s.optimize, s.evaluate
            ),
        ),
    }
    let mask = match args.tiles.tile {
        Some(_) => lithoburn_engine::chip::MaskFormat::from(args.tiles.format).file(),
        None => "mask.gds",
    };
    let overview = if args.no_measure { "" } else { ", overview.png" };
    say(false, &format!("wrote {}/{{mask.png, {mask}{overview}, report.json}}", out.display()));
}

/// Places named one by one in a summary.
const NAMED: usize = 5;

/// What is said of broken rules.
fn broken(violations: &[Violation]) -> Option<String> {
    let place = |v: &Violation| {
        let (name, unit) = v.rule.name();
        let at = [0, 1].map(|i| f64::midpoint(v.min_nm[i], v.max_nm[i]));
        format!(
            "\n  {name} {:.0} {unit} (at least {:.0}) at x {:.0}, y {:.0} nm from the mask's corner",
            v.found, v.required, at[0], at[1]
        )
    };
    let places: String = violations.iter().take(NAMED).map(place).collect();
    let more = match violations.len() {
        0 => return None,
        n if n > NAMED => "\n  …; all are in report.json",
        _ => "",
    };
    Some(format!("the mask breaks its rules in {} places:{places}{more}", violations.len()))
}
