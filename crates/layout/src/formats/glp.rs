//! GLP: the text format of the ICCAD 2013 contest's clips.
//!
//! `RECT N M1 x y width height` and `PGON N M1 x1 y1 x2 y2 …`, in nm; every other line is ignored.

use std::path::Path;

use crate::{Layout, LayoutError, Polygon};

/// Reads the polygons of a GLP text.
///
/// # Errors
///
/// [`LayoutError::Damaged`] if the text has no `CELL` line, a shape line has a coordinate that is no
/// number or too few of them, or a rectangle has no area.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Layout, LayoutError> {
    let damaged =
        |problem| LayoutError::Damaged { path: path.to_path_buf(), format: "GLP", problem };
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text".into()))?;
    let mut polygons = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let shape = match words.as_slice() {
            ["RECT", _, _, numbers @ ..] => coordinates(numbers).and_then(|c| rectangle(&c)),
            ["PGON", _, _, numbers @ ..] => coordinates(numbers).and_then(|c| polygon(&c)),
            _ => continue,
        };
        polygons.push(shape.map_err(|e| damaged(format!("line {}: {e}", number + 1)))?);
    }
    if !text.lines().any(|line| line.trim_start().starts_with("CELL")) {
        return Err(damaged("it has no CELL line".into()));
    }
    if !text.lines().any(|line| line.trim_start().starts_with("ENDMSG")) {
        return Err(damaged("it ends without ENDMSG: the file is cut short".into()));
    }
    Ok(Layout::new("layout", polygons))
}

fn coordinates(words: &[&str]) -> Result<Vec<f64>, String> {
    let number = |word: &&str| match word.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("expected a coordinate in nm, got {word:?}")),
    };
    words.iter().map(number).collect()
}

fn rectangle(c: &[f64]) -> Result<Polygon, String> {
    match *c {
        [x, y, width, height] if width > 0.0 && height > 0.0 => {
            Ok(Polygon::rectangle(x, y, x + width, y + height))
        }
        [_, _, width, height] => Err(format!("a rectangle of {width} x {height} nm has no area")),
        _ => Err(format!("expected x y width height, got {} numbers", c.len())),
    }
}

fn polygon(c: &[f64]) -> Result<Polygon, String> {
    if c.len() < 6 || !c.len().is_multiple_of(2) {
        return Err(format!("expected at least three x y pairs, got {} numbers", c.len()));
    }
    Ok(Polygon::new(c.chunks_exact(2).map(|p| [p[0], p[1]]).collect()))
}

/// Writes polygons as GLP, rounded to whole nm. Rectangles become `RECT`.
pub fn write(layout: &Layout) -> String {
    let mut text = String::from("BEGIN\nEQUIV  1  1000  MICRON  +X,+Y\nCNAME ");
    text += &format!("{0}\nLEVEL M1\n\nCELL {0} PRIME\n", layout.name);
    for polygon in &layout.polygons {
        let b = polygon.bounds();
        let whole = |v: f64| v.round() as i64;
        if is_rectangle(polygon) {
            let size = [whole(b.max[0]) - whole(b.min[0]), whole(b.max[1]) - whole(b.min[1])];
            let corner = [whole(b.min[0]), whole(b.min[1])];
            text += &format!("   RECT N M1  {} {} {} {}\n", corner[0], corner[1], size[0], size[1]);
        } else {
            let points = polygon.points.iter().map(|p| format!(" {} {}", whole(p[0]), whole(p[1])));
            text += &format!("   PGON N M1 {}\n", points.collect::<String>());
        }
    }
    text + "ENDMSG\n"
}

fn is_rectangle(polygon: &Polygon) -> bool {
    let b = polygon.bounds();
    let corner = |p: &[f64; 2]| (0..2).all(|i| p[i] == b.min[i] || p[i] == b.max[i]);
    polygon.points.len() == 4
        && polygon.points.iter().all(corner)
        && (polygon.signed_area().abs() - b.width() * b.height()).abs() < 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() -> Result<(), LayoutError> {
        let ell = vec![
            [0.0, 0.0],
            [200.0, 0.0],
            [200.0, 80.0],
            [80.0, 80.0],
            [80.0, 300.0],
            [0.0, 300.0],
        ];
        let shapes = vec![Polygon::rectangle(300.0, 10.0, 380.0, 500.0), Polygon::new(ell)];
        let layout = Layout::new("layout", shapes);
        assert_eq!(parse(Path::new("x.glp"), write(&layout).as_bytes())?, layout);
        Ok(())
    }

    #[test]
    fn a_bad_coordinate_is_named_with_its_line() {
        let text = "CELL A PRIME\n RECT N M1 0 0 ten 10\nENDMSG\n";
        let error = parse(Path::new("x.glp"), text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("\"ten\""), "{error}");
    }

    #[test]
    fn a_text_cut_short_is_refused() {
        let text = "CELL A PRIME\n RECT N M1 0 0 10 10\n";
        let error = parse(Path::new("x.glp"), text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("cut short"), "{error}");
    }
}
