//! Pictures of a flow: speed with streamlines, vorticity, pressure, temperature; charts of how it converged.

mod colours;
mod fields;
mod page;
mod streamlines;

pub(crate) use lithoburn_page::chart::{Chart, Series, draw as charts};

pub(crate) use fields::{Fields, Window};
pub(crate) use page::{Caption, overview};
