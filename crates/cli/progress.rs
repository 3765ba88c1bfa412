//! A run's events on the terminal.

use lithoburn_engine::{Event, Phase};
use lithoburn_terminal::Progress as Bar;

/// A bar that follows a run's events; where there is no terminal, a line now and then.
pub(crate) struct Progress {
    bar: Bar,
    /// The phase, and what was last told of it.
    told: Option<(Phase, String)>,
}

impl Progress {
    /// A bar on the terminal, lines elsewhere, or nothing if output is JSON.
    pub(crate) fn new(json: bool) -> Self {
        Self { bar: Bar::new(json), told: None }
    }

    /// Shows an event; false if the user asked to stop.
    pub(crate) fn show(&mut self, event: Event) -> bool {
        let name = match event.phase {
            Phase::Rasterize => "drawing",
            Phase::Load => "loading",
            Phase::Optimize => "optimising",
            Phase::Fit => "fitting shots",
            Phase::Evaluate => "measuring",
            Phase::Simulate => "simulating",
        };
        let told = match (event.loss_nm2, self.told.take()) {
            (Some(loss), _) => format!("loss {loss:.0} nm²"),
            (None, Some((phase, told))) if phase == event.phase => told,
            (None, _) => String::new(),
        };
        let go_on = self.bar.show(name, event.done as u64, event.total as u64, &told);
        self.told = Some((event.phase, told));
        go_on
    }
}
