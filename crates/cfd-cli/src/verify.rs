//! Comparison with closed forms, published results and exact identities, row by row.
//!
//! Each row runs in a process of its own, so that its memory is its own and a crash is a row that failed.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use lithoburn_layout::write_whole;
use serde::{Deserialize, Serialize};

use crate::number::number;
use crate::study::Reference;
use lithoburn_terminal::{Verdict, note, print_json, say, table};

mod closed_forms;
mod designs;
mod gradients;
mod published;
mod streets;

/// Options of the comparison.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Leave out the rows that take minutes.
    #[arg(long)]
    quick: bool,
    /// Only these rows.
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    rows: Vec<usize>,
    /// Directory for verify.json and verify.md.
    #[arg(long, short, value_name = "DIR", default_value = "out/cfd-verify")]
    out: PathBuf,
    /// Print JSON and nothing else.
    #[arg(long)]
    json: bool,
    /// Run one row in this process and print it as JSON.
    #[arg(long, hide = true)]
    child: Option<usize>,
}

/// A number of the comparison.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    row: usize,
    quantity: String,
    grid: String,
    /// Null if there is none.
    value: Option<f64>,
    reference: String,
    tolerance: String,
    source: String,
    deviation: String,
    holds: bool,
    seconds: f64,
    /// Those of them that the process's threads ran for, where the system tells: what a busy machine does not change.
    cpu_seconds: Option<f64>,
    /// Peak of the row's process, in MB, where the system tells.
    memory_mb: Option<f64>,
}

/// The numbers of one row so far.
pub(crate) struct Sheet {
    row: usize,
    lines: Vec<Line>,
    started: Instant,
    /// Processor seconds of the process so far.
    spent: Option<f64>,
}

impl Sheet {
    fn new(row: usize) -> Self {
        Self { row, lines: Vec::new(), started: Instant::now(), spent: processor_seconds() }
    }

    /// Compares a value; its seconds are those since the last one.
    pub(crate) fn add(
        &mut self,
        quantity: impl Into<String>,
        grid: &str,
        value: f64,
        reference: &Reference,
    ) {
        let seconds = self.started.elapsed().as_secs_f64();
        let spent = processor_seconds();
        let cpu_seconds = spent.zip(self.spent).map(|(now, before)| now - before);
        let deviation = reference.deviation(value);
        let absolute = reference.band[0] == 0.0;
        self.lines.push(Line {
            row: self.row,
            quantity: quantity.into(),
            grid: grid.into(),
            value: value.is_finite().then_some(value),
            reference: reference.shown(),
            tolerance: match reference.tolerance {
                0.0 => "inside".into(),
                t => format!("{} %", number(100.0 * t).trim_end_matches('0').trim_end_matches('.')),
            },
            source: reference.source.into(),
            deviation: if absolute {
                String::new()
            } else {
                format!("{:+.2} %", 100.0 * deviation)
            },
            holds: reference.holds(value),
            seconds,
            cpu_seconds,
            memory_mb: None,
        });
        (self.started, self.spent) = (Instant::now(), spent);
    }
}

/// A row of the comparison.
struct Entry {
    number: usize,
    title: &'static str,
    /// Whether it takes minutes.
    slow: bool,
    run: fn(&mut Sheet) -> Result<()>,
}

const fn entry(
    number: usize,
    title: &'static str,
    slow: bool,
    run: fn(&mut Sheet) -> Result<()>,
) -> Entry {
    Entry { number, title, slow, run }
}

/// All rows.
const ENTRIES: &[Entry] = &[
    entry(1, "closed forms", false, closed_forms::flows),
    entry(2, "cavity at Re 100 and 400", false, published::cavities),
    entry(3, "cavity at Re 1000", false, published::cavity_1000),
    entry(4, "cylinder at Re 20 and 40", false, published::cylinders),
    entry(5, "cylinder without bounds", true, published::unbounded),
    entry(6, "DFG 2D-1", false, published::dfg),
    entry(7, "vortex street at Re 100", true, streets::stream),
    entry(8, "DFG 2D-2", true, streets::dfg),
    entry(9, "NACA 0012", false, published::sections),
    entry(10, "channel with a body", false, published::channels),
    entry(11, "heated cavity", false, published::heated_cavities),
    entry(12, "developed heat transfer", false, closed_forms::developed),
    entry(13, "finned channel", false, published::exchanger),
    entry(14, "gradients", false, gradients::identities),
    entry(15, "gradient in time", false, streets::gradient),
    entry(16, "momentum and mass", false, gradients::balances),
    entry(17, "drag under shifts of the body", true, gradients::shifts),
    entry(18, "shape of least drag", true, designs::shape),
    entry(19, "section of best lift to drag", true, designs::section),
    entry(20, "double pipe", true, designs::double_pipe),
    entry(21, "exchanger by density", true, designs::exchanger),
    entry(22, "memory", false, published::memory),
    entry(23, "Mosaic's drag task", false, designs::mosaic),
];

/// Compares.
///
/// # Errors
///
/// If an option makes no sense or a file cannot be written; a row that fails is no error but a verdict.
pub(crate) fn verify(args: &VerifyArgs) -> Result<Verdict> {
    if let Some(number) = args.child {
        return child(number);
    }
    if let Some(unknown) = args.rows.iter().find(|n| ENTRIES.iter().all(|e| e.number != **n)) {
        let known: Vec<String> = ENTRIES.iter().map(|e| e.number.to_string()).collect();
        bail!("--rows {unknown}: expected some of {}", known.join(", "));
    }
    let wanted = |e: &&Entry| {
        if args.rows.is_empty() { !(args.quick && e.slow) } else { args.rows.contains(&e.number) }
    };
    let mut lines = Vec::new();
    for entry in ENTRIES.iter().filter(wanted) {
        let row = separately(entry);
        if !args.json {
            note(&format!("{:>2} {}: {}", entry.number, entry.title, summary(&row)));
        }
        lines.extend(row);
    }
    if args.json {
        print_json(&lines)?;
    } else {
        say(false, &shown(&lines));
    }
    write_whole(&args.out.join("verify.json"), &serde_json::to_vec_pretty(&lines)?)?;
    write_whole(&args.out.join("verify.md"), markdown(&lines).as_bytes())?;
    say(args.json, &format!("wrote {}/{{verify.json, verify.md}}", args.out.display()));
    Ok(if lines.iter().all(|line| line.holds) { Verdict::Done } else { Verdict::NotMet })
}

fn summary(lines: &[Line]) -> String {
    let off = lines.iter().filter(|line| !line.holds).count();
    let seconds: f64 = lines.iter().map(|line| line.seconds).sum();
    match off {
        0 => format!("holds, {seconds:.1} s"),
        off => format!("{off} of {} OFF, {seconds:.1} s", lines.len()),
    }
}

/// Runs a row here.
fn child(number: usize) -> Result<Verdict> {
    let entry = ENTRIES.iter().find(|e| e.number == number).context("no such row")?;
    let mut sheet = Sheet::new(number);
    (entry.run)(&mut sheet)?;
    let peak = peak_memory();
    sheet.lines.iter_mut().for_each(|line| line.memory_mb = peak);
    print_json(&sheet.lines)?;
    Ok(Verdict::Done)
}

/// Runs a row in a process of its own; a process that fails is a line that says so.
fn separately(entry: &Entry) -> Vec<Line> {
    let started = Instant::now();
    let failed = |why: String| {
        vec![Line {
            row: entry.number,
            quantity: format!("{}: {why}", entry.title),
            grid: String::new(),
            value: None,
            reference: String::new(),
            tolerance: String::new(),
            source: String::new(),
            deviation: String::new(),
            holds: false,
            seconds: started.elapsed().as_secs_f64(),
            cpu_seconds: None,
            memory_mb: None,
        }]
    };
    let run = || -> Result<std::process::Output> {
        let program = std::env::current_exe()?;
        let number = entry.number.to_string();
        let mut command = Command::new(program);
        command.args(["verify", "--child", &number]).stdin(Stdio::null());
        Ok(command.output()?)
    };
    match run() {
        Err(error) => failed(error.to_string()),
        Ok(output) => serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
            let said = String::from_utf8_lossy(&output.stderr);
            failed(said.lines().last().unwrap_or("ended without a word").to_string())
        }),
    }
}

/// The greatest memory that this process has had, in MB, where the system tells.
pub(crate) fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()? / 1000.0)
}

/// Seconds that all threads of this process have run for, where the system tells.
pub(crate) fn processor_seconds() -> Option<f64> {
    /// Linux counts in hundredths of a second.
    const TICKS: f64 = 100.0;
    let status = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name may hold anything but ends with the last bracket.
    let (_, fields) = status.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<f64>);
    let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    Some((user + system) / TICKS)
}

const HEAD: [&str; 9] = [
    "row",
    "quantity",
    "grid",
    "value",
    "reference",
    "tolerance",
    "deviation",
    "verdict",
    "s · CPU s · MB",
];

fn cells(line: &Line) -> Vec<String> {
    let memory = line.memory_mb.map_or("–".into(), |mb| format!("{mb:.0}"));
    let cpu = line.cpu_seconds.map_or("–".into(), |s| format!("{s:.2}"));
    vec![
        line.row.to_string(),
        line.quantity.clone(),
        line.grid.clone(),
        line.value.map_or("–".into(), number),
        line.reference.clone(),
        line.tolerance.clone(),
        line.deviation.clone(),
        if line.holds { "holds".into() } else { "OFF".into() },
        format!("{:.2} · {cpu} · {memory}", line.seconds),
    ]
}

fn shown(lines: &[Line]) -> String {
    table(&HEAD, &lines.iter().map(cells).collect::<Vec<_>>())
}

/// The table of docs/flow.md.
fn markdown(lines: &[Line]) -> String {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | ").replace("\n", " "));
    let mut head: Vec<String> = HEAD.map(String::from).to_vec();
    head.push("source".into());
    let rule = vec!["---".to_string(); head.len()];
    let body = lines.iter().map(|line| {
        let mut cells = cells(line);
        cells.push(line.source.clone());
        row(cells)
    });
    row(head) + &row(rule) + &body.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_seconds_grow_with_work() {
        let Some(before) = processor_seconds() else { return };
        let started = Instant::now();
        while started.elapsed().as_secs_f64() < 0.05 {
            std::hint::black_box((0..1000).map(f64::from).sum::<f64>());
        }
        assert!(processor_seconds().is_some_and(|now| now >= before));
    }

    #[test]
    fn rows_are_in_order_and_named_once() {
        assert!(ENTRIES.windows(2).all(|pair| pair[0].number < pair[1].number));
    }

    #[test]
    fn a_value_that_is_none_does_not_hold_and_is_null() -> Result<()> {
        let mut sheet = Sheet::new(1);
        sheet.add("q", "8x8", f64::NAN, &Reference::value(1.0, 0.1, "a test"));
        sheet.add("q", "8x8", 1.05, &Reference::value(1.0, 0.1, "a test"));
        let text = serde_json::to_string(&sheet.lines)?;
        let read: Vec<Line> = serde_json::from_str(&text)?;
        assert_eq!((read[0].value, read[0].holds), (None, false));
        assert_eq!((read[1].value, read[1].holds), (Some(1.05), true));
        assert_eq!(markdown(&read).lines().count(), 4);
        Ok(())
    }
}
