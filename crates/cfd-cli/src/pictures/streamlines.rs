//! Streamlines at even distances.
//!
//! New lines start beside those that stand, and a line ends where it comes too close to another. Source: Jobard &
//! Lefer, Visualization in Scientific Computing '97, 43.

/// A place on the picture, in px.
pub(crate) type Place = [f64; 2];

/// The picture's size, the distance between lines, and the direction of flow at a place.
pub(crate) struct Tracer<'a> {
    /// Width and height, in px.
    pub(crate) size: [f64; 2],
    /// Distance between lines, in px.
    pub(crate) apart: f64,
    /// Unit vector along the flow, if there is any at this place.
    pub(crate) direction: &'a dyn Fn(Place) -> Option<Place>,
}

/// Points of the lines so far, by squares of the distance between lines.
struct Crowd {
    columns: usize,
    side: f64,
    squares: Vec<Vec<Place>>,
}

/// Length of a step, in px.
const STEP: f64 = 1.5;
/// How close to another line a line may come, as a share of their distance.
const CLOSE: f64 = 0.55;
/// Lines with fewer points are left out.
const SHORTEST: usize = 16;

impl Crowd {
    fn new(size: [f64; 2], side: f64) -> Self {
        let [columns, rows] = size.map(|v| (v / side) as usize + 1);
        Self { columns, side, squares: vec![Vec::new(); columns * rows] }
    }

    fn square(&self, p: Place) -> [usize; 2] {
        p.map(|v| (v.max(0.0) / self.side) as usize)
    }

    fn add(&mut self, line: &[Place]) {
        for &p in line {
            let [i, j] = self.square(p);
            if let Some(square) = self.squares.get_mut(j * self.columns + i) {
                square.push(p);
            }
        }
    }

    /// Whether no line is nearer than a distance of at most the side of a square.
    fn is_free(&self, p: Place, distance: f64) -> bool {
        let [i, j] = self.square(p);
        let columns = i.saturating_sub(1)..(i + 2).min(self.columns);
        let near = (j.saturating_sub(1)..j + 2).flat_map(|j| columns.clone().map(move |i| (i, j)));
        let squares = near.filter_map(|(i, j)| self.squares.get(j * self.columns + i));
        squares.flatten().all(|q| (p[0] - q[0]).hypot(p[1] - q[1]) >= distance)
    }
}

impl Tracer<'_> {
    /// All lines, each along the flow.
    pub(crate) fn lines(&self) -> Vec<Vec<Place>> {
        let mut crowd = Crowd::new(self.size, self.apart);
        let mut lines: Vec<Vec<Place>> = Vec::new();
        let mut grown = 0;
        for seed in self.seeds() {
            self.try_line(seed, &mut crowd, &mut lines);
            // Beside every line that stands, before a new place is tried.
            while grown < lines.len() {
                for seed in self.beside(&lines[grown]) {
                    self.try_line(seed, &mut crowd, &mut lines);
                }
                grown += 1;
            }
        }
        lines
    }

    /// Places all over the picture, the middle of the left border first.
    fn seeds(&self) -> impl Iterator<Item = Place> {
        let [width, height] = self.size;
        let apart = self.apart;
        let count = move |length: f64| (length / apart) as usize;
        let all = (0..count(height)).flat_map(move |j| {
            (0..count(width)).map(move |i| [i, j].map(|k| (k as f64 + 0.5) * apart))
        });
        std::iter::once([2.0, height / 2.0]).chain(all)
    }

    fn beside(&self, line: &[Place]) -> Vec<Place> {
        let sides = |pair: &[Place]| {
            let [dx, dy] = [0, 1].map(|i| pair[1][i] - pair[0][i]);
            let scale = 1.01 * self.apart / dx.hypot(dy).max(1e-9);
            [1.0, -1.0].map(|s| [pair[0][0] - s * scale * dy, pair[0][1] + s * scale * dx])
        };
        line.windows(2).step_by(3).flat_map(sides).collect()
    }

    fn try_line(&self, seed: Place, crowd: &mut Crowd, lines: &mut Vec<Vec<Place>>) {
        if !self.holds(seed) || !crowd.is_free(seed, self.apart) {
            return;
        }
        let mut line = self.follow(seed, -1.0, crowd);
        line.reverse();
        line.push(seed);
        line.extend(self.follow(seed, 1.0, crowd));
        if line.len() >= SHORTEST {
            crowd.add(&line);
            lines.push(line);
        }
    }

    fn holds(&self, p: Place) -> bool {
        (0..2).all(|i| (0.0..self.size[i]).contains(&p[i]))
    }

    /// Follows the flow, or runs against it, until it leaves, stops, closes or comes close to another line.
    fn follow(&self, seed: Place, sign: f64, crowd: &Crowd) -> Vec<Place> {
        const MOST: usize = 4000;
        let (mut line, mut at) = (Vec::new(), seed);
        while line.len() < MOST {
            let Some(next) = self.step(at, sign * STEP) else { break };
            let back = (next[0] - seed[0]).hypot(next[1] - seed[1]) < STEP;
            let closed = line.len() > 20 && back;
            if !self.holds(next) || closed || !crowd.is_free(next, CLOSE * self.apart) {
                break;
            }
            line.push(next);
            at = next;
            // A spiral into a vortex would fill it with one line.
            if line.len().is_multiple_of(40) && self.curls(&line) {
                break;
            }
        }
        line
    }

    /// Whether a line's end is close to an earlier part of it.
    fn curls(&self, line: &[Place]) -> bool {
        let [.., end] = line else { return false };
        let earlier = &line[..line.len().saturating_sub((4.0 * self.apart / STEP) as usize)];
        earlier.iter().any(|p| (p[0] - end[0]).hypot(p[1] - end[1]) < CLOSE * self.apart)
    }

    /// A step by the midpoint rule.
    fn step(&self, p: Place, length: f64) -> Option<Place> {
        let first = (self.direction)(p)?;
        let middle = [0, 1].map(|i| p[i] + length / 2.0 * first[i]);
        let there = (self.direction)(middle)?;
        Some([0, 1].map(|i| p[i] + length * there[i]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(direction: &dyn Fn(Place) -> Option<Place>) -> Tracer<'_> {
        Tracer { size: [200.0, 120.0], apart: 10.0, direction }
    }

    #[test]
    fn a_uniform_flow_has_straight_lines_at_even_distances() {
        let lines = tracer(&|_| Some([1.0, 0.0])).lines();
        assert!((10..=13).contains(&lines.len()), "{} lines over 120 px", lines.len());
        let mut heights: Vec<f64> = lines.iter().map(|line| line[0][1]).collect();
        heights.sort_by(f64::total_cmp);
        assert!(heights.windows(2).all(|pair| pair[1] - pair[0] > 0.99 * 10.0));
        assert!(lines.iter().all(|line| line.windows(2).all(|p| p[1][0] > p[0][0])));
    }

    /// Lines of a solid rotation are circles: no point leaves its radius by more than the rule's error.
    #[test]
    fn a_rotation_has_circles() {
        let turn = |p: Place| {
            let (x, y) = (p[0] - 100.0, p[1] - 60.0);
            let r = x.hypot(y);
            (r > 1.0).then(|| [-y / r, x / r])
        };
        for line in tracer(&turn).lines() {
            let radius = |p: &Place| (p[0] - 100.0).hypot(p[1] - 60.0);
            let first = radius(&line[0]);
            assert!(line.iter().all(|p| (radius(p) - first).abs() < 1.0));
        }
    }
}
