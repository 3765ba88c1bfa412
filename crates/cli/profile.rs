//! `--profile`: where the time of a run goes, span by span and thread by thread.
//!
//! Spans are `tracing`'s, which cost next to nothing while nobody listens. The file is that of Chrome's and Perfetto's trace viewers
//! (Trace Event Format, complete events). Spans measure the program: a kernel's time shows where the program waits for it.
//! Written here because `tracing-chrome` would change features of crates that all of Burn is built on.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use lithoburn_pool::KernelTimes;
use lithoburn_pool::device::kernel_times::KernelTime;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use lithoburn_terminal::{say, table};

/// The first number of rows of kernels, beyond all threads'.
const KERNELS: u64 = 1 << 20;
/// Rows of the table of spans.
const ROWS: usize = 16;

/// Where to leave a profile.
#[derive(Args, Clone, Debug)]
pub(crate) struct ProfileOptions {
    /// Write where the time goes, stage by stage and thread by thread, in the format that <https://ui.perfetto.dev> and chrome://tracing open.
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// With the kernels of GPUs, one by one: each launch takes some microseconds more.
    #[arg(long, requires = "profile")]
    profile_kernels: bool,
}

impl ProfileOptions {
    /// Listens from now on, if that was asked for.
    ///
    /// # Errors
    ///
    /// If the file cannot be written, or the process has a listener already.
    pub(crate) fn start(&self) -> Result<Option<Profile>> {
        let kernels = self.profile_kernels;
        self.profile.as_deref().map(|path| Profile::start(path, kernels)).transpose()
    }
}

/// A span that has ended, or the name of a thread.
enum Note {
    Span {
        name: Cow<'static, str>,
        fields: Map<String, Value>,
        thread: u64,
        start: Duration,
        took: Duration,
    },
    Thread {
        number: u64,
        name: String,
    },
    End,
}

/// A profile that is being taken.
#[derive(Debug)]
pub(crate) struct Profile {
    path: PathBuf,
    notes: Sender<Note>,
    writer: JoinHandle<Result<Totals>>,
    began: Instant,
    kernels: Option<KernelTimes>,
}

/// Calls of each span, and their time.
type Totals = BTreeMap<Cow<'static, str>, (u64, Duration)>;

impl Profile {
    fn start(path: &Path, kernels: bool) -> Result<Self> {
        let part = part_of(path);
        let failed = || format!("cannot write the profile {}", path.display());
        let file = File::create(&part).with_context(failed)?;
        let (notes, theirs) = channel();
        let writer = std::thread::Builder::new()
            .name("profile".into())
            .spawn(move || written(BufWriter::new(file), &theirs))?;
        let began = Instant::now();
        let listener = Listener { notes: notes.clone(), began };
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(listener))
            .map_err(|_| anyhow!("this process is profiled already"))?;
        let kernels = kernels.then(KernelTimes::start);
        Ok(Self { path: path.to_path_buf(), notes, writer, began, kernels })
    }

    /// Ends the file, and says what took longest.
    ///
    /// # Errors
    ///
    /// If the file could not be written.
    pub(crate) fn end(self, json: bool) -> Result<()> {
        let whole = self.began.elapsed();
        let kernels = noted(self.kernels.map_or(Vec::new(), KernelTimes::end), &self.notes);
        // The writer is there as long as the channel is.
        let _ = self.notes.send(Note::End);
        let failed = || format!("cannot write the profile {}", self.path.display());
        let totals = self.writer.join().map_err(|_| anyhow!("the profile's writer panicked"))?;
        let totals = totals.with_context(failed)?;
        std::fs::rename(part_of(&self.path), &self.path).with_context(failed)?;
        say(json, &shown(&totals, whole));
        if !kernels.is_empty() {
            say(json, &shown(&kernels, whole));
        }
        say(json, &format!("wrote {}: open it at https://ui.perfetto.dev", self.path.display()));
        Ok(())
    }
}

/// Sends kernels to the writer, a row for each thread that launched some; their totals.
fn noted(all: Vec<KernelTime>, notes: &Sender<Note>) -> Totals {
    let (mut totals, mut threads) = (Totals::new(), Vec::new());
    for KernelTime { name, thread, start, took } in all {
        let known = threads.iter().position(|known| *known == thread);
        let row = known.unwrap_or(threads.len());
        let number = KERNELS + row as u64;
        if known.is_none() {
            // The writer is there as long as the channel is.
            let _ = notes.send(Note::Thread { number, name: format!("kernels of {thread}") });
            threads.push(thread);
        }
        let name = Cow::<'static, str>::Owned(name);
        let total = totals.entry(name.clone()).or_default();
        *total = (total.0 + 1, total.1 + took);
        let _ = notes.send(Note::Span { name, fields: Map::new(), thread: number, start, took });
    }
    totals
}

/// What is written before it is whole.
fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// The spans that took longest.
fn shown(totals: &Totals, whole: Duration) -> String {
    let mut spans: Vec<_> = totals.iter().collect();
    spans.sort_by_key(|(_, (_, took))| std::cmp::Reverse(*took));
    let row = |(name, (calls, took)): &(&Cow<str>, &(u64, Duration))| {
        let seconds = took.as_secs_f64();
        vec![
            name.to_string(),
            calls.to_string(),
            format!("{seconds:.2}"),
            format!("{:.3}", 1e3 * seconds / *calls as f64),
            format!("{:.2}", seconds / whole.as_secs_f64()),
        ]
    };
    let rows: Vec<Vec<String>> = spans.iter().take(ROWS).map(row).collect();
    table(&["span", "calls", "seconds", "ms each", "threads busy"], &rows)
}

/// Writes notes until the end of the profile.
fn written(mut file: BufWriter<File>, notes: &Receiver<Note>) -> Result<Totals> {
    let mut totals = Totals::new();
    let pid = std::process::id();
    write!(file, "{{\"traceEvents\":[")?;
    let mut comma = "";
    while let Ok(note) = notes.recv() {
        let event = match note {
            Note::End => break,
            Note::Thread { number, name } => json!({
                "ph": "M", "name": "thread_name", "pid": pid, "tid": number, "args": { "name": name }
            }),
            Note::Span { name, fields, thread, start, took } => {
                let total = totals.entry(name.clone()).or_default();
                *total = (total.0 + 1, total.1 + took);
                let micros = |d: Duration| d.as_nanos() as f64 * 1e-3;
                json!({
                    "ph": "X", "name": name, "pid": pid, "tid": thread, "ts": micros(start),
                    "dur": micros(took), "args": fields
                })
            }
        };
        writeln!(file, "{comma}{event}")?;
        comma = ",";
    }
    write!(file, "]}}")?;
    file.flush()?;
    Ok(totals)
}

thread_local! {
    /// A thread's number in the file; 0 until it has one.
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// Numbers given to threads.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// Hears of our own spans.
struct Listener {
    notes: Sender<Note>,
    began: Instant,
}

/// A span's fields.
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }
}

/// When a span was entered.
struct Entered(Duration);

impl Listener {
    /// This thread's number.
    fn thread(&self) -> u64 {
        NUMBER.with(|own| {
            if own.get() == 0 {
                own.set(1 + NUMBERS.fetch_add(1, Ordering::Relaxed));
                let name = std::thread::current().name().unwrap_or("unnamed").to_string();
                let _ = self.notes.send(Note::Thread { number: own.get(), name });
            }
            own.get()
        })
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Listener {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.is_span() && metadata.target().starts_with("lithoburn")
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields(Map::new());
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(Entered(self.began.elapsed()));
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let now = self.began.elapsed();
        let mut extensions = span.extensions_mut();
        let Some(Entered(start)) = extensions.remove::<Entered>() else { return };
        let fields = extensions.get_mut::<Fields>().map(|fields| fields.0.clone());
        let note = Note::Span {
            name: Cow::Borrowed(span.name()),
            fields: fields.unwrap_or_default(),
            thread: self.thread(),
            start,
            took: now.saturating_sub(start),
        };
        // Nobody listens any more after the profile's end.
        let _ = self.notes.send(note);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file is JSON with a complete event for each span, on the thread that it ran on.
    #[test]
    fn a_profile_holds_each_span_once_with_its_fields() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("trace.json");
        let options = ProfileOptions { profile: Some(path.clone()), profile_kernels: false };
        let profile = options.start()?.context("it was asked for")?;
        std::thread::Builder::new()
            .name("beside".into())
            .spawn(|| {
                let _span =
                    tracing::info_span!(target: "lithoburn_cli", "outer", tiles = 3_u64).entered();
                tracing::info_span!(target: "lithoburn_cli", "inner").in_scope(|| ());
                tracing::info_span!(target: "elsewhere", "not ours").in_scope(|| ());
            })?
            .join()
            .map_err(|_| anyhow!("the thread panicked"))?;
        profile.end(true)?;
        let trace: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        let events = trace["traceEvents"].as_array().context("a list")?;
        let spans: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
        let names: Vec<&Value> = spans.iter().map(|span| &span["name"]).collect();
        assert_eq!(names, ["inner", "outer"]);
        assert_eq!(spans[1]["args"]["tiles"], 3);
        let thread = events.iter().find(|event| event["args"]["name"] == "beside");
        assert_eq!(thread.context("it has a name")?["tid"], spans[0]["tid"]);
        assert!(spans[1]["dur"].as_f64() >= spans[0]["dur"].as_f64());
        assert!(!part_of(&path).exists());
        Ok(())
    }
}
