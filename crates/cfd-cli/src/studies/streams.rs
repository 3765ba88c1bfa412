//! Streams past a cylinder, an outline of the user's, or a section; the DFG benchmark.

use std::path::Path;

use anyhow::{Result, bail};
use clap::Args;
use lithoburn_cfd::shape::Naca;
use lithoburn_cfd::{Objective, cases};

use super::outline::{ShapeOptions, check_body, read_body};
use super::read_off::wake;
use crate::cases::Point;
use crate::options::{Cells, RunOptions, positive};
use crate::pictures::Window;
use crate::shape_file::Placement;
use crate::study::{Quantity, Reference, Study};
use crate::sweep;
use crate::unsteady::{self, TimeOptions};
use lithoburn_terminal::Verdict;

/// Above this Reynolds number a cylinder's steady flow is unstable and sheds vortices.
const SHEDDING: f64 = 47.0;

/// Options of the cylinder.
#[derive(Args, Debug)]
pub(crate) struct CylinderArgs {
    /// Reynolds number of the stream's speed and the diameter; several run beside each other.
    #[arg(long, value_name = "RE,…", value_delimiter = ',', num_args = 1, default_values_t = [40.0], allow_negative_numbers = true)]
    re: Vec<f64>,
    /// Cells along x and y: a multiple of 128x64.
    #[arg(long, value_name = "NXxNY", default_value = "128x64")]
    grid: Cells,
    /// Distance of the slip sides, in diameters.
    #[arg(long, value_name = "D", default_value_t = 50.0, allow_negative_numbers = true)]
    width: f64,
    /// The DFG benchmark's channel (2D-1, Re 20) in place of the stream.
    #[arg(long, conflicts_with_all = ["re", "width", "shape"])]
    dfg: bool,
    /// An outline of your own in place of the cylinder, scaled to a height of one.
    #[command(flatten)]
    shape: ShapeOptions,
    #[command(flatten)]
    time: TimeOptions,
    #[command(flatten)]
    run: RunOptions,
}

const CYLINDER_GRID: Cells = Cells { x: 128, y: 64 };

impl CylinderArgs {
    /// Runs it for each outline and Reynolds number, in time if that is asked for.
    pub(crate) fn run(&self) -> Result<Verdict> {
        if self.time.unsteady && (self.dfg || self.run.gradient.is_some()) {
            bail!("--unsteady goes with the cylinder in a stream, and without --gradient");
        }
        let mut points = self.shape.with_each(&self.re, |shape, re| self.study(shape, re))?;
        if !self.time.unsteady {
            return sweep::run(&self.run, points);
        }
        let (Some(point), true) = (points.pop(), points.is_empty()) else {
            bail!("--unsteady goes with one --re and one --shape");
        };
        unsteady::run(&self.run, &self.time, &point.study)
    }

    fn study(&self, shape: Option<&Path>, re: f64) -> Result<Study> {
        let fineness = self.grid.fineness(CYLINDER_GRID, "cylinder")?;
        if self.dfg {
            return dfg(fineness);
        }
        let (re, width) = (positive("--re", re)?, positive("--width", self.width)?);
        if width < 4.0 {
            bail!(
                "--width {width}: the body touches or nears the sides; expected 4 diameters or more"
            );
        }
        let mut study = stream(re, width, fineness)?;
        if let Some(path) = shape {
            let body = read_body(path, Placement { centre: cases::OFF_GRID, height: 1.0 })?;
            check_body(&study.case, &body, "--shape")?;
            study.case.bodies = vec![body];
            study.title = format!("Your outline in a stream at Re {re}");
            study.quantities.retain(|q| q.key != "wake");
            study.quantities.iter_mut().for_each(|q| q.reference = None);
        }
        Ok(study)
    }
}

/// A cylinder in a stream.
pub(crate) fn stream(re: f64, width: f64, fineness: usize) -> Result<Study> {
    let case = cases::cylinder(re, width, fineness)?;
    let published =
        |band: [f64; 2], tolerance, source| Reference::band(band[0], band[1], tolerance, source);
    let wide = width >= 40.0;
    let (drag, length) = match re {
        20.0 if wide => (
            Some(published(
                [2.0, 2.06],
                0.0,
                "Dennis & Chang 1970, Fornberg 1980, Giannetti & Luchini 2007",
            )),
            Some(published([0.91, 0.94], 0.03, "the same; Coutanceau & Bouard 1977")),
        ),
        40.0 if wide => (
            Some(published(
                [1.493, 1.54],
                0.0,
                "Gautier 2013, Fornberg 1980, Dennis & Chang 1970, Giannetti & Luchini 2007",
            )),
            Some(published([2.13, 2.35], 0.0, "the same; Coutanceau & Bouard 1977")),
        ),
        _ => (None, None),
    };
    let warnings = (re > SHEDDING).then(|| {
        format!(
            "at Re {re} the steady flow exists but is unstable: above Re {SHEDDING} a cylinder sheds vortices, and its mean drag is higher; take --unsteady"
        )
    });
    Ok(Study {
        name: "cylinder",
        title: format!("Cylinder in a stream at Re {re}"),
        parameters: vec![("re", re), ("half_width", width)],
        quantities: vec![
            Quantity::objective("cd", "drag coefficient", Objective::drag(1.0, 1.0)).against(drag),
            Quantity::objective("cl", "lift coefficient", Objective::lift(1.0, 1.0)),
            Quantity::reading("wake", "wake length / D", |flow| wake(flow, cases::OFF_GRID, 0.5))
                .against(length),
        ],
        window: Window { x: [-1.6, 5.4], y: [-1.75, 1.75] },
        warnings: warnings.into_iter().collect(),
        case,
    })
}

/// The DFG benchmark 2D-1.
pub(crate) fn dfg(fineness: usize) -> Result<Study> {
    let case = cases::dfg(fineness)?;
    let tolerance = if fineness == 1 { [0.007, 0.02, 0.025] } else { [0.002, 0.015, 0.01] };
    let nabh = |value, i: usize| {
        Some(Reference::value(value, tolerance[i], "Nabh 1998; Schäfer & Turek 1996"))
    };
    let between = Objective::PressureBetween { from: [0.15, 0.2], to: [0.25, 0.2] };
    Ok(Study {
        name: "cylinder",
        title: "Cylinder in a channel, DFG benchmark 2D-1".into(),
        parameters: vec![("re", 20.0), ("peak velocity", 0.3)],
        quantities: vec![
            Quantity::objective("cd", "drag coefficient", Objective::drag(0.2, 0.1))
                .against(nabh(5.579_535_233_84, 0)),
            Quantity::objective("cl", "lift coefficient", Objective::lift(0.2, 0.1))
                .against(nabh(0.010_618_948_146, 1)),
            Quantity::objective("dp", "pressure, front less back", between)
                .against(nabh(0.117_520_166_97, 2)),
        ],
        window: Window { x: [0.0, 0.9], y: [0.0, 0.41] },
        warnings: Vec::new(),
        case,
    })
}

/// Options of the airfoil.
#[derive(Args, Debug)]
pub(crate) struct AirfoilArgs {
    /// Reynolds number of the stream's speed and the chord; several run beside each other, as do sections and angles.
    #[arg(long, value_name = "RE,…", value_delimiter = ',', num_args = 1, default_values_t = [500.0], allow_negative_numbers = true)]
    re: Vec<f64>,
    /// The section's four digits.
    #[arg(
        long,
        value_name = "DIGITS,…",
        value_delimiter = ',',
        num_args = 1,
        default_value = "0012"
    )]
    naca: Vec<String>,
    /// Angle of attack, in degrees.
    #[arg(long, value_name = "DEG,…", value_delimiter = ',', num_args = 1, default_values_t = [0.0], allow_hyphen_values = true)]
    alpha: Vec<f64>,
    /// Cells along x and y: a multiple of 128x64.
    #[arg(long, value_name = "NXxNY", default_value = "256x128")]
    grid: Cells,
    /// Distance of the slip sides, in chords.
    #[arg(long, value_name = "C", default_value_t = 20.0, allow_negative_numbers = true)]
    width: f64,
    #[command(flatten)]
    run: RunOptions,
}

impl AirfoilArgs {
    /// Runs it for each section, Reynolds number and angle.
    pub(crate) fn run(&self) -> Result<Verdict> {
        let mut points = Vec::new();
        for naca in &self.naca {
            for &re in &self.re {
                for &alpha in &self.alpha {
                    let settings = [
                        ("naca", naca.clone()),
                        ("re", re.to_string()),
                        ("alpha", alpha.to_string()),
                    ];
                    points.push(Point::new(&settings, self.study(naca, re, alpha)?));
                }
            }
        }
        sweep::run(&self.run, points)
    }

    fn study(&self, naca: &str, re: f64, alpha: f64) -> Result<Study> {
        let (re, width) = (positive("--re", re)?, positive("--width", self.width)?);
        if width < 2.0 {
            bail!(
                "--width {width}: the section touches or nears the sides; expected 2 chords or more"
            );
        }
        if alpha.is_nan() || alpha.abs() > 30.0 {
            bail!("--alpha must be −30 to 30 degrees, got {alpha}");
        }
        let fineness = self.grid.fineness(CYLINDER_GRID, "airfoil")?;
        let foil = Naca::digits(naca)?.at_angle(alpha.to_radians())?;
        airfoil(re, naca, foil, alpha, width, fineness)
    }
}

/// A section in a stream.
pub(crate) fn airfoil(
    re: f64,
    digits: &str,
    foil: Naca,
    alpha: f64,
    width: f64,
    fineness: usize,
) -> Result<Study> {
    let case = cases::airfoil(re, foil, width, fineness)?;
    let plain = digits == "0012" && alpha == 0.0;
    let drag = match re {
        500.0 if plain => Some(Reference::band(0.1759, 0.1762, 0.015, "Lockard 2002; Wu & Shu")),
        1000.0 if plain => Some(Reference::band(0.119, 0.12, 0.02, "Di Ilio 2018; Kurtulus 2015")),
        _ => None,
    };
    let warning = (re >= 1000.0 && alpha.abs() >= 8.0).then(|| {
        "at Re 1000 and more, vortices detach above about 8 degrees: the steady flow is unstable".to_string()
    });
    let chord = |c: f64| Objective::drag(1.0, c);
    Ok(Study {
        name: "airfoil",
        title: format!("NACA {digits} at {alpha}° and Re {re}"),
        parameters: vec![("re", re), ("alpha_deg", alpha), ("half_width", width)],
        quantities: vec![
            Quantity::objective("cd", "drag coefficient", chord(1.0)).against(drag),
            Quantity::objective("cl", "lift coefficient", Objective::lift(1.0, 1.0)),
        ],
        window: Window { x: [-0.5, 2.1], y: [-0.6, 0.6] },
        warnings: warning.into_iter().collect(),
        case,
    })
}
