use super::*;

const WIDTH: usize = 200;

fn bar(x: std::ops::Range<usize>, y: std::ops::Range<usize>) -> PackedImages {
    let inside = |i: usize| x.contains(&(i % WIDTH)) && y.contains(&(i / WIDTH));
    PackedImages::of_pixels(&(0..WIDTH * WIDTH).map(inside).collect::<Vec<_>>(), WIDTH)
}

fn findings(target: &PackedImages, print: &PackedImages) -> Vec<EpeFinding> {
    check_epe(print.bitmap(0), &epe_sites(target.bitmap(0), 1.0), EPE_REACH_NM, 1.0)
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
    let both = |a: PackedImages, b: PackedImages| {
        let words = a.words.iter().zip(b.words).map(|(a, b)| a | b).collect();
        PackedImages { words, ..a }
    };
    // Two squares that touch at a corner are two features.
    let target = both(bar(20..30, 20..30), bar(30..40, 30..40));
    let missing = |print: &PackedImages| unprinted(target.bitmap(0), print.bitmap(0));
    assert_eq!(missing(&bar(29..30, 29..30)).len(), 1);
    let found = &missing(&bar(29..30, 29..30))[0];
    assert_eq!((found.min, found.max, found.pixels.len()), ([30, 30], [39, 39], 100));
    assert_eq!(missing(&bar(100..150, 0..200)).len(), 2);
    assert!(missing(&target).is_empty());
}

#[test]
fn areas_are_counted_in_pixels() {
    let prints = Prints {
        nominal: bar(50..100, 50..100),
        outer: bar(49..101, 49..101),
        inner: bar(51..99, 51..99),
    };
    assert_eq!(prints.l2(bar(50..100, 50..110).bitmap(0), 0), 50 * 10);
    assert_eq!(prints.pv_band(0), 52 * 52 - 48 * 48);
    // Rows and columns from 60 to 139 count: of the band those at 99 and 100.
    assert_eq!(prints.l2(bar(50..100, 50..110).bitmap(0), 60), 40 * 10);
    assert_eq!(prints.pv_band(60), 41 * 41 - 39 * 39);
    assert_eq!((prints.pv_band(100), prints.pv_band(1000)), (0, 0));
}

/// Pixel by pixel, as sites were found before images were bits: the second implementation.
fn sites_by_pixels(target: &[bool], n: usize, pixel_nm: f64) -> Vec<EpeSite> {
    let at = |set: &[bool], [x, y]: [isize; 2]| {
        (0..n as isize).contains(&x)
            && (0..n as isize).contains(&y)
            && set[y as usize * n + x as usize]
    };
    let place = |i: usize| [(i % n) as isize, (i / n) as isize];
    let around = |[x, y]: [isize; 2]| (0..9).all(|i| at(target, [x + i % 3 - 1, y + i / 3 - 1]));
    let edge: Vec<bool> = (0..n * n).map(|i| target[i] && !around(place(i))).collect();
    let mut sites = Vec::new();
    for axis in [0, 1] {
        let step = |by: isize| if axis == 0 { [by, 0] } else { [0, by] };
        let moved = |[x, y]: [isize; 2], [dx, dy]: [isize; 2]| [x + dx, y + dy];
        let on = |fixed: usize, moving: usize| {
            let place = if axis == 0 { [fixed, moving] } else { [moving, fixed] };
            place.map(|v| v as isize)
        };
        let is_run = |p: [isize; 2]| {
            at(&edge, p) && !(at(&edge, moved(p, step(-1))) && at(&edge, moved(p, step(1))))
        };
        for fixed in 0..n {
            let line: Vec<bool> = (0..n).map(|moving| is_run(on(fixed, moving))).collect();
            let mut start = 0;
            for run in line.chunk_by(|a, b| a == b) {
                let points = match run[0] {
                    true => {
                        sample_points(start as isize, (start + run.len()) as isize - 1, pixel_nm)
                    }
                    false => Vec::new(),
                };
                start += run.len();
                let Some(&first) = points.first() else { continue };
                let beside = |by| at(target, moved(on(fixed, first as usize), step(by)));
                if beside(-1) && beside(1) {
                    continue;
                }
                let inwards = step(if beside(-1) { -1 } else { 1 });
                let site = |&m: &isize| EpeSite { at: on(fixed, m as usize), inwards };
                sites.extend(points.iter().map(site));
            }
        }
    }
    sites
}

/// Bars that overlap, leave slits and touch at corners and at the border, sides that do and do not fill words.
#[test]
fn sites_are_those_found_pixel_by_pixel() {
    let mut state = 7_u32;
    let mut random = |of: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % of
    };
    let mut found = 0;
    for case in 0..120 {
        let n = [64, 77, 96, 130][case % 4];
        let mut target = vec![false; n * n];
        for _ in 0..1 + random(9) {
            let [x, y] = [random(n), random(n)];
            let [x1, y1] = [(x + 1 + random(70)).min(n), (y + 1 + random(70)).min(n)];
            let value = random(4) > 0;
            (y..y1).for_each(|y| target[y * n + x..y * n + x1].fill(value));
        }
        let packed = PackedImages::of_pixels(&target, n);
        let sites = epe_sites(packed.bitmap(0), 2.0);
        assert_eq!(sites, sites_by_pixels(&target, n, 2.0), "case {case}");
        found += sites.len();
    }
    assert!(found > 500, "{found}");
}

/// A print whose edges are 4 pixels inside of the design's is within 5 nm, and out of 3 and 1 nm at all six sites.
#[test]
fn tighter_probes_see_smaller_errors_and_there_are_none_on_larger_pixels() {
    let (design, print) = (bar(60..131, 40..161), bar(64..127, 44..157));
    let found = tight_violations(print.bitmap(0), &epe_sites(design.bitmap(0), 1.0), 1.0);
    assert_eq!(found, [Some(6), Some(6), Some(0)]);
    let found = tight_violations(print.bitmap(0), &epe_sites(design.bitmap(0), 2.0), 2.0);
    assert!(found[0].is_none() && found[1..].iter().all(Option::is_some), "{found:?}");
}
