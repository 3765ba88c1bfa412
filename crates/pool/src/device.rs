//! Names of devices, what is here, and the choice among it.
//!
//! Order of preference: CUDA, then a discrete, an integrated and a virtual GPU through Vulkan (or
//! what wgpu finds: Metal, DX12), then the CPU. Software rasterisers are slower than the CPU backend
//! and are used only by name.

#[cfg(feature = "wgpu")]
use burn::backend::WgpuBackend;
use burn::tensor::Device;
#[cfg(feature = "gpu")]
use burn::tensor::DeviceType;

#[cfg(feature = "cuda")]
use crate::stack;
use crate::{cache, smoke};

/// A device as a user names it: `auto`, `cuda`, `cuda:1`, `vulkan`, `vulkan:0`, `wgpu`, `gl`, `cpu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// The best one that works.
    Auto,
    /// An NVIDIA card through CUDA, by index.
    Cuda(Option<usize>),
    /// A card through Vulkan, by index.
    Vulkan(Option<usize>),
    /// A card through whatever graphics API wgpu prefers here.
    Wgpu(Option<usize>),
    /// OpenGL: slow, for machines whose Vulkan driver fails.
    Gl,
    /// The CPU.
    Cpu,
}

impl std::str::FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no device: expected auto, cuda, cuda:N, vulkan, vulkan:N, wgpu, gl or cpu"
            )
        };
        let (family, index) = match text.split_once(':') {
            Some((family, index)) => (family, Some(index.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        match (family, index) {
            ("auto", None) => Ok(Self::Auto),
            ("cuda", index) => Ok(Self::Cuda(index)),
            ("vulkan", index) => Ok(Self::Vulkan(index)),
            ("wgpu", index) => Ok(Self::Wgpu(index)),
            ("gl", None) => Ok(Self::Gl),
            ("cpu", None) => Ok(Self::Cpu),
            _ => Err(wrong()),
        }
    }
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbered = |family: &str, index: &Option<usize>| match index {
            Some(index) => format!("{family}:{index}"),
            None => family.to_string(),
        };
        f.write_str(&match self {
            Self::Auto => "auto".to_string(),
            Self::Cuda(index) => numbered("cuda", index),
            Self::Vulkan(index) => numbered("vulkan", index),
            Self::Wgpu(index) => numbered("wgpu", index),
            Self::Gl => "gl".to_string(),
            Self::Cpu => "cpu".to_string(),
        })
    }
}

/// Sorts of device, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// NVIDIA through CUDA.
    Cuda,
    /// A card of its own.
    Discrete,
    /// Part of the processor.
    Integrated,
    /// A share of another machine's card, or one whose sort is not told.
    Virtual,
    /// Burn's CPU backend.
    Cpu,
    /// A graphics driver that computes on the CPU.
    Software,
}

impl Kind {
    /// As a user would say it.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Cuda => "NVIDIA GPU through CUDA",
            Self::Discrete => "discrete GPU",
            Self::Integrated => "integrated GPU",
            Self::Virtual => "GPU",
            Self::Cpu => "CPU",
            Self::Software => "software rasteriser",
        }
    }
}

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

/// A device that was chosen, and why.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Its name, e.g. `cuda:0`.
    pub name: String,
    /// The card's own name.
    pub card: String,
    /// Why it and no better one.
    pub reason: String,
    /// The device.
    pub device: Device,
}

/// Why no device could be chosen.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DeviceError {
    /// There is no such device.
    #[error(
        "no device {wanted}: this machine has {found}. Run `lithoburn devices` to see what is missing"
    )]
    Missing {
        /// The name asked for.
        wanted: String,
        /// What is here.
        found: String,
    },
    /// The device is there but does not compute.
    #[error("device {name} ({card}) failed its test: {reason}. Run `lithoburn devices` for help")]
    Broken {
        /// Its name.
        name: String,
        /// The card.
        card: String,
        /// What happened.
        reason: String,
    },
}

/// Every device that this machine offers, best first. Nothing is tested.
pub fn survey() -> Vec<Candidate> {
    cache::prepare();
    let mut found = cuda();
    found.extend(vulkan());
    // Where Vulkan is missing (macOS, a GL-only machine) wgpu may know another API.
    if found.is_empty() {
        found.extend(wgpu());
    }
    found.push(cpu());
    found.sort_by_key(|candidate| candidate.kind);
    found
}

/// The CPU, which is always here.
fn cpu() -> Candidate {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let card = format!("{threads} threads");
    Candidate { name: DeviceName::Cpu, kind: Kind::Cpu, card, device: Device::flex() }
}

/// What the families offer that this program was built with.
#[cfg(feature = "cuda")]
fn cuda() -> Vec<Candidate> {
    family(DeviceType::Cuda, DeviceName::Cuda)
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Vec<Candidate> {
    Vec::new()
}

#[cfg(feature = "wgpu")]
fn vulkan() -> Vec<Candidate> {
    family(DeviceType::Vulkan, DeviceName::Vulkan)
}

#[cfg(feature = "wgpu")]
fn wgpu() -> Vec<Candidate> {
    family(DeviceType::Wgpu, DeviceName::Wgpu)
}

/// OpenGL's device, if there is one.
#[cfg(feature = "wgpu")]
fn gl() -> Vec<Candidate> {
    let open = || Device::wgpu_options().graphics_api(WgpuBackend::Gl).init().ok();
    let device = smoke::guarded(open).ok().flatten();
    device.into_iter().map(|device| candidate(DeviceName::Gl, device)).collect()
}

#[cfg(not(feature = "wgpu"))]
use no_graphics::{gl, vulkan, wgpu};

#[cfg(not(feature = "wgpu"))]
mod no_graphics {
    use super::Candidate;

    pub(super) fn vulkan() -> Vec<Candidate> {
        Vec::new()
    }

    pub(super) fn wgpu() -> Vec<Candidate> {
        Vec::new()
    }

    pub(super) fn gl() -> Vec<Candidate> {
        Vec::new()
    }
}

/// The devices of one family. A driver that fails to load offers none.
#[cfg(feature = "gpu")]
fn family(device_type: DeviceType, name: fn(Option<usize>) -> DeviceName) -> Vec<Candidate> {
    let list =
        smoke::guarded(move || Device::enumerate(device_type).into_vec()).unwrap_or_default();
    let numbered = |(index, device)| candidate(name(Some(index)), device);
    list.into_iter().enumerate().map(numbered).collect()
}

#[cfg(feature = "gpu")]
fn candidate(name: DeviceName, device: Device) -> Candidate {
    let opened = device.clone();
    let identity =
        smoke::guarded(move || opened.identity().map(|i| (i.name, i.physical.is_some())));
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

/// Chooses a device and tests it.
///
/// # Errors
///
/// [`DeviceError::Missing`] if a device asked for by name is not here, [`DeviceError::Broken`] if it
/// fails its test. `auto` does not fail: the CPU is last.
pub fn choose(wanted: DeviceName) -> Result<Chosen, DeviceError> {
    cache::prepare();
    match wanted {
        DeviceName::Cpu => Ok(chosen(cpu(), "asked for".into())),
        DeviceName::Auto => Ok(best(survey())),
        named => by_name(named),
    }
}

/// Every GPU that works, of the best family that has one; the CPU where there is none.
pub fn choose_all() -> Vec<Chosen> {
    cache::prepare();
    let found: Vec<Candidate> =
        survey().into_iter().filter(|c| !matches!(c.kind, Kind::Cpu | Kind::Software)).collect();
    // One card is seen by CUDA and by Vulkan; it shall not be used twice.
    let cuda = found.iter().any(|c| c.kind == Kind::Cuda);
    let ours = found.into_iter().filter(|c| !cuda || c.kind == Kind::Cuda);
    let works = |c: Candidate| check(&c).is_ok().then(|| chosen(c, "one of all GPUs".into()));
    let working: Vec<Chosen> = ours.filter_map(works).collect();
    match working.is_empty() {
        true => vec![chosen(cpu(), "no GPU works".into())],
        false => working,
    }
}

/// The candidates that a name could mean, and which of them it does.
fn named(wanted: DeviceName) -> Option<Candidate> {
    let (list, index) = match wanted {
        DeviceName::Cuda(index) => (cuda(), index),
        DeviceName::Vulkan(index) => (vulkan(), index),
        DeviceName::Wgpu(index) => (wgpu(), index),
        DeviceName::Gl => (gl(), None),
        DeviceName::Auto | DeviceName::Cpu => (vec![cpu()], None),
    };
    list.into_iter().nth(index.unwrap_or(0))
}

/// Tests a named device in this process.
pub(crate) fn probe(wanted: DeviceName) -> Result<(), String> {
    cache::prepare();
    let candidate = named(wanted).ok_or("it is not here")?;
    let device = candidate.device.clone();
    smoke::guarded(move || cache::activate(&device))?;
    smoke::test(&candidate.device)
}

fn chosen(candidate: Candidate, reason: String) -> Chosen {
    Chosen {
        name: candidate.name.to_string(),
        card: candidate.card,
        reason,
        device: candidate.device,
    }
}

/// What to say of a device whose family this program was built without.
fn left_out(wanted: DeviceName) -> &'static str {
    match wanted {
        DeviceName::Cuda(_) if !cfg!(feature = "cuda") => {
            ", and the program was built without CUDA (feature `cuda`)"
        }
        DeviceName::Vulkan(_) | DeviceName::Wgpu(_) | DeviceName::Gl if !cfg!(feature = "wgpu") => {
            ", and the program was built without graphics APIs (feature `wgpu`)"
        }
        _ => "",
    }
}

fn by_name(wanted: DeviceName) -> Result<Chosen, DeviceError> {
    let missing = || {
        let names: Vec<String> =
            survey().iter().map(|c| format!("{} ({})", c.name, c.card)).collect();
        let found = format!("{}{}", names.join(", "), left_out(wanted));
        DeviceError::Missing { wanted: wanted.to_string(), found }
    };
    let candidate = named(wanted).ok_or_else(missing)?;
    check(&candidate).map_err(|reason| DeviceError::Broken {
        name: candidate.name.to_string(),
        card: candidate.card.clone(),
        reason,
    })?;
    Ok(chosen(candidate, "asked for".into()))
}

/// Tests a candidate with its own kernel cache.
///
/// Graphics drivers are tested in a process of their own: some crash on valid work, and that cannot
/// be caught. CUDA reports its failures.
fn check(candidate: &Candidate) -> Result<(), String> {
    let device = candidate.device.clone();
    smoke::guarded(move || cache::activate(&device))?;
    #[cfg(feature = "cuda")]
    if let DeviceName::Cuda(card) = candidate.name {
        stack::shrink(card.unwrap_or(0));
    }
    match candidate.kind {
        Kind::Cuda | Kind::Cpu => smoke::test(&candidate.device),
        _ => smoke::test_apart(candidate.name, &candidate.device),
    }
}

/// The first candidate that passes its test; the CPU always does.
fn best(list: Vec<Candidate>) -> Chosen {
    let mut passed_over = Vec::new();
    for candidate in list.into_iter().filter(|c| c.kind != Kind::Software) {
        if candidate.kind == Kind::Cpu {
            break;
        }
        match check(&candidate) {
            Ok(()) => {
                let reason = format!("best that works: {}", candidate.kind.describe());
                return chosen(candidate, with_rejects(reason, &passed_over));
            }
            Err(reason) => {
                passed_over.push(format!("{} failed its test: {reason}", candidate.name))
            }
        }
    }
    let why = if passed_over.is_empty() { "no GPU was found" } else { "no GPU works" };
    chosen(cpu(), with_rejects(why.to_string(), &passed_over))
}

fn with_rejects(reason: String, passed_over: &[String]) -> String {
    match passed_over {
        [] => reason,
        list => format!("{reason} ({})", list.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for text in ["auto", "cuda", "cuda:3", "vulkan", "vulkan:1", "wgpu", "gl", "cpu"] {
            assert_eq!(text.parse::<DeviceName>().map(|d| d.to_string()), Ok(text.to_string()));
        }
        for text in ["", "gpu", "cuda:x", "cuda:", "cpu:1", "auto:0"] {
            assert!(text.parse::<DeviceName>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_card_that_is_not_here_is_missing() {
        let error =
            choose(DeviceName::Cuda(Some(99))).expect_err("nobody has 100 cards").to_string();
        assert!(error.contains("cuda:99") && error.contains("cpu"), "{error}");
    }

    #[test]
    fn there_is_always_a_device() {
        assert!(survey().iter().any(|candidate| candidate.kind == Kind::Cpu));
        assert_eq!(choose(DeviceName::Cpu).map(|chosen| chosen.name), Ok("cpu".to_string()));
    }
}
