//! Devices: which are here, which one to use, where its compiled kernels are kept, and how many share the work.
//!
//! | room | what |
//! |---|---|
//! | [`device`] | names, what is here, the test that a device has to pass, its kernel cache, its memory |
//! | [`mod@plan`] | who does what, decided before a device is touched: plain data |
//! | [`crew`] | many devices share a stream of tasks, whatever fails; it knows neither tensors nor lithography |
//!
//! A device is chosen once, at the edge of the program, by name ([`DeviceName`]). Nothing else in
//! lithoburn asks Burn for a default device, because that panics where a driver is missing. Every
//! candidate has to pass a small numeric test before it is used ([`choose`]).
//!
//! Beside them, [`clock`] is time in which the process ran, and [`panics`] what is kept of one.
//!
//! Devices that compute parts of one network are in `lithoburn-ranks`.

pub mod clock;
pub mod crew;
pub mod device;
pub mod panics;
pub mod plan;

pub use crew::{
    Arrive, Crew, CrewError, Failure, Latency, Member, MemberReport, PoolError, Report, Terms,
    Worker, share, share_ordered, simulated,
};
pub use device::{
    Candidate, Chosen, DeviceError, DeviceName, Kind, answer_probes, cache, cards_opened, choose,
    choose_all, choose_all_in_turn, choose_each, choose_in_turn, end_at_once, has_used_graphics,
    hide_other_cards, identity, kernel_times::KernelTimes, memory, prepare_graphics, survey,
    untested,
};
pub use plan::{Demand, DeviceState, Plan, PlanError, Rank, Strategy, plan};
