//! Linear systems: sparse LU with partial pivoting, tested after every solve.
//!
//! The pressure has a zero diagonal, so pivoting is not optional: static pivoting, ILU(0) and diagonal scaling fail
//! on this saddle point. The symbolic factorisation is made once for a pattern, the numeric one again for each
//! matrix, in the same memory. A solution is refined until its residual is small; one that stays large is an error.
//! Factors of a neighbouring matrix may be kept: then refinement, and where that is too slow GMRES, solves with the
//! matrix itself.

use faer::{
    Conj, MatMut, Par,
    dyn_stack::{MemBuffer, MemStack},
    sparse::{
        SparseColMatRef, SymbolicSparseColMatRef,
        linalg::lu::{LuRef, NumericLu, SymbolicLu, factorize_symbolic_lu},
    },
};

use crate::{
    Error,
    assemble::Matrix,
    gmres::Gmres,
    stages::{Watch, Work},
    vector::norm,
};

/// Below this size more than one thread makes faer slower.
const PARALLEL_FROM: usize = 200_000;
/// A solution is good when its residual is below this share of its right-hand side and of what the product is made
/// of.
const GOOD: f64 = 1e-13;
/// Above this share, factors that do not belong to the matrix any more precondition GMRES.
const FAR: f64 = 1e-9;
/// A solution whose residual stays above this share is none.
const BAD: f64 = 1e-7;

/// A matrix with its factors.
#[derive(Debug)]
pub(crate) struct Factor {
    matrix: Matrix,
    symbolic: SymbolicLu<u32>,
    numeric: NumericLu<u32, f64>,
    factored: bool,
    watch: Watch,
}

impl Factor {
    /// The symbolic factorisation of a pattern.
    pub(crate) fn new(matrix: Matrix) -> Result<Self, Error> {
        let pattern = pattern(&matrix);
        let symbolic = factorize_symbolic_lu(pattern, Default::default())
            .map_err(|error| singular(&matrix, format!("{error:?}")))?;
        let numeric = NumericLu::new();
        Ok(Self { matrix, symbolic, numeric, factored: false, watch: Watch::default() })
    }

    /// New values in the same pattern, and their factors.
    pub(crate) fn refactor(&mut self, fill: impl FnOnce(&mut Matrix)) -> Result<(), Error> {
        self.watch.time(Work::Assembly, || fill(&mut self.matrix));
        if let Some(bad) = self.matrix.values.iter().position(|value| !value.is_finite()) {
            return Err(singular(&self.matrix, format!("entry {bad} is not finite")));
        }
        let par = self.parallelism();
        let request = self.symbolic.factorize_numeric_lu_scratch::<f64>(par, Default::default());
        let mut memory = MemBuffer::try_new(request)
            .map_err(|_| singular(&self.matrix, "its factors do not fit into memory".into()))?;
        let values = SparseColMatRef::new(pattern(&self.matrix), self.matrix.values.as_slice());
        let stack = MemStack::new(&mut memory);
        let (symbolic, numeric) = (&self.symbolic, &mut self.numeric);
        let done = self.watch.time(Work::Factor, || {
            let made =
                symbolic.factorize_numeric_lu(numeric, values, par, stack, Default::default());
            made.map(drop)
        });
        done.map_err(|error| singular(&self.matrix, format!("{error:?}")))?;
        self.factored = true;
        Ok(())
    }

    /// Whether two matrices have their entries in the same places.
    pub(crate) fn fits(&self, other: &Matrix) -> bool {
        self.matrix.columns == other.columns && self.matrix.rows == other.rows
    }

    /// New values under the factors of others, which precondition them; factors them only if nothing was.
    pub(crate) fn refill(&mut self, fill: impl FnOnce(&mut Matrix)) -> Result<(), Error> {
        if !self.factored {
            return self.refactor(fill);
        }
        self.watch.time(Work::Assembly, || fill(&mut self.matrix));
        Ok(())
    }

    /// Solves `A x = b`.
    ///
    /// # Errors
    ///
    /// [`Error::Singular`] if the residual stays large.
    pub(crate) fn solve(&self, b: &[f64]) -> Result<Vec<f64>, Error> {
        self.refined(b, None, false)
    }

    /// The same from a guess: what is solved for is the correction, whose error is smaller by as much as the guess is
    /// near.
    pub(crate) fn solve_near(&self, b: &[f64], guess: &[f64]) -> Result<Vec<f64>, Error> {
        self.refined(b, Some(guess), false)
    }

    /// Solves `Aᵀ x = b`.
    ///
    /// # Errors
    ///
    /// As [`Factor::solve`].
    pub(crate) fn solve_transposed(&self, b: &[f64]) -> Result<Vec<f64>, Error> {
        self.refined(b, None, true)
    }

    /// The same from a guess, as [`Factor::solve_near`].
    pub(crate) fn solve_transposed_near(
        &self,
        b: &[f64],
        guess: &[f64],
    ) -> Result<Vec<f64>, Error> {
        self.refined(b, Some(guess), true)
    }

    /// One application of the factors, without a test: a preconditioner.
    pub(crate) fn apply(&self, x: &mut [f64], transposed: bool) {
        let (n, par) = (self.matrix.size(), self.parallelism());
        let lu = LuRef::new_unchecked(&self.symbolic, &self.numeric);
        let request = self.symbolic.solve_in_place_scratch::<f64>(1, par);
        let mut memory = MemBuffer::new(request);
        let stack = MemStack::new(&mut memory);
        let x = MatMut::from_column_major_slice_mut(x, n, 1);
        self.watch.time(Work::Solve, || {
            if transposed {
                lu.solve_transpose_in_place_with_conj(Conj::No, x, par, stack);
            } else {
                lu.solve_in_place_with_conj(Conj::No, x, par, stack);
            }
        });
    }

    /// What its time went into.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Corrects a guess, or nothing, until the residual is small.
    fn refined(
        &self,
        b: &[f64],
        guess: Option<&[f64]>,
        transposed: bool,
    ) -> Result<Vec<f64>, Error> {
        let scale = norm(b).max(f64::MIN_POSITIVE);
        let mut x = guess.map_or_else(|| vec![0.0; b.len()], <[f64]>::to_vec);
        let mut rest = if guess.is_some() { self.rest(b, &x, transposed) } else { b.to_vec() };
        let mut error = norm(&rest) / scale;
        while error > GOOD || error.is_nan() {
            let mut better = rest;
            self.apply(&mut better, transposed);
            better.iter_mut().zip(&x).for_each(|(d, x)| *d += x);
            rest = self.rest(b, &better, transposed);
            let now = norm(&rest) / scale;
            let (falls, slowly) = (now < error, now > 0.3 * error);
            if falls {
                (x, error) = (better, now);
            }
            if !falls || slowly {
                break;
            }
        }
        if error > FAR {
            let rest = self.rest(b, &x, transposed);
            self.correct(&mut x, &rest, transposed);
            error = norm(&self.rest(b, &x, transposed)) / scale;
        }
        if error <= BAD {
            return Ok(x);
        }
        Err(singular(&self.matrix, format!("residual {error:.1e}")))
    }

    /// Adds what GMRES finds for the rest, if it finds it.
    fn correct(&self, x: &mut [f64], rest: &[f64], transposed: bool) {
        let product = |v: &[f64]| {
            if transposed { self.matrix.transposed_times(v) } else { self.matrix.times(v) }
        };
        let precondition = |v: &mut [f64]| self.apply(v, transposed);
        if let Ok(found) = Gmres::default().solve(&product, &precondition, rest) {
            x.iter_mut().zip(&found.x).for_each(|(x, d)| *x += d);
        }
    }

    fn rest(&self, b: &[f64], x: &[f64], transposed: bool) -> Vec<f64> {
        let product =
            if transposed { self.matrix.transposed_times(x) } else { self.matrix.times(x) };
        b.iter().zip(product).map(|(b, p)| b - p).collect()
    }

    fn parallelism(&self) -> Par {
        if self.matrix.size() >= PARALLEL_FROM { Par::rayon(0) } else { Par::Seq }
    }
}

fn pattern(matrix: &Matrix) -> SymbolicSparseColMatRef<'_, u32> {
    let n = matrix.size();
    SymbolicSparseColMatRef::new_checked(n, n, &matrix.columns, None, &matrix.rows)
}

fn singular(matrix: &Matrix, reason: String) -> Error {
    Error::Singular { unknowns: matrix.size(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A saddle point: zero in the last place of the diagonal.
    fn saddle() -> Result<Factor, Error> {
        let entries = [(0, 0), (1, 1), (2, 2), (0, 2), (2, 0), (1, 2), (2, 1), (0, 1)];
        let values = [4.0, 3.0, 0.0, 1.0, 1.0, -2.0, -2.0, 0.5];
        let mut factor = Factor::new(Matrix::new(3, &entries))?;
        factor.refactor(|matrix| matrix.fill(|emit| values.iter().for_each(|&v| emit(v))))?;
        Ok(factor)
    }

    #[test]
    fn a_saddle_point_is_solved_in_both_directions() -> Result<(), Error> {
        let factor = saddle()?;
        let b = [1.0, 2.0, 3.0];
        let x = factor.solve(&b)?;
        let y = factor.solve_transposed(&b)?;
        assert!(norm(&factor.rest(&b, &x, false)) < 1e-14);
        assert!(norm(&factor.rest(&b, &y, true)) < 1e-14);
        Ok(())
    }

    #[test]
    fn a_singular_matrix_is_an_error() -> Result<(), Error> {
        let entries = [(0, 0), (1, 0), (0, 1), (1, 1)];
        let mut factor = Factor::new(Matrix::new(2, &entries))?;
        let filled = factor
            .refactor(|m| m.fill(|emit| [1.0, 2.0, 2.0, 4.0].map(emit).into_iter().for_each(drop)));
        assert!(filled.and_then(|()| factor.solve(&[1.0, 0.0])).is_err());
        Ok(())
    }
}
