//! Shapes of a design that a print lacks altogether.

use lithoburn_layout::{Bounds, shapes};

/// A design's pixels, and which of them a print covers.
pub(super) struct Printed<'a> {
    /// The design.
    pub inside: &'a [bool],
    /// Pixels of it in x.
    pub width: usize,
    /// Side of a pixel, in nm.
    pub pixel_nm: f64,
    /// Pixels on each side that do not count: what lies there is another field's.
    pub halo: usize,
    /// Pixels on each side that the print does not show.
    pub first: usize,
    /// The print of what it shows.
    pub print: &'a [bool],
}

/// What is known of a shape.
#[derive(Clone)]
struct Shape {
    min: [usize; 2],
    max: [usize; 2],
    counts: bool,
    prints: bool,
}

impl Printed<'_> {
    /// The rectangles around shapes of which nothing prints, in nm from the field's corner. A shape that ends within the field is the
    /// field's that has its middle; a longer one counts wherever it lies.
    pub(super) fn missing(&self) -> Vec<Bounds> {
        let height = self.inside.len() / self.width.max(1);
        let sides = [self.width, height];
        let within = |at: [usize; 2], margin: usize| {
            (0..2).all(|i| at[i] >= margin && at[i] < sides[i] - margin)
        };
        let at_border = |s: &Shape| (0..2).any(|i| s.min[i] == 0 || s.max[i] + 1 == sides[i]);
        let middle = |s: &Shape| [0, 1].map(|i| usize::midpoint(s.min[i], s.max[i]));
        let is_missing = |s: &&Shape| {
            let ours = if at_border(s) { s.counts } else { within(middle(s), self.halo) };
            ours && !s.prints
        };
        let nm = |pixels: usize| pixels as f64 * self.pixel_nm;
        let bounds = |s: &Shape| Bounds { min: s.min.map(nm), max: s.max.map(|v| nm(v + 1)) };
        self.shapes(&within).iter().filter(is_missing).map(bounds).collect()
    }

    fn shapes(&self, within: &dyn Fn([usize; 2], usize) -> bool) -> Vec<Shape> {
        let found = shapes::shapes(self.inside, self.width);
        let none = Shape { min: [usize::MAX; 2], max: [0; 2], counts: false, prints: false };
        let mut all = vec![none; found.sizes.len()];
        let shown = self.width - 2 * self.first;
        for (i, &label) in found.labels.iter().enumerate().filter(|(_, label)| **label > 0) {
            let (at, shape) = ([i % self.width, i / self.width], &mut all[label as usize - 1]);
            shape.min = [0, 1].map(|axis| shape.min[axis].min(at[axis]));
            shape.max = [0, 1].map(|axis| shape.max[axis].max(at[axis]));
            shape.counts |= within(at, self.halo);
            if within(at, self.first) {
                let [x, y] = at.map(|v| v - self.first);
                shape.prints |= self.print[y * shown + x];
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_missing_if_nothing_of_it_prints() {
        const N: usize = 40;
        let mut inside = vec![false; N * N];
        let mut fill = |[x0, y0, x1, y1]: [usize; 4]| {
            (y0..y1).for_each(|y| inside[y * N + x0..y * N + x1].fill(true));
        };
        // Two within the field, one whose middle is another field's, one that goes through.
        [[12, 12, 18, 18], [24, 24, 28, 30], [0, 2, 4, 9], [0, 34, N, 36]]
            .into_iter()
            .for_each(&mut fill);
        let mut print = vec![false; N * N];
        let missing = |print: &[bool], halo| {
            let (width, pixel_nm, first) = (N, 2.0, 0);
            Printed { inside: &inside, width, pixel_nm, halo, first, print }.missing()
        };
        assert_eq!(missing(&print, 0).len(), 4);
        let corners: Vec<[f64; 2]> = missing(&print, 10).iter().map(|b| b.min).collect();
        assert_eq!(corners, [[24.0, 24.0], [48.0, 48.0]]);
        assert_eq!(missing(&print, 5).len(), 3, "a wire that goes through counts where it lies");
        print[13 * N + 13] = true;
        assert_eq!(missing(&print, 10).len(), 1);
    }
}
