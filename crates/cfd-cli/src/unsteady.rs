//! A vortex street: frequency, mean drag and the swing of the lift, from their series in time.

use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use lithoburn_cfd::shedding::{Series as Forces, Shedding};
use lithoburn_cfd::{Case, March, Objective, State};
use lithoburn_layout::write_whole;
use serde::Serialize;

use crate::number::number;
use crate::options::{RunOptions, positive, use_threads};
use crate::pictures::{Caption, Chart, Fields, Series, charts, overview};
use crate::report::{Row, shown};
use crate::run;
use crate::study::{Reference, Study};
use crate::vtk;
use lithoburn_terminal::{Verdict, go_on, listen, note, print_json, say};

/// Options of flow in time.
#[derive(Args, Debug)]
pub(crate) struct TimeOptions {
    /// Let vortices shed: flow in time in place of the steady one.
    #[arg(long)]
    pub(crate) unsteady: bool,
    /// Time to run, in lengths over speeds; the second half is measured.
    #[arg(
        long,
        value_name = "T",
        default_value_t = 150.0,
        requires = "unsteady",
        allow_negative_numbers = true
    )]
    pub(crate) time: f64,
    /// Step of time.
    #[arg(
        long,
        value_name = "DT",
        default_value_t = 0.02,
        requires = "unsteady",
        allow_negative_numbers = true
    )]
    pub(crate) step: f64,
}

/// Fewest periods from which a frequency is measured.
const PERIODS: usize = 8;

#[derive(Serialize)]
struct Report<'a> {
    title: &'a str,
    time: f64,
    step: f64,
    seconds: f64,
    quantities: &'a [Row],
    shedding: Option<Shedding>,
    series: &'a Forces,
}

/// Runs a study in time.
///
/// # Errors
///
/// One that says what was wrong and what to do.
pub(crate) fn run(options: &RunOptions, time: &TimeOptions, study: &Study) -> Result<Verdict> {
    options.farm.refuse("--unsteady")?;
    use_threads(options.threads)?;
    run::make_folder(options, &study.directory(options))?;
    listen();
    let (until, step) = (positive("--time", time.time)?, positive("--step", time.step)?);
    let started = Instant::now();
    let street = street(&study.case, &Shedder::stream(), until, step, !options.json)?;
    let shedding = street.forces.shedding(until / 2.0, PERIODS);
    let rows = rows(study, shedding.as_ref());
    let seconds = started.elapsed().as_secs_f64();
    let report = Report {
        title: &study.title,
        time: until,
        step,
        seconds,
        quantities: &rows,
        shedding,
        series: &street.forces,
    };
    if options.json {
        print_json(&report)?;
    } else {
        say(false, &format!("{}, in time to {until} by {step}", study.title));
        say(false, &shown(&rows));
        say(false, &format!("{} steps, {seconds:.1} s", street.forces.lift.len()));
    }
    if !options.no_files {
        write(study, options, &street, &report)?;
    }
    if shedding.is_none() {
        note(&format!(
            "no street of {PERIODS} periods in the second half: run for longer (--time), or the flow is steady"
        ));
        return Ok(Verdict::NotMet);
    }
    Ok(Verdict::Done)
}

/// A run in time, with the steady flow that it began from.
pub(crate) struct Street {
    pub(crate) forces: Forces,
    steady: lithoburn_cfd::Flow,
    march: March,
    last: State,
}

/// A body whose street is looked at.
pub(crate) struct Shedder {
    /// Where the flow is kicked, so that the street need not grow from rounding.
    pub(crate) kick: [f64; 2],
    /// Size of the body.
    pub(crate) size: f64,
    /// Speed that coefficients refer to.
    pub(crate) speed: f64,
}

impl Shedder {
    /// A body of size one at the origin in a stream of speed one.
    pub(crate) fn stream() -> Self {
        Self { kick: [1.2, 0.0], size: 1.0, speed: 1.0 }
    }
}

/// Runs from the steady flow with a kick behind the body.
pub(crate) fn street(
    case: &Case,
    shedder: &Shedder,
    until: f64,
    step: f64,
    loud: bool,
) -> Result<Street> {
    let steady = case.solve()?;
    let march = March::new(case, step)?;
    let kicked = |x: f64, y: f64| {
        let [u, v] = [0, 1].map(|axis| steady.velocity_at(axis, x, y));
        let [dx, dy] = [x - shedder.kick[0], y - shedder.kick[1]].map(|d| d / shedder.size);
        [u, v + 0.3 * shedder.speed * (-dx * dx - dy * dy).exp()]
    };
    let start = march.start(&kicked, &kicked);
    let courant = march.courant(&start);
    if courant > 1.0 {
        let shorter = number(0.6 * step / courant);
        bail!(
            "--step {step}: flow crosses {courant:.2} cells a step; expected less than 1: take {shorter}"
        );
    }
    let steps = (until / step).ceil() as usize;
    let watch = |k: usize, _: &State| {
        if loud && k.is_multiple_of((steps / 20).max(1)) {
            note(&format!("time {:.1} of {until}", (k + 1) as f64 * step));
        }
        go_on()
    };
    let drag = Objective::drag(shedder.speed, shedder.size);
    let lift = Objective::lift(shedder.speed, shedder.size);
    let (forces, last) = Forces::record(&march, start, steps, [&drag, &lift], watch)?;
    Ok(Street { forces, steady, march, last })
}

/// The table; references are those of a cylinder at Re 100.
fn rows(study: &Study, shedding: Option<&Shedding>) -> Vec<Row> {
    let known = study.parameters.contains(&("re", 100.0)) && study.name == "cylinder";
    let row = |key, quantity, value: f64, reference: Reference| {
        let reference = known.then_some(reference);
        let deviation = reference.as_ref().map(|r| r.deviation(value));
        let holds = reference.as_ref().map(|r| r.holds(value));
        Row { key, quantity, value, reference, deviation, holds }
    };
    let value = |take: fn(&Shedding) -> f64| shedding.map_or(f64::NAN, take);
    street_references()
        .into_iter()
        .map(|(key, name, take, reference)| row(key, name, value(take), reference))
        .collect()
}

/// A quantity of a street: short name, name, how it is taken, and what others found at Re 100.
pub(crate) type StreetQuantity = (&'static str, &'static str, fn(&Shedding) -> f64, Reference);

/// Strouhal number, mean drag and swing of the lift of a cylinder at Re 100.
pub(crate) fn street_references() -> [StreetQuantity; 3] {
    const SOURCE: &str = "Williamson 1996; Park, Kwon & Choi 1998; Liu 1998";
    [
        ("st", "Strouhal number", |s| s.frequency, Reference::band(0.164, 0.166, 0.015, SOURCE)),
        ("cd", "mean drag coefficient", |s| s.drag[0], Reference::band(1.33, 1.36, 0.015, SOURCE)),
        ("cl", "swing of the lift", |s| s.swing, Reference::band(0.32, 0.34, 0.015, SOURCE)),
    ]
}

fn write(study: &Study, options: &RunOptions, street: &Street, report: &Report) -> Result<()> {
    let velocity = street.march.velocity(&street.last);
    let pressure = street.march.pressure(&street.last);
    let fields = Fields::of(&street.steady).moving(velocity, pressure);
    let values = report.quantities.iter().map(|r| format!("{} {}", r.quantity, number(r.value)));
    let caption = Caption {
        title: format!("{}, time {}", study.title, report.time),
        line: values.collect::<Vec<_>>().join("   ·   "),
    };
    let window = study.window;
    let wide = crate::pictures::Window {
        x: [window.x[0], window.x[1] + 8.0],
        y: [window.y[0] - 0.75, window.y[1] + 0.75],
    };
    let directory = study.directory(options);
    let files: [(&str, Vec<u8>); 4] = [
        ("report.json", serde_json::to_vec_pretty(report)?),
        ("overview.png", overview(&fields, wide, &caption)?),
        ("forces.png", charts(&drawn(&street.forces))?),
        ("fields.vtr", vtk::rectilinear(&fields).into_bytes()),
    ];
    for (name, bytes) in files {
        write_whole(&directory.join(name), &bytes)?;
    }
    let names = "{report.json, overview.png, forces.png, fields.vtr}";
    say(options.json, &format!("wrote {}/{names}", directory.display()));
    Ok(())
}

fn drawn(forces: &Forces) -> [Chart; 2] {
    let chart = |name: &str, values: &[f64]| {
        // A point a pixel is enough for the eye.
        let stride = (values.len() / 1000).max(1);
        let points = values.iter().enumerate().step_by(stride);
        let points = points.map(|(i, v)| [(i + 1) as f64 * forces.step, *v]).collect();
        let series = Series { name: name.into(), points, labels: Vec::new(), joined: true };
        Chart { title: name.into(), x: "time".into(), y: name.into(), series: vec![series] }
    };
    // The first steps answer the kick and would set the scale.
    let calm = |values: &[f64]| values.get(values.len() / 50..).unwrap_or(values).to_vec();
    [chart("drag coefficient", &calm(&forces.drag)), chart("lift coefficient", &calm(&forces.lift))]
}
