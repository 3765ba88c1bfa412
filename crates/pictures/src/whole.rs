//! A layout of many fields, downsampled: target, mask and print side by side, the worst place marked.

use std::borrow::Cow;

use lithoburn_layout::Raster;
use rayon::prelude::*;

use crate::PictureError;
use crate::canvas::{Align, Canvas, INK, MUTED, Style};
use crate::panel::{Key, MASK, Panel, Swatch, TARGET, VERMILLION};
use crate::view::View;

/// The greater side of a panel, in px.
const SIDE: usize = 760;
/// Space left of a panel and between two, above the first and below.
const LEFT: usize = 84;
const RIGHT: usize = 34;
const TOP: usize = 138;
const BELOW: usize = 44;
/// Samples per px, in x and in y.
const SAMPLES: usize = 2;
/// Colour of what prints.
const PRINTED: [u8; 3] = [98, 158, 132];

/// What the picture shows. All rasters cover the same rectangle; their pixels may have different sizes.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    /// Headline, such as `chip · neural-ilt-fast`.
    pub title: &'a str,
    /// Line below it: tiles, pixels, device.
    pub subtitle: &'a str,
    /// What should print, in 0 to 1.
    pub target: &'a Raster,
    /// The mask, in 0 to 1.
    pub mask: &'a Raster,
    /// What prints, in 0 to 1, if that was simulated.
    pub print: Option<&'a Raster>,
    /// The worst field's least x and y, greatest x and y, in nm from the rasters' corner.
    pub worst_nm: Option<[f64; 4]>,
    /// Layout coordinate of the rasters' corner.
    pub origin_nm: [f64; 2],
}

/// Encodes the picture as PNG.
///
/// # Errors
///
/// [`PictureError`] if memory does not hold it.
pub fn draw(whole: &Whole) -> Result<Vec<u8>, PictureError> {
    let panels = whole.panels()?;
    let [width, height] = panels.first().map_or([0, 0], |panel| panel.plot.size());
    let step = LEFT + width.max(260);
    let mut page = Canvas::new(panels.len() * step + RIGHT, TOP + height + BELOW)?;
    let room = (panels.len() * step - LEFT) as f32;
    let title = Style { size: 30.0, colour: INK, bold: true };
    let note = Style { size: 17.0, colour: MUTED, bold: false };
    for (style, text, baseline) in [(title, whole.title, 52.0), (note, whole.subtitle, 80.0)] {
        let text = page.elided(text, &style, room);
        page.text([LEFT as f32, baseline], Align::Left, &style, &text);
    }
    for (index, panel) in panels.iter().enumerate() {
        panel.place(&mut page, [(LEFT + index * step) as f32, TOP as f32]);
    }
    page.png()
}

impl Whole<'_> {
    fn panels(&self) -> Result<Vec<Panel>, PictureError> {
        let view = View::all(self.target, SIDE);
        let mut shown = vec![("Target", self.target, TARGET), ("Mask", self.mask, MASK)];
        shown.extend(self.print.map(|print| ("Print", print, PRINTED)));
        let panel = |(title, raster, colour): (&'static str, &Raster, [u8; 3])| {
            let mut legend = Vec::new();
            if self.worst_nm.is_some() {
                legend.push(Key::new(Swatch::Line, VERMILLION, "worst field"));
            }
            let mut panel = Panel::new(title, legend, &view, self.origin_nm)?;
            let shares = shares(&view, raster);
            panel.plot.tint(&shares, colour);
            if let Some(place) = self.worst_nm {
                // Beside the layout's border, the frame is on it.
                let most = view.size.map(|px| px as f32 - 1.2);
                let inside = |p: [f32; 2]| [0, 1].map(|i| p[i].min(most[i]).max(1.2));
                let frame: Vec<[f32; 2]> = view.frame(place).into_iter().map(inside).collect();
                panel.plot.line(&frame, 2.4, VERMILLION);
            }
            panel.scale_bar(&view, &shares);
            Ok(panel)
        };
        shown.into_par_iter().map(panel).collect()
    }
}

/// The covered share of each px of a plot.
fn shares(view: &View, raster: &Raster) -> Vec<f32> {
    // Of more pixels than are sampled, means.
    let pixels = view.scale / SAMPLES as f64 / raster.pixel_nm;
    let factor = if pixels.is_finite() { (pixels as usize).max(1) } else { 1 };
    let coarse = match factor {
        1 => Cow::Borrowed(raster),
        factor => Cow::Owned(raster.averaged(factor)),
    };
    view.sampled(SAMPLES, || view.nearest(&coarse, SAMPLES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripes(width: usize, height: usize) -> Raster {
        let mut raster = Raster::new(width, height, 100.0);
        for (i, value) in raster.data.iter_mut().enumerate() {
            *value = f32::from(u8::from(i % width % 16 < 8));
        }
        raster
    }

    #[test]
    fn a_layout_is_shown_in_its_proportions_with_the_worst_field_marked() {
        let raster = stripes(1600, 800);
        let whole = Whole {
            title: "chip · ilt",
            subtitle: "",
            target: &raster,
            mask: &raster,
            print: None,
            worst_nm: Some([40_000.0, 20_000.0, 60_000.0, 40_000.0]),
            origin_nm: [0.0; 2],
        };
        let page =
            image::load_from_memory(&draw(&whole).expect("a picture")).expect("PNG").to_rgb8();
        let (width, height) = (2 * (LEFT + 760) + RIGHT, TOP + 380 + BELOW);
        assert_eq!(page.dimensions(), (width as u32, height as u32));
        // The frame around the worst field: 5 px outside it, at a quarter of the width.
        let near = |x: u32| {
            let colour = page.get_pixel(x, TOP as u32 + 150).0;
            colour.iter().zip(VERMILLION).all(|(a, b)| a.abs_diff(b) < 40)
        };
        let line = LEFT as u32 + 190 - 5;
        assert!((line - 2..line + 3).any(near));
        let print = Whole { print: Some(&raster), worst_nm: None, ..whole };
        let page = image::load_from_memory(&draw(&print).expect("a picture")).expect("PNG");
        assert_eq!(page.width() as usize, 3 * (LEFT + 760) + RIGHT);
    }

    /// Half covered, however much finer the pixels are than the picture's.
    #[test]
    fn shapes_finer_than_a_px_are_shown_by_their_share() {
        let raster = stripes(6400, 3200);
        let shares = shares(&View::all(&raster, SIDE), &raster);
        let mean = shares.iter().sum::<f32>() / shares.len() as f32;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }

    #[test]
    fn nothing_is_still_drawn() {
        let none = Raster::new(0, 0, 1.0);
        let whole = Whole {
            title: "",
            subtitle: "",
            target: &none,
            mask: &none,
            print: Some(&none),
            worst_nm: None,
            origin_nm: [f64::NAN; 2],
        };
        assert!(draw(&whole).is_ok());
    }
}
