//! A flow problem as a value: what flows, where, past what.

use crate::{
    Error,
    boundary::{Body, Profile, Side, Sides},
    brinkman::Density,
    grid::Grid,
};

/// Temperature as an unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    /// Thermal diffusivity of the fluid.
    pub diffusivity: f64,
    /// Thermal diffusivity of the solid of a design by density, and how soon it falls as fluid comes in.
    pub solid: Option<(f64, f64)>,
    /// Acceleration per unit of temperature, `[x, y]`: g β against gravity.
    pub buoyancy: [f64; 2],
    /// Temperature without buoyancy.
    pub reference: f64,
}

impl Heat {
    /// Heat that flow carries without being moved by it.
    #[must_use]
    pub fn forced(diffusivity: f64) -> Self {
        Self { diffusivity, solid: None, buoyancy: [0.0; 2], reference: 0.0 }
    }

    /// Diffusivity of a cell of density `gamma`, and its derivative.
    pub(crate) fn mixed(&self, gamma: f64) -> (f64, f64) {
        let Some((solid, q)) = self.solid else { return (self.diffusivity, 0.0) };
        let step = solid - self.diffusivity;
        let bottom = 1.0 + q * gamma;
        (self.diffusivity + step * (1.0 - gamma) / bottom, -step * (1.0 + q) / (bottom * bottom))
    }
}

/// How a problem is solved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// By how much the residual must fall, relative to fluid at rest.
    pub tolerance: f64,
    /// Newton steps on one grid before it gives up.
    pub steps: usize,
    /// How many coarser grids come first.
    pub coarse: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { tolerance: 1e-11, steps: 25, coarse: 2 }
    }
}

/// A flow problem: steady, incompressible, two-dimensional, of density one.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is called in reports.
    pub name: String,
    /// The grid.
    pub grid: Grid,
    /// Solids that cut its cells.
    pub bodies: Vec<Body>,
    /// Its four sides.
    pub sides: Sides,
    /// Kinematic viscosity.
    pub viscosity: f64,
    /// Whether flow carries momentum; Stokes flow otherwise.
    pub inertia: bool,
    /// A design by density.
    pub density: Option<Density>,
    /// Temperature, if it is asked for.
    pub heat: Option<Heat>,
    /// How it is solved.
    pub options: Options,
}

impl Case {
    /// A problem without bodies, density or heat.
    #[must_use]
    pub fn new(name: &str, grid: Grid, sides: Sides, viscosity: f64) -> Self {
        Self {
            name: name.to_owned(),
            grid,
            bodies: Vec::new(),
            sides,
            viscosity,
            inertia: true,
            density: None,
            heat: None,
            options: Options::default(),
        }
    }

    /// The same with a body.
    #[must_use]
    pub fn with_body(mut self, body: Body) -> Self {
        self.bodies.push(body);
        self
    }

    /// The same on the grid of every second face, if there is one; densities are averaged.
    #[must_use]
    pub fn coarser(&self) -> Option<Self> {
        let grid = self.grid.coarser()?;
        let (nx, fine) = (grid.nx(), self.grid.nx());
        let mean = |design: &Vec<f64>| {
            let four = |c: usize| {
                let corner = 2 * (c / nx) * fine + 2 * (c % nx);
                [0, 1, fine, fine + 1].iter().map(|step| design[corner + step]).sum::<f64>() / 4.0
            };
            (0..grid.cells()).map(four).collect()
        };
        let density =
            self.density.as_ref().map(|d| Density { design: mean(&d.design), ..d.clone() });
        Some(Self { grid: grid.clone(), density, ..self.clone() })
    }

    /// Refuses numbers and profiles that no flow can have.
    pub(crate) fn check(&self) -> Result<(), Error> {
        positive("viscosity", self.viscosity)?;
        positive("options.tolerance", self.options.tolerance)?;
        if let Some(heat) = &self.heat {
            positive("heat.diffusivity", heat.diffusivity)?;
            if let Some((solid, penalty)) = heat.solid {
                positive("heat.solid", solid)?;
                not_negative("heat.solid's penalty", penalty)?;
            }
            finite("heat.buoyancy", &heat.buoyancy)?;
            finite("heat.reference", &[heat.reference])?;
        }
        if let Some(density) = &self.density {
            self.check_density(density)?;
        }
        self.check_sides()
    }

    fn check_density(&self, density: &Density) -> Result<(), Error> {
        not_negative("density.least", density.least)?;
        not_negative("density.most", density.most)?;
        not_negative("density.penalty", density.penalty)?;
        if density.design.len() != self.grid.cells() {
            return Err(Error::case(format!(
                "density.design: {} values for a grid of {} cells",
                density.design.len(),
                self.grid.cells()
            )));
        }
        match density.design.iter().position(|g| !(0.0..=1.0).contains(g)) {
            Some(c) => Err(Error::case(format!(
                "density.design: cell {c} has {}, expected 0 (solid) to 1 (fluid)",
                density.design[c]
            ))),
            None => Ok(()),
        }
    }

    fn check_sides(&self) -> Result<(), Error> {
        for (side, name) in ["west", "east", "south", "north"].iter().enumerate() {
            let Side::Velocity { u, v } = &self.sides.flow[side] else { continue };
            let places = self.grid.half(if side < 2 { 1 } else { 0 });
            for (component, profile) in [("u", u), ("v", v)] {
                check_profile(name, component, profile, &places)?;
            }
        }
        Ok(())
    }
}

fn check_profile(
    side: &str,
    component: &str,
    profile: &Profile,
    places: &[f64],
) -> Result<(), Error> {
    match places.iter().find(|&&s| !profile.at(s).is_finite()) {
        Some(s) => Err(Error::case(format!(
            "{side} side: the profile of {component} is {} at {s}, expected a finite velocity",
            profile.at(*s)
        ))),
        None => Ok(()),
    }
}

fn positive(name: &str, value: f64) -> Result<(), Error> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::case(format!("{name}: expected a positive, finite number, got {value}")))
}

fn not_negative(name: &str, value: f64) -> Result<(), Error> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(Error::case(format!("{name}: expected zero or a positive, finite number, got {value}")))
}

fn finite(name: &str, values: &[f64]) -> Result<(), Error> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(Error::case(format!("{name}: expected a finite number, got {value}"))),
        None => Ok(()),
    }
}
