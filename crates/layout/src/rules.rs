//! Mask rules: what a mask shop can write and inspect.
//!
//! Widths and spaces are those of curvilinear masks: a place is wide enough if a disk as wide as the rule
//! fits there. Written with the morphological opening, a mask keeps the width rule if it is its own
//! opening by that disk, apart from what a disk leaves in a right-angled corner; the space rule is
//! the same of the background. So "enforced" and "checked" mean the same thing, whatever the shape. Disks
//! are of whole pixels, so widths and spaces are held to within one pixel; areas and distances exactly.

mod pixels;
mod read;

use std::ops::ControlFlow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::bits::{Bits, MOST_RADIUS};
use crate::distance::squared;
use crate::runs::{Run, Runs};
use crate::{Bounds, Raster, distance};

pub use pixels::PixelRules;

/// Times that enforcing goes over all rules and adds as well as takes away: mending one can break another.
const MENDING_ROUNDS: usize = 4;
/// Rounds in all. The rest only take away, which ends where nothing breaks a rule; few masks need more than two.
const MOST_ROUNDS: usize = 64;
/// Pairs of shapes too near each other that are told at most: a mask of dots has hundreds for each of a million.
const MOST_PAIRS: usize = 100_000;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
    /// The places where a mask (at least half covered pixels) breaks the rules.
    ///
    /// Beyond its border the mask is dark. Of pairs of shapes that are too near each other, 100,000 are told at most.
    pub fn check(&self, mask: &Raster) -> Vec<Violation> {
        self.check_bits(&Bits::of_raster(mask), mask.pixel_nm)
    }

    /// As [`MaskRules::check`], on the caller's thread alone.
    pub fn check_bits(&self, mask: &Bits, pixel_nm: f64) -> Vec<Violation> {
        let margin = self.margin(pixel_nm, [mask.width(), mask.height()]);
        let inside = mask.framed(margin);
        let on = Grid { width: inside.width(), pixel_nm };
        let shapes = Runs::of(&inside);
        let mut found = on.narrow(&inside, self.min_width_nm, Rule::Width);
        found.extend(on.narrow(&inside.inverse(), self.min_space_nm, Rule::Space));
        found.extend(on.small(&shapes, self.min_area_nm2));
        found.extend(on.near(&inside, &shapes, self.min_distance_nm));
        let shift = margin as f64 * pixel_nm;
        for place in &mut found {
            place.min_nm = place.min_nm.map(|v| v - shift);
            place.max_nm = place.max_nm.map(|v| v - shift);
        }
        found
    }

    /// Dark pixels to add around a mask, so that no disk reaches over its border.
    ///
    /// Nothing is wider than the mask: a rule beyond its sides needs no more room.
    fn margin(&self, pixel_nm: f64, [width, height]: [usize; 2]) -> usize {
        let widest = (self.min_width_nm.max(self.min_space_nm) / pixel_nm).ceil() as usize;
        widest.min(width + height) + 1
    }

    /// Changes a mask of `width` pixels a row until it keeps the rules, or as nearly as some rounds
    /// get: opened and closed by disks, small shapes taken away, neighbours drawn apart.
    pub fn enforce(&self, mask: &[bool], width: usize, pixel_nm: f64) -> Vec<bool> {
        self.enforce_bits(&Bits::of_bools(mask, width), pixel_nm).to_bools()
    }

    /// As [`MaskRules::enforce`], or none if less than half of the mask would be left: such rules cannot be met.
    pub fn met(&self, mask: &Bits, pixel_nm: f64) -> Option<Bits> {
        let kept = self.enforce_bits(mask, pixel_nm);
        (2 * kept.count() >= mask.count()).then_some(kept)
    }

    /// As [`MaskRules::enforce`], on the caller's thread alone.
    pub fn enforce_bits(&self, mask: &Bits, pixel_nm: f64) -> Bits {
        let margin = self.margin(pixel_nm, [mask.width(), mask.height()]);
        let mut mask = mask.framed(margin);
        let on = Grid { width: mask.width(), pixel_nm };
        let mut mending = MENDING_ROUNDS;
        for round in 0..MOST_ROUNDS {
            let before = mask.clone();
            mask = on.opened(&mask, self.min_width_nm);
            let wide = mask == before;
            if round < mending {
                mask = on.opened(&mask.inverse(), self.min_space_nm).inverse();
            } else {
                mask = mask.without(&on.tight(&mask, self.min_space_nm));
            }
            let forbidden = self.forbidden_on(&mask, on, 0.0);
            // What is its own opening and closing is wide enough without another look.
            let keeps = wide && mask == before && forbidden.is_dark();
            mask = mask.without(&forbidden);
            // Closing can put back what opening took away, round after round.
            if mask == before && (keeps || round >= mending || self.keeps(&mask, on)) {
                break;
            } else if mask == before {
                mending = 0;
            }
        }
        mask.unframed(margin)
    }

    /// Whether nothing breaks a rule.
    fn keeps(&self, mask: &Bits, on: Grid) -> bool {
        let wide = |set: &Bits, least_nm: f64| {
            on.radius(least_nm) < 1.0 || !on.violating(set, least_nm).any()
        };
        wide(mask, self.min_width_nm)
            && wide(&mask.inverse(), self.min_space_nm)
            && !self.forbidden_on(mask, on, 0.0).any()
    }

    /// Pixels that must stay dark for shapes to be large enough and far enough apart: small shapes with
    /// what is around them, and the middle between near neighbours.
    pub fn forbidden(&self, mask: &[bool], width: usize, pixel_nm: f64) -> Vec<bool> {
        self.forbidden_bits(&Bits::of_bools(mask, width), pixel_nm).to_bools()
    }

    /// As [`MaskRules::forbidden`], on the caller's thread alone.
    pub fn forbidden_bits(&self, mask: &Bits, pixel_nm: f64) -> Bits {
        self.forbidden_on(mask, Grid { width: mask.width(), pixel_nm }, CLEARANCE_NM)
    }

    fn forbidden_on(&self, mask: &Bits, on: Grid, clearance_nm: f64) -> Bits {
        let runs = Runs::of(mask);
        let least = on.least_area(self.min_area_nm2);
        let is_small = |run: &&Run| runs.sizes[run.shape] < least;
        let mut small = mask.cleared();
        runs.all.iter().filter(is_small).for_each(|run| small.set_run(run.y, run.start, run.end));
        if small.is_dark() {
            return on.between(mask, &runs, self.min_distance_nm).unwrap_or(small);
        }
        let rest = mask.without(&small);
        let forbidden = match clearance_nm > 0.0 {
            true => on.grown(&small, on.clearance(clearance_nm)),
            false => small,
        };
        match on.between(&rest, &Runs::of(&rest), self.min_distance_nm) {
            Some(between) => forbidden.or(&between),
            None => forbidden,
        }
    }
}

/// Two pixels of different shapes, nearer to each other than a rule.
#[derive(Clone, Copy)]
struct Near {
    shapes: [usize; 2],
    pixels: [[usize; 2]; 2],
    apart_nm: f64,
}

/// Pixels of a mask.
#[derive(Clone, Copy)]
struct Grid {
    width: usize,
    pixel_nm: f64,
}

impl Grid {
    fn grown(self, set: &Bits, radius: f64) -> Bits {
        match radius <= MOST_RADIUS {
            true => set.grown(radius),
            false => self.by_distance(set, |set| distance::grown(set, self.width, radius)),
        }
    }

    fn opened(self, set: &Bits, least_nm: f64) -> Bits {
        match self.radius(least_nm) {
            radius if radius < 1.0 => set.clone(),
            radius if radius <= MOST_RADIUS => set.opened(radius),
            radius => self.by_distance(set, |set| distance::opened(set, self.width, radius)),
        }
    }

    fn by_distance(self, set: &Bits, work: impl Fn(&[bool]) -> Vec<bool>) -> Bits {
        Bits::of_bools(&work(&set.to_bools()), self.width)
    }

    /// Pixels of the set further from its opening than a right-angled corner is.
    fn violating(self, set: &Bits, least_nm: f64) -> Bits {
        let allowed = self.radius(least_nm) * (2.0_f64.sqrt() - 1.0) + 1.0;
        set.without(&self.grown(&self.opened(set, least_nm), allowed))
    }

    /// Places narrower than the rule.
    fn narrow(self, set: &Bits, least_nm: f64, rule: Rule) -> Vec<Violation> {
        if self.radius(least_nm) < 1.0 {
            return Vec::new();
        }
        let places = Runs::of(&self.violating(set, least_nm));
        let deepest = self.deepest(set, &places, least_nm);
        let width_nm = |depth: u64| ((2.0 * (depth as f64).sqrt() - 1.0) * self.pixel_nm).max(0.0);
        let place =
            |(b, &d): (&Bounds, &u64)| violation(rule, width_nm(d).min(least_nm), least_nm, b);
        self.boxes(&places).iter().zip(&deepest).map(place).collect()
    }

    /// The largest depth of each place's pixels in the set, squared and in pixels; of what is as deep as the rule asks for it may be
    /// any that is.
    fn deepest(self, set: &Bits, places: &Runs, least_nm: f64) -> Vec<u64> {
        let reach = ((least_nm / self.pixel_nm + 1.0) / 2.0).ceil() as usize;
        let is_far = self.radius(least_nm) > MOST_RADIUS && !places.all.is_empty();
        let depths = is_far.then(|| squared(&set.inverse().to_bools(), self.width));
        let depth = |x: usize, y: usize| match &depths {
            Some(depths) => depths[y * self.width + x],
            None => set.depth(x, y, reach),
        };
        let mut deepest = vec![0; places.sizes.len()];
        for run in &places.all {
            let own = (run.start..run.end).map(|x| depth(x, run.y));
            deepest[run.shape] = own.fold(deepest[run.shape], u64::max);
        }
        deepest
    }

    /// Pixels beside spaces narrower than the rule: what to take away to widen them.
    fn tight(self, mask: &Bits, least_nm: f64) -> Bits {
        if self.radius(least_nm) < 1.0 {
            return mask.cleared();
        }
        let tight = self.violating(&mask.inverse(), least_nm);
        match tight.any() {
            true => self.grown(&tight, self.radius(least_nm) + 1.0),
            false => tight,
        }
    }

    fn small(self, all: &Runs, least_nm2: f64) -> Vec<Violation> {
        let area = |pixels: usize| pixels as f64 * self.pixel_nm * self.pixel_nm;
        let boxes = self.boxes(all);
        let small = all.sizes.iter().zip(&boxes).filter(|(s, _)| area(**s) < least_nm2 - 1e-6);
        small.map(|(&s, b)| violation(Rule::Area, area(s), least_nm2, b)).collect()
    }

    /// Pairs of shapes nearer than the rule, each at its nearest place.
    fn near(self, mask: &Bits, shapes: &Runs, least_nm: f64) -> Vec<Violation> {
        let mut pairs = std::collections::BTreeMap::new();
        self.neighbours(mask, shapes, least_nm, |near| {
            let [a, b] = near.shapes;
            let best = pairs.entry((a.min(b), a.max(b))).or_insert(near);
            if near.apart_nm < best.apart_nm {
                *best = near;
            }
            if pairs.len() < MOST_PAIRS {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        let corner = |p: [usize; 2]| p.map(|v| v as f64 * self.pixel_nm);
        let bounds =
            |p: [usize; 2]| Bounds { min: corner(p), max: corner(p).map(|v| v + self.pixel_nm) };
        let place = |near: &Near| {
            let [a, b] = near.pixels.map(bounds);
            violation(Rule::Distance, near.apart_nm, least_nm, &a.union(b))
        };
        pairs.values().map(place).collect()
    }

    /// The pixels within half the rule of the middle between shapes that are nearer than it.
    fn between(self, mask: &Bits, runs: &Runs, least_nm: f64) -> Option<Bits> {
        let mut middle: Option<Bits> = None;
        self.neighbours(mask, runs, least_nm, |near| {
            let middle = middle.get_or_insert_with(|| mask.cleared());
            let [[ax, ay], [bx, by]] = near.pixels;
            for up in [0, 1] {
                middle.set((ax + bx + up) / 2, (ay + by + up) / 2);
            }
            ControlFlow::Continue(())
        });
        middle.map(|middle| self.grown(&middle, self.middle_radius(least_nm)))
    }

    /// Calls `visit` with each pixel on the edge of a shape and each of another shape that is nearer to it than the
    /// rule: pairs of pixels of one row, or with the edge's row first. Ends when `visit` breaks off.
    fn neighbours(
        self,
        mask: &Bits,
        runs: &Runs,
        least_nm: f64,
        mut visit: impl FnMut(Near) -> ControlFlow<()>,
    ) {
        if runs.sizes.len() < 2 || least_nm <= 0.0 {
            return;
        }
        let reaches = self.reaches(least_nm);
        let (width, height) = (self.width, runs.height());
        let on_edge = |x: usize, y: usize| {
            x == 0
                || y == 0
                || x + 1 == width
                || y + 1 == height
                || !(mask.at(x - 1, y) && mask.at(x + 1, y))
                || !(mask.at(x, y - 1) && mask.at(x, y + 1))
        };
        // In each row the first run that reaches so far, for the runs of one row from left to right.
        let (mut firsts, mut y) = (vec![0; reaches.len()], 0);
        for a in &runs.all {
            if a.y != std::mem::replace(&mut y, a.y) {
                firsts.fill(0);
            }
            for (dy, &reach) in reaches.iter().enumerate().take(height - a.y) {
                let (row, first) = (runs.row(a.y + dy), &mut firsts[dy]);
                *first += row[*first..].iter().take_while(|b| b.end + reach <= a.start).count();
                let others = row[*first..].iter().take_while(|b| b.start < a.end + reach);
                for b in others.filter(|b| b.shape != a.shape) {
                    let from = a.start.max((b.start + 1).saturating_sub(reach + 1));
                    for x in (from..a.end.min(b.end + reach)).filter(|&x| on_edge(x, a.y)) {
                        let right = if dy == 0 { x + 1 } else { 0 };
                        let start = b.start.max(x.saturating_sub(reach)).max(right);
                        for other in start..b.end.min(x + reach + 1) {
                            let near = Near {
                                shapes: [a.shape, b.shape],
                                pixels: [[x, a.y], [other, b.y]],
                                apart_nm: self.apart(x.abs_diff(other), dy),
                            };
                            if visit(near).is_break() {
                                return;
                            }
                        }
                    }
                }
            }
        }
    }

    /// The rectangle around each shape, in nm.
    fn boxes(self, all: &Runs) -> Vec<Bounds> {
        let nm = |v: usize| v as f64 * self.pixel_nm;
        let bounds =
            |[x0, y0, x1, y1]: [usize; 4]| Bounds { min: [x0, y0].map(nm), max: [x1, y1].map(nm) };
        all.boxes().into_iter().map(bounds).collect()
    }
}

fn violation(rule: Rule, found: f64, required: f64, place: &Bounds) -> Violation {
    Violation { rule, found, required, min_nm: place.min, max_nm: place.max }
}

/// Several masks at once, each as [`MaskRules::met`] makes it, or as it is where rules cannot be met.
pub fn enforce_all(rules: &MaskRules, masks: &mut [Raster]) {
    masks.par_iter_mut().for_each(|mask| {
        if let Some(kept) = rules.met(&Bits::of_raster(mask), mask.pixel_nm) {
            *mask = kept.to_raster(mask.pixel_nm);
        }
    });
}

#[cfg(test)]
mod tests;
