//! What happens at the four sides of the grid and on bodies.

use std::{fmt, sync::Arc};

use crate::{cut::Spin, shape::Shape};

/// A quantity along a side.
#[derive(Clone)]
pub enum Profile {
    /// The same everywhere.
    Uniform(f64),
    /// Parabolas that vanish at both ends of a stretch: `(from, to, greatest value)`; zero elsewhere.
    Parabolas(Vec<(f64, f64, f64)>),
    /// Any function of the place along the side.
    Function(Arc<dyn Fn(f64) -> f64 + Send + Sync>),
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform(value) => write!(f, "Uniform({value})"),
            Self::Parabolas(stretches) => write!(f, "Parabolas({stretches:?})"),
            Self::Function(_) => write!(f, "Function"),
        }
    }
}

impl Profile {
    /// Developed flow between plates at `from` and `to` with this mean.
    #[must_use]
    pub fn developed(from: f64, to: f64, mean: f64) -> Self {
        Self::Parabolas(vec![(from, to, 1.5 * mean)])
    }

    /// Value at a place.
    #[must_use]
    pub fn at(&self, s: f64) -> f64 {
        match self {
            Self::Uniform(value) => *value,
            Self::Parabolas(stretches) => {
                stretches.iter().map(|&stretch| parabola(stretch, s)).sum()
            }
            Self::Function(f) => f(s),
        }
    }

    /// Mean over a stretch: exact for parabolas, by five Gauss points for functions.
    #[must_use]
    pub fn mean(&self, low: f64, high: f64) -> f64 {
        match self {
            Self::Uniform(value) => *value,
            Self::Parabolas(stretches) => {
                let part = |&(from, to, peak): &(f64, f64, f64)| {
                    let (a, b) = (low.max(from), high.min(to));
                    if a < b {
                        (b - a) * gauss(&|s| parabola((from, to, peak), s), a, b)
                    } else {
                        0.0
                    }
                };
                stretches.iter().map(part).sum::<f64>() / (high - low)
            }
            Self::Function(f) => gauss(&|s| f(s), low, high),
        }
    }
}

fn parabola((from, to, peak): (f64, f64, f64), s: f64) -> f64 {
    let share = (s - from) / (to - from);
    if (0.0..=1.0).contains(&share) { 4.0 * peak * share * (1.0 - share) } else { 0.0 }
}

/// Mean of `f` from `a` to `b` by five Gauss–Legendre points.
fn gauss(f: &dyn Fn(f64) -> f64, a: f64, b: f64) -> f64 {
    const POINTS: [(f64, f64); 5] = [
        (0.0, 128.0 / 225.0),
        (0.538_469_310_105_683, 0.478_628_670_499_366_5),
        (-0.538_469_310_105_683, 0.478_628_670_499_366_5),
        (0.906_179_845_938_664, 0.236_926_885_056_189_1),
        (-0.906_179_845_938_664, 0.236_926_885_056_189_1),
    ];
    let place = |s: f64| 0.5 * (a + b) + 0.5 * (b - a) * s;
    POINTS.iter().map(|&(s, weight)| 0.5 * weight * f(place(s))).sum()
}

/// What one side of the grid does to the flow.
#[derive(Clone, Debug)]
pub enum Side {
    /// Both components are given: walls, lids, inlets.
    Velocity {
        /// Component along x.
        u: Profile,
        /// Component along y.
        v: Profile,
    },
    /// Nothing passes, nothing sticks.
    Slip,
    /// Do nothing: no stress outside, what arrives leaves.
    Outlet,
}

impl Side {
    /// A wall at rest.
    #[must_use]
    pub fn wall() -> Self {
        Self::velocity(Profile::Uniform(0.0), Profile::Uniform(0.0))
    }

    /// A given velocity.
    #[must_use]
    pub fn velocity(u: Profile, v: Profile) -> Self {
        Self::Velocity { u, v }
    }

    /// Flow along x with a profile over y: an inlet on the west or east side, a lid on the south or north side.
    #[must_use]
    pub fn stream(u: Profile) -> Self {
        Self::velocity(u, Profile::Uniform(0.0))
    }
}

/// What a stretch of a side does to the temperature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Thermal {
    /// No heat passes by conduction.
    Adiabatic,
    /// A given temperature.
    Temperature(f64),
    /// A given heat flux into the fluid, per length, over density times heat capacity.
    Flux(f64),
}

/// A stretch of a side with a thermal condition of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heated {
    /// Where it begins along the side.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// What it does.
    pub thermal: Thermal,
}

/// The four sides of the grid, and their stretches with a thermal condition; elsewhere sides are adiabatic.
#[derive(Clone, Debug)]
pub struct Sides {
    /// West, east, south, north.
    pub flow: [Side; 4],
    /// Heated stretches of west, east, south, north.
    pub heat: [Vec<Heated>; 4],
}

impl Sides {
    /// Sides without heat, in the order west, east, south, north.
    #[must_use]
    pub fn new(west: Side, east: Side, south: Side, north: Side) -> Self {
        Self { flow: [west, east, south, north], heat: Default::default() }
    }

    /// Thermal condition of a place on side `side`.
    pub(crate) fn thermal(&self, side: usize, s: f64) -> Thermal {
        let here = self.heat[side].iter().find(|part| part.from <= s && s <= part.to);
        here.map_or(Thermal::Adiabatic, |part| part.thermal)
    }
}

/// A solid in the flow.
#[derive(Clone, Debug)]
pub struct Body {
    /// Its outline.
    pub shape: Arc<dyn Shape>,
    /// Rotation of its surface along itself.
    pub spin: Spin,
    /// Temperature of its surface; adiabatic without one.
    pub temperature: Option<f64>,
}

impl Body {
    /// A body at rest, adiabatic.
    #[must_use]
    pub fn new(shape: impl Shape + 'static) -> Self {
        Self { shape: Arc::new(shape), spin: Spin::default(), temperature: None }
    }

    /// The same with a temperature.
    #[must_use]
    pub fn at_temperature(self, temperature: f64) -> Self {
        Self { temperature: Some(temperature), ..self }
    }

    /// The same, turning about a centre.
    #[must_use]
    pub fn turning(self, rate: f64, centre: [f64; 2]) -> Self {
        Self { spin: Spin { rate, centre }, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_a_parabola_is_exact_over_any_stretch() {
        let profile = Profile::developed(0.0, 1.0, 1.0);
        assert!((profile.mean(0.0, 1.0) - 1.0).abs() < 1e-14);
        assert!((profile.mean(-1.0, 1.0) - 0.5).abs() < 1e-14);
        // ∫ 6 s (1 − s) from 0 to 1/4 is 3/16 − 1/32
        assert!((profile.mean(0.0, 0.25) - 4.0 * (3.0 / 16.0 - 1.0 / 32.0)).abs() < 1e-14);
        let sine = Profile::Function(Arc::new(|s: f64| s.sin()));
        assert!((sine.mean(0.0, 1.0) - (1.0 - 1f64.cos())).abs() < 1e-12);
    }
}
