//! A white page for lines, dots, fills, text and axes, in px, and the colours used on it.

use ab_glyph::{Font, FontRef, GlyphId, OutlineCurve, Point};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, Transform,
};

use crate::PictureError;

/// Red, green, blue.
pub type Rgb = [u8; 3];

/// Text and frames.
pub const INK: Rgb = [28, 34, 43];
/// Rules and other faint lines.
pub const RULE: Rgb = [222, 225, 230];
/// Text of less weight.
pub const MUTED: Rgb = [96, 104, 117];
/// A dark ground for light lines.
pub const DARK: Rgb = INFERNO[1];

/// Colour map from dark to bright at equal steps, after matplotlib's inferno.
const INFERNO: [Rgb; 9] = [
    [0, 0, 4],
    [31, 12, 72],
    [85, 15, 109],
    [136, 34, 106],
    [186, 54, 85],
    [227, 89, 51],
    [249, 140, 10],
    [249, 201, 50],
    [252, 255, 164],
];

/// Where a text lies relative to its anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// It begins there.
    Left,
    /// Its middle is there.
    Centre,
    /// It ends there.
    Right,
}

/// How a text looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    /// Size of the font, in px.
    pub size: f32,
    /// Colour.
    pub colour: Rgb,
    /// Whether its strokes are heavier.
    pub bold: bool,
}

/// A glyph of a line of text.
struct Glyph {
    /// Index of its font.
    font: usize,
    id: GlyphId,
    /// Where it starts.
    x: f32,
    /// From the font's units to px.
    scale: f32,
}

/// The page.
#[derive(Clone, Debug)]
pub struct Canvas {
    pixmap: Pixmap,
    /// In order of preference: a glyph is taken from the first that has it.
    fonts: Vec<FontRef<'static>>,
}

impl Canvas {
    /// A white page.
    ///
    /// # Errors
    ///
    /// [`PictureError::Size`] if it has no area, or too much to hold in memory.
    pub fn new(width: usize, height: usize) -> Result<Self, PictureError> {
        let size = [width, height].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
        let pixmap = Pixmap::new(size[0], size[1]);
        let mut pixmap = pixmap.ok_or(PictureError::Size { width, height })?;
        pixmap.fill(Color::WHITE);
        let fonts = [epaint_default_fonts::UBUNTU_LIGHT, epaint_default_fonts::HACK_REGULAR];
        let fonts = fonts.iter().filter_map(|bytes| FontRef::try_from_slice(bytes).ok()).collect();
        Ok(Self { pixmap, fonts })
    }

    /// Width and height, in px.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        [self.pixmap.width() as usize, self.pixmap.height() as usize]
    }

    /// Encodes the page.
    ///
    /// # Errors
    ///
    /// [`PictureError::Encode`] if the encoder fails.
    pub fn png(&self) -> Result<Vec<u8>, PictureError> {
        let (pixels, _) = self.pixmap.data().as_chunks::<4>();
        let mut rgb = vec![0; 3 * pixels.len()];
        for (to, [red, green, blue, _]) in rgb.chunks_exact_mut(3).zip(pixels) {
            to.copy_from_slice(&[*red, *green, *blue]);
        }
        let (width, height) = (self.pixmap.width(), self.pixmap.height());
        let mut png = Vec::new();
        // Trying every filter on every row takes three times as long, and saves 3 % of a page.
        let encoder =
            PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Paeth);
        let written = encoder.write_image(&rgb, width, height, ExtendedColorType::Rgb8);
        written.map_err(|e| PictureError::Encode(e.to_string()))?;
        Ok(png)
    }

    /// Copies another page onto this one, as far as it lies on it. Pages are opaque: nothing shines through.
    pub fn paste(&mut self, other: &Self, at: [f32; 2]) {
        let ([wide, high], [width, height]) = (self.size(), other.size());
        let [x, y] = at.map(|v| v.round() as isize);
        // What lies on the page: of a side, from where and how much.
        let on_page = |at: isize, side: usize, room: usize| {
            let (first, end) = (at.max(0), at.saturating_add_unsigned(side).min(room as isize));
            (first as usize, end.saturating_sub(first).max(0) as usize)
        };
        let ((left, columns), (top, rows)) = (on_page(x, width, wide), on_page(y, height, high));
        if columns == 0 {
            return;
        }
        let skipped = [left as isize - x, top as isize - y].map(|v| v as usize);
        for row in 0..rows {
            let from = 4 * ((skipped[1] + row) * width + skipped[0]);
            let to = 4 * ((top + row) * wide + left);
            let source = &other.pixmap.data()[from..from + 4 * columns];
            self.pixmap.data_mut()[to..to + 4 * columns].copy_from_slice(source);
        }
    }

    /// Mixes a colour into each pixel, row after row; `shares` has the share of each.
    pub fn tint(&mut self, shares: &[f32], colour: Rgb) {
        for (pixel, &share) in self.pixmap.data_mut().chunks_exact_mut(4).zip(shares) {
            if share == 0.0 {
                continue;
            }
            for (value, to) in pixel.iter_mut().zip(colour) {
                *value = mix(*value, to, share);
            }
        }
    }

    /// Sets each pixel, row after row.
    pub fn shade(&mut self, colours: impl Iterator<Item = Rgb>) {
        for (pixel, colour) in self.pixmap.data_mut().chunks_exact_mut(4).zip(colours) {
            pixel[..3].copy_from_slice(&colour);
        }
    }

    /// Draws a line.
    pub fn line(&mut self, points: &[[f32; 2]], width: f32, colour: Rgb) {
        self.lines(std::slice::from_ref(&points), width, colour);
    }

    /// Draws lines; one that ends where it starts is closed.
    pub fn lines<L: AsRef<[[f32; 2]]>>(&mut self, lines: &[L], width: f32, colour: Rgb) {
        let mut builder = PathBuilder::new();
        for line in lines {
            push_line(&mut builder, line.as_ref());
        }
        if let Some(path) = builder.finish() {
            let (join, cap) = (LineJoin::Round, LineCap::Butt);
            let stroke = Stroke { width, line_join: join, line_cap: cap, ..Stroke::default() };
            let identity = Transform::identity();
            self.pixmap.stroke_path(&path, &paint(colour, 1.0), &stroke, identity, None);
        }
    }

    /// Draws a line through which the ground is seen.
    pub fn faint_line(&mut self, points: &[[f32; 2]], width: f32, colour: Rgb, opacity: f32) {
        let mut builder = PathBuilder::new();
        push_line(&mut builder, points);
        if let Some(path) = builder.finish() {
            let stroke = Stroke { width, line_join: LineJoin::Round, ..Stroke::default() };
            let paint = paint(colour, opacity);
            self.pixmap.stroke_path(&path, &paint, &stroke, Transform::identity(), None);
        }
    }

    /// Fills a rectangle; `corners` are its top left and its bottom right.
    pub fn rectangle(&mut self, corners: [[f32; 2]; 2], colour: Rgb, opacity: f32) {
        let [[left, top], [right, bottom]] = corners;
        if let Some(rect) = Rect::from_ltrb(left, top, right, bottom) {
            self.pixmap.fill_rect(rect, &paint(colour, opacity), Transform::identity(), None);
        }
    }

    /// Draws a thin frame just outside a rectangle.
    pub fn frame(&mut self, corners: [[f32; 2]; 2], colour: Rgb) {
        let [left, top] = corners[0].map(|v| v - 0.5);
        let [right, bottom] = corners[1].map(|v| v + 0.5);
        let ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]];
        self.line(&ring, 1.0, colour);
    }

    /// Fills a disc.
    pub fn dot(&mut self, at: [f32; 2], radius: f32, colour: Rgb) {
        if let Some(path) = PathBuilder::from_circle(at[0], at[1], radius) {
            self.fill(&path, colour, Transform::identity());
        }
    }

    /// Writes a line of text on a baseline.
    pub fn text(&mut self, at: [f32; 2], align: Align, style: &Style, text: &str) {
        self.set(at, align, style, text, 0.0);
    }

    /// Writes a line of text upwards, as along a vertical axis.
    pub fn text_upwards(&mut self, at: [f32; 2], align: Align, style: &Style, text: &str) {
        self.set(at, align, style, text, -90.0);
    }

    fn set(&mut self, at: [f32; 2], align: Align, style: &Style, text: &str, degrees: f32) {
        let (glyphs, width) = self.spaced(text, style.size);
        let shift = match align {
            Align::Left => 0.0,
            Align::Centre => width / 2.0,
            Align::Right => width,
        };
        let Some(path) = self.outline(&glyphs) else { return };
        let turn = Transform::from_rotate(degrees).post_translate(at[0], at[1]);
        let place = turn.pre_translate(-shift, 0.0);
        self.fill(&path, style.colour, place);
        // The font is a light one: an outline brings it to regular or bold weight.
        let weight = if style.bold { 0.045 } else { 0.012 };
        let stroke = Stroke { width: weight * style.size, ..Stroke::default() };
        self.pixmap.stroke_path(&path, &paint(style.colour, 1.0), &stroke, place, None);
    }

    /// Width of a line of text, in px.
    #[must_use]
    pub fn width(&self, text: &str, style: &Style) -> f32 {
        self.spaced(text, style.size).1
    }

    /// A text cut short where it does not fit.
    #[must_use]
    pub fn elided(&self, text: &str, style: &Style, room: f32) -> String {
        let mut kept: String = text.to_string();
        let mut shown = kept.clone();
        while self.width(&shown, style) > room && kept.pop().is_some() {
            shown = format!("{}…", kept.trim_end());
        }
        shown
    }

    fn fill(&mut self, path: &Path, colour: Rgb, transform: Transform) {
        self.pixmap.fill_path(path, &paint(colour, 1.0), FillRule::Winding, transform, None);
    }

    /// The glyphs of a line of text that starts at 0, and its width.
    fn spaced(&self, text: &str, size: f32) -> (Vec<Glyph>, f32) {
        let mut glyphs: Vec<Glyph> = Vec::new();
        let mut x = 0.0;
        for (font, id) in text.chars().filter_map(|c| self.glyph(c)) {
            let face = &self.fonts[font];
            let scale = size / face.units_per_em().unwrap_or(1000.0);
            if let Some(last) = glyphs.last().filter(|last| last.font == font) {
                x += scale * face.kern_unscaled(last.id, id);
            }
            glyphs.push(Glyph { font, id, x, scale });
            x += scale * face.h_advance_unscaled(id);
        }
        (glyphs, x)
    }

    /// The outlines of glyphs.
    fn outline(&self, glyphs: &[Glyph]) -> Option<Path> {
        let mut builder = PathBuilder::new();
        for Glyph { font, id, x, scale } in glyphs {
            if let Some(outline) = self.fonts[*font].outline(*id) {
                push_glyph(&mut builder, &outline.curves, |p| [x + scale * p.x, -scale * p.y]);
            }
        }
        builder.finish()
    }

    /// The first font that has a character, and the character's glyph in it.
    fn glyph(&self, c: char) -> Option<(usize, GlyphId)> {
        let glyphs = self.fonts.iter().map(|font| font.glyph_id(c)).enumerate();
        glyphs.into_iter().find(|(_, id)| id.0 != 0)
    }
}

/// Between two values.
fn mix(from: u8, to: u8, share: f32) -> u8 {
    (f32::from(from) + (f32::from(to) - f32::from(from)) * share).round() as u8
}

fn paint(colour: Rgb, opacity: f32) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    let [red, green, blue] = colour;
    paint.set_color_rgba8(red, green, blue, (255.0 * opacity) as u8);
    paint
}

fn push_line(builder: &mut PathBuilder, line: &[[f32; 2]]) {
    let [first, rest @ ..] = line else { return };
    builder.move_to(first[0], first[1]);
    for point in rest {
        builder.line_to(point[0], point[1]);
    }
    if rest.last() == Some(first) {
        builder.close();
    }
}

/// Adds a glyph; `place` maps its points, which have y upwards, to the page.
fn push_glyph(
    builder: &mut PathBuilder,
    curves: &[OutlineCurve],
    place: impl Fn(Point) -> [f32; 2],
) {
    let mut end = None;
    for curve in curves {
        let (start, points) = match curve {
            OutlineCurve::Line(a, b) => (*a, vec![*b]),
            OutlineCurve::Quad(a, b, c) => (*a, vec![*b, *c]),
            OutlineCurve::Cubic(a, b, c, d) => (*a, vec![*b, *c, *d]),
        };
        if end != Some(start) {
            let [x, y] = place(start);
            builder.move_to(x, y);
        }
        end = points.last().copied();
        match points.into_iter().map(&place).collect::<Vec<_>>()[..] {
            [b] => builder.line_to(b[0], b[1]),
            [b, c] => builder.quad_to(b[0], b[1], c[0], c[1]),
            [b, c, d] => builder.cubic_to(b[0], b[1], c[0], c[1], d[0], d[1]),
            _ => {}
        }
    }
    builder.close();
}

/// The colour of a value in 0 to 1.
#[must_use]
pub fn inferno(value: f64) -> Rgb {
    let steps = INFERNO.len() - 1;
    let at = value.clamp(0.0, 1.0) * steps as f64;
    let below = (at as usize).min(steps - 1);
    let share = at - below as f64;
    let mix = |a: u8, b: u8| f64::from(a) * (1.0 - share) + f64::from(b) * share;
    std::array::from_fn(|i| mix(INFERNO[below][i], INFERNO[below + 1][i]).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixel(page: &Canvas, [x, y]: [isize; 2]) -> Option<[u8; 4]> {
        let [width, height] = page.size().map(|side| side as isize);
        let is_inside = (0..width).contains(&x) && (0..height).contains(&y);
        let at = is_inside.then(|| 4 * (y * width + x) as usize)?;
        page.pixmap.data()[at..at + 4].try_into().ok()
    }

    /// Pixel by pixel is the second implementation.
    #[test]
    fn a_page_is_pasted_as_far_as_it_lies_on_the_other() {
        let mut small = Canvas::new(9, 7).expect("a page");
        small.text([0.0, 6.0], Align::Left, &Style { size: 9.0, colour: INK, bold: true }, "ax");
        let mut before = Canvas::new(20, 10).expect("a page");
        before.rectangle([[1.0, 1.0], [12.0, 8.0]], MUTED, 1.0);
        for at in [[0.0, 0.0], [3.4, 2.6], [-4.0, 5.0], [16.0, -3.0], [40.0, 1.0], [-9.0, -1e30]] {
            let mut page = before.clone();
            page.paste(&small, at);
            let [left, top] = at.map(|v: f32| v.round() as isize);
            for place in (0..200_isize).map(|i| [i % 20, i / 20]) {
                let inside = [place[0].saturating_sub(left), place[1].saturating_sub(top)];
                let expected = pixel(&small, inside).or_else(|| pixel(&before, place));
                assert_eq!(pixel(&page, place), expected, "{at:?} {place:?}");
            }
        }
    }
}
