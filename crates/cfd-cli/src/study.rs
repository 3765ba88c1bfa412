//! A case with what is asked of it and what is known of the answer.

use lithoburn_cfd::{Case, Flow, Objective};

use crate::pictures::Window;

/// A case, its quantities, and how it is shown.
pub(crate) struct Study {
    /// Short name: of the folder too.
    pub(crate) name: &'static str,
    /// Headline.
    pub(crate) title: String,
    pub(crate) case: Case,
    /// Numbers that define the case, for the report.
    pub(crate) parameters: Vec<(&'static str, f64)>,
    pub(crate) quantities: Vec<Quantity>,
    /// What the pictures show.
    pub(crate) window: Window,
    /// What the user should know before trusting the numbers.
    pub(crate) warnings: Vec<String>,
}

/// How a quantity comes out of a flow.
pub(crate) enum Measure {
    /// A number with a gradient.
    Objective(Objective),
    /// A number read off.
    Reading(Box<dyn Fn(&Flow) -> f64 + Send + Sync>),
}

/// A number of the table.
pub(crate) struct Quantity {
    /// Short name, as for `--gradient`.
    pub(crate) key: &'static str,
    /// What it is.
    pub(crate) name: &'static str,
    pub(crate) measure: Measure,
    pub(crate) reference: Option<Reference>,
}

/// What others found.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Reference {
    /// Least and greatest published value; the same twice for one value.
    pub(crate) band: [f64; 2],
    /// How far outside a value may lie, relative to the band's end.
    pub(crate) tolerance: f64,
    /// Who.
    pub(crate) source: &'static str,
}

impl Reference {
    pub(crate) fn value(value: f64, tolerance: f64, source: &'static str) -> Self {
        Self { band: [value; 2], tolerance, source }
    }

    pub(crate) fn band(low: f64, high: f64, tolerance: f64, source: &'static str) -> Self {
        Self { band: [low, high], tolerance, source }
    }

    /// A value from nothing to a limit, as errors are.
    pub(crate) fn below(limit: f64, source: &'static str) -> Self {
        Self { band: [0.0, limit], tolerance: 0.0, source }
    }

    /// Relative distance from the band, 0 inside it; absolute where the band ends at 0.
    pub(crate) fn deviation(&self, value: f64) -> f64 {
        let [low, high] = self.band;
        let over = |off: f64, end: f64| if end == 0.0 { off } else { off / end.abs() };
        if value < low {
            return over(value - low, low);
        }
        if value > high {
            return over(value - high, high);
        }
        if value.is_nan() { f64::NAN } else { 0.0 }
    }

    /// Whether a value is within the tolerance; NaN is not.
    pub(crate) fn holds(&self, value: f64) -> bool {
        self.deviation(value).abs() <= self.tolerance
    }

    pub(crate) fn shown(&self) -> String {
        let [low, high] = self.band.map(crate::number::number);
        if low == high {
            low
        } else if self.band[0] == 0.0 {
            format!("≤ {high}")
        } else {
            format!("{low} – {high}")
        }
    }
}

impl Quantity {
    pub(crate) fn objective(key: &'static str, name: &'static str, objective: Objective) -> Self {
        Self { key, name, measure: Measure::Objective(objective), reference: None }
    }

    pub(crate) fn reading(
        key: &'static str,
        name: &'static str,
        read: impl Fn(&Flow) -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self { key, name, measure: Measure::Reading(Box::new(read)), reference: None }
    }

    pub(crate) fn against(self, reference: Option<Reference>) -> Self {
        Self { reference, ..self }
    }

    pub(crate) fn of(&self, flow: &Flow) -> f64 {
        match &self.measure {
            Measure::Objective(objective) => flow.value(objective),
            Measure::Reading(read) => read(flow),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_holds_inside_its_band_and_within_its_tolerance_and_never_for_nan() {
        let band = Reference::band(2.0, 2.06, 0.01, "several");
        assert!(band.holds(2.03) && band.holds(1.99) && band.holds(2.07));
        assert!(!band.holds(1.97) && !band.holds(2.09) && !band.holds(f64::NAN));
        let limit = Reference::below(0.004, "a limit");
        assert!(limit.holds(0.0039) && !limit.holds(0.0041) && !limit.holds(-0.1));
    }
}
