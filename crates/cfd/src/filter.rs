//! Density fields of topology optimisation: smoothed, then sharpened.
//!
//! The filter solves −r² ∇²ρ̃ + ρ̃ = ρ with no flux through the border, in finite volumes. Its matrix K is symmetric
//! and positive definite, so F = K⁻¹M is self-adjoint in the inner product of the cells' areas M and needs one
//! factor for all designs. Source: Lazarov & Sigmund, Int. J. Numer. Meth. Eng. 86 (2011) 765; their length R relates
//! to a cone filter's radius by r = R / (2 √3).
//!
//! The projection ρ̄ = (tanh βη + tanh β(ρ̃ − η)) / (tanh βη + tanh β(1 − η)) moves densities towards 0 and 1 as β
//! grows. Source: Wang, Lazarov & Sigmund, Struct. Multidisc. Optim. 43 (2011) 767.

use faer::Side;
use faer::linalg::solvers::Solve;
use faer::sparse::linalg::solvers::Llt;
use faer::sparse::{SparseColMat, Triplet};

/// A filter on the cells of a grid.
#[derive(Debug)]
pub struct Filter {
    factor: Llt<usize, f64>,
    areas: Vec<f64>,
}

/// Why a filter could not be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FilterError {
    /// A length that is none.
    #[error("the filter's {name} is {value}; expected a positive number")]
    Length {
        /// Which.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// The matrix could not be factored.
    #[error("the filter's equations could not be factored: {0}")]
    Factor(String),
}

impl Filter {
    /// A filter of length `r` on cells of these widths and heights; fields are row after row, x fastest.
    ///
    /// # Errors
    ///
    /// [`FilterError`] if a length is not positive and finite.
    pub fn new(widths: &[f64], heights: &[f64], r: f64) -> Result<Self, FilterError> {
        let lengths = widths.iter().map(|&v| ("cell width", v));
        let all = lengths.chain(heights.iter().map(|&v| ("cell height", v))).chain([("length", r)]);
        for (name, value) in all {
            if !(value > 0.0 && value.is_finite()) {
                return Err(FilterError::Length { name, value });
            }
        }
        let areas: Vec<f64> =
            heights.iter().flat_map(|h| widths.iter().map(move |w| w * h)).collect();
        let triplets = equations(widths, heights, r);
        let failed = |e: &dyn std::fmt::Debug| FilterError::Factor(format!("{e:?}"));
        let matrix = SparseColMat::try_new_from_triplets(areas.len(), areas.len(), &triplets);
        let matrix = matrix.map_err(|e| failed(&e))?;
        let factor = matrix.sp_cholesky(Side::Lower).map_err(|e| failed(&e))?;
        Ok(Self { factor, areas })
    }

    /// Smooths a field: ρ̃ = K⁻¹ M ρ.
    #[must_use]
    pub fn smooth(&self, field: &[f64]) -> Vec<f64> {
        self.solve(field.iter().zip(&self.areas).map(|(v, a)| v * a))
    }

    /// Takes a gradient by the smoothed field to one by the field: M K⁻¹ g.
    #[must_use]
    pub fn pull_back(&self, gradient: &[f64]) -> Vec<f64> {
        let solved = self.solve(gradient.iter().copied());
        solved.iter().zip(&self.areas).map(|(v, a)| v * a).collect()
    }

    fn solve(&self, right: impl Iterator<Item = f64>) -> Vec<f64> {
        let mut column = faer::Col::<f64>::zeros(self.areas.len());
        column.iter_mut().zip(right).for_each(|(to, value)| *to = value);
        self.factor.solve_in_place(&mut column);
        column.iter().copied().collect()
    }
}

/// The matrix K: each cell's area, and r² times face over distance between neighbours.
fn equations(widths: &[f64], heights: &[f64], r: f64) -> Vec<Triplet<usize, usize, f64>> {
    let (nx, ny) = (widths.len(), heights.len());
    let mut triplets = Vec::with_capacity(5 * nx * ny);
    let mut join = |a: usize, b: usize, face: f64, distance: f64| {
        let weight = r * r * face / distance;
        let entries = [(a, a, weight), (b, b, weight), (a, b, -weight), (b, a, -weight)];
        triplets.extend(entries.map(|(i, j, v)| Triplet::new(i, j, v)));
    };
    for (j, height) in heights.iter().enumerate() {
        for (i, width) in widths.iter().enumerate() {
            let cell = j * nx + i;
            if i + 1 < nx {
                join(cell, cell + 1, *height, (width + widths[i + 1]) / 2.0);
            }
            if j + 1 < ny {
                join(cell, cell + nx, *width, (height + heights[j + 1]) / 2.0);
            }
        }
    }
    let areas = heights.iter().flat_map(|h| widths.iter().map(move |w| w * h)).enumerate();
    triplets.extend(areas.map(|(cell, area)| Triplet::new(cell, cell, area)));
    triplets
}

/// Sharpens densities about a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Projection {
    /// Steepness β: 0 leaves densities as they are, infinity makes them 0 and 1.
    pub steepness: f64,
    /// Threshold η.
    pub threshold: f64,
}

impl Projection {
    /// The sharpened density.
    #[must_use]
    pub fn project(&self, density: f64) -> f64 {
        let Self { steepness: b, threshold: t } = *self;
        if b == 0.0 {
            return density;
        }
        ((b * t).tanh() + (b * (density - t)).tanh()) / self.span()
    }

    /// Its derivative by the density.
    #[must_use]
    pub fn slope(&self, density: f64) -> f64 {
        let Self { steepness: b, threshold: t } = *self;
        if b == 0.0 {
            return 1.0;
        }
        b * (1.0 - (b * (density - t)).tanh().powi(2)) / self.span()
    }

    fn span(&self) -> f64 {
        (self.steepness * self.threshold).tanh() + (self.steepness * (1.0 - self.threshold)).tanh()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without a pattern.
    fn noise(count: usize, seed: f64) -> Vec<f64> {
        (0..count).map(|i| (12.9898 * (i as f64 + seed)).sin() * 43758.5453 % 1.0).collect()
    }

    fn stretched() -> ([f64; 9], [f64; 7]) {
        (
            std::array::from_fn(|i| 0.1 * 1.1_f64.powi(i as i32)),
            std::array::from_fn(|j| 0.2 / (j + 1) as f64),
        )
    }

    #[test]
    fn the_filter_is_self_adjoint_in_the_areas_product() {
        let (w, h) = stretched();
        let filter = Filter::new(&w, &h, 0.15).expect("a filter");
        let (x, y) = (noise(63, 0.0), noise(63, 0.5));
        let product = |a: &[f64], b: &[f64]| -> f64 {
            a.iter().zip(b).zip(&filter.areas).map(|((a, b), m)| a * b * m).sum()
        };
        let (left, right) = (product(&filter.smooth(&x), &y), product(&x, &filter.smooth(&y)));
        assert!((left - right).abs() < 1e-13 * (1.0 + left.abs()), "{left} vs {right}");
        let plain = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (left, right) = (plain(&filter.smooth(&x), &y), plain(&x, &filter.pull_back(&y)));
        assert!((left - right).abs() < 1e-13 * (1.0 + left.abs()), "{left} vs {right}");
    }

    #[test]
    fn the_filter_keeps_constants_and_the_amount() {
        let (w, h) = stretched();
        let filter = Filter::new(&w, &h, 0.3).expect("a filter");
        assert!(filter.smooth(&[0.7; 63]).iter().all(|v| (v - 0.7).abs() < 1e-13));
        let field = noise(63, 0.2);
        let amount = |f: &[f64]| f.iter().zip(&filter.areas).map(|(v, a)| v * a).sum::<f64>();
        assert!((amount(&filter.smooth(&field)) - amount(&field)).abs() < 1e-13);
    }

    /// On a fine grid cos(kx) is damped by 1/(1 + r²k²), up to (kh)²/12 of the discrete Laplacian.
    #[test]
    fn a_wave_is_damped_as_the_equation_says() {
        let (count, r) = (400, 0.1);
        let step = 1.0 / count as f64;
        let k = 2.0 * std::f64::consts::PI;
        let wave: Vec<f64> = (0..count).map(|i| (k * (i as f64 + 0.5) * step).cos()).collect();
        let filter = Filter::new(&vec![step; count], &[1.0], r).expect("a filter");
        let damping = 1.0 / (1.0 + r * r * k * k);
        for (smooth, raw) in filter.smooth(&wave).iter().zip(&wave) {
            assert!((smooth - damping * raw).abs() < 1e-4);
        }
    }

    #[test]
    fn a_filter_of_no_length_is_refused() {
        assert!(matches!(Filter::new(&[1.0], &[1.0], 0.0), Err(FilterError::Length { .. })));
        assert!(matches!(Filter::new(&[f64::NAN], &[1.0], 1.0), Err(FilterError::Length { .. })));
    }

    #[test]
    fn projection_keeps_its_ends_and_its_slope_is_its_derivative() {
        for steepness in [0.0, 1.0, 8.0, 64.0] {
            let projection = Projection { steepness, threshold: 0.4 };
            assert!(projection.project(0.0).abs() < 1e-15);
            assert!((projection.project(1.0) - 1.0).abs() < 1e-15);
            for density in [0.1, 0.38, 0.45, 0.9] {
                let at = |step: f64| projection.project(density + step);
                let difference = (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!(
                    (projection.slope(density) - difference).abs()
                        < 1e-7 * (1.0 + steepness.powi(2))
                );
            }
        }
    }
}
