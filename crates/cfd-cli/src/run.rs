//! Running a case: solve, measure, differentiate, draw, write.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use lithoburn_cfd::{Error, Flow, History, NewtonStep};
use lithoburn_layout::write_whole;

use crate::number::number;
use crate::options::{RunOptions, positive, use_threads};
use crate::pictures::{Caption, Chart, Fields, Series, Window, charts, overview};
use crate::report::{GradientReport, Report, Row, Seconds, shown};
use crate::study::{Measure, Study};
use crate::vtk;
use lithoburn_terminal::{Verdict, note, passed, passing, print_json, say};

/// Runs a case.
///
/// # Errors
///
/// One that says what was wrong and what to do.
pub(crate) fn run(options: &RunOptions, make: impl FnOnce() -> Result<Study>) -> Result<Verdict> {
    options.farm.refuse("one case")?;
    use_threads(options.threads)?;
    let mut study = make()?;
    prepare(&mut study, options)?;
    if options.dry_run {
        return plan(&study, options.json);
    }
    make_folder(options, &study.directory(options))?;
    let started = Instant::now();
    let solved =
        if options.json { study.case.solve() } else { study.case.solve_watched(show_step) };
    passed();
    match solved {
        Ok(flow) => finish(&mut study, options, &flow, started.elapsed().as_secs_f64()),
        Err(error) => {
            if let Error::NotConverged(history) = &error {
                not_converged(&study, options, history)?;
            }
            Err(error.into())
        }
    }
}

/// Shows how far Newton's method is, where somebody watches.
fn show_step(step: &NewtonStep) {
    let [nx, ny] = step.grid;
    passing(&format!("{nx}x{ny}: residual {:.1e}", step.residual));
}

/// Finds out before minutes of work whether its results can be written.
///
/// # Errors
///
/// If the folder cannot be made.
pub(crate) fn make_folder(options: &RunOptions, folder: &Path) -> Result<()> {
    if options.no_files {
        return Ok(());
    }
    std::fs::create_dir_all(folder).with_context(|| {
        format!("cannot make the folder {}: choose another --out", folder.display())
    })
}

/// Solves a prepared case of several and writes its files, without a word on the screen.
///
/// # Errors
///
/// As [`run`]; a flow that did not converge leaves its history.
pub(crate) fn solve(study: &mut Study, options: &RunOptions, directory: &Path) -> Result<Vec<Row>> {
    let started = Instant::now();
    let flow = match study.case.solve() {
        Ok(flow) => flow,
        Err(Error::NotConverged(history)) if !options.no_files => {
            write_history(study, directory, &history)?;
            return Err(Error::NotConverged(history).into());
        }
        Err(error) => return Err(error.into()),
    };
    let forward = started.elapsed().as_secs_f64();
    warn_of_details(study, &flow);
    let report = report(study, options, &flow, forward)?;
    if !options.no_files {
        write(directory, study, &flow, &report)?;
    }
    Ok(report.quantities)
}

/// Takes over what the options say of the solution, and tells the warnings of a case.
///
/// # Errors
///
/// If an option makes no sense.
pub(crate) fn prepare(study: &mut Study, options: &RunOptions) -> Result<()> {
    study.case.options.tolerance = positive("--tolerance", options.tolerance)?;
    study.case.options.steps = options.steps;
    if let Some(key) = &options.gradient {
        study.objective(key)?;
    }
    study.warnings.iter().for_each(|warning| note(&format!("warning: {warning}")));
    Ok(())
}

impl Study {
    /// The objective of a short name.
    pub(crate) fn objective(&self, key: &str) -> Result<(&'static str, &lithoburn_cfd::Objective)> {
        let mut objectives = self.quantities.iter().filter_map(|q| match &q.measure {
            Measure::Objective(objective) => Some((q.key, objective)),
            Measure::Reading(_) => None,
        });
        let known: Vec<&str> = objectives.clone().map(|(key, _)| key).collect();
        match objectives.find(|(own, _)| *own == key) {
            Some(found) => Ok(found),
            None => bail!("--gradient {key}: expected one of {}", known.join(", ")),
        }
    }

    /// Where files go.
    pub(crate) fn directory(&self, options: &RunOptions) -> PathBuf {
        options.out.clone().unwrap_or_else(|| Path::new("out").join(format!("cfd-{}", self.name)))
    }
}

/// Prints a case without solving it.
pub(crate) fn plan(study: &Study, json: bool) -> Result<Verdict> {
    let empty = History::default();
    let report = Report::new(study, &empty);
    if json {
        print_json(&report)?;
    } else {
        let [nx, ny] = report.grid;
        let all = Window::all(&study.case.grid);
        say(false, &study.title);
        say(false, &format!("grid {nx}x{ny} over x {:?}, y {:?}", all.x, all.y));
        say(false, &format!("viscosity {}", number(study.case.viscosity)));
        for body in &study.case.bodies {
            for (name, value) in body.shape.names().iter().zip(body.shape.parameters()).take(12) {
                say(false, &format!("{name} {}", number(value)));
            }
        }
    }
    Ok(Verdict::Done)
}

fn finish(study: &mut Study, options: &RunOptions, flow: &Flow, forward: f64) -> Result<Verdict> {
    if let Some(warning) = warn_of_details(study, flow) {
        note(&format!("warning: {warning}"));
    }
    let report = report(study, options, flow, forward)?;
    if options.json {
        print_json(&report)?;
    } else {
        show(&report);
    }
    if !options.no_files {
        let directory = study.directory(options);
        write(&directory, study, flow, &report)?;
        let files = "{report.json, overview.png, convergence.png, fields.vti, fields.vtr}";
        say(options.json, &format!("wrote {}/{files}", directory.display()));
    }
    Ok(Verdict::Done)
}

/// Notes that the outline is finer than the grid, if it is.
fn warn_of_details(study: &mut Study, flow: &Flow) -> Option<String> {
    let hidden = flow.unresolved();
    let warning = (hidden > 0).then(|| {
        format!(
            "{hidden} edges of the grid are cut twice: the outline has details finer than the cells; take a finer --grid"
        )
    })?;
    // A case that several machines share may be solved here twice.
    if !study.warnings.contains(&warning) {
        study.warnings.push(warning.clone());
    }
    Some(warning)
}

/// What was found.
fn report<'a>(
    study: &'a Study,
    options: &RunOptions,
    flow: &'a Flow,
    forward: f64,
) -> Result<Report<'a>> {
    let gradient = options.gradient.as_deref().map(|key| differentiate(study, flow, key));
    let gradient = gradient.transpose()?;
    Ok(Report {
        unknowns: Some(flow.unknowns()),
        converged: true,
        quantities: study.quantities.iter().map(|q| Row::of(q, flow)).collect(),
        seconds: Seconds { forward, gradient: gradient.as_ref().map(|g| g.seconds) },
        gradient,
        ..Report::new(study, flow.history())
    })
}

fn differentiate(study: &Study, flow: &Flow, key: &str) -> Result<GradientReport> {
    let (key, objective) = study.objective(key)?;
    let started = Instant::now();
    let gradient = flow.gradient(objective)?;
    Ok(GradientReport::new(key, study, &gradient, started.elapsed().as_secs_f64()))
}

fn show(report: &Report) {
    let [nx, ny] = report.grid;
    say(false, &format!("{}, {nx}x{ny} cells", report.title));
    say(false, &shown(&report.quantities));
    if let Some(gradient) = &report.gradient {
        say(false, &gradient.shown());
    }
    let last = report.history.residual;
    let (steps, seconds) = (report.history.steps.len(), report.seconds);
    let mut line = format!(
        "converged to {last:.1e} in {steps} Newton steps on all grids, {:.2} s",
        seconds.forward
    );
    if let Some(gradient) = seconds.gradient {
        line += &format!("; gradient {gradient:.3} s");
    }
    say(false, &line);
}

fn write(directory: &Path, study: &Study, flow: &Flow, report: &Report) -> Result<()> {
    let fields = Fields::of(flow);
    let [nx, ny] = report.grid;
    let value = |row: &Row| format!("{} {}", row.quantity, number(row.value));
    let values: Vec<String> = report.quantities.iter().map(value).collect();
    let caption = Caption {
        title: study.title.clone(),
        line: format!("{}   ·   {nx} × {ny} cells", values.join("   ·   ")),
    };
    let files: [(&str, Vec<u8>); 5] = [
        ("report.json", serde_json::to_vec_pretty(report)?),
        ("overview.png", overview(&fields, study.window, &caption)?),
        ("convergence.png", convergence(report.history)?),
        ("fields.vti", vtk::image(&fields, study.window).into_bytes()),
        ("fields.vtr", vtk::rectilinear(&fields).into_bytes()),
    ];
    for (name, bytes) in files {
        write_whole(&directory.join(name), &bytes)?;
    }
    Ok(())
}

/// The history of a run that failed, and how to go on.
fn not_converged(study: &Study, options: &RunOptions, history: &History) -> Result<()> {
    if options.json {
        print_json(&Report::new(study, history))?;
    }
    if !options.no_files {
        let directory = study.directory(options);
        write_history(study, &directory, history)?;
        note(&format!("the history is in {}", directory.display()));
    }
    Ok(())
}

fn write_history(study: &Study, directory: &Path, history: &History) -> Result<()> {
    let report = serde_json::to_vec_pretty(&Report::new(study, history))?;
    write_whole(&directory.join("report.json"), &report)?;
    Ok(write_whole(&directory.join("convergence.png"), &convergence(history)?)?)
}

/// A chart of the residual over Newton steps, a line for each grid.
pub(crate) fn convergence(history: &History) -> Result<Vec<u8>> {
    let mut series: Vec<Series> = Vec::new();
    for (index, step) in history.steps.iter().enumerate() {
        let name = format!("{} × {}", step.grid[0], step.grid[1]);
        if series.last().is_none_or(|last| last.name != name) {
            series.push(Series { name, points: Vec::new(), labels: Vec::new(), joined: true });
        }
        if let Some(last) = series.last_mut() {
            last.points.push([index as f64, step.residual.log10()]);
        }
    }
    if let Some(last) = series.last_mut() {
        last.points.push([history.steps.len() as f64, history.residual.log10()]);
    }
    Ok(charts(&[Chart {
        title: "How Newton's method converged".into(),
        x: "step, coarse grids first".into(),
        y: "log₁₀ of the residual, relative to fluid at rest".into(),
        series,
    }])?)
}
