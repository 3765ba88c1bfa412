//! What a glance at a server looks like.

use lithoburn_server::telemetry::live::{DeviceGlance, Glance, JobGlance, ModelGlance};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table};

/// Cells of a bar.
const BAR: usize = 10;
const GIB: f64 = (1_u64 << 30) as f64;

/// Draws a glance.
pub(crate) fn draw(frame: &mut Frame<'_>, glance: &Glance, server: &str, trouble: Option<&str>) {
    let height = |rows: usize| Constraint::Length(rows as u16 + 3);
    let parts = Layout::vertical([
        Constraint::Length(1),
        height(glance.devices.len().max(1)),
        height(glance.models.len().max(1)),
        Constraint::Min(3),
    ]);
    let [head, devices, models, jobs] = parts.areas(frame.area());
    frame.render_widget(Paragraph::new(title(glance, server, trouble)), head);
    draw_devices(frame, devices, &glance.devices);
    draw_models(frame, models, &glance.models);
    draw_jobs(frame, jobs, &glance.jobs);
}

/// A glance as text, so many columns wide.
pub(crate) fn text(glance: &Glance, server: &str, width: u16) -> String {
    let height = (glance.devices.len().max(1) + glance.models.len().max(1) + 7) as u16;
    let height = height + glance.jobs.len() as u16 + 3;
    let backend = ratatui::backend::TestBackend::new(width, height);
    let Ok(mut terminal) = ratatui::Terminal::new(backend);
    // A picture in memory does not fail.
    let _ = terminal.draw(|frame| draw(frame, glance, server, None));
    let buffer = terminal.backend().buffer();
    let row = |y: u16| -> String { (0..width).map(|x| buffer[(x, y)].symbol()).collect() };
    let rows: Vec<String> = (0..height).map(|y| row(y).trim_end().to_string()).collect();
    rows.join("\n")
}

fn title<'a>(glance: &Glance, server: &'a str, trouble: Option<&'a str>) -> Line<'a> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![Span::styled("lithoburn ", bold), Span::raw(server)];
    if let Some(trouble) = trouble {
        spans.push(Span::styled(format!("  {trouble}"), Style::new().fg(Color::Red)));
        return Line::from(spans);
    }
    let told = |value: Option<f64>, text: &dyn Fn(f64) -> String| value.map_or(String::new(), text);
    spans.push(Span::raw(told(glance.cores, &|cores| format!("  {cores:.2} cores"))));
    spans.push(Span::raw(told(glance.resident, &|bytes| format!("  {:.2} GiB", bytes / GIB))));
    spans.push(Span::styled("  q ends", Style::new().fg(Color::DarkGray)));
    Line::from(spans)
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
}

/// A share as a bar and in per cent.
fn bar(share: Option<f64>) -> Cell<'static> {
    let Some(share) = share else { return Cell::from("–") };
    let full = (share.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    let colour = if share >= 0.9 { Color::Green } else { Color::Blue };
    let bar = format!("{}{}", "█".repeat(full), "░".repeat(BAR - full));
    let spans = [
        Span::styled(bar, Style::new().fg(colour)),
        Span::raw(format!(" {:>3.0} %", 100.0 * share)),
    ];
    Cell::from(Line::from(spans.to_vec()))
}

fn table<'a>(title: &'a str, heads: &[&'a str], widths: &[u16], rows: Vec<Row<'a>>) -> Table<'a> {
    let head = Row::new(heads.to_vec()).style(Style::new().add_modifier(Modifier::BOLD));
    let widths = widths.iter().map(|width| Constraint::Length(*width));
    let block = Block::new().borders(Borders::TOP).title(format!(" {title} "));
    Table::new(rows, widths).header(head).column_spacing(1).block(block)
}

fn draw_devices(frame: &mut Frame<'_>, area: Rect, devices: &[DeviceGlance]) {
    let row = |d: &DeviceGlance| {
        let memory = match d.memory {
            [Some(used), Some(size)] => format!("{:.1}/{:.0}", used / GIB, size / GIB),
            _ => "–".into(),
        };
        let name = match d.up {
            true => Cell::from(d.name.clone()),
            false => Cell::from(format!("{} lost", d.name)).style(Style::new().fg(Color::Red)),
        };
        Row::new(vec![
            name,
            bar(d.computing),
            bar(d.utilization),
            Cell::from(memory),
            Cell::from(number(d.power, 0)),
            Cell::from(number(d.temperature, 0)),
            Cell::from(number(d.batches, 1)),
            Cell::from(number(d.items, 1)),
            Cell::from(number(d.in_flight, 0)),
        ])
    };
    let heads = [
        "device",
        "computing",
        "any kernel",
        "GiB",
        "W",
        "°C",
        "batches/s",
        "items/s",
        "in flight",
    ];
    let widths = [14, 16, 16, 10, 5, 4, 9, 9, 9];
    frame.render_widget(table("devices", &heads, &widths, devices.iter().map(row).collect()), area);
}

fn draw_models(frame: &mut Frame<'_>, area: Rect, models: &[ModelGlance]) {
    let row = |m: &ModelGlance| {
        let failing = m.failures.is_some_and(|rate| rate > 0.0);
        let colour = if failing { Color::Red } else { Color::Reset };
        Row::new(vec![
            Cell::from(format!("{} {}", m.name, m.version)),
            Cell::from(number(m.requests, 1)),
            Cell::from(number(m.mean_ms, 1)),
            Cell::from(number(m.p50_ms, 1)),
            Cell::from(number(m.p99_ms, 1)),
            Cell::from(number(m.batch, 1)),
            Cell::from(number(m.waiting, 0)),
            Cell::from(number(m.failures, 1)).style(Style::new().fg(colour)),
        ])
    };
    let heads = ["model", "req/s", "mean ms", "p50 ms", "p99 ms", "batch", "waiting", "refused/s"];
    let widths = [24, 9, 9, 9, 9, 7, 8, 9];
    frame.render_widget(table("models", &heads, &widths, models.iter().map(row).collect()), area);
}

fn draw_jobs(frame: &mut Frame<'_>, area: Rect, jobs: &[JobGlance]) {
    let row = |job: &JobGlance| {
        let id: String = job.id.chars().take(12).collect();
        Row::new(vec![
            Cell::from(id),
            Cell::from(job.layout.clone()),
            Cell::from(job.state.clone()),
            bar(job.done),
        ])
    };
    let heads = ["job", "layout", "state", "done"];
    frame.render_widget(
        table("jobs", &heads, &[13, 30, 10, 16], jobs.iter().map(row).collect()),
        area,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glance() -> Glance {
        let device = |name: &str, up: bool| DeviceGlance {
            name: name.into(),
            up,
            computing: Some(0.934),
            utilization: Some(0.5),
            memory: [Some(4.0 * GIB), Some(80.0 * GIB)],
            power: Some(412.4),
            temperature: Some(61.0),
            batches: Some(12.34),
            items: Some(98.7),
            in_flight: Some(16.0),
        };
        let model = ModelGlance {
            name: "neural-ilt".into(),
            version: "1".into(),
            requests: Some(98.7),
            failures: Some(0.0),
            mean_ms: Some(12.0),
            p50_ms: Some(11.0),
            p99_ms: Some(19.5),
            batch: Some(7.9),
            waiting: Some(3.0),
        };
        let job = JobGlance {
            id: "0123456789abcdef".into(),
            state: "running".into(),
            layout: "chip.oas".into(),
            done: Some(0.25),
        };
        Glance {
            devices: vec![device("cuda:0", true), device("cuda:1", false)],
            models: vec![model],
            jobs: vec![job],
            cores: Some(1.5),
            resident: Some(2.0 * GIB),
        }
    }

    #[test]
    fn a_glance_shows_devices_models_and_jobs() {
        let shown = text(&glance(), "http://localhost:8000", 110);
        let line = |start: &str| {
            let found = shown.lines().find(|line| line.starts_with(start));
            found
                .unwrap_or_else(|| panic!("{start}: {shown}"))
                .split_whitespace()
                .collect::<Vec<_>>()
        };
        assert_eq!(line("cuda:0")[1], "█████████░");
        assert_eq!(line("cuda:0")[2..4], ["93", "%"]);
        assert_eq!(line("cuda:0")[7..], ["4.0/80", "412", "61", "12.3", "98.7", "16"]);
        assert_eq!(line("cuda:1")[1], "lost");
        assert_eq!(line("neural-ilt")[2..], ["98.7", "12.0", "11.0", "19.5", "7.9", "3", "0.0"]);
        assert_eq!(line("0123456789ab")[1..3], ["chip.oas", "running"]);
        assert!(
            shown.starts_with("lithoburn http://localhost:8000  1.50 cores  2.00 GiB"),
            "{shown}"
        );
    }

    /// An empty server, and a terminal of a few cells, are no reason to panic; what is not known is a dash.
    #[test]
    fn nothing_known_and_no_room_are_drawn_too() {
        let mut unknown = glance();
        unknown.devices = vec![DeviceGlance { name: "cpu".into(), up: true, ..Default::default() }];
        let shown = text(&unknown, "s", 100);
        let cpu = shown.lines().find(|line| line.starts_with("cpu")).expect("the device");
        assert_eq!(cpu.split_whitespace().filter(|word| *word == "–").count(), 8, "{shown}");
        for (width, height) in [(1, 1), (20, 3), (80, 8)] {
            let backend = ratatui::backend::TestBackend::new(width, height);
            let mut terminal = ratatui::Terminal::new(backend).expect("a terminal");
            terminal.draw(|frame| draw(frame, &glance(), "s", Some("gone"))).expect("drawn");
            terminal.draw(|frame| draw(frame, &Glance::default(), "s", None)).expect("drawn");
        }
    }
}
