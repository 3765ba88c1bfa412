//! The six panels: each a square plot of the same window, with its axes and a legend.

use lithoburn_layout::Raster;
use lithoburn_layout::contour::contours;

use super::canvas::{
    Align, Axis, Canvas, DARK, INK, MUTED, RULE, Rgb, Side, Style, inferno, round_step,
};
use super::{Scene, SiteMark};

/// Side of a panel, in px.
pub(super) const SIDE: usize = 500;
/// Free space around the shapes, in nm.
const MARGIN_NM: f64 = 60.0;
/// Least side of the window, in nm.
const LEAST_NM: f64 = 300.0;
/// Samples per px, in x and in y, of what has sharp edges.
const SHARP: usize = 3;
/// The same, of what is smooth.
const SMOOTH: usize = 2;
/// Height of the scale bar's plate, in px.
const PLATE: usize = 36;

// Okabe and Ito's colours, which colour-blind readers can tell apart, and tints for areas.
const VERMILLION: Rgb = [213, 94, 0];
const BLUE: Rgb = [0, 114, 178];
const PURPLE: Rgb = [204, 121, 167];
const OK: Rgb = [98, 158, 132];
const TARGET: Rgb = [84, 99, 120];
const TARGET_LIGHT: Rgb = [216, 222, 231];
const MASK: Rgb = [134, 184, 226];
const WHITE: Rgb = [255, 255, 255];
const PRINT: Rgb = [86, 224, 255];

/// Lines in px of a panel.
type Lines = Vec<Vec<[f32; 2]>>;

/// One panel.
pub(super) struct Panel {
    title: &'static str,
    legend: Vec<Key>,
    plot: Canvas,
    axes: [Axis; 2],
    /// Brightest intensity and printing intensity, for the panel that has a colour bar.
    colours: Option<[f64; 2]>,
}

/// An entry of a legend.
struct Key {
    swatch: Swatch,
    colour: Rgb,
    label: String,
}

/// How a legend shows a colour.
#[derive(Clone, Copy)]
enum Swatch {
    Area,
    Dot,
    Line,
    LineOnDark,
}

impl Key {
    fn new(swatch: Swatch, colour: Rgb, label: impl Into<String>) -> Self {
        Self { swatch, colour, label: label.into() }
    }
}

/// The window that the panels show, in nm from the corner of the field's first pixel.
struct View {
    min: [f64; 2],
    side: f64,
}

impl View {
    /// A square around target and mask, within the field.
    fn around(target: &Raster, mask: &Raster) -> Self {
        let field = (target.width as f64 * target.pixel_nm).max(1.0);
        let boxes = [target, mask].into_iter().filter_map(bounds);
        let join = |a: [f64; 4], b: [f64; 4]| std::array::from_fn(|i| a[i].min(b[i]));
        // A box is its least x and y, and its greatest with the sign changed.
        let [x0, y0, x1, y1] = boxes.reduce(join).unwrap_or([0.0, 0.0, -field, -field]);
        let (width, height) = (-x1 - x0, -y1 - y0);
        let side = (width.max(height) + 2.0 * MARGIN_NM).max(LEAST_NM).min(field);
        let min = |low: f64, size: f64| (low + (size - side) / 2.0).min(field - side).max(0.0);
        Self { min: [min(x0, width), min(y0, height)], side }
    }

    /// Side of a px, in nm.
    fn scale(&self) -> f64 {
        self.side / SIDE as f64
    }

    fn to_px(&self, nm: [f64; 2]) -> [f32; 2] {
        [0, 1].map(|i| ((nm[i] - self.min[i]) / self.scale()) as f32)
    }

    /// Mean of a function of a place in nm over each px, row after row.
    fn sampled(&self, samples: usize, value: impl Fn([f64; 2]) -> f64) -> Vec<f32> {
        let step = self.scale() / samples as f64;
        let at = |i: usize, axis: usize| self.min[axis] + (i as f64 + 0.5) * step;
        let mean = |x: usize, y: usize| {
            let columns = x * samples..(x + 1) * samples;
            let rows = y * samples..(y + 1) * samples;
            let row = |j: usize| columns.clone().map(|i| value([at(i, 0), at(j, 1)])).sum::<f64>();
            (rows.map(row).sum::<f64>() / (samples * samples) as f64) as f32
        };
        (0..SIDE * SIDE).map(|i| mean(i % SIDE, i / SIDE)).collect()
    }

    /// Iso-lines of the part of a raster that the window shows.
    fn contours(&self, raster: &Raster, level: f64) -> Lines {
        let pixel = raster.pixel_nm;
        let sizes = [raster.width, raster.height];
        // One pixel more on each side, so that lines reach the frame.
        let first =
            [0, 1].map(|i| ((self.min[i] / pixel) as usize).saturating_sub(1).min(sizes[i]));
        let count = ((self.side / pixel).ceil() as usize).saturating_add(4);
        let [width, height] = [0, 1].map(|i| count.min(sizes[i] - first[i]));
        let part = raster.crop(first.map(|v| v as isize), width, height);
        let nm = |p: &[f64; 2]| [0, 1].map(|i| (p[i] + first[i] as f64) * pixel);
        let line = |line: &Vec<[f64; 2]>| line.iter().map(|p| self.to_px(nm(p))).collect();
        contours(&part, level).iter().map(line).collect()
    }

    fn axes(&self, origin_nm: [f64; 2]) -> [Axis; 2] {
        let low = |i: usize| origin_nm[i] + self.min[i];
        [0, 1].map(|i| Axis { low: low(i), length: self.side, px: SIDE as f64 })
    }
}

/// The box of the pixels that are at least half covered: least x and y, and minus the greatest.
fn bounds(raster: &Raster) -> Option<[f64; 4]> {
    let rows = raster.data.chunks_exact(raster.width.max(1)).enumerate();
    let spans = rows.filter_map(|(y, row)| {
        let first = row.iter().position(|&v| v >= 0.5)? as f64;
        let last = row.iter().rposition(|&v| v >= 0.5)? as f64;
        Some([first, y as f64, -last - 1.0, -(y as f64) - 1.0])
    });
    let joined = spans.reduce(|a, b| std::array::from_fn(|i| a[i].min(b[i])))?;
    Some(joined.map(|v| v * raster.pixel_nm))
}

/// Value of the pixel at a place in nm; 0 outside the raster.
fn nearest(raster: &Raster, nm: [f64; 2]) -> f64 {
    let [x, y] = nm.map(|v| (v / raster.pixel_nm) as usize);
    if x < raster.width && y < raster.height { value(raster, x, y) } else { 0.0 }
}

/// Value at a place in nm, interpolated between the centres of four pixels.
fn bilinear(raster: &Raster, nm: [f64; 2]) -> f64 {
    let last = [raster.width, raster.height].map(|n| n.saturating_sub(1));
    let at: [f64; 2] =
        std::array::from_fn(|i| (nm[i] / raster.pixel_nm - 0.5).max(0.0).min(last[i] as f64));
    let [x, y] = at.map(|v| v as usize);
    let [u, v] = at.map(f64::fract);
    let (right, below) = ((x + 1).min(last[0]), (y + 1).min(last[1]));
    let row = |y: usize| value(raster, x, y) * (1.0 - u) + value(raster, right, y) * u;
    row(y) * (1.0 - v) + row(below) * v
}

/// Value of a pixel; 0 where the raster has no data.
fn value(raster: &Raster, x: usize, y: usize) -> f64 {
    raster.data.get(y * raster.width + x).map_or(0.0, |&v| f64::from(v))
}

/// What several panels share.
struct Drawing<'a> {
    scene: &'a Scene<'a>,
    view: View,
    target: Vec<f32>,
    mask: Vec<f32>,
    outline: Lines,
    nominal: Lines,
    outer: Lines,
    inner: Lines,
}

/// Draws the panels.
pub(super) fn all(scene: &Scene) -> Vec<Panel> {
    let view = View::around(scene.target, scene.mask);
    let share = |raster| view.sampled(SHARP, move |nm| nearest(raster, nm).clamp(0.0, 1.0));
    let [nominal, outer, inner] = scene.levels;
    let drawing = Drawing {
        scene,
        target: share(scene.target),
        mask: share(scene.mask),
        outline: view.contours(scene.target, 0.5),
        nominal: view.contours(scene.aerial, nominal),
        outer: view.contours(scene.aerial, outer),
        inner: view.contours(scene.defocus, inner),
        view,
    };
    drawing.panels().into_iter().flatten().collect()
}

impl Drawing<'_> {
    fn panels(&self) -> [Option<Panel>; 6] {
        let panels = [
            self.target(),
            self.mask(),
            self.aerial(),
            self.corners(),
            self.variation(),
            self.sites(),
        ];
        panels.map(|panel| {
            let mut panel = panel?;
            self.scale_bar(&mut panel.plot);
            Some(panel)
        })
    }

    fn panel(&self, title: &'static str, legend: Vec<Key>) -> Option<Panel> {
        let plot = Canvas::new(SIDE, SIDE)?;
        let axes = self.view.axes(self.scene.origin_nm);
        Some(Panel { title, legend, plot, axes, colours: None })
    }

    fn target(&self) -> Option<Panel> {
        let mut panel = self.panel("Target", vec![Key::new(Swatch::Area, TARGET, "target")])?;
        panel.plot.tint(&self.target, TARGET);
        Some(panel)
    }

    fn mask(&self) -> Option<Panel> {
        let mut legend =
            vec![Key::new(Swatch::Area, MASK, "mask"), Key::new(Swatch::Line, INK, "target")];
        let broken = self.scene.violations;
        if !broken.is_empty() {
            let label = format!("{} rule violations", broken.len());
            legend.push(Key::new(Swatch::Line, VERMILLION, label));
        }
        let mut panel = self.panel("Mask", legend)?;
        panel.plot.tint(&self.mask, MASK);
        panel.plot.lines(&self.outline, 1.2, INK);
        let frames: Lines = broken.iter().map(|place| self.frame(*place)).collect();
        panel.plot.lines(&frames, 2.0, VERMILLION);
        Some(panel)
    }

    /// A line around a place, with some space so that small places are seen.
    fn frame(&self, [x0, y0, x1, y1]: [f64; 4]) -> Vec<[f32; 2]> {
        let room = 5.0 * self.view.scale();
        let (x0, y0, x1, y1) = (x0 - room, y0 - room, x1 + room, y1 + room);
        [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]].map(|p| self.view.to_px(p)).to_vec()
    }

    fn aerial(&self) -> Option<Panel> {
        let level = self.scene.levels[0];
        let legend = vec![
            Key::new(Swatch::LineOnDark, WHITE, "target"),
            Key::new(Swatch::LineOnDark, PRINT, format!("prints at {level:.3}")),
        ];
        let mut panel = self.panel("Aerial image in focus", legend)?;
        let intensity = self.view.sampled(SMOOTH, |nm| bilinear(self.scene.aerial, nm));
        let brightest = f64::from(intensity.iter().copied().fold(0.0, f32::max));
        let full = if brightest > 1e-6 && brightest.is_finite() { brightest } else { 1.0 };
        panel.plot.shade(intensity.iter().map(|&v| inferno(f64::from(v) / full)));
        panel.plot.lines(&self.outline, 1.0, WHITE);
        panel.plot.lines(&self.nominal, 1.6, PRINT);
        panel.colours = Some([full, level]);
        Some(panel)
    }

    fn corners(&self) -> Option<Panel> {
        let legend = vec![
            Key::new(Swatch::Area, TARGET_LIGHT, "target"),
            Key::new(Swatch::Line, BLUE, "inner"),
            Key::new(Swatch::Line, INK, "nominal"),
            Key::new(Swatch::Line, VERMILLION, "outer"),
        ];
        let mut panel = self.panel("Printed contours", legend)?;
        panel.plot.tint(&self.target, TARGET_LIGHT);
        panel.plot.lines(&self.outer, 1.4, VERMILLION);
        panel.plot.lines(&self.inner, 1.4, BLUE);
        panel.plot.lines(&self.nominal, 1.4, INK);
        Some(panel)
    }

    fn variation(&self) -> Option<Panel> {
        let legend = vec![
            Key::new(Swatch::Area, PURPLE, "printed at one corner only"),
            Key::new(Swatch::Line, INK, "target"),
        ];
        let mut panel = self.panel("PV band", legend)?;
        let [_, outer, inner] = self.scene.levels;
        let band = self.view.sampled(SHARP, |nm| {
            let prints = bilinear(self.scene.aerial, nm) >= outer;
            f64::from(prints != (bilinear(self.scene.defocus, nm) >= inner))
        });
        panel.plot.tint(&band, PURPLE);
        panel.plot.lines(&self.outline, 1.2, INK);
        Some(panel)
    }

    fn sites(&self) -> Option<Panel> {
        let count = |test: fn(&&SiteMark) -> bool| self.scene.sites.iter().filter(test).count();
        let ok = count(|site| !site.inside_missing && !site.outside_printed);
        let (missing, printed) = (count(|s| s.inside_missing), count(|s| s.outside_printed));
        let legend = vec![
            Key::new(Swatch::Dot, OK, format!("{ok} ok")),
            Key::new(Swatch::Dot, VERMILLION, format!("{missing} inside missing")),
            Key::new(Swatch::Dot, BLUE, format!("{printed} outside printed")),
        ];
        let mut panel = self.panel("EPE sites", legend)?;
        panel.plot.tint(&self.target, TARGET_LIGHT);
        panel.plot.lines(&self.nominal, 1.2, INK);
        let violates = |site: &SiteMark| site.inside_missing || site.outside_printed;
        // Violations last, so that none is hidden.
        let (bad, good): (Vec<&SiteMark>, Vec<_>) =
            self.scene.sites.iter().partition(|s| violates(s));
        good.into_iter().chain(bad).for_each(|site| self.site(&mut panel.plot, site));
        Some(panel)
    }

    /// A dot in the violation's colour; in both colours for both violations.
    fn site(&self, plot: &mut Canvas, site: &SiteMark) {
        let at = self.view.to_px(site.at_nm);
        match (site.inside_missing, site.outside_printed) {
            (false, false) => plot.dot(at, 2.6, OK),
            (inside, outside) => {
                plot.dot(at, 6.2, WHITE);
                plot.dot(at, 5.2, if outside { BLUE } else { VERMILLION });
                if inside && outside {
                    plot.dot(at, 2.8, VERMILLION);
                }
            }
        }
    }

    /// A bar of a round length, in the corner where it hides least.
    fn scale_bar(&self, plot: &mut Canvas) {
        let nm = round_step(self.view.side / 4.0);
        let length = nm / self.view.scale();
        let width = length as usize + 28;
        let [left, top] = self.free_corner(width, PLATE).map(|v| v as f32);
        let (right, bottom) = (left + width as f32, top + PLATE as f32);
        plot.rectangle([[left, top], [right, bottom]], WHITE, 0.88);
        plot.frame([[left, top], [right, bottom]], RULE);
        let (x0, y) = (left + 14.0, bottom - 10.0);
        let x1 = x0 + length as f32;
        plot.line(&[[x0, y], [x1, y]], 3.0, INK);
        let style = Style { size: 14.0, colour: INK, bold: false };
        plot.text([(x0 + x1) / 2.0, y - 7.0], Align::Centre, &style, &format!("{nm} nm"));
    }

    /// Top left of the corner rectangle with the least target and mask in it.
    fn free_corner(&self, width: usize, height: usize) -> [usize; 2] {
        const EDGE: usize = 6;
        let (right, bottom) = (SIDE.saturating_sub(width + EDGE), SIDE - height - EDGE);
        let hidden = |[left, top]: [usize; 2]| {
            let row = |y: usize| y * SIDE + left..y * SIDE + (left + width).min(SIDE);
            let pixels = (top..top + height).flat_map(row);
            pixels.map(|i| self.target[i] + self.mask[i]).sum::<f32>()
        };
        let corners = [[right, bottom], [EDGE, bottom], [right, EDGE], [EDGE, EDGE]];
        let better = |a: [usize; 2], b: [usize; 2]| if hidden(b) < hidden(a) { b } else { a };
        corners.into_iter().reduce(better).unwrap_or([right, bottom])
    }
}

impl Panel {
    /// Draws the panel, its plot's top left at a place on the page.
    pub(super) fn place(&self, page: &mut Canvas, at: [f32; 2]) {
        let [left, top] = at;
        let (right, bottom) = (left + SIDE as f32, top + SIDE as f32);
        page.paste(&self.plot, at);
        let style = Style { size: 19.0, colour: INK, bold: true };
        page.text([left, top - 13.0], Align::Left, &style, self.title);
        legend(page, &self.legend, [right, top - 13.0]);
        let [x, y] = &self.axes;
        x.draw(page, Side::Below, |px| [left + px, bottom]);
        y.draw(page, Side::Left, |px| [left, top + px]);
        let unit = Style { size: 14.0, colour: MUTED, bold: false };
        page.text([left - 10.0, top - 13.0], Align::Right, &unit, "nm");
        page.frame([[left, top], [right, bottom]], INK);
        if let Some([full, level]) = self.colours {
            colour_bar(page, [right + 14.0, top], full, level);
        }
    }
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
fn colour_bar(page: &mut Canvas, at: [f32; 2], full: f64, level: f64) {
    const WIDTH: f32 = 16.0;
    let [left, top] = at;
    let (right, bottom) = (left + WIDTH, top + SIDE as f32);
    for i in 0..SIDE {
        let y = top + i as f32;
        let colour = inferno(1.0 - (i as f64 + 0.5) / SIDE as f64);
        page.rectangle([[left, y], [right, y + 1.0]], colour, 1.0);
    }
    if (0.0..=full).contains(&level) {
        let y = bottom - (level / full) as f32 * SIDE as f32;
        page.line(&[[left, y], [right, y]], 2.4, PRINT);
    }
    page.frame([[left, top], [right, bottom]], INK);
    let axis = Axis { low: 0.0, length: full, px: SIDE as f64 };
    axis.draw(page, Side::Right, |px| [right, bottom - px]);
    let style = Style { size: 14.0, colour: MUTED, bold: false };
    let middle = (top + bottom) / 2.0;
    page.text_upwards([right + 50.0, middle], Align::Centre, &style, "intensity / clear field");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_a_square_around_the_shapes_within_the_field() {
        let blank = Raster::new(256, 256, 4.0);
        let window = |x: usize, width: usize| {
            let mut mask = blank.clone();
            mask.data[100 * 256 + x..][..width].fill(1.0);
            let View { min, side } = View::around(&blank, &mask);
            (min, side)
        };
        assert_eq!(window(50, 100), ([140.0, 142.0], 520.0)); // 400 nm and twice the margin
        assert_eq!(window(50, 1), ([52.0, 252.0], 300.0)); // the least side
        assert_eq!(window(0, 1), ([0.0, 252.0], 300.0)); // moved into the field
        assert_eq!(window(0, 0), ([0.0; 2], 1024.0)); // no shape: the field
    }
}
