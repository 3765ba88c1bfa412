//! Mask rules against the host's.

use lithoburn_bitmap::Rules;
use lithoburn_layout::{MaskRules, PixelRules};

use super::*;

const PIXEL_NM: f64 = 2.0;
/// One word a row, and more rows than a cube has units.
const SIDES: [usize; 2] = [32, 224];

fn in_pixels(rules: &MaskRules) -> Rules {
    let PixelRules {
        width_radius,
        space_radius,
        least_area,
        reaches,
        middle_radius,
        clearance_radius,
    } = rules.in_pixels(PIXEL_NM);
    Rules { width_radius, space_radius, least_area, reaches, middle_radius, clearance_radius }
}

fn rules(width: f64, space: f64, area: f64, distance: f64) -> MaskRules {
    MaskRules {
        min_width_nm: width,
        min_space_nm: space,
        min_area_nm2: area,
        min_distance_nm: distance,
    }
}

/// The rules of the main job; all coarser; each alone; none; and the widest disks that fit.
fn all_rules() -> Vec<MaskRules> {
    vec![
        MaskRules::default(),
        rules(44.0, 36.0, 4000.0, 50.0),
        rules(30.0, 0.0, 0.0, 0.0),
        rules(0.0, 24.0, 0.0, 0.0),
        rules(0.0, 0.0, 900.0, 0.0),
        rules(0.0, 0.0, 0.0, 30.0),
        rules(0.0, 0.0, 0.0, 0.0),
        rules(126.0, 122.0, 9000.0, 110.0),
    ]
}

/// Waves of some length, cut where they make shapes of all sizes that touch the borders.
fn waves(side: usize, seed: u64) -> Vec<bool> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut wave = || {
        let mut number = |most: f64| rng.random_range(-most..most);
        [number(0.35), number(0.35), number(3.0)]
    };
    let all: Vec<[f64; 3]> = (0..12).map(|_| wave()).collect();
    let value = |x: usize, y: usize| -> f64 {
        all.iter().map(|[u, v, phase]| (u * x as f64 + v * y as f64 + phase).sin()).sum()
    };
    (0..side * side).map(|i| value(i % side, i / side) > 1.0).collect()
}

/// Bars and squares near the width, space and distance of the rules, some over the border.
fn boxes(side: usize, seed: u64) -> Vec<bool> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut pixels = vec![false; side * side];
    for _ in 0..side * side / 600 {
        let [x, y] = [(); 2].map(|()| rng.random_range(0..side));
        let (w, h) = (rng.random_range(5..26), rng.random_range(5..60));
        let (w, h) = if rng.random_bool(0.5) { (w, h) } else { (h, w) };
        for row in y..(y + h).min(side) {
            pixels[row * side + x..row * side + (x + w).min(side)].fill(true);
        }
    }
    pixels
}

/// Noise of several densities, smooth shapes, bars, a spiral of one shape, nothing and everything.
pub(super) fn masks(side: usize) -> Masks {
    let mut masks = noise(side, &[0.02, 0.3, 0.6, 0.97, 0.0, 1.0], 5);
    for seed in 0..2 {
        masks.pixels.extend(waves(side, seed));
        masks.pixels.extend(boxes(side, seed));
    }
    let ring = |i: usize| {
        let (x, y) = (i % side, i / side);
        x.min(y).min(side - 1 - x).min(side - 1 - y) / 9 % 2 == 0
    };
    masks.pixels.extend((0..side * side).map(ring));
    masks
}

fn differing(found: &[bool], expected: &[bool], side: usize) -> Vec<[usize; 2]> {
    let pairs = found.iter().zip(expected).enumerate();
    pairs.filter(|(_, (a, b))| a != b).map(|(i, _)| [i % side, i / side]).collect()
}

fn agree(found: &Bitmaps, masks: &Masks, by_host: impl Fn(&[bool]) -> Vec<bool>, case: &str) {
    let found = Masks::read(found);
    for image in 0..masks.batch() {
        let expected = by_host(masks.image(image));
        let off = differing(found.image(image), &expected, masks.side);
        let first = &off[..off.len().min(5)];
        assert!(off.is_empty(), "{case}, mask {image}: {} px, {first:?}", off.len());
    }
}

#[test]
fn what_is_forbidden_is_what_the_host_forbids() {
    let Some(device) = device() else { return };
    for side in SIDES {
        let masks = masks(side);
        for rules in all_rules() {
            let found = masks.on(&device).forbidden(&in_pixels(&rules));
            let host = |mask: &[bool]| rules.forbidden(mask, side, PIXEL_NM);
            agree(&found, &masks, host, &format!("{side} px, {rules:?}"));
        }
    }
}

#[test]
fn masks_are_changed_as_the_host_changes_them() {
    let Some(device) = device() else { return };
    for side in SIDES {
        let masks = masks(side);
        for rules in all_rules() {
            let found = masks.on(&device).enforced(&in_pixels(&rules));
            let host = |mask: &[bool]| rules.enforce(mask, side, PIXEL_NM);
            agree(&found.expect("enforced"), &masks, host, &format!("{side} px, {rules:?}"));
        }
    }
}

/// A disk of 31 px is the largest; the space rule's is one larger where it takes away.
#[test]
fn rules_beyond_a_words_reach_do_not_fit() {
    let fits = |rules: MaskRules| in_pixels(&rules).fits();
    assert!(all_rules().into_iter().all(fits));
    assert!(fits(rules(127.0, 123.0, 0.0, 0.0)));
    assert!(!fits(rules(130.0, 0.0, 0.0, 0.0)) && !fits(rules(0.0, 126.0, 0.0, 0.0)));
    assert!(!fits(rules(0.0, 0.0, 0.0, 126.0)));
    assert!(!fits(rules(f64::INFINITY, 0.0, 0.0, 0.0)));
}
