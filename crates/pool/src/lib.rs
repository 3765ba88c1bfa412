//! Devices: which are here, which one to use, where its compiled kernels are kept, and several working as one.
//!
//! A device is chosen once, at the edge of the program, by name ([`DeviceName`]). Nothing else in
//! lithoburn asks Burn for a default device, because that panics where a driver is missing. Every
//! candidate has to pass a small numeric test before it is used ([`device::choose`]).
//!
//! | file | what several devices do |
//! |---|---|
//! | [`pipeline`] | stages one after the other, with several items in flight |
//! | [`team`] | ranks that work on one item at once |
//! | [`collective`] | what ranks tell each other: gather, sum, exchange |
//! | [`budget`] | memory, reserved before it is used |

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
