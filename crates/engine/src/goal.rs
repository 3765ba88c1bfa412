//! What masks are best at.

use lithoburn_litho::loss::PrintLoss;
use lithoburn_litho::{Corner, ProcessWindow};
use serde::{Deserialize, Serialize};

/// What a mask is best at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// Small areas of error and of the PV band together.
    #[default]
    Area,
    /// Edges within a few nm of the design's at the EPE sites, at the cost of a larger PV band.
    Edges,
    /// A wide process window, at the cost of area: the descent's corners have twice the errors of dose.
    Window,
}

/// What an error along the edges, and one at the depth of the EPE probes, costs over one elsewhere, and what the band weighs then, where edges are the
/// goal.
const NEAR: f64 = 32.0;
const BAND: f64 = 8.0;
/// How much larger a corner's error of dose is where the window is the goal, as a power.
const WIDER: f64 = 2.0;

impl Goal {
    /// Name in the CLI and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Area => "area",
            Self::Edges => "edges",
            Self::Window => "window",
        }
    }

    /// The errors as the goal weighs them.
    pub(crate) fn weighed(self, loss: PrintLoss) -> PrintLoss {
        match self {
            Self::Edges => PrintLoss { near: NEAR, edge: NEAR, band: BAND, ..loss },
            Self::Area | Self::Window => loss,
        }
    }

    /// The corners of a descent for a process with these.
    pub(crate) fn corners(self, window: ProcessWindow) -> ProcessWindow {
        let nominal = window.nominal;
        let wider = |corner: Corner| Corner {
            dose: nominal.dose * (corner.dose / nominal.dose).powf(WIDER),
            ..corner
        };
        match self {
            Self::Area | Self::Edges => window,
            Self::Window => {
                ProcessWindow { nominal, outer: wider(window.outer), inner: wider(window.inner) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_wider_around_the_same_dose_and_other_goals_leave_it() {
        let mut window = ProcessWindow::default();
        window.nominal.dose = 1.1;
        window.outer.dose = 1.21;
        window.inner.dose = 1.0;
        for goal in [Goal::Area, Goal::Edges] {
            assert_eq!(goal.corners(window), window);
        }
        let wider = Goal::Window.corners(window);
        assert_eq!(wider.nominal, window.nominal);
        // 1.1 times the nominal dose becomes 1.21 times, 1/1.1 times becomes 1/1.21.
        assert!((wider.outer.dose - 1.1 * 1.21).abs() < 1e-12);
        assert!((wider.inner.dose - 1.1 / 1.21).abs() < 1e-12);
        assert_eq!(wider.inner.focus, window.inner.focus);
    }

    #[test]
    fn edges_cost_more_where_they_are_the_goal() {
        let loss = PrintLoss::default();
        assert_eq!(Goal::Area.weighed(loss), loss);
        assert!(Goal::Edges.weighed(loss).near > loss.near);
    }
}
