//! What was found, as pictures.

use lithoburn_page::canvas::Rgb;
use lithoburn_page::panel::{
    Axis, Curve, GREY, KINDS, Panel, Plot, STEPS, Scale, Stack, Stroke, draw,
};

use super::level::Level;
use super::{Findings, Law, LoadError, Offered};

/// Names of a request's parts, from the client and back.
const PARTS: [(&str, Rgb); 7] = [
    ("late", GREY),
    ("sending", KINDS[5]),
    ("network, HTTP", [184, 190, 199]),
    ("queue", KINDS[4]),
    ("in and out", KINDS[3]),
    ("computing", KINDS[0]),
    ("receiving", KINDS[2]),
];

impl Offered {
    /// Requests in flight, or a second.
    #[must_use]
    pub fn number(&self) -> f64 {
        match self {
            Self::Concurrency(count) => *count as f64,
            Self::Rate { per_second, .. } => *per_second,
        }
    }
}

impl Findings {
    /// Throughput, latency, and where the time goes, each against the levels: a PNG.
    ///
    /// # Errors
    ///
    /// [`LoadError::Picture`] if it could not be made.
    pub fn charts(&self) -> Result<Vec<u8>, LoadError> {
        let panels = [self.throughput(), self.latency(), self.parts()];
        Ok(draw(&panels, 3)?)
    }

    fn subtitle(&self) -> String {
        let batch = self.levels.first().map_or(1, |level| level.batch);
        let items = if batch == 1 { "1 item".into() } else { format!("{batch} items") };
        format!("{}, {items} a request; bars are 95 % intervals", self.model)
    }

    fn x(&self) -> Axis {
        let levels: Vec<f64> = self.levels.iter().map(|level| level.offered.number()).collect();
        let closed =
            matches!(self.levels.first().map(|l| l.offered), Some(Offered::Concurrency(_)));
        match closed {
            true => Axis::new("requests in flight", Scale::Log).at(levels),
            false => Axis::new("requests a second that arrive", Scale::Log).at(levels),
        }
    }

    fn throughput(&self) -> Panel {
        let point = |l: &Level| [l.offered.number(), l.items_per_second.value];
        let measured = Curve {
            name: "measured".into(),
            points: self.levels.iter().map(point).collect(),
            intervals: self.levels.iter().map(|l| l.items_per_second.interval).collect(),
            colour: KINDS[0],
            stroke: Stroke::Line,
        };
        let law = Law::fit(&measured.points).filter(|_| self.closed());
        let fitted = law.map(|law| Curve {
            name: "fitted law".into(),
            points: measured.points.iter().map(|p| [p[0], law.at(p[0])]).collect(),
            intervals: Vec::new(),
            colour: GREY,
            stroke: Stroke::Broken,
        });
        Panel {
            title: "Throughput".into(),
            subtitle: self.subtitle(),
            x: self.x(),
            y: Axis::new("items a second", Scale::Linear),
            plot: Plot::Curves(fitted.into_iter().chain([measured]).collect(), Vec::new()),
        }
    }

    fn closed(&self) -> bool {
        self.levels.iter().all(|level| matches!(level.offered, Offered::Concurrency(_)))
    }

    fn latency(&self) -> Panel {
        let names = ["p50", "p90", "p95", "p99", "p99.9"];
        let curve = |index: usize| {
            let value = |l: &Level| l.latency.percentiles()[index].1;
            let point =
                |l: &Level| [l.offered.number(), value(l).map_or(f64::NAN, |e| 1e-3 * e.value)];
            let interval = |l: &Level| value(l)?.interval.map(|ends| ends.map(|end| 1e-3 * end));
            Curve {
                name: names[index].into(),
                points: self.levels.iter().map(point).collect(),
                intervals: self.levels.iter().map(interval).collect(),
                colour: STEPS[index],
                stroke: Stroke::Line,
            }
        };
        let curves = (0..names.len()).map(curve).filter(|c| c.points.iter().any(|p| p[1] > 0.0));
        Panel {
            title: "Latency".into(),
            subtitle: self.subtitle(),
            x: self.x(),
            y: Axis::new("ms from when a request should have begun", Scale::Log),
            plot: Plot::Curves(curves.collect(), Vec::new()),
        }
    }

    /// Each part as a share of a request's time.
    fn parts(&self) -> Panel {
        let stack = |level: &Level| {
            let parts = level.parts_us();
            let whole: f64 = parts.iter().sum();
            let share = |part: &f64| if whole > 0.0 { 100.0 * part / whole } else { 0.0 };
            Stack { name: level.offered.to_string(), parts: parts.iter().map(share).collect() }
        };
        let parts = PARTS.iter().map(|(name, colour)| ((*name).to_string(), *colour));
        Panel {
            title: "Where a request's time goes".into(),
            subtitle: "means, from the client's and the server's clocks".into(),
            x: self.x(),
            y: Axis::new("% of a request's time", Scale::Linear),
            plot: Plot::Stacks(self.levels.iter().map(stack).collect(), parts.collect()),
        }
    }
}

impl Level {
    /// Mean times of a request's parts, in µs: late, sending, network, queue, in and out of devices, computing, receiving.
    /// Without the server's word, all of its time is the network's.
    #[must_use]
    pub fn parts_us(&self) -> [f64; 7] {
        let ours = self.client;
        let rest = self.latency.mean.unwrap_or(0.0) - ours.late_us - ours.send_us - ours.receive_us;
        let network = self.network_us().unwrap_or(rest.max(0.0));
        let server = self.server.map_or([0.0; 3], |s| {
            [s.queue_us, s.compute_input_us + s.compute_output_us, s.compute_infer_us]
        });
        let [queue, copies, computing] = server;
        [ours.late_us, ours.send_us, network, queue, copies, computing, ours.receive_us]
    }
}
