//! Rasters: grey images with a pixel size, and how polygons are drawn on them.

use rayon::prelude::*;

use crate::{Bounds, Layout, LayoutError, Polygon};

/// Rows that one task draws.
const BAND: usize = 64;

/// A grey image; row after row, each value the covered share of its pixel.
#[derive(Clone, Debug, PartialEq)]
pub struct Raster {
    /// Pixels in x.
    pub width: usize,
    /// Pixels in y.
    pub height: usize,
    /// Side of a pixel, in nm.
    pub pixel_nm: f64,
    /// `height * width` values in 0 to 1.
    pub data: Vec<f32>,
}

/// Where a raster lies on a layout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// Corner of the first pixel with the least x and y, in nm.
    pub origin_nm: [f64; 2],
    /// Side of a pixel, in nm.
    pub pixel_nm: f64,
    /// Pixels in x.
    pub width: usize,
    /// Pixels in y.
    pub height: usize,
}

/// How much of a pixel a polygon's edge covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coverage {
    /// The exact covered area. Polygons that overlap within one pixel are added, at most to 1.
    #[default]
    Exact,
    /// A pixel is inside if its lattice point lies in the closed polygon, so that a `w x h` px
    /// rectangle covers `(w + 1)(h + 1)` px: the rule of OpenILT's `fillPoly`. For comparison with
    /// numbers that were published with it.
    Inclusive,
}

impl Frame {
    /// A square field with the layout's extent in its middle, on whole pixels.
    ///
    /// # Errors
    ///
    /// [`LayoutError::TooLarge`] if the layout does not fit; [`LayoutError::Grid`] if the field is
    /// not a whole number of pixels.
    pub fn centred(layout: &Layout, field_nm: f64, pixel_nm: f64) -> Result<Self, LayoutError> {
        let size = pixels(field_nm, pixel_nm)?;
        let zero = Bounds { min: [0.0; 2], max: [0.0; 2] };
        let extent = layout.extent().unwrap_or(zero);
        let (width_nm, height_nm) = (extent.width(), extent.height());
        if width_nm > field_nm || height_nm > field_nm {
            return Err(LayoutError::TooLarge { width_nm, height_nm, field_nm });
        }
        let margin = |extent: f64| ((field_nm - extent) / 2.0 / pixel_nm).floor() * pixel_nm;
        let origin_nm = [extent.min[0] - margin(width_nm), extent.min[1] - margin(height_nm)];
        Ok(Self { origin_nm, pixel_nm, width: size, height: size })
    }

    /// The same field with pixels of another size.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Grid`] if the field is not a whole number of such pixels.
    pub fn with_pixel(&self, pixel_nm: f64) -> Result<Self, LayoutError> {
        let width = pixels(self.width as f64 * self.pixel_nm, pixel_nm)?;
        let height = pixels(self.height as f64 * self.pixel_nm, pixel_nm)?;
        Ok(Self { pixel_nm, width, height, ..*self })
    }

    /// The rectangle it covers, in nm.
    pub fn bounds(&self) -> Bounds {
        let [x, y] = self.origin_nm;
        let max = [x + self.width as f64 * self.pixel_nm, y + self.height as f64 * self.pixel_nm];
        Bounds { min: self.origin_nm, max }
    }
}

/// How many pixels make a length, if it is a whole number of them.
fn pixels(length_nm: f64, pixel_nm: f64) -> Result<usize, LayoutError> {
    if !(pixel_nm.is_finite() && pixel_nm > 0.0) {
        return Err(LayoutError::Grid(format!("pixel size must be positive, got {pixel_nm} nm")));
    }
    let count = length_nm / pixel_nm;
    if !(1.0..=65536.0).contains(&count) || (count - count.round()).abs() > 1e-6 {
        // Of an even number, so that the field has a middle.
        let near = (count / 2.0).clamp(1.0, 32768.0);
        let [finer, coarser] = [near.ceil(), near.floor()].map(|half| length_nm / (2.0 * half));
        return Err(LayoutError::Grid(format!(
            "a field of {length_nm} nm is no whole number of {pixel_nm} nm pixels; pixels of {finer} nm or {coarser} nm \
             would fit"
        )));
    }
    Ok(count.round() as usize)
}

impl Raster {
    /// An empty (all 0) raster.
    pub fn new(width: usize, height: usize, pixel_nm: f64) -> Self {
        Self { width, height, pixel_nm, data: vec![0.0; width * height] }
    }

    /// Covered area, in nm².
    pub fn area_nm2(&self) -> f64 {
        let sum: f64 = self.data.iter().map(|&v| f64::from(v)).sum();
        sum * self.pixel_nm * self.pixel_nm
    }

    /// Whether each pixel is at least half covered.
    pub fn binary(&self) -> Vec<bool> {
        self.data.iter().map(|&v| v >= 0.5).collect()
    }

    /// 1 where a pixel is at least half covered, else 0.
    #[must_use]
    pub fn binarized(&self) -> Self {
        let data = self.data.iter().map(|&v| f32::from(u8::from(v >= 0.5))).collect();
        Self { data, ..*self }
    }

    /// A window of the raster, 0 outside it. `at` is the window's first pixel, x then y.
    #[must_use]
    pub fn crop(&self, at: [isize; 2], width: usize, height: usize) -> Self {
        let mut window = Self::new(width, height, self.pixel_nm);
        window.paste(self, [-at[0], -at[1]]);
        window
    }

    /// Copies another raster into this one, as far as it fits, with its first pixel at `at`.
    pub fn paste(&mut self, other: &Self, at: [isize; 2]) {
        let x0 = at[0].max(0);
        let x1 = (at[0] + other.width as isize).min(self.width as isize);
        if x0 >= x1 {
            return;
        }
        for y in at[1].max(0)..(at[1] + other.height as isize).min(self.height as isize) {
            let to = y as usize * self.width;
            let from = (y - at[1]) as usize * other.width;
            let source = from + (x0 - at[0]) as usize..from + (x1 - at[0]) as usize;
            self.data[to + x0 as usize..to + x1 as usize].copy_from_slice(&other.data[source]);
        }
    }

    /// Each pixel repeated `factor` times in x and y.
    #[must_use]
    pub fn enlarged(&self, factor: usize) -> Self {
        let (width, height) = (self.width * factor, self.height * factor);
        let row = |y: usize| &self.data[y / factor * self.width..][..self.width];
        let data = (0..height).flat_map(|y| (0..width).map(move |x| row(y)[x / factor])).collect();
        Self { width, height, pixel_nm: self.pixel_nm / factor as f64, data }
    }

    /// Means over blocks of `factor` by `factor` pixels; what does not fill a block is left out.
    #[must_use]
    pub fn averaged(&self, factor: usize) -> Self {
        let (width, height) = (self.width / factor, self.height / factor);
        let mut data = vec![0.0; width * height];
        data.par_chunks_mut(width.max(1)).enumerate().for_each(|(y, row)| {
            for source in self.data[y * factor * self.width..].chunks(self.width).take(factor) {
                for (value, block) in row.iter_mut().zip(source.chunks_exact(factor)) {
                    *value += block.iter().sum::<f32>();
                }
            }
            row.iter_mut().for_each(|value| *value /= (factor * factor) as f32);
        });
        Self { width, height, pixel_nm: self.pixel_nm * factor as f64, data }
    }

    /// Every `factor`-th pixel in x and y, from the first: OpenILT's nearest resize.
    #[must_use]
    pub fn subsampled(&self, factor: usize) -> Self {
        let (width, height) = (self.width / factor, self.height / factor);
        let at = |x: usize, y: usize| self.data[y * factor * self.width + x * factor];
        let data = (0..height).flat_map(|y| (0..width).map(move |x| at(x, y))).collect();
        Self { width, height, pixel_nm: self.pixel_nm * factor as f64, data }
    }
}

/// Draws polygons.
pub(crate) fn rasterize(polygons: &[Polygon], frame: &Frame, coverage: Coverage) -> Raster {
    let mut raster = Raster::new(frame.width, frame.height, frame.pixel_nm);
    let bounds: Vec<Bounds> = polygons.iter().map(Polygon::bounds).collect();
    let window = frame.bounds();
    raster.data.par_chunks_mut(BAND * frame.width).enumerate().for_each(|(band, data)| {
        let rows = data.len() / frame.width;
        let low = window.min[1] + (band * BAND) as f64 * frame.pixel_nm;
        let strip = Bounds {
            min: [window.min[0], low - frame.pixel_nm],
            max: [window.max[0], low + (rows + 1) as f64 * frame.pixel_nm],
        };
        let touching = polygons.iter().zip(&bounds).filter(|(_, b)| b.touches(&strip));
        for (polygon, _) in touching {
            let local = Local { origin: [frame.origin_nm[0], low], pixel: frame.pixel_nm };
            match coverage {
                Coverage::Exact => add_coverage(polygon, &local, frame.width, data),
                Coverage::Inclusive => fill_closed(polygon, &local, frame.width, data),
            }
        }
    });
    raster
}

/// From nm to pixels of a band.
struct Local {
    origin: [f64; 2],
    pixel: f64,
}

impl Local {
    fn point(&self, p: [f64; 2]) -> [f64; 2] {
        [(p[0] - self.origin[0]) / self.pixel, (p[1] - self.origin[1]) / self.pixel]
    }
}

/// Adds a polygon's exact coverage to a band, at most to 1.
fn add_coverage(polygon: &Polygon, local: &Local, width: usize, data: &mut [f32]) {
    let b = polygon.bounds();
    let clamp = |v: f64| v.clamp(0.0, width as f64);
    let x0 = clamp(local.point(b.min)[0].floor()) as usize;
    let x1 = clamp(local.point(b.max)[0].ceil()) as usize;
    if x0 >= x1 {
        return;
    }
    let mut sums = Sums::new(x0, x1, data.len() / width);
    for (from, to) in polygon.edges() {
        sums.add_edge(local.point(from), local.point(to));
    }
    for (y, row) in data.chunks_exact_mut(width).enumerate() {
        sums.write_row(y, &mut row[x0..x1]);
    }
}

/// Signed areas to the right of the edges, per pixel, as differences along x.
pub(crate) struct Sums {
    left: f64,
    width: usize,
    rows: usize,
    differences: Vec<f64>,
}

impl Sums {
    /// No edge yet, in rows of pixels `x0..x1`.
    pub(crate) fn new(x0: usize, x1: usize, rows: usize) -> Self {
        let width = x1 - x0;
        Self { left: x0 as f64, width, rows, differences: vec![0.0; rows * (width + 2)] }
    }

    /// No edge any more.
    pub(crate) fn clear(&mut self) {
        self.differences.fill(0.0);
    }

    /// Splits an edge where it crosses a row's or the window's border, and adds the pieces.
    pub(crate) fn add_edge(&mut self, from: [f64; 2], to: [f64; 2]) {
        let (sign, low, high) = if from[1] <= to[1] { (1.0, from, to) } else { (-1.0, to, from) };
        let (y0, y1) = (low[1].max(0.0), high[1].min(self.rows as f64));
        if y0 >= y1 {
            return;
        }
        let slope = (high[0] - low[0]) / (high[1] - low[1]);
        let left = self.left;
        let x_at = |y: f64| low[0] + (y - low[1]) * slope - left;
        let (mut y, limit) = (y0, self.width as f64);
        while y < y1 {
            let mut next = (y.floor() + 1.0).min(y1);
            for border in [0.0, limit] {
                let crossing = y + (border - x_at(y)) / slope;
                if crossing > y + 1e-12 && crossing < next - 1e-12 {
                    next = crossing;
                }
            }
            let (xa, xb) = (x_at(y).clamp(0.0, limit), x_at(next).clamp(0.0, limit));
            self.add_piece(y.floor() as usize, xa.min(xb), xa.max(xb), sign * (next - y));
            y = next;
        }
    }

    /// Adds a piece within one row that spans `[x0, x1]` and has signed height `dy`.
    fn add_piece(&mut self, row: usize, x0: f64, x1: f64, dy: f64) {
        let start = row * (self.width + 2);
        let line = &mut self.differences[start..start + self.width + 2];
        // The share of the piece's area right of its edge that lies left of pixel border `x`.
        let share = |x: f64| match x1 - x0 {
            span if span < 1e-12 => (x - x0).max(0.0),
            span => {
                let inside = (x.min(x1) - x0).max(0.0);
                inside * inside / (2.0 * span) + (x - x1).max(0.0)
            }
        };
        let (first, last) = (x0.floor() as usize, x1.ceil() as usize);
        let (mut area, mut slope) = (0.0, 0.0);
        for x in first..=last.max(first + 1) {
            let (right, pixel) = (share((x + 1) as f64), x.min(self.width + 1));
            line[pixel] += dy * (right - area - slope);
            (area, slope) = (right, right - area);
        }
    }

    /// Sums the differences of a row into coverage.
    pub(crate) fn write_row(&self, y: usize, row: &mut [f32]) {
        let line = &self.differences[y * (self.width + 2)..];
        let mut sum = 0.0;
        for (value, difference) in row.iter_mut().zip(line) {
            sum += difference;
            let covered = sum.abs().min(1.0);
            let snapped = if covered < 1e-9 {
                0.0
            } else if covered > 1.0 - 1e-9 {
                1.0
            } else {
                covered
            };
            *value = (*value + snapped as f32).min(1.0);
        }
    }
}

/// Sets every pixel whose lattice point lies in the closed polygon.
fn fill_closed(polygon: &Polygon, local: &Local, width: usize, data: &mut [f32]) {
    // OpenILT divides vertices by the pixel size and drops the fraction before it draws.
    let lattice = |p: [f64; 2]| local.point(p).map(|v| (v + 1e-9).floor());
    let corners = Polygon::new(polygon.points.iter().map(|&p| lattice(p)).collect());
    for (y, row) in data.chunks_exact_mut(width).enumerate() {
        for [x0, x1] in closed_spans(&corners, y as f64) {
            let (first, last) = ((x0 - 1e-6).ceil().max(0.0), (x1 + 1e-6).floor());
            if last >= first {
                let end = (last as usize + 1).min(width);
                row[(first as usize).min(end)..end].fill(1.0);
            }
        }
    }
}

/// The parts of the line at `y` inside the closed polygon: just above it, just below it, and along it.
fn closed_spans(polygon: &Polygon, y: f64) -> Vec<[f64; 2]> {
    let mut spans = Vec::new();
    for line in [y - 1e-6, y + 1e-6] {
        let crosses = |(a, b): ([f64; 2], [f64; 2])| {
            let crossing = || a[0] + (line - a[1]) * (b[0] - a[0]) / (b[1] - a[1]);
            ((a[1] > line) != (b[1] > line)).then(crossing)
        };
        let mut xs: Vec<f64> = polygon.edges().filter_map(crosses).collect();
        xs.sort_by(f64::total_cmp);
        spans.extend(xs.chunks_exact(2).map(|pair| [pair[0], pair[1]]));
    }
    let along = polygon.edges().filter(|(a, b)| a[1] == y && b[1] == y);
    spans.extend(along.map(|(a, b)| [a[0].min(b[0]), a[0].max(b[0])]));
    spans
}

#[cfg(test)]
mod tests;
