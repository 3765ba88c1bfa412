//! The overview picture: target, mask, aerial image, printed contours, PV band and edge checks.
//!
//! Six panels show the same window of the field, with y downwards as in a raster, over a table of
//! the metrics before and after. A panel pixel samples the rasters it shows, so that the time to
//! draw depends little on their size.

mod canvas;
mod panels;

use std::collections::{HashMap, HashSet};

use lithoburn_layout::Raster;

use canvas::{Align, Canvas, INK, MUTED, RULE, Style};
use panels::SIDE;

/// Width of the picture, in px.
const WIDTH: usize = 1800;
/// Free space left of each panel, for its axis.
const LEFT: f32 = 66.0;
/// Top of the first row of panels.
const TOP: f32 = 138.0;
/// Distance between the tops of the two rows.
const ROW: f32 = SIDE as f32 + 84.0;
/// Distance between the left edges of two columns.
const COLUMN: f32 = SIDE as f32 + LEFT;
/// Baseline of the table's head.
const TABLE: f32 = TOP + 2.0 * ROW - 8.0;
/// Distance between lines of the table.
const LINE: f32 = 29.0;

/// A site where the printed edge is checked, and what was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SiteMark {
    /// Where, in nm from the corner of the field's first pixel.
    pub at_nm: [f64; 2],
    /// The pattern does not print just inside the target's edge.
    pub inside_missing: bool,
    /// The pattern prints just outside the target's edge.
    pub outside_printed: bool,
}

/// What the picture shows. All rasters cover the same square field.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// Headline, such as `metal_clip · neural-ilt`.
    pub title: &'a str,
    /// Line below it: device, kernels, version.
    pub subtitle: &'a str,
    /// What should print, in 0 to 1.
    pub target: &'a Raster,
    /// The mask, in 0 to 1; its pixels may have another size.
    pub mask: &'a Raster,
    /// Intensity in focus, relative to the clear field.
    pub aerial: &'a Raster,
    /// Intensity out of focus, relative to the clear field.
    pub defocus: &'a Raster,
    /// Intensity of the printed contour: nominal and outer on `aerial`, inner on `defocus`.
    pub levels: [f64; 3],
    /// The sites where the nominal print is checked.
    pub sites: &'a [SiteMark],
    /// Rows of metric, before, after.
    pub table: &'a [[String; 3]],
    /// Layout coordinate of the corner of the field's first pixel, for the axes.
    pub origin_nm: [f64; 2],
}

/// Encodes the picture as PNG.
pub fn draw(scene: &Scene) -> Vec<u8> {
    let Some(mut page) = Canvas::new(WIDTH, height(scene.table.len())) else {
        return Vec::new(); // only for a table of millions of rows
    };
    heading(&mut page, scene);
    for (index, panel) in panels::all(scene).iter().enumerate() {
        let (row, column) = ((index / 3) as f32, (index % 3) as f32);
        panel.place(&mut page, [LEFT + column * COLUMN, TOP + row * ROW]);
    }
    table(&mut page, scene.table);
    page.png()
}

/// Height of a picture with a table of so many rows, in px.
fn height(rows: usize) -> usize {
    let lines = if rows == 0 { 0 } else { rows.div_ceil(3) + 1 };
    (TABLE + lines as f32 * LINE) as usize + 16
}

/// Writes title and subtitle.
fn heading(page: &mut Canvas, scene: &Scene) {
    let room = WIDTH as f32 - 2.0 * LEFT;
    let title = Style { size: 30.0, colour: INK, bold: true };
    let subtitle = Style { size: 17.0, colour: MUTED, bold: false };
    let lines = [(title, scene.title, 52.0), (subtitle, scene.subtitle, 80.0)];
    for (style, text, baseline) in lines {
        let text = page.elided(text, &style, room);
        page.text([LEFT, baseline], Align::Left, &style, &text);
    }
}

/// Sets the table in three blocks, one below each column of panels.
fn table(page: &mut Canvas, rows: &[[String; 3]]) {
    let head = ["metric", "before", "after"].map(String::from);
    let head_style = Style { size: 14.0, colour: MUTED, bold: false };
    let mut rest = rows;
    for block in 0..3 {
        let (lines, others) = rest.split_at(rest.len().div_ceil(3 - block));
        rest = others;
        if !lines.is_empty() {
            let at = [LEFT + block as f32 * COLUMN, TABLE];
            table_line(page, at, &head, [&head_style; 3]);
            table_block(page, at, lines);
        }
    }
}

/// Sets the lines of a block below its head, each under a rule.
fn table_block(page: &mut Canvas, at: [f32; 2], lines: &[[String; 3]]) {
    let name = Style { size: 16.0, colour: INK, bold: false };
    let before = Style { colour: MUTED, ..name };
    let after = Style { bold: true, ..name };
    let [left, mut baseline] = at;
    for line in lines {
        baseline += LINE;
        let rule = baseline - 20.5;
        page.line(&[[left, rule], [left + SIDE as f32, rule]], 1.0, RULE);
        table_line(page, [left, baseline], line, [&name, &before, &after]);
    }
}

/// Sets a metric to the left, and its two values flush right.
fn table_line(page: &mut Canvas, at: [f32; 2], cells: &[String; 3], styles: [&Style; 3]) {
    let [left, baseline] = at;
    let side = SIDE as f32;
    // Name, before, after: where the cell is anchored, and how wide it may be.
    let columns = [
        (left, Align::Left, 0.44 * side),
        (left + 0.72 * side, Align::Right, 0.26 * side),
        (left + side, Align::Right, 0.25 * side),
    ];
    for ((cell, style), (x, align, room)) in cells.iter().zip(styles).zip(columns) {
        let text = page.elided(cell, style, room);
        page.text([x, baseline], align, style, &text);
    }
}

/// Iso-lines of an image at a level, by marching squares with linear interpolation.
///
/// Points are in pixels, a pixel's centre at +0.5. A closed line repeats its first point; a line is
/// open where it meets the border of the image. The side of values of at least `level` is always to
/// the same hand. Where two lines nearly meet, the mean of the four pixels decides which touch.
pub fn contours(image: &Raster, level: f64) -> Vec<Vec<[f64; 2]>> {
    let steps = steps(image, level);
    let mut next: HashMap<usize, usize> = steps.iter().copied().collect();
    let entered: HashSet<usize> = steps.iter().map(|step| step.1).collect();
    let edges = || steps.iter().map(|step| step.0);
    // Open lines first: a line followed from its middle would come out in two parts.
    let starts = edges().filter(|edge| !entered.contains(edge)).chain(edges());
    let lines = starts.map(|start| follow(start, &mut next)).filter(|line| line.len() > 1);
    let lines: Vec<Vec<usize>> = lines.collect();
    let points =
        |line: &Vec<usize>| line.iter().map(|&edge| crossing(image, level, edge)).collect();
    lines.iter().map(points).collect()
}

/// Follows a line from edge to edge, and takes it out of the map.
fn follow(start: usize, next: &mut HashMap<usize, usize>) -> Vec<usize> {
    let mut line = vec![start];
    let mut edge = start;
    while let Some(to) = next.remove(&edge) {
        line.push(to);
        edge = to;
    }
    line
}

/// The lines' steps through each square of four pixel centres, from edge to edge.
///
/// Edge `2 i` joins pixel `i` to the pixel on its right, edge `2 i + 1` to the one below it.
fn steps(image: &Raster, level: f64) -> Vec<(usize, usize)> {
    let width = image.width;
    if image.data.len() < width * image.height {
        return Vec::new();
    }
    let mut steps = Vec::new();
    for y in 1..image.height {
        let rows = &image.data[(y - 1) * width..][..2 * width];
        for x in 1..width {
            let values =
                [rows[x - 1], rows[x], rows[width + x], rows[width + x - 1]].map(f64::from);
            let inside = values.map(|v| v >= level);
            if inside != [inside[0]; 4] {
                let pixel = (y - 1) * width + x - 1;
                let edges = [2 * pixel, 2 * pixel + 3, 2 * (pixel + width), 2 * pixel + 1];
                let joined = values.iter().sum::<f64>() >= 4.0 * level;
                steps.extend(square(inside, joined).map(|(i, j)| (edges[i], edges[j])));
            }
        }
    }
    steps
}

/// The steps through one square, as pairs of its edges; corners and edges go round alike.
///
/// A step starts on an edge that leaves the inside, and ends on the next edge that enters it:
/// forwards if the inside is `joined` through the middle of the square, else backwards.
fn square(inside: [bool; 4], joined: bool) -> impl Iterator<Item = (usize, usize)> {
    let leaves = move |i: usize| inside[i] && !inside[(i + 1) % 4];
    let enters = move |i: usize| !inside[i] && inside[(i + 1) % 4];
    let turn = if joined { 1 } else { 3 };
    let partner = move |i: usize| (1..4).map(|k| (i + k * turn) % 4).find(|&j| enters(j));
    (0..4).filter(move |&i| leaves(i)).filter_map(move |i| Some((i, partner(i)?)))
}

/// Where a line crosses an edge.
fn crossing(image: &Raster, level: f64, edge: usize) -> [f64; 2] {
    let (pixel, down) = (edge / 2, edge % 2 == 1);
    let other = pixel + if down { image.width } else { 1 };
    let [from, to] = [pixel, other].map(|p| f64::from(image.data[p]));
    let share = (level - from) / (to - from);
    let share = if share.is_finite() { share } else { 0.5 }; // next to an infinity or NaN
    let centre = [pixel % image.width, pixel / image.width].map(|v| v as f64 + 0.5);
    if down { [centre[0], centre[1] + share] } else { [centre[0] + share, centre[1]] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(size: usize, value: impl Fn(f64, f64) -> f64) -> Raster {
        let centre = |i: usize| i as f64 + 0.5;
        let at = |i: usize| value(centre(i % size), centre(i / size)) as f32;
        let data = (0..size * size).map(at).collect();
        Raster { width: size, height: size, pixel_nm: 4.0, data }
    }

    /// A bar, 0 to 1, with blurred edges.
    fn bar(x: f64, y: f64) -> f64 {
        let edge =
            |v: f64, low: f64, high: f64| ((v - low).min(high - v) / 8.0 + 0.5).clamp(0.0, 1.0);
        edge(x, 30.0, 60.0) * edge(y, 20.0, 110.0)
    }

    fn scene<'a>(target: &'a Raster, aerial: &'a Raster) -> Scene<'a> {
        Scene {
            title: "bar · test",
            subtitle: "",
            target,
            mask: target,
            aerial,
            defocus: aerial,
            levels: [0.5, 0.45, 0.6],
            sites: &[],
            table: &[],
            origin_nm: [0.0, 0.0],
        }
    }

    fn size(png: &[u8]) -> Result<(u32, u32), image::ImageError> {
        let picture = image::load_from_memory_with_format(png, image::ImageFormat::Png)?;
        Ok((picture.width(), picture.height()))
    }

    #[test]
    fn the_contour_of_a_cone_is_one_closed_circle() {
        let distance = |x: f64, y: f64| (x - 31.3).hypot(y - 32.8);
        let lines = contours(&image(64, |x, y| 40.0 - distance(x, y)), 20.0);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].first(), lines[0].last());
        for [x, y] in &lines[0] {
            // A chord of 1 px is within 1 / (8 r) = 0.006 px of the circle.
            assert!((distance(*x, *y) - 20.0).abs() < 0.01, "{x} {y}");
        }
        let turn = lines[0].windows(2).map(|p| p[0][0] * p[1][1] - p[1][0] * p[0][1]);
        let area = turn.sum::<f64>() / 2.0;
        assert!((area.abs() - 400.0 * std::f64::consts::PI).abs() < 2.0, "{area}");
    }

    #[test]
    fn a_line_that_leaves_the_image_stays_whole() {
        let lines = contours(&image(16, |x, y| x + 0.25 * y), 9.0);
        assert_eq!(lines.len(), 1);
        for [x, y] in &lines[0] {
            assert!((x + 0.25 * y - 9.0).abs() < 1e-5, "{x} {y}"); // f32 pixels
        }
        let ends = [lines[0][0][1], lines[0][lines[0].len() - 1][1]];
        assert_eq!((ends[0].min(ends[1]), ends[0].max(ends[1])), (0.5, 15.5));
    }

    #[test]
    fn a_saddle_joins_what_its_mean_says() {
        let mut saddle = Raster::new(4, 4, 1.0);
        (saddle.data[5], saddle.data[10]) = (1.0, 1.0);
        let apart = contours(&saddle, 0.6);
        assert_eq!(apart.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5]);
        let joined = contours(&saddle, 0.4);
        assert_eq!(joined.iter().map(Vec::len).collect::<Vec<_>>(), [9]);
        assert!(apart.iter().chain(&joined).all(|line| line.first() == line.last()));
    }

    #[test]
    fn a_constant_or_empty_image_has_no_contours() {
        for value in [0.0, 0.5, 1.0, f64::NAN] {
            assert!(contours(&image(8, |_, _| value), 0.5).is_empty());
        }
        for side in [0, 1] {
            assert!(contours(&Raster::new(side, side, 1.0), 0.5).is_empty());
        }
    }

    #[test]
    fn the_picture_is_a_png_of_the_page() -> Result<(), image::ImageError> {
        let aerial = image(128, bar);
        let target = aerial.binarized();
        let site = |x: f64, inside_missing: bool, outside_printed: bool| SiteMark {
            at_nm: [x, 200.0],
            inside_missing,
            outside_printed,
        };
        let sites = [site(120.0, false, false), site(240.0, true, false), site(240.0, true, true)];
        let table = ["EPE", "L2", "PV band", "shots"].map(|n| [n, "12", "3"].map(String::from));
        let scene = Scene { sites: &sites, table: &table, ..scene(&target, &aerial) };
        assert_eq!(size(&draw(&scene))?, (WIDTH as u32, height(4) as u32));
        Ok(())
    }

    #[test]
    fn a_degenerate_scene_is_still_drawn() -> Result<(), image::ImageError> {
        let [dark, blind] = [0.0, f64::NAN].map(|value| image(128, |_, _| value));
        let (none, coarse) = (Raster::new(0, 0, 0.0), Raster::new(1, 1, 512.0));
        let pointlike = Raster { pixel_nm: 0.0, ..dark.clone() };
        let far = [f64::NAN, f64::INFINITY, 1e30].map(|v| SiteMark {
            at_nm: [v, -v],
            inside_missing: true,
            outside_printed: true,
        });
        let long = [["x".repeat(500), "−".repeat(500), String::new()]];
        let night = Scene { sites: &far, table: &long, ..scene(&dark, &dark) };
        let void = Scene { mask: &coarse, defocus: &pointlike, ..scene(&none, &blind) };
        for scene in [night, Scene { levels: [f64::NAN, 0.0, -1.0], ..void }] {
            assert_eq!(size(&draw(&scene))?.0, WIDTH as u32);
        }
        Ok(())
    }
}
