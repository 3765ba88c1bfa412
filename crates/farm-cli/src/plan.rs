//! `plan`: a layout becomes a job.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use lithoburn_engine::program;
use lithoburn_farm::Digest;
use lithoburn_farm::job::{Cost, Job, Opened};
use lithoburn_farm::manifest::{Block, Manifest, blocks};
use lithoburn_pool::{DeviceName, choose};

use crate::settings::{Files, Settings};
use crate::terminal::{Progress, Verdict, print_json, say};

/// Cut a layout into blocks and write down everything that determines its mask.
#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    /// Layout to correct: .gds, .oas, .glp or .png, where all machines can read it.
    layout: PathBuf,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    files: Files,
    /// Columns and rows of tiles of which the different ones are a block.
    #[arg(long, value_name = "CxR", default_value = "16x16")]
    block: String,
    /// Tiles a second of one card, for the prediction; docs/farm.md has measured ones.
    #[arg(long, value_name = "N", default_value_t = 455.0)]
    rate: f64,
    /// Seconds after which a block whose worker is not heard of goes to another one.
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    lease: f64,
    /// Folder for the job, which all machines share.
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,
    /// Print the job as JSON and nothing else.
    #[arg(long)]
    json: bool,
}

/// Runs the job.
pub(crate) fn plan(args: &PlanArgs) -> Result<Verdict> {
    let job = planned(args)?;
    if args.json {
        print_json(&job.job)?;
        return Ok(Verdict::Done);
    }
    let Job { blocks, items, cost, .. } = &job.job;
    say(false, &format!("{items} different tiles in {blocks} blocks"));
    say(
        false,
        &format!(
            "{:.2} card-hours at {} tiles a second a card; job {}",
            cost.card_hours,
            cost.items_per_second,
            job.id.short()
        ),
    );
    say(false, &format!("wrote {}: lithoburn farm work {0}", args.out.display()));
    Ok(Verdict::Done)
}

fn planned(args: &PlanArgs) -> Result<Opened> {
    let side = side(&args.block)?;
    ensure!(
        args.rate.is_finite() && args.rate > 0.0,
        "--rate must be more than 0, got {}",
        args.rate
    );
    ensure!(
        args.lease.is_finite() && args.lease >= 1.0,
        "--lease must be 1 s or more, got {}",
        args.lease
    );
    let mut settings = args.settings.clone();
    let inputs = args.files.inputs(&args.layout, &mut settings)?;
    let asked = settings.with(&inputs);
    let library = asked.library()?;
    // Nothing is computed yet: the device is of no matter.
    let planned = asked.correction(&library, vec![choose(DeviceName::Cpu)?])?.plan()?;
    let shares = planned.shares()?;
    let progress = Progress::new(args.json);
    let targets = shares.targets(&mut |event| {
        progress.show("scanning", event.done as u64, event.total as u64, "tiles")
    })?;
    drop(progress);
    say(
        args.json,
        &format!(
            "{} x {} tiles, {} of them with shapes",
            shares.grid()[0],
            shares.grid()[1],
            shares.occupied()
        ),
    );
    let blocks = blocks_of(&targets, shares.grid()[0] as u64, side);
    let manifest = Manifest::write(&blocks);
    let job = Job {
        version: Job::VERSION,
        name: library.name().into(),
        release: env!("CARGO_PKG_VERSION").into(),
        program: program().into(),
        fingerprint: Digest::of_key(&shares.fingerprint()?),
        inputs,
        settings: serde_json::to_value(&settings)?,
        blocks: blocks.len() as u64,
        items: targets.len() as u64,
        manifest: Digest::of(&manifest),
        cost: Cost::of(targets.len() as u64, args.rate),
        lease_s: args.lease,
    };
    Ok(job.write(&args.out, &manifest)?)
}

fn blocks_of(tiles: &[u64], columns: u64, side: [u32; 2]) -> Vec<Block> {
    blocks(tiles.iter().map(|&tile| (tile, [tile % columns, tile / columns])), side)
}

/// Columns and rows as `16x16`.
fn side(text: &str) -> Result<[u32; 2]> {
    let expected = || format!("--block is columns x rows of tiles, as 16x16; got {text:?}");
    let (columns, rows) = text.split_once('x').with_context(expected)?;
    let number = |text: &str| text.parse().ok().filter(|n| (1..=4096).contains(n));
    let side = [number(columns), number(rows)];
    Ok([side[0].with_context(expected)?, side[1].with_context(expected)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocks_side_is_two_numbers() {
        assert_eq!(side("16x8").expect("two numbers"), [16, 8]);
        for text in ["16", "0x4", "4x", "-1x2", "axb", "5000x1"] {
            let error = side(text).expect_err("no side").to_string();
            assert!(error.contains("--block") && error.contains(text), "{error}");
        }
    }
}
