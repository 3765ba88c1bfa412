//! Tiles of a layout: what a run keeps of them.

pub(crate) mod journal;
pub(crate) mod packed;
