//! What of a case a layer's input replaces.

use std::{fmt, sync::Arc};

use lithoburn_cfd::{Case, Gradient, Profile, Side};

use crate::Error;

/// Numbers of a case that vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// The parameters of a body's shape, in the shape's order.
    Shape(usize),
    /// The temperature of a body.
    Temperature(usize),
    /// The viscosity.
    Viscosity,
    /// The velocity normal to each face of a side with given velocities: 0 west, 1 east, 2 south, 3 north.
    Inflow(usize),
    /// The design density of each cell.
    Density,
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(body) => write!(f, "the shape of body {body}"),
            Self::Temperature(body) => write!(f, "the temperature of body {body}"),
            Self::Viscosity => f.write_str("the viscosity"),
            Self::Inflow(side) => write!(f, "the inflow of side {side}"),
            Self::Density => f.write_str("the density of each cell"),
        }
    }
}

impl Variable {
    /// Refuses a variable that the case does not have.
    pub(crate) fn check(self, case: &Case) -> Result<(), Error> {
        let there = match self {
            Self::Shape(body) => body < case.bodies.len(),
            Self::Temperature(body) => {
                case.bodies.get(body).is_some_and(|body| body.temperature.is_some())
            }
            Self::Viscosity => true,
            Self::Inflow(side) => {
                matches!(case.sides.flow.get(side), Some(Side::Velocity { .. }))
            }
            Self::Density => case.density.is_some(),
        };
        if there {
            return Ok(());
        }
        Err(Error::Variable(format!(
            "{:?} has {} bodies; expected a case with {self}",
            case.name,
            case.bodies.len()
        )))
    }

    /// Its numbers as the case has them.
    pub(crate) fn values(self, case: &Case) -> Vec<f64> {
        match self {
            Self::Shape(body) => case.bodies[body].shape.parameters(),
            Self::Temperature(body) => case.bodies[body].temperature.into_iter().collect(),
            Self::Viscosity => vec![case.viscosity],
            Self::Inflow(side) => match &case.sides.flow[side] {
                Side::Velocity { u, v } => {
                    let normal = if side < 2 { u } else { v };
                    faces(case, side).windows(2).map(|pair| normal.mean(pair[0], pair[1])).collect()
                }
                _ => Vec::new(),
            },
            Self::Density => case.density.as_ref().map_or_else(Vec::new, |d| d.design.clone()),
        }
    }

    /// How many numbers it takes.
    pub(crate) fn count(self, case: &Case) -> usize {
        match self {
            Self::Inflow(side) => faces(case, side).len() - 1,
            Self::Density => case.grid.cells(),
            other => other.values(case).len(),
        }
    }

    /// Puts its numbers into a case.
    pub(crate) fn set(self, case: &mut Case, values: &[f64]) -> Result<(), lithoburn_cfd::Error> {
        match self {
            Self::Shape(body) => {
                let shape = case.bodies[body].shape.with(values)?;
                case.bodies[body].shape = shape.into();
            }
            Self::Temperature(body) => case.bodies[body].temperature = values.first().copied(),
            Self::Viscosity => case.viscosity = values[0],
            Self::Inflow(side) => {
                let profile = steps(faces(case, side).to_vec(), values.to_vec());
                if let Side::Velocity { u, v } = &mut case.sides.flow[side] {
                    *(if side < 2 { u } else { v }) = profile;
                }
            }
            Self::Density => {
                if let Some(density) = &mut case.density {
                    density.design = values.to_vec();
                }
            }
        }
        Ok(())
    }

    /// Its part of a gradient.
    pub(crate) fn part(self, gradient: &Gradient) -> Vec<f64> {
        match self {
            Self::Shape(body) => gradient.bodies[body].clone(),
            Self::Temperature(body) => vec![gradient.temperature[body]],
            Self::Viscosity => vec![gradient.viscosity],
            Self::Inflow(side) => gradient.inflow[side].clone(),
            Self::Density => gradient.density.clone(),
        }
    }
}

/// Ends of the faces along a side.
fn faces(case: &Case, side: usize) -> &[f64] {
    if side < 2 { case.grid.y() } else { case.grid.x() }
}

/// A profile that is constant over each face.
fn steps(faces: Vec<f64>, values: Vec<f64>) -> Profile {
    let inner = faces[1..faces.len() - 1].to_vec();
    Profile::Function(Arc::new(move |s| values[inner.partition_point(|&face| face <= s)]))
}
