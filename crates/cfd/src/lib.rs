//! Differentiable incompressible flow in two dimensions.
//!
//! A [`Shape`] is a signed distance; its zero line cuts the cells of a staggered grid, and everything
//! geometric in the equations (open areas, distances to walls) is a smooth local function of it. The coupled
//! Navier–Stokes equations are solved by Newton's method with the exact Jacobian, and one transposed solve with
//! the last factor gives the derivative of drag, lift or heat with respect to every parameter of the problem.
//!
//! Lengths, velocities and densities are those of the case: the solver knows no units, only ratios.

pub mod adjoint;
mod aperture;
mod assemble;
mod balance;
pub mod boundary;
pub mod brinkman;
pub mod case;
pub mod cases;
pub mod checkpoint;
mod continuity;
mod cut;
mod dual;
mod energy;
mod error;
pub mod filter;
pub mod flow;
pub mod gmres;
pub mod grid;
mod metric;
mod momentum;
pub mod newton;
pub mod objective;
pub mod optimize;
mod rooms;
pub mod shape;
pub mod shedding;
mod solve;
mod stages;
mod system;
pub mod tangent;
mod term;
mod transport;
pub mod unsteady;
mod vector;

pub use adjoint::Gradient;
pub use boundary::{Body, Heated, Profile, Side, Sides, Thermal};
pub use brinkman::Density;
pub use case::{Case, Heat, Options};
pub use cut::Spin;
pub use error::Error;
pub use flow::Flow;
pub use gmres::Gmres;
pub use grid::Grid;
pub use newton::{History, NewtonStep};
pub use objective::{Objective, Target};
pub use shape::Shape;
pub use stages::Stages;
pub use tangent::Change;
pub use unsteady::{March, State, TimeGradient};
