//! The method of moving asymptotes: many variables, few constraints.
//!
//! Objective and constraints are replaced by sums of p/(U − x) + q/(x − L), which are convex and separable; the
//! asymptotes L and U come closer where a variable oscillates and move apart where it does not. The subproblem is
//! solved in its dual, which has one variable for each constraint. Sources: Svanberg, Int. J. Numer. Meth. Eng. 24
//! (1987) 359; the small convex terms and elastic variables as in his notes of 2007.

use super::{Bounds, End, Optimum, Record, greatest};

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The descent has converged when no variable moves by more than this share of its range and no constraint is
    /// violated by more.
    pub tolerance: f64,
    /// Most iterations.
    pub iterations: usize,
    /// Most that a variable moves in one iteration, as a share of its range.
    pub step: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { tolerance: 1e-4, iterations: 200, step: 0.2 }
    }
}

/// A value and its gradient.
#[derive(Clone, Debug)]
pub struct Valued {
    /// The value.
    pub value: f64,
    /// Its gradient.
    pub gradient: Vec<f64>,
}

/// A problem at a design.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// What is minimised.
    pub objective: Valued,
    /// What must not be positive.
    pub constraints: Vec<Valued>,
}

/// Price of violating a constraint, per unit: a subproblem without a solution gives the least violation instead.
const PRICE: f64 = 1e4;

/// Minimises with constraints from a start; `bounds` must be finite.
///
/// `watch` sees every iteration and its design, and returns whether to go on.
///
/// # Errors
///
/// The first error of `evaluate`.
pub fn minimize<E>(
    start: &[f64],
    bounds: &Bounds,
    settings: &Settings,
    mut evaluate: impl FnMut(&[f64]) -> Result<Evaluation, E>,
    mut watch: impl FnMut(&Record, &[f64]) -> bool,
) -> Result<Optimum, E> {
    let mut design = start.to_vec();
    bounds.project(&mut design);
    let mut asymptotes = Asymptotes::new(bounds);
    let (mut history, mut change) = (Vec::new(), f64::INFINITY);
    loop {
        let at = evaluate(&design)?;
        let violation =
            greatest(at.constraints.iter().map(|c| if c.value < 0.0 { 0.0 } else { c.value }));
        let (evaluations, value) = (history.len() + 1, at.objective.value);
        let record = Record { evaluations, value, violation, optimality: change };
        history.push(record);
        let end = if !watch(&record, &design) {
            Some(End::Stopped)
        } else if !value.is_finite() || violation.is_nan() {
            Some(End::Stalled)
        } else if change <= settings.tolerance && violation <= settings.tolerance {
            Some(End::Converged)
        } else {
            (history.len() > settings.iterations).then_some(End::Limit)
        };
        if let Some(end) = end {
            return Ok(Optimum { design, value, history, end });
        }
        let subproblem = asymptotes.around(&design, bounds, settings.step, &at);
        let next = subproblem.solve();
        let moved = next.iter().zip(&design).enumerate();
        change = greatest(moved.map(|(i, (a, b))| (a - b) / bounds.range(i)));
        design = next;
    }
}

/// The asymptotes and the last designs, which move them.
struct Asymptotes {
    low: Vec<f64>,
    high: Vec<f64>,
    before: Vec<Vec<f64>>,
}

impl Asymptotes {
    fn new(bounds: &Bounds) -> Self {
        let none = vec![0.0; bounds.low.len()];
        Self { low: none.clone(), high: none, before: Vec::new() }
    }

    fn around(&mut self, x: &[f64], bounds: &Bounds, step: f64, at: &Evaluation) -> Subproblem {
        for i in 0..x.len() {
            let range = bounds.range(i);
            let (mut below, mut above) = (0.5 * range, 0.5 * range);
            if let [.., earlier, last] = &self.before[..] {
                let turn = (x[i] - last[i]) * (last[i] - earlier[i]);
                let factor = if turn > 0.0 { 1.2 } else { if turn < 0.0 { 0.7 } else { 1.0 } };
                let widened = |gap: f64| (factor * gap).clamp(0.01 * range, 10.0 * range);
                (below, above) = (widened(last[i] - self.low[i]), widened(self.high[i] - last[i]));
            }
            (self.low[i], self.high[i]) = (x[i] - below, x[i] + above);
        }
        self.before.push(x.to_vec());
        if self.before.len() > 2 {
            self.before.remove(0);
        }
        self.subproblem(x, bounds, step, at)
    }

    fn subproblem(&self, x: &[f64], bounds: &Bounds, step: f64, at: &Evaluation) -> Subproblem {
        let least = |i: usize| {
            let near = x[i] - 0.9 * (x[i] - self.low[i]);
            bounds.low[i].max(near).max(x[i] - step * bounds.range(i))
        };
        let most = |i: usize| {
            let near = x[i] + 0.9 * (self.high[i] - x[i]);
            bounds.high[i].min(near).min(x[i] + step * bounds.range(i))
        };
        Subproblem {
            low: self.low.clone(),
            high: self.high.clone(),
            least: (0..x.len()).map(least).collect(),
            most: (0..x.len()).map(most).collect(),
            objective: self.approximate(x, bounds, &at.objective),
            constraints: at.constraints.iter().map(|c| self.approximate(x, bounds, c)).collect(),
        }
    }

    /// The convex separable function with the value and gradient of another at `x`.
    fn approximate(&self, x: &[f64], bounds: &Bounds, f: &Valued) -> Separable {
        let (mut above, mut below, mut rest) = (Vec::new(), Vec::new(), f.value);
        for (i, &slope) in f.gradient.iter().enumerate() {
            let (up, down) = (slope.max(0.0), (-slope).max(0.0));
            let small = 0.001 * (up + down) + 1e-5 / bounds.range(i);
            let (over, under) = (self.high[i] - x[i], x[i] - self.low[i]);
            above.push(over * over * (up + small));
            below.push(under * under * (down + small));
            rest -= above[i] / over + below[i] / under;
        }
        Separable { above, below, rest }
    }
}

/// Σ p/(U − x) + q/(x − L) + r.
struct Separable {
    above: Vec<f64>,
    below: Vec<f64>,
    rest: f64,
}

struct Subproblem {
    low: Vec<f64>,
    high: Vec<f64>,
    least: Vec<f64>,
    most: Vec<f64>,
    objective: Separable,
    constraints: Vec<Separable>,
}

/// The dual function at some prices.
struct Dual {
    design: Vec<f64>,
    value: f64,
    /// Violation of each constraint, less what its elastic variable takes.
    gradient: Vec<f64>,
    /// The negative second derivative, row after row.
    curvature: Vec<f64>,
}

impl Subproblem {
    /// The design at the greatest value of the dual, by Newton's method on the prices that are not held at 0.
    fn solve(&self) -> Vec<f64> {
        let mut prices = vec![1.0; self.constraints.len()];
        let mut dual = self.dual(&prices);
        for _ in 0..100 {
            let free: Vec<usize> =
                (0..prices.len()).filter(|&i| prices[i] > 0.0 || dual.gradient[i] > 0.0).collect();
            let scale = 1.0 + dual.value.abs();
            if greatest(free.iter().map(|&i| dual.gradient[i])) <= 1e-11 * scale {
                break;
            }
            let direction = dual.direction(&free);
            let Some((next, better)) = self.uphill(&prices, &dual, &free, &direction) else {
                break;
            };
            (prices, dual) = (next, better);
        }
        dual.design
    }

    fn uphill(
        &self,
        prices: &[f64],
        dual: &Dual,
        free: &[usize],
        direction: &[f64],
    ) -> Option<(Vec<f64>, Dual)> {
        let mut length = 1.0;
        for _ in 0..40 {
            let mut next = prices.to_vec();
            for (&i, step) in free.iter().zip(direction) {
                next[i] = (prices[i] + length * step).max(0.0);
            }
            let there = self.dual(&next);
            let promise: f64 =
                (0..next.len()).map(|i| dual.gradient[i] * (next[i] - prices[i])).sum();
            if promise > 0.0 && there.value >= dual.value + 1e-4 * promise {
                return Some((next, there));
            }
            length /= 2.0;
        }
        None
    }

    fn dual(&self, prices: &[f64]) -> Dual {
        let count = prices.len();
        let (mut value, mut gradient) = (self.objective.rest, Vec::with_capacity(count));
        let mut curvature = vec![0.0; count * count];
        for (i, (&price, constraint)) in prices.iter().zip(&self.constraints).enumerate() {
            // The elastic variable y costs PRICE y + y²/2.
            let elastic = (price - PRICE).max(0.0);
            value += price * constraint.rest - elastic * elastic / 2.0;
            gradient.push(constraint.rest - elastic);
            curvature[i * count + i] = f64::from(u8::from(elastic > 0.0));
        }
        let mut dual = Dual { design: vec![0.0; self.low.len()], value, gradient, curvature };
        for j in 0..self.low.len() {
            self.add(j, prices, &mut dual);
        }
        dual
    }

    /// Adds a variable: the best value for it at the prices, its share of value, gradient and curvature.
    fn add(&self, j: usize, prices: &[f64], dual: &mut Dual) {
        let sum = |side: fn(&Separable) -> &Vec<f64>| {
            let priced = prices.iter().zip(&self.constraints).map(|(p, c)| p * side(c)[j]);
            side(&self.objective)[j] + priced.sum::<f64>()
        };
        let (p, q) = (sum(|f| &f.above), sum(|f| &f.below));
        let (low, high) = (self.low[j], self.high[j]);
        let best = (p.sqrt() * low + q.sqrt() * high) / (p.sqrt() + q.sqrt());
        let x = best.clamp(self.least[j], self.most[j]);
        let (over, under) = (high - x, x - low);
        dual.design[j] = x;
        dual.value += p / over + q / under;
        let slope = |c: &Separable| c.above[j] / (over * over) - c.below[j] / (under * under);
        let bend = 2.0 * (p / over.powi(3) + q / under.powi(3));
        let count = prices.len();
        for (i, c) in self.constraints.iter().enumerate() {
            dual.gradient[i] += c.above[j] / over + c.below[j] / under;
            if x == best {
                for (k, other) in self.constraints.iter().enumerate() {
                    dual.curvature[i * count + k] += slope(c) * slope(other) / bend;
                }
            }
        }
    }
}

impl Dual {
    /// Newton's step for some of the prices.
    fn direction(&self, free: &[usize]) -> Vec<f64> {
        let count = self.gradient.len();
        let mut rows: Vec<Vec<f64>> = free
            .iter()
            .map(|&i| {
                let mut row: Vec<f64> =
                    free.iter().map(|&k| self.curvature[i * count + k]).collect();
                row.push(self.gradient[i]);
                row
            })
            .collect();
        let trace: f64 = (0..free.len()).map(|i| rows[i][i]).sum();
        for (i, row) in rows.iter_mut().enumerate() {
            // All variables may stand at their limits, where the dual has no curvature.
            row[i] += 1e-12 * trace + 1e-14;
        }
        eliminate(rows)
    }
}

/// Solves a small symmetric positive definite system by elimination; the last column is the right side.
fn eliminate(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
    let count = rows.len();
    for i in 0..count {
        let (above, below) = rows.split_at_mut(i + 1);
        let pivot = &above[i];
        for row in below {
            let share = row[i] / pivot[i];
            row.iter_mut().zip(pivot).skip(i).for_each(|(value, p)| *value -= share * p);
        }
    }
    let mut solution = vec![0.0; count];
    for i in (0..count).rev() {
        let known: f64 = (i + 1..count).map(|k| rows[i][k] * solution[k]).sum();
        solution[i] = (rows[i][count] - known) / rows[i][i];
    }
    solution
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn run(start: &[f64], bounds: &Bounds, f: impl Fn(&[f64]) -> Evaluation) -> Optimum {
        let settings = Settings { tolerance: 1e-7, step: 0.5, ..Settings::default() };
        let evaluate = |x: &[f64]| Ok::<_, Infallible>(f(x));
        match minimize(start, bounds, &settings, evaluate, |_, _| true) {
            Ok(optimum) => optimum,
            Err(never) => match never {},
        }
    }

    /// Svanberg's cantilever of five boxes: weight Σ x, deflection Σ a/x³ ≤ 1. Stationarity gives x = a^¼ · s, the
    /// constraint s³ = Σ a^¼.
    #[test]
    fn the_cantilever_beam_has_its_closed_form_optimum() {
        const A: [f64; 5] = [61.0, 37.0, 19.0, 7.0, 1.0];
        const WEIGHT: f64 = 0.0624;
        let bounds = Bounds::new(&[[1.0, 10.0]; 5]).expect("bounds");
        let optimum = run(&[5.0; 5], &bounds, |x| {
            let deflection: f64 = A.iter().zip(x).map(|(a, x)| a / x.powi(3)).sum();
            let slope = A.iter().zip(x).map(|(a, x)| -3.0 * a / x.powi(4)).collect();
            let weight = WEIGHT * x.iter().sum::<f64>();
            Evaluation {
                objective: Valued { value: weight, gradient: vec![WEIGHT; 5] },
                constraints: vec![Valued { value: deflection - 1.0, gradient: slope }],
            }
        });
        assert_eq!(optimum.end, End::Converged);
        let roots = A.map(f64::sqrt).map(f64::sqrt);
        let scale = roots.iter().sum::<f64>().cbrt();
        for (x, root) in optimum.design.iter().zip(roots) {
            assert!((x - scale * root).abs() < 1e-4, "{x} vs {}", scale * root);
        }
        assert!((optimum.value - 1.33996).abs() < 1e-4, "{}", optimum.value);
        assert!(optimum.history.len() < 40, "{} iterations", optimum.history.len());
    }

    /// The point of two overlapping balls that is nearest to the origin: on both spheres, in the plane of the
    /// centres and the origin's multipliers (x = λ(c − x) + μ(d − x) with λ, μ ≥ 0).
    #[test]
    fn two_constraints_that_both_hold_have_positive_multipliers() {
        const CENTRES: [[f64; 3]; 2] = [[5.0, 2.0, 1.0], [3.0, 4.0, 3.0]];
        let bounds = Bounds::new(&[[0.0, 5.0]; 3]).expect("bounds");
        let optimum = run(&[4.0, 3.0, 2.0], &bounds, |x| {
            let ball = |c: [f64; 3]| Valued {
                value: x.iter().zip(c).map(|(x, c)| (x - c).powi(2)).sum::<f64>() - 9.0,
                gradient: x.iter().zip(c).map(|(x, c)| 2.0 * (x - c)).collect(),
            };
            Evaluation {
                objective: Valued {
                    value: x.iter().map(|x| x * x).sum(),
                    gradient: x.iter().map(|x| 2.0 * x).collect(),
                },
                constraints: CENTRES.map(ball).to_vec(),
            }
        });
        assert_eq!(optimum.end, End::Converged);
        let x = &optimum.design;
        let away = CENTRES.map(|c| [0, 1, 2].map(|i| c[i] - x[i]));
        for arm in away {
            assert!((arm.iter().map(|v| v * v).sum::<f64>() - 9.0).abs() < 1e-5);
        }
        // Two of the three equations give the multipliers; the third must hold with them.
        let [a, b] = away;
        let det = a[0] * b[1] - a[1] * b[0];
        let first = (x[0] * b[1] - x[1] * b[0]) / det;
        let second = (a[0] * x[1] - a[1] * x[0]) / det;
        assert!(first > 0.0 && second > 0.0, "{first} {second}");
        assert!((first * a[2] + second * b[2] - x[2]).abs() < 1e-4);
    }

    /// x ≥ 2 within [0, 1] cannot be: the least violation is at 1, and is not called an optimum.
    #[test]
    fn constraints_that_cannot_hold_are_no_optimum() {
        let bounds = Bounds::new(&[[0.0, 1.0]]).expect("bounds");
        let optimum = run(&[0.2], &bounds, |x| Evaluation {
            objective: Valued { value: x[0], gradient: vec![1.0] },
            constraints: vec![Valued { value: 2.0 - x[0], gradient: vec![-1.0] }],
        });
        assert_eq!(optimum.end, End::Limit);
        assert!((optimum.design[0] - 1.0).abs() < 1e-6);
    }
}
