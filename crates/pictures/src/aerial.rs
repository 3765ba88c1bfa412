//! An aerial image with its scale: intensities as colours, a bar that says which, axes, and the contour that prints.

use lithoburn_layout::Raster;

use crate::PictureError;
use crate::canvas::{Align, Canvas, INK, MUTED, Style};
use crate::panel::{Key, PRINT, Panel, Swatch};
use crate::view::View;

/// Side of the image, in px.
const SIDE: usize = 1000;
/// Space around it: left, top, right, bottom.
const SPACE: [usize; 4] = [80, 118, 110, 44];
/// Samples per px, in x and in y.
const SAMPLES: usize = 2;

/// What the picture shows.
#[derive(Clone, Copy, Debug)]
pub struct Aerial<'a> {
    /// Headline, such as `clip · nominal`.
    pub title: &'a str,
    /// Line below it.
    pub subtitle: &'a str,
    /// Intensity, relative to the clear field.
    pub image: &'a Raster,
    /// The intensity that prints.
    pub level: f64,
    /// Layout coordinate of the corner of the first pixel.
    pub origin_nm: [f64; 2],
}

/// Encodes the picture as PNG.
///
/// # Errors
///
/// [`PictureError`] if memory does not hold it.
pub fn draw(aerial: &Aerial) -> Result<Vec<u8>, PictureError> {
    let view = View::all(aerial.image, SIDE);
    let [left, top, right, bottom] = SPACE;
    let mut page = Canvas::new(left + view.size[0] + right, top + view.size[1] + bottom)?;
    let title = Style { size: 26.0, colour: INK, bold: true };
    let note = Style { size: 16.0, colour: MUTED, bold: false };
    let room = view.size[0] as f32;
    for (style, text, baseline) in [(title, aerial.title, 42.0), (note, aerial.subtitle, 68.0)] {
        let text = page.elided(text, &style, room);
        page.text([left as f32, baseline], Align::Left, &style, &text);
    }
    let level = aerial.level;
    let key = Key::new(Swatch::LineOnDark, PRINT, format!("prints at {level:.3}"));
    let mut panel = Panel::new("Aerial image", vec![key], &view, aerial.origin_nm)?;
    let intensity = view.sampled(SAMPLES, || view.bilinear(aerial.image, SAMPLES));
    panel.shade(&intensity, level);
    panel.plot.lines(&view.contours(aerial.image, level), 1.6, PRINT);
    panel.scale_bar(&view, &intensity);
    panel.place(&mut page, [left as f32, top as f32]);
    page.png()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(image: &Raster) -> image::RgbImage {
        let aerial =
            Aerial { title: "bar", subtitle: "", image, level: 0.3, origin_nm: [-50.0, 20.0] };
        image::load_from_memory(&draw(&aerial).expect("a picture")).expect("PNG").to_rgb8()
    }

    /// A bright half: its colour is the top of the bar, the dark half's is the foot.
    #[test]
    fn the_bar_beside_the_image_has_the_images_colours() {
        let mut image = Raster::new(50, 50, 20.0);
        image.data[..1250].fill(0.6);
        let page = picture(&image);
        let [left, top, ..] = SPACE.map(|v| v as u32);
        let bar = left + 1000 + 14 + 8;
        let near = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).all(|(a, b)| a.abs_diff(b) < 8);
        let at = |x: u32, y: u32| page.get_pixel(x, y).0;
        assert!(near(at(left + 500, top + 250), at(bar, top + 2)));
        assert!(near(at(left + 500, top + 700), at(bar, top + 997)));
        // The contour that prints is between them, 1.6 px wide and so nowhere of its full colour.
        let like = |a: [u8; 3]| a.iter().zip(PRINT).all(|(a, b)| a.abs_diff(b) < 64);
        assert!((0..1000).any(|y| like(at(left + 300, top + y))));
    }

    #[test]
    fn an_image_of_any_shape_or_without_numbers_is_drawn() {
        let [wide, none] = [Raster::new(80, 20, 4.0), Raster::new(0, 0, 1.0)];
        let blind = Raster { data: vec![f32::NAN; 64], ..Raster::new(8, 8, 1.0) };
        assert_eq!(picture(&wide).dimensions(), (1190, 118 + 250 + 44));
        for image in [none, blind] {
            assert!(picture(&image).width() > 100);
        }
    }
}
