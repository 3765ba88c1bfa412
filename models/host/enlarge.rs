//! From logits to a mask, on the CPU: enlarged between pixel middles, then a sigmoid, row by row.

use lithoburn_litho::ilt::sigmoid;
use lithoburn_processor::{Processor, Vectors, Work};
use rayon::prelude::*;

/// An output between an input pixel and a neighbour.
#[derive(Clone, Copy)]
struct Between {
    own: usize,
    other: usize,
    share: f32,
}

/// Where outputs of an enlargement by a factor lie among `n` pixels: as `Head`'s, the ends repeated.
fn places(n: usize, factor: usize) -> Vec<Between> {
    let place = |i: usize| {
        let (own, offset) = (i / factor, (i % factor) as f64 + 0.5);
        let offset = offset / factor as f64 - 0.5;
        let other = if offset <= 0.0 { own.saturating_sub(1) } else { (own + 1).min(n - 1) };
        Between { own, other, share: offset.abs() as f32 }
    };
    (0..n * factor).map(place).collect()
}

fn mixed(place: Between, values: &[f32]) -> f32 {
    let own = values[place.own];
    own + (values[place.other] - own) * place.share
}

/// Masks of images of logits `[height, width]`, one after another, with `factor` pixels of the mask for one of theirs along a side.
pub(super) fn masks(logits: &[f32], [height, width]: [usize; 2], factor: usize) -> Vec<f32> {
    let (rows, columns) = (places(height, factor), places(width, factor));
    let wide = width * factor;
    let mut lines = vec![0.0; logits.len() * factor];
    let each = lines.par_chunks_mut(wide).zip(logits.par_chunks(width));
    each.for_each(|(line, row)| {
        line.iter_mut().zip(&columns).for_each(|(to, &place)| *to = mixed(place, row));
    });
    let mut masks = vec![0.0; logits.len() * factor * factor];
    masks.par_chunks_mut(wide).enumerate().for_each(|(number, mask)| {
        let (image, Between { own, other, share }) =
            (number / rows.len() * height, rows[number % rows.len()]);
        let [own, other] = [own, other].map(|row| &lines[(image + row) * wide..][..wide]);
        Processor::here().compute(Row { own, other, share, mask });
    });
    masks
}

/// A row of the mask, between two lines of logits.
struct Row<'a> {
    own: &'a [f32],
    other: &'a [f32],
    share: f32,
    mask: &'a mut [f32],
}

impl Work for Row<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const WIDE: bool>(self, _: impl Vectors) {
        let Self { own, other, share, mask } = self;
        for (to, (own, other)) in mask.iter_mut().zip(own.iter().zip(other)) {
            *to = sigmoid(own + (other - own) * share);
        }
    }
}
