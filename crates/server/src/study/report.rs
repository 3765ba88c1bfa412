//! A study as text: report.md, raw.csv, raw-open.csv, study.json.

use std::fmt::Write;

use super::{Configuration, Results};
use crate::load::{Estimate, Findings, Level, LoadError};

impl Results {
    /// The files of a study: name and content.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if a picture or the JSON could not be made.
    pub fn files(&self) -> Result<Vec<(String, Vec<u8>)>, LoadError> {
        let json = serde_json::to_vec_pretty(self)
            .map_err(|e| LoadError::File { path: "study.json".into(), problem: e.to_string() })?;
        let mut files = vec![
            ("report.md".to_string(), self.markdown().into_bytes()),
            ("raw.csv".into(), self.csv(|c| &c.closed).into_bytes()),
            ("raw-open.csv".into(), self.csv(|c| &c.open).into_bytes()),
            ("study.json".into(), json),
            ("scaling.png".into(), self.scaling_png()?),
            ("load.png".into(), self.load_png()?),
        ];
        let pages =
            self.configurations.iter().filter_map(|c| Some((c.devices, c.metrics.as_ref()?)));
        let page =
            |(n, page): (usize, &String)| (format!("metrics-{n}.txt"), page.clone().into_bytes());
        files.extend(pages.map(page));
        Ok(files)
    }

    /// Every level of every configuration; the columns are those of a run of load, after the number of devices.
    fn csv(&self, of: impl Fn(&Configuration) -> &Findings) -> String {
        let mut text = String::new();
        for configuration in &self.configurations {
            for (index, line) in of(configuration).csv().lines().enumerate() {
                match (index, text.is_empty()) {
                    (0, true) => text += &format!("Devices,{line}\n"),
                    (0, false) => {}
                    _ => text += &format!("{},{line}\n", configuration.devices),
                }
            }
        }
        text
    }

    /// The report for people.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let first = self.configurations.first().map(|c| &c.closed);
        let model = first.map_or("", |findings| findings.model.as_str());
        let version = first.map_or("", |findings| findings.lithoburn.as_str());
        // Writing to a string does not fail.
        let _ = writeln!(text, "# What each device brings: {model} on {}\n", self.what);
        let _ = writeln!(
            text,
            "`{}`\n\nlithoburn {version}, {} cores for server and load.\n",
            self.command, self.cores
        );
        text += &self.summary();
        text += &self.by_devices();
        text += "\n![throughput, efficiency, cost](scaling.png)\n\n![throughput and latency against requests in flight](load.png)\n";
        text += &self.limits();
        text += &self.open_loop();
        text += &self.laws();
        text += &self.unstable();
        text += "\nEvery level with its intervals is in raw.csv (requests in flight) and raw-open.csv (arrivals at random); \
                 metrics-N.txt is the server's page of metrics at the end. How to read all this: docs/study.md.\n";
        text
    }

    fn summary(&self) -> String {
        let mut text = String::new();
        if let Some(found) = self.recommended() {
            let _ = writeln!(
                text,
                "**Recommended: {} devices with {:.0} requests in flight**, {}.\n",
                found.devices, found.concurrency, found.reason
            );
        } else if let Some(limit) = self.limit_ms {
            let _ = writeln!(
                text,
                "**No configuration keeps p99 within {limit} ms at its saturation.**\n"
            );
        }
        let widest = self.configurations.iter().max_by_key(|c| c.devices);
        if let Some((c, speedup)) = widest.and_then(|c| Some((c, self.speedup(c)?)))
            && self.configurations.len() > 1
        {
            let share = speedup / c.devices as f64;
            let _ = writeln!(
                text,
                "{} devices do {speedup:.2} times as much as one: {share:.3} of ideal.\n",
                c.devices
            );
        }
        text
    }

    fn by_devices(&self) -> String {
        let mut text = String::from(
            "## By devices\n\nThroughput is the greatest; latencies, devices and energy are those at saturation. ± is half a 95 % \
             interval; – was not measured, or would need more requests than there were.\n\n\
             | devices | items/s | speedup | efficiency | saturates at | p50 ms | p95 ms | p99 ms | p99.9 ms | batch | computing \
             | memory GiB | J an item | cost of 1000 |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for c in &self.configurations {
            text += &format!("| {} |\n", self.row(c).join(" | "));
        }
        text
    }

    fn row(&self, c: &Configuration) -> Vec<String> {
        let saturation = c.saturation(self.limit_ms);
        let level = c.at_saturation(self.limit_ms);
        let of = |value: &dyn Fn(&Level) -> Option<f64>, digits: usize| {
            number(level.and_then(value), digits)
        };
        let quantile = |index: usize| {
            let found = level.and_then(|level| level.latency.percentiles()[index].1);
            found.map_or_else(dash, |e| spread(&e, 1e-3, 1))
        };
        const GIB: f64 = (1_u64 << 30) as f64;
        vec![
            c.devices.to_string(),
            c.best().map_or_else(dash, |best| spread(&best.items_per_second, 1.0, 1)),
            number(self.speedup(c), 2),
            number(self.efficiency(c), 3),
            saturation.map_or_else(dash, |found| format!("{:.0}", found.concurrency)),
            quantile(0),
            quantile(2),
            quantile(3),
            quantile(4),
            of(&|l| l.server.and_then(|s| s.batch), 1),
            of(&|l| l.machine.mean(|d| d.computing).map(|share| 100.0 * share), 1) + " %",
            of(&|l| l.machine.sum(|d| d.memory_bytes).map(|bytes| bytes / GIB), 1),
            of(&Level::energy_joules, 3),
            of(&|l| c.cost_per_1000(l), 5),
        ]
    }

    /// What limits each configuration at saturation, and everything that was looked at.
    fn limits(&self) -> String {
        let mut text = String::from("\n## What limits it, at saturation\n\n");
        for c in &self.configurations {
            let Some(level) = c.at_saturation(self.limit_ms) else { continue };
            let verdict = match c.bottleneck(level, self.cores) {
                Some(evidence) => format!("{:?}", evidence.cause).to_lowercase(),
                None => "nothing that was looked at: more requests in flight may bring more".into(),
            };
            let (devices, at) = (c.devices, level.offered);
            let _ = writeln!(text, "- **{devices} devices, {at} in flight: {verdict}.**");
            for evidence in c.evidence(level, self.cores) {
                let holds = match evidence.holds {
                    Some(true) => "yes",
                    Some(false) => "no",
                    None => "not known",
                };
                let cause = format!("{:?}", evidence.cause).to_lowercase();
                let _ = writeln!(text, "  - {cause}: {holds}; {}", evidence.told);
            }
        }
        text
    }

    fn open_loop(&self) -> String {
        let any = self.configurations.iter().any(|c| !c.open.levels.is_empty());
        let mut text = String::new();
        if !any {
            return text;
        }
        text += "\n## Requests that arrive at random\n\nPoisson arrivals; latencies count from when a request arrived, answered or not.\n\n\
                 | devices | arrive/s | items/s | p50 ms | p95 ms | p99 ms | p99 ÷ p50 | failed | unfinished |\n|---|---|---|---|---|---|---|---|---|\n";
        for (c, level) in
            self.configurations.iter().flat_map(|c| c.open.levels.iter().map(move |l| (c, l)))
        {
            let quantile = |index: usize| {
                level.latency.percentiles()[index].1.map_or_else(dash, |e| spread(&e, 1e-3, 1))
            };
            let ratio = level.latency.p99.zip(level.latency.p50).map(|(a, b)| a.value / b.value);
            let cells = [
                c.devices.to_string(),
                format!("{:.1}", level.offered.number()),
                spread(&level.items_per_second, 1.0, 1),
                quantile(0),
                quantile(2),
                quantile(3),
                number(ratio, 2),
                level.failed().to_string(),
                level.unfinished.to_string(),
            ];
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        text
    }

    fn laws(&self) -> String {
        let mut text = String::from(
            "\n## Universal scalability law\n\n| over | λ: one does | σ: contention | κ: coherency | greatest | worst error |\n|---|---|---|---|---|---|\n",
        );
        let mut row = |over: String, law: Option<crate::load::Law>, most: f64| {
            let cells = law.map_or_else(
                || vec![dash(), dash(), dash(), dash(), dash()],
                |law| {
                    vec![
                        format!("{:.2}", law.one),
                        format!("{:.4}", law.contention),
                        format!("{:.2e}", law.coherency),
                        format!("{:.1}", law.most(most)),
                        format!("{:.1} %", 100.0 * law.worst),
                    ]
                },
            );
            let _ = writeln!(text, "| {over} | {} |", cells.join(" | "));
        };
        for c in &self.configurations {
            let widest = c.closed.levels.iter().map(|l| l.offered.number()).fold(1.0, f64::max);
            row(format!("requests in flight, {} devices", c.devices), c.law(), widest);
        }
        let widest = self.configurations.iter().map(|c| c.devices).max().unwrap_or(1);
        row("devices".into(), self.law(), widest as f64);
        text
    }

    /// Levels whose last windows did not agree, or that were stopped.
    fn unstable(&self) -> String {
        let all = self.configurations.iter().flat_map(|c| {
            let levels = c.closed.levels.iter().chain(&c.open.levels);
            levels.filter(|level| !level.stable).map(move |level| (c.devices, level))
        });
        let told: Vec<String> = all
            .map(|(devices, level)| {
                let state = if level.interrupted { "was stopped" } else { "did not settle" };
                let what = match level.offered {
                    crate::load::Offered::Concurrency(n) => format!("{n} in flight"),
                    crate::load::Offered::Rate { per_second, .. } => {
                        format!("{per_second:.1} arriving a second")
                    }
                };
                format!("- {devices} devices, {what}: {state} in {} windows", level.windows.len())
            })
            .collect();
        match told.is_empty() {
            true => "\nEvery level was stable.\n".into(),
            false => format!("\n## Not stable\n\n{}\n", told.join("\n")),
        }
    }
}

fn dash() -> String {
    "–".into()
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(dash, |value| format!("{value:.digits$}"))
}

/// A value with half its interval.
fn spread(estimate: &Estimate, factor: f64, digits: usize) -> String {
    let value = factor * estimate.value;
    match estimate.interval {
        Some([low, high]) => format!("{value:.digits$} ± {:.digits$}", factor * (high - low) / 2.0),
        None => format!("{value:.digits$}"),
    }
}
