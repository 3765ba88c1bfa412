//! The overview picture: target, mask, aerial image, printed contours, PV band and edge checks.
//!
//! Six panels show the same window of the field, with y downwards as in a raster, over a table of
//! the metrics before and after. A panel pixel samples the rasters it shows, so that the time to
//! draw depends little on their size.

mod panels;

use std::borrow::Cow;

use lithoburn_layout::Raster;

use crate::PictureError;
use crate::canvas::{Align, Canvas, INK, MUTED, RULE, Style};
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
    /// Where the mask breaks its rules: least x and y, greatest x and y, in nm from the field's corner.
    pub violations: &'a [[f64; 4]],
    /// Rows of metric, before, after.
    pub table: &'a [[String; 3]],
    /// Layout coordinate of the corner of the field's first pixel, for the axes.
    pub origin_nm: [f64; 2],
    /// The part of the field that is shown, all of it without one: least x and y, greatest x and y, in nm from the field's
    /// corner. Of a tile that is its core: in the halo the image is that of a layout that repeats with the field, where wires that
    /// go on seem to end.
    pub core_nm: Option<[f64; 4]>,
}

/// Encodes the picture as PNG.
///
/// # Errors
///
/// [`PictureError`] if memory does not hold it, as for a table of millions of rows.
pub fn draw(scene: &Scene) -> Result<Vec<u8>, PictureError> {
    let mut page = Canvas::new(WIDTH, height(scene.table.len()))?;
    heading(&mut page, scene);
    for (index, panel) in panels::all(scene)?.iter().enumerate() {
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
        // Numbers have a minus; names keep their hyphens.
        let is_number = cell.starts_with('-');
        let cell = if is_number { Cow::from(cell.replace('-', "−")) } else { cell.into() };
        let text = page.elided(&cell, style, room);
        page.text([x, baseline], align, style, &text);
    }
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
            violations: &[],
            table: &[],
            origin_nm: [0.0, 0.0],
            core_nm: None,
        }
    }

    fn size(png: &[u8]) -> Result<(u32, u32), image::ImageError> {
        let picture = image::load_from_memory_with_format(png, image::ImageFormat::Png)?;
        Ok((picture.width(), picture.height()))
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
        assert_eq!(size(&draw(&scene).expect("a picture"))?, (WIDTH as u32, height(4) as u32));
        Ok(())
    }

    #[test]
    fn one_processor_and_many_draw_the_same_picture() {
        let aerial = image(128, |x, y| bar(x, y) * (0.8 + 0.2 * (x / 9.0).sin()));
        let defocus = image(128, |x, y| 0.9 * bar(x + 1.0, y));
        let target = aerial.binarized();
        let site = SiteMark { at_nm: [120.0, 200.0], inside_missing: true, outside_printed: false };
        let scene = Scene { defocus: &defocus, sites: &[site], ..scene(&target, &aerial) };
        let drawn = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("threads").install(|| draw(&scene).expect("a picture"))
        };
        assert!(drawn(1) == drawn(5), "the pictures differ");
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
            assert_eq!(size(&draw(&scene).expect("a picture"))?.0, WIDTH as u32);
        }
        Ok(())
    }
}
