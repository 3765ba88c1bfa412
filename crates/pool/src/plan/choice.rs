//! The choice among all ways to use devices.

use super::problem::{Problem, fastest};
use super::{Plan, PlanError, Strategy};

/// How much faster splitting a tile has to be before `auto` does it.
const WORTH: f64 = 1.05;

impl Problem<'_> {
    /// The best of all ways that fit.
    pub(super) fn auto(&self) -> Result<Plan, PlanError> {
        let splits =
            || [Strategy::Tensor, Strategy::Spatial].into_iter().filter_map(|s| self.best_split(s));
        let too_big = match self.data() {
            Ok(data) if self.demand.tiles >= self.devices.len() => return Ok(data),
            Ok(data) => {
                let least = data.predicted_speedup * WORTH;
                return Ok(
                    fastest(splits().filter(|p| p.predicted_speedup > least)).unwrap_or(data)
                );
            }
            Err(error) => error,
        };
        let lines = self.lines(false).into_iter().chain(splits());
        let mut plan = fastest(lines).ok_or_else(|| self.too_big())?;
        plan.reason = format!("{} ({too_big})", plan.reason);
        Ok(plan)
    }
}
