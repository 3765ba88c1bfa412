//! A study as text and pictures: raw.csv, README.md, scaling.png, devices.png.

use std::path::Path;

use lithoburn_layout::write_whole;

use super::{Findings, Growth, Kind, Measurement};
use crate::EngineError;
use lithoburn_pictures::PictureError;
use lithoburn_pictures::chart::{Chart, Series, draw};

const KINDS: [Kind; 6] =
    [Kind::Data, Kind::Pipeline, Kind::Tensor, Kind::Spatial, Kind::Offload, Kind::Simulated];

impl Findings {
    /// Leaves raw.csv, README.md, findings.json, scaling.png and devices.png in a directory.
    ///
    /// # Errors
    ///
    /// [`EngineError::Layout`] if a file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), EngineError> {
        write_whole(&directory.join("raw.csv"), self.csv().as_bytes())?;
        write_whole(&directory.join("README.md"), self.markdown().as_bytes())?;
        write_whole(&directory.join("scaling.png"), &self.charts()?)?;
        if let Some(charts) = self.device_charts()? {
            write_whole(&directory.join("devices.png"), &charts)?;
        }
        let json = serde_json::to_vec_pretty(self)
            .map_err(|e| EngineError::Setting(format!("the findings have no JSON: {e}")))?;
        Ok(write_whole(&directory.join("findings.json"), &json)?)
    }

    /// One line for each measurement; lists are separated by spaces.
    pub fn csv(&self) -> String {
        let mut text = String::from(
            "kind,growth,devices,batch,images,seconds,images_per_second,speedup,predicted,efficiency,p50_s,p95_s,\
             p99_s,utilisation,memory_bytes,bubble,bubble_predicted,traffic_bytes,price_per_1000\n",
        );
        for m in &self.measurements {
            let list = |values: Vec<String>| values.join(" ");
            let some = |v: Option<f64>| v.map_or(String::new(), |v| format!("{v:.6}"));
            let fields = [
                m.kind.name().to_string(),
                format!("{:?}", m.growth).to_lowercase(),
                m.devices.to_string(),
                m.batch.to_string(),
                m.images.to_string(),
                format!("{:.6}", m.seconds),
                format!("{:.3}", m.rate),
                m.speedup.map_or(String::new(), |v| format!("{v:.4}")),
                format!("{:.4}", m.predicted),
                m.efficiency.map_or(String::new(), |v| format!("{v:.4}")),
                list(m.latency.iter().map(|v| format!("{v:.6}")).collect()).replace(' ', ","),
                list(m.utilisation.iter().map(|v| format!("{v:.4}")).collect()),
                list(m.memory.iter().map(|v| v.map_or("-".into(), |v| v.to_string())).collect()),
                some(m.bubble.map(|b| b[0])),
                some(m.bubble.map(|b| b[1])),
                m.traffic.map_or(String::new(), |v| v.to_string()),
                some(m.price_per_1000),
            ];
            text += &(fields.join(",") + "\n");
        }
        text
    }

    /// The report for people.
    pub fn markdown(&self) -> String {
        let what = match self.cards.is_empty() {
            true => "on devices that sleep".into(),
            false => format!("{} images of {1} x {1} pixels", self.precision, self.size),
        };
        let mut text = format!(
            "# Scaling of {}, {what}\n\n`{}`\n\nlithoburn {}; {}\n",
            self.network,
            self.command,
            self.version,
            if self.cards.is_empty() { "no card".into() } else { self.cards.join(", ") },
        );
        for kind in KINDS {
            let rows: Vec<&Measurement> =
                self.measurements.iter().filter(|m| m.kind == kind).collect();
            if !rows.is_empty() {
                text += &section(kind, &rows);
            }
        }
        if !self.notes.is_empty() {
            text += "\n";
            self.notes.iter().for_each(|line| text += &format!("- {line}\n"));
        }
        if !self.left_out.is_empty() {
            text += "\n## Left out\n\n";
            self.left_out.iter().for_each(|line| text += &format!("- {line}\n"));
        }
        text + "\n![speedup, efficiency, latency](scaling.png)\n\n![utilisation, memory, bubble](devices.png)\n"
    }

    /// A line for each kind that has values.
    fn series(&self, growth: Growth, value: &dyn Fn(&Measurement) -> f64) -> Vec<Series> {
        let of = |kind: Kind| {
            let ours = self.measurements.iter().filter(|m| m.kind == kind && m.growth == growth);
            let points = ours.map(|m| [m.devices as f64, value(m)]).filter(|p| p[1].is_finite());
            let name = format!("{} {}", kind.name(), format!("{growth:?}").to_lowercase());
            Series { name, points: points.collect(), labels: Vec::new(), joined: true }
        };
        KINDS.map(of).into_iter().filter(|series| !series.points.is_empty()).collect()
    }

    /// What the devices did: how busy the least busy one was, what the fullest one held, how long stages stood idle.
    fn device_charts(&self) -> Result<Option<Vec<u8>>, PictureError> {
        let least = |m: &Measurement| m.utilisation.iter().copied().fold(f64::INFINITY, f64::min);
        let fullest = |m: &Measurement| {
            let most = m.memory.iter().flatten().max();
            most.map_or(f64::NAN, |&bytes| bytes as f64 / f64::from(1 << 30))
        };
        let bubble = |i: usize| move |m: &Measurement| m.bubble.map_or(f64::NAN, |b| b[i]);
        let mut bubbles = self.series(Growth::Strong, &bubble(0));
        let mut best = self.series(Growth::Strong, &bubble(1));
        best.iter_mut().for_each(|series| series.name = "at best".into());
        bubbles.append(&mut best);
        let mut charts = vec![
            chart("Least busy device", "share of the time", self.series(Growth::Strong, &least)),
            chart("Memory of the fullest", "GiB", self.series(Growth::Strong, &fullest)),
            chart("Bubble", "share of the stages' time", bubbles),
        ];
        charts.retain(|chart| !chart.series.is_empty());
        if charts.is_empty() { Ok(None) } else { draw(&charts).map(Some) }
    }

    /// Speedup and efficiency against devices, and the latency of a batch.
    fn charts(&self) -> Result<Vec<u8>, PictureError> {
        let series =
            |growth: Growth, value: &dyn Fn(&Measurement) -> f64| self.series(growth, value);
        let both = |value: &dyn Fn(&Measurement) -> f64| {
            [series(Growth::Strong, value), series(Growth::Weak, value)].concat()
        };
        let most = self.measurements.iter().map(|m| m.devices).max().unwrap_or(1) as f64;
        let ideal = Series {
            name: "ideal".into(),
            points: vec![[1.0, 1.0], [most, most]],
            labels: Vec::new(),
            joined: true,
        };
        let latency =
            ["half", "95 of 100", "99 of 100"].into_iter().enumerate().flat_map(|(i, name)| {
                let mut lines = series(Growth::Strong, &|m: &Measurement| m.latency[i] * 1e3);
                lines.iter_mut().for_each(|l| l.name = l.name.replace("strong", name));
                lines
            });
        let latency: Vec<Series> = latency.collect();
        let mut speedups = series(Growth::Strong, &|m| m.speedup.unwrap_or(f64::NAN));
        speedups.push(ideal);
        draw(&[
            chart("Speedup", "times one device", speedups),
            chart("Efficiency", "speedup / devices", both(&|m| m.efficiency.unwrap_or(f64::NAN))),
            chart("Latency of a batch", "milliseconds", latency),
        ])
    }
}

/// A chart over numbers of devices.
fn chart(title: &str, y: &str, series: Vec<Series>) -> Chart {
    Chart { title: title.into(), x: "devices".into(), y: y.into(), series }
}

/// A kind's table.
fn section(kind: Kind, rows: &[&Measurement]) -> String {
    let mut text = format!("\n## {}\n\n", kind.name());
    text += "| growth | devices | batch | images/s | speedup | predicted | efficiency | p50 / p95 / p99 ms | busy | memory \
             GiB | bubble (predicted) | MB between devices | price of 1000 |\n";
    text += "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for m in rows {
        let percents: Vec<String> =
            m.utilisation.iter().map(|v| format!("{:.1} %", 100.0 * v)).collect();
        let gib = |v: &Option<u64>| {
            v.map_or("–".into(), |v| format!("{:.2}", v as f64 / f64::from(1 << 30)))
        };
        let memory: Vec<String> = m.memory.iter().map(gib).collect();
        let dash = || String::from("–");
        let cells = [
            format!("{:?}", m.growth).to_lowercase(),
            m.devices.to_string(),
            m.batch.to_string(),
            format!("{:.1}", m.rate),
            m.speedup.map_or_else(dash, |v| format!("{v:.3}")),
            format!("{:.3}", m.predicted),
            m.efficiency.map_or_else(dash, |v| format!("{v:.3}")),
            m.latency.map(|v| format!("{:.2}", v * 1e3)).join(" / "),
            percents.join(", "),
            memory.join(", "),
            m.bubble.map_or_else(dash, |[found, predicted]| format!("{found:.3} ({predicted:.3})")),
            m.traffic.map_or_else(dash, |bytes| format!("{:.1}", bytes as f64 * 1e-6)),
            m.price_per_1000.map_or_else(dash, |price| format!("{price:.5}")),
        ];
        text += &format!("| {} |\n", cells.join(" | "));
    }
    if let Some(last) = rows.last() {
        text += &format!("\nWhat limits it on {} devices: {}.\n", last.devices, last.bottleneck);
    }
    text
}
