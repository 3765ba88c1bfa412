//! How fast networks are trained on several cards: the network's step alone, as peers measure it, and the whole step with clips and simulator.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use clap::Args;
use lithoburn_layout::write_whole;
use lithoburn_litho::KernelSet;
use lithoburn_models::{GanOpcConfig, NeuralIltConfig, Parallel, Program};
use lithoburn_train::pace::{StepLoad, step_seconds};
use lithoburn_train::{Network, News, TrainConfig, train};
use serde::Serialize;

use super::networks::NETWORKS;
use crate::Verdict;
use crate::crew::devices;
use crate::options::KernelOptions;
use lithoburn_terminal::{go_on, print_json, say, table};

/// The look at a run that starts the clock: kernels are compiled then.
const FIRST_LOOK: usize = 100;
/// Pixels of a network's image on a side.
const SIDE: usize = 256;

/// What to measure.
#[derive(Args, Debug)]
pub struct CardsArgs {
    /// Cards, such as cuda:0,cuda:1; all are every GPU.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "all")]
    devices: Vec<String>,
    /// Numbers of cards.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,2,4")]
    counts: Vec<usize>,
    /// Fields of each card's batch.
    #[arg(long, value_name = "N", default_value_t = 16)]
    batch: usize,
    /// Networks to measure.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    #[arg(value_parser = NETWORKS, default_values = NETWORKS)]
    networks: Vec<String>,
    /// Steps on the clock, of the network alone and of the whole.
    #[arg(long, value_name = "N", default_value_t = 200)]
    steps: usize,
    /// Leave out the whole step.
    #[arg(long)]
    only_network: bool,
    #[command(flatten)]
    kernels: KernelOptions,
    /// File for the rows as JSON.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON and nothing else.
    #[arg(long)]
    json: bool,
}

/// One network on some cards.
#[derive(Clone, Debug, Serialize)]
struct Row {
    network: &'static str,
    cards: usize,
    /// Fields of each card's batch.
    batch: usize,
    /// Forward pass, gradients, their sum over the cards, and Adam; ms.
    network_ms: f64,
    /// Images a second of that.
    network_images: f64,
    /// The same of the whole step: clips, simulator, loss; as `train` goes.
    whole_ms: Option<f64>,
    whole_images: Option<f64>,
    /// Images a second, against one card.
    network_times: Option<f64>,
    whole_times: Option<f64>,
}

/// Measures all networks on all numbers of cards.
pub(super) fn cards(args: &CardsArgs) -> Result<Verdict> {
    ensure!(args.batch > 0 && args.steps > 0, "--batch and --steps must be 1 or more");
    let chosen = devices(&args.devices)?;
    let (kernels, _) = args.kernels.load()?;
    for card in &chosen {
        say(args.json, &format!("device {} ({})", card.name, card.card));
    }
    let devices: Vec<Device> = chosen.iter().map(|card| card.device.clone()).collect();
    ensure!(!devices.is_empty(), "--devices: no GPU was found");
    let mut rows: Vec<Row> = Vec::new();
    for (name, network) in networks() {
        if args.networks.iter().all(|own| own != name) {
            continue;
        }
        let program = program(&network);
        for &count in args.counts.iter().filter(|&&n| (1..=devices.len()).contains(&n)) {
            let row = measured(args, (name, &network), &program, &kernels, &devices[..count])?;
            let row = beside(row, &rows);
            say(args.json, &cells(&row).join("  "));
            rows.push(row);
        }
    }
    if let Some(out) = &args.out {
        write_whole(out, &serde_json::to_vec_pretty(&rows)?)?;
    }
    match args.json {
        true => print_json(&rows)?,
        false => say(false, &table(&HEADER, &rows.iter().map(cells).collect::<Vec<_>>())),
    }
    Ok(Verdict::Done)
}

fn networks() -> [(&'static str, Network); 4] {
    let unet = |width| NeuralIltConfig { width, ..NeuralIltConfig::default() };
    [
        ("neural-ilt-fast", Network::NeuralIlt(NeuralIltConfig::fast())),
        ("gan-opc", Network::GanOpc(GanOpcConfig::default())),
        ("neural-ilt", Network::NeuralIlt(unet(32))),
        ("neural-ilt-64", Network::NeuralIlt(unet(64))),
    ]
}

fn program(network: &Network) -> Program {
    match network {
        Network::NeuralIlt(config) => config.init(&Device::flex()).program(),
        Network::GanOpc(config) => config.init(&Device::flex()).program(),
    }
}

fn measured(
    args: &CardsArgs,
    (name, network): (&'static str, &Network),
    program: &Program,
    kernels: &KernelSet,
    cards: &[Device],
) -> Result<Row> {
    let load = StepLoad { batch: args.batch, side: SIDE, steps: args.steps };
    let alone = step_seconds(program, cards, load)?;
    let whole = match args.only_network {
        true => None,
        false => Some(whole_seconds(args, network, kernels, cards)?),
    };
    let images = (args.batch * cards.len()) as f64;
    Ok(Row {
        network: name,
        cards: cards.len(),
        batch: args.batch,
        network_ms: 1e3 * alone,
        network_images: images / alone,
        whole_ms: whole.map(|seconds| 1e3 * seconds),
        whole_images: whole.map(|seconds| images / seconds),
        network_times: None,
        whole_times: None,
    })
}

/// Seconds of a step of a run, between two looks at its loss. Nothing of the run is kept.
fn whole_seconds(
    args: &CardsArgs,
    network: &Network,
    kernels: &KernelSet,
    cards: &[Device],
) -> Result<f64> {
    let config = TrainConfig {
        network: network.clone(),
        batch: args.batch * cards.len(),
        steps: FIRST_LOOK + args.steps.next_multiple_of(FIRST_LOOK / 2) + 1,
        validate_every: usize::MAX,
        validation_clips: 1,
        ..TrainConfig::default()
    };
    let out = std::env::temp_dir().join(format!("lithoburn-cards-{}", std::process::id()));
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut looks: Vec<(usize, Instant)> = Vec::new();
    let mut watch = |news: News| {
        match news {
            News::Look(record, _) if record.l2_nm2.is_none() && record.step >= FIRST_LOOK => {
                looks.push((record.step, Instant::now()));
            }
            News::LayerByLayer(why) => say(args.json, &format!("trained layer by layer: {why}")),
            News::ThroughHost(why) => say(args.json, &format!("gradients by the host: {why}")),
            _ => {}
        }
        go_on()
    };
    let trained = train(&config, kernels, cards, &out, &mut watch);
    std::fs::remove_dir_all(&out).with_context(|| format!("cannot delete {}", out.display()))?;
    trained?;
    match looks[..] {
        [(first, start), .., (last, end)] => {
            Ok((end - start).as_secs_f64() / (last - first) as f64)
        }
        _ => anyhow::bail!("the run was stopped before it could be measured"),
    }
}

/// A row with its factors over one card's.
fn beside(row: Row, rows: &[Row]) -> Row {
    let alone = rows.iter().find(|one| one.network == row.network && one.cards == 1);
    let whole = alone.and_then(|one| one.whole_images).zip(row.whole_images);
    Row {
        network_times: alone.map(|one| row.network_images / one.network_images),
        whole_times: whole.map(|(one, own)| own / one),
        ..row
    }
}

const HEADER: [&str; 9] = [
    "network",
    "cards",
    "batch a card",
    "network ms",
    "images/s",
    "of one card",
    "whole step ms",
    "images/s",
    "of one card",
];

fn cells(row: &Row) -> Vec<String> {
    let shown = |value: Option<f64>, digits: usize| {
        value.map_or("–".into(), |value| format!("{value:.digits$}"))
    };
    vec![
        row.network.into(),
        row.cards.to_string(),
        row.batch.to_string(),
        shown(Some(row.network_ms), 3),
        shown(Some(row.network_images), 0),
        shown(row.network_times, 2),
        shown(row.whole_ms, 3),
        shown(row.whole_images, 0),
        shown(row.whole_times, 2),
    ]
}
