//! Charts: lines and points over two axes.

use super::axis::{Axis, Side};
use super::canvas::{Align, Canvas, INK, MUTED, RULE, Rgb, Style};
use crate::PictureError;

/// Side of the plotted area, in px.
const SIZE: [f32; 2] = [640.0, 480.0];
/// Space around it: left, top, right, bottom.
const SPACE: [f32; 4] = [92.0, 92.0, 30.0, 78.0];
/// Colours of the series, which colour-blind readers can tell apart (Okabe and Ito).
const COLOURS: [Rgb; 5] =
    [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [60, 60, 60]];

/// Points beyond which a line stands without dots: they would hide it.
const MOST_DOTS: usize = 100;

/// Points that belong together.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Points, x then y; one that is not finite breaks the line.
    pub points: Vec<[f64; 2]>,
    /// Words beside the points, if there are some.
    pub labels: Vec<String>,
    /// Whether a line joins them.
    pub joined: bool,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Headline.
    pub title: String,
    /// What x is, with its unit.
    pub x: String,
    /// What y is, with its unit.
    pub y: String,
    /// The data.
    pub series: Vec<Series>,
}

/// Where a label is written, in px.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    left: f32,
    right: f32,
    base: f32,
}

/// Height of a label's line, in px.
const LABEL: f32 = 14.0;

impl Place {
    /// The nearest place above or below that no other label has.
    fn beside(self, taken: &[Self]) -> Self {
        let free = |place: &Self| {
            let over = |o: &Self| {
                place.left < o.right && o.left < place.right && (place.base - o.base).abs() < LABEL
            };
            !taken.iter().any(over)
        };
        let lines = (0..=taken.len() as i32).flat_map(|n| [-n, n]);
        let mut places = lines.map(|n| Self { base: self.base + n as f32 * LABEL, ..self });
        places.find(free).unwrap_or(self)
    }
}

/// Encodes charts side by side as PNG.
///
/// # Errors
///
/// [`PictureError`] if there are none, or more than memory holds.
pub fn draw(charts: &[Chart]) -> Result<Vec<u8>, PictureError> {
    let wide = SPACE[0] + SIZE[0] + SPACE[2];
    let high = SPACE[1] + SIZE[1] + SPACE[3];
    let mut page = Canvas::new((wide * charts.len() as f32) as usize, high as usize)?;
    for (index, chart) in charts.iter().enumerate() {
        chart.place(&mut page, index as f32 * wide);
    }
    page.png()
}

impl Chart {
    fn place(&self, page: &mut Canvas, left: f32) {
        let origin = [left + SPACE[0], SPACE[1]];
        let axes = [0, 1].map(|i| self.axis(i));
        let corner = [origin[0] + SIZE[0], origin[1] + SIZE[1]];
        page.frame([origin, corner], RULE);
        let small = Style { size: 15.0, colour: MUTED, bold: false };
        axes[0].draw(page, Side::Below, |px| [origin[0] + px, corner[1]]);
        axes[1].draw(page, Side::Left, |px| [origin[0], corner[1] - px]);
        page.text([origin[0] + SIZE[0] / 2.0, corner[1] + 56.0], Align::Centre, &small, &self.x);
        let beside = [left + 22.0, origin[1] + SIZE[1] / 2.0];
        page.text_upwards(beside, Align::Centre, &small, &self.y);
        let title = Style { size: 21.0, colour: INK, bold: true };
        page.text([origin[0], 38.0], Align::Left, &title, &self.title);
        let mut legend = origin[0];
        let mut taken = Vec::new();
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            self.plot(page, series, *colour, origin, &axes, &mut taken);
            page.dot([legend + 6.0, 66.0], 5.0, *colour);
            page.text([legend + 18.0, 71.0], Align::Left, &small, &series.name);
            legend += 40.0 + page.width(&series.name, &small);
        }
    }

    /// An axis around all finite values, with some room.
    fn axis(&self, index: usize) -> Axis {
        let values = self.series.iter().flat_map(|s| &s.points).map(|p| p[index]);
        let (low, high) = values
            .filter(|v| v.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let room = ((high - low) * 0.08).max(high.abs() * 1e-3).max(1e-9);
        let px = f64::from(SIZE[index]);
        Axis { low: low - room, length: high - low + 2.0 * room, px }
    }

    fn plot(
        &self,
        page: &mut Canvas,
        series: &Series,
        colour: Rgb,
        origin: [f32; 2],
        axes: &[Axis; 2],
        taken: &mut Vec<Place>,
    ) {
        let place = |p: &[f64; 2]| {
            let [x, y] = [0, 1].map(|i| ((p[i] - axes[i].low) / axes[i].length) as f32 * SIZE[i]);
            [origin[0] + x, origin[1] + SIZE[1] - y]
        };
        let finite = |p: &&[f64; 2]| p.iter().all(|v| v.is_finite());
        if series.joined {
            for part in series.points.split(|p| !finite(&p)).filter(|part| part.len() > 1) {
                let line: Vec<[f32; 2]> = part.iter().map(place).collect();
                page.line(&line, 2.2, colour);
            }
        }
        let dotted = !series.joined || series.points.len() <= MOST_DOTS;
        let label = Style { size: 13.0, colour: MUTED, bold: false };
        for (index, point) in series.points.iter().enumerate().filter(|(_, p)| finite(p)) {
            let [x, y] = place(point);
            if dotted {
                page.dot([x, y], 4.0, colour);
            }
            if let Some(text) = series.labels.get(index) {
                // On the side where there is room.
                let fits = x + 8.0 + page.width(text, &label) < origin[0] + SIZE[0];
                let (side, by) = if fits { (Align::Left, 8.0) } else { (Align::Right, -8.0) };
                let left = if fits { x + by } else { x + by - page.width(text, &label) };
                let own = Place { left, right: left + page.width(text, &label), base: y - 6.0 };
                let own = own.beside(taken);
                page.text([x + by, own.base], side, &label, text);
                taken.push(own);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_near_points_do_not_cover_each_other() {
        let place = |left, base| Place { left, right: left + 50.0, base };
        let mut taken = Vec::new();
        for own in [place(0.0, 100.0), place(10.0, 102.0), place(20.0, 98.0), place(200.0, 100.0)] {
            taken.push(own.beside(&taken));
        }
        assert_eq!((taken[0], taken[3]), (place(0.0, 100.0), place(200.0, 100.0)));
        let apart = |a: &Place, b: &Place| (a.base - b.base).abs() >= LABEL;
        assert!(
            apart(&taken[0], &taken[1])
                && apart(&taken[1], &taken[2])
                && apart(&taken[0], &taken[2])
        );
    }

    #[test]
    fn a_line_of_many_points_is_not_hidden_under_their_dots() -> Result<(), image::ImageError> {
        let ink = |joined: bool| -> Result<usize, image::ImageError> {
            let wave = |i: i32| [f64::from(i), (f64::from(i) * 0.003).sin()];
            let (name, points) = (String::new(), (0..2000).map(wave).collect());
            let series = vec![Series { name, points, labels: vec![], joined }];
            let [title, x, y] = ["t", "x", "y"].map(String::from);
            let png = draw(&[Chart { title, x, y, series }]).expect("a picture");
            let picture = image::load_from_memory(&png)?.to_rgb8();
            Ok(picture.pixels().filter(|pixel| pixel.0 == COLOURS[0]).count())
        };
        let (dots, line) = (ink(false)?, ink(true)?);
        assert!(line > 100 && 2 * line < dots, "{line} {dots}");
        Ok(())
    }

    #[test]
    fn charts_are_a_png_of_their_size_whatever_the_values() -> Result<(), image::ImageError> {
        let series = |points: Vec<[f64; 2]>| Series {
            name: "s".into(),
            points,
            labels: vec!["a".into()],
            joined: true,
        };
        let chart = |points| Chart {
            title: "t".into(),
            x: "x".into(),
            y: "y".into(),
            series: vec![series(points)],
        };
        let charts = [
            chart(vec![[0.0, 1.0], [1.0, f64::NAN], [2.0, 3.0]]),
            chart(vec![]),
            chart(vec![[f64::INFINITY, 0.0]]),
        ];
        let picture = image::load_from_memory(&draw(&charts).expect("a picture"))?;
        assert_eq!((picture.width(), picture.height()), (3 * 762, 650));
        Ok(())
    }
}
