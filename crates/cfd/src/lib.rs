//! Differentiable incompressible flow in two dimensions.
//!
//! A shape is a signed distance; its zero line cuts the cells of a staggered grid, and everything
//! geometric in the equations (open areas, distances to walls) is a smooth local function of it. The coupled
//! Navier–Stokes equations are solved by Newton's method with the exact Jacobian, and one transposed solve with
//! the last factor gives the derivative of drag, lift or heat with respect to every parameter of the problem.
//!
//! Lengths, velocities and densities are those of the case: the solver knows no units, only ratios.

mod error;

pub use error::Error;
