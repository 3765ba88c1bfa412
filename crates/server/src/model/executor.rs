//! A model on a device.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::device::Device;
use super::fault::Fault;
use super::request::Request;
use super::signature::Signature;
use crate::tensor::Tensor;

/// A model that is served, of one version.
pub trait Model: Send + Sync {
    /// What clients have to know of it.
    fn signature(&self) -> &Signature;

    /// Whether it can run there at all.
    fn runs_on(&self, device: &Device) -> bool {
        let _ = device;
        true
    }

    /// Brings it to a device. Called on the device's own thread, which what is returned never leaves.
    ///
    /// # Errors
    ///
    /// [`Fault`] if the device cannot have it.
    fn executor(&self, device: &Device) -> Result<Box<dyn Executor>, Fault>;
}

/// A model on a device.
pub trait Executor {
    /// Most pixels that the device holds, all items of all batches that it computes at once, as a trial of its memory found them. A single
    /// item may have as many.
    fn pixels(&self) -> usize;

    /// Batches that it computes at once: while one waits for its device, the others' work goes on there. Each has a like share of
    /// [`Executor::pixels`].
    fn hands(&self) -> usize {
        1
    }

    /// Computes once, so that what is compiled at first use is compiled before the first client waits.
    ///
    /// # Errors
    ///
    /// [`Fault`] if it cannot.
    fn warm_up(&mut self) -> Result<(), Fault>;

    /// Lays a batch out for the device. It may be called while the last batch computes.
    ///
    /// # Errors
    ///
    /// [`Fault`] if it cannot.
    fn prepare(&mut self, batch: &Batch) -> Result<Box<dyn Work>, Fault>;
}

/// A batch on its way through a device. No more are launched and not finished than the executor has hands.
pub trait Work {
    /// Starts computing without waiting for it, if the device computes on its own.
    ///
    /// # Errors
    ///
    /// [`Fault`] if it cannot.
    fn launch(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    /// Waits at most so long for the batch, and says whether there is nothing more to wait for. Where `launch` does nothing, there is not.
    fn settles_within(&mut self, time: Duration) -> bool {
        let _ = time;
        true
    }

    /// Returns when the batch is computed; where `launch` does nothing, it is computed here.
    ///
    /// # Errors
    ///
    /// [`Fault`] if it was not.
    fn finish(&mut self) -> Result<(), Fault>;

    /// Brings the answers back, one for each request in order.
    ///
    /// # Errors
    ///
    /// [`Fault`] if it cannot.
    fn collect(self: Box<Self>) -> Result<Vec<Answer>, Fault>;
}

/// Tensors for a request's outputs: in its order, of its datatypes.
pub type Answer = Vec<Tensor>;

/// Requests that are computed together: of one model, of equal shapes (but for the number of items) and parameters.
pub struct Batch {
    /// The requests.
    pub requests: Vec<Arc<Request>>,
    /// Whether anybody waits for them.
    pub stop: Stop,
}

impl Batch {
    /// Pixels of all its requests.
    #[must_use]
    pub fn pixels(&self) -> usize {
        self.requests.iter().map(|request| request.pixels()).sum()
    }
}

/// The word to leave a batch undone.
#[derive(Clone, Default)]
pub struct Stop(Vec<Arc<AtomicBool>>);

impl Stop {
    /// Stops when all of these are set; never if there are none.
    #[must_use]
    pub fn when_all(gone: Vec<Arc<AtomicBool>>) -> Self {
        Self(gone)
    }

    /// Whether nobody waits for the batch any more.
    #[must_use]
    pub fn asked(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|gone| gone.load(Ordering::Relaxed))
    }
}
