//! The main job: propose a mask for a layout, measure it, and leave its files.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use lithoburn_engine::{Correction, Place, Report, default_directory};
use lithoburn_layout::Violation;
use lithoburn_pool::Chosen;
use tracing::info_span;

use crate::Verdict;
use crate::crew::{CrewOptions, PlanOptions, TileOptions, say_plan};
use crate::options::{
    Asked, DeviceOptions, KernelOptions, LayoutOptions, ModelOptions, RuleOptions, StyleOptions,
};
use crate::profile::ProfileOptions;
use crate::programs::{Program, Rest};
use crate::progress::Progress;
use lithoburn_terminal::{go_on, print_json, say, table};

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
    /// Of a layout of many tiles: write the mask without simulating and measuring it, which takes most of the CPU's time.
    #[arg(long)]
    no_measure: bool,
    #[command(flatten)]
    farm: FarmOptions,
    /// Directory for mask.png, mask.gds, report.json and overview.png, in tiles whole.png as well [default: out/LAYOUT; with --cell, out/LAYOUT.CELL].
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    profile: ProfileOptions,
    /// Print the report as JSON and nothing else.
    #[arg(long)]
    json: bool,
}

impl InferArgs {
    /// Spares CUDA the cards that no option names. For `main`, before any thread is started.
    pub fn hide_other_cards(&self) {
        self.crew.hide_other_cards(&self.device);
    }
}

/// Other machines.
#[derive(Args, Debug)]
struct FarmOptions {
    /// Share the tiles with other machines: nats://HOST:4222 or tls://HOST:4222, or a folder that all of them see. They join by what
    /// this prints; the program lithoburn-farm does the work, and goes on from what is done if it is stopped.
    #[arg(long = "farm", value_name = "WHERE", requires = "tile")]
    at: Option<String>,
    /// File that the farm's server lets us in with: a token, user:password, an NKey's seed, or credentials.
    #[arg(long = "farm-auth", value_name = "FILE", requires = "at")]
    auth: Option<PathBuf>,
    /// Certificates (PEM) that the farm's server's own is signed by.
    #[arg(long = "farm-ca", value_name = "FILE", requires = "at")]
    ca: Option<PathBuf>,
}

/// What this program was told, for the program that does it instead: all but its own name and the job's.
fn told(mut words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let own = words.next().unwrap_or_default();
    let is_infer = Path::new(&own).file_stem() == Some(OsStr::new("infer"));
    let mut told: Vec<OsString> = words.skip(usize::from(!is_infer)).collect();
    let is_format = |word: &OsString| word.to_string_lossy().starts_with("--format");
    if !told.iter().any(is_format) {
        // That program's own choice is another one.
        told.extend(["--format", "gds"].map(OsString::from));
    }
    told
}

/// Runs the job.
///
/// # Errors
///
/// One that says what was wrong and what to do; then nothing was written.
pub fn infer(args: &InferArgs) -> Result<Verdict> {
    if args.farm.at.is_some() {
        return Program::farm(Some("run")).run(&Rest::new(told(std::env::args_os())));
    }
    let start = Instant::now();
    let profile = args.profile.start()?;
    let opening = args.crew.open(&args.device, args.no_measure && args.plan.shares_tiles())?;
    let library = info_span!("read").in_scope(|| args.drawing.library(&args.layout))?;
    let InferArgs { model, kernels, drawing, rules, style, .. } = args;
    let asked = Asked { model, kernels, drawing, rules, style };
    let correction = asked.correction(Correction::of(&library))?;
    let begun = args
        .plan
        .correction(&args.crew, correction)
        .devices(opening.names.clone())
        .tile_nm(args.tiles.tile)
        .halo_nm(args.tiles.halo()?)
        .format(args.tiles.format.into())
        .measure(!args.no_measure)
        .begin()?;
    let devices = info_span!("wait for devices").in_scope(|| opening.devices())?;
    devices.iter().for_each(|device| announce(args.json, device));
    if args.kernels.kernels.is_none() && args.model.weights.is_none() {
        say(args.json, "optics   built-in kernels and weights");
    }
    let planned = info_span!("plan").in_scope(|| begun.on(devices))?;
    planned.notes().iter().for_each(|note| say(args.json, &format!("note     {note}")));
    if let Some(fleet) =
        planned.fleet().filter(|fleet| fleet.plan.ranks.len() > 1 || args.plan.dry_run)
    {
        say_plan(args.json, fleet);
    }
    if args.plan.dry_run {
        if let (true, Some(fleet)) = (args.json, planned.fleet()) {
            print_json(&fleet.plan)?;
        }
        return Ok(Verdict::Done);
    }
    let own = || default_directory(library.name());
    let out = args.out.clone().unwrap_or_else(own);
    let mut progress = Progress::new(args.json);
    let report = planned.run_in(&out, &|| !go_on(), &mut |event| progress.show(event))?;
    drop(progress);
    match args.json {
        true => print_json(&report)?,
        false => summary(&report, planned.mask_file(), &out, start.elapsed().as_secs_f64()),
    }
    if let Some(profile) = profile {
        profile.end(args.json)?;
    }
    match report.is_met() {
        true => Ok(Verdict::Done),
        false => Ok(Verdict::NotMet),
    }
}

fn announce(json: bool, device: &Chosen) {
    say(json, &format!("device   {} ({}): {}", device.name, device.card, device.reason));
}

/// Says what came out.
fn summary(report: &Report, mask: &str, out: &Path, seconds: f64) {
    if let (Some(before), Some(after)) = (report.before, report.after) {
        let rows: Vec<Vec<String>> = before.table(&after).into_iter().map(Vec::from).collect();
        say(false, &table(&["", "before (design as mask)", "after"], &rows));
    }
    for line in [lacking(report), broken(&report.violations)].into_iter().flatten() {
        say(false, &line);
    }
    let s = report.seconds;
    match &report.chip {
        Some(chip) => {
            crate::crew::say_pool(&chip.pool);
            let some =
                |n: u64, what: &str| if n == 0 { String::new() } else { format!("{n} {what}") };
            let resumed = some(chip.resumed as u64, "from the run before");
            let details =
                [some(chip.empty, "empty"), format!("{} different", chip.unique), resumed];
            let details: Vec<String> = details.into_iter().filter(|d| !d.is_empty()).collect();
            say(
                false,
                &format!(
                    "{seconds:.1} s: {} x {} tiles, {}, {} polygons",
                    chip.tiles[0],
                    chip.tiles[1],
                    details.join(", "),
                    chip.polygons
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
    let overview = if report.after.is_some() { ", overview.png" } else { "" };
    let whole = if report.chip.is_some() { ", whole.png" } else { "" };
    let files = format!("mask.png, {mask}{overview}{whole}, report.json");
    say(false, &format!("wrote {}/{{{files}}}", out.display()));
}

/// What is said of a mask that does not print all of its design.
fn lacking(report: &Report) -> Option<String> {
    if report.mask_is_empty {
        let held = if report.rules.is_some() {
            " (the rules may forbid what is left; --rules none)"
        } else {
            ""
        };
        return Some(format!("the mask is empty: nothing prints{held}"));
    }
    let unprinted = report.unprinted.as_ref().filter(|unprinted| unprinted.shapes > 0)?;
    let place = |p: &Place| {
        let [width, height] = [0, 1].map(|i| p.max_nm[i] - p.min_nm[i]);
        format!("\n  {width:.0} x {height:.0} nm at x {:.0}, y {:.0} nm", p.min_nm[0], p.min_nm[1])
    };
    let places: String = unprinted.places.iter().take(NAMED).map(place).collect();
    let more = if unprinted.shapes > NAMED { "\n  …; more are in report.json" } else { "" };
    Some(format!(
        "{} shapes do not print at all; the optics image lines and spaces of {:.0} nm and more:{places}{more}",
        unprinted.shapes, unprinted.resolution_nm
    ))
}

/// Places named one by one in a summary.
const NAMED: usize = 5;

/// What is said of broken rules.
fn broken(violations: &[Violation]) -> Option<String> {
    let place = |v: &Violation| {
        let (name, unit) = v.rule.name();
        let at = [0, 1].map(|i| f64::midpoint(v.min_nm[i], v.max_nm[i]));
        format!(
            "\n  {name} {:.0} {unit} (at least {:.0}) at x {:.0}, y {:.0} nm",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_farm_is_told_is_what_this_program_was_told_and_the_format_that_it_writes() {
        let of = |text: &str| told(text.split(' ').map(OsString::from)).join(OsStr::new(" "));
        let ours = "chip.oas --tile 2048 --farm job --format gds";
        assert_eq!(of("/bin/lithoburn infer chip.oas --tile 2048 --farm job"), ours);
        assert_eq!(of("infer chip.oas --tile 2048 --farm job"), ours);
        assert_eq!(
            of("infer infer --farm nats://a:1 --format=oas"),
            "infer --farm nats://a:1 --format=oas"
        );
    }
}
