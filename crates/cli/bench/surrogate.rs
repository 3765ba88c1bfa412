//! Descent with the true model, and through its surrogate, side by side.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use lithoburn_engine::{CORRECT_EVERY, Compared, Comparison, Descended, Kept, TrueModel};
use lithoburn_layout::{Frame, Layout, write_whole};
use lithoburn_litho::ilt::{IltConfig, MaskConstraint};
use serde::Serialize;

use super::clips_of;
use crate::Verdict;
use crate::options::{BakeOptions, DeviceOptions, KernelOptions, LayoutOptions, RuleOptions};
use lithoburn_terminal::{go_on, print_json, say, table};

/// Clips and settings.
#[derive(Args, Debug)]
pub struct SurrogateArgs {
    /// Folder of .glp clips.
    #[arg(long, value_name = "PATH")]
    clips: PathBuf,
    /// Clips taken, from the first.
    #[arg(long, value_name = "N", default_value_t = 10)]
    count: usize,
    /// Directory of the surrogate; without it, the built-in one for the kernels and the resist.
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,
    /// Steps between two looks at the true model.
    #[arg(long, value_name = "N", default_value_t = CORRECT_EVERY)]
    correct_every: usize,
    #[command(flatten)]
    device: DeviceOptions,
    #[command(flatten)]
    kernels: KernelOptions,
    #[command(flatten)]
    bake: BakeOptions,
    #[command(flatten)]
    drawing: LayoutOptions,
    #[command(flatten)]
    rules: RuleOptions,
    /// Run the first clip once before the clock runs, so that compiling is not counted.
    #[arg(long)]
    warm: bool,
    /// Directory for NAME.json and NAME.md.
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The files' name.
    #[arg(long, value_name = "NAME", default_value = "surrogate")]
    name: String,
    /// Print JSON and nothing else.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Row {
    clip: String,
    #[serde(flatten)]
    compared: Compared,
}

#[derive(Clone, Debug, Serialize)]
struct Table {
    command: String,
    version: &'static str,
    device: String,
    card: String,
    kernels: String,
    resist: &'static str,
    weights_sha256: String,
    clips: Vec<Row>,
}

/// Runs the job.
pub(super) fn surrogate(args: &SurrogateArgs) -> Result<Verdict> {
    let layouts = clips_of(&args.clips, &args.drawing)?;
    let (kernels, kernels_name) = args.kernels.load()?;
    let (process, device) = (args.kernels.process()?, args.device.choose()?);
    let model = TrueModel {
        kernels,
        diffusion_nm: process.diffusion_nm,
        bake: args.bake.load()?,
        window: process.window,
    };
    let (surrogate, weights_sha256) = model.surrogate(args.weights.as_deref(), &device.device)?;
    let rules = args.rules.load()?.map(Kept);
    let descent = IltConfig::default();
    let comparison = Comparison {
        model: &model,
        surrogate: &surrogate,
        correct_every: args.correct_every,
        descent: &descent,
        constraint: rules.as_ref().map(|kept| kept as &dyn MaskConstraint),
        device: &device.device,
    };
    let run = |layout: &Layout| -> Result<Row> {
        let frame = Frame::centred(layout, model.kernels.period_nm, args.drawing.pixel)?;
        let target = layout.rasterize(&frame, args.drawing.coverage());
        let compared = comparison.run(&target, &mut |_| go_on())?;
        say(args.json, &format!("{} done", layout.name));
        Ok(Row { clip: layout.name.clone(), compared })
    };
    let layouts = &layouts[..layouts.len().min(args.count)];
    if let Some(first) = layouts.first().filter(|_| args.warm) {
        run(first)?;
    }
    let clips: Result<Vec<Row>> = layouts.iter().map(run).collect();
    let table = Table {
        command: std::env::args().skip(1).fold("lithoburn".into(), |line, word| line + " " + &word),
        version: env!("CARGO_PKG_VERSION"),
        device: device.name.clone(),
        card: device.card.clone(),
        kernels: kernels_name,
        resist: if model.bake.is_some() { "bake" } else { "threshold" },
        weights_sha256,
        clips: clips?,
    };
    match args.json {
        true => print_json(&table)?,
        false => say(false, &self::table(&HEADER, &rows(&table))),
    }
    if let Some(out) = &args.out {
        write(&table, out, &args.name)?;
    }
    Ok(Verdict::Done)
}

const HEADER: [&str; 7] =
    ["clip", "descent", "L2 nm²", "PVB nm²", "true-model calls", "surrogate MSE", "s"];

fn cells(clip: &str, descent: &str, run: &Descended) -> Vec<String> {
    vec![
        clip.into(),
        descent.into(),
        format!("{:.0}", run.l2_nm2),
        format!("{:.0}", run.pvb_nm2),
        run.usage.true_model_calls.to_string(),
        run.usage.surrogate_mse.map_or("–".into(), |mse| format!("{mse:.1e}")),
        format!("{:.2}", run.seconds),
    ]
}

fn rows(table: &Table) -> Vec<Vec<String>> {
    let both = |clip: &str, c: &Compared| {
        [cells(clip, "exact", &c.exact), cells("", "surrogate", &c.surrogate)]
    };
    let mut rows: Vec<Vec<String>> =
        table.clips.iter().flat_map(|row| both(&row.clip, &row.compared)).collect();
    let of = |pick: fn(&Compared) -> Descended| {
        let runs: Vec<Descended> = table.clips.iter().map(|row| pick(&row.compared)).collect();
        let mean = |value: &dyn Fn(&Descended) -> f64| {
            runs.iter().map(value).sum::<f64>() / runs.len().max(1) as f64
        };
        let mut average = runs.first().copied()?;
        average.l2_nm2 = mean(&|r| r.l2_nm2);
        average.pvb_nm2 = mean(&|r| r.pvb_nm2);
        average.seconds = mean(&|r| r.seconds);
        let mse =
            average.usage.surrogate_mse.map(|_| mean(&|r| r.usage.surrogate_mse.unwrap_or(0.0)));
        average.usage.surrogate_mse = mse;
        Some(average)
    };
    if let (Some(exact), Some(surrogate)) = (of(|c| c.exact), of(|c| c.surrogate)) {
        rows.extend(both("average", &Compared { exact, surrogate }));
    }
    rows
}

/// The table as JSON, for programs, and as Markdown, for people.
fn write(t: &Table, out: &std::path::Path, name: &str) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let file = |ending: &str| out.join(format!("{name}.{ending}"));
    write_whole(&file("json"), &serde_json::to_vec_pretty(t)?)?;
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = format!(
        "# Exact loop and surrogate loop, {} clips, {} resist\n\n`{}`\n\nlithoburn {}, {} ({}), kernels {}\n\n",
        t.clips.len(),
        t.resist,
        t.command,
        t.version,
        t.device,
        t.card,
        t.kernels
    );
    text += &line(&HEADER.map(String::from));
    text += &line(&HEADER.map(|_| "---".into()));
    rows(t).iter().for_each(|row| text += &line(row));
    write_whole(&file("md"), text.as_bytes())?;
    say(false, &format!("wrote {}/{name}.{{json,md}}", out.display()));
    Ok(())
}
