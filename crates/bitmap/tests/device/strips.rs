//! Marks against a walk over pixels.

use lithoburn_bitmap::Marks;

use super::*;

const MARKS: [Marks; 3] = [
    Marks { along: 10, depths: [7, 10], step: 20, short: 40 },
    Marks { along: 3, depths: [2, 3], step: 5, short: 10 },
    // Sites that are further apart than half of what is no longer short: the middle has none.
    Marks { along: 40, depths: [1, 1], step: 9, short: 12 },
];

/// A target that is looked at with its columns as rows, too.
struct Walk<'a> {
    pixels: &'a [bool],
    n: isize,
    turned: bool,
}

impl Walk<'_> {
    fn index(&self, x: isize, y: isize) -> usize {
        let [x, y] = if self.turned { [y, x] } else { [x, y] };
        (y * self.n + x) as usize
    }

    fn at(&self, x: isize, y: isize) -> bool {
        let within = 0..self.n;
        within.contains(&x) && within.contains(&y) && self.pixels[self.index(x, y)]
    }

    fn edge(&self, x: isize, y: isize) -> bool {
        let around = (-1..=1).flat_map(|dx| (-1..=1).map(move |dy| [dx, dy]));
        self.at(x, y) && around.into_iter().any(|[dx, dy]| !self.at(x + dx, y + dy))
    }

    fn runs(&self, x: isize, y: isize) -> bool {
        self.edge(x, y) && !(self.edge(x, y - 1) && self.edge(x, y + 1))
    }

    /// Sites between the first and the last pixel of a run.
    fn sites(start: isize, end: isize, marks: Marks) -> Vec<isize> {
        let (middle, step) = ((start + end) / 2, marks.step as isize);
        match end - start {
            0 | 1 => vec![],
            length if length <= marks.short as isize => vec![middle],
            _ => (start..=end)
                .filter(|&p| match p <= middle {
                    true => p > start && (p - start) % step == 0,
                    false => p < end && (end - p) % step == 0,
                })
                .collect(),
        }
    }

    fn mark(&self, marks: Marks, out: &mut [bool]) {
        for y in 0..self.n {
            let mut x = 0;
            while x < self.n {
                let start = x;
                while self.runs(x, y) {
                    x += 1;
                }
                let sites = Self::sites(start, x - 1, marks);
                let first = sites.first().copied().unwrap_or(start);
                if x > start && !(self.at(first, y - 1) && self.at(first, y + 1)) {
                    sites.iter().for_each(|&site| self.strips(site, y, marks, out));
                }
                x = x.max(start + 1);
            }
        }
    }

    fn strips(&self, site: isize, y: isize, marks: Marks, out: &mut [bool]) {
        let (along, [least, most]) = (marks.along as isize, marks.depths.map(|d| d as isize));
        let within = 0..self.n;
        for x in (site - along..=site + along).filter(|x| within.contains(x)) {
            for depth in least..=most {
                let rows = [y - depth, y + depth];
                rows.iter()
                    .filter(|y| within.contains(y))
                    .for_each(|&y| out[self.index(x, y)] = true);
            }
        }
    }
}

#[test]
fn strips_lie_around_the_sites_of_a_walk() {
    let Some(device) = device() else { return };
    for side in [64, 160] {
        let targets = super::rules::masks(side);
        for marks in MARKS {
            let found = Masks::read(&targets.on(&device).strips(marks));
            let mut any = false;
            for image in 0..targets.batch() {
                let mut expected = vec![false; side * side];
                for turned in [false, true] {
                    let walk = Walk { pixels: targets.image(image), n: side as isize, turned };
                    walk.mark(marks, &mut expected);
                }
                any |= expected.contains(&true);
                assert!(found.image(image) == expected, "{side} px, {marks:?}, target {image}");
            }
            assert!(any, "no site anywhere");
        }
    }
}
