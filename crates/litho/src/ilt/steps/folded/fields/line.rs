//! A line of coefficients: spread to coarse points, and collected from them, by two units.

use cubecl::prelude::*;

use super::super::fold::{Exchange, Two, apart, walsh_two};
use super::complex;
use crate::waves::{CLASSES, coarse_wave};

/// A line of coefficients and what a unit has of it: which half of its quarter points.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Line {
    at: usize,
    pub(super) half: usize,
    /// −1 in the second half.
    sign: f32,
    #[cube(comptime)]
    stride: usize,
    #[cube(comptime)]
    places: usize,
}

#[cube]
impl Line {
    pub(super) fn new(
        at: usize,
        half: usize,
        #[comptime] stride: usize,
        #[comptime] places: usize,
    ) -> Line {
        let sign = select(half == 1, f32::new(-1.0), f32::new(1.0));
        Line { at, half, sign, stride, places }
    }

    /// Where a class of coefficients begins: the second half has odd cosines and sines exchanged.
    fn class(&self, #[comptime] class: usize) -> usize {
        let length = comptime!(self.places * self.stride);
        if comptime!(class < 2) {
            self.at + comptime!(class * length)
        } else {
            self.at
                + select(self.half == 1, comptime!((5 - class) * length), comptime!(class * length))
        }
    }

    /// Values at a unit's quarter points and all their mirrors, `[P, 4]`; in the second half mirrors 1 and 3 are exchanged.
    pub(super) fn spread(&self, from: &mut Shared<[Two]>) -> Array<Two> {
        let (places, stride) = comptime!((self.places, self.stride));
        let mut points = Array::<Two>::new(comptime!(CLASSES * places));
        #[unroll]
        for k in 0..CLASSES * places {
            points[k] = Two::new(0.0);
        }
        #[unroll]
        for class in 0..CLASSES {
            let first = self.class(class);
            if apart() {
                #[unroll]
                for i in 0..places {
                    let place = comptime!(class * places + i);
                    if comptime!(place != places) {
                        let mut value = from[first + i * stride];
                        if comptime!(changes(class, i)) {
                            value *= Two::new(self.sign);
                        }
                        #[unroll]
                        for q in 0..places {
                            let wave = f32::new(comptime!(coarse_wave(place, q, places)));
                            points[CLASSES * q + class] += value * Two::new(wave);
                        }
                    }
                }
            }
        }
        #[unroll]
        for q in 0..places {
            walsh_two(&mut points, comptime!(CLASSES * q));
        }
        points
    }

    /// The adjoint of [`Line::spread`]: both halves' sums. The first half stores even and odd cosines, the second the sines.
    pub(super) fn collect(
        &self,
        points: &mut Array<Two>,
        to: &mut Shared<[Two]>,
        stores: bool,
        exchange: &mut Exchange,
    ) {
        let (places, stride) = comptime!((self.places, self.stride));
        #[unroll]
        for q in 0..places {
            walsh_two(points, comptime!(CLASSES * q));
        }
        let own = self.at + self.half * comptime!(places * stride);
        #[unroll]
        for i in 0..places {
            if apart() {
                let (even, sine) = (self.sum(points, 0usize, i), self.sum(points, 1usize, i));
                let (odd, odd_sine) = (self.sum(points, 2usize, i), self.sum(points, 3usize, i));
                let second = self.half == 1;
                let kept = choose(second, sine, even);
                let given = choose(second, even, sine);
                let even = kept + partners(exchange, given);
                let odd = odd + partners(exchange, odd_sine);
                if stores {
                    to[own + i * stride] = even;
                    to[own + comptime!((2 * places + i) * stride)] = odd;
                }
            }
        }
    }

    /// A unit's sum for a coefficient.
    fn sum(&self, points: &mut Array<Two>, #[comptime] class: usize, #[comptime] i: usize) -> Two {
        let places = comptime!(self.places);
        let place = comptime!(class * places + i);
        let mut sum = Two::new(0.0);
        if comptime!(place != places) {
            #[unroll]
            for q in 0..places {
                let wave = f32::new(comptime!(coarse_wave(place, q, places)));
                sum += points[CLASSES * q + class] * Two::new(wave);
            }
            if comptime!(changes(class, i)) {
                sum *= Two::new(self.sign);
            }
        }
        sum
    }
}

/// Whether a wave changes its sign between the halves.
fn changes(class: usize, i: usize) -> bool {
    (i + usize::from(class == 1)) % 2 == 1
}

#[cube]
fn choose(first: bool, a: Two, b: Two) -> Two {
    complex(
        select(first, a.extract(0usize), b.extract(0usize)),
        select(first, a.extract(1usize), b.extract(1usize)),
    )
}

/// What the other half of a line brings.
#[cube]
fn partners(exchange: &mut Exchange, z: Two) -> Two {
    let re = exchange.with(z.extract(0usize), 1u32);
    complex(re, exchange.with(z.extract(1usize), 1u32))
}
