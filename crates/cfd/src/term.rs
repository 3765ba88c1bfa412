//! What a term of the equations is, and what it is evaluated at.

use crate::metric::Metric;

/// Numbers of the equations that are not geometry.
#[derive(Clone, Debug)]
pub(crate) struct Physics {
    /// Factor of the convective term: one, or zero for Stokes flow.
    pub(crate) inertia: f64,
    /// The same of heat.
    pub(crate) carriage: f64,
    /// Kinematic viscosity.
    pub(crate) viscosity: f64,
    /// Thermal diffusivity of each cell.
    pub(crate) diffusivity: Vec<f64>,
    /// Brinkman resistance of each cell.
    pub(crate) resistance: Vec<f64>,
    /// Acceleration of the fluid per unit of temperature (Boussinesq), by component.
    pub(crate) buoyancy: [f64; 2],
    /// Temperature without buoyancy.
    pub(crate) reference: f64,
    /// Values given at sides and bodies: tangential velocities, temperatures.
    pub(crate) given: Vec<f64>,
    /// Rate of the time derivative on each velocity: 1/Δt of a pseudo-transient or of a scheme in time.
    pub(crate) rate: f64,
    /// The same on each temperature; a pseudo-transient has none.
    pub(crate) storage: f64,
}

/// Where a term is evaluated.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    /// Unknowns.
    pub(crate) w: &'a [f64],
    /// Geometry.
    pub(crate) metric: &'a Metric,
    /// Everything else.
    pub(crate) physics: &'a Physics,
}

/// A derivative with respect to everything that a term depends on besides the unknowns.
#[derive(Clone, Debug)]
pub(crate) struct Sensitivity {
    pub(crate) metric: Metric,
    pub(crate) viscosity: f64,
    pub(crate) diffusivity: Vec<f64>,
    pub(crate) resistance: Vec<f64>,
    pub(crate) buoyancy: [f64; 2],
    pub(crate) given: Vec<f64>,
}

/// Receives entries of the Jacobian: row, column, value. Entries of one place add up.
pub(crate) type Emit<'a> = dyn FnMut(usize, usize, f64) + 'a;

/// One term of the equations. Rows of unknowns whose value is given are discarded by the caller.
pub(crate) trait Term {
    /// Adds the term to the residual of each row.
    fn residual(&self, at: At<'_>, out: &mut [f64]);

    /// Emits its derivatives by the unknowns, in an order that only the grid and the body determine.
    fn jacobian(&self, at: At<'_>, emit: &mut Emit<'_>);

    /// Adds the derivative of Σ `row` × residual by everything else. This is the vector–Jacobian product of the
    /// adjoint.
    fn pull(&self, at: At<'_>, row: &[f64], into: &mut Sensitivity);
}

impl<T: Term> Term for &T {
    fn residual(&self, at: At<'_>, out: &mut [f64]) {
        (**self).residual(at, out);
    }

    fn jacobian(&self, at: At<'_>, emit: &mut Emit<'_>) {
        (**self).jacobian(at, emit);
    }

    fn pull(&self, at: At<'_>, row: &[f64], into: &mut Sensitivity) {
        (**self).pull(at, row, into);
    }
}
