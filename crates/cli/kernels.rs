//! Optical kernels: make them from first principles, take over the contest's, or check a file.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use lithoburn_layout::write_whole;
use lithoburn_litho::optics::contest::{self, Header};
use lithoburn_litho::{KernelSet, Kernels};
use lithoburn_pictures::draw_optics;

use crate::Verdict;
use crate::optics::OpticsOptions;
use lithoburn_terminal::{say, table};

/// Make, import or check optical kernels.
#[derive(Subcommand, Debug)]
pub enum KernelsJob {
    /// Compute kernels from source, lens and defocus.
    Make(Box<MakeArgs>),
    /// Convert the binary kernels of the ICCAD 2013 contest.
    Import(ImportArgs),
    /// Say what a file holds, and how far it is from another.
    Check(CheckArgs),
}

/// Optics to make kernels of, and where to.
#[derive(Args, Debug)]
pub struct MakeArgs {
    /// File to write (safetensors).
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Picture of source, pupil and kernels [default: the out file with the ending .png].
    #[arg(long, value_name = "FILE", conflicts_with = "no_plot")]
    plot: Option<PathBuf>,
    /// Draw no picture.
    #[arg(long)]
    no_plot: bool,
    #[command(flatten)]
    optics: OpticsOptions,
}

/// The contest's kernels, and where to.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// Folder with focus/ and defocus/, each with fh0.bin, fh1.bin, … of 9824 bytes, and scales.txt.
    #[arg(long, value_name = "DIR")]
    bin: PathBuf,
    /// Bytes to skip at the start of a file: 24 is right; 20 reads four bytes early, as most published code
    /// does.
    #[arg(long, value_name = "BYTES", value_parser = header, default_value = "24")]
    header: Header,
    /// File to write (safetensors).
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

fn header(bytes: &str) -> Result<Header, String> {
    match bytes {
        "24" => Ok(Header::Whole),
        "20" => Ok(Header::Short),
        _ => Err("expected 20 or 24".into()),
    }
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
        KernelsJob::Import(args) => import(args),
        KernelsJob::Check(args) => check(args),
    }
}

fn make(args: &MakeArgs) -> Result<Verdict> {
    let optics = args.optics.optics()?;
    let set = optics.kernels()?;
    write_whole(&args.out, &set.to_bytes())?;
    say(false, &describe(&set));
    say(false, &format!("wrote {}", args.out.display()));
    if !args.no_plot {
        let plot = args.plot.clone().unwrap_or_else(|| args.out.with_extension("png"));
        write_whole(&plot, &draw_optics(&optics, &set)?)?;
        say(false, &format!("wrote {}", plot.display()));
    }
    Ok(Verdict::Done)
}

fn import(args: &ImportArgs) -> Result<Verdict> {
    let set = contest::read(&args.bin, args.header)?;
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
