//! The scheduler as the rest of the server uses it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::bench::{self, refuse};
use super::call::{Call, Urgency};
use super::catalog::{Catalog, Entry, Readiness, VersionState};
use super::hub::{Arrival, Denied, Hub};
use super::place::{Condition, Place};
use super::refusal::{Reason, Refusal};
use super::shared::{Shared, Terms};
use super::snapshot::{DeviceSnapshot, DeviceState, ModelSnapshot, Snapshot};
use super::ticket::Ticket;
use super::worker::{Command, Worker};
use crate::model::{Device, Model, Request, Signature};

/// How often devices that hang are looked for.
const WATCH: Duration = Duration::from_millis(200);

/// One queue for all devices. A clone is another handle to the same.
///
/// When the last handle and ticket is gone, devices finish what waits and end.
#[derive(Clone)]
pub struct Scheduler {
    shared: Arc<Shared>,
    _closer: Arc<Closer>,
}

/// Closes the queue when the last handle is gone.
struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.hub.close();
    }
}

impl Scheduler {
    /// Starts a thread for each device, without a model yet.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started.
    pub fn start(devices: Vec<Device>, terms: Terms) -> std::io::Result<Self> {
        let names = devices.iter().map(|device| device.name.clone()).collect();
        let shared = Arc::new(Shared {
            hub: Hub::new(names, terms.capacity),
            workers: devices.into_iter().map(Worker::new).collect(),
            settled: Notify::new(),
            catalog: Catalog::default(),
            refused: Mutex::default(),
            terms,
            threads: AtomicUsize::new(0),
            ended: Notify::new(),
        });
        let closer = Arc::new(Closer(shared.clone()));
        for index in 0..shared.workers.len() {
            start_device(index, &shared)?;
        }
        let watched = Arc::downgrade(&shared);
        thread::Builder::new().name("watch".into()).spawn(move || watch(&watched))?;
        Ok(Self { shared, _closer: closer })
    }

    /// Has all devices load a model, at the same time. `false` if it serves this version already.
    pub fn add(&self, model: Arc<dyn Model>) -> bool {
        let Some(entry) = self.shared.catalog.add(model) else { return false };
        let devices = self.devices_for(&entry);
        devices.iter().for_each(|&device| entry.expect(device));
        devices.into_iter().for_each(|device| self.send_load(device, &entry));
        true
    }

    /// Has devices load a model one after the other, so that the others go on meanwhile; returns when all have tried. `false` if
    /// this version is served already. Requests without a version go to the newest that is ready.
    pub async fn load(&self, model: Arc<dyn Model>) -> bool {
        let Some(entry) = self.shared.catalog.add(model) else { return false };
        let devices = self.devices_for(&entry);
        devices.iter().for_each(|&device| entry.expect(device));
        for device in devices {
            self.send_load(device, &entry);
            entry.settled(Some(device)).await;
        }
        true
    }

    /// Takes a version out of service; returns when what waited for it is done. `false` if there is none such.
    pub async fn unload(&self, name: &str, version: u64) -> bool {
        let Some(entry) = self.shared.catalog.find(name, Some(version), |_| true) else {
            return false;
        };
        entry.retiring.store(true, Ordering::Relaxed);
        while self.shared.hub.lock().has_work(entry.id) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for device in self.devices_for(&entry) {
            entry.expect(device);
            if !self.shared.hub.command(device, Command::Unload(entry.clone())) {
                entry.settle(device, None);
            }
        }
        entry.settled(None).await;
        self.shared.hub.lock().queue.forget(entry.id);
        self.shared.catalog.remove(&entry);
        true
    }

    fn devices_for(&self, entry: &Entry) -> Vec<usize> {
        let workers = self.shared.workers.iter().enumerate();
        workers
            .filter(|(_, worker)| entry.model.runs_on(&worker.device))
            .map(|(at, _)| at)
            .collect()
    }

    fn send_load(&self, device: usize, entry: &Arc<Entry>) {
        if !self.shared.hub.command(device, Command::Load(entry.clone())) {
            entry.settle(device, Some("device lost".into()));
        }
    }

    /// Returns when no device loads a model any more.
    pub async fn settled(&self) {
        for entry in self.shared.catalog.all() {
            entry.settled(None).await;
        }
    }

    /// A version of a model, or the newest that is ready.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unknown`].
    pub fn model(&self, name: &str, version: Option<u64>) -> Result<Arc<dyn Model>, Refusal> {
        self.find(name, version).map(|entry| entry.model.clone())
    }

    fn find(&self, name: &str, version: Option<u64>) -> Result<Arc<Entry>, Refusal> {
        let ready = |entry: &Entry| self.state_of(entry) == VersionState::Ready;
        self.shared.catalog.find(name, version, ready).ok_or_else(|| {
            let version = version.map(|version| format!(" version {version}")).unwrap_or_default();
            Refusal::Unknown(format!("'{name}'{version}"))
        })
    }

    /// Sends a request to a version of a model, or the newest that is ready.
    ///
    /// # Errors
    ///
    /// [`Refusal`], which is counted.
    pub fn submit(
        &self,
        name: &str,
        version: Option<u64>,
        request: Request,
        urgency: Urgency,
    ) -> Result<Ticket, Refusal> {
        let entry = self.find(name, version).inspect_err(|refusal| self.count(refusal.reason()))?;
        self.admit(&entry, request, urgency).inspect_err(|refusal| {
            entry.count(|counts| counts.refused(refusal.reason(), Duration::ZERO));
        })
    }

    fn admit(
        &self,
        entry: &Arc<Entry>,
        request: Request,
        urgency: Urgency,
    ) -> Result<Ticket, Refusal> {
        let signature = entry.model.signature();
        signature.check(&request)?;
        if entry.retiring.load(Ordering::Relaxed) {
            return Err(self.not_ready(entry));
        }
        let (items, pixels) = (signature.items(&request), request.pixels());
        let deadline = urgency.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let (what, receipt) = Call::new(entry.clone(), request);
        let arrival = Arrival { priority: urgency.priority, deadline, items, pixels, what };
        let turn = self.shared.hub.submit(arrival).map_err(|denied| match denied {
            Denied::Closing => Refusal::Stopping,
            Denied::Full(waiting) => Refusal::QueueFull(waiting),
            Denied::Nobody => self.not_ready(entry),
            Denied::TooLarge(most) => self.too_large(signature, pixels, most),
        })?;
        Ok(Ticket::new(receipt, turn, deadline, self.shared.clone()))
    }

    fn too_large(&self, signature: &Signature, came: usize, most: usize) -> Refusal {
        Refusal::TooLarge { model: signature.name.clone(), came, most }
    }

    fn not_ready(&self, entry: &Entry) -> Refusal {
        let why = match self.state_of(entry) {
            VersionState::Loading => "devices still load it".into(),
            VersionState::Ready => return Refusal::NoDevice(entry.name().into()),
            VersionState::Unloading => "it is being taken out of service".into(),
            VersionState::Unavailable(why) => why,
        };
        Refusal::NotReady { model: entry.name().into(), why }
    }

    /// What a version is at, or the newest that is ready.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unknown`].
    pub fn state(&self, name: &str, version: Option<u64>) -> Result<VersionState, Refusal> {
        self.find(name, version).map(|entry| self.state_of(&entry))
    }

    fn state_of(&self, entry: &Entry) -> VersionState {
        let served = self.shared.hub.lock().most(entry.id).is_some();
        if entry.retiring.load(Ordering::Relaxed) {
            VersionState::Unloading
        } else if served {
            VersionState::Ready
        } else if entry.is_pending(None) {
            VersionState::Loading
        } else {
            VersionState::Unavailable(self.why_unavailable(entry))
        }
    }

    fn why_unavailable(&self, entry: &Entry) -> String {
        let name = |at: usize| self.shared.workers[at].device.name.as_str();
        let mut problems = entry.problems();
        for (at, place) in self.shared.hub.lock().places.iter().enumerate() {
            if let Condition::Gone(why) = &place.condition {
                problems.entry(at).or_insert_with(|| why.clone());
            }
        }
        let said = problems.into_iter().map(|(at, why)| format!("{}: {why}", name(at)));
        let said: Vec<String> = said.collect();
        if said.is_empty() { "no device runs it".into() } else { said.join("; ") }
    }

    /// Whether requests are answered.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let entries = self.shared.catalog.all();
        if self.shared.hub.lock().closing {
            return Readiness::Stopping;
        }
        let states: Vec<_> = entries.iter().map(|entry| (entry, self.state_of(entry))).collect();
        // A version that is loaded beside another one does not make the server unready.
        let served = |name: &str| {
            states
                .iter()
                .any(|(entry, state)| entry.name() == name && *state == VersionState::Ready)
        };
        let unserved = |(entry, state): &&(&Arc<Entry>, VersionState)| {
            *state != VersionState::Ready && !served(entry.name())
        };
        if states.iter().filter(unserved).any(|(_, state)| *state == VersionState::Loading) {
            return Readiness::Starting;
        }
        let failed = states.iter().filter(unserved).filter_map(|(entry, state)| match state {
            VersionState::Unavailable(why) => Some(format!("model '{}': {why}", entry.name())),
            _ => None,
        });
        let failed: Vec<String> = failed.collect();
        if !failed.is_empty() {
            return Readiness::Failed(failed);
        }
        let problems = self.problems(&entries);
        if problems.is_empty() { Readiness::Ready } else { Readiness::Degraded(problems) }
    }

    /// Devices that are gone, and models that a device could not load.
    fn problems(&self, entries: &[Arc<Entry>]) -> Vec<String> {
        let mut said = Vec::new();
        for (place, worker) in self.shared.hub.lock().places.iter().zip(&self.shared.workers) {
            if let Condition::Gone(why) = &place.condition {
                said.push(format!("device {}: {why}", worker.device));
            }
        }
        for entry in entries {
            for (at, why) in entry.problems() {
                let device = &self.shared.workers[at].device;
                said.push(format!("model '{}' on device {device}: {why}", entry.name()));
            }
        }
        said
    }

    /// A request was refused before a model was known.
    pub fn count(&self, reason: Reason) {
        let mut refused = self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(reason).or_default() += 1;
    }

    /// A request to a model was refused before it could be submitted, e.g. because its body cannot be read.
    pub fn count_for(&self, name: &str, version: Option<u64>, reason: Reason) {
        match self.find(name, version) {
            Ok(entry) => entry.count(|counts| counts.refused(reason, Duration::ZERO)),
            Err(_) => self.count(reason),
        }
    }

    /// An answer took so long to be delivered after it was computed, e.g. to be written to shared memory.
    pub fn count_delivery(&self, name: &str, version: u64, took: Duration) {
        if let Ok(entry) = self.find(name, Some(version)) {
            entry.count(|counts| counts.delivered(took));
        }
    }

    /// Everything at this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let models = self.shared.catalog.all();
        let models = models.iter().map(|entry| ModelSnapshot {
            signature: entry.model.signature().clone(),
            state: self.state_of(entry),
            waiting: self.shared.hub.lock().queue.of_model(entry.id),
            counts: entry.counts(),
        });
        let models = models.collect();
        let readiness = self.readiness();
        let state = self.shared.hub.lock();
        let devices = state.places.iter().zip(&self.shared.workers).map(device_snapshot).collect();
        let refused = self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (waiting, capacity) = (state.queue.len(), state.capacity);
        Snapshot { readiness, waiting, capacity, models, devices, refused }
    }

    /// Takes no new work and returns when all that was taken is done: `true`, or `false` if that takes longer than `grace`,
    /// after which what still waits is refused.
    pub async fn stop(&self, grace: Duration) -> bool {
        self.shared.hub.close();
        let ended = async {
            loop {
                let notified = self.shared.ended.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                if self.shared.threads.load(Ordering::SeqCst) == 0 {
                    return;
                }
                notified.await;
            }
        };
        if tokio::time::timeout(grace, ended).await.is_ok() {
            return true;
        }
        let left = self.shared.hub.lock().queue.drain(|_| true);
        left.into_iter().for_each(|job| job.what.refuse(Refusal::Stopping));
        false
    }
}

fn device_snapshot((place, worker): (&Place<Arc<Call>, Command>, &Worker)) -> DeviceSnapshot {
    let state = match &place.condition {
        Condition::Idle(_) => DeviceState::Idle,
        Condition::Busy => DeviceState::Busy,
        Condition::Gone(why) => DeviceState::Lost(why.clone()),
    };
    let running = place.held.iter().map(|held| held.jobs.len()).sum();
    DeviceSnapshot { device: worker.device.clone(), state, running, counts: worker.counts() }
}

/// Threads are detached: one that hangs in a driver cannot be joined, and it must not take the program with it.
fn start_device(index: usize, shared: &Arc<Shared>) -> std::io::Result<()> {
    let theirs = shared.clone();
    shared.threads.fetch_add(1, Ordering::SeqCst);
    let work = move || {
        bench::run(index, &theirs);
        theirs.threads.fetch_sub(1, Ordering::SeqCst);
        theirs.ended.notify_waiters();
    };
    let name = format!("device {}", shared.workers[index].device);
    thread::Builder::new().name(name).spawn(work).map(drop)
}

/// Looks for devices that hang, as long as there is a scheduler.
fn watch(shared: &Weak<Shared>) {
    let mut last = Instant::now();
    loop {
        thread::sleep(WATCH);
        let Some(shared) = shared.upgrade() else { return };
        if shared.threads.load(Ordering::SeqCst) == 0 {
            return;
        }
        // Of a time in which the whole process was stopped, only a little counts.
        let passed = last.elapsed().min(2 * WATCH);
        last = Instant::now();
        refuse(shared.hub.pass(passed, |batch| shared.terms.patience(batch)));
    }
}
