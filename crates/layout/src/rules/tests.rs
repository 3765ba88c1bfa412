use super::*;
use crate::shapes::shapes;
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
    let none =
        MaskRules { min_width_nm: 0.0, min_space_nm: 0.0, min_area_nm2: 0.0, min_distance_nm: 0.0 };
    assert_eq!(none.check(&drawn(&[[10, 10, 11, 11], [12, 12, 13, 60]])), []);
}

/// The places where a mask breaks the rules, with a number for every pixel: the second implementation.
fn checked_by_pixels(rules: &MaskRules, mask: &Raster) -> Vec<Violation> {
    let margin = rules.margin(mask.pixel_nm, [mask.width, mask.height]);
    let inside = Bits::of_raster(mask).framed(margin);
    let on = Grid { width: inside.width(), pixel_nm: mask.pixel_nm };
    let shift = margin as f64 * mask.pixel_nm;
    let boxes = |labels: &[u32], count: usize| {
        let mut boxes = vec![[f64::MAX, f64::MAX, f64::MIN, f64::MIN]; count];
        for (i, &label) in labels.iter().enumerate().filter(|(_, label)| **label > 0) {
            let [x, y] = [i % on.width, i / on.width].map(|v| v as f64 * on.pixel_nm - shift);
            let b = &mut boxes[label as usize - 1];
            let far = [x + on.pixel_nm, y + on.pixel_nm];
            *b = [b[0].min(x), b[1].min(y), b[2].max(far[0]), b[3].max(far[1])];
        }
        boxes
    };
    let place = |rule, found, required, b: &[f64; 4]| Violation {
        rule,
        found,
        required,
        min_nm: [b[0], b[1]],
        max_nm: [b[2], b[3]],
    };
    let mut found = Vec::new();
    let sets = [(inside.clone(), rules.min_width_nm), (inside.inverse(), rules.min_space_nm)];
    for (rule, (set, least)) in [Rule::Width, Rule::Space].into_iter().zip(sets) {
        if on.radius(least) < 1.0 {
            continue;
        }
        let places = shapes(&on.violating(&set, least).to_bools(), on.width);
        let depth = squared(&set.inverse().to_bools(), on.width);
        for (index, b) in boxes(&places.labels, places.sizes.len()).iter().enumerate() {
            let own = places.labels.iter().zip(&depth).filter(|(l, _)| **l as usize == index + 1);
            let deepest = own.map(|(_, &d)| d).max().expect("a pixel") as f64;
            let width = ((2.0 * deepest.sqrt() - 1.0) * on.pixel_nm).max(0.0);
            found.push(place(rule, width.min(least), least, b));
        }
    }
    let all = shapes(&inside.to_bools(), on.width);
    for (&size, b) in all.sizes.iter().zip(&boxes(&all.labels, all.sizes.len())) {
        let area = size as f64 * on.pixel_nm * on.pixel_nm;
        if area < rules.min_area_nm2 - 1e-6 {
            found.push(place(Rule::Area, area, rules.min_area_nm2, b));
        }
    }
    found
}

/// Pairs of pixels of different shapes nearer than the rule, by trying all: the second implementation.
fn by_trying(mask: &Bits, on: Grid, least_nm: f64) -> Vec<[[usize; 2]; 2]> {
    let found = shapes(&mask.to_bools(), on.width);
    let count = found.labels.len();
    let at = |p: usize| [p % on.width, p / on.width];
    let mut pairs = Vec::new();
    for (a, b) in (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))) {
        let ([ax, ay], [bx, by]) = (at(a), at(b));
        let beyond = |d: usize| d.saturating_sub(1) as f64;
        let apart = beyond(ax.abs_diff(bx)).hypot(beyond(ay.abs_diff(by))) * on.pixel_nm;
        let (own, other) = (found.labels[a], found.labels[b]);
        let neighbours =
            [[ax + 1, ay], [ax, ay + 1], [ax.wrapping_sub(1), ay], [ax, ay.wrapping_sub(1)]];
        let dark = |[x, y]: [usize; 2]| {
            x >= on.width || y * on.width >= count || found.labels[y * on.width + x] == 0
        };
        let edge = neighbours.into_iter().any(dark);
        if own != 0 && other != 0 && own != other && edge && apart < least_nm - 1e-6 {
            pairs.push([at(a), at(b)]);
        }
    }
    pairs
}

#[test]
fn neighbours_are_those_found_by_trying() {
    use rand::{Rng, SeedableRng};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    for (width, share) in [(13, 0.1), (31, 0.05), (70, 0.01)] {
        let set: Vec<bool> = (0..width * 17).map(|_| rng.random_bool(share)).collect();
        let (mask, on) = (Bits::of_bools(&set, width), Grid { width, pixel_nm: 2.0 });
        let mut found = Vec::new();
        on.neighbours(&mask, &Runs::of(&mask), 11.0, |near| {
            found.push(near.pixels);
            ControlFlow::Continue(())
        });
        let mut expected = by_trying(&mask, on, 11.0);
        assert!(!expected.is_empty());
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}

/// A quarter of a million dots, each too near to hundreds of others: some of the pairs are told, soon.
#[test]
fn a_mask_of_dots_is_checked_in_bounded_time_and_memory() {
    let side = 1024;
    let mut dots = Raster::new(side, side, 1.0);
    (0..side * side).filter(|i| i % 2 + i / side % 2 == 0).for_each(|i| dots.data[i] = 1.0);
    let start = std::time::Instant::now();
    let found = MaskRules::default().check(&dots);
    let near = found.iter().filter(|v| v.rule == Rule::Distance).count();
    assert_eq!(near, MOST_PAIRS);
    assert!(start.elapsed() < std::time::Duration::from_secs(30), "{:?}", start.elapsed());
}

/// Clouds with thin necks, spurs and slits, as solvers make them: mending one rule breaks another for many rounds.
#[test]
fn enforcing_goes_on_until_nothing_breaks_a_rule() {
    use rand::{Rng, SeedableRng};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    let (side, rules) = (192, MaskRules::default());
    for _ in 0..40 {
        let mut waves = || [(); 12].map(|()| [(); 3].map(|()| rng.random_range(-1.0..1.0_f64)));
        let waves = waves();
        let height = |x: usize, y: usize| -> f64 {
            let wave =
                |[a, b, c]: &[f64; 3]| (0.35 * (a * x as f64 + b * y as f64) + 7.0 * c).sin();
            waves.iter().map(wave).sum()
        };
        let mask: Vec<bool> = (0..side * side).map(|i| height(i % side, i / side) > 0.3).collect();
        let kept = rules.enforce(&mask, side, 2.0);
        let data = kept.iter().map(|&k| f32::from(u8::from(k))).collect();
        let kept = Raster { width: side, height: side, pixel_nm: 2.0, data };
        assert_eq!(rules.check(&kept), []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Noise and blobs, in which every rule but distances is broken at many places, up to disks that no word holds.
    #[test]
    fn places_and_numbers_are_those_of_labels_and_depths_for_every_pixel(
        boxes in proptest::collection::vec((0..90_usize, 0..90_usize, 1..30_usize, 1..30_usize), 1..14),
        every in 3..60_usize,
        widest in prop_oneof![Just(30.0), Just(60.0), Just(150.0)],
    ) {
        let end = |v: usize, n: usize| (v + n).min(SIDE);
        let boxes = boxes.iter().map(|&(x, y, w, h)| [x, y, end(x, w), end(y, h)]);
        let mut mask = drawn(&boxes.collect::<Vec<_>>());
        mask.data.iter_mut().step_by(every).for_each(|v| *v = 1.0 - *v);
        let rules = MaskRules { min_width_nm: widest, min_space_nm: widest, ..MaskRules::default() };
        let found: Vec<_> =
            rules.check(&mask).into_iter().filter(|v| v.rule != Rule::Distance).collect();
        prop_assert_eq!(found, checked_by_pixels(&rules, &mask));
    }

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
