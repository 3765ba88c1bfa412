//! Restarted GMRES, right-preconditioned, for operators that are only known by what they do to a vector (Saad &
//! Schultz 1986).
//!
//! With the factors of a neighbouring problem as preconditioner it solves for a new Reynolds number in some twenty
//! steps, in either direction. For a new shape, factor again: the old factors are hardly better than none.

use crate::{
    Error,
    vector::{dot, norm},
};

/// When to restart and when to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gmres {
    /// Length of the basis.
    pub restart: usize,
    /// Most applications of the operator.
    pub most: usize,
    /// Residual to reach, relative to the right-hand side.
    pub tolerance: f64,
}

impl Default for Gmres {
    fn default() -> Self {
        Self { restart: 60, most: 300, tolerance: 1e-10 }
    }
}

/// A solution with the number of operator applications that it took.
#[derive(Clone, Debug)]
pub struct Solution {
    /// The unknowns.
    pub x: Vec<f64>,
    /// Applications of the operator.
    pub iterations: usize,
}

impl Gmres {
    /// Solves `A x = b`; `apply` is A, `precondition` overwrites a vector by an approximation of A⁻¹ times it.
    ///
    /// # Errors
    ///
    /// [`Error::Singular`] if the residual did not fall to the tolerance: an iterate at the cap is no solution.
    pub fn solve(
        &self,
        apply: &dyn Fn(&[f64]) -> Vec<f64>,
        precondition: &dyn Fn(&mut [f64]),
        b: &[f64],
    ) -> Result<Solution, Error> {
        let mut solution = Solution { x: vec![0.0; b.len()], iterations: 0 };
        let goal = self.tolerance * norm(b);
        loop {
            let product = apply(&solution.x);
            let rest: Vec<f64> = b.iter().zip(product).map(|(b, p)| b - p).collect();
            let size = norm(&rest);
            if size <= goal {
                return Ok(solution);
            }
            if solution.iterations >= self.most || size.is_nan() {
                let reason = format!(
                    "GMRES: residual {:.1e} after {} steps",
                    size / norm(b),
                    solution.iterations
                );
                return Err(Error::Singular { unknowns: b.len(), reason });
            }
            self.cycle(apply, precondition, &rest, goal, &mut solution);
        }
    }

    /// One basis: minimises the residual over it and adds the correction.
    fn cycle(
        &self,
        apply: &dyn Fn(&[f64]) -> Vec<f64>,
        precondition: &dyn Fn(&mut [f64]),
        rest: &[f64],
        goal: f64,
        solution: &mut Solution,
    ) {
        let size = norm(rest);
        let mut basis = vec![rest.iter().map(|r| r / size).collect::<Vec<f64>>()];
        let mut least = LeastSquares::new(size);
        while basis.len() <= self.restart && solution.iterations < self.most {
            let mut direction = basis[basis.len() - 1].clone();
            precondition(&mut direction);
            let mut next = apply(&direction);
            solution.iterations += 1;
            let mut column: Vec<f64> = basis.iter().map(|q| project(&mut next, q)).collect();
            // Once more: after one pass the basis loses its orthogonality.
            basis.iter().zip(&mut column).for_each(|(q, h)| *h += project(&mut next, q));
            let length = norm(&next);
            least.push(column, length);
            if least.residual() <= 0.5 * goal || length <= f64::EPSILON * size {
                break;
            }
            basis.push(next.iter().map(|v| v / length).collect());
        }
        let mut correction = vec![0.0; rest.len()];
        for (y, q) in least.minimiser().iter().zip(&basis) {
            correction.iter_mut().zip(q).for_each(|(c, q)| *c += y * q);
        }
        precondition(&mut correction);
        solution.x.iter_mut().zip(&correction).for_each(|(x, c)| *x += c);
    }
}

/// Takes the part along `q` out of `v`, and returns its length.
fn project(v: &mut [f64], q: &[f64]) -> f64 {
    let part = dot(v, q);
    v.iter_mut().zip(q).for_each(|(v, q)| *v -= part * q);
    part
}

/// min ‖size e₁ − H y‖ for a growing Hessenberg matrix H, by Givens rotations.
struct LeastSquares {
    columns: Vec<Vec<f64>>,
    rotations: Vec<(f64, f64)>,
    right: Vec<f64>,
}

impl LeastSquares {
    fn new(size: f64) -> Self {
        Self { columns: Vec::new(), rotations: Vec::new(), right: vec![size] }
    }

    fn push(&mut self, mut column: Vec<f64>, below: f64) {
        column.push(below);
        for (i, &(c, s)) in self.rotations.iter().enumerate() {
            let (a, b) = (column[i], column[i + 1]);
            (column[i], column[i + 1]) = (c * a + s * b, c * b - s * a);
        }
        let k = self.rotations.len();
        let radius = column[k].hypot(column[k + 1]);
        let (c, s) =
            if radius > 0.0 { (column[k] / radius, column[k + 1] / radius) } else { (1.0, 0.0) };
        column[k] = radius;
        column.truncate(k + 1);
        let last = self.right[k];
        self.right[k] = c * last;
        self.right.push(-s * last);
        self.rotations.push((c, s));
        self.columns.push(column);
    }

    fn residual(&self) -> f64 {
        self.right.last().map_or(0.0, |r| r.abs())
    }

    fn minimiser(&self) -> Vec<f64> {
        let mut y = self.right[..self.columns.len()].to_vec();
        for k in (0..y.len()).rev() {
            y[k] /= self.columns[k][k];
            let last = y[k];
            (0..k).for_each(|i| y[i] -= self.columns[k][i] * last);
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: usize = 40;

    /// A non-symmetric tridiagonal operator.
    fn apply(x: &[f64]) -> Vec<f64> {
        let at = |i: usize, step: isize| {
            i.checked_add_signed(step).and_then(|i| x.get(i)).copied().unwrap_or(0.0)
        };
        (0..N).map(|i| 2.5 * x[i] - 1.7 * at(i, -1) - 0.4 * at(i, 1)).collect()
    }

    #[test]
    fn it_solves_with_and_without_restarts() -> Result<(), Error> {
        let b: Vec<f64> = (0..N).map(|i| (i as f64).sin()).collect();
        for restart in [10, N] {
            let gmres = Gmres { restart, most: 2000, tolerance: 1e-11 };
            let Solution { x, iterations } = gmres.solve(&apply, &|_| (), &b)?;
            let rest: Vec<f64> = apply(&x).iter().zip(&b).map(|(a, b)| a - b).collect();
            assert!(norm(&rest) <= 1e-11 * norm(&b));
            assert!(restart < N || iterations <= N);
        }
        Ok(())
    }

    #[test]
    fn a_solution_that_did_not_arrive_is_an_error() {
        let b = vec![1.0; N];
        let gmres = Gmres { restart: 3, most: 4, tolerance: 1e-11 };
        assert!(gmres.solve(&apply, &|_| (), &b).is_err());
    }
}
