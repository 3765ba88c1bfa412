//! Rows of small images: what a network in training makes of some clips.

use super::canvas::{Align, Canvas, INK, MUTED, RULE, Rgb, Style};
use crate::PictureError;

/// Side of an image, in px.
const SIDE: usize = 512;
/// Space around the images.
const GAP: f32 = 24.0;
/// Space above them.
const TOP: f32 = 92.0;
/// Colour of what is open or printed.
const FILL: Rgb = [38, 70, 110];
/// Colour of the design's outline over a print.
const MISSING: Rgb = [213, 94, 0];

/// Images of 0 to 1, row after row, `size` pixels a side.
pub struct Images<'a> {
    /// Pixels on a side.
    pub size: usize,
    /// What should print.
    pub target: &'a [f32],
    /// The mask.
    pub mask: &'a [f32],
    /// Its print.
    pub print: &'a [f32],
}

/// Encodes rows of target, mask and print as PNG; where the print is not the target, it is orange.
///
/// # Errors
///
/// [`PictureError`] if there are more than memory holds.
pub fn draw(title: &str, rows: &[Images]) -> Result<Vec<u8>, PictureError> {
    let wide = 3.0 * (SIDE as f32 + GAP) + GAP;
    let high = TOP + rows.len() as f32 * (SIDE as f32 + GAP);
    let mut page = Canvas::new(wide as usize, high as usize)?;
    let head = Style { size: 21.0, colour: INK, bold: true };
    page.text([GAP, 38.0], Align::Left, &head, title);
    let small = Style { size: 15.0, colour: MUTED, bold: false };
    for (column, name) in ["target", "mask", "print, off the target in orange"].iter().enumerate() {
        let left = GAP + column as f32 * (SIDE as f32 + GAP);
        page.text([left, 76.0], Align::Left, &small, name);
    }
    for (row, images) in rows.iter().enumerate() {
        let top = TOP + row as f32 * (SIDE as f32 + GAP);
        for column in 0..3 {
            let left = GAP + column as f32 * (SIDE as f32 + GAP);
            page.paste(&images.image(column)?, [left, top]);
            let side = SIDE as f32;
            page.frame([[left, top], [left + side, top + side]], RULE);
        }
    }
    page.png()
}

impl Images<'_> {
    fn image(&self, column: usize) -> Result<Canvas, PictureError> {
        let mut image = Canvas::new(SIDE, SIDE)?;
        let at = |i: usize| {
            let pixel = |v: usize| v * self.size / SIDE;
            pixel(i / SIDE) * self.size + pixel(i % SIDE)
        };
        let shares = |of: &dyn Fn(usize) -> f32| -> Vec<f32> {
            (0..SIDE * SIDE).map(|i| of(at(i))).collect()
        };
        let value = |values: &[f32], i: usize| values.get(i).copied().unwrap_or(0.0);
        match column {
            0 => image.tint(&shares(&|i| value(self.target, i)), FILL),
            1 => image.tint(&shares(&|i| value(self.mask, i)), FILL),
            _ => {
                let off = |i: usize| (value(self.print, i) - value(self.target, i)).abs();
                image.tint(&shares(&|i| value(self.print, i) * (1.0 - off(i))), FILL);
                image.tint(&shares(&off), MISSING);
            }
        }
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_print_is_off_it_is_orange() {
        let images = Images {
            size: 2,
            target: &[1.0, 1.0, 0.0, 0.0],
            mask: &[0.0; 4],
            print: &[1.0, 0.0, 1.0, 0.0],
        };
        let png = draw("t", &[images]).expect("a picture");
        let page = image::load_from_memory(&png).expect("PNG").to_rgb8();
        let left = (GAP + 2.0 * (SIDE as f32 + GAP)) as u32;
        let pixel = |x: u32, y: u32| page.get_pixel(left + x, TOP as u32 + y).0;
        assert_eq!([pixel(100, 100), pixel(400, 100)], [FILL, MISSING]);
        assert_eq!([pixel(100, 400), pixel(400, 400)], [MISSING, [255; 3]]);
    }
}
