//! The universal scalability law, fitted.
//!
//! X(N) = λN / (1 + σ(N − 1) + κN(N − 1)): λ is what one does, σ the share that all must do one after the other, and κ what each
//! pair costs each other (Gunther, 2007). Concurrency and numbers of devices alike are N.
//!
//! N/X is linear in 1/λ, σ/λ and κ/λ, so the least squares of relative errors are three equations. None of the three is
//! negative: where the solution would have it so, the best of those at the border is taken.

use serde::{Deserialize, Serialize};

/// A fitted law.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Law {
    /// λ: throughput of one.
    pub one: f64,
    /// σ: contention.
    pub contention: f64,
    /// κ: coherency.
    pub coherency: f64,
    /// Greatest relative error over the points that it was fitted to.
    pub worst: f64,
}

impl Law {
    /// Throughput at N.
    #[must_use]
    pub fn at(&self, n: f64) -> f64 {
        self.one * n / (1.0 + self.contention * (n - 1.0) + self.coherency * n * (n - 1.0))
    }

    /// N of the greatest throughput: √((1 − σ)/κ); none if more never harms.
    #[must_use]
    pub fn best(&self) -> Option<f64> {
        let share = (1.0 - self.contention) / self.coherency;
        (share.is_finite() && self.coherency > 0.0).then(|| share.max(1.0).sqrt())
    }

    /// Greatest throughput at `most` or less.
    #[must_use]
    pub fn most(&self, most: f64) -> f64 {
        self.at(self.best().map_or(most, |best| best.min(most)))
    }

    /// Fits points of N and throughput, both positive; none if there are fewer than three different N.
    #[must_use]
    pub fn fit(points: &[[f64; 2]]) -> Option<Self> {
        let good = |p: &&[f64; 2]| p.iter().all(|v| v.is_finite() && *v > 0.0);
        let points: Vec<[f64; 2]> = points.iter().filter(good).copied().collect();
        let mut different: Vec<f64> = points.iter().map(|p| p[0]).collect();
        different.sort_by(f64::total_cmp);
        different.dedup();
        if different.len() < 3 {
            return None;
        }
        /// Which of the three parameters are free.
        const FREE: [[bool; 3]; 4] =
            [[true, true, true], [true, true, false], [true, false, true], [true, false, false]];
        let fits = FREE.iter().filter_map(|free| Self::least_squares(&points, *free));
        fits.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, law)| law)
    }

    /// The sum of squared relative errors of N/X, and the law; none if a parameter would be negative.
    fn least_squares(points: &[[f64; 2]], free: [bool; 3]) -> Option<(f64, Self)> {
        let row = |[n, x]: &[f64; 2]| {
            let scale = x / n;
            let terms = [1.0, n - 1.0, n * (n - 1.0)];
            std::array::from_fn(|i| if free[i] { terms[i] * scale } else { 0.0 })
        };
        let rows: Vec<[f64; 3]> = points.iter().map(row).collect();
        let mut normal = [[0.0; 4]; 3];
        for row in &rows {
            for i in 0..3 {
                (0..3).for_each(|j| normal[i][j] += row[i] * row[j]);
                normal[i][3] += row[i];
            }
        }
        (0..3).filter(|i| !free[*i]).for_each(|i| normal[i][i] = 1.0);
        let found = solve(normal)?;
        // Rounding alone may make a zero negative.
        let found = found.map(|v| if v.abs() < 1e-12 * found[0].abs() { 0.0 } else { v });
        if found[0] <= 0.0 || found.iter().any(|v| *v < 0.0) {
            return None;
        }
        let error = |row: &[f64; 3]| 1.0 - row.iter().zip(&found).map(|(a, b)| a * b).sum::<f64>();
        let sum = rows.iter().map(|row| error(row).powi(2)).sum();
        let mut law = Self {
            one: 1.0 / found[0],
            contention: found[1] / found[0],
            coherency: found[2] / found[0],
            worst: 0.0,
        };
        let off = points.iter().map(|[n, x]| (law.at(*n) / x - 1.0).abs());
        law.worst = off.fold(0.0, f64::max);
        Some((sum, law))
    }
}

/// Solves three equations by elimination with pivots; none if they are not independent.
fn solve(mut rows: [[f64; 4]; 3]) -> Option<[f64; 3]> {
    // Columns differ by orders of magnitude; each equation is scaled to its own.
    for row in &mut rows {
        let most = row[..3].iter().fold(0.0_f64, |most, v| most.max(v.abs()));
        row.iter_mut().for_each(|v| *v /= most);
    }
    for column in 0..3 {
        let pivot =
            (column..3).max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()))?;
        rows.swap(column, pivot);
        let top = rows[column];
        if top[column].is_nan() || top[column].abs() < 1e-14 {
            return None;
        }
        for row in rows.iter_mut().skip(column + 1) {
            let factor = row[column] / top[column];
            row.iter_mut().zip(top).for_each(|(v, t)| *v -= factor * t);
        }
    }
    let mut found = [0.0; 3];
    for i in (0..3).rev() {
        let known: f64 = (i + 1..3).map(|j| rows[i][j] * found[j]).sum();
        found[i] = (rows[i][3] - known) / rows[i][i];
    }
    found.iter().all(|v| v.is_finite()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONCURRENCY: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

    fn points(law: &Law, noise: impl Fn(usize) -> f64) -> Vec<[f64; 2]> {
        let point = |(i, n): (usize, f64)| [n, law.at(n) * (1.0 + noise(i))];
        CONCURRENCY.into_iter().enumerate().map(point).collect()
    }

    #[test]
    fn a_law_is_found_again_from_what_it_predicts() {
        for (one, contention, coherency) in
            [(100.0, 0.05, 2e-4), (71.4, 0.0, 0.0), (3.0, 0.5, 0.0), (1e4, 0.0, 1e-3)]
        {
            let law = Law { one, contention, coherency, worst: 0.0 };
            let found = Law::fit(&points(&law, |_| 0.0)).expect("a law");
            assert!((found.one / one - 1.0).abs() < 1e-9, "{found:?}");
            assert!((found.contention - contention).abs() < 1e-9, "{found:?}");
            assert!((found.coherency - coherency).abs() < 1e-11 && found.worst < 1e-9, "{found:?}");
        }
    }

    /// dX/dN = 0 at √((1 − σ)/κ), which a search over N finds as well.
    #[test]
    fn the_greatest_throughput_is_where_a_search_finds_it() {
        let law = Law { one: 10.0, contention: 0.1, coherency: 1e-3, worst: 0.0 };
        let best = (100..100_000)
            .map(|i| f64::from(i) * 0.01)
            .max_by(|a, b| law.at(*a).total_cmp(&law.at(*b)));
        assert!((law.best().expect("a peak") - best.expect("some")).abs() < 0.02);
        assert_eq!(law.most(8.0), law.at(8.0));
        assert_eq!(law.most(1e4), law.at(30.0));
        assert_eq!(Law { coherency: 0.0, ..law }.best(), None);
    }

    #[test]
    fn noise_of_two_percent_moves_the_law_by_little_and_nothing_below_zero() {
        let law = Law { one: 50.0, contention: 0.02, coherency: 0.0, worst: 0.0 };
        let noise = |i: usize| [0.02, -0.02, 0.013, -0.007, 0.0, 0.02, -0.016, 0.01, -0.02][i];
        let found = Law::fit(&points(&law, noise)).expect("a law");
        assert!((found.one / 50.0 - 1.0).abs() < 0.03 && found.worst < 0.05, "{found:?}");
        assert!((found.contention - 0.02).abs() < 0.004 && found.coherency >= 0.0, "{found:?}");
        // Better than linear is no law of this kind: its parameters stay at the border.
        let above: Vec<[f64; 2]> = CONCURRENCY.iter().map(|n| [*n, n.powf(1.1)]).collect();
        let found = Law::fit(&above).expect("a law");
        assert_eq!((found.contention, found.coherency), (0.0, 0.0));
    }

    #[test]
    fn too_few_points_or_none_that_are_numbers_have_no_law() {
        assert_eq!(Law::fit(&[[1.0, 2.0], [2.0, 3.0], [2.0, 3.1]]), None);
        assert_eq!(Law::fit(&[[1.0, f64::NAN], [2.0, 3.0], [4.0, 0.0], [8.0, 9.0]]), None);
    }
}
