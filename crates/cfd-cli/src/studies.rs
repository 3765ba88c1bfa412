//! The cases of the command line: options to a case, what it is compared with, and what the pictures show.

mod boxes;
mod channels;
mod middle_lines;
mod outline;
mod read_off;
mod streams;

pub(crate) use boxes::{CavityArgs, HeatedCavityArgs, NUSSELT, cavity, heated_cavity};
pub(crate) use channels::{ChannelArgs, ExchangerArgs, exchanger};
pub(crate) use middle_lines::{Line, ghia, worst};
pub(crate) use read_off::wake;
pub(crate) use streams::{AirfoilArgs, CylinderArgs, airfoil, dfg, stream};
