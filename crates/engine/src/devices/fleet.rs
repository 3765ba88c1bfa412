//! From devices to lanes: probes, a plan, and who computes with whom.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device};
use lithoburn_models::parallel::ways::{Act, ways};
use lithoburn_models::parallel::{Speeds, costs};
use lithoburn_models::{LayerKind, Program};
use lithoburn_pool::plan::{Parallelisable, Split};
use lithoburn_pool::{Chosen, Demand, DeviceState, Plan, PlanError, Strategy, memory, plan};

use super::known;
use super::lane::Lane;
use super::probe::{Probe, RUNS, probe};
use super::team::{Team, Way, link_speed, places, stage_costs};
use crate::EngineError;
use crate::proposer::load_network;
use crate::setup::Setup;

/// Runs of each layer when its cost is measured.
const REPEATS: usize = 2;
/// Tiles that a GPU has at once at most, in batches of two threads: with 48 in each, 2,494 tiles take a tenth less than with 24 on an H100.
pub(crate) const MOST_BATCH: usize = 96;

/// What a correction asks of its devices.
#[derive(Clone, Debug)]
pub struct Wish {
    /// How to use several.
    pub strategy: Strategy,
    /// Tiles at once on each device; none chooses.
    pub batch: Option<usize>,
    /// Tiles in all.
    pub tiles: usize,
    /// Most bytes that may be used of devices, by name.
    pub budgets: Vec<(String, u64)>,
    /// Whether the network's weights stay in host memory.
    pub offload: bool,
    /// Whether to try the model on every device even if nothing depends on it.
    pub probe: bool,
}

impl Default for Wish {
    /// One tile, shared out as seems best.
    fn default() -> Self {
        let (batch, budgets) = (None, Vec::new());
        Self { strategy: Strategy::Auto, batch, tiles: 1, budgets, offload: false, probe: false }
    }
}

impl Wish {
    /// Whether devices shall compute one network together.
    pub(crate) fn is_joint(&self) -> bool {
        self.offload || !matches!(self.strategy, Strategy::Auto | Strategy::Data)
    }
}

/// A plan, and what it rests on.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Who does what.
    pub plan: Plan,
    /// The devices as they were found.
    pub states: Vec<DeviceState>,
    /// What the model took of each device that was tried.
    pub probes: Vec<Probe>,
    /// Who computes tiles.
    pub lanes: Vec<Lane>,
    /// Devices on which the model does not run, with the reason; the plan is without them.
    pub left_out: Vec<(String, String)>,
}

/// Devices that were tried.
struct Tried {
    devices: Vec<Chosen>,
    probes: Vec<Probe>,
    left_out: Vec<(String, String)>,
}

/// Tries the model: on one card of each kind, kinds at the same time, and on every device of another family. What one card takes, its
/// equals take: their clocks differ by less than trials do. One that fails is left out; if all do, the first one's error is the
/// answer.
fn tried(devices: &[Chosen], probe: Trial) -> Result<Tried, EngineError> {
    let mut distinct: Vec<&Chosen> = Vec::new();
    for device in devices {
        if distinct.iter().all(|known| known.name != device.name) {
            distinct.push(device);
        }
    }
    let (cards, others): (Vec<&Chosen>, Vec<&Chosen>) =
        distinct.into_iter().partition(|device| device.name.starts_with("cuda"));
    let mut trials = of_cards(&cards, probe);
    trials.extend(others.iter().map(|&device| probe(device)));
    let mut found = Tried { devices: Vec::new(), probes: Vec::new(), left_out: Vec::new() };
    let mut first = None;
    for (device, trial) in cards.into_iter().chain(others).zip(trials) {
        match trial {
            Ok(probe) => found.probes.push(probe),
            Err(error) => {
                found.left_out.push((device.name.clone(), error.to_string()));
                first = first.or(Some(error));
            }
        }
    }
    let works = |device: &&Chosen| found.left_out.iter().all(|(name, _)| *name != device.name);
    found.devices = devices.iter().filter(works).cloned().collect();
    match first {
        Some(error) if found.devices.is_empty() => Err(error),
        _ => Ok(found),
    }
}

/// A trial of the model on a device.
type Trial<'a> = &'a (dyn Fn(&Chosen) -> Result<Probe, EngineError> + Sync);

/// Trials of cards: those of the first of each kind, which stand for its equals, unless it fails.
fn of_cards(cards: &[&Chosen], probe: Trial) -> Vec<Result<Probe, EngineError>> {
    let kind = |card: &Chosen| cards.iter().position(|other| other.card == card.card);
    let is_first = |at: usize| kind(cards[at]) == Some(at);
    let firsts: Vec<usize> = (0..cards.len()).filter(|&at| is_first(at)).collect();
    let mut trials: BTreeMap<usize, Result<Probe, EngineError>> =
        firsts.iter().copied().zip(at_once(cards, &firsts, probe)).collect();
    let equal = |at: usize| match trials.get(&kind(cards[at])?) {
        Some(Ok(probe)) => Some(Probe { device: cards[at].name.clone(), ..probe.clone() }),
        _ => None,
    };
    let known: Vec<(usize, Option<Probe>)> =
        (0..cards.len()).filter(|&at| !is_first(at)).map(|at| (at, equal(at))).collect();
    let unknown: Vec<usize> =
        known.iter().filter(|(_, probe)| probe.is_none()).map(|(at, _)| *at).collect();
    let own = at_once(cards, &unknown, probe);
    trials.extend(known.into_iter().filter_map(|(at, probe)| Some((at, Ok(probe?)))));
    trials.extend(unknown.into_iter().zip(own));
    trials.into_values().collect()
}

/// Trials at the same time: they are mostly waiting.
fn at_once(cards: &[&Chosen], which: &[usize], probe: Trial) -> Vec<Result<Probe, EngineError>> {
    std::thread::scope(|scope| {
        let trials: Vec<_> =
            which.iter().map(|&at| scope.spawn(move || probe(cards[at]))).collect();
        // A panic of a trial is a bug of ours, and goes on as one.
        let ended = |trial: std::thread::ScopedJoinHandle<'_, _>| {
            trial.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        trials.into_iter().map(ended).collect()
    })
}

/// Plans a correction on devices.
///
/// # Errors
///
/// [`EngineError::Pool`] if nothing fits, with what would be needed; [`EngineError`] if a trial fails on every device.
pub(crate) fn fleet(setup: &Setup, devices: &[Chosen], wish: &Wish) -> Result<Fleet, EngineError> {
    let stranger = wish.budgets.iter().find(|(name, _)| devices.iter().all(|d| d.name != *name));
    if let Some((name, _)) = stranger {
        let names: Vec<&str> = devices.iter().map(|d| d.name.as_str()).collect();
        let used = names.join(", ");
        let problem = format!("memory is given for {name:?}, but the devices are {used}");
        return Err(EngineError::Setting(problem));
    }
    let alone = devices.len() == 1 && matches!(wish.strategy, Strategy::Auto | Strategy::Data);
    let needed = wish.probe || !alone || (wish.batch.is_none() && devices[0].name != "cpu");
    let anew = |device: &Chosen| {
        device.wait().map_err(|e| EngineError::Pool(e.to_string()))?;
        probe(setup, device, RUNS)
    };
    let trial = |device: &Chosen| match wish.probe {
        true => anew(device),
        false => known::or_else(setup, device, || anew(device)),
    };
    let Tried { devices, probes, left_out } = match needed && !wish.offload {
        true => tried(devices, &trial)?,
        false => Tried { devices: devices.to_vec(), probes: Vec::new(), left_out: Vec::new() },
    };
    let (plan, states) = planned(setup, &devices, &probes, wish)?;
    let lanes = lanes(&plan, &devices, &labels(&devices), wish);
    Ok(Fleet { plan, states, probes, lanes, left_out })
}

/// A plan for devices of which it is known what the model takes of them.
fn planned(
    setup: &Setup,
    devices: &[Chosen],
    probes: &[Probe],
    wish: &Wish,
) -> Result<(Plan, Vec<DeviceState>), EngineError> {
    let labels = labels(devices);
    let states: Vec<DeviceState> =
        devices.iter().zip(&labels).map(|(d, l)| state(d, l, devices, probes, wish)).collect();
    let mut demand = demand(setup, devices, probes, wish);
    let network = setup.model.model.network().is_some();
    let explicit = !matches!(wish.strategy, Strategy::Auto | Strategy::Data);
    if explicit && !network {
        let name = setup.model.model.name();
        return Err(EngineError::Setting(format!(
            "{name} has no network to cut: use --parallel data, which shares tiles"
        )));
    }
    if explicit {
        measure(setup, devices, &mut demand)?;
    }
    let mut found = plan(&demand, &states, wish.strategy);
    if matches!(found, Err(PlanError::TooBig { .. })) && network && !explicit {
        measure(setup, devices, &mut demand)?;
        found = plan(&demand, &states, wish.strategy);
    }
    let plan = found.map_err(|e| EngineError::Pool(e.to_string()))?;
    Ok((plan, states))
}

/// Names that differ, where a device is used more than once.
fn labels(devices: &[Chosen]) -> Vec<String> {
    let label = |(i, device): (usize, &Chosen)| {
        let before = devices[..i].iter().filter(|d| d.name == device.name).count();
        if before == 0 { device.name.clone() } else { format!("{}#{}", device.name, before + 1) }
    };
    devices.iter().enumerate().map(label).collect()
}

/// What is free on a device; on a card that is still being opened what is on its equal that is there. The crew finds out what it lacks.
fn free(device: &Chosen, devices: &[Chosen]) -> Option<u64> {
    let equal = |other: &&Chosen| other.is_there() && other.card == device.card;
    let asked = if device.is_there() { Some(device) } else { devices.iter().find(equal) };
    memory::free(&asked?.name)
}

fn state(
    device: &Chosen,
    label: &str,
    devices: &[Chosen],
    probes: &[Probe],
    wish: &Wish,
) -> DeviceState {
    let probe = probes.iter().find(|p| p.device == device.name);
    let budget = wish.budgets.iter().find(|(name, _)| *name == device.name);
    DeviceState {
        name: label.to_string(),
        card: device.card.clone(),
        free_bytes: free(device, devices),
        budget_bytes: budget.map(|(_, bytes)| *bytes),
        speed: probe.map_or(1.0, |p| 1.0 / p.seconds.max(1e-9)),
    }
}

fn demand(setup: &Setup, devices: &[Chosen], probes: &[Probe], wish: &Wish) -> Demand {
    let most =
        |value: &dyn Fn(&Probe) -> Option<f64>| probes.iter().filter_map(value).fold(0.0, f64::max);
    let cpu = devices.iter().all(|d| d.name == "cpu");
    let own = if cpu { 1 } else { MOST_BATCH.min(wish.tiles) };
    Demand {
        model: setup.model.model.name().into(),
        tile_px: (setup.kernels.period_nm / setup.pixel_nm).round() as usize,
        tiles: wish.tiles,
        batch: wish.batch.unwrap_or(own),
        fixed_bytes: most(&|p| {
            p.fixed_bytes.map(|bytes| bytes as f64 * Lane::hands(&p.device) as f64)
        }) as u64,
        bytes_per_pixel: most(&|p| p.bytes_per_pixel),
        stages: Vec::new(),
        link_bytes_per_s: f64::MAX,
        parallelisable: Parallelisable::default(),
    }
}

/// Measures the network's layers, and what cutting a tile would cost.
fn measure(setup: &Setup, devices: &[Chosen], demand: &mut Demand) -> Result<(), EngineError> {
    let Some(method) = setup.model.model.network() else { return Ok(()) };
    let (network, _) = load_network(method, setup.model.weights.as_deref(), &Device::flex())?;
    let program = network.program();
    let side = (setup.kernels.period_nm / network.head().pixel_nm).round() as usize;
    let images = [1, 1, side, side];
    let costs = costs(&program, &devices[0].device, images, DType::F32, REPEATS)?;
    demand.link_bytes_per_s = link_speed(&places(devices, None))?;
    demand.stages = stage_costs(&costs);
    demand.parallelisable = Parallelisable {
        tensor: Some(by_channels(&program, devices.len(), images, demand.link_bytes_per_s)),
        spatial: Some(by_rows(&program, images)),
    };
    Ok(())
}

/// What splitting channels pays.
fn by_channels(program: &Program, devices: usize, images: [usize; 4], link: f64) -> Split {
    let speeds = Speeds { link: link.min(Speeds::default().link), ..Speeds::default() };
    let ways = ways(program, devices.max(2), images, DType::F32, &speeds);
    let exchange = |act: &&Act| matches!(act, Act::Row(_) | Act::GatherImage | Act::GatherSkip);
    let exchanges = ways.acts.iter().filter(exchange).count();
    let waiting = ways.seconds - ways.alone_seconds / devices.max(2) as f64;
    let sending = (waiting - exchanges as f64 * speeds.latency).max(0.0);
    let kernels = program.layers.iter().filter_map(|layer| match &layer.kind {
        LayerKind::Convolve { kernel, .. } if kernel.to > 1 => Some(kernel.to),
        _ => None,
    });
    Split {
        most: kernels.min().unwrap_or(1),
        divided: 1.0,
        divides_weights: true,
        exchanges,
        exchange_seconds: speeds.latency,
        exchange_bytes: (sending * speeds.link) as u64,
    }
}

/// What splitting rows pays: two neighbours' rows before each convolution.
fn by_rows(program: &Program, images: [usize; 4]) -> Split {
    let extents = program.extents(images);
    let rows =
        program.layers.iter().zip(&extents).filter_map(|(layer, extent)| match &layer.kind {
            LayerKind::Convolve { kernel, .. } if kernel.side > 1 => {
                let [_, _, width, channels] = extent.x;
                Some((2 * (kernel.side / 2) * width * channels * 4) as u64)
            }
            _ => None,
        });
    let rows: Vec<u64> = rows.collect();
    Split {
        most: images[2] / program.stride,
        divided: 1.0,
        divides_weights: false,
        exchanges: rows.len(),
        exchange_seconds: Speeds::default().latency,
        exchange_bytes: rows.iter().sum(),
    }
}

/// The plan's ranks as lanes: replicas one each, parts of a network together.
fn lanes(plan: &Plan, devices: &[Chosen], labels: &[String], wish: &Wish) -> Vec<Lane> {
    let device =
        |name: &str| labels.iter().position(|label| label == name).map(|i| devices[i].clone());
    let budget = |device: &Chosen| {
        wish.budgets.iter().find(|(name, _)| *name == device.name).map(|(_, bytes)| *bytes)
    };
    let mut groups: Vec<(usize, Vec<Chosen>)> = Vec::new();
    for (rank, &batch) in plan.ranks.iter().zip(&plan.batch) {
        let Some(device) = device(&rank.device) else { continue };
        let first = rank.stages.start == 0 && rank.shard.0 == 0;
        match groups.last_mut() {
            Some((_, group)) if !first => group.push(device),
            _ => groups.push((batch, vec![device])),
        }
    }
    let way = match plan.strategy {
        Strategy::Pipeline | Strategy::Hybrid => Some(Way::Pipeline),
        Strategy::Tensor => Some(Way::Tensor),
        Strategy::Spatial => Some(Way::Spatial),
        Strategy::Data | Strategy::Auto => wish.offload.then_some(Way::Offload),
    };
    let lane = |(batch, group): (usize, Vec<Chosen>)| {
        let team = way.map(|way| Team::new(way, &group, budget(&group[0])));
        Lane { device: group[0].clone(), batch, team }
    };
    groups.into_iter().map(lane).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> Chosen {
        let (name, card, reason) = (name.to_string(), name.to_string(), String::new());
        Chosen { name, card, reason, device: Device::flex(), opening: None }
    }

    fn found(device: &Chosen) -> Result<Probe, EngineError> {
        if device.name == "cuda:1" {
            return Err(EngineError::Pool("the trial of the model failed: device lost".into()));
        }
        let device = device.name.clone();
        Ok(Probe { device, fixed_bytes: None, bytes_per_pixel: None, seconds: 1.0 })
    }

    #[test]
    fn equal_cards_share_a_trial_and_each_is_tried_where_the_first_fails() {
        let card = |name: &str, card: &str| Chosen { card: card.into(), ..device(name) };
        let count = std::sync::atomic::AtomicUsize::new(0);
        let counted = |device: &Chosen| {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            found(device)
        };
        let cards = ["cuda:0", "cuda:2", "cuda:3"].map(|name| card(name, "H200"));
        let cards = [&cards[..], &[card("cuda:4", "L40")]].concat();
        let all = tried(&cards, &counted).expect("all work");
        let names: Vec<&str> = all.probes.iter().map(|probe| probe.device.as_str()).collect();
        assert_eq!(names, ["cuda:0", "cuda:2", "cuda:3", "cuda:4"]);
        assert_eq!(count.swap(0, std::sync::atomic::Ordering::SeqCst), 2);

        let cards = ["cuda:1", "cuda:2", "cuda:3"].map(|name| card(name, "H200"));
        let some = tried(&cards, &counted).expect("two work");
        let names: Vec<&str> = some.probes.iter().map(|probe| probe.device.as_str()).collect();
        assert_eq!((names.as_slice(), some.left_out.len()), (["cuda:2", "cuda:3"].as_slice(), 1));
        assert_eq!(count.into_inner(), 3);
    }

    #[test]
    fn a_device_that_fails_its_trial_is_left_out_and_named() {
        let devices = ["cuda:0", "cuda:1", "cuda:1", "cuda:0"].map(device);
        let tried = tried(&devices, &found).expect("two work");
        let names: Vec<&str> = tried.devices.iter().map(|d| d.name.as_str()).collect();
        assert_eq!((names.as_slice(), tried.probes.len()), (["cuda:0", "cuda:0"].as_slice(), 1));
        assert_eq!(tried.left_out.len(), 1);
        assert!(tried.left_out[0].1.contains("device lost"), "{:?}", tried.left_out);
    }

    #[test]
    fn without_a_device_that_works_the_first_ones_error_is_the_answer() {
        let error = tried(&[device("cuda:1")], &found).map(|t| t.devices.len()).expect_err("none");
        assert!(error.to_string().contains("device lost"), "{error}");
    }
}
