//! `simulate`: farms that nobody has, by the source that everybody runs.

use anyhow::{Result, ensure};
use clap::Args;
use lithoburn_farm::simulate::{Farm, FarmRun};
use serde::Serialize;

use lithoburn_terminal::{Verdict, duration, print_json, say, table};

/// Simulate farms of any size: the same source and ledger, under a clock that is set by hand.
#[derive(Args, Debug)]
pub(crate) struct SimulateArgs {
    /// Cards; several numbers are several farms.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "8,64,512")]
    cards: Vec<usize>,
    /// Area of the layout, in mm²; all of it different.
    #[arg(long, value_name = "MM2", default_value_t = 100.0)]
    area: f64,
    /// Side of a tile's core, in nm: tile less twice the halo.
    #[arg(long, value_name = "NM", default_value_t = 1024.0)]
    core: f64,
    /// Columns and rows of tiles of a block, alike.
    #[arg(long, value_name = "N", default_value_t = 32)]
    block: u64,
    /// Tiles a second of one card.
    #[arg(long, value_name = "N", default_value_t = 455.0)]
    rate: f64,
    /// Standard deviation of blocks' times, as a part of their average.
    #[arg(long, value_name = "PART", default_value_t = 0.2)]
    spread: f64,
    /// Seconds from a worker's start to its first block.
    #[arg(long, value_name = "S", default_value_t = 8.0)]
    start: f64,
    /// Seconds of a lease.
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    lease: f64,
    /// Part of the workers that die in the run.
    #[arg(long, value_name = "PART", default_value_t = 0.01)]
    deaths: f64,
    /// Seconds until the site's scheduler has started a dead worker anew.
    #[arg(long, value_name = "S", default_value_t = 60.0)]
    back: f64,
    /// Bytes of a tile's result.
    #[arg(long, value_name = "BYTES", default_value_t = 3000)]
    bytes: u64,
    /// Bytes a second of the file system.
    #[arg(long, value_name = "N", default_value_t = 1e9)]
    store: f64,
    /// Seconds that the file system takes to answer.
    #[arg(long, value_name = "S", default_value_t = 0.01)]
    store_latency: f64,
    /// Operations a second of the ledger.
    #[arg(long, value_name = "N", default_value_t = 10_000.0)]
    ledger: f64,
    /// Seconds that the ledger takes to answer.
    #[arg(long, value_name = "S", default_value_t = 0.001)]
    ledger_latency: f64,
    /// Tiles a second of the merge.
    #[arg(long, value_name = "N", default_value_t = 30_000.0)]
    merge: f64,
    /// Seed of all that is drawn.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON and nothing else.
    #[arg(long)]
    json: bool,
}

/// A farm and how it went.
#[derive(Serialize)]
struct Simulated {
    farm: Farm,
    run: FarmRun,
}

/// Runs the job.
pub(crate) fn simulate(args: &SimulateArgs) -> Result<Verdict> {
    ensure!(
        args.core > 0.0 && args.area > 0.0 && args.rate > 0.0 && args.block > 0,
        "--core, --area, --rate and --block must be more than 0"
    );
    let mut all = Vec::new();
    for &cards in &args.cards {
        let farm = farm(args, cards);
        let run = farm.run()?;
        all.push(Simulated { farm, run });
    }
    if args.json {
        print_json(&all)?;
        return Ok(Verdict::Done);
    }
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    let header = [
        "cards",
        "blocks",
        "block",
        "ideal",
        "takes",
        "of ideal",
        "merged",
        "died",
        "recovery",
        "copies",
        "late",
        "ledger busy",
        "store busy",
        "ledger",
    ];
    say(false, &table(&header, &rows));
    Ok(Verdict::Done)
}

fn farm(args: &SimulateArgs, cards: usize) -> Farm {
    let tiles = args.area * 1e12 / (args.core * args.core);
    let each = (args.block * args.block) as f64;
    Farm {
        cards,
        blocks: (tiles / each).ceil() as u64,
        block_s: each / args.rate,
        spread: args.spread,
        start_s: args.start,
        lease_s: args.lease,
        deaths: args.deaths,
        return_s: args.back,
        result_bytes: args.bytes * args.block * args.block,
        store_bytes_per_s: args.store,
        store_s: args.store_latency,
        ledger_per_s: args.ledger,
        ledger_s: args.ledger_latency,
        merge_per_s: args.merge / each,
        seed: args.seed,
    }
}

fn row(Simulated { farm, run }: &Simulated) -> Vec<String> {
    vec![
        farm.cards.to_string(),
        farm.blocks.to_string(),
        format!("{:.2} s", farm.block_s),
        duration(run.ideal_s),
        duration(run.seconds),
        format!("{:.3}", run.efficiency),
        duration(run.merged_s),
        run.died.to_string(),
        format!("{:.0} s", run.recovery_s),
        run.copies.to_string(),
        run.late.to_string(),
        format!("{:.1} %", 100.0 * run.ledger_busy),
        format!("{:.1} %", 100.0 * run.store_busy),
        format!("{:.0} MB", run.ledger_bytes as f64 * 1e-6),
    ]
}
