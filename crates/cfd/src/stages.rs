//! Where a solution's time goes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;

/// Seconds of each stage of a solution, on all its grids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stages {
    /// Signed distances, cut cells and the set-up of the equations.
    pub geometry: f64,
    /// The Jacobian's pattern and its symbolic factorisation.
    pub symbolic: f64,
    /// Values of Jacobians.
    pub assembly: f64,
    /// Numeric factorisations.
    pub factor: f64,
    /// Triangular solves.
    pub solve: f64,
}

impl Stages {
    /// Adds the stages of one grid.
    pub(crate) fn add(&mut self, geometry: f64, symbolic: f64, watch: &Watch) {
        let [assembly, factor, solve] = watch.seconds();
        self.geometry += geometry;
        self.symbolic += symbolic;
        self.assembly += assembly;
        self.factor += factor;
        self.solve += solve;
    }

    /// The stages with their names, in order.
    #[must_use]
    pub fn named(&self) -> [(&'static str, f64); 5] {
        [
            ("geometry", self.geometry),
            ("symbolic", self.symbolic),
            ("assembly", self.assembly),
            ("factor", self.factor),
            ("solve", self.solve),
        ]
    }
}

/// What a linear system spends its time on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Assembly,
    Factor,
    Solve,
}

/// Nanoseconds of each kind of work; solutions may be asked for from several threads.
#[derive(Debug, Default)]
pub(crate) struct Watch([AtomicU64; 3]);

impl Watch {
    /// Runs `work` and notes how long it took.
    pub(crate) fn time<T>(&self, kind: Work, work: impl FnOnce() -> T) -> T {
        let (done, seconds) = timed(work);
        self.0[kind as usize].fetch_add((1e9 * seconds) as u64, Ordering::Relaxed);
        done
    }

    /// Seconds since they were last asked for.
    fn seconds(&self) -> [f64; 3] {
        [0, 1, 2].map(|i| self.0[i].swap(0, Ordering::Relaxed) as f64 * 1e-9)
    }
}

/// What `work` returns, and its seconds.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let started = Instant::now();
    let done = work();
    (done, started.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_of_all_grids_add_up() {
        let watch = Watch::default();
        let pause =
            || std::hint::black_box((0..200_000).map(f64::from).map(f64::sqrt).sum::<f64>());
        watch.time(Work::Factor, pause);
        let mut stages = Stages::default();
        stages.add(1.0, 2.0, &watch);
        let once = stages.factor;
        stages.add(1.0, 2.0, &watch);
        assert_eq!((stages.geometry, stages.symbolic, stages.solve), (2.0, 4.0, 0.0));
        // What was asked for once does not count again.
        assert!(once > 0.0 && stages.factor == once);
    }
}
