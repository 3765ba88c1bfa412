//! `lithoburn-server work FOLDER`: a job's own process.
//!
//! It reads `job.json`, corrects the layout beside it, and says its progress in lines of JSON. When its standard input ends, so does it: whoever started
//! it is gone, or wants it to stop. What it did is in the folder's journal, from which the next one goes on.

mod training;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use lithoburn_server::jobs::Told;
use lithoburn_server::layouts::Progress;
use lithoburn_server::layouts::masks::{Corrector, MaskOrder, Wrong};

use crate::corrector::Engine;
use crate::devices::chosen;
use crate::serve::methods_of;
use lithoburn_terminal::Verdict;

/// Time that a run has to end in when it is asked to; its journal is whole at any moment.
const GRACE: Duration = Duration::from_secs(8);
/// Exit status of a process that was asked to end.
const ASKED: i32 = 130;

static STOP: AtomicBool = AtomicBool::new(false);

/// A job's folder, and what its server serves.
#[derive(Args, Debug)]
pub(crate) struct WorkArgs {
    /// Devices, as the server has them.
    #[arg(long, value_delimiter = ',', default_value = "all")]
    devices: Vec<String>,
    /// Models, as the server has them.
    #[arg(long, value_delimiter = ',')]
    models: Vec<String>,
    /// Repository, as the server has it.
    #[arg(long)]
    repository: Option<PathBuf>,
    /// Settings, as the server has them.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Where the job is.
    folder: PathBuf,
}

/// Works at the job.
pub(crate) fn work(args: &WorkArgs) -> Result<Verdict> {
    let folder = &args.folder;
    let told = Told::read(folder)
        .with_context(|| format!("cannot read the job in {}", folder.display()))?;
    // One that a killed server left is still about to end: nothing is written before it has.
    let lock = std::fs::File::create(folder.join("work.lock")).context("cannot lock the job")?;
    lock.lock().context("cannot lock the job")?;
    std::thread::spawn(listen);
    let stop = || STOP.load(Ordering::SeqCst);
    let devices = chosen(&args.devices)?;
    if let Some(training) = &told.training {
        return match training::train(training, &devices, &folder.join("out"), &stop, &mut say)? {
            Some(_) => Ok(Verdict::Done),
            None => std::process::exit(ASKED),
        };
    }
    let engine = Engine::new(
        devices,
        methods_of(&args.models, args.repository.as_deref(), args.config.as_deref())?,
    );
    let order = MaskOrder {
        layout: folder.join(&told.layout),
        name: told.name,
        ask: told.ask,
        folder: folder.join("out"),
    };
    match engine.correct(&order, &stop, &mut say) {
        Ok(()) => Ok(Verdict::Done),
        Err(Wrong::Stopped) => std::process::exit(ASKED),
        // Another time it would be the same.
        Err(Wrong::Request(text)) => bail!(text),
        Err(Wrong::Failed(text)) => {
            lithoburn_terminal::note(&format!("error: {text}"));
            std::process::exit(3)
        }
    }
}

/// Waits for the end of standard input.
fn listen() {
    let mut rest = Vec::new();
    let _ = std::io::stdin().lock().read_to_end(&mut rest);
    STOP.store(true, Ordering::SeqCst);
    std::thread::sleep(GRACE);
    std::process::exit(ASKED);
}

fn say(progress: Progress) {
    if let Ok(line) = serde_json::to_string(&progress) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}
