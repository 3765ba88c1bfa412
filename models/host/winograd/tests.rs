//! The convolution of the CPU against a plain one.

use lithoburn_compare::{largest, largest_difference};

use super::*;

/// A convolution to be tested: channels of each image and whether it is folded; output channels; whether they are unfolded.
type Case<'a> = (&'a [(usize, bool)], usize, bool);

/// Joined, folded, unfolded, and channels that fill vectors or do not.
const CASES: [Case; 8] = [
    (&[(1, false)], 1, false),
    (&[(1, true)], 32, false),
    (&[(3, false), (5, true)], 7, false),
    (&[(16, false), (16, false)], 48, false),
    (&[(40, false)], 88, true),
    (&[(6, true)], 12, true),
    (&[(32, false)], 4, true),
    (&[(17, false), (2, true)], 33, false),
];

fn wave(i: usize) -> f32 {
    (i as f32 * 0.61).sin()
}

/// An image of waves.
fn picture([height, width]: [usize; 2], channels: usize) -> Picture {
    let mut picture = Picture::new(height, width, channels);
    let (line, wide) = (picture.line(), width * channels);
    for (y, row) in picture.rows_mut().chunks_exact_mut(line).enumerate() {
        for (x, value) in row[BORDER * channels..][..wide].iter_mut().enumerate() {
            *value = wave(y * wide + x + channels);
        }
    }
    picture
}

fn at(picture: &Picture, [y, x, channel]: [usize; 3]) -> f64 {
    let row = (y + BORDER) * picture.line();
    f64::from(picture.data[row + (x + BORDER) * picture.channels + channel])
}

/// What is seen at a pixel, maybe a folded one: channels in the order of a fold.
fn pixel(picture: &Picture, folded: bool, [y, x]: [usize; 2]) -> Vec<f64> {
    let fold = if folded { 2 } else { 1 };
    let places = (0..fold).flat_map(|dy| (0..fold).map(move |dx| [y * fold + dy, x * fold + dx]));
    places.flat_map(|[y, x]| (0..picture.channels).map(move |c| at(picture, [y, x, c]))).collect()
}

fn weight(to: usize, from: usize, row: usize, column: usize) -> f32 {
    wave(((to * 31 + from) * 3 + row) * 3 + column + 7)
}

fn bias(to: usize) -> f32 {
    wave(5 * to) - 0.5
}

/// The sum of the definition, in f64: `[height, width, to]`.
fn plain(
    pictures: &[Picture],
    (inputs, to, _): Case,
    [height, width]: [usize; 2],
    relu: bool,
) -> Vec<f64> {
    let seen = |y: usize, x: usize| -> Vec<f64> {
        let each = pictures.iter().zip(inputs);
        each.flat_map(|(picture, &(_, folded))| pixel(picture, folded, [y, x])).collect()
    };
    let pixels: Vec<_> = (0..height * width).map(|i| seen(i / width, i % width)).collect();
    let sum = |y: usize, x: usize, to: usize| {
        let mut sum = f64::from(bias(to));
        for (row, column) in (0..9).map(|tap| (tap / 3, tap % 3)) {
            let (y, x) = (y + row, x + column);
            if (1..=height).contains(&y) && (1..=width).contains(&x) {
                let values = pixels[(y - 1) * width + x - 1].iter().enumerate();
                sum += values
                    .map(|(from, value)| value * f64::from(weight(to, from, row, column)))
                    .sum::<f64>();
            }
        }
        if relu { sum.max(0.0) } else { sum }
    };
    let places = (0..height * width).map(|i| (i / width, i % width));
    places
        .flat_map(|(y, x)| (0..to).map(move |to| (y, x, to)))
        .map(|(y, x, to)| sum(y, x, to))
        .collect()
}

/// The same by the convolution under test, in the same order.
fn found(
    processor: Processor,
    pictures: &[Picture],
    (inputs, to, unfolded): Case,
    [height, width]: [usize; 2],
    relu: bool,
) -> Vec<f64> {
    let input = |(picture, &(channels, folded)): (usize, &(usize, bool))| Input {
        picture,
        folded,
        run: if folded { 2 * channels } else { channels },
    };
    let inputs = inputs.iter().enumerate().map(input).collect();
    let bias: Vec<f32> = (0..to).map(bias).collect();
    let output = Output { unfolded, relu };
    let convolution = Convolution::new(processor, inputs, &bias, output, weight);
    let fold = if unfolded { 2 } else { 1 };
    let mut made = Picture::new(height * fold, width * fold, to / fold / fold);
    let spare = Spare::default();
    // Twice, so that memory of an earlier pass is used.
    convolution.run(pictures, &mut made, &spare);
    convolution.run(pictures, &mut made, &spare);
    let places = (0..height * width).map(|i| [i / width, i % width]);
    places.flat_map(|place| pixel(&made, unfolded, place)).collect()
}

fn pictures((inputs, ..): Case, size: [usize; 2]) -> Vec<Picture> {
    let one = |&(channels, folded): &(usize, bool)| {
        picture(size.map(|side| if folded { 2 * side } else { side }), channels)
    };
    inputs.iter().map(one).collect()
}

/// Where waves cancel, the transformed numbers are larger than their sums: 1e-5 of the largest output was seen.
#[test]
fn every_processor_makes_the_sums_of_the_definition() {
    for (number, case) in CASES.into_iter().enumerate() {
        for size in [[1, 1], [3, 9], [4, 4], [13, 6], [37, 5]] {
            let (pictures, relu) = (pictures(case, size), number % 2 == 0);
            let expected = plain(&pictures, case, size, relu);
            let scale = largest(expected.iter().copied());
            for processor in Processor::kinds() {
                let found = found(processor, &pictures, case, size, relu);
                let off = largest_difference(&found, &expected);
                assert!(off <= 3e-5 * scale, "{processor:?}, {case:?}, {size:?}: {off} of {scale}");
            }
        }
    }
}

/// A transformation mixes the pixels of a tile, so more than the definition's may be none, but never fewer.
#[test]
fn what_is_no_number_is_not_hidden() {
    let case: Case = (&[(3, false)], 5, false);
    for place in [[0, 0], [3, 4], [8, 6]] {
        let mut pictures = pictures(case, [9, 7]);
        let line = pictures[0].line();
        let at = (place[0] + BORDER) * line + (place[1] + BORDER) * 3;
        pictures[0].data[at] = f32::NAN;
        let expected = plain(&pictures, case, [9, 7], false);
        for processor in Processor::kinds() {
            let found = found(processor, &pictures, case, [9, 7], true);
            let hidden = |(found, expected): (&f64, &f64)| expected.is_nan() && !found.is_nan();
            assert!(expected.iter().any(|value| value.is_nan()));
            assert!(!found.iter().zip(&expected).any(hidden), "{processor:?}, {place:?}");
        }
    }
}

/// Threads share bands and their stages, never a sum.
#[test]
fn any_number_of_threads_makes_the_same_bits() {
    let case: Case = (&[(24, true), (9, false)], 40, true);
    let pictures = pictures(case, [26, 19]);
    let made = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let found = || found(Processor::here(), &pictures, case, [26, 19], true);
        pool.expect("threads").install(found)
    };
    let alone = made(1);
    assert!(alone.iter().any(|&value| value > 0.0));
    assert_eq!(made(3), alone);
}
