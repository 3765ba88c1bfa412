//! The edges of a binary image: lines of its pixels that have a neighbour outside.

use super::{Bitmap, WORD};

/// A column or row, and the first and the last pixel of a line in it.
pub(super) type Line = [isize; 3];

/// The lines of an image's edge: upright ones, column by column, and level ones, row by row.
///
/// A pixel of the edge is on an upright line unless both pixels beside it are on the edge, on a level one unless those above and
/// below are.
pub(super) fn of(target: Bitmap) -> [Vec<Line>; 2] {
    let edge = edge(target);
    let edge = Bitmap { words: &edge, side: target.side };
    let upright = transposed(edge.side, &apart(edge, sideways));
    let level = apart(edge, above_and_below);
    [upright, level].map(|lines| runs(Bitmap { words: &lines, side: target.side }))
}

/// Pixels with one of eight neighbours outside.
fn edge(target: Bitmap) -> Vec<u32> {
    let within: Vec<u32> = (0..target.side)
        .flat_map(|y| {
            target.row(y).iter().zip(sideways(target, y)).map(|(own, beside)| own & beside)
        })
        .collect();
    apart(target, |_, y| {
        let within = Bitmap { words: &within, side: target.side };
        above_and_below(within, y).iter().zip(within.row(y)).map(|(a, b)| a & b).collect()
    })
}

/// The pixels of each row that are not in what `inner` makes of it.
fn apart(image: Bitmap, inner: impl Fn(Bitmap, usize) -> Vec<u32>) -> Vec<u32> {
    let row = |y: usize| {
        let inner = inner(image, y);
        image.row(y).iter().zip(inner).map(|(own, inner)| own & !inner).collect::<Vec<u32>>()
    };
    (0..image.side).flat_map(row).collect()
}

/// Where the pixels on both sides in a row are set.
fn sideways(image: Bitmap, y: usize) -> Vec<u32> {
    let row = image.row(y);
    let word = |i: usize| {
        let before = if i > 0 { row[i - 1] } else { 0 };
        let after = row.get(i + 1).copied().unwrap_or(0);
        (row[i] << 1 | before >> 31) & (row[i] >> 1 | after << 31)
    };
    (0..row.len()).map(word).collect()
}

/// Where the pixels above and below a row's are set.
fn above_and_below(image: Bitmap, y: usize) -> Vec<u32> {
    if y == 0 || y + 1 == image.side {
        return vec![0; image.row_words()];
    }
    image.row(y - 1).iter().zip(image.row(y + 1)).map(|(a, b)| a & b).collect()
}

/// An image with columns for rows.
fn transposed(side: usize, words: &[u32]) -> Vec<u32> {
    let each = side.div_ceil(WORD);
    let mut turned = vec![0; words.len()];
    let mut block = [0; WORD];
    for (by, bx) in (0..each).flat_map(|by| (0..each).map(move |bx| (by, bx))) {
        let rows = (by * WORD..side).take(WORD);
        block.fill(0);
        rows.zip(&mut block).for_each(|(y, word)| *word = words[y * each + bx]);
        if block.iter().any(|&word| word != 0) {
            transpose(&mut block);
            let columns = (bx * WORD..side).take(WORD);
            columns.zip(&block).for_each(|(x, &word)| turned[x * each + by] = word);
        }
    }
    turned
}

/// Transposes 32 by 32 bits: quarters change places, then quarters of those, down to single bits.
fn transpose(block: &mut [u32; WORD]) {
    let (mut half, mut low) = (WORD / 2, u32::MAX >> (WORD / 2));
    while half > 0 {
        for i in (0..WORD).filter(|i| i & half == 0) {
            let differing = (block[i] >> half ^ block[i + half]) & low;
            block[i + half] ^= differing;
            block[i] ^= differing << half;
        }
        half /= 2;
        low ^= low << half;
    }
}

/// The runs of each row.
fn runs(image: Bitmap) -> Vec<Line> {
    let mut found = Vec::new();
    for y in 0..image.side {
        let mut open: Option<usize> = None;
        for (i, &word) in image.row(y).iter().enumerate() {
            let mut x = 0;
            // To the next pixel that differs from the last.
            while x < WORD {
                let rest = (if open.is_some() { !word } else { word }) >> x;
                if rest == 0 {
                    break;
                }
                x += rest.trailing_zeros() as usize;
                let at = i * WORD + x;
                match open.take() {
                    Some(start) => found.push([y, start, at - 1].map(|v| v as isize)),
                    None => open = Some(at),
                }
            }
        }
        found.extend(open.map(|start| [y, start, image.side - 1].map(|v| v as isize)));
    }
    found
}
