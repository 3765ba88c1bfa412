//! Mask rules: what a mask shop can write and inspect.
//!
//! Widths and spaces are those of curvilinear masks: a place is wide enough if a disk as wide as the rule
//! fits there. Written with the morphological opening, a mask keeps the width rule if it is its own
//! opening by that disk, apart from what a disk leaves in a right-angled corner; the space rule is
//! the same of the background. So "enforced" and "checked" mean the same thing, whatever the shape. Disks
//! are of whole pixels, so widths and spaces are held to within one pixel; areas and distances exactly.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::bits::{Bits, MOST_RADIUS};
use crate::distance::squared;
use crate::shapes::{Shapes, shapes};
use crate::{Bounds, LayoutError, Raster, distance};

/// Times that enforcing goes over all rules: mending one can break another.
const ROUNDS: usize = 8;
/// What grows around a small shape that is taken away, so that the solver does not put it back, in nm.
const CLEARANCE_NM: f64 = 8.0;

/// The rules, as a JSON file has them. A rule of 0 is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskRules {
    /// Least width of a shape, in nm.
    pub min_width_nm: f64,
    /// Least width of the background, notches included, in nm.
    pub min_space_nm: f64,
    /// Least area of a shape, in nm².
    pub min_area_nm2: f64,
    /// Least distance between two shapes, edge to edge, in nm.
    pub min_distance_nm: f64,
}

impl Default for MaskRules {
    /// What the masks of this kind that are published with rules keep, or stricter (CurvyILT, ISPD 2025:
    /// area 1,695 nm², distance 19.4 nm).
    fn default() -> Self {
        Self { min_width_nm: 30.0, min_space_nm: 20.0, min_area_nm2: 1700.0, min_distance_nm: 20.0 }
    }
}

/// Which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Width of a shape.
    Width,
    /// Width of the background.
    Space,
    /// Area of a shape.
    Area,
    /// Distance of two shapes.
    Distance,
}

impl Rule {
    /// The word for it, and the unit of its values.
    pub fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Width => ("width", "nm"),
            Self::Space => ("space", "nm"),
            Self::Area => ("area", "nm²"),
            Self::Distance => ("distance", "nm"),
        }
    }
}

/// A place that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What was found, in the rule's unit.
    pub found: f64,
    /// What it asks for.
    pub required: f64,
    /// Least x and y of the place, in nm from the mask's first corner.
    pub min_nm: [f64; 2],
    /// Greatest x and y of the place.
    pub max_nm: [f64; 2],
}

impl MaskRules {
    /// Reads rules from a JSON file.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] that says which value is wrong.
    pub fn read(path: &std::path::Path) -> Result<Self, LayoutError> {
        let text =
            std::fs::read_to_string(path).map_err(|e| LayoutError::Read(path.to_path_buf(), e))?;
        let damaged = |problem| LayoutError::Damaged {
            path: path.to_path_buf(),
            format: "JSON mask rules",
            problem,
        };
        let rules: Self = serde_json::from_str(&text).map_err(|e| {
            damaged(format!(
                "{e}; expected an object with any of min_width_nm, min_space_nm, min_area_nm2, \
                 min_distance_nm"
            ))
        })?;
        for (name, value) in rules.named() {
            if !(value.is_finite() && value >= 0.0) {
                return Err(damaged(format!("{name} is {value}; expected 0 (no rule) or more")));
            }
        }
        Ok(rules)
    }

    fn named(&self) -> [(&'static str, f64); 4] {
        [
            ("min_width_nm", self.min_width_nm),
            ("min_space_nm", self.min_space_nm),
            ("min_area_nm2", self.min_area_nm2),
            ("min_distance_nm", self.min_distance_nm),
        ]
    }

    /// The places where a mask (at least half covered pixels) breaks the rules.
    ///
    /// Beyond its border the mask is dark.
    pub fn check(&self, mask: &Raster) -> Vec<Violation> {
        let margin = self.margin(mask.pixel_nm);
        let (inside, width) = framed(&mask.binary(), mask.width, margin);
        let on = Grid { width, pixel_nm: mask.pixel_nm };
        let background: Vec<bool> = inside.iter().map(|&i| !i).collect();
        let mut found = on.narrow(&inside, self.min_width_nm, Rule::Width);
        found.extend(on.narrow(&background, self.min_space_nm, Rule::Space));
        let all = shapes(&inside, width);
        found.extend(on.small(&all, self.min_area_nm2));
        found.extend(on.near(&all, self.min_distance_nm));
        let shift = margin as f64 * mask.pixel_nm;
        for place in &mut found {
            place.min_nm = place.min_nm.map(|v| v - shift);
            place.max_nm = place.max_nm.map(|v| v - shift);
        }
        found
    }

    /// Dark pixels to add around a mask, so that no disk reaches over its border.
    fn margin(&self, pixel_nm: f64) -> usize {
        (self.min_width_nm.max(self.min_space_nm) / pixel_nm).ceil() as usize + 1
    }

    /// Changes a mask of `width` pixels a row until it keeps the rules, or as nearly as a few rounds
    /// get: opened and closed by disks, small shapes taken away, neighbours drawn apart.
    pub fn enforce(&self, mask: &[bool], width: usize, pixel_nm: f64) -> Vec<bool> {
        let margin = self.margin(pixel_nm);
        let (mut mask, wide) = framed(mask, width, margin);
        let on = Grid { width: wide, pixel_nm };
        for round in 0..ROUNDS {
            let before = mask.clone();
            mask = on.opened(&mask, self.min_width_nm);
            // The last rounds only take away, which cannot go on for ever.
            if round < ROUNDS / 2 {
                mask = inverse(&on.opened(&inverse(&mask), self.min_space_nm));
            } else {
                let tight = on.tight(&mask, self.min_space_nm);
                clear(&mut mask, &tight);
            }
            let forbidden = self.forbidden_on(&mask, on, 0.0);
            clear(&mut mask, &forbidden);
            if mask == before {
                break;
            }
        }
        let rows = mask.chunks(wide).skip(margin).take(mask.len() / wide - 2 * margin);
        rows.flat_map(|row| &row[margin..margin + width]).copied().collect()
    }

    /// Pixels that must stay dark for shapes to be large enough and far enough apart: small shapes with
    /// what is around them, and the middle between near neighbours.
    pub fn forbidden(&self, mask: &[bool], width: usize, pixel_nm: f64) -> Vec<bool> {
        self.forbidden_on(mask, Grid { width, pixel_nm }, CLEARANCE_NM)
    }

    fn forbidden_on(&self, mask: &[bool], on: Grid, clearance_nm: f64) -> Vec<bool> {
        let all = shapes(mask, on.width);
        let least = self.min_area_nm2 / (on.pixel_nm * on.pixel_nm);
        let is_small =
            |&label: &u32| label != 0 && (all.sizes[label as usize - 1] as f64) < least - 1e-9;
        let small: Vec<bool> = all.labels.iter().map(is_small).collect();
        let mut forbidden = match clearance_nm > 0.0 && small.contains(&true) {
            true => on.grown(&small, clearance_nm / on.pixel_nm),
            false => small.clone(),
        };
        let mut rest = all;
        for (label, small) in rest.labels.iter_mut().zip(&small) {
            *label *= u32::from(!small);
        }
        on.forbid_between(&rest, self.min_distance_nm, &mut forbidden);
        forbidden
    }
}

/// A mask with `margin` dark pixels around it, and its new width.
fn framed(mask: &[bool], width: usize, margin: usize) -> (Vec<bool>, usize) {
    let wide = width + 2 * margin;
    let height = mask.len() / width.max(1);
    let mut framed = vec![false; wide * (height + 2 * margin)];
    for (y, row) in mask.chunks(width.max(1)).enumerate() {
        framed[(y + margin) * wide + margin..][..width].copy_from_slice(row);
    }
    (framed, wide)
}

fn inverse(mask: &[bool]) -> Vec<bool> {
    mask.iter().map(|&inside| !inside).collect()
}

fn clear(mask: &mut [bool], where_: &[bool]) {
    for (pixel, &dark) in mask.iter_mut().zip(where_) {
        *pixel &= !dark;
    }
}

/// Pixels of a mask.
#[derive(Clone, Copy)]
struct Grid {
    width: usize,
    pixel_nm: f64,
}

impl Grid {
    /// Radius of the disk that is as wide as the rule, in pixels: a bar of w pixels holds the lattice points
    /// within (w − 1) / 2 of its middle.
    fn radius(self, least_nm: f64) -> f64 {
        ((least_nm / self.pixel_nm - 1.0) / 2.0).max(0.0)
    }

    fn grown(self, set: &[bool], radius: f64) -> Vec<bool> {
        match radius <= MOST_RADIUS {
            true => Bits::new(set, self.width).grown(radius).to_bools(),
            false => distance::grown(set, self.width, radius),
        }
    }

    fn opened(self, set: &[bool], least_nm: f64) -> Vec<bool> {
        match self.radius(least_nm) {
            radius if radius < 1.0 => set.to_vec(),
            radius if radius <= MOST_RADIUS => Bits::new(set, self.width).opened(radius).to_bools(),
            radius => distance::opened(set, self.width, radius),
        }
    }

    /// Pixels of the set further from its opening than a right-angled corner is.
    fn violating(self, set: &[bool], least_nm: f64) -> Vec<bool> {
        let allowed = self.radius(least_nm) * (2.0_f64.sqrt() - 1.0) + 1.0;
        let near = self.grown(&self.opened(set, least_nm), allowed);
        set.iter().zip(near).map(|(&s, near)| s && !near).collect()
    }

    /// Places narrower than the rule.
    fn narrow(self, set: &[bool], least_nm: f64, rule: Rule) -> Vec<Violation> {
        if self.radius(least_nm) < 1.0 {
            return Vec::new();
        }
        let places = shapes(&self.violating(set, least_nm), self.width);
        if places.sizes.is_empty() {
            return Vec::new();
        }
        let depth = squared(&inverse(set), self.width);
        let mut deepest = vec![0; places.sizes.len()];
        for (&label, &depth) in places.labels.iter().zip(&depth) {
            if label != 0 {
                deepest[label as usize - 1] = depth.max(deepest[label as usize - 1]);
            }
        }
        let width_nm = |depth: u64| ((2.0 * (depth as f64).sqrt() - 1.0) * self.pixel_nm).max(0.0);
        let boxes = self.boxes(&places);
        let place =
            |(b, &d): (&Bounds, &u64)| violation(rule, width_nm(d).min(least_nm), least_nm, b);
        boxes.iter().zip(&deepest).map(place).collect()
    }

    /// Pixels beside spaces narrower than the rule: what to take away to widen them.
    fn tight(self, mask: &[bool], least_nm: f64) -> Vec<bool> {
        if self.radius(least_nm) < 1.0 {
            return vec![false; mask.len()];
        }
        let tight = self.violating(&inverse(mask), least_nm);
        match tight.contains(&true) {
            true => self.grown(&tight, self.radius(least_nm) + 1.0),
            false => tight,
        }
    }

    fn small(self, all: &Shapes, least_nm2: f64) -> Vec<Violation> {
        let area = |pixels: usize| pixels as f64 * self.pixel_nm * self.pixel_nm;
        let boxes = self.boxes(all);
        let small = all.sizes.iter().zip(&boxes).filter(|(s, _)| area(**s) < least_nm2 - 1e-6);
        small.map(|(&s, b)| violation(Rule::Area, area(s), least_nm2, b)).collect()
    }

    /// Pairs of shapes nearer than the rule, each at its nearest place.
    fn near(self, all: &Shapes, least_nm: f64) -> Vec<Violation> {
        let mut pairs = std::collections::BTreeMap::new();
        self.neighbours(all, least_nm, |a, b, apart| {
            let (la, lb) = (all.labels[a], all.labels[b]);
            let best = pairs.entry((la.min(lb), la.max(lb))).or_insert((apart, a, b));
            if apart < best.0 {
                *best = (apart, a, b);
            }
        });
        let corner = |p: usize| [p % self.width, p / self.width].map(|v| v as f64 * self.pixel_nm);
        let bounds =
            |p: usize| Bounds { min: corner(p), max: corner(p).map(|v| v + self.pixel_nm) };
        let place = |&(apart, a, b): &(f64, usize, usize)| {
            violation(Rule::Distance, apart, least_nm, &bounds(a).union(bounds(b)))
        };
        pairs.values().map(place).collect()
    }

    /// Marks the pixels within half the rule of the middle between shapes that are nearer than it.
    fn forbid_between(self, all: &Shapes, least_nm: f64, forbidden: &mut [bool]) {
        let mut middle = vec![false; forbidden.len()];
        self.neighbours(all, least_nm, |a, b, _| {
            let between = |a: usize, b: usize, up: usize| (a + b + up) / 2;
            let ([ax, ay], [bx, by]) = (self.at(a), self.at(b));
            for up in [0, 1] {
                middle[between(ay, by, up) * self.width + between(ax, bx, up)] = true;
            }
        });
        if middle.contains(&true) {
            // Half a diagonal more, from a pixel's middle to its corner.
            let near = self.grown(&middle, least_nm / self.pixel_nm / 2.0 + 0.75);
            forbidden.iter_mut().zip(near).for_each(|(f, near)| *f |= near);
        }
    }

    fn at(self, pixel: usize) -> [usize; 2] {
        [pixel % self.width, pixel / self.width]
    }

    /// Calls `visit` with each pair of edge pixels of two shapes that are nearer than the rule, and with
    /// their gap in nm.
    fn neighbours(self, all: &Shapes, least_nm: f64, mut visit: impl FnMut(usize, usize, f64)) {
        if all.sizes.len() < 2 || least_nm <= 0.0 {
            return;
        }
        let most = (least_nm / self.pixel_nm).ceil() as isize + 1;
        let apart = |dx: isize, dy: isize| {
            let beyond = |d: isize| d.unsigned_abs().saturating_sub(1) as f64;
            beyond(dx).hypot(beyond(dy)) * self.pixel_nm
        };
        // Half of the directions: each pair is met once.
        let offsets = (0..=most).flat_map(|dy| (-most..=most).map(move |dx| (dx, dy)));
        let offsets: Vec<(isize, isize, f64)> = offsets
            .filter(|&(dx, dy)| dy > 0 || dx > 0)
            .map(|(dx, dy)| (dx, dy, apart(dx, dy)))
            .filter(|&(_, _, apart)| apart < least_nm - 1e-6)
            .collect();
        let (width, height) = (self.width as isize, (all.labels.len() / self.width) as isize);
        let label = |x: isize, y: isize| match x >= 0 && y >= 0 && x < width && y < height {
            true => all.labels[(y * width + x) as usize],
            false => 0,
        };
        for pixel in 0..all.labels.len() {
            let own = all.labels[pixel];
            let [x, y] = self.at(pixel).map(|v| v as isize);
            let on_edge = || {
                [(1, 0), (-1, 0), (0, 1), (0, -1)].iter().any(|(dx, dy)| label(x + dx, y + dy) == 0)
            };
            if own == 0 || !on_edge() {
                continue;
            }
            for &(dx, dy, apart) in &offsets {
                let other = label(x + dx, y + dy);
                if other != 0 && other != own {
                    visit(pixel, ((y + dy) * width + x + dx) as usize, apart);
                }
            }
        }
    }

    /// The rectangle of pixels around each shape, ends excluded.
    fn places(self, all: &Shapes) -> Vec<Option<[usize; 4]>> {
        let mut places: Vec<Option<[usize; 4]>> = vec![None; all.sizes.len()];
        for (pixel, &label) in all.labels.iter().enumerate() {
            if label != 0 {
                let (x, y) = (pixel % self.width, pixel / self.width);
                let [x0, y0, x1, y1] = places[label as usize - 1].unwrap_or([x, y, x + 1, y + 1]);
                places[label as usize - 1] =
                    Some([x0.min(x), y0.min(y), x1.max(x + 1), y1.max(y + 1)]);
            }
        }
        places
    }

    /// The rectangle around each shape, in nm.
    fn boxes(self, all: &Shapes) -> Vec<Bounds> {
        let nm = |v: usize| v as f64 * self.pixel_nm;
        let bounds = |place: Option<[usize; 4]>| {
            let [x0, y0, x1, y1] = place.unwrap_or_default();
            Bounds { min: [nm(x0), nm(y0)], max: [nm(x1), nm(y1)] }
        };
        self.places(all).into_iter().map(bounds).collect()
    }
}

fn violation(rule: Rule, found: f64, required: f64, place: &Bounds) -> Violation {
    Violation { rule, found, required, min_nm: place.min, max_nm: place.max }
}

/// Several masks at once, each as [`MaskRules::enforce`] makes it, or as it is if less than half of it would
/// be left: such rules cannot be met.
pub fn enforce_all(rules: &MaskRules, masks: &mut [Raster]) {
    masks.par_iter_mut().for_each(|mask| {
        let free = mask.binary();
        let kept = rules.enforce(&free, mask.width, mask.pixel_nm);
        let count = |mask: &[bool]| mask.iter().filter(|&&inside| inside).count();
        if 2 * count(&kept) < count(&free) {
            return;
        }
        mask.data = kept.iter().map(|&k| f32::from(u8::from(k))).collect();
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIDE: usize = 96;

    fn drawn(boxes: &[[usize; 4]]) -> Raster {
        let mut raster = Raster::new(SIDE, SIDE, 2.0);
        for &[x0, y0, x1, y1] in boxes {
            for y in y0..y1 {
                raster.data[y * SIDE + x0..y * SIDE + x1].fill(1.0);
            }
        }
        raster
    }

    fn broken(mask: &Raster) -> Vec<(Rule, f64)> {
        MaskRules::default().check(mask).iter().map(|v| (v.rule, v.found)).collect()
    }

    /// Bars of the rule's width, with right-angled corners, a rule's space apart.
    #[test]
    fn a_mask_at_the_rules_keeps_them() {
        assert_eq!(broken(&drawn(&[[10, 10, 25, 60], [35, 10, 50, 60]])), []);
    }

    #[test]
    fn each_rule_is_found_broken_by_the_amount() {
        assert_eq!(broken(&drawn(&[[10, 10, 23, 80]])), [(Rule::Width, 26.0)]);
        assert_eq!(
            broken(&drawn(&[[10, 10, 30, 80], [38, 10, 60, 80]])),
            [(Rule::Space, 14.0), (Rule::Distance, 16.0)]
        );
        assert_eq!(broken(&drawn(&[[10, 10, 30, 30]])), [(Rule::Area, 1600.0)]);
        // A notch 14 nm wide in one shape breaks the space rule alone.
        assert_eq!(
            broken(&drawn(&[[10, 10, 30, 80], [37, 10, 60, 80], [30, 10, 37, 30]])),
            [(Rule::Space, 14.0)]
        );
    }

    #[test]
    fn a_violation_is_where_it_is() {
        let found = MaskRules::default().check(&drawn(&[[10, 20, 30, 40]]));
        assert_eq!((found[0].min_nm, found[0].max_nm), ([20.0, 40.0], [60.0, 80.0]));
    }

    #[test]
    fn a_rule_of_zero_is_no_rule() {
        let none = MaskRules {
            min_width_nm: 0.0,
            min_space_nm: 0.0,
            min_area_nm2: 0.0,
            min_distance_nm: 0.0,
        };
        assert_eq!(none.check(&drawn(&[[10, 10, 11, 11], [12, 12, 13, 60]])), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Blobs of any kind: what enforcing leaves keeps every rule.
        #[test]
        fn an_enforced_mask_keeps_the_rules(
            boxes in proptest::collection::vec((4..80_usize, 4..80_usize, 3..30_usize, 3..30_usize), 1..14)
        ) {
            let boxes: Vec<[usize; 4]> = boxes
                .iter()
                .map(|&(x, y, w, h)| [x, y, (x + w).min(SIDE - 4), (y + h).min(SIDE - 4)])
                .collect();
            let mask = drawn(&boxes);
            let rules = MaskRules::default();
            let kept = rules.enforce(&mask.binary(), SIDE, 2.0);
            let data = kept.iter().map(|&k| f32::from(u8::from(k))).collect();
            prop_assert_eq!(rules.check(&Raster { data, ..mask }), vec![]);
        }
    }
}
