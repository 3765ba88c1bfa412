//! The one who answers: the scheduler behind the protocol.

use std::time::{Duration, Instant};

use super::inference::{Inference, Outcome, Resolved};
use super::problem::Problem;
use super::regions::Regions;
use crate::model::{Parameter, Parameters};
use crate::schedule::{Scheduler, Urgency};

/// What clients are told of the server, and what it takes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Most bytes of a request's body, also after it is decompressed.
    pub body_limit: usize,
    /// Whether clients on this machine may use shared memory.
    pub shared_memory: bool,
    /// Most a request may wait if it does not say; as long as it takes if there is none.
    pub timeout: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "lithoburn".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            body_limit: 256 << 20,
            shared_memory: true,
            timeout: None,
        }
    }
}

/// Answers the protocol.
pub struct Service {
    /// Who computes.
    pub scheduler: Scheduler,
    /// Shared memory.
    pub regions: Regions,
    /// What clients are told.
    pub settings: Settings,
}

impl Service {
    /// A service of this scheduler.
    #[must_use]
    pub fn new(scheduler: Scheduler, settings: Settings) -> Self {
        Self { scheduler, regions: Regions::new(settings.shared_memory), settings }
    }

    /// Answers a request. It is withdrawn if this is dropped.
    ///
    /// # Errors
    ///
    /// [`Problem`], which is counted.
    pub async fn infer(&self, inference: Inference) -> Result<Outcome, Problem> {
        let (model, version) = (inference.model.clone(), inference.version);
        self.answer(inference).await.map_err(|problem| self.counted(&model, version, problem))
    }

    /// Counts a problem that the scheduler has not seen.
    pub fn counted(&self, model: &str, version: Option<u64>, problem: Problem) -> Problem {
        if !problem.counted {
            self.scheduler.count_for(model, version, problem.reason());
        }
        Problem { counted: true, ..problem }
    }

    async fn answer(&self, mut inference: Inference) -> Result<Outcome, Problem> {
        let mut urgency = self.urgency(&mut inference.parameters)?;
        urgency.timeout = urgency.timeout.into_iter().chain(inference.timeout).min();
        let (name, id) = (inference.model.clone(), std::mem::take(&mut inference.id));
        let asked = inference.version;
        let model = self.scheduler.model(&name, asked).map_err(|refusal| {
            // Nobody has counted it yet.
            Problem { counted: false, ..refusal.into() }
        })?;
        let Resolved { request, sinks } = inference.resolve(model.signature(), &self.regions)?;
        let ticket = self.scheduler.submit(&name, asked, request, urgency)?;
        let answered = ticket.answer().await?;
        let (version, start) = (answered.version, Instant::now());
        let shared = sinks.iter().any(|sink| sink.shared.is_some());
        let outputs = sinks.into_iter().zip(answered.outputs);
        let outputs =
            outputs.map(|(sink, tensor)| sink.deliver(tensor)).collect::<Result<_, _>>()?;
        if shared {
            self.scheduler.count_delivery(&name, version, start.elapsed());
        }
        Ok(Outcome { model: name, version, id, outputs })
    }

    /// How urgent a request is, by Triton's parameters: `priority`, 0 being the default, and 1 the highest, and `timeout` in microseconds.
    fn urgency(&self, parameters: &mut Parameters) -> Result<Urgency, Problem> {
        let mut number = |name: &str| match parameters.remove(name) {
            None => Ok(None),
            Some(Parameter::Int(n)) => u64::try_from(n).map(Some).map_err(|_| n.to_string()),
            Some(other) => Err(format!("{other:?}")),
        };
        let said = |name: &str, came: String| {
            Problem::invalid(format!(
                "parameter '{name}' must be a whole number from 0 on, got {came}"
            ))
        };
        let priority = number("priority").map_err(|came| said("priority", came))?;
        let timeout = number("timeout").map_err(|came| said("timeout", came))?;
        let timeout = timeout.filter(|&us| us > 0).map(Duration::from_micros);
        Ok(Urgency {
            priority: priority
                .filter(|&n| n > 0)
                .map_or(USUAL, |n| u32::try_from(n).unwrap_or(u32::MAX)),
            timeout: timeout.or(self.settings.timeout),
        })
    }
}

/// The priority of a request that says none: in the middle.
const USUAL: u32 = 1 << 16;
