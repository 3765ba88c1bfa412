//! `timeline`: a job's event log as a picture: who had which block when, gaps, and tries that came to nothing.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use lithoburn_farm::events::read_all;
use lithoburn_farm::job::Opened;
use lithoburn_farm::timeline::{End, Lane, lanes};
use lithoburn_layout::write_whole;
use lithoburn_page::canvas::{Align, Canvas, INK, MUTED, RULE, Rgb, Style};

use lithoburn_terminal::{Verdict, duration, print_json, say};

/// Draw who did what when, from the event log of a job.
#[derive(Args, Debug)]
pub(crate) struct TimelineArgs {
    /// The job's folder.
    job: PathBuf,
    /// The picture.
    #[arg(long, short, value_name = "FILE", default_value = "timeline.png")]
    out: PathBuf,
    /// Print the intervals as JSON, and draw nothing.
    #[arg(long)]
    json: bool,
}

/// Sizes in px.
const WIDTH: f32 = 1600.0;
const LEFT: f32 = 250.0;
const RIGHT: f32 = 120.0;
const TOP: f32 = 90.0;
const BOTTOM: f32 = 60.0;
/// Lanes that are drawn: those of more workers are too thin to be seen.
const MOST: usize = 400;
/// Times on the axis.
const TICKS: usize = 8;

/// Runs the job.
pub(crate) fn timeline(args: &TimelineArgs) -> Result<Verdict> {
    let job = Opened::read(&args.job)?;
    let lanes = lanes(&read_all(&job.own("events")).context("no worker has come yet")?);
    if args.json {
        print_json(&lanes)?;
        return Ok(Verdict::Done);
    }
    ensure!(!lanes.is_empty(), "no worker has come yet");
    write_whole(&args.out, &drawn(&job, &lanes)?)?;
    say(false, &format!("wrote {}", args.out.display()));
    Ok(Verdict::Done)
}

fn colour(end: End) -> Rgb {
    match end {
        End::Committed => [72, 120, 190],
        End::Late => [190, 170, 90],
        End::Failed => [200, 60, 50],
        End::Released => [150, 150, 150],
        End::Open => [230, 150, 60],
    }
}

fn drawn(job: &Opened, lanes: &[Lane]) -> Result<Vec<u8>> {
    let shown = &lanes[..lanes.len().min(MOST)];
    let height = (900.0 / shown.len() as f32).clamp(4.0, 28.0);
    let bottom = TOP + height * shown.len() as f32;
    let mut page = Canvas::new(WIDTH as usize, (bottom + BOTTOM) as usize)?;
    let last = lanes.iter().map(|lane| lane.here_ms[1]).max().unwrap_or(0).max(1);
    let x = |ms: u64| LEFT + (WIDTH - LEFT - RIGHT) * ms as f32 / last as f32;
    head(&mut page, job, lanes, last);
    for i in 0..=TICKS {
        let ms = last * i as u64 / TICKS as u64;
        page.line(&[[x(ms), TOP], [x(ms), bottom]], 1.0, RULE);
        let style = Style { size: 14.0, colour: MUTED, bold: false };
        page.text([x(ms), bottom + 22.0], Align::Centre, &style, &duration(ms as f64 * 1e-3));
    }
    for (i, lane) in shown.iter().enumerate() {
        draw_lane(&mut page, lane, [TOP + height * i as f32, height], &x);
    }
    Ok(page.png()?)
}

/// Title, and what the colours say.
fn head(page: &mut Canvas, job: &Opened, lanes: &[Lane], last: u64) {
    let title = Style { size: 22.0, colour: INK, bold: true };
    let small = Style { size: 14.0, colour: MUTED, bold: false };
    page.text([20.0, 34.0], Align::Left, &title, &job.job.name);
    let idle: u64 = lanes.iter().map(|lane| lane.idle_ms).sum();
    let here: u64 = lanes.iter().map(|lane| lane.here_ms[1] - lane.here_ms[0]).sum();
    let text = format!(
        "job {}, {} blocks, {} workers, {}; {:.1} % of their time without a block",
        job.id.short(),
        job.job.blocks,
        lanes.len(),
        duration(last as f64 * 1e-3),
        100.0 * idle as f64 / here.max(1) as f64
    );
    page.text([20.0, 60.0], Align::Left, &small, &text);
    let ends = [
        (End::Committed, "committed"),
        (End::Late, "late"),
        (End::Failed, "failed"),
        (End::Released, "given back"),
        (End::Open, "not ended"),
    ];
    for (i, (end, name)) in ends.into_iter().enumerate() {
        let at = WIDTH - 560.0 + 108.0 * i as f32;
        page.rectangle([[at, 22.0], [at + 14.0, 36.0]], colour(end), 1.0);
        page.text([at + 20.0, 34.0], Align::Left, &small, name);
    }
}

fn draw_lane(page: &mut Canvas, lane: &Lane, [top, height]: [f32; 2], x: &impl Fn(u64) -> f32) {
    let small = Style { size: height.min(13.0), colour: INK, bold: false };
    let middle = top + height * 0.5 + small.size * 0.35;
    let from = x(lane.here_ms[0]);
    page.rectangle([[from, top + 1.0], [x(lane.here_ms[1]), top + height - 1.0]], RULE, 0.6);
    for span in &lane.spans {
        // Half a pixel at least: a try that came to nothing is seen.
        let corners = [
            [x(span.from_ms), top + 1.5],
            [x(span.to_ms).max(x(span.from_ms) + 0.5), top + height - 1.5],
        ];
        page.rectangle(corners, colour(span.end), 0.75);
    }
    if height >= 10.0 {
        let name = page.elided(&format!("{} {}", lane.worker, lane.device), &small, LEFT - 30.0);
        page.text([LEFT - 10.0, middle], Align::Right, &small, &name);
        let here = (lane.here_ms[1] - lane.here_ms[0]).max(1);
        let idle = format!("idle {:.0} %", 100.0 * lane.idle_ms as f64 / here as f64);
        page.text([WIDTH - RIGHT + 10.0, middle], Align::Left, &small, &idle);
    }
}
