//! Where time goes: a case on one to all threads, by stages, alone and beside others of its kind.
//!
//! A factorisation of this size gains little from threads; designs, angles and Reynolds numbers side by side gain much.
//! What they lose to each other (memory, caches, a loaded machine) is the contention: 1 − speed-up / threads.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use lithoburn_cfd::{Case, Error, Objective, Stages};
use lithoburn_layout::write_whole;
use rayon::prelude::*;
use serde::Serialize;

use crate::options::Cells;
use crate::pictures::{Chart, Series, charts};
use crate::studies;
use crate::study::{Measure, Study};
use lithoburn_terminal::{Verdict, print_json, say, table};

/// Options of the profile.
#[derive(Args, Debug)]
pub(crate) struct ProfileArgs {
    /// Cells along x and y of the cylinder that is timed: a multiple of 128x64.
    #[arg(long, value_name = "NXxNY", default_value = "128x64")]
    grid: Cells,
    /// Most threads [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Repetitions; the fastest counts.
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeat: usize,
    /// Directory for profile.json and profile.png.
    #[arg(long, short, value_name = "DIR", default_value = "out/cfd-profile")]
    out: PathBuf,
    /// Print JSON and nothing else.
    #[arg(long)]
    json: bool,
}

/// What a number of threads does, in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Timing {
    threads: usize,
    /// A case alone.
    forward: f64,
    /// What of it each stage takes.
    stages: Stages,
    /// Its gradient: the adjoint's transposed solve and products.
    gradient: f64,
    /// As many cases as threads.
    batch: f64,
    /// Cases per second over those of one thread.
    speedup: f64,
    contention_percent: f64,
}

/// Measures.
///
/// # Errors
///
/// If an option makes no sense or a case cannot be solved.
pub(crate) fn profile(args: &ProfileArgs) -> Result<Verdict> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let most = args.threads.unwrap_or(cores);
    if most == 0 || args.repeat == 0 {
        bail!("--threads and --repeat must be 1 or more");
    }
    let fineness = args.grid.fineness(Cells { x: 128, y: 64 }, "cylinder")?;
    let study = studies::stream(40.0, 50.0, fineness)?;
    let mut timings: Vec<Timing> = Vec::new();
    for threads in 1..=most {
        let first = timings.first().map(|t: &Timing| t.batch);
        timings.push(time(&study, threads, args.repeat, first)?);
    }
    if args.json {
        print_json(&timings)?;
    } else {
        say(false, &format!("{}, {} cells, fastest of {}", study.title, args.grid, args.repeat));
        say(false, &by_stages(&timings));
        say(false, &shown(&timings));
    }
    write_whole(&args.out.join("profile.json"), &serde_json::to_vec_pretty(&timings)?)?;
    write_whole(&args.out.join("profile.png"), &charts(&[drawn(&timings)])?)?;
    say(args.json, &format!("wrote {}/{{profile.json, profile.png}}", args.out.display()));
    Ok(Verdict::Done)
}

fn time(study: &Study, threads: usize, repeat: usize, first: Option<f64>) -> Result<Timing> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let objective = objective(study)?;
    let case = &study.case;
    pool.install(|| {
        let (mut forward, mut stages) = (f64::INFINITY, Stages::default());
        for _ in 0..repeat {
            let started = Instant::now();
            let flow = case.solve()?;
            let seconds = started.elapsed().as_secs_f64();
            if seconds < forward {
                (forward, stages) = (seconds, flow.history().stages);
            }
        }
        let flow = case.solve()?;
        let gradient = fastest(repeat, || flow.gradient(&objective).map(drop))?;
        let batch = fastest(repeat, || side_by_side(case, threads))?;
        let speedup = threads as f64 * first.unwrap_or(batch) / batch;
        let contention_percent = 100.0 * (1.0 - speedup / threads as f64);
        Ok(Timing { threads, forward, stages, gradient, batch, speedup, contention_percent })
    })
}

fn objective(study: &Study) -> Result<Objective> {
    let found = study.quantities.iter().find_map(|q| match &q.measure {
        Measure::Objective(objective) => Some(objective.clone()),
        Measure::Reading(_) => None,
    });
    found.ok_or_else(|| anyhow::anyhow!("the case has no objective"))
}

/// As many solutions at once, at Reynolds numbers near each other.
fn side_by_side(case: &Case, count: usize) -> Result<(), Error> {
    (0..count).into_par_iter().try_for_each(|k| {
        let mut own = case.clone();
        own.viscosity *= 1.0 + 0.001 * k as f64;
        own.solve().map(drop)
    })
}

fn fastest(repeat: usize, mut run: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    let mut best = f64::INFINITY;
    for _ in 0..repeat {
        let started = Instant::now();
        run()?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Seconds and shares of the stages of one case.
fn by_stages(timings: &[Timing]) -> String {
    let row = |t: &Timing| {
        let known: f64 = t.stages.named().iter().map(|(_, seconds)| seconds).sum();
        let rest = (t.forward - known).max(0.0);
        let share = |s: f64| format!("{s:.3} ({:.0} %)", 100.0 * s / t.forward);
        let parts = t.stages.named().map(|(_, seconds)| share(seconds));
        let ends = [share(rest), format!("{:.3}", t.forward), format!("{:.3}", t.gradient)];
        [vec![t.threads.to_string()], parts.to_vec(), ends.to_vec()].concat()
    };
    let names = Stages::default().named().map(|(name, _)| name);
    let head = [vec!["threads"], names.to_vec(), vec!["rest", "flow s", "adjoint s"]].concat();
    table(&head, &timings.iter().map(row).collect::<Vec<_>>())
}

fn shown(timings: &[Timing]) -> String {
    let row = |t: &Timing| {
        vec![
            t.threads.to_string(),
            format!("{:.3}", t.forward),
            format!("{:.4}", t.gradient),
            format!("{:.3}", t.batch),
            format!("{:.2}", t.speedup),
            format!("{:.0} %", t.contention_percent),
        ]
    };
    let rows: Vec<Vec<String>> = timings.iter().map(row).collect();
    table(
        &["threads", "one case s", "gradient s", "a case each s", "speed-up", "contention"],
        &rows,
    )
}

fn drawn(timings: &[Timing]) -> Chart {
    let series = |name: &str, value: fn(&Timing) -> f64| Series {
        name: name.into(),
        points: timings.iter().map(|t| [t.threads as f64, value(t)]).collect(),
        labels: Vec::new(),
        joined: true,
    };
    let alone = timings.first().map_or(1.0, |t| t.forward);
    let mut all = vec![series("a case each", |t| t.speedup), series("ideal", |t| t.threads as f64)];
    let points = timings.iter().map(|t| [t.threads as f64, alone / t.forward]).collect();
    all.push(Series { name: "one case".into(), points, labels: Vec::new(), joined: true });
    Chart {
        title: "Speed-up".into(),
        x: "threads".into(),
        y: "times one thread".into(),
        series: all,
    }
}
