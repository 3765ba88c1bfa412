//! A study as text and pictures: raw.csv, README.md, scaling.png.

use std::path::Path;

use lithoburn_layout::write_whole;

use super::{Findings, Growth, Kind, Measurement};
use crate::EngineError;
use crate::overview::chart::{Chart, Series, draw};

const KINDS: [Kind; 6] =
    [Kind::Data, Kind::Pipeline, Kind::Tensor, Kind::Spatial, Kind::Offload, Kind::Simulated];

impl Findings {
    /// Leaves raw.csv, README.md, findings.json and scaling.png in a directory.
    ///
    /// # Errors
    ///
    /// [`EngineError::Layout`] if a file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), EngineError> {
        write_whole(&directory.join("raw.csv"), self.csv().as_bytes())?;
        write_whole(&directory.join("README.md"), self.markdown().as_bytes())?;
        write_whole(&directory.join("scaling.png"), &self.charts())?;
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
                format!("{:.4}", m.speedup),
                format!("{:.4}", m.predicted),
                format!("{:.4}", m.efficiency),
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
        text + "\n![charts](scaling.png)\n"
    }

    /// Speedup and efficiency against devices, and the latency of a batch.
    fn charts(&self) -> Vec<u8> {
        let series = |growth: Growth, value: &dyn Fn(&Measurement) -> f64| -> Vec<Series> {
            let of = |kind: Kind| {
                let ours =
                    self.measurements.iter().filter(|m| m.kind == kind && m.growth == growth);
                let points: Vec<[f64; 2]> = ours.map(|m| [m.devices as f64, value(m)]).collect();
                let name = format!("{} {}", kind.name(), format!("{growth:?}").to_lowercase());
                Series { name, points, labels: Vec::new(), joined: true }
            };
            KINDS.map(of).into_iter().filter(|series| !series.points.is_empty()).collect()
        };
        let both = |value: &dyn Fn(&Measurement) -> f64| {
            [series(Growth::Strong, value), series(Growth::Weak, value)].concat()
        };
        let chart = |title: &str, y: &str, series| Chart {
            title: title.into(),
            x: "devices".into(),
            y: y.into(),
            series,
        };
        let most = self.measurements.iter().map(|m| m.devices).max().unwrap_or(1) as f64;
        let ideal = Series {
            name: "ideal".into(),
            points: vec![[1.0, 1.0], [most, most]],
            labels: Vec::new(),
            joined: true,
        };
        let mut speedups = series(Growth::Strong, &|m| m.speedup);
        speedups.push(ideal);
        draw(&[
            chart("Speedup", "times one device", speedups),
            chart("Efficiency", "speedup / devices", both(&|m| m.efficiency)),
            chart(
                "Latency of a batch, 95 of 100",
                "milliseconds",
                series(Growth::Strong, &|m| m.latency[1] * 1e3),
            ),
        ])
    }
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
            format!("{:.3}", m.speedup),
            format!("{:.3}", m.predicted),
            format!("{:.3}", m.efficiency),
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
