//! A window of rasters on the px of a plot: sampling, contours and scale.

use lithoburn_layout::Raster;
use lithoburn_layout::contour::contours;
use rayon::prelude::*;

use super::axis::{Axis, Unit};

/// Free space around the shapes, in nm.
const MARGIN_NM: f64 = 60.0;
/// Least side of the window, in nm.
const LEAST_NM: f64 = 300.0;
/// Least side of a plot, in px.
const LEAST_PX: usize = 48;
/// Rows of px that one task samples.
const BAND: usize = 16;

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

    /// Mean over each px of `samples` by `samples` values, row after row. What `filler` gives writes a row of values: those at a y in
    /// nm, and at [`View::columns`] in x. Each band of rows has a filler of its own.
    pub(super) fn sampled<F: FnMut(f64, &mut [f64])>(
        &self,
        samples: usize,
        filler: impl Fn() -> F + Sync,
    ) -> Vec<f32> {
        let [width, height] = self.size;
        let mut means = vec![0.0; width * height];
        let bands = means.par_chunks_mut((width * BAND).max(1)).enumerate();
        bands.for_each(|(band, means)| self.fill(samples, band * BAND, &mut filler(), means));
        means
    }

    /// The means of rows of px from `first` on.
    fn fill(
        &self,
        samples: usize,
        first: usize,
        fill: &mut impl FnMut(f64, &mut [f64]),
        means: &mut [f32],
    ) {
        let width = self.size[0];
        let (mut row, mut sums) = (vec![0.0; width * samples], vec![0.0; width]);
        for (y, means) in (first..).zip(means.chunks_exact_mut(width)) {
            sums.fill(0.0);
            for j in y * samples..(y + 1) * samples {
                fill(self.place(1, j, samples), &mut row);
                for (sum, values) in sums.iter_mut().zip(row.chunks_exact(samples)) {
                    *sum += values.iter().sum::<f64>();
                }
            }
            for (mean, sum) in means.iter_mut().zip(&sums) {
                *mean = (sum / (samples * samples) as f64) as f32;
            }
        }
    }

    /// Where a sample lies along an axis, in nm.
    fn place(&self, axis: usize, index: usize, samples: usize) -> f64 {
        self.min[axis] + (index as f64 + 0.5) * (self.scale / samples as f64)
    }

    /// Where samples lie in x, in nm.
    fn columns(&self, samples: usize) -> impl Iterator<Item = f64> {
        (0..self.size[0] * samples).map(move |i| self.place(0, i, samples))
    }

    /// Rows of the raster's values, from 0 to 1, in whose pixels samples lie; 0 outside the raster.
    pub(super) fn nearest<'a>(
        &self,
        raster: &'a Raster,
        samples: usize,
    ) -> impl FnMut(f64, &mut [f64]) + use<'a> {
        let pixel = |nm: f64| (nm / raster.pixel_nm) as usize;
        let columns: Vec<usize> = self.columns(samples).map(pixel).collect();
        move |y, row| {
            let data = data_row(raster, pixel(y));
            for (value, &x) in row.iter_mut().zip(&columns) {
                *value = data.get(x).map_or(0.0, |&v| f64::from(v).clamp(0.0, 1.0));
            }
        }
    }

    /// Rows of the raster's values, interpolated between the middles of four pixels.
    pub(super) fn bilinear<'a>(
        &self,
        raster: &'a Raster,
        samples: usize,
    ) -> impl FnMut(f64, &mut [f64]) + use<'a> {
        let last = [raster.width, raster.height].map(|n| n.saturating_sub(1));
        let at = move |nm: f64, axis: usize| {
            (nm / raster.pixel_nm - 0.5).max(0.0).min(last[axis] as f64)
        };
        let columns: Vec<f64> = self.columns(samples).map(|x| at(x, 0)).collect();
        // The last two rows of pixels, at the columns of samples: rows of samples often lie between the same.
        let mut known = [(usize::MAX, Vec::new()), (usize::MAX, Vec::new())];
        move |y, row| {
            let y = at(y, 1);
            let (above, v) = (y as usize, y.fract());
            let below = (above + 1).min(last[1]);
            if known[1].0 == above {
                known.swap(0, 1);
            }
            for ((number, values), wanted) in known.iter_mut().zip([above, below]) {
                if *number != wanted {
                    *number = wanted;
                    *values = between_columns(data_row(raster, wanted), &columns, last[0]);
                }
            }
            for (value, (a, b)) in row.iter_mut().zip(known[0].1.iter().zip(&known[1].1)) {
                *value = a * (1.0 - v) + b * v;
            }
        }
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
    let rows = raster.data.par_chunks_exact(raster.width.max(1)).enumerate();
    let spans = rows.filter_map(|(y, row)| {
        let first = row.iter().position(|&v| v >= 0.5)? as f64;
        let last = row.iter().rposition(|&v| v >= 0.5)? as f64;
        Some([first, y as f64, -last - 1.0, -(y as f64) - 1.0])
    });
    let joined = spans.reduce_with(|a, b| std::array::from_fn(|i| a[i].min(b[i])))?;
    Some(joined.map(|v| v * raster.pixel_nm))
}

/// A row of pixels; empty where the raster has no data.
fn data_row(raster: &Raster, y: usize) -> &[f32] {
    let start = y.saturating_mul(raster.width);
    raster.data.get(start..start.saturating_add(raster.width)).unwrap_or(&[])
}

/// Values of a row between the middles of its pixels; 0 where it has no data.
fn between_columns(data: &[f32], columns: &[f64], last: usize) -> Vec<f64> {
    let value = |x: usize| data.get(x).map_or(0.0, |&v| f64::from(v));
    let between = |&x: &f64| {
        let (left, u) = (x as usize, x.fract());
        value(left) * (1.0 - u) + value((left + 1).min(last)) * u
    };
    columns.iter().map(between).collect()
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

    /// Value of the pixel at a place; 0 outside the raster.
    fn nearest_at(raster: &Raster, nm: [f64; 2]) -> f64 {
        let [x, y] = nm.map(|v| (v / raster.pixel_nm) as usize);
        let is_inside = x < raster.width && y < raster.height;
        if is_inside { f64::from(raster.data[y * raster.width + x]) } else { 0.0 }
    }

    /// Value at a place, between the middles of four pixels.
    fn bilinear_at(raster: &Raster, nm: [f64; 2]) -> f64 {
        let last = [raster.width - 1, raster.height - 1];
        let at = [0, 1].map(|i| (nm[i] / raster.pixel_nm - 0.5).clamp(0.0, last[i] as f64));
        let value = |dx: usize, dy: usize| {
            let [x, y] = [(at[0] as usize + dx).min(last[0]), (at[1] as usize + dy).min(last[1])];
            f64::from(raster.data[y * raster.width + x])
        };
        let [u, v] = at.map(f64::fract);
        let row = |dy: usize| value(0, dy) * (1.0 - u) + value(1, dy) * u;
        row(0) * (1.0 - v) + row(1) * v
    }

    /// Place by place is the second implementation: pixels finer and coarser than samples, windows within and beyond the raster.
    #[test]
    fn means_are_those_of_values_at_each_sample() {
        let mut raster = Raster::new(50, 40, 4.0);
        raster.data.iter_mut().enumerate().for_each(|(i, v)| *v = (i * i % 97) as f32 / 96.0);
        for (min, scale, samples) in
            [([0.0; 2], 4.0, 2), ([31.0, 17.5], 0.7, 3), ([60.0, 3.0], 2.9, 2), ([0.0; 2], 23.0, 3)]
        {
            let view = View { min, scale, size: [30, 20] };
            let expected = |value: &dyn Fn([f64; 2]) -> f64| -> Vec<f32> {
                let step = scale / samples as f64;
                let at = |i: usize, axis: usize| min[axis] + (i as f64 + 0.5) * step;
                let mean = |px: usize| {
                    let [x, y] = [px % 30 * samples, px / 30 * samples];
                    let row = |j: usize| {
                        (x..x + samples).map(|i| value([at(i, 0), at(j, 1)])).sum::<f64>()
                    };
                    (y..y + samples).map(row).sum::<f64>() / (samples * samples) as f64
                };
                (0..30 * 20).map(|px| mean(px) as f32).collect()
            };
            let found = view.sampled(samples, || view.nearest(&raster, samples));
            assert_eq!(found, expected(&|nm| nearest_at(&raster, nm)), "{scale}");
            let found = view.sampled(samples, || view.bilinear(&raster, samples));
            assert_eq!(found, expected(&|nm| bilinear_at(&raster, nm)), "{scale}");
        }
    }

    #[test]
    fn a_whole_layout_keeps_its_proportions() {
        let view = View::all(&Raster::new(400, 100, 1000.0), 800);
        assert_eq!((view.size, view.scale, view.unit().name()), ([800, 200], 500.0, "µm"));
        assert_eq!(view.axes([-1000.0, 0.0])[0].low, -1.0);
    }
}
