//! Fields at the coarse points: the mask's spectrum through coherent kernels, and back. No field leaves its cube.
//!
//! A cube has a group of the kernels of one focus of one clip: one after the other, or a team of units for each where shared
//! memory is large, so that a compiler which counts a cube's units lets each have registers enough and no more. Coarse points are 8P a side; they are known
//! by mirror and quarter point, never by where they are. A unit has half of a line's quarter points, P of them, at all
//! mirrors: the waves at the other half are its own in another order,
//!
//! ```text
//! cos f(π/2 − a) = ± cos fa for even f, ± sin fa for odd f
//! ```
//!
//! so both halves have the same constants, written into the kernel's text.
#![allow(
    clippy::too_many_arguments,
    reason = "a kernel's arguments are its buffers and sizes, one by one"
)]

use cubecl::prelude::*;

use line::Line;

use super::fold::{Exchange, Four, Two, walsh};
use crate::waves::CLASSES;

mod line;

/// Kernels of a group.
pub(super) const GROUP: usize = 3;

/// Units of a team: two for each of 8P columns, in whole planes.
pub(super) const fn units(places: usize) -> usize {
    (4 * CLASSES * places).next_multiple_of(32)
}

/// Teams of a cube on a device with so many bytes of shared memory and units a cube.
pub(super) const fn teams(places: usize, shared: usize, most_units: usize) -> usize {
    let (short, long) = strides(places);
    let bytes = CLASSES * places * (short + long) * size_of::<[f32; 2]>();
    if shared >= 2 * GROUP * bytes && most_units >= GROUP * units(places) { GROUP } else { 1 }
}

/// Complex numbers of a row of coefficients, and of a row at coarse points: one more than there are, against bank conflicts.
const fn strides(places: usize) -> (usize, usize) {
    (CLASSES * places + 1, 2 * CLASSES * places + 1)
}

/// Where cosine and sine of a frequency are among the places.
#[cube]
fn places_of(frequency: usize, #[comptime] places: usize) -> (usize, usize) {
    let cosine = frequency % 2 * comptime!(2 * places) + frequency / 2;
    (cosine, cosine + places)
}

#[cube]
fn times(a: Two, b: Two) -> Two {
    let (ar, ai, br, bi) =
        (a.extract(0usize), a.extract(1usize), b.extract(0usize), b.extract(1usize));
    complex(ar * br - ai * bi, ar * bi + ai * br)
}

/// conj(a) b
#[cube]
fn conj_times(a: Two, b: Two) -> Two {
    let (ar, ai, br, bi) =
        (a.extract(0usize), a.extract(1usize), b.extract(0usize), b.extract(1usize));
    complex(ar * br + ai * bi, ar * bi - ai * br)
}

#[cube]
fn complex(re: f32, im: f32) -> Two {
    let mut z = Two::new(re);
    z.insert(1usize, im);
    z
}

#[cube]
fn conj(z: Two) -> Two {
    complex(z.extract(0usize), -z.extract(1usize))
}

/// i z
#[cube]
fn turned(z: Two) -> Two {
    complex(-z.extract(1usize), z.extract(0usize))
}

/// What a kernel passes of a spectrum, as complex coefficients of the real waves.
#[cube]
fn pass(
    spectrum: &[f32],
    kernels: &[Four],
    kernel: usize,
    coefficients: &mut Shared<[Two]>,
    lines: &Lines,
    #[comptime] places: usize,
) {
    let (all, stride) = comptime!((CLASSES * places, strides(places).0));
    let pairs = comptime!(4 * places * places);
    let from = CUBE_POS_Z as usize * comptime!(all * all);
    for i in range_stepped(lines.unit, pairs, comptime!(units(places))) {
        let (cu, su) = places_of(i / comptime!(2 * places), places);
        let (cv, sv) = places_of(i % comptime!(2 * places), places);
        let (cc, cs) = (spectrum[from + cu * all + cv], spectrum[from + cu * all + sv]);
        let (sc, ss) = (spectrum[from + su * all + cv], spectrum[from + su * all + sv]);
        let (near, far) = (complex(cc - ss, -sc - cs), complex(cc + ss, cs - sc));
        let (up, down) = (kernels[(kernel * pairs + i) * 2], kernels[(kernel * pairs + i) * 2 + 1]);
        let p0 = times(complex(up.extract(0usize), up.extract(1usize)), near);
        let p1 = times(complex(up.extract(2usize), up.extract(3usize)), far);
        let p2 = times(complex(down.extract(0usize), down.extract(1usize)), conj(far));
        let p3 = times(complex(down.extract(2usize), down.extract(3usize)), conj(near));
        let (a, b, c, d) = (p0 + p3, p1 + p2, p0 - p3, p1 - p2);
        let own = lines.team * comptime!(all * stride);
        coefficients[own + cu * stride + cv] = a + b;
        coefficients[own + cu * stride + sv] = turned(c - d);
        coefficients[own + su * stride + cv] = turned(c + d);
        coefficients[own + su * stride + sv] = b - a;
    }
}

/// The adjoint of [`pass`] for one pair of frequencies: the gradient by cosine-cosine, cosine-sine, sine-cosine and sine-sine.
#[cube]
fn pass_back(
    coefficients: &Shared<[Two]>,
    kernels: &[Four],
    kernel: usize,
    i: usize,
    team: usize,
    #[comptime] places: usize,
) -> Four {
    let (stride, pairs) = comptime!((strides(places).0, 4 * places * places));
    let own = team * comptime!(CLASSES * places * stride);
    let (cu, su) = places_of(i / comptime!(2 * places), places);
    let (cv, sv) = places_of(i % comptime!(2 * places), places);
    let (cc, cs) = (coefficients[own + cu * stride + cv], coefficients[own + cu * stride + sv]);
    let (sc, ss) = (coefficients[own + su * stride + cv], coefficients[own + su * stride + sv]);
    let (a, b, e, f) = (cc - ss, cc + ss, turned(cs + sc), turned(cs - sc));
    let (up, down) = (kernels[(kernel * pairs + i) * 2], kernels[(kernel * pairs + i) * 2 + 1]);
    let p0 = conj_times(complex(up.extract(0usize), up.extract(1usize)), a - e);
    let p1 = conj_times(complex(up.extract(2usize), up.extract(3usize)), b + f);
    let p2 = conj_times(complex(down.extract(0usize), down.extract(1usize)), b - f);
    let p3 = conj_times(complex(down.extract(2usize), down.extract(3usize)), a + e);
    let (near, far) = (p0 + conj(p3), p1 + conj(p2));
    let mut sum = Four::new(near.extract(0usize) + far.extract(0usize));
    sum.insert(1usize, far.extract(1usize) - near.extract(1usize));
    sum.insert(2usize, -near.extract(1usize) - far.extract(1usize));
    sum.insert(3usize, far.extract(0usize) - near.extract(0usize));
    sum
}

/// Where the value of a half's quarter point `q` at a mirror lies in a line of 8P: the four mirrors are neighbours.
#[cube]
fn point(
    half: usize,
    #[comptime] q: usize,
    #[comptime] mirror: usize,
    #[comptime] places: usize,
) -> usize {
    let own = comptime!(CLASSES * q + mirror);
    let other = comptime!(CLASSES * (2 * places - 1 - q) + (CLASSES - mirror) % CLASSES);
    select(half == 1, other, own)
}

/// The lines of a unit: a row while the pass spreads along x, a column while it does along y.
#[derive(CubeType, Clone, Copy)]
struct Lines {
    team: usize,
    /// The unit's place in its team.
    unit: usize,
    row: Line,
    column: Line,
    /// Where the row's coarse points begin, and which column it is.
    points: usize,
    x: usize,
    /// Whether there are such lines.
    has_row: bool,
    has_column: bool,
}

#[cube]
fn lines(#[comptime] places: usize) -> Lines {
    let (all, (short, long)) = comptime!((CLASSES * places, strides(places)));
    let (team, unit) = (
        UNIT_POS as usize / comptime!(units(places)),
        UNIT_POS as usize % comptime!(units(places)),
    );
    let (line, half) = (unit / 2, unit % 2);
    let (has_row, has_column) = (line < all, line < 2 * all);
    let row = team * all + select(has_row, line, 0);
    let x = select(has_column, line, 0);
    Lines {
        team,
        unit,
        row: Line::new(row * short, half, 1usize, places),
        column: Line::new(team * comptime!(all * long) + x, half, long, places),
        points: row * long,
        x,
        has_row,
        has_column,
    }
}

/// Fields of a kernel at a unit's coarse points, `[P, 4]`. Coefficients in shared memory are done with, `along_x` is being read.
#[cube]
fn fields(
    coefficients: &mut Shared<[Two]>,
    along_x: &mut Shared<[Two]>,
    lines: &Lines,
    #[comptime] places: usize,
) -> Array<Two> {
    sync_cube();
    if lines.has_row {
        let points = lines.row.spread(coefficients);
        #[unroll]
        for q in 0..places {
            #[unroll]
            for mirror in 0..CLASSES {
                along_x[lines.points + point(lines.row.half, q, mirror, places)] =
                    points[CLASSES * q + mirror];
            }
        }
    }
    sync_cube();
    lines.column.spread(along_x)
}

/// The kernel that a team does at a turn, and 1, or any and 0 where the group has no more; `count` kernels a focus.
#[cube]
fn kernel(count: usize, turn: usize, team: usize, #[comptime] teams: usize) -> (usize, f32) {
    let kernel = CUBE_POS_X as usize * GROUP + turn * teams + team;
    let is_there = kernel < count;
    let kernel = CUBE_POS_Y as usize * count + select(is_there, kernel, 0);
    (kernel, select(is_there, f32::new(1.0), f32::new(0.0)))
}

/// Power of a group's fields, `[batch, 2, groups, 8P, 8P]`. A cube has a group.
#[cube(launch_unchecked)]
pub(super) fn power(
    spectrum: &[f32],
    kernels: &[Four],
    out: &mut [f32],
    count: usize,
    #[comptime] places: usize,
    #[comptime] teams: usize,
) {
    let (all, (short, long)) = comptime!((CLASSES * places, strides(places)));
    let mut coefficients = Shared::<[Two]>::new_slice(comptime!(teams * all * short));
    let mut along_x = Shared::<[Two]>::new_slice(comptime!(teams * all * long));
    let lines = lines(places);
    let mut power = Array::<f32>::new(all);
    #[unroll]
    for k in 0..all {
        power[k] = 0.0;
    }
    for turn in 0..comptime!(GROUP / teams) {
        let (kernel, weight) = kernel(count, turn, lines.team, teams);
        pass(spectrum, kernels, kernel, &mut coefficients, &lines, places);
        let fields = fields(&mut coefficients, &mut along_x, &lines, places);
        #[unroll]
        for k in 0..all {
            let (re, im) = (fields[k].extract(0usize), fields[k].extract(1usize));
            power[k] += weight * (re * re + im * im);
        }
    }
    gathered(&mut power, &mut along_x, &lines, places, teams);
    if lines.has_column && lines.team == 0 {
        let side = comptime!(2 * all);
        let image = (CUBE_POS_Z as usize * 2 + CUBE_POS_Y as usize) * CUBE_COUNT_X as usize;
        let to = (image + CUBE_POS_X as usize) * side * side + lines.x;
        #[unroll]
        for q in 0..places {
            #[unroll]
            for mirror in 0..CLASSES {
                out[to + point(lines.column.half, q, mirror, places) * side] =
                    power[CLASSES * q + mirror];
            }
        }
    }
}

/// The first team's sums with those of the others, which come through shared memory.
#[cube]
fn gathered(
    power: &mut Array<f32>,
    through: &mut Shared<[Two]>,
    lines: &Lines,
    #[comptime] places: usize,
    #[comptime] teams: usize,
) {
    let (pairs, units) = comptime!((2 * places, 4 * CLASSES * places));
    if comptime!(teams > 1) {
        sync_cube();
        if lines.team > 0 && lines.has_column {
            #[unroll]
            for k in 0..pairs {
                through[((lines.team - 1) * pairs + k) * units + lines.unit] =
                    complex(power[2 * k], power[2 * k + 1]);
            }
        }
        sync_cube();
        if lines.team == 0 && lines.has_column {
            #[unroll]
            for other in 0..teams - 1 {
                #[unroll]
                for k in 0..pairs {
                    let pair = through[comptime!((other * pairs + k) * units) + lines.unit];
                    power[2 * k] += pair.extract(0usize);
                    power[2 * k + 1] += pair.extract(1usize);
                }
            }
        }
    }
}

/// The gradient of the mask's spectrum by a group's fields, `[batch, 2, groups, 4P, 4P]`. `gradient` is twice that by the
/// intensity, folded along y: `[batch, 2, 4, 2P, 8P]`.
#[cube(launch_unchecked)]
pub(super) fn back(
    spectrum: &[f32],
    kernels: &[Four],
    gradient: &[f32],
    out: &mut [f32],
    count: usize,
    #[comptime] places: usize,
    #[comptime] teams: usize,
    #[comptime] planes: bool,
) {
    let (all, (short, long)) = comptime!((CLASSES * places, strides(places)));
    let (pairs, units) = comptime!((4 * places * places, units(places)));
    let mut coefficients = Shared::<[Two]>::new_slice(comptime!(teams * all * short));
    let mut along_x = Shared::<[Two]>::new_slice(comptime!(teams * all * long));
    let mut exchange = Exchange::new(comptime!(teams * units), planes);
    let lines = lines(places);
    let shares = comptime!(pairs.div_ceil(units));
    let mut sums = Array::<Four>::new(shares);
    #[unroll]
    for share in 0..shares {
        sums[share] = Four::new(0.0);
    }
    for turn in 0..comptime!(GROUP / teams) {
        let (kernel, weight) = kernel(count, turn, lines.team, teams);
        pass(spectrum, kernels, kernel, &mut coefficients, &lines, places);
        let mut fields = fields(&mut coefficients, &mut along_x, &lines, places);
        weigh(&mut fields, gradient, &lines, places);
        fields_back(fields, &mut coefficients, &mut along_x, &lines, &mut exchange, places);
        #[unroll]
        for share in 0..shares {
            let i = lines.unit + comptime!(share * units);
            if i < pairs {
                let by_pair = pass_back(&coefficients, kernels, kernel, i, lines.team, places);
                sums[share] += by_pair * Four::new(weight);
            }
        }
        sync_cube();
    }
    #[unroll]
    for share in 0..shares {
        let i = lines.unit + comptime!(share * units);
        let sum = of_teams(sums[share], &mut along_x, &lines, places, teams);
        if i < pairs && lines.team == 0 {
            store(out, sum, i, places);
        }
    }
}

/// The sum of a number of every team, in the first one.
#[cube]
fn of_teams(
    own: Four,
    through: &mut Shared<[Two]>,
    lines: &Lines,
    #[comptime] places: usize,
    #[comptime] teams: usize,
) -> Four {
    let units = comptime!(units(places));
    let mut sum = own;
    if comptime!(teams > 1) {
        let at = (lines.team * units + lines.unit) * 2;
        through[at] = complex(own.extract(0usize), own.extract(1usize));
        through[at + 1] = complex(own.extract(2usize), own.extract(3usize));
        sync_cube();
        #[unroll]
        for other in 1..teams {
            let at = (lines.unit + comptime!(other * units)) * 2;
            let (first, second) = (through[at], through[at + 1]);
            let mut four = Four::new(first.extract(0usize));
            four.insert(1usize, first.extract(1usize));
            four.insert(2usize, second.extract(0usize));
            four.insert(3usize, second.extract(1usize));
            sum += four;
        }
        sync_cube();
    }
    sum
}

/// Stores a pair of frequencies' gradient of a group.
#[cube]
fn store(out: &mut [f32], sum: Four, i: usize, #[comptime] places: usize) {
    let all = comptime!(CLASSES * places);
    let (cu, su) = places_of(i / comptime!(2 * places), places);
    let (cv, sv) = places_of(i % comptime!(2 * places), places);
    let image = CUBE_POS_Z as usize * 2 + CUBE_POS_Y as usize;
    let to = (image * CUBE_COUNT_X as usize + CUBE_POS_X as usize) * comptime!(all * all);
    out[to + cu * all + cv] = sum.extract(0usize);
    out[to + cu * all + sv] = sum.extract(1usize);
    out[to + su * all + cv] = sum.extract(2usize);
    out[to + su * all + sv] = sum.extract(3usize);
}

/// Fields times the gradient at their points.
#[cube]
fn weigh(fields: &mut Array<Two>, gradient: &[f32], lines: &Lines, #[comptime] places: usize) {
    let (quarter, side) = comptime!((2 * places, 2 * CLASSES * places));
    let image = CUBE_POS_Z as usize * 2 + CUBE_POS_Y as usize;
    let from = image * comptime!(CLASSES * quarter * side) + lines.x;
    let second = lines.column.half == 1;
    #[unroll]
    for q in 0..places {
        let row = select(second, comptime!(quarter - 1 - q), q);
        let mut slopes = Array::<f32>::new(CLASSES);
        #[unroll]
        for class in 0..CLASSES {
            // The second half's odd classes are exchanged, as its mirrors are.
            let other = comptime!(if class < 2 { class } else { 5 - class });
            let class_there = select(second, other, class);
            slopes[class] = gradient[from + (class_there * quarter + row) * side];
        }
        walsh(&mut slopes, 0usize);
        #[unroll]
        for mirror in 0..CLASSES {
            fields[CLASSES * q + mirror] *= Two::new(slopes[mirror]);
        }
    }
}

/// The adjoint of [`fields`]: leaves the coefficients' gradient where they were.
#[cube]
fn fields_back(
    mut fields: Array<Two>,
    coefficients: &mut Shared<[Two]>,
    along_x: &mut Shared<[Two]>,
    lines: &Lines,
    exchange: &mut Exchange,
    #[comptime] places: usize,
) {
    sync_cube();
    lines.column.collect(&mut fields, along_x, lines.has_column, exchange);
    sync_cube();
    #[unroll]
    for q in 0..places {
        #[unroll]
        for mirror in 0..CLASSES {
            fields[CLASSES * q + mirror] =
                along_x[lines.points + point(lines.row.half, q, mirror, places)];
        }
    }
    lines.row.collect(&mut fields, coefficients, lines.has_row, exchange);
    sync_cube();
}
