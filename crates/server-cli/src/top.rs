//! Top: a server's devices, models and jobs, live in a terminal.

mod view;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use lithoburn_server::load::{Address, LoadError, watch};
use lithoburn_server::telemetry::live::{Glance, Look};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use lithoburn_terminal::Verdict;

/// Show what a server's devices, models and jobs do, live. q ends it.
#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// The server's HTTP port.
    #[arg(long, value_name = "URL", default_value = "http://localhost:8000")]
    url: String,
    /// The server's page of metrics; without it, where the server says, port 8002, and the HTTP port are tried.
    #[arg(long, value_name = "URL")]
    metrics_url: Option<String>,
    /// A file with the token that the server asks for, in its first line.
    #[arg(long, value_name = "FILE")]
    token_file: Option<std::path::PathBuf>,
    /// Time between two looks, in s.
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    interval: f64,
    /// Print one look as text and end: for scripts, and where there is no terminal.
    #[arg(long)]
    once: bool,
}

/// Where a server's pages are.
struct Pages {
    server: Address,
    metrics: Address,
    runtime: tokio::runtime::Runtime,
}

impl Pages {
    fn look(&self) -> Result<Look, LoadError> {
        self.runtime.block_on(async {
            let (page, _) = watch::page(&self.metrics).await?;
            // A server without jobs has no such page.
            let jobs = watch::json(&self.server, "/v1/jobs").await.unwrap_or_default();
            Ok(Look { page, jobs })
        })
    }
}

/// Runs the job.
///
/// # Errors
///
/// One that says what was wrong and what to do.
pub(crate) fn top(args: &TopArgs) -> Result<Verdict> {
    let interval = Duration::try_from_secs_f64(args.interval).ok().filter(|i| !i.is_zero());
    let interval = interval
        .with_context(|| format!("--interval {}: expected seconds, more than 0", args.interval))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let server = crate::load::address(&args.url, args.token_file.as_deref())?;
    let given = args.metrics_url.as_deref().map(|url| server.beside(url)).transpose()?;
    let metrics = runtime.block_on(watch::find(&server, given.as_ref()));
    let metrics = metrics.with_context(|| {
        let tried = given.unwrap_or_else(|| server.at_port(8002));
        format!("{tried}/metrics does not answer; is the server running? --metrics-url names another page")
    })?;
    let pages = Pages { server, metrics, runtime };
    if args.once {
        return once(&pages, interval);
    }
    if !std::io::stdout().is_terminal() {
        bail!("standard output is no terminal; --once prints one look");
    }
    let mut terminal = ratatui::init();
    let ended = live(&mut terminal, &pages, interval);
    ratatui::restore();
    ended.map(|()| Verdict::Done)
}

/// One look, as text.
fn once(pages: &Pages, interval: Duration) -> Result<Verdict> {
    let (before, start) = (pages.look()?, Instant::now());
    std::thread::sleep(interval);
    let now = pages.look()?;
    let glance = Glance::between(&before, &now, start.elapsed());
    lithoburn_terminal::say(false, view::text(&glance, &pages.server.to_string(), 100).trim_end());
    Ok(Verdict::Done)
}

/// Looks until a key ends it. A server that does not answer is shown as such, and looked for again.
fn live(terminal: &mut ratatui::DefaultTerminal, pages: &Pages, interval: Duration) -> Result<()> {
    let (mut before, mut at) = (pages.look()?, Instant::now());
    let mut glance = Glance::default();
    let mut trouble = None;
    loop {
        let title = pages.server.to_string();
        terminal.draw(|frame| view::draw(frame, &glance, &title, trouble.as_deref()))?;
        if ended(interval.saturating_sub(at.elapsed()))? {
            return Ok(());
        }
        if at.elapsed() < interval {
            continue;
        }
        match pages.look() {
            Ok(now) => {
                glance = Glance::between(&before, &now, at.elapsed());
                (before, trouble) = (now, None);
            }
            Err(error) => trouble = Some(error.to_string()),
        }
        at = Instant::now();
    }
}

/// Whether the user asked to end, within so long.
fn ended(patience: Duration) -> Result<bool> {
    if !event::poll(patience)? {
        return Ok(false);
    }
    Ok(match event::read()? {
        Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
            KeyCode::Char('q') | KeyCode::Esc => true,
            KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
            _ => false,
        },
        _ => false,
    })
}
