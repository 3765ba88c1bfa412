//! A study as pictures.

use lithoburn_page::canvas::Rgb;
use lithoburn_page::panel::{Axis, Curve, GREY, KINDS, Panel, Plot, STEPS, Scale, Stroke, draw};

use super::{Configuration, Results};
use crate::load::{Estimate, Level, LoadError};

impl Results {
    /// Throughput, efficiency and cost or batches against devices: a PNG.
    ///
    /// # Errors
    ///
    /// [`LoadError::Picture`] if it could not be made.
    pub fn scaling_png(&self) -> Result<Vec<u8>, LoadError> {
        let priced = self.configurations.iter().any(|c| c.price_per_hour.is_some());
        let third = if priced { self.cost() } else { self.busy() };
        Ok(draw(&[self.throughput(), self.efficiency_panel(), third], 3)?)
    }

    /// Throughput and latencies against concurrency, a line for each number of devices, and latency against throughput: a
    /// PNG.
    ///
    /// # Errors
    ///
    /// [`LoadError::Picture`] if it could not be made.
    pub fn load_png(&self) -> Result<Vec<u8>, LoadError> {
        let rate = self.by_concurrency(&|l| Some(l.items_per_second), 1.0);
        let p50 = self.by_concurrency(&|l| l.latency.p50, 1e-3);
        let panels = [
            self.panel("Throughput", rate, "items a second", Scale::Log, self.concurrencies()),
            self.panel(
                "Half of the requests take no longer",
                p50,
                "p50, ms",
                Scale::Log,
                self.concurrencies(),
            ),
            self.trade(),
        ];
        Ok(draw(&panels, 3)?)
    }

    fn counts(&self) -> Vec<f64> {
        self.configurations.iter().map(|c| c.devices as f64).collect()
    }

    fn device_axis(&self) -> Axis {
        Axis::new("devices", Scale::Log).at(self.counts())
    }

    fn concurrencies(&self) -> Axis {
        let levels = self.configurations.iter().flat_map(|c| &c.closed.levels);
        let mut ticks: Vec<f64> = levels.map(|level| level.offered.number()).collect();
        ticks.sort_by(f64::total_cmp);
        ticks.dedup();
        Axis::new("requests in flight", Scale::Log).at(ticks)
    }

    fn panel(&self, title: &str, curves: Vec<Curve>, y: &str, scale: Scale, x: Axis) -> Panel {
        Panel {
            title: title.into(),
            subtitle: format!("{}; bars are 95 % intervals", self.what),
            x,
            y: Axis::new(y, scale),
            plot: Plot::Curves(curves, Vec::new()),
        }
    }

    /// Greatest throughput, what it would be if each device brought as much as the first, and the fitted law.
    fn throughput(&self) -> Panel {
        let best = |c: &Configuration| c.best().map(|level| level.items_per_second);
        let measured = by_devices(self, "measured", KINDS[0], &best);
        let one = self.base().and_then(|base| Some(best(base)?.value / base.devices as f64));
        let line = |name: &str, value: &dyn Fn(f64) -> f64| {
            let points = self.counts().into_iter().map(|n| [n, value(n)]).collect();
            broken(name, points)
        };
        let mut curves = vec![line("ideal", &|n| one.unwrap_or(f64::NAN) * n)];
        if let Some(law) = self.law() {
            curves.push(Curve { colour: STEPS[1], ..line("fitted law", &|n| law.at(n)) });
        }
        curves.push(measured);
        self.panel("Throughput", curves, "items a second at best", Scale::Log, self.device_axis())
    }

    fn efficiency_panel(&self) -> Panel {
        let share = |c: &Configuration| {
            let share = self.efficiency(c)?;
            let spread = c.best()?.items_per_second.spread();
            let ends = |spread: f64| [share * (1.0 - spread), share * (1.0 + spread)];
            Some(Estimate { value: share, interval: spread.map(ends) })
        };
        let ideal = broken("ideal", self.counts().into_iter().map(|n| [n, 1.0]).collect());
        let curves = vec![ideal, by_devices(self, "measured", KINDS[0], &share)];
        let y = "speedup ÷ devices";
        self.panel("Efficiency", curves, y, Scale::Linear, self.device_axis())
    }

    fn cost(&self) -> Panel {
        let cost = |c: &Configuration| {
            let best = c.best()?;
            let cost = c.cost_per_1000(best)?;
            let spread = best.items_per_second.spread();
            let ends = |spread: f64| [cost / (1.0 + spread), cost / (1.0 - spread)];
            Some(Estimate { value: cost, interval: spread.map(ends) })
        };
        let curves = vec![by_devices(self, "at best", KINDS[1], &cost)];
        self.panel(
            "Cost of 1000 items",
            curves,
            "in the price's unit",
            Scale::Linear,
            self.device_axis(),
        )
    }

    /// Shares of the time that devices compute and copy.
    fn busy(&self) -> Panel {
        let of = |value: fn(&crate::load::watch::Device) -> Option<f64>| {
            move |c: &Configuration| {
                let value = c.at_saturation(self.limit_ms)?.machine.mean(value)?;
                Some(Estimate { value: 100.0 * value, interval: None })
            }
        };
        let curves = vec![
            by_devices(self, "computing", KINDS[0], &of(|device| device.computing)),
            by_devices(self, "in and out", KINDS[3], &of(|device| device.copying)),
        ];
        let y = "% of the time, mean of the devices";
        self.panel("Devices at saturation", curves, y, Scale::Linear, self.device_axis())
    }

    /// A line for each configuration.
    fn by_concurrency(
        &self,
        value: &dyn Fn(&Level) -> Option<Estimate>,
        factor: f64,
    ) -> Vec<Curve> {
        let curve = |(index, c): (usize, &Configuration)| {
            let found = c.closed.levels.iter().map(|level| (level.offered.number(), value(level)));
            Curve { name: named(c.devices), colour: colour(index), ..curve(found, factor) }
        };
        self.configurations.iter().enumerate().map(curve).collect()
    }

    /// What latency a throughput costs.
    fn trade(&self) -> Panel {
        let curve = |(index, c): (usize, &Configuration)| {
            let point = |l: &Level| {
                [l.items_per_second.value, l.latency.p99.map_or(f64::NAN, |p99| 1e-3 * p99.value)]
            };
            Curve {
                name: named(c.devices),
                points: c.closed.levels.iter().map(point).collect(),
                intervals: c
                    .closed
                    .levels
                    .iter()
                    .map(|l| l.latency.p99.and_then(|p| p.interval))
                    .map(|i| i.map(|ends| ends.map(|end| 1e-3 * end)))
                    .collect(),
                colour: colour(index),
                stroke: Stroke::Line,
            }
        };
        let curves = self.configurations.iter().enumerate().map(curve).collect();
        let x = Axis::new("items a second", Scale::Log);
        self.panel("What a throughput costs", curves, "p99, ms", Scale::Log, x)
    }
}

/// From light to dark with the number of devices.
fn colour(index: usize) -> Rgb {
    STEPS[index.min(STEPS.len() - 1)]
}

fn named(devices: usize) -> String {
    if devices == 1 { "1 device".into() } else { format!("{devices} devices") }
}

fn broken(name: &str, points: Vec<[f64; 2]>) -> Curve {
    let (name, colour, stroke) = (name.into(), GREY, Stroke::Broken);
    Curve { name, points, intervals: Vec::new(), colour, stroke }
}

fn curve(found: impl Iterator<Item = (f64, Option<Estimate>)>, factor: f64) -> Curve {
    let found: Vec<_> = found.collect();
    let point = |(x, e): &(f64, Option<Estimate>)| [*x, e.map_or(f64::NAN, |e| factor * e.value)];
    let interval = |(_, e): &(f64, Option<Estimate>)| {
        e.and_then(|e| e.interval).map(|ends| ends.map(|end| factor * end))
    };
    Curve {
        name: String::new(),
        points: found.iter().map(point).collect(),
        intervals: found.iter().map(interval).collect(),
        colour: KINDS[0],
        stroke: Stroke::Line,
    }
}

fn by_devices(
    results: &Results,
    name: &str,
    colour: Rgb,
    value: &dyn Fn(&Configuration) -> Option<Estimate>,
) -> Curve {
    let found = results.configurations.iter().map(|c| (c.devices as f64, value(c)));
    Curve { name: name.into(), colour, ..curve(found, 1.0) }
}
