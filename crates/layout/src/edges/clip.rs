//! Edges of one polygon, cut off at the window's border.

/// The parts of a polygon's edges that count, in parts of pixels.
pub(super) struct Clipped {
    border: f64,
    /// Pieces within the window.
    inside: Vec<[i32; 4]>,
    /// Ends of the pieces that lie on the left border, or were moved there: a place in y, and by how much coverage grows there.
    left: Vec<(i32, i32)>,
}

impl Clipped {
    /// No edge yet, in a window from 0 to `border`.
    pub(super) fn new(border: f64) -> Self {
        Self { border, inside: Vec::new(), left: Vec::new() }
    }

    /// Adds the parts of an edge: cut off below and above, moved from the left to the border, dropped on the right.
    pub(super) fn add(&mut self, from: [f64; 2], to: [f64; 2]) {
        let up = from[1] < to[1];
        let (low, high) = if up { (from, to) } else { (to, from) };
        let (y0, y1) = (low[1].max(0.0), high[1].min(self.border));
        if y0 >= y1 {
            return;
        }
        let slope = (high[0] - low[0]) / (high[1] - low[1]);
        let x_at = |y: f64| (low[0] + (y - low[1]) * slope).round();
        let ends = [
            if y0 > low[1] { x_at(y0) } else { low[0] },
            if y1 < high[1] { x_at(y1) } else { high[0] },
        ];
        let crossing = |x: f64| (low[1] + (x - low[0]) / slope).round().clamp(y0, y1);
        let crosses = |x: f64| (ends[0] < x) != (ends[1] < x);
        let mut cuts = [0.0, self.border].map(|x| if crosses(x) { crossing(x) } else { y0 });
        cuts.sort_by(f64::total_cmp);
        let places = [y0, cuts[0], cuts[1], y1];
        for pair in places.windows(2).filter(|pair| pair[0] < pair[1]) {
            let x = [0, 1].map(|i| match pair[i] {
                y if y == y0 => ends[0],
                y if y == y1 => ends[1],
                y => x_at(y),
            });
            self.piece([x[0], pair[0]], [x[1], pair[1]], up);
        }
    }

    /// Adds a piece on one side of the left and the right border.
    fn piece(&mut self, low: [f64; 2], high: [f64; 2], up: bool) {
        let middle = f64::midpoint(low[0], high[0]);
        let [y0, y1] = [low[1], high[1]].map(|y| y as i32);
        if middle >= self.border {
            return;
        }
        if middle <= 0.0 {
            let covers = if up { 1 } else { -1 };
            self.left.extend([(y0, covers), (y1, -covers)]);
            return;
        }
        let [x0, x1] = [low[0], high[0]].map(|x| x.clamp(0.0, self.border) as i32);
        self.inside.push(if up { [x0, y0, x1, y1] } else { [x1, y1, x0, y0] });
    }

    /// The pieces; those on the left border as few as can be. None if that border is covered more than once.
    pub(super) fn edges(mut self) -> Option<Vec<[i32; 4]>> {
        self.left.sort_unstable();
        let (mut covered, mut start) = (0, 0);
        for ends in self.left.chunk_by(|a, b| a.0 == b.0) {
            let (y, before) = (ends[0].0, covered);
            covered += ends.iter().map(|end| end.1).sum::<i32>();
            match (before, covered) {
                (a, b) if a == b => {}
                (0, 1 | -1) => start = y,
                (1, 0) => self.inside.push([0, start, 0, y]),
                (-1, 0) => self.inside.push([0, y, 0, start]),
                _ => return None,
            }
        }
        Some(self.inside)
    }
}
