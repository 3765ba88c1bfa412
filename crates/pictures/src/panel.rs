//! A panel: a plot with a title, a legend, axes and, if it shows intensities, a colour bar.

use rayon::prelude::*;

use super::axis::{Axis, Side, Unit, round_step};
use super::canvas::{Align, Canvas, DARK, INK, MUTED, RULE, Rgb, Style, inferno};
use super::view::View;
use crate::PictureError;

/// Height of the scale bar's plate, in px.
const PLATE: usize = 36;

// Okabe and Ito's colours, which colour-blind readers can tell apart, and tints for areas.
pub(super) const VERMILLION: Rgb = [213, 94, 0];
pub(super) const BLUE: Rgb = [0, 114, 178];
pub(super) const PURPLE: Rgb = [204, 121, 167];
pub(super) const OK: Rgb = [98, 158, 132];
pub(super) const TARGET: Rgb = [84, 99, 120];
pub(super) const TARGET_LIGHT: Rgb = [216, 222, 231];
pub(super) const MASK: Rgb = [134, 184, 226];
pub(super) const WHITE: Rgb = [255, 255, 255];
pub(super) const PRINT: Rgb = [86, 224, 255];

/// One panel.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) legend: Vec<Key>,
    pub(super) plot: Canvas,
    axes: [Axis; 2],
    unit: Unit,
    /// Brightest intensity and printing intensity, for a panel that has a colour bar.
    pub(super) colours: Option<[f64; 2]>,
}

/// An entry of a legend.
pub(super) struct Key {
    swatch: Swatch,
    colour: Rgb,
    label: String,
}

/// How a legend shows a colour.
#[derive(Clone, Copy)]
pub(super) enum Swatch {
    Area,
    Dot,
    Line,
    LineOnDark,
}

impl Key {
    pub(super) fn new(swatch: Swatch, colour: Rgb, label: impl Into<String>) -> Self {
        Self { swatch, colour, label: label.into() }
    }
}

impl Panel {
    /// An empty one. `origin_nm` is the layout's coordinate of the rasters' first pixel.
    pub(super) fn new(
        title: &'static str,
        legend: Vec<Key>,
        view: &View,
        origin_nm: [f64; 2],
    ) -> Result<Self, PictureError> {
        let plot = Canvas::new(view.size[0], view.size[1])?;
        let (axes, unit) = (view.axes(origin_nm), view.unit());
        Ok(Self { title, legend, plot, axes, unit, colours: None })
    }

    /// Shades the plot with intensities, and has a colour bar for them.
    pub(super) fn shade(&mut self, intensity: &[f32], level: f64) {
        let finite = intensity.iter().copied().filter(|v| v.is_finite());
        let brightest = f64::from(finite.reduce(f32::max).unwrap_or(0.0));
        let full = if brightest > 1e-6 { brightest } else { 1.0 };
        let colour = |&v: &f32| inferno(f64::from(v) / full);
        let colours: Vec<Rgb> = intensity.par_iter().map(colour).collect();
        self.plot.shade(colours.into_iter());
        self.colours = Some([full, level]);
    }

    /// A bar of a round length, in the corner where it hides least of what is `taken`, px by px.
    pub(super) fn scale_bar(&mut self, view: &View, taken: &[f32]) {
        let nm = round_step(view.side_nm() / 4.0);
        let length = nm / view.scale;
        let width = length as usize + 28;
        let [left, top] = free_corner(view.size, taken, [width, PLATE]).map(|v| v as f32);
        let (right, bottom) = (left + width as f32, top + PLATE as f32);
        self.plot.rectangle([[left, top], [right, bottom]], WHITE, 0.88);
        self.plot.frame([[left, top], [right, bottom]], RULE);
        let (x0, y) = (left + 14.0, bottom - 10.0);
        let x1 = x0 + length as f32;
        self.plot.line(&[[x0, y], [x1, y]], 3.0, INK);
        let style = Style { size: 14.0, colour: INK, bold: false };
        let label = format!("{} {}", nm / self.unit.nm(), self.unit.name());
        self.plot.text([(x0 + x1) / 2.0, y - 7.0], Align::Centre, &style, &label);
    }

    /// Draws the panel, its plot's top left at a place on the page.
    pub(super) fn place(&self, page: &mut Canvas, at: [f32; 2]) {
        let [left, top] = at;
        let [width, height] = self.plot.size().map(|px| px as f32);
        let (right, bottom) = (left + width, top + height);
        page.paste(&self.plot, at);
        let style = Style { size: 19.0, colour: INK, bold: true };
        page.text([left, top - 13.0], Align::Left, &style, self.title);
        legend(page, &self.legend, [right, top - 13.0]);
        let [x, y] = &self.axes;
        x.draw(page, Side::Below, |px| [left + px, bottom]);
        y.draw(page, Side::Left, |px| [left, top + px]);
        let unit = Style { size: 14.0, colour: MUTED, bold: false };
        page.text([left - 10.0, top - 13.0], Align::Right, &unit, self.unit.name());
        page.frame([[left, top], [right, bottom]], INK);
        if let Some(colours) = self.colours {
            colour_bar(page, [right + 14.0, top], height, colours);
        }
    }
}

/// Top left of the corner rectangle with the least in it.
fn free_corner([wide, high]: [usize; 2], taken: &[f32], [width, height]: [usize; 2]) -> [usize; 2] {
    const EDGE: usize = 6;
    let right = wide.saturating_sub(width + EDGE);
    let bottom = high.saturating_sub(height + EDGE);
    let hidden = |[left, top]: [usize; 2]| {
        let row = |y: usize| y * wide + left..y * wide + (left + width).min(wide);
        let pixels = (top..(top + height).min(high)).flat_map(row);
        pixels.filter_map(|i| taken.get(i)).sum::<f32>()
    };
    let corners = [[right, bottom], [EDGE, bottom], [right, EDGE], [EDGE, EDGE]];
    let better = |a: [usize; 2], b: [usize; 2]| if hidden(b) < hidden(a) { b } else { a };
    corners.into_iter().reduce(better).unwrap_or([right, bottom])
}

/// Draws a legend in one line that ends at a place.
fn legend(page: &mut Canvas, keys: &[Key], end: [f32; 2]) {
    const SWATCH: f32 = 22.0;
    let style = Style { size: 15.0, colour: INK, bold: false };
    let [mut x, baseline] = end;
    for key in keys.iter().rev() {
        page.text([x, baseline], Align::Right, &style, &key.label);
        let gap = if matches!(key.swatch, Swatch::Dot) { -1.0 } else { 6.0 };
        x -= page.width(&key.label, &style) + gap + SWATCH;
        swatch(page, key, [[x, baseline - 11.0], [x + SWATCH, baseline + 1.0]]);
        x -= 14.0;
    }
}

fn swatch(page: &mut Canvas, key: &Key, area: [[f32; 2]; 2]) {
    let middle = (area[0][1] + area[1][1]) / 2.0;
    let line = [[area[0][0], middle], [area[1][0], middle]];
    match key.swatch {
        Swatch::Area => page.rectangle(area, key.colour, 1.0),
        Swatch::Dot => page.dot([(area[0][0] + area[1][0]) / 2.0, middle], 5.0, key.colour),
        Swatch::Line => page.line(&line, 2.4, key.colour),
        Swatch::LineOnDark => {
            page.rectangle(area, DARK, 1.0);
            page.line(&line, 2.4, key.colour);
        }
    }
}

/// Draws the colours from 0 to the brightest intensity, with the printing one marked.
fn colour_bar(page: &mut Canvas, at: [f32; 2], height: f32, [full, level]: [f64; 2]) {
    const WIDTH: f32 = 16.0;
    let [left, top] = at;
    let (right, bottom) = (left + WIDTH, top + height);
    for i in 0..height as usize {
        let y = top + i as f32;
        let colour = inferno(1.0 - (i as f64 + 0.5) / f64::from(height));
        page.rectangle([[left, y], [right, y + 1.0]], colour, 1.0);
    }
    if (0.0..=full).contains(&level) {
        let y = bottom - (level / full) as f32 * height;
        page.line(&[[left, y], [right, y]], 2.4, PRINT);
    }
    page.frame([[left, top], [right, bottom]], INK);
    let axis = Axis { low: 0.0, length: full, px: f64::from(height) };
    axis.draw(page, Side::Right, |px| [right, bottom - px]);
    let style = Style { size: 14.0, colour: MUTED, bold: false };
    let middle = (top + bottom) / 2.0;
    page.text_upwards([right + 58.0, middle], Align::Centre, &style, "intensity / clear field");
}
