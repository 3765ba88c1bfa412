//! Limited-memory BFGS between bounds.
//!
//! Variables at a bound that the gradient pushes against are held; among the others the inverse Hessian comes from
//! the last pairs of steps and gradient changes by the two-loop recursion. Steps are projected on the bounds and cut
//! until the value falls by a share of what the slope promises (Armijo). Sources: Nocedal, Math. Comp. 35 (1980) 773;
//! Bertsekas, SIAM J. Control Optim. 20 (1982) 221.

use std::collections::VecDeque;

use super::{Bounds, End, Optimum, Record, dot, greatest};

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The descent has converged when no component of the projected gradient is greater.
    pub tolerance: f64,
    /// Most iterations.
    pub iterations: usize,
    /// Pairs of steps and gradient changes that are remembered.
    pub memory: usize,
    /// Most that a variable moves in the first step, before anything is known of the curvature.
    pub first: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { tolerance: 1e-6, iterations: 200, memory: 10, first: 0.1 }
    }
}

/// A step and the change of the gradient along it.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
}

/// A design with its value and gradient.
struct Place {
    design: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

/// Minimises a function between bounds from a start.
///
/// `evaluate` returns the value and the gradient. A value that is not finite (a design whose flow has no solution)
/// makes the step shorter. `watch` sees every iteration and its design, and returns whether to go on.
///
/// # Errors
///
/// The first error of `evaluate`.
pub fn minimize<E>(
    start: &[f64],
    bounds: &Bounds,
    settings: &Settings,
    mut evaluate: impl FnMut(&[f64]) -> Result<(f64, Vec<f64>), E>,
    mut watch: impl FnMut(&Record, &[f64]) -> bool,
) -> Result<Optimum, E> {
    let mut design = start.to_vec();
    bounds.project(&mut design);
    let (value, gradient) = evaluate(&design)?;
    let mut place = Place { design, value, gradient };
    let mut pairs: VecDeque<Pair> = VecDeque::new();
    let mut history: Vec<Record> = Vec::new();
    let mut evaluations = 1;
    let end = loop {
        let optimality = place.optimality(bounds);
        let record = Record { evaluations, value: place.value, violation: 0.0, optimality };
        history.push(record);
        if !watch(&record, &place.design) {
            break End::Stopped;
        }
        if optimality <= settings.tolerance {
            break End::Converged;
        }
        if history.len() > settings.iterations {
            break End::Limit;
        }
        let Some(next) = advance(&place, bounds, settings, &mut pairs, |x| {
            evaluations += 1;
            evaluate(x)
        })?
        else {
            break End::Stalled;
        };
        place = next;
    };
    Ok(Optimum { design: place.design, value: place.value, history, end })
}

/// The next place, or none if there is no better one along the direction of steepest descent either.
fn advance<E>(
    place: &Place,
    bounds: &Bounds,
    settings: &Settings,
    pairs: &mut VecDeque<Pair>,
    mut evaluate: impl FnMut(&[f64]) -> Result<(f64, Vec<f64>), E>,
) -> Result<Option<Place>, E> {
    loop {
        let direction = place.direction(bounds, pairs, settings.first);
        if let Some(next) = search(place, bounds, &direction, &mut evaluate)? {
            remember(pairs, place, &next, settings.memory);
            return Ok(Some(next));
        }
        if pairs.is_empty() {
            return Ok(None);
        }
        pairs.clear();
    }
}

impl Place {
    /// The greatest component of the projected gradient.
    fn optimality(&self, bounds: &Bounds) -> f64 {
        let mut moved: Vec<f64> =
            self.design.iter().zip(&self.gradient).map(|(x, g)| x - g).collect();
        bounds.project(&mut moved);
        greatest(moved.iter().zip(&self.design).map(|(m, x)| m - x))
    }

    /// Whether a variable may move: not if it is at a bound that its gradient pushes against.
    fn free(&self, bounds: &Bounds, i: usize) -> bool {
        let (x, g) = (self.design[i], self.gradient[i]);
        !(x <= bounds.low[i] && g > 0.0 || x >= bounds.high[i] && g < 0.0)
    }

    fn direction(&self, bounds: &Bounds, pairs: &VecDeque<Pair>, first: f64) -> Vec<f64> {
        let free: Vec<f64> =
            (0..self.design.len()).map(|i| f64::from(u8::from(self.free(bounds, i)))).collect();
        let masked = |v: &[f64]| -> Vec<f64> { v.iter().zip(&free).map(|(v, f)| v * f).collect() };
        let downhill: Vec<f64> = masked(&self.gradient).iter().map(|g| -g).collect();
        let kept: Vec<Pair> = pairs
            .iter()
            .map(|pair| Pair { step: masked(&pair.step), change: masked(&pair.change) })
            .filter(|pair| curved(&pair.step, &pair.change))
            .collect();
        if kept.is_empty() {
            let scale = first / greatest(downhill.iter().copied()).max(f64::MIN_POSITIVE);
            return downhill.iter().map(|v| v * scale).collect();
        }
        two_loops(downhill, &kept)
    }
}

/// Whether a pair shows curvature that is positive beyond rounding.
fn curved(step: &[f64], change: &[f64]) -> bool {
    dot(step, change) > 1e-12 * (dot(step, step) * dot(change, change)).sqrt()
}

/// Multiplies by the inverse Hessian of the pairs.
fn two_loops(mut direction: Vec<f64>, pairs: &[Pair]) -> Vec<f64> {
    let add = |to: &mut [f64], share: f64, v: &[f64]| {
        to.iter_mut().zip(v).for_each(|(to, v)| *to += share * v);
    };
    let mut shares = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let share = dot(&pair.step, &direction) / dot(&pair.step, &pair.change);
        add(&mut direction, -share, &pair.change);
        shares.push(share);
    }
    if let Some(Pair { step, change }) = pairs.last() {
        let scale = dot(step, change) / dot(change, change);
        direction.iter_mut().for_each(|v| *v *= scale);
    }
    for (pair, share) in pairs.iter().zip(shares.into_iter().rev()) {
        let back = dot(&pair.change, &direction) / dot(&pair.step, &pair.change);
        add(&mut direction, share - back, &pair.step);
    }
    direction
}

/// Shortens a step until the value falls as its slope promises.
fn search<E>(
    place: &Place,
    bounds: &Bounds,
    direction: &[f64],
    evaluate: &mut impl FnMut(&[f64]) -> Result<(f64, Vec<f64>), E>,
) -> Result<Option<Place>, E> {
    const SHARE: f64 = 1e-4;
    let mut length = 1.0;
    for _ in 0..25 {
        let mut design: Vec<f64> =
            place.design.iter().zip(direction).map(|(x, d)| x + length * d).collect();
        bounds.project(&mut design);
        let step: Vec<f64> = design.iter().zip(&place.design).map(|(a, b)| a - b).collect();
        let promise = dot(&place.gradient, &step);
        if promise >= 0.0 {
            return Ok(None);
        }
        let (value, gradient) = evaluate(&design)?;
        if value <= place.value + SHARE * promise {
            return Ok(Some(Place { design, value, gradient }));
        }
        // The minimum of the parabola through what is known.
        let parabola = -promise / (2.0 * (value - place.value - promise));
        length *= if parabola.is_finite() { parabola.clamp(0.1, 0.5) } else { 0.2 };
    }
    Ok(None)
}

fn remember(pairs: &mut VecDeque<Pair>, from: &Place, to: &Place, memory: usize) {
    let minus = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>();
    let pair =
        Pair { step: minus(&to.design, &from.design), change: minus(&to.gradient, &from.gradient) };
    if curved(&pair.step, &pair.change) {
        pairs.push_back(pair);
    }
    if pairs.len() > memory {
        pairs.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn run(start: &[f64], bounds: &Bounds, f: impl Fn(&[f64]) -> (f64, Vec<f64>)) -> Optimum {
        let settings = Settings { tolerance: 1e-9, ..Settings::default() };
        let evaluate = |x: &[f64]| Ok::<_, Infallible>(f(x));
        match minimize(start, bounds, &settings, evaluate, |_, _| true) {
            Ok(optimum) => optimum,
            Err(never) => match never {},
        }
    }

    fn rosenbrock(x: &[f64]) -> (f64, Vec<f64>) {
        let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
        (a * a + 100.0 * b * b, vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b])
    }

    #[test]
    fn rosenbrocks_valley_is_followed_to_its_end() {
        let optimum = run(&[-1.2, 1.0], &Bounds::none(2), rosenbrock);
        assert_eq!(optimum.end, End::Converged);
        assert!(optimum.design.iter().all(|x| (x - 1.0).abs() < 1e-8), "{:?}", optimum.design);
        assert!(optimum.history.len() < 60, "{} iterations", optimum.history.len());
    }

    /// With x ≤ 0.5 the valley's lowest point is on the bound: x = 0.5, y = x².
    #[test]
    fn a_bound_across_the_valley_holds() {
        let bounds = Bounds::new(&[[-2.0, 0.5], [-2.0, 2.0]]).expect("bounds");
        let optimum = run(&[-1.2, 1.0], &bounds, rosenbrock);
        assert_eq!(optimum.end, End::Converged);
        assert_eq!(optimum.design[0], 0.5);
        assert!((optimum.design[1] - 0.25).abs() < 1e-9);
    }

    /// ½ Σ k (x − c)² between bounds has its minimum at c clamped, whatever the curvatures.
    #[test]
    fn a_separable_quadratic_ends_at_its_clamped_centre() {
        let centre = |i: usize| (i as f64 * 1.7).sin() * 2.0;
        let stiffness = |i: usize| 10.0_f64.powi(i as i32 % 5);
        let bounds = Bounds::new(&[[-1.0, 1.0]; 20]).expect("bounds");
        let optimum = run(&[0.3; 20], &bounds, |x| {
            let off = |i: usize| x[i] - centre(i);
            let value = (0..20).map(|i| stiffness(i) * off(i) * off(i) / 2.0).sum();
            (value, (0..20).map(|i| stiffness(i) * off(i)).collect())
        });
        assert_eq!(optimum.end, End::Converged);
        for (i, x) in optimum.design.iter().enumerate() {
            assert!((x - centre(i).clamp(-1.0, 1.0)).abs() < 1e-8, "{i}: {x}");
        }
    }

    #[test]
    fn a_gradient_of_the_wrong_sign_is_a_stall_and_no_optimum() {
        let optimum = run(&[1.0], &Bounds::none(1), |x| (x[0] * x[0], vec![-2.0 * x[0]]));
        assert_eq!(optimum.end, End::Stalled);
    }

    /// Beyond x = 2 there is no value; the descent from 10 x − … must not step there.
    #[test]
    fn designs_without_a_value_are_stepped_back_from() {
        let optimum = run(&[0.0], &Bounds::none(1), |x| {
            if x[0] > 2.0 {
                (f64::NAN, vec![f64::NAN])
            } else {
                ((x[0] - 1.9).powi(4), vec![4.0 * (x[0] - 1.9).powi(3)])
            }
        });
        assert!((optimum.design[0] - 1.9).abs() < 1e-2, "{:?}", optimum);
    }

    #[test]
    fn bounds_out_of_order_are_refused() {
        assert!(Bounds::new(&[[0.0, 1.0], [1.0, f64::NAN]]).is_err());
        assert!(Bounds::new(&[[1.0, 1.0]]).is_err());
    }
}
