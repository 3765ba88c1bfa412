//! The main job: propose a mask for a layout, measure it, and leave its files.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use lithoburn_engine::{Evaluator, Job, Outcome, probe_directory};
use lithoburn_layout::Violation;

use crate::Verdict;
use crate::options::{
    DeviceOptions, KernelOptions, LayoutOptions, ModelOptions, RuleOptions, StyleOptions, fields,
};
use crate::terminal::{Progress, print_json, say, table};

/// Find the mask whose print is the design.
#[derive(Args, Debug)]
pub struct InferArgs {
    /// Layout to correct: .gds, .glp or .png.
    pub layout: PathBuf,
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
    /// Cut a large layout into fields of this side, which must be the kernels' period (2048 nm for
    /// the built-in ones); each keeps its inner half.
    #[arg(long, value_name = "NM")]
    tile: Option<f64>,
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
    let start = Instant::now();
    let layout = args.drawing.read(&args.layout)?;
    let out = args.out.clone().unwrap_or_else(|| Outcome::default_directory(&layout.name));
    probe_directory(&out)?;
    let (kernels, kernels_name) = args.kernels.load()?;
    let device = args.device.choose()?;
    say(args.json, &format!("device   {} ({}): {}", device.name, device.card, device.reason));
    if args.kernels.kernels.is_none() && args.model.weights.is_none() {
        say(args.json, "optics   built-in kernels and weights");
    }
    let job = Job {
        model: args.model.model(),
        kernels,
        kernels_name,
        device,
        pixel_nm: args.drawing.pixel,
        coverage: args.drawing.coverage(),
        fields: fields(args.tile),
        process: args.kernels.process()?,
        band: args.model.band()?,
        rules: args.rules.load()?,
        style: args.style.style()?,
    };
    let mut progress = Progress::new(args.json);
    let outcome = job.run(&layout, &mut |event| progress.show(event))?;
    drop(progress);
    outcome.write(&out, &Evaluator::new(&job.kernels, &job.process))?;
    if args.json {
        print_json(&outcome.report)?;
    } else {
        summary(&outcome, &out, start.elapsed().as_secs_f64());
    }
    match outcome.report.violations.is_empty() {
        true => Ok(Verdict::Done),
        false => Ok(Verdict::NotMet),
    }
}

fn summary(outcome: &Outcome, out: &std::path::Path, seconds: f64) {
    let report = &outcome.report;
    let rows: Vec<Vec<String>> =
        report.before.table(&report.after).into_iter().map(Vec::from).collect();
    say(false, &table(&["", "before (design as mask)", "after"], &rows));
    if let Some(line) = broken(&report.violations) {
        say(false, &line);
    }
    let s = report.seconds;
    say(
        false,
        &format!(
            "{seconds:.1} s: load {:.1}, optimise {:.1}, measure {:.1}",
            s.load, s.optimize, s.evaluate
        ),
    );
    say(
        false,
        &format!("wrote {}/{{mask.png, mask.gds, overview.png, report.json}}", out.display()),
    );
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
