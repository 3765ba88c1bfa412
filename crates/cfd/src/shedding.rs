//! Vortex streets: frequency, mean drag and the swing of the lift, from their series in time.

use serde::Serialize;

use crate::{Error, March, Objective, State};

/// A body's forces per step of time.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Series {
    /// Time between two values.
    pub step: f64,
    /// Drag coefficient after each step.
    pub drag: Vec<f64>,
    /// Lift coefficient after each step.
    pub lift: Vec<f64>,
}

/// What a periodic street is known by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Shedding {
    /// Periods per unit of time; times D/U it is the Strouhal number.
    pub frequency: f64,
    /// Whole periods that were measured.
    pub periods: usize,
    /// Mean, least and greatest drag coefficient.
    pub drag: [f64; 3],
    /// Half the distance of greatest and least lift coefficient.
    pub swing: f64,
    /// Greatest lift coefficient.
    pub greatest_lift: f64,
    /// Root mean square of the lift coefficient about its mean.
    pub lift_rms: f64,
}

impl Series {
    /// Runs `march` for a number of steps and notes drag and lift; `watch` sees each step and may stop the run by
    /// returning false.
    ///
    /// # Errors
    ///
    /// As [`March::advance`].
    pub fn record(
        march: &March,
        start: State,
        steps: usize,
        [drag, lift]: [&Objective; 2],
        mut watch: impl FnMut(usize, &State) -> bool,
    ) -> Result<(Self, State), Error> {
        let mut series = Self { step: march.time_step(), ..Self::default() };
        let mut state = start;
        for step in 0..steps {
            state = march.advance(&state)?;
            series.drag.push(march.value(drag, &state));
            series.lift.push(march.value(lift, &state));
            if !watch(step, &state) {
                break;
            }
        }
        Ok((series, state))
    }

    /// Measures the whole periods after `from`; `None` if there are fewer than `least`.
    ///
    /// Periods are the times between upward passes of the lift through its mean, interpolated within a step: a bin of
    /// a spectrum is one over the length of the series wide, which is too wide.
    #[must_use]
    pub fn shedding(&self, from: f64, least: usize) -> Option<Shedding> {
        let first = (from / self.step).ceil() as usize;
        let lift = self.lift.get(first..)?;
        let mean = lift.iter().sum::<f64>() / lift.len().max(1) as f64;
        let passes: Vec<f64> = (1..lift.len())
            .filter(|&i| lift[i - 1] < mean && lift[i] >= mean)
            .map(|i| i as f64 - (lift[i] - mean) / (lift[i] - lift[i - 1]))
            .collect();
        let periods = passes.len().checked_sub(1).filter(|&n| n >= least.max(1))?;
        let (begin, end) = (passes[0], passes[periods]);
        let span = first + begin.ceil() as usize..first + end.ceil() as usize;
        Some(self.measured(span, periods, periods as f64 / ((end - begin) * self.step)))
    }

    fn measured(&self, span: std::ops::Range<usize>, periods: usize, frequency: f64) -> Shedding {
        let (drag, lift) = (&self.drag[span.clone()], &self.lift[span]);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let ends = |values: &[f64]| {
            let first = [f64::INFINITY, f64::NEG_INFINITY];
            values.iter().fold(first, |[low, high], &v| [low.min(v), high.max(v)])
        };
        let ([low, high], middle) = (ends(lift), mean(lift));
        let [least, most] = ends(drag);
        let square: Vec<f64> = lift.iter().map(|l| (l - middle).powi(2)).collect();
        Shedding {
            frequency,
            periods,
            drag: [mean(drag), least, most],
            swing: 0.5 * (high - low),
            greatest_lift: high,
            lift_rms: mean(&square).sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sine_has_its_frequency_its_swing_and_its_root_mean_square() {
        let (step, frequency) = (0.02, 0.1653);
        let phase = |i: usize| std::f64::consts::TAU * frequency * step * i as f64;
        let lift = (0..8000).map(|i| 0.01 + 0.33 * phase(i).sin()).collect();
        let drag = (0..8000).map(|i| 1.34 + 0.009 * (2.0 * phase(i)).cos()).collect();
        let shedding = Series { step, drag, lift }.shedding(60.0, 10);
        let Some(shedding) = shedding else { panic!("no periods") };
        assert!((shedding.frequency / frequency - 1.0).abs() < 1e-5, "{shedding:?}");
        assert!((shedding.swing - 0.33).abs() < 1e-4 && (shedding.drag[0] - 1.34).abs() < 1e-5);
        assert!((shedding.lift_rms - 0.33 / 2f64.sqrt()).abs() < 1e-3, "{shedding:?}");
    }

    #[test]
    fn a_steady_lift_sheds_nothing() {
        let series = Series { step: 0.1, drag: vec![1.0; 500], lift: vec![0.2; 500] };
        assert_eq!(series.shedding(10.0, 3), None);
    }
}
