//! Names of devices, what is here, and the choice among it.
//!
//! Order of preference: CUDA, then a discrete, an integrated and a virtual GPU through Vulkan (or
//! what wgpu finds: Metal, DX12), then the CPU. Software rasterisers are slower than the CPU backend
//! and are used only by name.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::Device;
use tracing::info_span;

use self::apart::Test;
pub use self::apart::{answer_probes, end_at_once};
use self::at_once::at_once;
pub use self::graphics::{has_used_graphics, prepare_graphics};
use self::guard::{PATIENCE, guarded};
pub use self::identity::identity;
use self::late::Opening;
pub use self::name::{DeviceName, Kind};
pub use self::survey::{Candidate, survey};
use self::survey::{by_preference, cards, cpu, cuda, equal, named};
pub use self::visible::hide_other_cards;

mod apart;
mod at_once;
pub mod cache;
#[cfg(feature = "gpu")]
mod context;
mod graphics;
mod guard;
mod identity;
pub mod kernel_times;
mod late;
pub mod memory;
mod name;
mod self_test;
mod survey;
mod visible;

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
    /// Of a card that is still being opened.
    pub opening: Option<Opening>,
}

impl Chosen {
    /// Waits until the device is opened and tested. Nobody touches one before.
    ///
    /// # Errors
    ///
    /// As [`choose`].
    pub fn wait(&self) -> Result<(), DeviceError> {
        self.opening.as_ref().map_or(Ok(()), Opening::wait)
    }

    /// Whether it is opened and works, as far as anybody has [waited](Self::wait) for it.
    pub fn is_there(&self) -> bool {
        self.opening.as_ref().is_none_or(Opening::is_over)
    }
}

/// Why no device could be chosen.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
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
        DeviceName::Auto => Ok(best(by_preference(), check)),
        named => by_name(named),
    }
}

/// Chooses devices by name and tests them, CUDA's cards at the same time.
///
/// # Errors
///
/// As [`choose`], of the first that fails.
pub fn choose_each(wanted: &[DeviceName]) -> Result<Vec<Chosen>, DeviceError> {
    match wanted.iter().all(|name| matches!(name, DeviceName::Cuda(_))) {
        true => {
            cache::prepare();
            at_once(wanted.iter().copied(), choose).into_iter().collect()
        }
        false => wanted.iter().copied().map(choose).collect(),
    }
}

/// As [`choose_each`], but of equal CUDA cards only the first is opened when this returns: who uses another [waits](Chosen::wait) for it.
/// The driver opens one card after the other, and the first need not idle meanwhile.
///
/// # Errors
///
/// As [`choose_each`], but for cards that are there and fail: that is told to who waits for them.
pub fn choose_in_turn(wanted: &[DeviceName]) -> Result<Vec<Chosen>, DeviceError> {
    in_turn(wanted, "asked for").unwrap_or_else(|| choose_each(wanted))
}

/// As [`choose_all`], of equal CUDA cards as [`choose_in_turn`].
pub fn choose_all_in_turn() -> Vec<Chosen> {
    let chosen = in_turn(&cards(), "one of all GPUs").and_then(Result::ok);
    chosen.unwrap_or_else(choose_all)
}

/// The first of equal cards, and those that will come; none if they are no equal cards.
fn in_turn(wanted: &[DeviceName], reason: &str) -> Option<Result<Vec<Chosen>, DeviceError>> {
    cache::prepare();
    let others = equal(wanted)?;
    // Who asks how many cards are at work counts those that come later.
    opened().extend(wanted.iter().filter_map(|name| name.card()));
    let late = |first: Chosen| {
        let late = others.into_iter().map(|(name, device)| {
            let opening = Opening::begin(&name.to_string(), move || by_name(name).map(drop));
            let (name, card, reason) = (name.to_string(), first.card.clone(), reason.to_string());
            Chosen { name, card, reason, device, opening: Some(opening) }
        });
        let late: Vec<Chosen> = late.collect();
        std::iter::once(Chosen { reason: reason.to_string(), ..first }).chain(late).collect()
    };
    Some(choose(wanted[0]).map(late))
}

/// Every GPU that works, of the best family that has one; the CPU where there is none.
pub fn choose_all() -> Vec<Chosen> {
    cache::prepare();
    // One card is seen by CUDA and by Vulkan; it shall not be used twice.
    let cards = cuda(None);
    let tested = |c: Candidate| check(&c).is_ok().then(|| chosen(c, "one of all GPUs".into()));
    let working: Vec<Option<Chosen>> = match cards.is_empty() {
        true => {
            let gpu = |c: &Candidate| !matches!(c.kind, Kind::Cpu | Kind::Software);
            survey().into_iter().filter(gpu).map(tested).collect()
        }
        false => at_once(cards.into_iter(), tested),
    };
    let working: Vec<Chosen> = working.into_iter().flatten().collect();
    match working.is_empty() {
        true => vec![chosen(cpu(), "no GPU works".into())],
        false => working,
    }
}

fn chosen(candidate: Candidate, reason: String) -> Chosen {
    Chosen {
        name: candidate.name.to_string(),
        card: candidate.card,
        reason,
        device: candidate.device,
        opening: None,
    }
}

/// What to say of devices that may be here and were not looked at.
fn left_out(wanted: DeviceName, is_partial: bool) -> &'static str {
    match wanted {
        DeviceName::Cuda(_) if !cfg!(feature = "cuda") => {
            ", and the program was built without CUDA (feature `cuda`)"
        }
        DeviceName::Vulkan(_) | DeviceName::Wgpu(_) | DeviceName::Gl if !cfg!(feature = "wgpu") => {
            ", and the program was built without graphics APIs (feature `wgpu`)"
        }
        // Without a first card there is none.
        DeviceName::Cuda(Some(1..)) if is_partial => ", and perhaps cards that were not asked for",
        _ => "",
    }
}

/// A device by name, untested: for who takes no result from it.
///
/// # Errors
///
/// [`DeviceError::Missing`] if it is not here.
pub fn untested(wanted: DeviceName) -> Result<Chosen, DeviceError> {
    cache::prepare();
    let candidate = found(wanted)?;
    cache::activate(&candidate.device);
    Ok(chosen(candidate, "asked for".into()))
}

fn found(wanted: DeviceName) -> Result<Candidate, DeviceError> {
    let missing = || {
        let names: Vec<String> =
            survey().iter().map(|c| format!("{} ({})", c.name, c.card)).collect();
        let found = format!("{}{}", names.join(", "), left_out(wanted, visible::is_partial()));
        DeviceError::Missing { wanted: wanted.to_string(), found }
    };
    info_span!("find").in_scope(|| named(wanted)).ok_or_else(missing)
}

fn by_name(wanted: DeviceName) -> Result<Chosen, DeviceError> {
    // The test's process opens the device while this one does.
    let test = by_graphics(wanted).then(|| Test::of(wanted)).flatten();
    let candidate = found(wanted)?;
    checked(&candidate, test).map_err(|reason| DeviceError::Broken {
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
    checked(candidate, None)
}

/// The same with a test's process that may be under way.
fn checked(candidate: &Candidate, test: Option<Result<Test, String>>) -> Result<(), String> {
    let device = candidate.device.clone();
    opened().extend(candidate.name.card());
    guarded(move || cache::activate(&device))?;
    let _span = info_span!("smoke test").entered();
    match candidate.kind {
        Kind::Cuda | Kind::Cpu => self_test::test(&candidate.device),
        _ => {
            match test.or_else(|| Test::of(candidate.name)) {
                Some(test) => test?.verdict(PATIENCE),
                // A program that cannot be the test's process.
                None => self_test::test(&candidate.device),
            }?;
            graphics::use_it();
            Ok(())
        }
    }
}

/// Whether a device that is named is a graphics driver's.
fn by_graphics(name: DeviceName) -> bool {
    matches!(name, DeviceName::Vulkan(_) | DeviceName::Wgpu(_) | DeviceName::Gl)
}

/// The CUDA cards that were tested so far, or will be, by their numbers.
fn opened() -> MutexGuard<'static, BTreeSet<usize>> {
    static OPENED: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());
    OPENED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many CUDA cards this process works with: those that were tested so far, before they are given to anybody, and those that are
/// [still being opened](choose_in_turn).
pub fn cards_opened() -> usize {
    opened().len()
}

/// The first candidate that passes its test; the CPU always does. Those after it are not looked at.
fn best(
    candidates: impl Iterator<Item = Candidate>,
    check: impl Fn(&Candidate) -> Result<(), String>,
) -> Chosen {
    let mut passed_over = Vec::new();
    for candidate in candidates.filter(|c| c.kind != Kind::Software) {
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
    fn a_card_that_is_not_here_is_missing() {
        let error =
            choose(DeviceName::Cuda(Some(99))).expect_err("nobody has 100 cards").to_string();
        assert!(error.contains("cuda:99") && error.contains("cpu"), "{error}");
    }

    /// Opening a card takes a while: those after the one that is chosen stay closed.
    #[test]
    fn auto_opens_cards_in_turn_until_one_works() {
        let card = |number: usize| {
            assert!(number < 2, "card {number} was opened");
            Candidate { name: DeviceName::Cuda(Some(number)), kind: Kind::Cuda, ..cpu() }
        };
        let broken = |candidate: &Candidate| match candidate.name {
            DeviceName::Cuda(Some(0)) => Err("no answer".to_string()),
            _ => Ok(()),
        };
        let chosen = best((0..).map(card), broken);
        assert_eq!(chosen.name, "cuda:1");
        assert!(chosen.reason.contains("cuda:0 failed its test: no answer"), "{}", chosen.reason);
    }

    #[test]
    fn what_are_no_equal_cards_is_there_when_it_is_chosen() {
        let cpus = choose_in_turn(&[DeviceName::Cpu; 2]).expect("there is always a CPU");
        assert!(cpus.len() == 2 && cpus.iter().all(|cpu| cpu.is_there() && cpu.wait().is_ok()));
        let error = choose_in_turn(&[98, 99].map(|card| DeviceName::Cuda(Some(card))));
        assert!(matches!(error, Err(DeviceError::Missing { wanted, .. }) if wanted == "cuda:98"));
    }

    #[test]
    fn a_device_may_be_taken_untested_but_not_one_that_is_missing() {
        assert_eq!(untested(DeviceName::Cpu).map(|chosen| chosen.name), Ok("cpu".to_string()));
        assert!(matches!(untested(DeviceName::Cuda(Some(99))), Err(DeviceError::Missing { .. })));
    }

    #[test]
    fn there_is_always_a_device() {
        assert!(survey().iter().any(|candidate| candidate.kind == Kind::Cpu));
        assert_eq!(choose(DeviceName::Cpu).map(|chosen| chosen.name), Ok("cpu".to_string()));
    }
}
