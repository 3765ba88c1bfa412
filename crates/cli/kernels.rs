//! Optical kernels: make them from first principles, or check a file.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use lithoburn_layout::write_whole;
use lithoburn_litho::tcc::Optics;
use lithoburn_litho::{KernelSet, Kernels};

use crate::Verdict;
use crate::terminal::{say, table};

/// Make or check optical kernels.
#[derive(Subcommand, Debug)]
pub enum KernelsJob {
    /// Compute kernels from source, lens and defocus.
    Make(MakeArgs),
    /// Say what a file holds, and how far it is from another.
    Check(CheckArgs),
}

/// Optics to make kernels of; the defaults are the ICCAD 2013 contest's.
#[derive(Args, Debug)]
pub struct MakeArgs {
    /// File to write (safetensors).
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// A JSON file with all optics (as in a set's metadata) instead of the defaults.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Kernels to keep.
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Field period, in nm; the number of frequencies follows.
    #[arg(long, value_name = "NM")]
    period: Option<f64>,
    /// Phase at the pupil's rim in the defocus corner, in rad.
    #[arg(long, value_name = "RAD", allow_negative_numbers = true)]
    defocus: Option<f64>,
}

/// A file of kernels to look at.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The file.
    file: PathBuf,
    /// Another file: the relative distance of the two sets' TCCs is reported.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Exit with 1 if the distance is larger than this.
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    tolerance: f64,
}

/// Runs the job.
///
/// # Errors
///
/// One that says what was wrong and what to do.
pub fn kernels(job: &KernelsJob) -> Result<Verdict> {
    match job {
        KernelsJob::Make(args) => make(args),
        KernelsJob::Check(args) => check(args),
    }
}

fn make(args: &MakeArgs) -> Result<Verdict> {
    let mut optics = match &args.recipe {
        Some(path) => serde_json::from_slice(&std::fs::read(path)?)?,
        None => Optics::default(),
    };
    optics.count = args.count.unwrap_or(optics.count);
    optics.defocus_rad = args.defocus.unwrap_or(optics.defocus_rad);
    if let Some(period) = args.period {
        let passed = optics.pupil.radius_bins(period) * (1.0 + optics.source.outer());
        optics.half = (optics.half as f64 * period / optics.period_nm).max(passed).ceil() as usize;
        optics.period_nm = period;
    }
    let set = optics.kernels()?;
    write_whole(&args.out, &set.to_bytes())?;
    say(false, &describe(&set));
    say(false, &format!("wrote {}", args.out.display()));
    Ok(Verdict::Done)
}

fn describe(set: &KernelSet) -> String {
    let row = |name: &str, k: &Kernels| {
        let kept = k.kept.map_or("–".to_string(), |kept| format!("{:.1} %", 100.0 * kept));
        let largest = k.scales.iter().take(4).map(|s| format!("{s:.1}")).collect::<Vec<_>>();
        let size = format!("{} of {}²", k.count(), k.side);
        vec![name.to_string(), size, format!("{:.4}", k.clear_field()), kept, largest.join(" ")]
    };
    let header = ["", "kernels", "clear field", "energy kept", "largest weights"];
    let rows = [row("focus", &set.focus), row("defocus", &set.defocus)];
    format!("period {} nm\n{}", set.period_nm, table(&header, &rows))
}

fn check(args: &CheckArgs) -> Result<Verdict> {
    let set = KernelSet::load(&args.file)?;
    say(false, &describe(&set));
    let Some(path) = &args.against else { return Ok(Verdict::Done) };
    let other = KernelSet::load(path)?;
    let apart = [set.focus.tcc_distance(&other.focus), set.defocus.tcc_distance(&other.defocus)];
    say(
        false,
        &format!(
            "distance of the TCCs from {}: focus {:.2} %, defocus {:.2} %",
            path.display(),
            100.0 * apart[0],
            100.0 * apart[1]
        ),
    );
    Ok(if apart.iter().all(|&a| a <= args.tolerance) { Verdict::Done } else { Verdict::NotMet })
}
