//! The page: panels of one flow, each a field in colours with axes, a bar of its colours and the bodies.

use lithoburn_layout::{Raster, contour::contours};
use lithoburn_page::PictureError;
use lithoburn_page::axis::{Axis, Side};
use lithoburn_page::canvas::{Align, Canvas, INK, MUTED, Rgb, Style};

use super::colours::{Map, brightness};
use super::fields::{Fields, Window};
use super::streamlines::Tracer;

/// Width of the page's content, in px.
const WIDTH: f64 = 1480.0;
/// Space left of a panel for its axis, and right of it for the bar of colours.
const BESIDE: [f64; 2] = [64.0, 104.0];
/// Space above a panel for its title, and below for its axis.
const AROUND: [f64; 2] = [46.0, 40.0];
/// Height of the headline.
const HEAD: f64 = 96.0;
/// Tallest panel, in px.
const TALLEST: f64 = 640.0;
/// Colour of bodies.
const SOLID: Rgb = [74, 80, 90];
/// Lines on a dark ground.
const LIGHT: Rgb = [255, 255, 255];

/// The page's words.
pub(crate) struct Caption {
    /// Headline.
    pub(crate) title: String,
    /// Numbers under it.
    pub(crate) line: String,
}

/// A field to draw.
struct Panel {
    title: &'static str,
    /// What the bar of colours measures.
    unit: &'static str,
    map: Map,
    values: Vec<f64>,
    range: [f64; 2],
    streamlines: bool,
    isolines: bool,
}

/// Draws the flow in a window as PNG.
pub(crate) fn overview(
    fields: &Fields,
    window: Window,
    caption: &Caption,
) -> Result<Vec<u8>, PictureError> {
    let window = window.within(fields.grid());
    let panels = panels(fields, window);
    let slots = slots(panels.len(), window);
    let foot = slots.iter().map(|slot| slot.corner[1] + slot.size[1] + AROUND[1]);
    let height = foot.fold(HEAD, f64::max) + 12.0;
    let width = slots.iter().map(|s| s.corner[0] + s.size[0] + BESIDE[1]).fold(900.0, f64::max);
    let mut page = Canvas::new(width as usize, height as usize)?;
    headline(&mut page, caption);
    for (panel, slot) in panels.iter().zip(&slots) {
        Drawing { fields, window, panel, slot }.draw(&mut page)?;
    }
    page.png()
}

fn headline(page: &mut Canvas, caption: &Caption) {
    let title = Style { size: 27.0, colour: INK, bold: true };
    page.text([BESIDE[0] as f32, 42.0], Align::Left, &title, &caption.title);
    let line = Style { size: 17.0, colour: MUTED, bold: false };
    page.text([BESIDE[0] as f32, 72.0], Align::Left, &line, &caption.line);
}

/// Where a panel stands on the page.
struct Slot {
    corner: [f64; 2],
    size: [f64; 2],
}

/// One wide panel over the others side by side where the window is wide; two columns else.
fn slots(count: usize, window: Window) -> Vec<Slot> {
    let shape = window.height() / window.width();
    let mut y = HEAD;
    let mut slots = Vec::new();
    let mut row = |columns: usize, slots: &mut Vec<Slot>| {
        let all = WIDTH / columns as f64;
        let mut width = all - BESIDE[0] - BESIDE[1];
        let mut height = width * shape;
        if height > TALLEST {
            (width, height) = (width * TALLEST / height, TALLEST);
        }
        let step = width + BESIDE[0] + BESIDE[1];
        for i in 0..columns {
            let corner = [i as f64 * step + BESIDE[0], y + AROUND[0]].map(f64::round);
            slots.push(Slot { corner, size: [width.round(), height.round()] });
        }
        y += AROUND[0] + height + AROUND[1];
    };
    if count % 2 == 1 && shape < 0.7 {
        row(1, &mut slots);
    }
    if count % 2 == 1 && shape >= 0.7 {
        row(count, &mut slots);
    }
    while slots.len() < count {
        row(2, &mut slots);
    }
    slots
}

fn panels(fields: &Fields, window: Window) -> Vec<Panel> {
    let speed = fields.speed();
    let top = spread(fields, &speed, window, 0.0)[1].max(1e-12);
    let turning = {
        let [low, high] = spread(fields, &fields.vorticity, window, 0.01);
        low.abs().max(high.abs()).max(1e-12)
    };
    let pressures = spread(fields, &fields.pressure, window, 0.002);
    let panel = |title, unit, map, values: Vec<f64>, range| Panel {
        title,
        unit,
        map,
        values,
        range,
        streamlines: false,
        isolines: false,
    };
    let mut all = vec![
        Panel {
            streamlines: true,
            ..panel("Speed and streamlines", "speed", Map::Magnitude, speed, [0.0, top])
        },
        panel(
            "Vorticity",
            "∂v/∂x − ∂u/∂y",
            Map::Turning,
            fields.vorticity.clone(),
            [-turning, turning],
        ),
        Panel {
            isolines: true,
            ..panel("Pressure", "p / ρ", Map::Level, fields.pressure.clone(), centred(pressures))
        },
    ];
    if let Some(temperature) = &fields.temperature {
        let range = spread(fields, temperature, window, 0.0);
        let warmth = panel("Temperature", "temperature", Map::Warmth, temperature.clone(), range);
        all.push(Panel { isolines: true, ..warmth });
    }
    all
}

/// A range about zero if zero is in it.
fn centred([low, high]: [f64; 2]) -> [f64; 2] {
    if low < 0.0 && high > 0.0 {
        let most = high.max(-low);
        return [-most, most];
    }
    [low, high]
}

/// Least and greatest value in the fluid of a window, without a share of outliers at each end.
fn spread(fields: &Fields, values: &[f64], window: Window, share: f64) -> [f64; 2] {
    let grid = fields.grid();
    let fluid = fields.flow.fluid();
    let seen = |c: &usize| {
        let [x, y] = grid.centre(*c);
        let within = |v: f64, [low, high]: [f64; 2]| low <= v && v <= high;
        within(x, window.x) && within(y, window.y) && fluid[*c] > 0.0 && values[*c].is_finite()
    };
    let mut sorted: Vec<f64> = (0..grid.cells()).filter(seen).map(|c| values[c]).collect();
    if sorted.is_empty() {
        return [0.0, 1.0];
    }
    sorted.sort_by(f64::total_cmp);
    let out = (share * sorted.len() as f64) as usize;
    let [low, high] = [sorted[out], sorted[sorted.len() - 1 - out]];
    if high > low { [low, high] } else { [low - 0.5, low + 0.5] }
}

/// A panel on its way to the page.
struct Drawing<'a> {
    fields: &'a Fields<'a>,
    window: Window,
    panel: &'a Panel,
    slot: &'a Slot,
}

impl Drawing<'_> {
    fn draw(&self, page: &mut Canvas) -> Result<(), PictureError> {
        let [width, height] = self.slot.size.map(|v| v as usize);
        let mut plot = Canvas::new(width, height)?;
        let shares = self.shares(width, height);
        let ground: Vec<Rgb> = shares.iter().map(|&v| self.panel.map.colour(v)).collect();
        plot.shade(ground.iter().copied());
        if self.panel.isolines {
            self.isolines(&mut plot, &shares, width);
        }
        if self.panel.streamlines {
            self.streamlines(&mut plot, &ground, width);
        }
        self.bodies(&mut plot, width, height);
        let at = self.slot.corner.map(|v| v as f32);
        page.paste(&plot, at);
        self.frame(page, at);
        Ok(())
    }

    /// From px of the plot to the flow.
    fn place(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [width, height] = self.slot.size;
        let Window { x: xs, y: ys } = self.window;
        [xs[0] + x / width * (xs[1] - xs[0]), ys[1] - y / height * (ys[1] - ys[0])]
    }

    /// From the flow to px of the plot.
    fn px(&self, [x, y]: [f64; 2]) -> [f32; 2] {
        let Window { x: xs, y: ys } = self.window;
        let share = [(x - xs[0]) / (xs[1] - xs[0]), (ys[1] - y) / (ys[1] - ys[0])];
        [0, 1].map(|i| (share[i] * self.slot.size[i]) as f32)
    }

    /// Each pixel's share of the range.
    fn shares(&self, width: usize, height: usize) -> Vec<f64> {
        let [low, high] = self.panel.range;
        let pixels = (0..height).flat_map(|j| (0..width).map(move |i| [i, j]));
        let value = |at: [usize; 2]| {
            let place = self.place(at.map(|v| v as f64 + 0.5));
            (self.fields.at(&self.panel.values, place) - low) / (high - low)
        };
        pixels.map(value).collect()
    }

    fn isolines(&self, plot: &mut Canvas, shares: &[f64], width: usize) {
        const LINES: usize = 16;
        let mut raster = Raster::new(width, shares.len() / width, 1.0);
        raster.data.iter_mut().zip(shares).for_each(|(to, v)| *to = *v as f32);
        for k in 1..LINES {
            let level = k as f64 / LINES as f64;
            let dark = brightness(self.panel.map.colour(level)) < 0.4;
            for line in contours(&raster, level) {
                let line: Vec<[f32; 2]> = line.iter().map(|p| p.map(|v| v as f32)).collect();
                plot.faint_line(&line, 1.0, if dark { LIGHT } else { INK }, 0.45);
            }
        }
    }

    fn streamlines(&self, plot: &mut Canvas, ground: &[Rgb], width: usize) {
        /// Points of a line that have one colour.
        const PART: usize = 12;
        let still = 1e-4 * self.panel.range[1];
        let direction = |p: [f64; 2]| {
            let place = self.place(p);
            let [u, v] = self.fields.velocity_at(place);
            let speed = u.hypot(v);
            let scale =
                [self.slot.size[0] / self.window.width(), self.slot.size[1] / self.window.height()];
            let solid = self.fields.distance(place) < 0.0 || self.fields.density(place) < 0.3;
            let (dx, dy) = (u * scale[0], -v * scale[1]);
            let length = dx.hypot(dy);
            (speed > still && !solid).then(|| [dx / length, dy / length])
        };
        let apart = (self.slot.size[1] / 26.0).clamp(11.0, 22.0);
        let lines = Tracer { size: self.slot.size, apart, direction: &direction }.lines();
        let colour = |p: [f64; 2]| {
            let index = (p[1] as usize * width + p[0] as usize).min(ground.len() - 1);
            if brightness(ground[index]) < 0.5 { LIGHT } else { INK }
        };
        for (index, line) in lines.iter().enumerate() {
            for from in (0..line.len()).step_by(PART) {
                // One point more, so that parts join.
                let part = &line[from..(from + PART + 1).min(line.len())];
                let points: Vec<[f32; 2]> = part.iter().map(|p| p.map(|v| v as f32)).collect();
                plot.faint_line(&points, 1.3, colour(part[part.len() / 2]), 0.8);
            }
            // Heads of neighbours at different places, so that they form no column.
            let share = 0.25 + 0.5 * (0.618 * index as f64).fract();
            arrow(plot, line, share, &colour);
        }
    }

    /// Fills bodies and dense parts of a design, and draws the bodies' outlines.
    fn bodies(&self, plot: &mut Canvas, width: usize, height: usize) {
        let unit = self.window.width() / self.slot.size[0];
        let pixels = (0..height).flat_map(|j| (0..width).map(move |i| [i, j]));
        let cover = |at: [usize; 2]| {
            let place = self.place(at.map(|v| v as f64 + 0.5));
            let body = (0.5 - self.fields.distance(place) / unit).clamp(0.0, 1.0);
            body.max(1.0 - self.fields.density(place)) as f32
        };
        let shares: Vec<f32> = pixels.map(cover).collect();
        plot.tint(&shares, SOLID);
        for line in self.fields.outlines() {
            let mut points: Vec<[f32; 2]> = line.iter().map(|&p| self.px(p)).collect();
            points.extend(points.first().copied());
            plot.line(&points, 1.6, INK);
        }
    }

    fn frame(&self, page: &mut Canvas, [left, top]: [f32; 2]) {
        let [width, height] = self.slot.size.map(|v| v as f32);
        let (right, bottom) = (left + width, top + height);
        let title = Style { size: 19.0, colour: INK, bold: true };
        page.text([left, top - 13.0], Align::Left, &title, self.panel.title);
        let Window { x, y } = self.window;
        let axis =
            |[low, high]: [f64; 2], px: f32| Axis { low, length: high - low, px: f64::from(px) };
        axis(x, width).draw(page, Side::Below, |px| [left + px, bottom]);
        axis(y, height).draw(page, Side::Left, |px| [left, bottom - px]);
        page.frame([[left, top], [right, bottom]], INK);
        self.bar(page, [right + 16.0, top], height);
    }

    /// The bar of colours.
    fn bar(&self, page: &mut Canvas, [left, top]: [f32; 2], height: f32) {
        const THICK: f32 = 14.0;
        let (right, bottom) = (left + THICK, top + height);
        for i in 0..height as usize {
            let y = top + i as f32;
            let colour = self.panel.map.colour(1.0 - (i as f64 + 0.5) / f64::from(height));
            page.rectangle([[left, y], [right, y + 1.0]], colour, 1.0);
        }
        page.frame([[left, top], [right, bottom]], INK);
        let [low, high] = self.panel.range;
        let axis = Axis { low, length: high - low, px: f64::from(height) };
        axis.draw(page, Side::Right, |px| [right, bottom - px]);
        let unit = Style { size: 14.0, colour: MUTED, bold: false };
        page.text([right, top - 13.0], Align::Right, &unit, self.panel.unit);
    }
}

/// A head at a share of a line that is long enough to carry it.
fn arrow(plot: &mut Canvas, line: &[[f64; 2]], share: f64, colour: &dyn Fn([f64; 2]) -> Rgb) {
    const LENGTH: f64 = 8.0;
    if line.len() < 60 {
        return;
    }
    let middle = (share * line.len() as f64) as usize;
    let (tip, from) = (line[middle + 2], line[middle - 2]);
    let [dx, dy] = [0, 1].map(|i| tip[i] - from[i]);
    let norm = dx.hypot(dy).max(1e-9);
    let (dx, dy) = (dx / norm * LENGTH, dy / norm * LENGTH);
    let wing = |side: f64| [tip[0] - dx - side * 0.45 * dy, tip[1] - dy + side * 0.45 * dx];
    let head = [wing(1.0), tip, wing(-1.0)].map(|p| p.map(|v| v as f32));
    plot.faint_line(&head, 1.6, colour(tip), 0.95);
}
