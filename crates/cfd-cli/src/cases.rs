//! A case of a list: the options that give it, and what became of it.

use std::time::Instant;

use anyhow::Result;
use lithoburn_terminal::note;
use serde::Serialize;

use crate::options::RunOptions;
use crate::report::Row;
use crate::run;
use crate::study::Study;

/// A value of an option that varies, as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Setting {
    pub(crate) option: &'static str,
    pub(crate) value: String,
}

/// A case of the sweep.
pub(crate) struct Point {
    pub(crate) settings: Vec<Setting>,
    pub(crate) study: Study,
}

impl Point {
    /// A case, with the options that give it.
    pub(crate) fn new(settings: &[(&'static str, String)], study: Study) -> Self {
        let setting =
            |(option, value): &(&'static str, String)| Setting { option, value: value.clone() };
        Self { settings: settings.iter().map(setting).collect(), study }
    }

    /// Its folder, and its name on the screen.
    pub(crate) fn name(&self) -> String {
        let part = |s: &Setting| format!("{}-{}", s.option, s.value.replace(['/', '\\'], "_"));
        self.settings.iter().map(part).collect::<Vec<_>>().join("_")
    }
}

/// What became of a case.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    case: String,
    pub(crate) settings: Vec<Setting>,
    pub(crate) converged: bool,
    /// Why there are no numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    pub(crate) quantities: Vec<Row>,
    pub(crate) seconds: f64,
}

impl Outcome {
    /// What a case gave, or why it gave nothing.
    pub(crate) fn of(point: &Point, found: Result<Vec<Row>, String>, seconds: f64) -> Self {
        let (quantities, error) = match found {
            Ok(rows) => (rows, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        Self {
            converged: error.is_none(),
            case: point.name(),
            settings: point.settings.clone(),
            error,
            quantities,
            seconds,
        }
    }
}

/// Solves a case and writes its files; what goes wrong is its outcome.
pub(crate) fn solve(point: &mut Point, options: &RunOptions) -> Outcome {
    let started = Instant::now();
    let case = point.name();
    let directory = point.study.directory(options).join(&case);
    let solved = run::solve(&mut point.study, options, &directory);
    let seconds = started.elapsed().as_secs_f64();
    let outcome = Outcome::of(point, solved.map_err(|error| format!("{error:#}")), seconds);
    if !options.json {
        let how = outcome.error.clone().unwrap_or_else(|| format!("{seconds:.1} s"));
        note(&format!("{case}: {how}"));
    }
    outcome
}
