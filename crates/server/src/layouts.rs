//! Layouts that clients bring: what may be asked of one ([`Ask`]), how it comes in ([`upload`]), and masks while the client waits
//! ([`masks`]).

mod ask;
pub mod masks;
mod refused;
pub mod upload;

pub use ask::{Ask, Format, Progress};
pub use refused::Refused;
