//! What a run found, as a value: printed, and written as JSON.

use lithoburn_cfd::{Flow, Gradient, History, TimeGradient};
use serde::Serialize;

use crate::number::number;
use crate::study::{Quantity, Reference, Study};
use lithoburn_terminal::table;

/// A number with what it is compared with.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) quantity: &'static str,
    pub(crate) value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reference: Option<Reference>,
    /// Relative distance from the reference; 0 inside a band.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deviation: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) holds: Option<bool>,
}

impl Row {
    pub(crate) fn of(quantity: &Quantity, flow: &Flow) -> Self {
        Self::valued(quantity, quantity.of(flow))
    }

    /// A quantity whose value is known.
    pub(crate) fn valued(quantity: &Quantity, value: f64) -> Self {
        let reference = quantity.reference.clone();
        let deviation = reference.as_ref().map(|r| r.deviation(value));
        let holds = reference.as_ref().map(|r| r.holds(value));
        Self { key: quantity.key, quantity: quantity.name, value, reference, deviation, holds }
    }

    fn cells(&self) -> Vec<String> {
        let known =
            |f: &dyn Fn(&Reference) -> String| self.reference.as_ref().map_or("–".into(), f);
        let absolute = self.reference.as_ref().is_some_and(|r| r.band[0] == 0.0);
        let deviation = match self.deviation {
            None => "–".into(),
            Some(_) if absolute => String::new(),
            Some(off) => format!("{:+.2} %", 100.0 * off),
        };
        vec![
            self.quantity.into(),
            number(self.value),
            known(&|r| r.shown()),
            deviation,
            match self.holds {
                None => "–".into(),
                Some(true) => "holds".into(),
                Some(false) => "OFF".into(),
            },
        ]
    }
}

/// The table of a run.
pub(crate) fn shown(rows: &[Row]) -> String {
    let cells: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
    table(&["quantity", "value", "reference", "deviation", "verdict"], &cells)
}

/// Derivatives of a quantity.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct GradientReport {
    pub(crate) of: &'static str,
    pub(crate) value: f64,
    /// Names and derivatives.
    pub(crate) by: Vec<(String, f64)>,
    pub(crate) seconds: f64,
}

impl GradientReport {
    pub(crate) fn new(of: &'static str, study: &Study, gradient: &Gradient, seconds: f64) -> Self {
        let mut by = by_shapes(study, &gradient.bodies);
        by.push(("viscosity".into(), gradient.viscosity));
        by.push(("factor on all velocities".into(), gradient.speed));
        if study.case.heat.is_some() {
            by.push(("thermal diffusivity".into(), gradient.diffusivity));
        }
        Self { of, value: gradient.value, by, seconds }
    }

    /// The same of a run in time.
    pub(crate) fn in_time(
        of: &'static str,
        study: &Study,
        gradient: &TimeGradient,
        seconds: f64,
    ) -> Self {
        let mut by = by_shapes(study, &gradient.bodies);
        for (k, body) in study.case.bodies.iter().enumerate() {
            if body.temperature.is_some() {
                by.push((format!("body {}: temperature", k + 1), gradient.temperature[k]));
            }
        }
        by.push(("viscosity".into(), gradient.viscosity));
        by.push(("factor on all velocities".into(), gradient.speed));
        by.push(("thermal diffusivity".into(), gradient.diffusivity));
        by.push(("buoyancy along x".into(), gradient.buoyancy[0]));
        by.push(("buoyancy along y".into(), gradient.buoyancy[1]));
        Self { of, value: gradient.value, by, seconds }
    }

    /// The table, cut after some lines.
    pub(crate) fn shown(&self) -> String {
        const MOST: usize = 24;
        let row = |(name, value): &(String, f64)| vec![name.clone(), number(*value)];
        let mut rows: Vec<Vec<String>> = self.by.iter().take(MOST).map(row).collect();
        if self.by.len() > MOST {
            rows.push(vec![
                format!("… {} more in report.json", self.by.len() - MOST),
                String::new(),
            ]);
        }
        table(&[&format!("d {} / d", self.of), "value"], &rows)
    }
}

/// Derivatives by the parameters of each body's outline.
fn by_shapes(study: &Study, bodies: &[Vec<f64>]) -> Vec<(String, f64)> {
    let mut by = Vec::new();
    let several = study.case.bodies.len() > 1;
    for (k, (body, values)) in study.case.bodies.iter().zip(bodies).enumerate() {
        let own = |name| if several { format!("body {}: {name}", k + 1) } else { name };
        by.extend(body.shape.names().into_iter().map(own).zip(values.iter().copied()));
    }
    by
}

/// Seconds of a run's parts.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Seconds {
    pub(crate) forward: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gradient: Option<f64>,
}

/// All of report.json.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    pub(crate) case: &'static str,
    pub(crate) title: &'a str,
    pub(crate) version: &'static str,
    pub(crate) parameters: serde_json::Map<String, serde_json::Value>,
    pub(crate) grid: [usize; 2],
    pub(crate) viscosity: f64,
    pub(crate) unknowns: Option<usize>,
    pub(crate) converged: bool,
    pub(crate) quantities: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gradient: Option<GradientReport>,
    pub(crate) history: &'a History,
    pub(crate) seconds: Seconds,
    pub(crate) warnings: &'a [String],
}

impl<'a> Report<'a> {
    /// A report without results.
    pub(crate) fn new(study: &'a Study, history: &'a History) -> Self {
        let parameters =
            study.parameters.iter().map(|(name, value)| (name.to_string(), (*value).into()));
        Self {
            case: study.name,
            title: &study.title,
            version: env!("CARGO_PKG_VERSION"),
            parameters: parameters.collect(),
            grid: [study.case.grid.nx(), study.case.grid.ny()],
            viscosity: study.case.viscosity,
            unknowns: None,
            converged: false,
            quantities: Vec::new(),
            gradient: None,
            history,
            seconds: Seconds::default(),
            warnings: &study.warnings,
        }
    }
}
