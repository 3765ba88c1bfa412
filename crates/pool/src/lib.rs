//! Devices: which are here, which one to use, where its compiled kernels are kept, and how many work as one.
//!
//! A device is chosen once, at the edge of the program, by name ([`DeviceName`]). Nothing else in
//! lithoburn asks Burn for a default device, because that panics where a driver is missing. Every
//! candidate has to pass a small numeric test before it is used ([`device::choose`]).
//!
//! Several devices are a [`data::Crew`]: each has a thread and a [`work::Worker`] of its own, and tasks are shared
//! among them whatever fails. What is done how is a [`plan::Plan`], decided before a device is touched. The
//! scheduler knows neither tensors nor lithography; it is tested with faults on purpose ([`fault`]) and measured
//! with devices that sleep ([`simulated`]). Devices that compute parts of one network are the rest:
//!
//! | file | what several devices do |
//! |---|---|
//! | [`pipeline`] | stages one after the other, with several items in flight |
//! | [`team`] | ranks that work on one item at once |
//! | [`collective`] | what ranks tell each other: gather, sum, exchange |
//! | [`budget`], [`memory`] | memory, reserved before it is used; what is free and what is held |

pub mod balance;
pub mod budget;
pub mod cache;
mod case;
pub mod collective;
mod crew;
pub mod data;
mod deal;
pub mod device;
pub mod fault;
mod lines;
mod maker;
pub mod memory;
mod pace;
pub mod pipeline;
pub mod plan;
mod queue;
mod seat;
mod sharing;
pub mod simulated;
mod smoke;
#[cfg(feature = "cuda")]
mod stack;
pub mod stats;
mod strategy;
pub mod team;
pub mod work;

pub use smoke::{answer_probes, quiet_graphics};

pub use data::{Crew, CrewError, PoolError, share, share_ordered};
pub use device::{Candidate, Chosen, DeviceError, DeviceName, Kind, choose, choose_all, survey};
pub use plan::{Demand, DeviceState, Plan, PlanError, Rank, Strategy, plan};
pub use stats::{MemberReport, Report};
pub use work::{Failure, Member, Terms, Worker};
