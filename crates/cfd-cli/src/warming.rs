//! Heat in time: how a case warms up, from fluid of one temperature to its steady flow.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use lithoburn_cfd::{Flow, March, Objective, State};
use lithoburn_layout::write_whole;
use serde::Serialize;

use crate::number::number;
use crate::options::{RunOptions, positive, use_threads};
use crate::pictures::{Caption, Chart, Fields, Series, charts, overview};
use crate::report::{GradientReport, Row, shown};
use crate::run;
use crate::study::{Measure, Reference, Study};
use crate::vtk;
use lithoburn_terminal::{Verdict, go_on, listen, note, print_json, say};

/// Options of heat in time.
#[derive(Args, Debug)]
pub(crate) struct WarmingOptions {
    /// Warm up in time in place of the steady flow.
    #[arg(long)]
    pub(crate) unsteady: bool,
    /// Time to run, in units of the case (docs/flow.md).
    #[arg(long, value_name = "T", requires = "unsteady", allow_negative_numbers = true)]
    pub(crate) time: Option<f64>,
    /// Step of time [default: the steady flow crosses a quarter of a cell].
    #[arg(long, value_name = "DT", requires = "unsteady", allow_negative_numbers = true)]
    pub(crate) step: Option<f64>,
}

/// What the fluid is like when the walls' temperatures are switched on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// Its temperature.
    pub(crate) temperature: f64,
    /// Whether it flows already, as it will; at rest otherwise.
    pub(crate) flowing: bool,
    /// How long a run is by default.
    pub(crate) time: f64,
}

/// Share of a cell that the steady flow crosses in a step by default: a flow that warms up overshoots.
const COURANT: f64 = 0.25;
/// A quantity has settled once it stays this near its steady value, relative to it.
const SETTLED: f64 = 0.01;
/// States in whose memory the gradient of a run is taken.
const KEPT: usize = 20;

/// A quantity over time.
#[derive(Debug, Serialize)]
struct History {
    key: &'static str,
    quantity: &'static str,
    /// Its value in the steady flow.
    steady: f64,
    /// When it came within 1 % of that for good; null if it did not.
    settled: Option<f64>,
    /// Its value after each step.
    values: Vec<f64>,
}

/// All of report.json.
#[derive(Serialize)]
struct Report<'a> {
    case: &'static str,
    title: &'a str,
    time: f64,
    step: f64,
    seconds: f64,
    /// Values at the end, compared with the steady flow's.
    quantities: &'a [Row],
    /// Of the mean over the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    gradient: Option<&'a GradientReport>,
    series: &'a [History],
}

/// Warms a case up.
///
/// # Errors
///
/// One that says what was wrong and what to do.
pub(crate) fn warm(
    options: &RunOptions,
    time: &WarmingOptions,
    start: Start,
    study: &mut Study,
) -> Result<Verdict> {
    options.farm.refuse("--unsteady")?;
    use_threads(options.threads)?;
    run::prepare(study, options)?;
    if options.dry_run {
        return run::plan(study, options.json);
    }
    run::make_folder(options, &study.directory(options))?;
    listen();
    let until = positive("--time", time.time.unwrap_or(start.time))?;
    let started = Instant::now();
    let steady = study.case.solve()?;
    let march = march(&steady, time.step)?;
    if march.time_step() > until {
        bail!("--step {} is longer than --time {until}", clock(march.time_step()));
    }
    let first = begin(&march, &steady, start)?;
    let steps = (until / march.time_step()).round() as usize;
    let mut series = empty(study, &steady);
    let last = follow(&march, first.clone(), steps, study, &mut series, !options.json)?;
    let taken = series.first().map_or(0, |history| history.values.len());
    series.iter_mut().for_each(|history| history.settled = settled(history, march.time_step()));
    let gradient =
        options.gradient.as_deref().map(|key| gradient(study, &march, &first, taken, key));
    let (rows, gradient) = (rows(&series), gradient.transpose()?);
    let report = Report {
        case: study.name,
        title: &study.title,
        time: taken as f64 * march.time_step(),
        step: march.time_step(),
        seconds: started.elapsed().as_secs_f64(),
        quantities: &rows,
        gradient: gradient.as_ref(),
        series: &series,
    };
    tell(options, &report)?;
    if !options.no_files {
        write(study, options, &steady, (&march, &last), &report)?;
    }
    Ok(Verdict::Done)
}

/// A time without the zeros at its end.
fn clock(time: f64) -> String {
    let text = number(time);
    if text.contains(['e', 'N', 'i']) || !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').into()
}

/// The equations in time with the step asked for, or one that suits the steady flow.
fn march(steady: &Flow, step: Option<f64>) -> Result<March> {
    if let Some(step) = step {
        return Ok(March::new(steady.case(), positive("--step", step)?)?);
    }
    let trial = March::new(steady.case(), 1.0)?;
    let crossed = trial.courant(&trial.start_from(steady)?);
    // One digit: a number that people can repeat.
    let wanted = COURANT / crossed.max(f64::MIN_POSITIVE);
    let digit = 10f64.powf(wanted.log10().floor());
    let step = (wanted / digit).floor() * digit;
    if !step.is_finite() {
        bail!("the steady flow stands still: give the step of time by --step");
    }
    Ok(March::new(steady.case(), step)?)
}

fn begin(march: &March, steady: &Flow, start: Start) -> Result<State> {
    let state = if start.flowing { march.start_from(steady)? } else { march.rest() };
    let cold = |_: f64, _: f64| start.temperature;
    Ok(march.warmed(&state, &cold, &cold))
}

/// The quantities that flow in time has, with nothing noted yet.
fn empty(study: &Study, steady: &Flow) -> Vec<History> {
    let known = study.quantities.iter().filter_map(|quantity| match &quantity.measure {
        Measure::Objective(objective) => Some(History {
            key: quantity.key,
            quantity: quantity.name,
            steady: steady.value(objective),
            settled: None,
            values: Vec::new(),
        }),
        Measure::Reading(_) => None,
    });
    known.collect()
}

/// Steps through time and notes each quantity; Ctrl-C ends the run early.
fn follow(
    march: &March,
    mut state: State,
    steps: usize,
    study: &Study,
    series: &mut [History],
    loud: bool,
) -> Result<State> {
    let step = march.time_step();
    for k in 0..steps {
        state =
            march.advance(&state).with_context(|| format!("at time {}", clock(k as f64 * step)))?;
        let crossed = march.courant(&state);
        if crossed > 1.0 || crossed.is_nan() {
            bail!(
                "--step {}: at time {} the flow crosses {crossed:.2} cells a step; expected less than 1: take {}",
                clock(step),
                clock((k + 1) as f64 * step),
                clock(0.6 * step / crossed)
            );
        }
        for history in series.iter_mut() {
            history.values.push(march.value(study.objective(history.key)?.1, &state));
        }
        if loud && (k + 1).is_multiple_of((steps / 10).max(1)) {
            note(&format!(
                "time {} of {}",
                clock((k + 1) as f64 * step),
                clock(steps as f64 * step)
            ));
        }
        if !go_on() {
            note("stopped: what follows is what was reached");
            break;
        }
    }
    Ok(state)
}

/// When a quantity came near its steady value for good.
fn settled(history: &History, step: f64) -> Option<f64> {
    let near = |value: &f64| (value - history.steady).abs() <= SETTLED * history.steady.abs();
    let still = history.values.iter().rev().take_while(|value| near(value)).count();
    (still > 0).then(|| (history.values.len() - still + 1) as f64 * step)
}

/// Derivatives of a quantity's mean over the run.
fn gradient(
    study: &Study,
    march: &March,
    start: &State,
    steps: usize,
    key: &str,
) -> Result<GradientReport> {
    let (key, objective) = study.objective(key)?;
    let started = Instant::now();
    let mean = Objective::Sum(vec![(1.0 / (steps as f64 * march.time_step()), objective.clone())]);
    let gradient = march.gradient(&mean, start, steps, KEPT)?;
    Ok(GradientReport::in_time(key, study, &gradient, started.elapsed().as_secs_f64()))
}

/// Values at the end, beside the steady flow's.
fn rows(series: &[History]) -> Vec<Row> {
    let row = |history: &History| {
        let value = history.values.last().copied().unwrap_or(f64::NAN);
        let reference = Reference::value(history.steady, SETTLED, "the steady flow");
        Row {
            key: history.key,
            quantity: history.quantity,
            value,
            deviation: Some(reference.deviation(value)),
            holds: Some(reference.holds(value)),
            reference: Some(reference),
        }
    };
    series.iter().map(row).collect()
}

fn tell(options: &RunOptions, report: &Report) -> Result<()> {
    if options.json {
        return Ok(print_json(report)?);
    }
    let (time, step) = (clock(report.time), clock(report.step));
    say(false, &format!("{}, warming up to time {time} by {step}", report.title));
    say(false, &shown(report.quantities));
    for history in report.series {
        let settled =
            history.settled.map_or("not within 1 % of its steady value yet".into(), |at| {
                format!("within 1 % of its steady value from time {} on", clock(at))
            });
        say(false, &format!("{}: {settled}", history.quantity));
    }
    if let Some(gradient) = report.gradient {
        say(false, &gradient.shown());
    }
    let steps = report.series.first().map_or(0, |history| history.values.len());
    say(false, &format!("{steps} steps, {:.1} s", report.seconds));
    Ok(())
}

fn write(
    study: &Study,
    options: &RunOptions,
    steady: &Flow,
    (march, last): (&March, &State),
    report: &Report,
) -> Result<()> {
    let fields = Fields::of(steady).moving(march.velocity(last), march.pressure(last));
    let fields = fields.warmed(march.temperature(last).context("the case has no temperature")?);
    let values = report.quantities.iter().map(|r| format!("{} {}", r.quantity, number(r.value)));
    let caption = Caption {
        title: format!("{}, time {}", study.title, clock(report.time)),
        line: values.collect::<Vec<_>>().join("   ·   "),
    };
    let directory = study.directory(options);
    let files: [(&str, Vec<u8>); 4] = [
        ("report.json", serde_json::to_vec_pretty(report)?),
        ("overview.png", overview(&fields, study.window, &caption)?),
        ("warming.png", charts(&drawn(report))?),
        ("fields.vtr", vtk::rectilinear(&fields).into_bytes()),
    ];
    for (name, bytes) in files {
        write_whole(&directory.join(name), &bytes)?;
    }
    let names = "{report.json, overview.png, warming.png, fields.vtr}";
    say(options.json, &format!("wrote {}/{names}", directory.display()));
    Ok(())
}

/// A chart for each quantity, with its steady value.
fn drawn(report: &Report) -> Vec<Chart> {
    let line = |name: &str, points: Vec<[f64; 2]>| Series {
        name: name.into(),
        points,
        labels: Vec::new(),
        joined: true,
    };
    let chart = |history: &History| {
        // A point a pixel is enough for the eye. A wall that is switched on gives without bound at first, which would
        // set the scale.
        let (stride, first) = ((history.values.len() / 1000).max(1), history.values.len() / 50);
        let points = history.values.iter().enumerate().skip(first).step_by(stride);
        let points = points.map(|(i, v)| [(i + 1) as f64 * report.step, *v]).collect();
        let steady = [0.0, report.time].map(|time| [time, history.steady]).to_vec();
        Chart {
            title: history.quantity.into(),
            x: "time".into(),
            y: history.quantity.into(),
            series: vec![line("in time", points), line("steady", steady)],
        }
    };
    report.series.iter().map(chart).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(values: Vec<f64>) -> History {
        History { key: "q", quantity: "q", steady: 1.0, settled: None, values }
    }

    #[test]
    fn a_quantity_has_settled_when_it_stays_near_and_not_when_it_passes() {
        assert_eq!(settled(&history(vec![0.0, 1.0, 2.0, 0.995, 1.001]), 0.5), Some(2.0));
        assert_eq!(settled(&history(vec![1.0, 1.0, 1.2]), 0.5), None);
        assert_eq!(settled(&history(vec![1.0, f64::NAN]), 0.5), None);
    }
}
