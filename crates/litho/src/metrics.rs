//! L2, PV band and EPE, as OpenILT and LithoBench count them.
//!
//! Counts are over pixels of hard prints. EPE constants are in nm: probes 15 nm inside and outside
//! of the target's edge, at the middle of edges up to 80 nm, else every 40 nm from 40 nm off both ends.

mod edges;

use serde::Serialize;

use crate::{PackedImages, ProcessWindow, Resist};

/// Distance of the EPE probes from the edge, in nm.
pub const EPE_REACH_NM: f64 = 15.0;
/// Distances at which tighter tolerances are checked, in nm.
pub const TIGHT_REACHES_NM: [f64; 3] = [1.0, 3.0, 5.0];
/// Distance between sites on a long edge, and of the first from its end.
pub(crate) const EPE_STEP_NM: f64 = 40.0;
/// Edges up to this length have one site in their middle.
pub(crate) const EPE_SHORT_NM: f64 = 80.0;

/// Pixels of a word.
const WORD: usize = 32;

/// A square binary image, a bit a pixel: whole words a row, the least bit first, and nothing in what is beyond a row's last pixel.
#[derive(Clone, Copy, Debug)]
pub struct Bitmap<'a> {
    /// Words, row after row.
    pub words: &'a [u32],
    /// Pixels on a side.
    pub side: usize,
}

impl<'a> Bitmap<'a> {
    /// The pixel, false outside.
    fn at(&self, x: isize, y: isize) -> bool {
        let inside = |v: isize| (0..self.side as isize).contains(&v);
        inside(x) && inside(y) && {
            let (x, y) = (x as usize, y as usize);
            self.words[y * self.row_words() + x / WORD] >> (x % WORD) & 1 == 1
        }
    }

    /// Pixels in which another image of the size differs, not counting the outer `margin` on each side.
    ///
    /// # Panics
    ///
    /// If the other is smaller.
    pub fn differing(&self, other: Self, margin: usize) -> usize {
        let [first, end] = [margin, self.side.saturating_sub(margin)];
        if first >= end {
            return 0;
        }
        let (words, last) = (first / WORD..(end - 1) / WORD + 1, (end - 1) / WORD);
        let row = |y: usize| {
            let row = y * self.row_words();
            let differing = |i: usize| {
                let head = if i == first / WORD { u32::MAX << (first % WORD) } else { u32::MAX };
                let tail =
                    if i == last { u32::MAX >> (WORD - 1 - (end - 1) % WORD) } else { u32::MAX };
                ((self.words[row + i] ^ other.words[row + i]) & head & tail).count_ones() as usize
            };
            words.clone().map(differing).sum::<usize>()
        };
        (first..end).map(row).sum()
    }

    /// Pixels that are set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn row_words(&self) -> usize {
        self.side.div_ceil(WORD)
    }

    fn row(&self, y: usize) -> &'a [u32] {
        &self.words[y * self.row_words()..][..self.row_words()]
    }

    /// Whether each pixel is set, row by row.
    fn pixels(&self) -> Vec<bool> {
        let row = |y: usize| (0..self.side).map(move |x| self.at(x as isize, y as isize));
        (0..self.side).flat_map(row).collect()
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
    let [upright, level] = edges::of(target);
    let mut sites = Vec::new();
    // Upright edges lack an edge pixel to the left or right; they are walked column by column.
    for (axis, lines) in [(1, upright), (0, level)] {
        let place =
            |fixed: isize, moving: isize| if axis == 1 { [fixed, moving] } else { [moving, fixed] };
        let across =
            |[x, y]: [isize; 2], by: isize| if axis == 1 { [x + by, y] } else { [x, y + by] };
        for [fixed, start, end] in lines {
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
    sites
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

/// Checks a print at every site, `reach_nm` inside and outside of the edge.
pub fn check_epe(
    printed: Bitmap,
    sites: &[EpeSite],
    reach_nm: f64,
    pixel_nm: f64,
) -> Vec<EpeFinding> {
    let reach = (reach_nm / pixel_nm).round() as isize;
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

/// Violations at each of [`TIGHT_REACHES_NM`], counted as those at [`EPE_REACH_NM`] are; none where pixels are larger than that.
pub fn tight_violations(
    printed: Bitmap,
    sites: &[EpeSite],
    pixel_nm: f64,
) -> [Option<usize>; TIGHT_REACHES_NM.len()] {
    TIGHT_REACHES_NM.map(|reach_nm| {
        let findings = || check_epe(printed, sites, reach_nm, pixel_nm);
        (reach_nm >= pixel_nm).then(|| findings().into_iter().map(EpeFinding::violations).sum())
    })
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
    let (mut left, printed) = (target.pixels(), printed.pixels());
    let mut missing = Vec::new();
    for first in 0..left.len() {
        if left[first] {
            let feature = taken(&mut left, first, target.side);
            if !feature.pixels.iter().any(|&i| printed[i]) {
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
    /// At the nominal corner.
    pub nominal: PackedImages,
    /// At the corner that prints most.
    pub outer: PackedImages,
    /// At the corner that prints least.
    pub inner: PackedImages,
}

impl Prints {
    /// Develops an aerial image in focus and one out of focus, of `side` pixels a row.
    pub fn develop(
        best: &[f32],
        defocus: &[f32],
        side: usize,
        window: &ProcessWindow,
        resist: &Resist,
    ) -> Self {
        let print = |corner: crate::Corner| {
            let aerial = if corner.focus == crate::Focus::Best { best } else { defocus };
            resist.print(aerial, side, corner.dose)
        };
        let (nominal, outer, inner) =
            (print(window.nominal), print(window.outer), print(window.inner));
        Self { nominal, outer, inner }
    }

    /// Pixels where the nominal print is not the target, not counting the outer `margin` on each side.
    pub fn l2(&self, target: Bitmap, margin: usize) -> usize {
        self.nominal.bitmap(0).differing(target, margin)
    }

    /// Pixels between the outer and the inner print, not counting the outer `margin` on each side.
    pub fn pv_band(&self, margin: usize) -> usize {
        self.outer.bitmap(0).differing(self.inner.bitmap(0), margin)
    }
}

#[cfg(test)]
mod tests;
