//! Devices: which are here, which one to use, and where its compiled kernels are kept.
//!
//! A device is chosen once, at the edge of the program, by name ([`DeviceName`]). Nothing else in
//! lithoburn asks Burn for a default device, because that panics where a driver is missing. Every
//! candidate has to pass a small numeric test before it is used ([`device::choose`]).

pub mod budget;
pub mod cache;
pub mod collective;
pub mod device;
pub mod pipeline;
mod smoke;
mod stack;
pub mod team;

pub use smoke::{answer_probes, quiet_graphics};

pub use device::{Candidate, Chosen, DeviceError, DeviceName, Kind, choose, survey};
