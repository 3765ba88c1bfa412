//! Panels: curves with intervals and stacks of bars over axes that may be logarithmic, to be read from the back of a room.

mod span;

use super::canvas::{Align, Canvas, INK, MUTED, RULE, Rgb, Style};
use crate::PictureError;
use span::{Span, number};

/// Size of a panel, in px.
const SIZE: [f32; 2] = [880.0, 640.0];
/// Space around the plotted area: left, top, right, bottom. Curves' names stand at the right.
const SPACE: [f32; 4] = [104.0, 104.0, 150.0, 84.0];
/// Sizes of text, in px.
const TITLE: f32 = 25.0;
const TEXT: f32 = 17.0;
/// Height of a curve's name, in px.
const LINE: f32 = 20.0;

/// Colours that colour-blind readers can tell apart (Okabe and Ito), for curves of different kinds.
pub const KINDS: [Rgb; 6] =
    [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [230, 159, 0], [86, 180, 233]];
/// From light to dark, for curves of one kind that follow each other.
pub const STEPS: [Rgb; 5] =
    [[132, 188, 219], [84, 158, 205], [39, 119, 184], [10, 82, 156], [8, 40, 92]];
/// What is there for comparison.
pub const GREY: Rgb = [140, 147, 158];

/// How values become lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly, from zero.
    Linear,
    /// Equal ratios are equal lengths; values that are not positive are left out.
    Log,
}

/// An axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What it is, with its unit.
    pub label: String,
    /// How values become lengths.
    pub scale: Scale,
    /// Values that have a tick; round ones without them.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// An axis with ticks at round values.
    pub fn new(label: impl Into<String>, scale: Scale) -> Self {
        Self { label: label.into(), scale, ticks: Vec::new() }
    }

    /// The same with ticks at these values.
    #[must_use]
    pub fn at(self, ticks: impl IntoIterator<Item = f64>) -> Self {
        Self { ticks: ticks.into_iter().collect(), ..self }
    }
}

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stroke {
    /// A line with dots.
    Line,
    /// A broken line without dots: what is computed or for comparison.
    Broken,
    /// Dots alone.
    Dots,
}

/// Points that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Its name, which stands at its end.
    pub name: String,
    /// Points, x then y; one that is not finite breaks the line.
    pub points: Vec<[f64; 2]>,
    /// An interval in y for each point, or none.
    pub intervals: Vec<Option<[f64; 2]>>,
    /// Colour.
    pub colour: Rgb,
    /// How it is drawn.
    pub stroke: Stroke,
}

/// Parts that stand on each other at a place on the x axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Stack {
    /// What stands below it.
    pub name: String,
    /// Heights, from below.
    pub parts: Vec<f64>,
}

/// What is plotted.
#[derive(Clone, Debug, PartialEq)]
pub enum Plot {
    /// Curves, and places on the x axis with words.
    Curves(Vec<Curve>, Vec<(f64, String)>),
    /// Stacks side by side, and the names and colours of their parts.
    Stacks(Vec<Stack>, Vec<(String, Rgb)>),
}

/// A panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Headline: what is seen.
    pub title: String,
    /// What was measured.
    pub subtitle: String,
    /// The x axis.
    pub x: Axis,
    /// The y axis.
    pub y: Axis,
    /// What is plotted.
    pub plot: Plot,
}

/// Encodes panels as PNG, so many side by side.
///
/// # Errors
///
/// [`PictureError`] if there are none, or more than memory holds.
pub fn draw(panels: &[Panel], columns: usize) -> Result<Vec<u8>, PictureError> {
    let columns = columns.clamp(1, panels.len().max(1));
    let rows = panels.len().div_ceil(columns);
    let [width, height] = SIZE.map(|side| side as usize);
    let mut page = Canvas::new(width * columns, height * rows)?;
    for (index, panel) in panels.iter().enumerate() {
        let corner = [index % columns * width, index / columns * height].map(|px| px as f32);
        Area::of(panel, corner).draw(&mut page, panel);
    }
    page.png()
}

/// Where a panel's values are on the page.
struct Area {
    corner: [f32; 2],
    origin: [f32; 2],
    x: Span,
    y: Span,
}

fn style(size: f32, colour: Rgb) -> Style {
    Style { size, colour, bold: false }
}

impl Area {
    fn of(panel: &Panel, corner: [f32; 2]) -> Self {
        let px = [SIZE[0] - SPACE[0] - SPACE[2], SIZE[1] - SPACE[1] - SPACE[3]];
        let origin = [corner[0] + SPACE[0], corner[1] + SPACE[1] + px[1]];
        let (x, y) = match &panel.plot {
            Plot::Curves(curves, marks) => {
                let points = || curves.iter().flat_map(|curve| &curve.points);
                let ends = curves.iter().flat_map(|c| c.intervals.iter().flatten().flatten());
                let xs = points().map(|p| p[0]).chain(marks.iter().map(|mark| mark.0));
                let ys = points().map(|p| p[1]).chain(ends.copied());
                let x = Span::around(panel.x.scale, xs.chain(panel.x.ticks.clone()), px[0]);
                (x, Span::around(panel.y.scale, ys, px[1]))
            }
            Plot::Stacks(stacks, _) => {
                let sums = stacks.iter().map(|stack| stack.parts.iter().sum());
                let x = Span {
                    scale: Scale::Linear,
                    low: -0.5,
                    high: stacks.len().max(1) as f64 - 0.5,
                    px: px[0],
                };
                (x, Span::around(Scale::Linear, sums, px[1]))
            }
        };
        Self { corner, origin, x, y }
    }

    /// Place of a point on the page.
    fn at(&self, [x, y]: [f64; 2]) -> Option<[f32; 2]> {
        Some([self.origin[0] + self.x.place(x)?, self.origin[1] - self.y.place(y)?])
    }

    fn draw(&self, page: &mut Canvas, panel: &Panel) {
        let [left, top] = self.corner;
        let title = Style { size: TITLE, colour: INK, bold: true };
        page.text([left + 24.0, top + 42.0], Align::Left, &title, &panel.title);
        let below = [left + 24.0, top + 70.0];
        page.text(below, Align::Left, &style(TEXT, MUTED), &panel.subtitle);
        self.draw_y(page, &panel.y);
        match &panel.plot {
            Plot::Curves(curves, marks) => {
                self.draw_x(page, &panel.x);
                marks.iter().for_each(|mark| self.mark(page, mark));
                curves.iter().for_each(|curve| self.curve(page, curve));
                self.names(page, curves);
            }
            Plot::Stacks(stacks, parts) => {
                self.label_x(page, &panel.x);
                self.stacks(page, stacks, parts);
            }
        }
    }

    /// Faint lines across the panel at the y axis' ticks.
    fn draw_y(&self, page: &mut Canvas, axis: &Axis) {
        let right = self.origin[0] + self.x.px;
        let ticks = if axis.ticks.is_empty() { self.y.round() } else { axis.ticks.clone() };
        let step = ticks.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
        for value in ticks {
            let Some(px) = self.y.place(value).filter(|px| (0.0..=self.y.px).contains(px)) else {
                continue;
            };
            let y = self.origin[1] - px;
            page.line(&[[self.origin[0], y], [right, y]], 1.0, RULE);
            let text = number(value, self.y.scale, step);
            page.text([self.origin[0] - 10.0, y + 6.0], Align::Right, &style(TEXT, MUTED), &text);
        }
        let middle = [self.corner[0] + 30.0, self.origin[1] - self.y.px / 2.0];
        page.text_upwards(middle, Align::Centre, &style(TEXT, INK), &axis.label);
    }

    fn draw_x(&self, page: &mut Canvas, axis: &Axis) {
        let [left, base] = self.origin;
        page.line(&[[left, base], [left + self.x.px, base]], 1.5, INK);
        let ticks = if axis.ticks.is_empty() { self.x.round() } else { axis.ticks.clone() };
        let step = ticks.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
        let mut free = f32::NEG_INFINITY;
        for value in ticks {
            let Some(px) = self.x.place(value).filter(|px| (0.0..=self.x.px).contains(px)) else {
                continue;
            };
            page.line(&[[left + px, base], [left + px, base + 6.0]], 1.5, INK);
            let text = number(value, self.x.scale, step);
            let half = page.width(&text, &style(TEXT, INK)) / 2.0;
            // A label that would touch its neighbour is left out; its tick stays.
            if px - half > free {
                page.text([left + px, base + 26.0], Align::Centre, &style(TEXT, INK), &text);
                free = px + half + 6.0;
            }
        }
        self.label_x(page, axis);
    }

    fn label_x(&self, page: &mut Canvas, axis: &Axis) {
        let middle = [self.origin[0] + self.x.px / 2.0, self.origin[1] + 58.0];
        page.text(middle, Align::Centre, &style(TEXT, INK), &axis.label);
    }

    /// An upright line with words.
    fn mark(&self, page: &mut Canvas, (x, text): &(f64, String)) {
        let Some(px) = self.x.place(*x) else { return };
        let (x, top) = (self.origin[0] + px, self.origin[1] - self.y.px);
        broken(page, &[[x, self.origin[1]], [x, top]], GREY);
        let (side, by) =
            if px < self.x.px / 2.0 { (Align::Left, 7.0) } else { (Align::Right, -7.0) };
        page.text([x + by, top + 14.0], side, &style(TEXT - 1.0, MUTED), text);
    }

    fn curve(&self, page: &mut Canvas, curve: &Curve) {
        let places: Vec<Option<[f32; 2]>> = curve.points.iter().map(|p| self.at(*p)).collect();
        for part in places.split(Option::is_none) {
            let line: Vec<[f32; 2]> = part.iter().flatten().copied().collect();
            match curve.stroke {
                Stroke::Line => page.line(&line, 3.0, curve.colour),
                Stroke::Broken => broken(page, &line, curve.colour),
                Stroke::Dots => {}
            }
        }
        for (point, interval) in curve.points.iter().zip(&curve.intervals) {
            let Some([low, high]) = interval else { continue };
            if let (Some(a), Some(b)) = (self.at([point[0], *low]), self.at([point[0], *high])) {
                whisker(page, a, b, curve.colour);
            }
        }
        if curve.stroke != Stroke::Broken {
            places.iter().flatten().for_each(|&place| page.dot(place, 5.0, curve.colour));
        }
    }

    /// The curves' names at their ends, moved apart where they would cover each other.
    fn names(&self, page: &mut Canvas, curves: &[Curve]) {
        let end = |curve: &Curve| curve.points.iter().rev().find_map(|p| self.at(*p));
        let mut ends: Vec<([f32; 2], &Curve)> =
            curves.iter().filter_map(|curve| Some((end(curve)?, curve))).collect();
        ends.sort_by(|a, b| a.0[1].total_cmp(&b.0[1]));
        let mut heights: Vec<f32> = ends.iter().map(|(place, _)| place[1]).collect();
        apart(&mut heights, self.origin[1]);
        let right = self.origin[0] + self.x.px + 14.0;
        for ((_, curve), y) in ends.iter().zip(heights) {
            let bold = Style { size: TEXT, colour: curve.colour, bold: true };
            page.text([right, y + 6.0], Align::Left, &bold, &curve.name);
        }
    }

    fn stacks(&self, page: &mut Canvas, stacks: &[Stack], parts: &[(String, Rgb)]) {
        let wide = self.x.px / stacks.len().max(1) as f32;
        let half = (0.36 * wide).min(60.0);
        for (index, stack) in stacks.iter().enumerate() {
            let x = self.origin[0] + (index as f32 + 0.5) * wide;
            let below = [x, self.origin[1] + 26.0];
            page.text(below, Align::Centre, &style(TEXT, INK), &stack.name);
            let mut base = 0.0;
            for (height, (_, colour)) in stack.parts.iter().zip(parts) {
                let top = base + height.max(0.0);
                if let (Some(a), Some(b)) = (self.y.place(base), self.y.place(top)) {
                    let corners = [[x - half, self.origin[1] - b], [x + half, self.origin[1] - a]];
                    page.rectangle(corners, *colour, 1.0);
                }
                base = top;
            }
        }
        let right = self.origin[0] + self.x.px + 14.0;
        for (index, (name, colour)) in parts.iter().rev().enumerate() {
            let y = self.origin[1] - self.y.px + 14.0 + LINE * 1.2 * index as f32;
            page.rectangle([[right, y - 12.0], [right + 14.0, y + 2.0]], *colour, 1.0);
            page.text([right + 20.0, y + 1.0], Align::Left, &style(TEXT - 1.0, INK), name);
        }
    }
}

/// Moves ascending heights apart by a line, upwards where they would leave the page.
fn apart(heights: &mut [f32], most: f32) {
    for i in 1..heights.len() {
        heights[i] = heights[i].max(heights[i - 1] + LINE);
    }
    let mut limit = most;
    for height in heights.iter_mut().rev() {
        *height = height.min(limit);
        limit = *height - LINE;
    }
}

/// A broken line.
fn broken(page: &mut Canvas, line: &[[f32; 2]], colour: Rgb) {
    /// Lengths of dash and gap, in px.
    const DASH: [f32; 2] = [9.0, 7.0];
    let mut left = DASH[0];
    let mut drawn = true;
    for pair in line.windows(2) {
        let [dx, dy] = [pair[1][0] - pair[0][0], pair[1][1] - pair[0][1]];
        let length = dx.hypot(dy);
        let at = |px: f32| [pair[0][0] + dx * px / length, pair[0][1] + dy * px / length];
        let mut from = 0.0;
        while from < length {
            let to = (from + left).min(length);
            if drawn {
                page.line(&[at(from), at(to)], 2.0, colour);
            }
            left -= to - from;
            if left <= 0.0 {
                drawn = !drawn;
                left = DASH[usize::from(!drawn)];
            }
            from = to;
        }
    }
}

/// An interval: a thin line with ends.
fn whisker(page: &mut Canvas, low: [f32; 2], high: [f32; 2], colour: Rgb) {
    page.line(&[low, high], 1.5, colour);
    for [x, y] in [low, high] {
        page.line(&[[x - 5.0, y], [x + 5.0, y]], 1.5, colour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(plot: Plot, scale: Scale) -> Panel {
        let (x, y) = (Axis::new("x", scale), Axis::new("y", scale));
        Panel { title: "t".into(), subtitle: "s".into(), x, y, plot }
    }

    fn curve(points: Vec<[f64; 2]>) -> Curve {
        let intervals = points.iter().map(|p| Some([p[1] * 0.9, p[1] * 1.1])).collect();
        Curve { name: "c".into(), points, intervals, colour: KINDS[0], stroke: Stroke::Line }
    }

    #[test]
    fn names_stay_in_order_apart_and_on_the_page() {
        let mut heights = [10.0, 12.0, 13.0, 95.0, 99.0];
        apart(&mut heights, 100.0);
        assert!(heights.windows(2).all(|pair| pair[1] - pair[0] >= LINE - 1e-3), "{heights:?}");
        assert!(heights[4] <= 100.0 && heights[0] <= 20.0);
    }

    #[test]
    fn panels_are_a_png_of_their_size_whatever_the_values() -> Result<(), image::ImageError> {
        let odd = vec![[1.0, 5.0], [2.0, f64::NAN], [0.0, -3.0], [8.0, f64::INFINITY], [16.0, 9.0]];
        let stack = |parts: Vec<f64>| Stack { name: "n".into(), parts };
        let parts = vec![("a".to_string(), KINDS[0]), ("b".to_string(), KINDS[1])];
        let panels = [
            panel(Plot::Curves(vec![curve(odd.clone())], vec![(4.0, "m".into())]), Scale::Log),
            panel(Plot::Curves(vec![curve(odd)], vec![]), Scale::Linear),
            panel(Plot::Curves(vec![], vec![]), Scale::Log),
            panel(
                Plot::Stacks(vec![stack(vec![1.0, 2.0]), stack(vec![f64::NAN])], parts),
                Scale::Linear,
            ),
            panel(Plot::Stacks(vec![], vec![]), Scale::Linear),
        ];
        let picture = image::load_from_memory(&draw(&panels, 2).expect("a picture"))?;
        assert_eq!((picture.width(), picture.height()), (2 * 880, 3 * 640));
        Ok(())
    }
}
