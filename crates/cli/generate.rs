//! Synthetic clips as files.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use lithoburn_layout::generate::ClipRules;
use lithoburn_layout::{glp, write_whole};

use crate::Verdict;
use crate::terminal::say;

/// Write synthetic metal clips as GLP files: seeded, within width and space rules.
#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// Directory for clip_SEED.glp.
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,
    /// Seed of the first clip.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of clips.
    #[arg(long, short = 'n', default_value_t = 1)]
    count: u64,
    /// Least width of a wire, in nm.
    #[arg(long, value_name = "NM", default_value_t = 54)]
    width: u32,
    /// Least space, in nm.
    #[arg(long, value_name = "NM", default_value_t = 50)]
    space: u32,
}

/// Runs the job.
///
/// # Errors
///
/// If a file cannot be written.
pub fn generate(args: &GenerateArgs) -> Result<Verdict> {
    let rules = ClipRules {
        least_width_nm: args.width,
        least_space_nm: args.space,
        ..ClipRules::default()
    };
    for seed in args.seed..args.seed + args.count {
        let clip = rules.clip(seed);
        write_whole(&args.out.join(format!("{}.glp", clip.name)), glp::write(&clip).as_bytes())?;
    }
    say(false, &format!("wrote {} clips to {}", args.count, args.out.display()));
    Ok(Verdict::Done)
}
