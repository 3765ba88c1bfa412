//! Shapes of a design that a print lacks altogether.

use lithoburn_layout::{Bits, Bounds, Runs};

/// A design's pixels, and which of them a print covers.
pub(super) struct Printed<'a> {
    /// The design, a square.
    pub design: &'a Bits,
    /// Side of a pixel, in nm.
    pub pixel_nm: f64,
    /// Pixels on each side that do not count: what lies there is another field's.
    pub halo: usize,
    /// Pixels on each side that the print does not show.
    pub first: usize,
    /// The print of what it shows.
    pub print: &'a Bits,
}

/// What is known of a shape.
struct Shape {
    min: [usize; 2],
    /// Column and row beyond.
    end: [usize; 2],
    counts: bool,
    prints: bool,
}

impl Printed<'_> {
    /// The rectangles around shapes of which nothing prints, in nm from the field's corner. A shape that ends within the field is the
    /// field's that has its middle; a longer one counts wherever it lies.
    pub(super) fn missing(&self) -> Vec<Bounds> {
        let side = self.design.width();
        let within = |at: [usize; 2]| at.iter().all(|&v| v >= self.halo && v < side - self.halo);
        let at_border = |s: &Shape| (0..2).any(|i| s.min[i] == 0 || s.end[i] == side);
        let middle = |s: &Shape| [0, 1].map(|i| usize::midpoint(s.min[i], s.end[i] - 1));
        let is_missing = |s: &&Shape| {
            let ours = if at_border(s) { s.counts } else { within(middle(s)) };
            ours && !s.prints
        };
        let nm = |pixels: usize| pixels as f64 * self.pixel_nm;
        let bounds = |s: &Shape| Bounds { min: s.min.map(nm), max: s.end.map(nm) };
        self.shapes().iter().filter(is_missing).map(bounds).collect()
    }

    fn shapes(&self) -> Vec<Shape> {
        let found = Runs::of(self.design);
        let shape = |[x0, y0, x1, y1]: [usize; 4]| Shape {
            min: [x0, y0],
            end: [x1, y1],
            counts: false,
            prints: false,
        };
        let mut all: Vec<Shape> = found.boxes().into_iter().map(shape).collect();
        let side = self.design.width();
        for run in &found.all {
            // What of the run is further from the border than a margin.
            let within = |margin: usize| {
                let (start, end) = (run.start.max(margin), run.end.min(side - margin));
                ((margin..side - margin).contains(&run.y) && start < end).then_some([start, end])
            };
            let shape = &mut all[run.shape];
            shape.counts |= within(self.halo).is_some();
            shape.prints |= within(self.first).is_some_and(|ends| {
                let [start, end] = ends.map(|x| x - self.first);
                self.print.any_in(run.y - self.first, start, end)
            });
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
            let [design, print] = [&inside[..], print].map(|pixels| Bits::of_bools(pixels, N));
            // What the print does not show makes no difference here.
            let missing = [0, halo].map(|first| {
                let print = print.unframed(first);
                Printed { design: &design, pixel_nm: 2.0, halo, first, print: &print }.missing()
            });
            assert_eq!(missing[0], missing[1]);
            missing[0].clone()
        };
        assert_eq!(missing(&print, 0).len(), 4);
        let corners: Vec<[f64; 2]> = missing(&print, 10).iter().map(|b| b.min).collect();
        assert_eq!(corners, [[24.0, 24.0], [48.0, 48.0]]);
        assert_eq!(missing(&print, 5).len(), 3, "a wire that goes through counts where it lies");
        print[13 * N + 13] = true;
        assert_eq!(missing(&print, 10).len(), 1);
    }
}
