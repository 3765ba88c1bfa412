//! A window of rasters on the px of a plot: sampling, contours and scale.

use lithoburn_layout::Raster;
use lithoburn_layout::contour::contours;

use super::axis::{Axis, Unit};

/// Free space around the shapes, in nm.
const MARGIN_NM: f64 = 60.0;
/// Least side of the window, in nm.
const LEAST_NM: f64 = 300.0;
/// Least side of a plot, in px.
const LEAST_PX: usize = 48;

/// Lines in px of a plot.
pub(super) type Lines = Vec<Vec<[f32; 2]>>;

/// What a plot shows, in nm from the corner of the rasters' first pixel.
pub(super) struct View {
    min: [f64; 2],
    /// Side of a px, in nm.
    pub(super) scale: f64,
    /// Px in x and y.
    pub(super) size: [usize; 2],
}

impl View {
    /// A square around target and mask, within the least x and y and the greatest x and y of `within`.
    pub(super) fn around(target: &Raster, mask: &Raster, within: [f64; 4], px: usize) -> Self {
        let [low_x, low_y, high_x, high_y] = within;
        let field = (high_x - low_x).min(high_y - low_y).max(1.0);
        let boxes = [target, mask].into_iter().filter_map(bounds);
        let join = |a: [f64; 4], b: [f64; 4]| std::array::from_fn(|i| a[i].min(b[i]));
        // A box is its least x and y, and its greatest with the sign changed.
        let all = boxes.reduce(join).unwrap_or([low_x, low_y, -high_x, -high_y]);
        let low = [all[0].max(low_x), all[1].max(low_y)];
        let high = [(-all[2]).min(high_x), (-all[3]).min(high_y)];
        let size = [0, 1].map(|i| (high[i] - low[i]).max(0.0));
        let side = (size[0].max(size[1]) + 2.0 * MARGIN_NM).max(LEAST_NM).min(field);
        let min = |i: usize, least: f64, most: f64| {
            (low[i] + (size[i] - side) / 2.0).min(most - side).max(least)
        };
        let min = [min(0, low_x, high_x), min(1, low_y, high_y)];
        Self { min, scale: side / px as f64, size: [px, px] }
    }

    /// All of a raster, on at most `px` px a side.
    pub(super) fn all(raster: &Raster, px: usize) -> Self {
        let sides = [raster.width, raster.height].map(|n| (n as f64 * raster.pixel_nm).max(1e-3));
        let scale = sides[0].max(sides[1]) / px as f64;
        let size = sides.map(|side| ((side / scale).round() as usize).clamp(LEAST_PX.min(px), px));
        Self { min: [0.0; 2], scale, size }
    }

    /// The greater side, in nm.
    pub(super) fn side_nm(&self) -> f64 {
        self.scale * self.size[0].max(self.size[1]) as f64
    }

    pub(super) fn to_px(&self, nm: [f64; 2]) -> [f32; 2] {
        [0, 1].map(|i| ((nm[i] - self.min[i]) / self.scale) as f32)
    }

    /// A line around a rectangle in nm, with some space so that small ones are seen.
    pub(super) fn frame(&self, [x0, y0, x1, y1]: [f64; 4]) -> Vec<[f32; 2]> {
        let room = 5.0 * self.scale;
        let (x0, y0, x1, y1) = (x0 - room, y0 - room, x1 + room, y1 + room);
        [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]].map(|p| self.to_px(p)).to_vec()
    }

    /// Mean of a function of a place in nm over each px, row after row.
    pub(super) fn sampled(&self, samples: usize, value: impl Fn([f64; 2]) -> f64) -> Vec<f32> {
        let step = self.scale / samples as f64;
        let at = |i: usize, axis: usize| self.min[axis] + (i as f64 + 0.5) * step;
        let mean = |x: usize, y: usize| {
            let columns = x * samples..(x + 1) * samples;
            let rows = y * samples..(y + 1) * samples;
            let row = |j: usize| columns.clone().map(|i| value([at(i, 0), at(j, 1)])).sum::<f64>();
            (rows.map(row).sum::<f64>() / (samples * samples) as f64) as f32
        };
        let [width, height] = self.size;
        (0..width * height).map(|i| mean(i % width, i / width)).collect()
    }

    /// Iso-lines of the part of a raster that the window shows.
    pub(super) fn contours(&self, raster: &Raster, level: f64) -> Lines {
        let pixel = raster.pixel_nm;
        let sizes = [raster.width, raster.height];
        // One pixel more on each side, so that lines reach the frame.
        let first =
            [0, 1].map(|i| ((self.min[i] / pixel) as usize).saturating_sub(1).min(sizes[i]));
        let count = |i: usize| {
            let shown = (self.size[i] as f64 * self.scale / pixel).ceil() as usize;
            shown.saturating_add(4).min(sizes[i] - first[i])
        };
        let part = raster.crop(first.map(|v| v as isize), count(0), count(1));
        let nm = |p: &[f64; 2]| [0, 1].map(|i| (p[i] + first[i] as f64) * pixel);
        let line = |line: &Vec<[f64; 2]>| line.iter().map(|p| self.to_px(nm(p))).collect();
        contours(&part, level).iter().map(line).collect()
    }

    /// The unit that lengths of this size are read in.
    pub(super) fn unit(&self) -> Unit {
        if self.side_nm() > 20_000.0 { Unit::Micrometres } else { Unit::Nanometres }
    }

    pub(super) fn axes(&self, origin_nm: [f64; 2]) -> [Axis; 2] {
        let nm = self.unit().nm();
        let low = |i: usize| (origin_nm[i] + self.min[i]) / nm;
        [0, 1].map(|i| {
            let px = self.size[i] as f64;
            Axis { low: low(i), length: px * self.scale / nm, px }
        })
    }
}

/// The box of the pixels that are at least half covered: least x and y, and minus the greatest.
fn bounds(raster: &Raster) -> Option<[f64; 4]> {
    let rows = raster.data.chunks_exact(raster.width.max(1)).enumerate();
    let spans = rows.filter_map(|(y, row)| {
        let first = row.iter().position(|&v| v >= 0.5)? as f64;
        let last = row.iter().rposition(|&v| v >= 0.5)? as f64;
        Some([first, y as f64, -last - 1.0, -(y as f64) - 1.0])
    });
    let joined = spans.reduce(|a, b| std::array::from_fn(|i| a[i].min(b[i])))?;
    Some(joined.map(|v| v * raster.pixel_nm))
}

/// Value of the pixel at a place in nm; 0 outside the raster.
pub(super) fn nearest(raster: &Raster, nm: [f64; 2]) -> f64 {
    let [x, y] = nm.map(|v| (v / raster.pixel_nm) as usize);
    if x < raster.width && y < raster.height { value(raster, x, y) } else { 0.0 }
}

/// Value at a place in nm, interpolated between the centres of four pixels.
pub(super) fn bilinear(raster: &Raster, nm: [f64; 2]) -> f64 {
    let last = [raster.width, raster.height].map(|n| n.saturating_sub(1));
    let at: [f64; 2] =
        std::array::from_fn(|i| (nm[i] / raster.pixel_nm - 0.5).max(0.0).min(last[i] as f64));
    let [x, y] = at.map(|v| v as usize);
    let [u, v] = at.map(f64::fract);
    let (right, below) = ((x + 1).min(last[0]), (y + 1).min(last[1]));
    let row = |y: usize| value(raster, x, y) * (1.0 - u) + value(raster, right, y) * u;
    row(y) * (1.0 - v) + row(below) * v
}

/// Value of a pixel; 0 where the raster has no data.
fn value(raster: &Raster, x: usize, y: usize) -> f64 {
    raster.data.get(y * raster.width + x).map_or(0.0, |&v| f64::from(v))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_a_square_around_the_shapes_within_the_field() {
        let blank = Raster::new(256, 256, 4.0);
        let window = |x: usize, width: usize| {
            let mut mask = blank.clone();
            mask.data[100 * 256 + x..][..width].fill(1.0);
            let view = View::around(&blank, &mask, [0.0, 0.0, 1024.0, 1024.0], 500);
            (view.min, view.side_nm())
        };
        assert_eq!(window(50, 100), ([140.0, 142.0], 520.0)); // 400 nm and twice the margin
        assert_eq!(window(50, 1), ([52.0, 252.0], 300.0)); // the least side
        assert_eq!(window(0, 1), ([0.0, 252.0], 300.0)); // moved into the field
        assert_eq!(window(0, 0), ([0.0; 2], 1024.0)); // no shape: the field
    }

    /// A wire through a field whose image is right in the core alone: every line that is shown goes to the core's border.
    #[test]
    fn contours_of_a_wire_that_goes_on_reach_the_border_of_what_is_shown() {
        let mut wire = Raster::new(64, 64, 4.0);
        // At the field's ends the image fades, as the other side of the period has no wire.
        for y in 28..36 {
            wire.data[y * 64 + 4..y * 64 + 60].fill(1.0);
        }
        let view = View::around(&wire, &wire, [64.0, 64.0, 192.0, 192.0], 128);
        let lines = view.contours(&wire, 0.5);
        assert_eq!(lines.len(), 2);
        for line in lines {
            assert_ne!(line.first(), line.last());
            let ends = line.iter().map(|p| p[0]);
            let (least, most) = ends.fold((f32::MAX, f32::MIN), |(l, m), x| (l.min(x), m.max(x)));
            assert!(least <= 0.0 && most >= 128.0, "{least} {most}");
        }
    }

    #[test]
    fn a_whole_layout_keeps_its_proportions() {
        let view = View::all(&Raster::new(400, 100, 1000.0), 800);
        assert_eq!((view.size, view.scale, view.unit().name()), ([800, 200], 500.0, "µm"));
        assert_eq!(view.axes([-1000.0, 0.0])[0].low, -1.0);
    }
}
