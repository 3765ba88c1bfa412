//! The waves of folded transforms: their order, and tables of their values.
//!
//! A wave of frequency f on a period of N pixels is known by its values at the middles of the first quarter's pixels,
//! q = 0 .. N/4 − 1: the others are its mirrors
//!
//! ```text
//! mirror 0: q     1: N − 1 − q     2: N/2 + q     3: N/2 − 1 − q
//! ```
//!
//! where it has the same value up to a sign, and the sign depends on its class alone: a sine changes at mirrors 1 and 3, an odd
//! frequency at mirrors 2 and 3. Class 2·odd + sine and mirror are thus the rows and columns of a Walsh-Hadamard matrix of
//! four, and a transform sums each class at a quarter of the points, then *unfolds* with eight additions. Its adjoint *folds*.
//!
//! Frequencies lie in *places*. With K = 2P − 1 the highest frequency of the mask, its 4P places are the classes one after
//! the other, P places each: f = 2i + odd. The image has frequencies up to 2K: along x, 8P places likewise, 2P a class; along y
//! two halves of 4P, f ≡ 0, 1 and f ≡ 2, 3 (mod 4), each with its four classes. A place that has no wave, a sine of
//! frequency 0 or a frequency above 2K, is a zero in the tables.

use std::f64::consts::PI;

/// Places of a class that a unit's registers hold: fields of 2048 nm at 193 nm and NA 1.35 have nine.
const MOST_PLACES: usize = 9;

/// Classes of waves, and mirrors of a point.
pub(crate) const CLASSES: usize = 4;

/// A wave at a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wave {
    /// Frequency, in periods of the field.
    pub(crate) frequency: usize,
    /// Whether it is a sine.
    pub(crate) sine: bool,
}

impl Wave {
    /// Its value at a part of its period.
    fn at(self, turn: f64) -> f64 {
        let phase = 2.0 * PI * self.frequency as f64 * turn;
        if self.sine { phase.sin() } else { phase.cos() }
    }

    /// Whether it is a wave at all, of a spectrum that ends at `highest`.
    fn is_real(self, highest: usize) -> bool {
        self.frequency <= highest && !(self.sine && self.frequency == 0)
    }
}

/// The wave at a place of the mask's spectrum, or along x of the image's: classes of `places` places each.
pub(crate) fn by_class(place: usize, places: usize) -> Wave {
    let (class, i) = (place / places, place % places);
    Wave { frequency: 2 * i + class / 2, sine: class % 2 == 1 }
}

/// The wave at a place along y of the image's spectrum.
pub(crate) fn by_half(place: usize, places: usize) -> Wave {
    let (half, class, i) = (place / (CLASSES * places), place / places % CLASSES, place % places);
    Wave { frequency: 4 * i + 2 * half + class / 2, sine: class % 2 == 1 }
}

/// A wave's value at one of the coarse points of the first half quarter, for kernels that have the points in their text.
#[cfg(feature = "gpu")]
pub(crate) fn coarse_wave(place: usize, point: usize, places: usize) -> f32 {
    by_class(place, places).at((point as f64 + 0.5) / (2 * CLASSES * places) as f64) as f32
}

/// What tables need to know of a field and its pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// Places of a class of the mask's spectrum: half of what follows the highest frequency.
    pub(crate) places: usize,
    /// Pixels on a side.
    pub(crate) size: usize,
}

impl Field {
    /// The field of a mask spectrum of `side` frequencies a side and of `size` pixels, if its transforms fold: the highest
    /// frequency is odd, and cubes of units divide the side.
    pub(crate) fn new(side: usize, size: usize) -> Option<Self> {
        let folds = places(side).is_some() && size.is_multiple_of(256) && size <= 4096;
        folds.then(|| Self { places: side.div_ceil(4), size })
    }

    /// The highest frequency of the image.
    fn highest(self) -> usize {
        4 * self.places - 2
    }

    /// The mask's waves times what a pixel keeps of each frequency, `[n / 4, 4P]`.
    pub(crate) fn of_mask(self, kept: impl Fn(usize) -> f64) -> Vec<f32> {
        let value = |q: usize, place: usize| {
            let wave = by_class(place, self.places);
            match wave.is_real(self.highest()) {
                true => wave.at(self.middle(q)) * kept(wave.frequency),
                false => 0.0,
            }
        };
        table(self.size / 4, CLASSES * self.places, value)
    }

    /// From coarse points to pixels along x, a class at a time: `[n / 4, 4, 2P]`, by pixel, class and quarter point. `left` is
    /// what diffusion leaves of a frequency.
    pub(crate) fn interpolate(self, left: impl Fn(usize) -> f64) -> Vec<f32> {
        let quarter = 2 * self.places;
        let value = |x: usize, at: usize| {
            let of = |place: usize| {
                let wave = by_class(at / quarter * quarter + place, quarter);
                self.weight(wave, &left)
                    * wave.at(self.coarse(at % quarter))
                    * wave.at(self.middle(x))
            };
            (0..quarter).map(of).sum()
        };
        table(self.size / 4, CLASSES * quarter, value)
    }

    /// The image's waves along y at the rows q of the first eighth, `[n / 8, 8P]`, of which those at the row n/4 − 1 − q follow:
    /// an even frequency has the same value up to a sign, of an odd one cosine and sine change places. A half's
    /// places are cosines and sines of even frequencies, and of odd ones what their row takes, and the other.
    pub(crate) fn along_y(self) -> Vec<f32> {
        let value = |q: usize, place: usize| {
            let (wave, turn) = (by_half(place, self.places), self.middle(q));
            let cosine = Wave { sine: false, ..wave };
            let odd = wave.frequency % 2 == 1;
            match (odd && place / (CLASSES * self.places) == 1, wave.sine) {
                _ if wave.frequency > self.highest() => 0.0,
                (false, _) => wave.at(turn),
                (true, false) => -Wave { sine: true, ..wave }.at(turn),
                (true, true) => cosine.at(turn),
            }
        };
        table(self.size / 8, 2 * CLASSES * self.places, value)
    }

    /// From coarse points to the image's spectrum along y, `[8P, 2P]`. Of the second half's odd sines it is the negative, which
    /// is what [`Field::along_y`] goes on with.
    pub(crate) fn collect(self, left: impl Fn(usize) -> f64) -> Vec<f32> {
        let value = |place: usize, q: usize| {
            let wave = by_half(place, self.places);
            let second = place >= CLASSES * self.places;
            let sign = if second && wave.sine && wave.frequency % 2 == 1 { -1.0 } else { 1.0 };
            sign * self.weight(wave, &left) * wave.at(self.coarse(q))
        };
        table(2 * CLASSES * self.places, 2 * self.places, value)
    }

    /// What a wave's sum over the coarse points is multiplied by.
    fn weight(self, wave: Wave, left: impl Fn(usize) -> f64) -> f64 {
        let coarse = (2 * CLASSES * self.places) as f64;
        match wave.frequency {
            _ if !wave.is_real(self.highest()) => 0.0,
            0 => left(0) / coarse,
            f => 2.0 * left(f) / coarse,
        }
    }

    /// Where in the field a coarse point is.
    fn coarse(self, q: usize) -> f64 {
        (q as f64 + 0.5) / (2 * CLASSES * self.places) as f64
    }

    /// Where in the field a pixel's middle is.
    fn middle(self, q: usize) -> f64 {
        (q as f64 + 0.5) / self.size as f64
    }
}

fn table(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f64) -> Vec<f32> {
    (0..rows * columns).map(|i| value(i / columns, i % columns) as f32).collect()
}

/// Places of a class of a spectrum of `side` frequencies a side, if it has them.
pub(crate) fn places(side: usize) -> Option<usize> {
    let places = side.div_ceil(4);
    (side % 4 == 3 && places <= MOST_PLACES).then_some(places)
}

/// Coherent kernels `[2K+1, 2K+1]` in the order in which a pair of frequencies passes them, `[2P, 2P, 4]` complex: at
/// (u, v), (u, −v), (−u, v), (−u, −v); where a frequency is 0, its negative has nothing.
pub(crate) fn in_pairs(places: usize, kernel: impl Fn(usize, usize) -> [f32; 2]) -> Vec<f32> {
    let (side, half) = (2 * places, 2 * places - 1);
    let at = |i: usize| {
        let (u, v, sign) = (i / 4 / side, i / 4 % side, i % 4);
        let (up, right) = (sign < 2, sign % 2 == 0);
        match (up || u > 0) && (right || v > 0) {
            true => kernel(
                if up { half + u } else { half - u },
                if right { half + v } else { half - v },
            ),
            false => [0.0, 0.0],
        }
    };
    (0..4 * side * side).flat_map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a wave is at a mirror of a point, and the sign that its class says.
    #[test]
    fn a_wave_is_its_own_mirror_up_to_the_sign_of_its_class() {
        let (places, points) = (3, 48);
        for place in 0..CLASSES * places {
            let (wave, class) = (by_class(place, places), place / places);
            for q in 0..points / 4 {
                let mirrors = [q, points - 1 - q, points / 2 + q, points / 2 - 1 - q];
                let at = |point: usize| wave.at((point as f64 + 0.5) / points as f64);
                for (mirror, &point) in mirrors.iter().enumerate() {
                    let sign = if (class & mirror).count_ones() % 2 == 1 { -1.0 } else { 1.0 };
                    assert!((at(point) - sign * at(q)).abs() < 1e-12, "{wave:?} at {mirror}");
                }
            }
        }
    }

    /// From coarse points to a pixel, by classes and mirrors, a wave that the image may have is itself.
    #[test]
    fn folded_interpolation_passes_through_waves() {
        let field = Field::new(7, 256).expect("folds");
        let (table, quarter, coarse) = (field.interpolate(|_| 1.0), 2 * field.places, 16.0);
        for place in (0..CLASSES * quarter).filter(|&p| by_class(p, quarter).is_real(6)) {
            let (wave, class) = (by_class(place, quarter), place / quarter);
            for x in [0, 17, 63] {
                // The four mirrors of a coarse point hold the same value up to the class's sign: they add up.
                let term = |q: usize| {
                    let weight = f64::from(table[(x * CLASSES + class) * quarter + q]);
                    4.0 * weight * wave.at((q as f64 + 0.5) / coarse)
                };
                let found: f64 = (0..quarter).map(term).sum();
                let expected = wave.at((x as f64 + 0.5) / 256.0);
                assert!((found - expected).abs() < 1e-6, "{wave:?} at {x}: {found} vs {expected}");
            }
        }
    }

    #[test]
    fn fields_whose_transforms_do_not_fold_have_no_tables() {
        assert!(Field::new(35, 1024).is_some_and(|field| field.places == 9));
        for (side, size) in [(69, 1024), (33, 1024), (39, 1024), (35, 1000), (35, 8192)] {
            assert!(Field::new(side, size).is_none(), "{side} {size}");
        }
    }
}
