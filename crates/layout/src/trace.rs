//! From pixels back to polygons.

use rayon::prelude::*;

use crate::runs::Runs;
use crate::{Bits, Polygon, Raster};

/// Shapes with more holes than this are written as rectangles.
const MOST_HOLES: usize = 16;

/// The shapes of a raster (at least half covered) as polygons along pixel edges, in nm.
///
/// `origin_nm` is the corner of the first pixel. No polygon has a hole: a shape with holes is cut
/// at their edges into pieces without any, so that every format can hold it.
pub fn polygons(raster: &Raster, origin_nm: [f64; 2]) -> Vec<Polygon> {
    polygons_of(&Bits::of_raster(raster), raster.pixel_nm, origin_nm)
}

fn polygons_of(mask: &Bits, pixel_nm: f64, origin_nm: [f64; 2]) -> Vec<Polygon> {
    let mut out = Vec::new();
    for piece in pieces(mask) {
        piece.polygons(&mut out);
    }
    let nm = |v: f64, axis: usize| origin_nm[axis] + v * pixel_nm;
    for polygon in &mut out {
        for point in &mut polygon.points {
            *point = [nm(point[0], 0), nm(point[1], 1)];
        }
    }
    out
}

/// How many corners the outlines of a raster's shapes have together.
pub(crate) fn corners(raster: &Raster) -> usize {
    let (width, inside) = (raster.width, |pixel: usize| raster.data[pixel] >= 0.5);
    let at = |x: usize, y: usize| {
        // Of the pixel up and left of a grid corner; outside is dark.
        x > 0 && y > 0 && x <= width && y <= raster.height && inside((y - 1) * width + x - 1)
    };
    let of_row = |y: usize| {
        let corner = |x: usize| match [at(x, y), at(x + 1, y), at(x, y + 1), at(x + 1, y + 1)] {
            [a, b, c, d] if a == d && b == c && a != b => 2,
            [a, b, c, d] => usize::from(a ^ b ^ c ^ d),
        };
        (0..=width).map(corner).sum::<usize>()
    };
    (0..=raster.height).into_par_iter().map(of_row).sum()
}

/// As [`polygons`] of a part of the raster: its pixels `x0..x1`, `y0..y1`, given as `[x0, y0, x1, y1]`. Parts side by side
/// abut.
pub fn polygons_within(raster: &Raster, core: [usize; 4], origin_nm: [f64; 2]) -> Vec<Polygon> {
    bits_within(&Bits::of_raster(raster), raster.pixel_nm, core, origin_nm)
}

/// As [`polygons_within`] of a binary mask of pixels of `pixel_nm`.
pub fn bits_within(
    mask: &Bits,
    pixel_nm: f64,
    core: [usize; 4],
    origin_nm: [f64; 2],
) -> Vec<Polygon> {
    let [x0, y0, x1, y1] = core;
    let part = mask.crop([x0 as isize, y0 as isize], x1.saturating_sub(x0), y1.saturating_sub(y0));
    let pixels = [x0, y0].map(|v| v as f64);
    polygons_of(&part, pixel_nm, [0, 1].map(|i| origin_nm[i] + pixels[i] * pixel_nm))
}

/// One 4-connected shape in its bounding box.
struct Piece {
    left: usize,
    top: usize,
    inside: Bits,
}

/// The 4-connected shapes of an image, in the order of their first pixels.
fn pieces(image: &Bits) -> Vec<Piece> {
    let runs = Runs::by_sides(image);
    let piece = |[left, top, right, bottom]: [usize; 4]| Piece {
        left,
        top,
        inside: Bits::dark(right - left, bottom - top),
    };
    let mut pieces: Vec<Piece> = runs.boxes().into_iter().map(piece).collect();
    for run in &runs.all {
        let Piece { left, top, inside } = &mut pieces[run.shape];
        inside.set_run(run.y - *top, run.start - *left, run.end - *left);
    }
    pieces
}

impl Piece {
    fn at(&self, x: isize, y: isize) -> bool {
        let (w, h) = (self.inside.width() as isize, self.inside.height() as isize);
        x >= 0 && y >= 0 && x < w && y < h && self.inside.at(x as usize, y as usize)
    }

    /// Adds the polygons of this shape, in pixels of the image.
    fn polygons(&self, out: &mut Vec<Polygon>) {
        let loops = self.loops();
        let offset = [self.left as f64, self.top as f64];
        match loops.len() {
            0 => {}
            1 => out.push(loops[0].shifted(offset)),
            holes if holes > MOST_HOLES + 1 => {
                let cut = crate::fracture::rectangles(&self.inside.to_bools(), self.inside.width());
                out.extend(cut.iter().map(|r| r.polygon().shifted(offset)));
            }
            _ => self.split(hole_top(&loops), out),
        }
    }

    /// Cuts the shape above pixel row `row`, and goes on with both parts.
    fn split(&self, row: usize, out: &mut Vec<Polygon>) {
        let (width, height) = (self.inside.width(), self.inside.height());
        for (top, rows) in [(0, row), (row, height - row)] {
            for piece in pieces(&self.inside.crop([0, top as isize], width, rows)) {
                let (left, top) = (self.left + piece.left, self.top + top + piece.top);
                Self { left, top, ..piece }.polygons(out);
            }
        }
    }

    /// The closed paths between inside and outside, inside on the right hand (y downwards).
    fn loops(&self) -> Vec<Polygon> {
        let mut done = self.inside.cleared();
        let mut found = Vec::new();
        for y in 0..self.inside.height() {
            for word in 0..self.inside.width().div_ceil(64) {
                let above = y.checked_sub(1).map_or(0, |above| self.inside.row(above)[1 + word]);
                let upper = self.inside.row(y)[1 + word] & !above;
                // Each loop has an upper edge that runs to the right; it is found by its first one.
                loop {
                    let left = upper & !done.row(y)[1 + word];
                    if left == 0 {
                        break;
                    }
                    let x = 64 * word + left.trailing_zeros() as usize;
                    found.push(self.follow([x as isize, y as isize], &mut done));
                }
            }
        }
        found
    }

    /// Walks along a path from the upper left corner of a pixel, to the right at first.
    fn follow(&self, start: [isize; 2], done: &mut Bits) -> Polygon {
        let (mut at, mut heading) = (start, [1, 0]);
        let mut points = vec![[start[0] as f64, start[1] as f64]];
        loop {
            if heading == [1, 0] {
                done.set(at[0] as usize, at[1] as usize);
            }
            at = [at[0] + heading[0], at[1] + heading[1]];
            let turned = self.turn(at, heading);
            if at == start && turned == [1, 0] {
                return Polygon::new(points);
            }
            if turned != heading {
                points.push([at[0] as f64, at[1] as f64]);
            }
            heading = turned;
        }
    }

    /// The next heading at a grid corner. Diagonal neighbours are separate, so right comes first.
    fn turn(&self, at: [isize; 2], heading: [isize; 2]) -> [isize; 2] {
        let right = [-heading[1], heading[0]];
        let left = [heading[1], -heading[0]];
        // The pixel ahead on either side: of the corner's four, the one towards heading and side.
        let ahead = |side: [isize; 2]| {
            let towards = |axis: usize| at[axis] + (heading[axis] + side[axis] - 1) / 2;
            self.at(towards(0), towards(1))
        };
        match (ahead(right), ahead(left)) {
            (false, _) => right,
            (true, true) => left,
            (true, false) => heading,
        }
    }
}

/// The pixel row in which the first hole begins. Holes run against the outline, with the opposite sign
/// of area; the outline is found first, as it has the first pixel.
fn hole_top(loops: &[Polygon]) -> usize {
    loops[1].bounds().min[1] as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Coverage, Frame, Layout};
    use proptest::prelude::*;

    fn redrawn(raster: &Raster) -> Vec<f32> {
        let layout = Layout::new("traced", polygons(raster, [0.0, 0.0]));
        let frame = Frame {
            origin_nm: [0.0, 0.0],
            pixel_nm: raster.pixel_nm,
            width: raster.width,
            height: raster.height,
        };
        layout.rasterize(&frame, Coverage::Exact).data
    }

    #[test]
    fn a_frame_with_a_hole_is_cut_into_polygons_without() {
        let mut raster = Raster::new(12, 12, 1.0);
        for y in 2..10 {
            for x in 2..10 {
                let hole = (4..7).contains(&x) && (5..8).contains(&y);
                raster.data[y * 12 + x] = f32::from(u8::from(!hole));
            }
        }
        assert_eq!(redrawn(&raster), raster.data);
        assert_eq!(polygons(&raster, [0.0, 0.0]).len(), 2);
    }

    proptest! {
        #[test]
        fn parts_of_an_image_are_drawn_back_together(
            bits in proptest::collection::vec(any::<bool>(), 13 * 17),
            cut in (0..=13_usize, 0..=17_usize),
        ) {
            let data = bits.iter().map(|&b| f32::from(u8::from(b))).collect::<Vec<_>>();
            let raster = Raster { width: 13, height: 17, pixel_nm: 1.0, data };
            let (x, y) = cut;
            let cores = [[0, 0, x, y], [x, 0, 13, y], [0, y, x, 17], [x, y, 13, 17]];
            let parts = cores.iter().flat_map(|&core| polygons_within(&raster, core, [5.0, -2.0]));
            let layout = Layout::new("parts", parts.collect());
            let frame = Frame { origin_nm: [5.0, -2.0], pixel_nm: 1.0, width: 13, height: 17 };
            prop_assert_eq!(layout.rasterize(&frame, Coverage::Exact).data, raster.data);
        }

        #[test]
        fn any_image_is_drawn_back(bits in proptest::collection::vec(any::<bool>(), 13 * 17)) {
            let data = bits.iter().map(|&b| f32::from(u8::from(b))).collect::<Vec<_>>();
            let raster = Raster { width: 13, height: 17, pixel_nm: 1.0, data };
            prop_assert_eq!(&redrawn(&raster), &raster.data);
            // Outlines and holes, before shapes with holes are cut.
            let loops = pieces(&Bits::of_raster(&raster)).iter().flat_map(Piece::loops).collect::<Vec<_>>();
            prop_assert_eq!(corners(&raster), loops.iter().map(|l| l.points.len()).sum::<usize>());
        }
    }
}
