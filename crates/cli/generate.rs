//! Synthetic clips and chips as files.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use clap::builder::ArgPredicate;
use lithoburn_layout::generate::{Chip, ClipRules};
use lithoburn_layout::{Layer, PolygonWriter, glp, write_whole};

use crate::Verdict;
use lithoburn_terminal::say;

/// Least width and space of a chip's wires, in nm. Its tracks are dense everywhere: closer ones have a pitch that the built-in optics
/// (131 nm at the least) cannot print, whatever the mask.
const CHIP_RULES: [&str; 2] = ["64", "70"];
/// Layer of a chip's wires.
const CHIP_LAYER: Layer = Layer { layer: 1, datatype: 0 };

/// Write synthetic metal clips as GLP files, or a chip's layer as GDSII or OASIS: seeded, within width and space rules.
#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// Directory for clip_SEED.glp; with --chip, a file that ends in .gds or .oas.
    #[arg(long, short, value_name = "PATH")]
    out: PathBuf,
    /// Side of a chip, in µm; 1000 has about a million wires, on layer 1/0.
    #[arg(long, value_name = "UM", conflicts_with = "count")]
    chip: Option<f64>,
    /// Make the chip of repeated cells instead of different wires everywhere.
    #[arg(long, requires = "chip")]
    cells: bool,
    /// Seed of the first clip.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of clips.
    #[arg(long, short = 'n', default_value_t = 1)]
    count: u64,
    /// Least width of a wire, in nm; 64 for a chip if nothing else is said.
    #[arg(long, value_name = "NM", default_value_t = 54)]
    #[arg(default_value_if("chip", ArgPredicate::IsPresent, CHIP_RULES[0]))]
    width: u32,
    /// Least space, in nm; 70 for a chip if nothing else is said.
    #[arg(long, value_name = "NM", default_value_t = 50)]
    #[arg(default_value_if("chip", ArgPredicate::IsPresent, CHIP_RULES[1]))]
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
    if let Some(side) = args.chip {
        return chip(args, side, rules);
    }
    for seed in args.seed..args.seed + args.count {
        let clip = rules.clip(seed);
        write_whole(&args.out.join(format!("{}.glp", clip.name)), glp::write(&clip).as_bytes())?;
    }
    say(false, &format!("wrote {} clips to {}", args.count, args.out.display()));
    Ok(Verdict::Done)
}

fn chip(args: &GenerateArgs, side_um: f64, rules: ClipRules) -> Result<Verdict> {
    // Coordinates up to 2 m fit 32 bits of nm.
    ensure!(
        (1.0..=2e6).contains(&side_um),
        "--chip {side_um}: expected a side of 1 to 2,000,000 µm"
    );
    let chip = Chip { side_nm: side_um * 1000.0, rules, seed: args.seed };
    let first = if args.cells { "CELL_0" } else { "CHIP" };
    let mut writer = PolygonWriter::create(&args.out, first, CHIP_LAYER, 1.0)?;
    let wires = match args.cells {
        true => chip.write_cells(&mut writer, "CHIP")?,
        false => chip.write(&mut writer)?,
    };
    writer.finish()?;
    say(false, &format!("wrote {wires} wires to {}", args.out.display()));
    Ok(Verdict::Done)
}
