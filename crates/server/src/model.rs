//! What is served: models with their signatures, and executors that compute them on a device.
//!
//! A [`Model`] is shared by all devices. Each device's thread asks it for an [`Executor`] of its own, which never leaves that thread: on CUDA a host
//! thread is a stream. A batch goes through an executor in three stages, which are counted apart, as Triton counts them:
//!
//! ```text
//!   prepare ──► Work ── launch ··· finish ──► collect ──► answers
//!   compute_input       compute_infer         compute_output
//! ```
//!
//! Where a device computes on its own, `launch` returns at once, and the next batch is prepared before the first is finished.

mod device;
mod executor;
mod fault;
mod request;
mod signature;

pub use device::Device;
pub use executor::{Answer, Batch, Executor, Model, Stop, Work};
pub use fault::Fault;
pub use request::{Parameter, Parameters, Request, Wanted};
pub use signature::{Port, RequestError, Signature};

#[cfg(test)]
mod tests;
