//! Options of jobs that several devices share.

use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use lithoburn_engine::{Correction, Fleet, MaskFormat};
use lithoburn_pool::memory::{Limit, readable};
use lithoburn_pool::{
    Chosen, DeviceName, Rank, Strategy, choose, choose_all, choose_all_in_turn, choose_each,
    choose_in_turn,
};
use tracing::info_span;

use crate::options::DeviceOptions;
use lithoburn_terminal::{say, table};

/// The devices of a job.
#[derive(Args, Debug)]
pub(crate) struct CrewOptions {
    /// Devices that share the tiles: all (every GPU), or names such as cuda:0,cuda:1,cpu; a name may come more than once.
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "device")]
    devices: Vec<String>,
    /// Tiles that each device computes at once [default: what its memory holds, at most 96; 1 on the CPU].
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
}

impl CrewOptions {
    /// Spares CUDA the cards that no option names. For `main`, before any thread is started.
    pub(crate) fn hide_other_cards(&self, single: &DeviceOptions) {
        let names: Result<Vec<DeviceName>, String> =
            self.names(single).iter().map(|name| name.parse()).collect();
        // What is no device's name is an error later on; `all` is none.
        lithoburn_pool::hide_other_cards(&names.unwrap_or_default());
    }

    /// Devices as they were asked for.
    fn names(&self, single: &DeviceOptions) -> Vec<String> {
        match self.devices.as_slice() {
            [] => vec![single.device.to_string()],
            names => names.to_vec(),
        }
    }

    /// Begins to open and test the devices; `in_turn` leaves all but the first of equal cards for later.
    pub(crate) fn open(&self, single: &DeviceOptions, in_turn: bool) -> Result<Opening> {
        if self.batch == Some(0) {
            bail!("--batch must be 1 or more");
        }
        let (several, one) = (self.devices.clone(), single.device);
        let names = self.names(single);
        let open = move || match several.as_slice() {
            [] => Ok(vec![choose(one)?]),
            [all] if all == "all" && in_turn => Ok(choose_all_in_turn()),
            names if in_turn => Ok(choose_in_turn(&all_named(names)?)?),
            names => devices(names),
        };
        let spanned = move || info_span!("devices").in_scope(open);
        let thread = std::thread::Builder::new().name("devices".into()).spawn(spanned);
        Ok(Opening { names, thread: thread.context("no thread opens the devices")? })
    }
}

/// Devices that are being opened; a layout is read meanwhile. Nobody waits for those that are not asked for.
pub(crate) struct Opening {
    /// As they were asked for.
    pub names: Vec<String>,
    thread: JoinHandle<Result<Vec<Chosen>>>,
}

impl Opening {
    /// The devices, once they are tested. A panic goes on here.
    pub(crate) fn devices(self) -> Result<Vec<Chosen>> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Devices by name, or all GPUs.
pub(crate) fn devices(names: &[String]) -> Result<Vec<Chosen>> {
    match names {
        [all] if all == "all" => Ok(choose_all()),
        names => Ok(choose_each(&all_named(names)?)?),
    }
}

/// How a job uses its devices.
#[derive(Args, Debug)]
pub(crate) struct PlanOptions {
    /// What devices share: auto, data (tiles), pipeline (the network's layers), tensor (its channels), spatial (rows of its images)
    /// or hybrid (several pipelines). All but data concern the network alone; its mask is corrected on one device.
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub parallel: Strategy,
    /// Most memory to use of a device, such as cuda:0=8GiB; may be given several times.
    #[arg(long, value_name = "NAME=SIZE")]
    memory: Vec<Limit>,
    /// Keep the network's weights in host memory and bring each layer's as it is needed, for a device that cannot hold them all.
    #[arg(long, conflicts_with = "parallel")]
    pub offload: bool,
    /// Try the model on each device, print the plan with its memory, and stop.
    #[arg(long)]
    pub dry_run: bool,
}

impl PlanOptions {
    /// Whether devices share tiles and nothing else, so that each may begin when it is there.
    pub(crate) fn shares_tiles(&self) -> bool {
        let alone = matches!(self.parallel, Strategy::Auto | Strategy::Data) && !self.offload;
        alone && !self.dry_run && self.memory.is_empty()
    }

    /// A correction with all of it.
    pub(crate) fn correction<'a>(
        &self,
        crew: &CrewOptions,
        correction: Correction<'a>,
    ) -> Correction<'a> {
        correction
            .batch(crew.batch)
            .parallel(self.parallel)
            .memory(self.memory.iter().map(|l| (l.device.clone(), l.bytes)).collect())
            .offload(self.offload)
            // A limit is of no use to who does not know what the model takes.
            .probed(self.dry_run || !self.memory.is_empty())
    }
}

/// The plan as a table, and what it rests on.
pub(crate) fn say_plan(json: bool, fleet: &Fleet) {
    let plan = &fleet.plan;
    let size = |bytes: Option<u64>| bytes.map_or("–".into(), readable);
    let row = |(i, rank): (usize, &Rank)| {
        let state = fleet.states.iter().find(|s| s.name == rank.device);
        vec![
            rank.device.clone(),
            state.map_or(String::new(), |s| s.card.clone()),
            size(state.and_then(|s| s.budget_bytes.or(s.free_bytes))),
            format!("{}", rank.batches.len()),
            format!("{}–{}", rank.stages.start, rank.stages.end.saturating_sub(1)),
            format!("{} of {}", rank.shard.0 + 1, rank.shard.1),
            plan.batch.get(i).map_or(String::new(), ToString::to_string),
            match plan.predicted_bytes.get(i) {
                Some(&bytes) if bytes > 0 => readable(bytes),
                _ => "–".into(),
            },
        ]
    };
    let rows: Vec<Vec<String>> = plan.ranks.iter().enumerate().map(row).collect();
    let header = ["device", "card", "memory", "tiles", "stages", "part", "batch", "will use"];
    say(json, &table(&header, &rows));
    for probe in &fleet.probes {
        if let (Some(pixels), Some(fixed)) = (probe.pixels_per_gib(), probe.fixed_bytes) {
            let millions = pixels * 1e-6;
            let line = format!(
                "{}: {millions:.1} million pixels a GiB, and {} whatever the tiles; a short pass took {:.3} s a tile",
                probe.device,
                readable(fixed),
                probe.seconds
            );
            say(json, &line);
        }
    }
    say(
        json,
        &format!(
            "plan     {}, {:.2} times one device predicted: {}",
            plan.strategy, plan.predicted_speedup, plan.reason
        ),
    );
}

/// Says what each device did, and what went wrong.
pub(crate) fn say_pool(pool: &lithoburn_pool::Report) {
    if pool.members.len() > 1 {
        let row = |m: &lithoburn_pool::MemberReport| {
            vec![
                m.name.clone(),
                m.tasks.to_string(),
                m.batch.to_string(),
                format!("{:.0} %", 100.0 * m.utilisation),
                format!("{:.2} s", m.latency.p50),
            ]
        };
        let rows: Vec<Vec<String>> = pool.members.iter().map(row).collect();
        say(false, &table(&["device", "tiles", "batch", "busy", "a batch"], &rows));
    }
    for fault in &pool.faults {
        say(
            false,
            &format!(
                "after {:.1} s, {}: {} ({} tiles given back)",
                fault.at, fault.member, fault.text, fault.requeued
            ),
        );
    }
}

fn all_named(names: &[String]) -> Result<Vec<DeviceName>> {
    names.iter().map(|name| named(name)).collect()
}

fn named(name: &str) -> Result<DeviceName> {
    name.parse().map_err(anyhow::Error::msg).context("--devices lists names, or is all")
}

/// Format of polygons that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatName {
    /// GDSII.
    Gds,
    /// OASIS.
    Oas,
}

impl From<FormatName> for MaskFormat {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Gds => Self::Gds,
            FormatName::Oas => Self::Oasis,
        }
    }
}

/// How a layout is cut into tiles.
#[derive(Args, Debug)]
pub(crate) struct TileOptions {
    /// Cut a layout of any size into tiles of this side, in nm.
    #[arg(long, value_name = "NM", allow_negative_numbers = true)]
    pub tile: Option<f64>,
    /// What neighbouring tiles share on each side, in nm, or auto.
    #[arg(long, value_name = "NM", default_value = "auto", requires = "tile")]
    halo: String,
    /// Format of the polygons that are written.
    #[arg(long, value_enum, default_value = "gds")]
    pub format: FormatName,
}

impl TileOptions {
    /// The halo, unless it is to be chosen.
    pub(crate) fn halo(&self) -> Result<Option<f64>> {
        if self.halo == "auto" {
            return Ok(None);
        }
        match self.halo.parse() {
            Ok(halo) if halo >= 0.0 && f64::is_finite(halo) => Ok(Some(halo)),
            _ => bail!("--halo must be a number of nm, 0 or more, or auto; got {:?}", self.halo),
        }
    }
}
