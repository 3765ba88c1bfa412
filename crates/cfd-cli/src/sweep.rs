//! Many cases at once: Reynolds numbers, angles, sections, outlines, every combination of what was listed.
//!
//! Cases share nothing, so each runs on a core of its own, and a core that is done takes the next: that is all that a
//! scheduler could do for flows in one process; several machines share them by [`farm`]. The order of the results is that of the
//! options, whoever was first.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use lithoburn_layout::write_whole;
use rayon::prelude::*;

use crate::cases::{Outcome, Point, solve};
use crate::farm;
use crate::number::number;
use crate::options::{RunOptions, use_threads};
use crate::pictures::{Chart, Series, charts};
use crate::run;
use crate::study::{Quantity, Study};
use lithoburn_terminal::{Verdict, go_on, listen, note, print_json, say, table};

/// Runs one case as ever, several beside each other.
///
/// # Errors
///
/// One that says what was wrong and what to do. A case of several that does not converge is no error but a verdict.
pub(crate) fn run(options: &RunOptions, mut points: Vec<Point>) -> Result<Verdict> {
    if points.len() < 2 {
        let Some(point) = points.pop() else { bail!("nothing to run: an option lists no value") };
        return run::run(options, || Ok(point.study));
    }
    use_threads(options.threads)?;
    refuse_twins(&points)?;
    keep_what_varies(&mut points);
    for point in &mut points {
        run::prepare(&mut point.study, options)?;
    }
    if options.dry_run {
        return plan(&points, options.json);
    }
    run::make_folder(options, &points[0].study.directory(options))?;
    listen();
    let started = Instant::now();
    let outcomes = match options.farm.source()? {
        Some(source) => farm::share(&source, options, &mut points)?,
        None => points
            .par_iter_mut()
            .filter_map(|point| go_on().then(|| solve(point, options)))
            .collect(),
    };
    let seconds = started.elapsed().as_secs_f64();
    let is_whole = outcomes.len() == points.len();
    tell(&points[0].study, options, &outcomes, seconds)?;
    // Who shares cases and has not all of them would overwrite the table of who has.
    if !options.no_files && (is_whole || !options.farm.is_asked()) {
        let folder = points[0].study.directory(options);
        write(&folder, &points[0].study, &outcomes)?;
        let own = "a folder for each case";
        say(
            options.json,
            &format!("wrote {}/{{sweep.json, sweep.csv, sweep.png}} and {own}", folder.display()),
        );
    }
    if !is_whole {
        return Ok(missing(options, outcomes.len(), points.len()));
    }
    Ok(if outcomes.iter().all(|o| o.converged) { Verdict::Done } else { Verdict::NotMet })
}

/// What is said of cases that nobody has computed.
fn missing(options: &RunOptions, done: usize, all: usize) -> Verdict {
    if !options.farm.is_asked() {
        note(&format!("stopped after {done} of {all} cases"));
        return Verdict::NotMet;
    }
    note(&format!("{done} of {all} cases are done and kept: the same line goes on from there"));
    // A task of an array has done its part.
    if go_on() { Verdict::Done } else { Verdict::NotMet }
}

/// Options that all cases agree on are no part of their names.
fn keep_what_varies(points: &mut [Point]) {
    let Some(first) = points.first().map(|point| point.settings.clone()) else { return };
    let varies = |at: usize| points.iter().any(|point| point.settings[at] != first[at]);
    let kept: Vec<bool> = (0..first.len()).map(varies).collect();
    for point in points.iter_mut() {
        let mut kept = kept.iter();
        point.settings.retain(|_| kept.next().is_some_and(|kept| *kept));
    }
}

/// Two cases of one name would write into one folder.
fn refuse_twins(points: &[Point]) -> Result<()> {
    let mut names: Vec<String> = points.iter().map(Point::name).collect();
    names.sort();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => bail!("the case {:?} is listed twice: give each value once", pair[0]),
        None => Ok(()),
    }
}

fn plan(points: &[Point], json: bool) -> Result<Verdict> {
    let names: Vec<String> = points.iter().map(Point::name).collect();
    if json {
        print_json(&names)?;
    } else {
        say(false, &format!("{} cases, each on one core:", names.len()));
        names.iter().for_each(|name| say(false, &format!("  {name}")));
    }
    Ok(Verdict::Done)
}

fn tell(study: &Study, options: &RunOptions, outcomes: &[Outcome], seconds: f64) -> Result<()> {
    if options.json {
        return Ok(print_json(&outcomes)?);
    }
    let names = study.quantities.iter().map(|quantity| quantity.name);
    let varied = outcomes.first().map_or(&[][..], |outcome| &outcome.settings);
    let head: Vec<&str> = varied.iter().map(|s| s.option).chain(names).collect();
    let rows: Vec<Vec<String>> = outcomes.iter().map(|o| cells(study, o, &number)).collect();
    say(false, &table(&head, &rows));
    let alone: f64 = outcomes.iter().map(|outcome| outcome.seconds).sum();
    say(
        false,
        &format!("{} cases in {seconds:.1} s, {alone:.1} s one after the other", outcomes.len()),
    );
    Ok(())
}

/// Settings and values of a case; a dash where it has none.
fn cells(study: &Study, outcome: &Outcome, shown: &dyn Fn(f64) -> String) -> Vec<String> {
    let value = |quantity: &Quantity| {
        let row = outcome.quantities.iter().find(|row| row.key == quantity.key);
        row.map_or("–".into(), |row| shown(row.value))
    };
    let settings = outcome.settings.iter().map(|setting| setting.value.clone());
    settings.chain(study.quantities.iter().map(value)).collect()
}

fn write(folder: &Path, study: &Study, outcomes: &[Outcome]) -> Result<()> {
    write_whole(&folder.join("sweep.json"), &serde_json::to_vec_pretty(outcomes)?)?;
    write_whole(&folder.join("sweep.csv"), csv(study, outcomes).as_bytes())?;
    if let Some(charts_of_it) = drawn(study, outcomes) {
        write_whole(&folder.join("sweep.png"), &charts(&charts_of_it)?)?;
    }
    Ok(())
}

/// A line for each case; values in full.
fn csv(study: &Study, outcomes: &[Outcome]) -> String {
    let varied = outcomes.first().map_or(&[][..], |outcome| &outcome.settings);
    let head = varied.iter().map(|s| s.option).chain(study.quantities.iter().map(|q| q.key));
    let quoted = |cell: String| {
        if cell.contains([',', '"', '\n']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell
        }
    };
    let full = |value: f64| value.to_string();
    let line =
        |cells: Vec<String>| cells.into_iter().map(quoted).collect::<Vec<_>>().join(",") + "\n";
    let rows = outcomes.iter().map(|outcome| {
        let cells = cells(study, outcome, &full).into_iter();
        line(cells.map(|cell| if cell == "–" { String::new() } else { cell }).collect())
    });
    line(head.map(String::from).collect()) + &rows.collect::<String>()
}

/// A chart for each quantity over the option with most numbers, a line for each value of the others.
fn drawn(study: &Study, outcomes: &[Outcome]) -> Option<Vec<Chart>> {
    let varied = &outcomes.first()?.settings;
    let numbers = |at: usize| -> Option<usize> {
        let values: Option<Vec<f64>> =
            outcomes.iter().map(|o| o.settings[at].value.parse().ok()).collect();
        let mut values = values?;
        values.sort_by(f64::total_cmp);
        values.dedup();
        Some(values.len())
    };
    // Digits of a section are no number.
    let axes = (0..varied.len()).filter(|&at| varied[at].option != "naca");
    let (_, x) = axes.filter_map(|at| Some((numbers(at)?, at))).max()?;
    let chart = |quantity: &Quantity| Chart {
        title: quantity.name.into(),
        x: varied[x].option.into(),
        y: quantity.name.into(),
        series: lines(outcomes, quantity.key, x),
    };
    Some(study.quantities.iter().map(chart).collect())
}

/// Values of a quantity over setting `x`, a line for each combination of the other settings.
fn lines(outcomes: &[Outcome], key: &str, x: usize) -> Vec<Series> {
    let mut lines: Vec<Series> = Vec::new();
    for outcome in outcomes {
        let others = outcome.settings.iter().enumerate().filter(|(at, _)| *at != x);
        let name: Vec<String> = others.map(|(_, s)| format!("{} {}", s.option, s.value)).collect();
        let name = name.join(", ");
        let value = outcome.quantities.iter().find(|row| row.key == key).map(|row| row.value);
        let place = outcome.settings[x].value.parse::<f64>().ok();
        let Some(point) = place.zip(value).map(|(x, y)| [x, y]) else { continue };
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => {
                lines.push(Series { name, points: vec![point], labels: Vec::new(), joined: true })
            }
        }
    }
    lines.iter_mut().for_each(|line| line.points.sort_by(|a, b| a[0].total_cmp(&b[0])));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Row;
    use crate::studies;

    fn point(settings: &[(&'static str, &str)]) -> Result<Point> {
        let settings: Vec<_> = settings.iter().map(|(o, v)| (*o, (*v).to_string())).collect();
        Ok(Point::new(&settings, studies::stream(40.0, 50.0, 1)?))
    }

    fn outcome(settings: &[(&'static str, &str)], cd: f64) -> Result<Outcome> {
        let point = point(settings)?;
        let row = Row {
            key: "cd",
            quantity: "drag",
            value: cd,
            reference: None,
            deviation: None,
            holds: None,
        };
        Ok(Outcome::of(&point, Ok(vec![row]), 1.0))
    }

    #[test]
    fn names_hold_what_varies_and_twins_are_refused() -> Result<()> {
        let mut points = vec![
            point(&[("naca", "0012"), ("re", "100"), ("alpha", "0")])?,
            point(&[("naca", "0012"), ("re", "100"), ("alpha", "2")])?,
        ];
        keep_what_varies(&mut points);
        assert_eq!(points[1].name(), "alpha-2");
        assert!(refuse_twins(&points).is_ok());
        points.push(point(&[("alpha", "2")])?);
        assert!(refuse_twins(&points).is_err_and(|e| e.to_string().contains("alpha-2")));
        Ok(())
    }

    #[test]
    fn charts_go_over_the_option_with_most_numbers_in_order() -> Result<()> {
        let study = studies::stream(40.0, 50.0, 1)?;
        let outcomes = [
            outcome(&[("re", "100"), ("naca", "0012"), ("alpha", "4")], 3.0)?,
            outcome(&[("re", "100"), ("naca", "0012"), ("alpha", "0")], 1.0)?,
            outcome(&[("re", "200"), ("naca", "2412"), ("alpha", "2")], 2.0)?,
        ];
        let charts = drawn(&study, &outcomes).unwrap_or_default();
        assert_eq!(charts[0].x, "alpha");
        assert_eq!(charts[0].series[0].points, [[0.0, 1.0], [4.0, 3.0]]);
        assert_eq!(charts[0].series[1].name, "re 200, naca 2412");
        let text = csv(&study, &outcomes);
        assert_eq!(text.lines().next(), Some("re,naca,alpha,cd,cl,wake"));
        assert_eq!(text.lines().nth(1), Some("100,0012,4,3,,"));
        Ok(())
    }
}
