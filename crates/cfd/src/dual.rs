//! Numbers that carry their derivatives: a value and its slopes in `N` directions.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// What the geometry's formulas ask of a number.
pub(crate) trait Real:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// A constant.
    fn of(value: f64) -> Self;
    /// Its value.
    fn value(self) -> f64;
    /// Its square root; the slope at zero is taken as zero.
    fn sqrt(self) -> Self;

    /// Its size.
    fn abs(self) -> Self {
        if self.value() < 0.0 { -self } else { self }
    }

    /// `factor` times the number.
    fn times(self, factor: f64) -> Self {
        self * Self::of(factor)
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }

    fn value(self) -> f64 {
        self
    }

    fn sqrt(self) -> Self {
        self.sqrt()
    }
}

/// A value and its derivatives with respect to `N` inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dual<const N: usize> {
    pub(crate) value: f64,
    pub(crate) slope: [f64; N],
}

impl<const N: usize> Dual<N> {
    /// The inputs themselves: input `i` has slope one in direction `i`.
    pub(crate) fn inputs(values: [f64; N]) -> [Self; N] {
        std::array::from_fn(|i| {
            let slope = std::array::from_fn(|j| f64::from(u8::from(i == j)));
            Self { value: values[i], slope }
        })
    }

    fn join(value: f64, a: (&Self, f64), b: (&Self, f64)) -> Self {
        let slope = std::array::from_fn(|i| a.0.slope[i] * a.1 + b.0.slope[i] * b.1);
        Self { value, slope }
    }
}

impl<const N: usize> Add for Dual<N> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::join(self.value + other.value, (&self, 1.0), (&other, 1.0))
    }
}

impl<const N: usize> Sub for Dual<N> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self::join(self.value - other.value, (&self, 1.0), (&other, -1.0))
    }
}

impl<const N: usize> Mul for Dual<N> {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self::join(self.value * other.value, (&self, other.value), (&other, self.value))
    }
}

impl<const N: usize> Div for Dual<N> {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        Self::join(value, (&self, 1.0 / other.value), (&other, -value / other.value))
    }
}

impl<const N: usize> Neg for Dual<N> {
    type Output = Self;
    fn neg(self) -> Self {
        Self { value: -self.value, slope: self.slope.map(|s| -s) }
    }
}

impl<const N: usize> Real for Dual<N> {
    fn of(value: f64) -> Self {
        Self { value, slope: [0.0; N] }
    }

    fn value(self) -> f64 {
        self.value
    }

    fn sqrt(self) -> Self {
        let root = self.value.sqrt();
        let factor = if root > 0.0 { 0.5 / root } else { 0.0 };
        Self { value: root, slope: self.slope.map(|s| s * factor) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_quotient_rule_and_the_root() {
        let [x, y] = Dual::inputs([3.0, 4.0]);
        let f = (x * x + y * y).sqrt() / (x - y);
        assert_eq!(f.value, -5.0);
        // d/dx sqrt(x²+y²)/(x−y) = x/(r(x−y)) − r/(x−y)²
        assert!((f.slope[0] - (-0.6 - 5.0)).abs() < 1e-12);
        assert!((f.slope[1] - (-0.8 + 5.0)).abs() < 1e-12);
    }
}
