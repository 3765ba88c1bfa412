//! What is here: every device that this machine offers, untested.

#[cfg(feature = "wgpu")]
use burn::backend::WgpuBackend;
use burn::tensor::Device;
#[cfg(feature = "gpu")]
use burn::tensor::DeviceType;

#[cfg(feature = "gpu")]
use super::at_once::at_once;
use super::cache;
#[cfg(feature = "gpu")]
use super::context;
#[cfg(feature = "gpu")]
use super::guard::guarded;
use super::name::{DeviceName, Kind};
#[cfg(feature = "gpu")]
use super::visible;

/// A device that could be used.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Name that chooses it.
    pub name: DeviceName,
    /// Sort.
    pub kind: Kind,
    /// The card's own name.
    pub card: String,
    /// The device.
    pub device: Device,
}

/// Every device that this machine offers, best first. Nothing is tested.
pub fn survey() -> Vec<Candidate> {
    cache::prepare();
    let mut found = cuda(None);
    found.extend(beside_cuda(!found.is_empty()));
    found
}

/// The same, each opened when it is asked for.
pub(super) fn by_preference() -> impl Iterator<Item = Candidate> {
    cache::prepare();
    let card = |place: usize| named(DeviceName::Cuda(Some(shown(place)?)));
    let others = move || beside_cuda(card(0).is_some());
    (0..).map_while(card).chain(std::iter::once_with(others).flatten())
}

/// The number of one of the cards that CUDA is shown.
#[cfg(feature = "gpu")]
fn shown(place: usize) -> Option<usize> {
    visible::number(place)
}

#[cfg(not(feature = "gpu"))]
fn shown(place: usize) -> Option<usize> {
    Some(place)
}

/// What there is besides CUDA's cards, which come before all others, best first.
fn beside_cuda(has_cards: bool) -> Vec<Candidate> {
    let mut found = vulkan(None);
    // Where Vulkan is missing (macOS, a GL-only machine) wgpu may know another API.
    if found.is_empty() && !has_cards {
        found.extend(wgpu(None));
    }
    found.push(cpu());
    found.sort_by_key(|candidate| candidate.kind);
    found
}

/// The CPU, which is always here.
pub(super) fn cpu() -> Candidate {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let card = format!("{threads} threads");
    Candidate { name: DeviceName::Cpu, kind: Kind::Cpu, card, device: Device::flex() }
}

/// What the families offer that this program was built with: all of their devices, or one by its number. One that is not asked for is not
/// opened.
#[cfg(feature = "cuda")]
pub(super) fn cuda(only: Option<usize>) -> Vec<Candidate> {
    family(DeviceType::Cuda, DeviceName::Cuda, only)
}

#[cfg(not(feature = "cuda"))]
pub(super) fn cuda(_only: Option<usize>) -> Vec<Candidate> {
    Vec::new()
}

#[cfg(feature = "wgpu")]
fn vulkan(only: Option<usize>) -> Vec<Candidate> {
    family(DeviceType::Vulkan, DeviceName::Vulkan, only)
}

#[cfg(feature = "wgpu")]
fn wgpu(only: Option<usize>) -> Vec<Candidate> {
    family(DeviceType::Wgpu, DeviceName::Wgpu, only)
}

/// OpenGL's device, if there is one.
#[cfg(feature = "wgpu")]
fn gl() -> Vec<Candidate> {
    let open = || Device::wgpu_options().graphics_api(WgpuBackend::Gl).init().ok();
    let device = guarded(open).ok().flatten();
    device.into_iter().map(|device| candidate(DeviceName::Gl, device)).collect()
}

#[cfg(not(feature = "wgpu"))]
use no_graphics::{gl, vulkan, wgpu};

#[cfg(not(feature = "wgpu"))]
mod no_graphics {
    use super::Candidate;

    pub(super) fn vulkan(_only: Option<usize>) -> Vec<Candidate> {
        Vec::new()
    }

    pub(super) fn wgpu(_only: Option<usize>) -> Vec<Candidate> {
        Vec::new()
    }

    pub(super) fn gl() -> Vec<Candidate> {
        Vec::new()
    }
}

/// The devices of one family, or one of them. A driver that fails to load offers none.
#[cfg(feature = "gpu")]
fn family(
    device_type: DeviceType,
    name: fn(Option<usize>) -> DeviceName,
    only: Option<usize>,
) -> Vec<Candidate> {
    let cuda = matches!(device_type, DeviceType::Cuda);
    let list = guarded(move || Device::enumerate(device_type).into_vec()).unwrap_or_default();
    let number = |place| if cuda { visible::number(place) } else { Some(place) };
    let list = list.into_iter().enumerate();
    let list = list.filter_map(|(place, device)| Some((place, number(place)?, device)));
    let list = list.filter(|&(_, number, _)| only.is_none_or(|only| only == number));
    let opened = |(place, number, device)| {
        if cuda {
            context::open(place);
        }
        candidate(name(Some(number)), device)
    };
    match cuda {
        true => at_once(list, opened),
        // Graphics drivers are not asked for two devices at a time.
        false => list.map(opened).collect(),
    }
}

#[cfg(feature = "gpu")]
fn candidate(name: DeviceName, device: Device) -> Candidate {
    let opened = device.clone();
    let identity = guarded(move || opened.identity().map(|i| (i.name, i.physical.is_some())));
    let (card, physical) = identity.ok().flatten().unwrap_or(("unknown card".into(), true));
    Candidate { name, kind: kind_of(&name, &device, physical), card, device }
}

/// Burn tells an adapter's sort only in its `Debug` text.
#[cfg(feature = "gpu")]
fn kind_of(name: &DeviceName, device: &Device, physical: bool) -> Kind {
    let text = format!("{device:?}");
    match name {
        DeviceName::Cuda(_) => Kind::Cuda,
        DeviceName::Cpu => Kind::Cpu,
        _ if text.contains("DiscreteGpu") => Kind::Discrete,
        _ if text.contains("IntegratedGpu") => Kind::Integrated,
        _ if text.contains("Cpu") || !physical => Kind::Software,
        _ => Kind::Virtual,
    }
}

/// The names of the cards that CUDA shows.
#[cfg(feature = "cuda")]
pub(super) fn cards() -> Vec<DeviceName> {
    let card = |place| visible::number(place).map(|number| DeviceName::Cuda(Some(number)));
    (0..handles().len()).filter_map(card).collect()
}

/// All but the first of some cards, unopened, if these are several and equal: the driver tells their names at once.
#[cfg(feature = "cuda")]
pub(super) fn equal(wanted: &[DeviceName]) -> Option<Vec<(DeviceName, Device)>> {
    let handles = handles();
    let cards = wanted.iter().map(|name| {
        let number = name.card()?;
        let place = visible::place(number)?;
        Some((DeviceName::Cuda(Some(number)), place, handles.get(place)?.clone()))
    });
    let cards: Vec<(DeviceName, usize, Device)> = cards.collect::<Option<_>>()?;
    let is_alone = |place| cards.iter().filter(|(_, other, _)| *other == place).count() == 1;
    let first = context::known(cards.first()?.1)?;
    let is_equal =
        |place| is_alone(place) && context::known(place).is_some_and(|known| known == first);
    let are_equal = cards.len() > 1 && cards.iter().all(|&(_, place, _)| is_equal(place));
    are_equal.then(|| cards.into_iter().skip(1).map(|(name, _, device)| (name, device)).collect())
}

/// CUDA's cards as the driver shows them, unopened.
#[cfg(feature = "cuda")]
fn handles() -> Vec<Device> {
    guarded(|| Device::enumerate(DeviceType::Cuda).into_vec()).unwrap_or_default()
}

/// Without CUDA there are none.
#[cfg(not(feature = "cuda"))]
pub(super) fn cards() -> Vec<DeviceName> {
    Vec::new()
}

#[cfg(not(feature = "cuda"))]
pub(super) fn equal(_wanted: &[DeviceName]) -> Option<Vec<(DeviceName, Device)>> {
    None
}

/// The device that a name means; no other is opened.
pub(super) fn named(wanted: DeviceName) -> Option<Candidate> {
    let first = |index: Option<usize>| Some(index.unwrap_or(0));
    let list = match wanted {
        DeviceName::Cuda(index) => cuda(first(index)),
        DeviceName::Vulkan(index) => vulkan(first(index)),
        DeviceName::Wgpu(index) => wgpu(first(index)),
        DeviceName::Gl => gl(),
        DeviceName::Auto | DeviceName::Cpu => vec![cpu()],
    };
    list.into_iter().next()
}
