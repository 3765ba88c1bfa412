//! Tests of gradients: homogeneity, the tangent, and Taylor remainders.
//!
//! Three proofs that share no code with the adjoint. Scaling all velocities, the viscosity and the diffusivity alike
//! scales forces by the square (Euler's identity), to round-off and without a difference. The linearised flow along a
//! direction gives the same slope as the gradient (the dot-product test). And along that direction the remainders of
//! the values themselves fall with the first power of the step, and with the second once the gradient is taken off.
//!
//! Where a face opens or closes, forces are continuous but their slopes are not (docs/flow.md): a step across such a
//! kink would test the grid and not the gradient. Of some directions the test takes the one that is longest free of
//! kinks, and keeps its steps within half of that length, which it reports.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use lithoburn_cfd::{Case, Flow, Gradient, Objective};
use lithoburn_layout::write_whole;
use serde::Serialize;

use crate::number::number;
use crate::options::Cells;
use crate::pictures::{Chart, Series, charts};
use crate::study::{Measure, Study};
use crate::{studies, study::Quantity};
use lithoburn_terminal::{Verdict, print_json, say, table};

mod direction;

use direction::Direction;

/// A case whose gradients can be tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckCase {
    Cavity,
    HeatedCavity,
    Cylinder,
    Dfg,
    Airfoil,
    Exchanger,
}

/// Options of the check.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Which case.
    #[arg(value_enum, default_value = "cylinder")]
    case: CheckCase,
    /// Directory for check.json and taylor.png.
    #[arg(long, short, value_name = "DIR", default_value = "out/cfd-check")]
    out: PathBuf,
    /// Print JSON and nothing else.
    #[arg(long)]
    json: bool,
}

/// The greatest step of the Taylor test, relative to the bodies' size.
const LONGEST: f64 = 2e-3;
/// Steps, each half of the one before.
const STEPS: usize = 6;
/// How far from round-off Euler's identity and the tangent may be.
pub(crate) const EXACT: f64 = 1e-9;

/// What the tests of an objective's gradient found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) objective: &'static str,
    pub(crate) value: f64,
    /// Relative error of Euler's identity.
    pub(crate) euler: f64,
    /// Relative difference between the gradient and the tangent along the direction.
    pub(crate) tangent: f64,
    /// Remainders without and with the gradient, for each step.
    pub(crate) remainders: Vec<[f64; 3]>,
    /// Length of the direction on which no face opens or closes; null if none ever does.
    pub(crate) free: Option<f64>,
    /// Powers with which they fall.
    pub(crate) slopes: [f64; 2],
    pub(crate) holds: bool,
}

/// Runs the tests.
///
/// # Errors
///
/// If a flow cannot be solved, or a file not written.
pub(crate) fn check(args: &CheckArgs) -> Result<Verdict> {
    let study = args.case.study()?;
    let findings = findings(&study)?;
    if args.json {
        print_json(&findings)?;
    } else {
        say(false, &format!("gradients of: {}", study.title));
        say(false, &shown(&findings));
    }
    write_whole(&args.out.join("check.json"), &serde_json::to_vec_pretty(&findings)?)?;
    write_whole(&args.out.join("taylor.png"), &charts(&drawn(&findings))?)?;
    say(args.json, &format!("wrote {}/{{check.json, taylor.png}}", args.out.display()));
    Ok(if findings.iter().all(|f| f.holds) { Verdict::Done } else { Verdict::NotMet })
}

impl CheckCase {
    pub(crate) fn study(self) -> Result<Study> {
        let square = Cells { x: 48, y: 48 };
        match self {
            Self::Cavity => studies::cavity(100.0, square, 1.2),
            Self::HeatedCavity => studies::heated_cavity(1e4, square, 1.2),
            Self::Cylinder => studies::stream(40.0, 50.0, 1),
            Self::Dfg => studies::dfg(1),
            Self::Airfoil => {
                let foil = lithoburn_cfd::shape::Naca::digits("2412")?.at_angle(0.05)?;
                studies::airfoil(500.0, "2412", foil, 2.9, 20.0, 1)
            }
            Self::Exchanger => studies::exchanger(Cells { x: 64, y: 64 }),
        }
    }
}

/// Tests the gradients of all objectives of a study.
pub(crate) fn findings(study: &Study) -> Result<Vec<Finding>> {
    let mut case = study.case.clone();
    // Down to round-off: identities are held to it.
    case.options.tolerance = case.options.tolerance.min(1e-14);
    let flow = case.solve()?;
    let direction = Direction::free(&flow);
    let longest = LONGEST.min(0.5 * direction.length);
    let moved: Vec<(f64, Flow)> = (0..STEPS)
        .map(|k| longest / f64::powi(2.0, k as i32))
        .map(|step| Ok((step, direction.apply(&case, step)?.solve_from(&flow)?)))
        .collect::<Result<_>>()?;
    let objectives = study.quantities.iter().filter_map(|q: &Quantity| match &q.measure {
        Measure::Objective(objective) => Some((q.key, objective)),
        Measure::Reading(_) => None,
    });
    let found =
        objectives.map(|(key, objective)| finding(key, objective, &flow, &direction, &moved));
    found.filter_map(Result::transpose).collect()
}

fn finding(
    key: &'static str,
    objective: &Objective,
    flow: &Flow,
    direction: &Direction,
    moved: &[(f64, Flow)],
) -> Result<Option<Finding>> {
    let gradient = flow.gradient(objective)?;
    let value = gradient.value;
    let slope = direction.slope(&gradient);
    let along = flow.tangent(objective, &direction.change(flow))?;
    let remainders: Vec<[f64; 3]> = moved
        .iter()
        .map(|(step, flow)| {
            let change = flow.value(objective) - value;
            [*step, change.abs(), (change - step * slope).abs()]
        })
        .collect();
    if is_flat(&remainders, slope, value) {
        return Ok(None);
    }
    let slopes = [fall(&remainders, 1, value), fall(&remainders, 2, value)];
    let euler = euler(flow.case(), objective, &gradient);
    let tangent = (slope - along).abs() / slope.abs().max(f64::MIN_POSITIVE);
    let holds = euler <= EXACT
        && tangent <= EXACT
        && (0.9..=1.1).contains(&slopes[0])
        && (1.9..=2.1).contains(&slopes[1]);
    let free = direction.length.is_finite().then_some(direction.length);
    Ok(Some(Finding { objective: key, value, euler, tangent, remainders, free, slopes, holds }))
}

/// Changes below this are round-off.
fn floor(value: f64) -> f64 {
    1e-11 * value.abs().max(1e-3)
}

/// Whether values and gradient agree that nothing changes along the direction: a number that symmetry gives has no slope to be tested.
fn is_flat(remainders: &[[f64; 3]], slope: f64, value: f64) -> bool {
    let floor = floor(value);
    remainders.iter().all(|[step, change, _]| *change <= floor && (step * slope).abs() <= floor)
}

/// Relative error of U ∂J/∂U + ν ∂J/∂ν + κ ∂J/∂κ + 2 b · ∂J/∂b = k J, with the objective's degree k.
pub(crate) fn euler(case: &Case, objective: &Objective, gradient: &Gradient) -> f64 {
    let heat = case.heat.as_ref();
    let buoyancy = heat.map_or([0.0; 2], |heat| heat.buoyancy);
    let terms = [
        gradient.speed,
        case.viscosity * gradient.viscosity,
        heat.map_or(0.0, |heat| heat.diffusivity * gradient.diffusivity),
        2.0 * buoyancy[0] * gradient.buoyancy[0],
        2.0 * buoyancy[1] * gradient.buoyancy[1],
    ];
    let degree = match objective {
        Objective::Dissipation => 3.0,
        Objective::Heat { .. } | Objective::SideHeat { .. } => 1.0,
        Objective::MeanTemperature => 0.0,
        _ => 2.0,
    };
    let size: f64 = terms.iter().map(|t| t.abs()).sum();
    (terms.iter().sum::<f64>() - degree * gradient.value).abs() / size.max(f64::MIN_POSITIVE)
}

/// The power with which a remainder falls: the median over pairs of steps that are above round-off.
fn fall(remainders: &[[f64; 3]], column: usize, value: f64) -> f64 {
    let floor = floor(value);
    let pairs = remainders.windows(2).filter(|pair| pair[1][column] > floor);
    let mut slopes: Vec<f64> = pairs
        .map(|pair| (pair[0][column] / pair[1][column]).ln() / (pair[0][0] / pair[1][0]).ln())
        .collect();
    slopes.sort_by(f64::total_cmp);
    slopes.get(slopes.len() / 2).copied().unwrap_or(f64::NAN)
}

fn shown(findings: &[Finding]) -> String {
    let row = |f: &Finding| {
        vec![
            f.objective.to_string(),
            number(f.value),
            format!("{:.1e}", f.euler),
            format!("{:.1e}", f.tangent),
            f.remainders.first().map_or("–".into(), |r| format!("{:.0e}", r[0])),
            format!("{:.3}", f.slopes[0]),
            format!("{:.3}", f.slopes[1]),
            if f.holds { "holds".into() } else { "OFF".into() },
        ]
    };
    let rows: Vec<Vec<String>> = findings.iter().map(row).collect();
    let head =
        ["objective", "value", "Euler", "tangent", "steps from", "slope 1", "slope 2", "verdict"];
    table(&head, &rows)
}

fn drawn(findings: &[Finding]) -> Vec<Chart> {
    let series = |f: &Finding, column: usize, name: &str| Series {
        name: name.into(),
        points: f.remainders.iter().map(|r| [r[0].log10(), r[column].log10()]).collect(),
        labels: Vec::new(),
        joined: true,
    };
    let chart = |f: &Finding| Chart {
        title: format!("Taylor remainders of {}", f.objective),
        x: "log₁₀ of the step".into(),
        y: "log₁₀ of the remainder".into(),
        series: vec![
            series(f, 1, &format!("value: slope {:.2}", f.slopes[0])),
            series(f, 2, &format!("value less gradient: slope {:.2}", f.slopes[1])),
        ],
    };
    findings.iter().map(chart).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean temperature between a warm and a cold wall is one half, whatever the viscosity.
    #[test]
    fn what_symmetry_gives_has_no_slope_and_the_rest_holds() -> Result<()> {
        let found = findings(&CheckCase::HeatedCavity.study()?)?;
        let keys: Vec<&str> = found.iter().map(|f| f.objective).collect();
        assert_eq!(keys, ["nu"]);
        assert!(found[0].holds, "{found:?}");
        Ok(())
    }

    #[test]
    fn a_value_that_changes_or_a_gradient_that_says_so_is_not_flat() {
        assert!(is_flat(&[[1e-3, 1e-13, 1e-13]], 1e-12, 0.5));
        assert!(!is_flat(&[[1e-3, 1e-9, 1e-13]], 1e-12, 0.5));
        assert!(!is_flat(&[[1e-3, 1e-13, 1e-9]], 1e-6, 0.5));
    }
}
