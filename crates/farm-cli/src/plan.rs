//! `plan`: a layout becomes a job.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, ensure};
use clap::Args;
use lithoburn_engine::program;
use lithoburn_farm::job::{Cost, Job, Opened};
use lithoburn_farm::manifest::{Block, Manifest, blocks};
use lithoburn_farm::{Bucket, Digest};

use crate::devices::Opening;
use crate::settings::{Files, Settings};
use lithoburn_terminal::{Progress, Verdict, print_json, say};

/// A layout, and what is asked of it.
#[derive(Args, Debug)]
pub(crate) struct Wish {
    /// Layout to correct: .gds, .oas, .glp or .png, where all machines can read it.
    layout: PathBuf,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    files: Files,
    /// Columns and rows of tiles of which the different ones are a block, or auto: 64x4, or as few as give 512 blocks.
    #[arg(long, value_name = "CxR", default_value = "auto")]
    block: Side,
    /// Tiles a second of one card, for the prediction; docs/farm.md has measured ones.
    #[arg(long, value_name = "N", default_value_t = 455.0, allow_negative_numbers = true)]
    rate: f64,
    /// Seconds after which a block whose worker is not heard of goes to another one.
    #[arg(long, value_name = "S", default_value_t = 30.0, allow_negative_numbers = true)]
    lease: f64,
    /// Place in an S3-compatible store for the job and its results, instead of a shared file system: s3://BUCKET/PREFIX. Its keys come
    /// from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, its place from AWS_REGION or AWS_ENDPOINT_URL.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

impl Wish {
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// Cut a layout into blocks and write down everything that determines its mask.
#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    wish: Wish,
    /// Folder for the job, which all machines share.
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,
    /// Print the job as JSON and nothing else.
    #[arg(long)]
    json: bool,
}

/// Runs the job.
pub(crate) fn plan(args: &PlanArgs) -> Result<Verdict> {
    let job = planned(&args.wish, &|_| args.out.clone(), args.json)?;
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
    say(false, &format!("wrote {}: lithoburn farm work {}", args.out.display(), job.address()?));
    Ok(Verdict::Done)
}

/// Plans a job into a folder, by the layout's name. One that is there already is left as it is.
///
/// # Errors
///
/// If it cannot be planned, or another one is there.
pub(crate) fn planned(
    wish: &Wish,
    folder: &dyn Fn(&str) -> PathBuf,
    quiet: bool,
) -> Result<Opened> {
    let Wish { layout, settings, files, block, rate, lease, store } = wish;
    ensure!(rate.is_finite() && *rate > 0.0, "--rate must be more than 0, got {rate}");
    ensure!((1.0..=DAY).contains(lease), "--lease must be 1 s to a day (86400 s), got {lease}");
    // Before a large layout is looked at for minutes.
    store.as_deref().map(Bucket::of_environment).transpose()?;
    let mut settings = settings.clone();
    let inputs = files.inputs(layout, &mut settings)?;
    let asked = settings.with(&inputs);
    let library = asked.library()?;
    // Nothing is computed yet: the device is of no matter.
    let planned = asked.correction(&library)?.on(Opening::cpu()?.devices()?).plan()?;
    let shares = settings.shares(&planned)?;
    let progress = Progress::new(quiet);
    let targets = shares.targets(&mut |event| {
        progress.show("scanning", event.done as u64, event.total as u64, "tiles")
    })?;
    drop(progress);
    say(
        quiet,
        &format!(
            "{} x {} tiles, {} of them with shapes",
            shares.grid()[0],
            shares.grid()[1],
            shares.occupied()
        ),
    );
    let columns = shares.grid()[0] as u64;
    let blocks = blocks_of(&targets, columns, block.of(targets.len(), columns));
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
        cost: Cost::of(targets.len() as u64, *rate),
        lease_s: *lease,
        store: store.clone(),
    };
    Ok(job.write(&folder(library.name()), &manifest)?)
}

fn blocks_of(tiles: &[u64], columns: u64, side: [u32; 2]) -> Vec<Block> {
    blocks(tiles.iter().map(|&tile| (tile, [tile % columns, tile / columns])), side)
}

/// Seconds of the longest lease: who is not heard of for longer is not coming back.
const DAY: f64 = 86_400.0;
/// Blocks of a small layout, at least: so many that the last ones are small beside the whole, and dozens of cards end together.
const BLOCKS: f64 = 512.0;
/// Fewest and most tiles of a block that nobody asked for.
const TILES: [f64; 2] = [16.0, 256.0];
/// So many times as many columns as rows: a mask is put together by rows of tiles, and after the last block those are left that it is in.
const FLAT: f64 = 16.0;

/// Columns and rows of a block, as `64x4`; none chooses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Side(Option<[u32; 2]>);

impl Side {
    /// For so many different tiles of a layout that is so many wide.
    fn of(self, tiles: usize, width: u64) -> [u32; 2] {
        let [least, most] = TILES;
        let each = (tiles as f64 / BLOCKS).clamp(least, most);
        let columns = (each / (each / FLAT).sqrt().round().max(1.0)).min(width.max(1) as f64);
        self.0.unwrap_or([columns, each / columns].map(|side| side.round().max(1.0) as u32))
    }
}

impl FromStr for Side {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self(None));
        }
        let number = |text: &str| text.parse().ok().filter(|n| (1..=4096).contains(n));
        let side = text.split_once('x').map(|(columns, rows)| [number(columns), number(rows)]);
        match side {
            Some([Some(columns), Some(rows)]) => Ok(Self(Some([columns, rows]))),
            _ => Err("expected columns x rows of tiles, as 64x4, or auto".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocks_side_is_two_numbers_or_chosen_by_the_tiles_there_are() {
        assert_eq!("16x8".parse(), Ok(Side(Some([16, 8]))));
        for text in ["16", "0x4", "4x", "-1x2", "axb", "5000x1"] {
            assert!(text.parse::<Side>().is_err(), "{text}");
        }
        let auto: Side = "auto".parse().expect("auto");
        let sides = [0, 13_919, 60_010, 16_777_216].map(|tiles| auto.of(tiles, 4096));
        assert_eq!(sides, [[16, 1], [27, 1], [39, 3], [64, 4]]);
        assert_eq!([10, 0].map(|width| auto.of(60_010, width)), [[10, 12], [1, 117]]);
        assert_eq!(Side(Some([2, 3])).of(13_919, 1), [2, 3]);
    }
}
