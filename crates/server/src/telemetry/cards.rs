//! NVIDIA's cards as their driver tells of them (NVML). The library is looked for when the program runs; without it there are
//! no cards here, and nothing else changes.

use std::ffi::OsStr;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::{PcieUtilCounter, TemperatureSensor};
use nvml_wrapper::enums::gpm::GpmMetricId;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::gpm::{GpmSample, gpm_metrics_get};

/// Time between two looks. A look at one card's PCI Express counters alone takes the driver 20 ms twice.
const EVERY: Duration = Duration::from_secs(1);
/// The library of Linux' driver, which is there without the toolkit.
const LIBRARY: &str = if cfg!(windows) { "nvml.dll" } else { "libnvidia-ml.so.1" };
/// What performance counters are asked, in the order of [`Counters`].
const COUNTERS: [GpmMetricId; 6] = [
    GpmMetricId::SmUtil,
    GpmMetricId::AnyTensorUtil,
    GpmMetricId::PcieRxPerSec,
    GpmMetricId::PcieTxPerSec,
    GpmMetricId::NvlinkTotalRxPerSec,
    GpmMetricId::NvlinkTotalTxPerSec,
];

/// A card at one moment. What its driver does not tell is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Card {
    /// Its number, by the driver's order.
    pub index: u32,
    /// Its identity, `GPU-…`.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// Share of the last moments in which any kernel ran, 0 to 1.
    pub utilization: Option<f64>,
    /// Share of the multiprocessors that had work, 0 to 1 (Hopper and later).
    pub sm_activity: Option<f64>,
    /// Share of the time that tensor units worked, 0 to 1 (Hopper and later).
    pub tensor_activity: Option<f64>,
    /// Memory in use, in bytes.
    pub memory_used: Option<u64>,
    /// Memory that there is, in bytes.
    pub memory_size: Option<u64>,
    /// Power that is drawn, in W.
    pub power: Option<f64>,
    /// Power that may be drawn, in W.
    pub power_limit: Option<f64>,
    /// Energy since the driver was loaded, in J.
    pub energy: Option<f64>,
    /// Temperature of the chip, in °C.
    pub temperature: Option<f64>,
    /// What goes over PCI Express, in bytes a second: received by the card, sent by it.
    pub pcie: Option<[f64; 2]>,
    /// What goes over all links of NVLink, in bytes a second: received, sent.
    pub nvlink: Option<[f64; 2]>,
}

/// All cards, looked at once a second by a thread of its own.
#[derive(Clone, Debug)]
pub struct Cards {
    latest: Arc<Mutex<Vec<Card>>>,
    /// The thread ends when the last of these is gone.
    _watching: Sender<()>,
}

impl Cards {
    /// Looks for the driver's library; none if it is not here, or has no card.
    #[must_use]
    pub fn open() -> Option<Self> {
        Self::open_library(OsStr::new(LIBRARY)).ok()
    }

    /// Loads a library of this interface.
    ///
    /// # Errors
    ///
    /// [`NvmlError`] if it cannot be loaded, or has no card.
    pub fn open_library(path: &OsStr) -> Result<Self, NvmlError> {
        let nvml = Nvml::builder().lib_path(path).init()?;
        if nvml.device_count()? == 0 {
            return Err(NvmlError::NotFound);
        }
        // Samples of performance counters borrow the library for as long as the thread runs, which is the process.
        let nvml: &'static Nvml = Box::leak(Box::new(nvml));
        let mut watch = Watch::default();
        // PCI Express' counters would keep who opens this waiting.
        let latest = Arc::new(Mutex::new(watch.look(nvml, false)));
        let (sender, receiver) = mpsc::channel::<()>();
        let kept = latest.clone();
        std::thread::spawn(move || {
            while receiver.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                let cards = watch.look(nvml, true);
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = cards;
            }
        });
        Ok(Self { latest, _watching: sender })
    }

    /// The cards as they were a moment ago.
    #[must_use]
    pub fn now(&self) -> Vec<Card> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Performance counters between two looks.
#[derive(Clone, Copy, Debug, Default)]
struct Counters([Option<f64>; COUNTERS.len()]);

impl Counters {
    /// A share of a value in per cent.
    fn share(&self, index: usize) -> Option<f64> {
        Some(self.0[index]? / 100.0)
    }

    /// Two rates, which come in MiB a second.
    fn rates(&self, index: usize) -> Option<[f64; 2]> {
        const MIB: f64 = 1024.0 * 1024.0;
        Some([self.0[index]? * MIB, self.0[index + 1]? * MIB])
    }
}

/// What was sampled of each card the last time.
#[derive(Default)]
struct Watch {
    before: Vec<Option<GpmSample<'static>>>,
}

impl Watch {
    fn look(&mut self, nvml: &'static Nvml, slow: bool) -> Vec<Card> {
        let count = nvml.device_count().unwrap_or(0);
        self.before.resize_with(count as usize, || None);
        (0..count).filter_map(|index| self.card(nvml, index, slow)).collect()
    }

    fn card(&mut self, nvml: &'static Nvml, index: u32, slow: bool) -> Option<Card> {
        let device = nvml.device_by_index(index).ok()?;
        let counters = self.counters(nvml, &device, index as usize);
        let memory = device.memory_info().ok();
        let milli = |value: Result<u32, NvmlError>| value.ok().map(|v| 1e-3 * f64::from(v));
        // In KiB a second over 20 ms, for cards without performance counters.
        let pcie = |counter| {
            let rate = slow.then(|| device.pcie_throughput(counter).ok()).flatten();
            rate.map(|rate| 1024.0 * f64::from(rate))
        };
        let polled = || Some([pcie(PcieUtilCounter::Receive)?, pcie(PcieUtilCounter::Send)?]);
        Some(Card {
            index,
            uuid: device.uuid().ok()?,
            name: device.name().unwrap_or_default(),
            utilization: device.utilization_rates().ok().map(|u| f64::from(u.gpu) / 100.0),
            sm_activity: counters.share(0),
            tensor_activity: counters.share(1),
            memory_used: memory.as_ref().map(|memory| memory.used),
            memory_size: memory.as_ref().map(|memory| memory.total),
            power: milli(device.power_usage()),
            power_limit: milli(device.enforced_power_limit()),
            energy: device.total_energy_consumption().ok().map(|mj| 1e-3 * mj as f64),
            temperature: device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
            pcie: counters.rates(2).or_else(polled),
            nvlink: counters.rates(4),
        })
    }

    /// What happened since the last look; nothing on cards without performance counters.
    fn counters(
        &mut self,
        nvml: &'static Nvml,
        device: &nvml_wrapper::Device<'static>,
        index: usize,
    ) -> Counters {
        let sample = match device.gpm_support() {
            Ok(true) => device.gpm_sample().ok(),
            _ => None,
        };
        let before = std::mem::replace(&mut self.before[index], sample);
        let (Some(before), Some(now)) = (before, &self.before[index]) else {
            return Counters::default();
        };
        let Ok(found) = gpm_metrics_get(nvml, &before, now, &COUNTERS) else {
            return Counters::default();
        };
        let value = |i: usize| Some(found.get(i)?.as_ref().ok()?.value).filter(|v| v.is_finite());
        Counters(std::array::from_fn(value))
    }
}
