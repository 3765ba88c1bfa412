//! The process window: where printed edges lie, and for which doses and foci they lie well enough.
//!
//! At a site the printed edge is where the image crosses the threshold along the edge's normal. It lies within a
//! tolerance t exactly if the image prints t inside of the design's edge and does not t outside of it.
//! Dose is a factor on the intensity, so each site at each focus allows the doses from
//! `threshold / I(t inside)` to `threshold / I(t outside)`, and a mask those that all its sites allow.

use serde::Serialize;

use crate::metrics::EpeSite;

/// How far from the design's edge a printed one is looked for, in nm.
pub const EDGE_SEARCH_NM: f64 = 60.0;
/// Distance between looks, in nm.
const STEP_NM: f64 = 0.5;

/// An aerial image, row after row.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// Intensities, relative to the clear field.
    pub data: &'a [f32],
    /// Pixels in x.
    pub width: usize,
    /// Side of a pixel, in nm.
    pub pixel_nm: f64,
}

impl Image<'_> {
    /// Intensity at a place in pixels (a pixel's middle at whole numbers), interpolated.
    fn at(&self, place: [f64; 2]) -> f64 {
        let height = self.data.len() / self.width.max(1);
        let last = [self.width, height].map(|n| n.saturating_sub(1) as f64);
        let [x, y] = [0, 1].map(|i| place[i].clamp(0.0, last[i]));
        let (column, row) = (x.floor() as usize, y.floor() as usize);
        let (u, v) = (x - x.floor(), y - y.floor());
        let value = |dx: usize, dy: usize| {
            let x = (column + dx).min(self.width - 1);
            f64::from(self.data[(row + dy).min(height - 1) * self.width + x])
        };
        let across = |dy: usize| value(0, dy) * (1.0 - u) + value(1, dy) * u;
        across(0) * (1.0 - v) + across(1) * v
    }

    /// Intensity at `outwards_nm` from the design's edge at a site.
    fn beside(&self, site: &EpeSite, outwards_nm: f64) -> f64 {
        // The edge is half a pixel outside of its pixel's middle.
        let by = 0.5 + outwards_nm / self.pixel_nm;
        self.at([0, 1].map(|i| site.at[i] as f64 - by * site.inwards[i] as f64))
    }

    /// Where the printed edge lies, in nm outwards of the design's; none within reach.
    ///
    /// `level` is the threshold over the dose.
    pub fn edge_error_nm(&self, site: &EpeSite, level: f64) -> Option<f64> {
        let steps = (EDGE_SEARCH_NM / STEP_NM) as i64;
        let at = |i: i64| i as f64 * STEP_NM;
        let crossing = |i: i64, [inner, outer]: [f64; 2]| {
            let crosses = inner >= level && outer < level;
            crosses.then(|| at(i) + STEP_NM * (inner - level) / (inner - outer))
        };
        // The intensities furthest inside and outside so far. From the design's edge outwards and inwards a step at a time, as the
        // nearest crossing is wanted.
        let mut ends = [self.beside(site, 0.0); 2];
        let mut nearest: Option<f64> = None;
        for i in 0..steps {
            if nearest.is_some_and(|error| error.abs() < at(i)) {
                break;
            }
            let next = [self.beside(site, at(-i - 1)), self.beside(site, at(i + 1))];
            let found = [crossing(-i - 1, [next[0], ends[0]]), crossing(i, [ends[1], next[1]])];
            let order = |a: &f64, b: &f64| a.abs().total_cmp(&b.abs()).then(a.total_cmp(b));
            nearest = found.into_iter().flatten().chain(nearest).min_by(order);
            ends = next;
        }
        nearest
    }

    /// Doses for which the edge at a site lies within the tolerance; empty if the first is the larger.
    pub fn doses(&self, site: &EpeSite, tolerance_nm: f64, threshold: f64) -> [f64; 2] {
        let allowed = |outwards_nm: f64| threshold / self.beside(site, outwards_nm).max(1e-12);
        [allowed(-tolerance_nm), allowed(tolerance_nm)]
    }
}

/// Edge placement errors of a print, in nm, positive outwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct EdgeErrors {
    /// Sites at which an edge was found within 60 nm.
    pub found: usize,
    /// Sites without one: the pattern is missing, or bridges.
    pub missing: usize,
    /// Mean error.
    pub mean_nm: f64,
    /// Three standard deviations.
    pub three_sigma_nm: f64,
    /// Largest error, without its sign.
    pub max_nm: f64,
}

impl EdgeErrors {
    /// Measures a print at its sites.
    pub fn measure(image: Image, level: f64, sites: &[EpeSite]) -> Self {
        let errors: Vec<f64> =
            sites.iter().filter_map(|site| image.edge_error_nm(site, level)).collect();
        let count = errors.len().max(1) as f64;
        let mean_nm = errors.iter().sum::<f64>() / count;
        let variance = errors.iter().map(|e| (e - mean_nm).powi(2)).sum::<f64>() / count;
        Self {
            found: errors.len(),
            missing: sites.len() - errors.len(),
            mean_nm,
            three_sigma_nm: 3.0 * variance.sqrt(),
            max_nm: errors.iter().fold(0.0, |most, e| most.max(e.abs())),
        }
    }
}

/// Doses that a mask allows at one focus.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DoseRange {
    /// Distance from best focus, in nm.
    pub focus_nm: f64,
    /// Least dose at which every edge is within the tolerance.
    pub low: f64,
    /// Largest dose; below `low` if there is none.
    pub high: f64,
    /// The sites that set them.
    pub limiting: [usize; 2],
}

impl DoseRange {
    /// The range that all sites allow; the whole axis if there is no site.
    pub fn of(
        image: Image,
        focus_nm: f64,
        sites: &[EpeSite],
        tolerance: f64,
        threshold: f64,
    ) -> Self {
        let mut range = Self { focus_nm, low: 0.0, high: f64::INFINITY, limiting: [0, 0] };
        for (index, site) in sites.iter().enumerate() {
            let [low, high] = image.doses(site, tolerance, threshold);
            if low > range.low {
                (range.low, range.limiting[0]) = (low, index);
            }
            if high < range.high {
                (range.high, range.limiting[1]) = (high, index);
            }
        }
        range
    }
}

/// Exposure latitude: the range of doses over its middle; 0 if it is empty.
fn latitude(low: f64, high: f64) -> f64 {
    match low < high && high.is_finite() {
        true => (high - low) / f64::midpoint(high, low),
        false => 0.0,
    }
}

/// Depth of focus against exposure latitude: for each depth, in nm, the largest latitude that one range of
/// doses has over foci that far apart. `ranges` must be in the order of their foci.
pub fn latitude_by_depth(ranges: &[DoseRange]) -> Vec<[f64; 2]> {
    let mut curve: Vec<[f64; 2]> = Vec::new();
    for first in 0..ranges.len() {
        let (mut low, mut high) = (0.0_f64, f64::INFINITY);
        for range in &ranges[first..] {
            (low, high) = (low.max(range.low), high.min(range.high));
            let point = [range.focus_nm - ranges[first].focus_nm, latitude(low, high)];
            match curve.iter_mut().find(|p| (p[0] - point[0]).abs() < 1e-9) {
                Some(known) => known[1] = known[1].max(point[1]),
                None => curve.push(point),
            }
        }
    }
    curve.sort_by(|a, b| a[0].total_cmp(&b[0]));
    // A depth allows what a larger one does.
    for i in (1..curve.len()).rev() {
        curve[i - 1][1] = curve[i - 1][1].max(curve[i][1]);
    }
    curve
}

/// The largest depth at which the latitude is at least `latitude`, between the curve's points by a line; 0 if
/// there is none.
pub fn depth_at(curve: &[[f64; 2]], latitude: f64) -> f64 {
    let Some(last) = curve.iter().rposition(|p| p[1] >= latitude) else { return 0.0 };
    let Some(next) = curve.get(last + 1) else { return curve[last][0] };
    let [from, to] = [curve[last], *next];
    from[0] + (to[0] - from[0]) * (from[1] - latitude) / (from[1] - to[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    const WIDTH: usize = 256;
    const PITCH: f64 = 128.0;

    /// Two beams: I = (1 + contrast cos 2πx/p) / 2, brightest at x = 128 px, the same in all rows.
    fn grating(contrast: f64) -> Vec<f32> {
        let value =
            |x: usize| (1.0 + contrast * (2.0 * PI * (x as f64 - 128.0) / PITCH).cos()) / 2.0;
        (0..WIDTH * 3).map(|i| value(i % WIDTH) as f32).collect()
    }

    /// A line from x = 112 to 144 px (edges between pixels), 1 nm a pixel.
    const SITES: [EpeSite; 2] =
        [EpeSite { at: [112, 1], inwards: [1, 0] }, EpeSite { at: [143, 1], inwards: [-1, 0] }];

    fn image(data: &[f32]) -> Image<'_> {
        Image { data, width: WIDTH, pixel_nm: 1.0 }
    }

    /// The printed half width is p acos(2 t − 1) / 2π for threshold t.
    #[test]
    fn a_two_beam_edge_is_found_at_its_closed_form() {
        let data = grating(1.0);
        for level in [0.3, 0.5, 0.8_f64] {
            let half = PITCH * (2.0 * level - 1.0).acos() / (2.0 * PI);
            // The line's edges are at 111.5 and 143.5 px from pixel middles: 16.5 left, 15.5 right of 128.
            for (site, design) in SITES.iter().zip([16.5, 15.5]) {
                let error = image(&data).edge_error_nm(site, level).expect("an edge");
                assert!((error - (half - design)).abs() < 0.02, "{error} vs {}", half - design);
            }
        }
        let errors = EdgeErrors::measure(image(&data), 0.5, &SITES);
        assert!((errors.mean_nm - (32.0 - 16.0)).abs() < 0.02);
        assert_eq!((errors.found, errors.missing), (2, 0));
        assert_eq!(EdgeErrors::measure(image(&data), 2.0, &SITES).missing, 2);
    }

    /// Every step from 60 nm inside to 60 nm outside, the nearest crossing of all: the second implementation.
    fn nearest_of_all(image: Image, site: &EpeSite, level: f64) -> Option<f64> {
        let crossing = |i: i32| {
            let [near, far] = [i, i + 1].map(|i| f64::from(i) * STEP_NM);
            let (inner, outer) = (image.beside(site, near), image.beside(site, far));
            let share = (inner - level) / (inner - outer);
            (inner >= level && outer < level).then_some(near + STEP_NM * share)
        };
        (-120..120).filter_map(crossing).min_by(|a, b| a.abs().total_cmp(&b.abs()))
    }

    #[test]
    fn the_edge_is_the_nearest_of_all_crossings_wherever_the_search_begins() {
        let wave = |x: usize, pitch: f64| (2.0 * PI * x as f64 / pitch).cos();
        let mut data: Vec<f32> = (0..WIDTH * 3)
            .map(|i| (0.5 + 0.2 * wave(i % WIDTH, 37.0) + 0.2 * wave(i % WIDTH, 91.0)) as f32)
            .collect();
        data[WIDTH + 60] = f32::NAN;
        let mut found = [0, 0];
        for (x, inwards) in (0..WIDTH as isize).flat_map(|x| [(x, 1), (x, -1)]) {
            let site = EpeSite { at: [x, 1], inwards: [inwards, 0] };
            for level in [0.12, 0.3, 0.5, f64::from(data[WIDTH + 90]), 0.88] {
                let nearest = image(&data).edge_error_nm(&site, level);
                assert_eq!(nearest, nearest_of_all(image(&data), &site, level), "{x} {level}");
                found[usize::from(nearest.is_some())] += 1;
            }
        }
        assert!(found.iter().all(|&sites| sites > 50), "{found:?}");
    }

    /// The allowed doses follow from the intensity at the tolerance's ends.
    #[test]
    fn the_doses_of_a_grating_are_those_of_its_closed_form() {
        let data = grating(1.0);
        let intensity = |x: f64| f64::midpoint(1.0, (2.0 * PI * x / PITCH).cos());
        let range = DoseRange::of(image(&data), 0.0, &SITES, 8.0, 0.6);
        // The left site's edge is at −16.5 px, the right one's at 15.5.
        let (low, high) = (0.6 / intensity(16.5 - 8.0), 0.6 / intensity(15.5 + 8.0));
        assert!((range.low - low).abs() < 1e-3 && (range.high - high).abs() < 1e-3);
        assert_eq!(range.limiting, [0, 1]);
    }

    #[test]
    fn latitude_falls_with_depth() {
        let range = |focus_nm: f64| {
            let loss = focus_nm.abs() / 1000.0;
            DoseRange { focus_nm, low: 0.9 + loss, high: 1.1 - loss, limiting: [0, 0] }
        };
        let ranges = [-100.0, -50.0, 0.0, 50.0, 100.0].map(range);
        let curve = latitude_by_depth(&ranges);
        assert_eq!(curve.len(), 5);
        assert!((curve[0][1] - 0.2).abs() < 1e-12);
        // From −50 to 50 nm the doses are 0.95 to 1.05.
        assert!((curve[2][0] - 100.0).abs() < 1e-9 && (curve[2][1] - 0.1).abs() < 1e-12);
        assert!(curve[4][1].abs() < 1e-12);
        // 5 % is halfway between 50 + 100 (0.1 − … ) points; the line is straight here.
        assert!((depth_at(&curve, 0.05) - 150.0).abs() < 50.0);
        assert!(depth_at(&curve, 0.3).abs() < 1e-12);
    }
}
