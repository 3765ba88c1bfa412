//! L2, PV band and EPE, as OpenILT and LithoBench count them.
//!
//! Counts are over pixels of hard prints. EPE constants are in nm: probes 15 nm inside and outside
//! of the target's edge, at the middle of edges up to 80 nm, else every 40 nm from 40 nm off both ends.

use serde::Serialize;

use crate::{ProcessWindow, Resist};

/// Distance of the EPE probes from the edge.
pub const EPE_REACH_NM: f64 = 15.0;
/// Distance between sites on a long edge, and of the first from its end.
pub(crate) const EPE_STEP_NM: f64 = 40.0;
/// Edges up to this length have one site in their middle.
pub(crate) const EPE_SHORT_NM: f64 = 80.0;

/// A binary image, row after row.
#[derive(Clone, Copy, Debug)]
pub struct Bitmap<'a> {
    /// Pixels.
    pub data: &'a [bool],
    /// Pixels in x.
    pub width: usize,
}

impl Bitmap<'_> {
    fn height(&self) -> usize {
        self.data.len() / self.width
    }

    /// The pixel, false outside.
    fn at(&self, x: isize, y: isize) -> bool {
        x >= 0
            && y >= 0
            && (x as usize) < self.width
            && (y as usize) < self.height()
            && self.data[y as usize * self.width + x as usize]
    }
}

/// Where the edge's position is checked: one pixel well inside the target, one well outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpeSite {
    /// The boundary pixel, x then y.
    pub at: [isize; 2],
    /// Towards the inside: one of the four unit steps.
    pub inwards: [isize; 2],
}

/// What a print does at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum EpeFinding {
    /// The edge lies within the reach.
    Good,
    /// The print is missing inside the target.
    Inside,
    /// The print spills outside of the target.
    Outside,
    /// Both; counts twice.
    Both,
}

impl EpeFinding {
    /// Number of violations.
    pub fn violations(self) -> usize {
        match self {
            Self::Good => 0,
            Self::Inside | Self::Outside => 1,
            Self::Both => 2,
        }
    }
}

/// The sites of a target. An edge pixel is a target pixel with one of eight neighbours outside; edges
/// are runs of them.
pub fn epe_sites(target: Bitmap, pixel_nm: f64) -> Vec<EpeSite> {
    let width = target.width as isize;
    let around =
        |x: isize, y: isize| (-1..=1).all(|dy| (-1..=1).all(|dx| target.at(x + dx, y + dy)));
    let [x0, y0, x1, y1] = extent(&target);
    let mut edge = vec![false; target.data.len()];
    for y in y0..y1 {
        for x in x0..x1 {
            edge[(y * width + x) as usize] = target.at(x, y) && !around(x, y);
        }
    }
    let edge = Bitmap { data: &edge, width: target.width };
    let mut sites = Vec::new();
    // Vertical edges lack an edge pixel to the left or right; they are walked column by column.
    for axis in [1, 0] {
        let place =
            |fixed: isize, moving: isize| if axis == 1 { [fixed, moving] } else { [moving, fixed] };
        let across =
            |[x, y]: [isize; 2], by: isize| if axis == 1 { [x + by, y] } else { [x, y + by] };
        let on_edge = |[x, y]: [isize; 2]| edge.at(x, y);
        let is_run =
            |p: [isize; 2]| on_edge(p) && !(on_edge(across(p, -1)) && on_edge(across(p, 1)));
        let (lines, along) = if axis == 1 { (x0..x1, y0..y1) } else { (y0..y1, x0..x1) };
        for fixed in lines {
            for [start, end] in runs(along.clone(), |moving| is_run(place(fixed, moving))) {
                let points = sample_points(start, end, pixel_nm);
                let Some(&first) = points.first() else { continue };
                let inside = |by: isize| {
                    let [x, y] = across(place(fixed, first), by);
                    target.at(x, y)
                };
                let inwards = match (inside(-1), inside(1)) {
                    (false, _) => across([0, 0], 1),
                    (true, false) => across([0, 0], -1),
                    (true, true) => continue, // no edge in this direction
                };
                sites.extend(points.iter().map(|&m| EpeSite { at: place(fixed, m), inwards }));
            }
        }
    }
    sites
}

/// The rectangle around what is set, ends excluded; empty if nothing is.
fn extent(image: &Bitmap) -> [isize; 4] {
    let mut found = [isize::MAX, isize::MAX, 0, 0];
    for (y, row) in image.data.chunks(image.width.max(1)).enumerate() {
        let Some(first) = row.iter().position(|&p| p) else { continue };
        let last = row.iter().rposition(|&p| p).unwrap_or(first);
        found[0] = found[0].min(first as isize);
        found[1] = found[1].min(y as isize);
        found[2] = found[2].max(last as isize + 1);
        found[3] = y as isize + 1;
    }
    found
}

/// First and last index of each unbroken run.
fn runs(along: std::ops::Range<isize>, inside: impl Fn(isize) -> bool) -> Vec<[isize; 2]> {
    let mut found: Vec<[isize; 2]> = Vec::new();
    for i in along.filter(|&i| inside(i)) {
        match found.last_mut() {
            Some(run) if run[1] + 1 == i => run[1] = i,
            _ => found.push([i, i]),
        }
    }
    found
}

/// Positions of the sites on an edge; none on one or two pixels, which are corners.
fn sample_points(start: isize, end: isize, pixel_nm: f64) -> Vec<isize> {
    let px = |nm: f64| ((nm / pixel_nm).round() as isize).max(1);
    let (step, middle) = (px(EPE_STEP_NM), isize::midpoint(start, end));
    match end - start {
        0 | 1 => Vec::new(),
        length if length <= px(EPE_SHORT_NM) => vec![middle],
        _ => {
            let up = (1..).map(|i| start + i * step).take_while(|&p| p <= middle);
            let down = (1..).map(|i| end - i * step).take_while(|&p| p > middle);
            let mut points: Vec<isize> = up.chain(down).collect();
            points.sort_unstable();
            points
        }
    }
}

/// Checks a print at every site.
pub fn check_epe(printed: Bitmap, sites: &[EpeSite], pixel_nm: f64) -> Vec<EpeFinding> {
    let reach = (EPE_REACH_NM / pixel_nm).round() as isize;
    let probe = |site: &EpeSite, by: isize| {
        printed.at(site.at[0] + by * site.inwards[0], site.at[1] + by * site.inwards[1])
    };
    let finding = |site: &EpeSite| match (!probe(site, reach), probe(site, -reach)) {
        (false, false) => EpeFinding::Good,
        (true, false) => EpeFinding::Inside,
        (false, true) => EpeFinding::Outside,
        (true, true) => EpeFinding::Both,
    };
    sites.iter().map(finding).collect()
}

/// A shape of a target: pixels that hang together by their sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Where its pixels are in the bitmap.
    pub pixels: Vec<usize>,
    /// Least column and row.
    pub min: [usize; 2],
    /// Greatest column and row.
    pub max: [usize; 2],
}

/// The features of a target of which nothing prints: not a pixel of them.
pub fn unprinted(target: Bitmap, printed: Bitmap) -> Vec<Feature> {
    let mut left = target.data.to_vec();
    let mut missing = Vec::new();
    for first in 0..target.data.len() {
        if left[first] {
            let feature = taken(&mut left, first, target.width);
            if !feature.pixels.iter().any(|&i| printed.data[i]) {
                missing.push(feature);
            }
        }
    }
    missing
}

/// Takes the feature of a pixel out of a bitmap.
fn taken(left: &mut [bool], first: usize, width: usize) -> Feature {
    let place = |i: usize| [i % width, i / width];
    let mut feature = Feature { pixels: Vec::new(), min: place(first), max: place(first) };
    let mut next = vec![first];
    left[first] = false;
    while let Some(i) = next.pop() {
        let [x, y] = place(i);
        feature.pixels.push(i);
        feature.min = [feature.min[0].min(x), feature.min[1].min(y)];
        feature.max = [feature.max[0].max(x), feature.max[1].max(y)];
        let sides = [
            (x > 0).then(|| i - 1),
            (x + 1 < width).then_some(i + 1),
            (y > 0).then(|| i - width),
            (i + width < left.len()).then_some(i + width),
        ];
        for side in sides.into_iter().flatten() {
            if std::mem::take(&mut left[side]) {
                next.push(side);
            }
        }
    }
    feature
}

/// Prints at the three corners.
#[derive(Clone, Debug, PartialEq)]
pub struct Prints {
    /// Pixels in x.
    pub width: usize,
    /// At the nominal corner.
    pub nominal: Vec<bool>,
    /// At the corner that prints most.
    pub outer: Vec<bool>,
    /// At the corner that prints least.
    pub inner: Vec<bool>,
}

impl Prints {
    /// Develops an aerial image in focus and one out of focus.
    pub fn develop(
        best: &[f32],
        defocus: &[f32],
        width: usize,
        window: &ProcessWindow,
        resist: &Resist,
    ) -> Self {
        let print = |corner: crate::Corner| {
            let aerial = if corner.focus == crate::Focus::Best { best } else { defocus };
            resist.print(aerial, corner.dose)
        };
        let (nominal, outer, inner) =
            (print(window.nominal), print(window.outer), print(window.inner));
        Self { width, nominal, outer, inner }
    }

    /// Pixels where the nominal print is not the target.
    pub fn l2(&self, target: &[bool]) -> usize {
        differing(&self.nominal, target)
    }

    /// Pixels between the outer and the inner print.
    pub fn pv_band(&self) -> usize {
        differing(&self.outer, &self.inner)
    }
}

fn differing(a: &[bool], b: &[bool]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a != b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 200;

    fn bar(x: std::ops::Range<usize>, y: std::ops::Range<usize>) -> Vec<bool> {
        (0..WIDTH * WIDTH).map(|i| x.contains(&(i % WIDTH)) && y.contains(&(i / WIDTH))).collect()
    }

    fn findings(target: &[bool], print: &[bool]) -> Vec<EpeFinding> {
        let image = |data| Bitmap { data, width: WIDTH };
        check_epe(image(print), &epe_sites(image(target), 1.0), 1.0)
    }

    #[test]
    fn a_perfect_print_has_sites_and_no_violation() {
        let target = bar(60..131, 40..161);
        let found = findings(&target, &target);
        // Two edges of 71 px with one site, two of 121 px with sites 40 px off both ends and between.
        assert_eq!(found.len(), 2 + 2 * 2);
        assert!(found.iter().all(|f| *f == EpeFinding::Good));
    }

    /// Edges moved by d violate once d exceeds 15 nm: the probes' definition.
    #[test]
    fn a_shifted_edge_violates_beyond_fifteen_nanometres() {
        let target = bar(60..131, 40..161);
        let violations = |shift: usize| {
            let found = findings(&target, &bar(60 - shift..131 + shift, 40 - shift..161 + shift));
            found.iter().map(|f| f.violations()).sum::<usize>()
        };
        assert_eq!((violations(14), violations(15)), (0, 6));
        let inner = |shift: usize| {
            let found = findings(&target, &bar(60 + shift..131 - shift, 40 + shift..161 - shift));
            found.iter().filter(|f| **f == EpeFinding::Inside).count()
        };
        assert_eq!((inner(15), inner(16)), (0, 6));
    }

    #[test]
    fn one_pixel_features_do_no_harm() {
        for target in
            [bar(50..51, 50..51), bar(50..51, 20..180), bar(20..180, 50..51), bar(50..52, 50..52)]
        {
            let found = findings(&target, &target);
            assert!(found.len() <= 8, "{}", found.len());
        }
    }

    #[test]
    fn a_feature_that_does_not_print_is_found_and_one_that_prints_a_pixel_is_not() {
        let both = |a: Vec<bool>, b: Vec<bool>| -> Vec<bool> {
            a.iter().zip(b).map(|(a, b)| *a || b).collect()
        };
        // Two squares that touch at a corner are two features.
        let target = both(bar(20..30, 20..30), bar(30..40, 30..40));
        let missing = |print: &[bool]| {
            let [target, printed] = [&target, print].map(|data| Bitmap { data, width: WIDTH });
            unprinted(target, printed)
        };
        assert_eq!(missing(&bar(29..30, 29..30)).len(), 1);
        let found = &missing(&bar(29..30, 29..30))[0];
        assert_eq!((found.min, found.max, found.pixels.len()), ([30, 30], [39, 39], 100));
        assert_eq!(missing(&bar(100..150, 0..200)).len(), 2);
        assert!(missing(&target).is_empty());
    }

    #[test]
    fn areas_are_counted_in_pixels() {
        let prints = Prints {
            width: WIDTH,
            nominal: bar(50..100, 50..100),
            outer: bar(49..101, 49..101),
            inner: bar(51..99, 51..99),
        };
        assert_eq!(prints.l2(&bar(50..100, 50..110)), 50 * 10);
        assert_eq!(prints.pv_band(), 52 * 52 - 48 * 48);
    }
}
