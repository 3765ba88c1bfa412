//! Better shapes and designs: the start, the descent, the end, and the end again on a finer grid.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::{Args, ValueEnum};
use lithoburn_cfd::Flow;
use lithoburn_cfd::optimize::{End, Optimum, Record};
use lithoburn_layout::write_whole;
use serde::Serialize;

use crate::number::number;
use crate::options::use_threads;
use crate::pictures::{Caption, Chart, Fields, Series, Window, charts, overview};
use crate::vtk;
use lithoburn_terminal::{Verdict, go_on, listen, note, print_json, say, table};

pub(crate) mod density;
pub(crate) mod inflow;
pub(crate) mod section;
pub(crate) mod shape;

/// What is made better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Task {
    /// The outline of least drag at Re 40 among those of a circle's area.
    Drag,
    /// The NACA section and angle of the greatest lift to drag at Re 500.
    LiftToDrag,
    /// The pipes of least dissipation between two inlets and two outlets.
    DoublePipe,
    /// The ribs that give most heat for the pressure drop of two fins.
    Exchanger,
    /// The inflow profile of least drag on a cylinder in a small channel.
    Inflow,
}

/// Options of the optimisation.
#[derive(Args, Debug)]
pub(crate) struct OptimizeArgs {
    /// What is made better.
    #[arg(value_enum)]
    task: Task,
    /// Most iterations.
    #[arg(long, value_name = "N")]
    iterations: Option<usize>,
    /// Length of the double pipe's box, in heights.
    #[arg(long, value_name = "L", default_value_t = 1.5)]
    length: f64,
    /// Do not evaluate the result on the finer grid.
    #[arg(long)]
    coarse_only: bool,
    /// Threads [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Directory for report.json, history.png, before.png, after.png and design.vti.
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON and nothing else.
    #[arg(long)]
    json: bool,
}

/// Where a descent began and ended.
pub(crate) struct Improvement {
    pub(crate) name: &'static str,
    /// What the value is.
    pub(crate) quantity: &'static str,
    /// Value of the start, or of the design to beat.
    pub(crate) before: f64,
    pub(crate) after: f64,
    /// The same two on a twice finer grid with sharp walls.
    pub(crate) finer: Option<[f64; 2]>,
    pub(crate) flows: [Flow; 2],
    pub(crate) window: Window,
    pub(crate) optimum: Optimum,
    /// The design's numbers with their names, if they are few.
    pub(crate) design: Vec<(String, f64)>,
}

/// How a descent is run and watched.
pub(crate) struct Descent {
    pub(crate) iterations: usize,
    pub(crate) finer: bool,
    /// Whether each iteration is a line on the terminal.
    pub(crate) loud: bool,
}

impl Descent {
    /// Shows an iteration; false if the user asked to stop.
    pub(crate) fn watch(&self, record: &Record) -> bool {
        if self.loud {
            note(&format!(
                "{:>4} evaluations   value {}   violation {:.1e}   optimality {:.1e}",
                record.evaluations,
                number(record.value),
                record.violation,
                record.optimality
            ));
        }
        go_on()
    }
}

/// Adds a stage to the history of those before it; evaluations go on being counted.
pub(crate) fn go_on_with(history: &mut Vec<Record>, stage: &[Record]) {
    let before = history.last().map_or(0, |record| record.evaluations);
    let counted = |r: &Record| Record { evaluations: before + r.evaluations, ..*r };
    history.extend(stage.iter().map(counted));
}

#[derive(Serialize)]
struct Summary<'a> {
    task: &'static str,
    quantity: &'static str,
    before: f64,
    after: f64,
    change_percent: f64,
    finer_before: Option<f64>,
    finer_after: Option<f64>,
    end: End,
    evaluations: usize,
    seconds: f64,
    design: &'a [(String, f64)],
    history: &'a [Record],
}

/// Optimises.
///
/// # Errors
///
/// One that says what was wrong and what to do.
pub(crate) fn optimize(args: &OptimizeArgs) -> Result<Verdict> {
    use_threads(args.threads)?;
    listen();
    let descent = |iterations: usize| Descent {
        iterations: args.iterations.unwrap_or(iterations),
        finer: !args.coarse_only,
        loud: !args.json,
    };
    let started = Instant::now();
    let found = match args.task {
        Task::Drag => shape::least_drag(&descent(60))?,
        Task::LiftToDrag => section::best(&descent(40))?,
        Task::DoublePipe => density::double_pipe(args.length, &descent(100))?,
        Task::Exchanger => density::exchanger(&descent(80))?,
        Task::Inflow => inflow::least_drag(&descent(100))?,
    };
    finish(args, &found, started.elapsed().as_secs_f64())
}

fn finish(args: &OptimizeArgs, found: &Improvement, seconds: f64) -> Result<Verdict> {
    let history = &found.optimum.history;
    let summary = Summary {
        task: found.name,
        quantity: found.quantity,
        before: found.before,
        after: found.after,
        change_percent: 100.0 * (found.after / found.before - 1.0),
        finer_before: found.finer.map(|f| f[0]),
        finer_after: found.finer.map(|f| f[1]),
        end: found.optimum.end,
        evaluations: history.last().map_or(0, |r| r.evaluations),
        seconds,
        design: &found.design,
        history,
    };
    if args.json {
        print_json(&summary)?;
    } else {
        show(&summary);
    }
    let out = args.out.clone().unwrap_or_else(|| format!("out/cfd-optimize-{}", found.name).into());
    for (name, bytes) in files(found, &summary)? {
        write_whole(&out.join(name), &bytes)?;
    }
    let names = "{report.json, history.png, before.png, after.png, design.vti}";
    say(args.json, &format!("wrote {}/{names}", out.display()));
    let good = matches!(found.optimum.end, End::Converged);
    if !good {
        note("not converged: the design is the best so far; --iterations N goes on for longer");
    }
    Ok(if good { Verdict::Done } else { Verdict::NotMet })
}

fn show(summary: &Summary) {
    let change = |[before, after]: [f64; 2]| format!("{:+.1} %", 100.0 * (after / before - 1.0));
    let row = |grid: &str, pair: [f64; 2]| {
        vec![grid.to_string(), number(pair[0]), number(pair[1]), change(pair)]
    };
    let mut rows = vec![row("the descent's", [summary.before, summary.after])];
    if let (Some(before), Some(after)) = (summary.finer_before, summary.finer_after) {
        rows.push(row("twice as fine, sharp walls", [before, after]));
    }
    say(
        false,
        &table(&["grid", &format!("{} before", summary.quantity), "after", "change"], &rows),
    );
    for (name, value) in summary.design {
        say(false, &format!("{name:>24} {}", number(*value)));
    }
    let end = format!("{:?}", summary.end).to_lowercase();
    say(
        false,
        &format!("{end} after {} evaluations, {:.1} s", summary.evaluations, summary.seconds),
    );
}

fn files(found: &Improvement, summary: &Summary) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let history = &found.optimum.history;
    let series = Series {
        name: found.quantity.into(),
        points: history.iter().enumerate().map(|(i, r)| [i as f64, r.value]).collect(),
        labels: Vec::new(),
        joined: true,
    };
    let chart = Chart {
        title: format!("{} over iterations", found.quantity),
        x: "iteration".into(),
        y: found.quantity.into(),
        series: vec![series],
    };
    let picture = |flow: &Flow, when: &str, value: f64| -> Result<Vec<u8>> {
        let caption = Caption {
            title: format!("{}, {when}", found.name.replace('-', " ")),
            line: format!("{} {}", found.quantity, number(value)),
        };
        Ok(overview(&Fields::of(flow), found.window, &caption)?)
    };
    let [before, after] = &found.flows;
    Ok(vec![
        ("report.json", serde_json::to_vec_pretty(summary)?),
        ("history.png", charts(&[chart])?),
        ("before.png", picture(before, "before", found.before)?),
        ("after.png", picture(after, "after", found.after)?),
        ("design.vti", vtk::image(&Fields::of(after), found.window).into_bytes()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluations_of_stages_add_up() {
        let record =
            |evaluations| Record { evaluations, value: 1.0, violation: 0.0, optimality: 1.0 };
        let mut history = Vec::new();
        for stage in [[record(1), record(5)], [record(1), record(3)]] {
            go_on_with(&mut history, &stage);
        }
        assert!(history.iter().map(|r| r.evaluations).eq([1, 5, 6, 8]));
    }
}
