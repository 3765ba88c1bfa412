//! Closed outlines of an SVG drawing: the `d` of paths and the `points` of polygons, with y turned upwards.
//!
//! Commands M L H V C S Q T Z in both cases; curves become chords. Arcs and transforms are refused by name: flatten
//! the drawing first ("convert objects to paths", "apply transforms").

use anyhow::{Result, bail};
use lithoburn_cfd::shape::Point;

/// Chords of a Bézier curve.
const CHORDS: usize = 24;

/// All outlines of a drawing.
pub(super) fn outlines(text: &str) -> Result<Vec<Vec<Point>>> {
    if text.contains(" transform=") {
        bail!(
            "the drawing has transforms; apply them first, so that paths hold the final coordinates"
        );
    }
    let mut lines = Vec::new();
    for d in attributes(text, "path", "d") {
        lines.extend(path(d)?);
    }
    for points in attributes(text, "polygon", "points") {
        let numbers = numbers(points)?;
        lines.push(numbers.chunks_exact(2).map(|p| [p[0], p[1]]).collect());
    }
    lines.retain(|line| line.len() > 2);
    for point in lines.iter_mut().flatten() {
        point[1] = -point[1];
    }
    Ok(lines)
}

/// Values of an attribute of all elements of a kind.
fn attributes<'a>(text: &'a str, element: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    text.split('<').skip(1).filter_map(move |rest| {
        let inner = rest.strip_prefix(element)?;
        if !inner.starts_with(char::is_whitespace) {
            return None;
        }
        let inner = inner.split_once('>').map_or(inner, |(inner, _)| inner);
        let (_, after) = inner
            .split_once(&format!(" {name}="))
            .or_else(|| inner.split_once(&format!("\n{name}=")))?;
        let quote = after.chars().next()?;
        after[1..].split(quote).next()
    })
}

fn numbers(text: &str) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    let mut rest = text.trim_start_matches(separator);
    while !rest.is_empty() {
        let (value, after) = number(rest)?;
        all.push(value);
        rest = after;
    }
    Ok(all)
}

fn separator(c: char) -> bool {
    c.is_whitespace() || c == ','
}

/// The number at the start of a text, and what follows: numbers may stand without a space, as in 1.5-2.
fn number(text: &str) -> Result<(f64, &str)> {
    let (mut seen_dot, mut before) = (false, ' ');
    let belongs = |c: char, seen_dot: &mut bool, before: char| match c {
        '0'..='9' | 'e' | 'E' => true,
        '+' | '-' => before == ' ' || before == 'e' || before == 'E',
        '.' => !std::mem::replace(seen_dot, true),
        _ => false,
    };
    let mut end = 0;
    for c in text.chars() {
        if !belongs(c, &mut seen_dot, before) {
            break;
        }
        before = c;
        end += c.len_utf8();
    }
    let Ok(value) = text[..end].parse::<f64>() else {
        let shown: String = text.chars().take(12).collect();
        bail!("expected a number at {shown:?}");
    };
    Ok((value, text[end..].trim_start_matches(separator)))
}

/// Draws the commands of a path.
struct Pen {
    at: Point,
    /// Last control point, for smooth curves.
    control: Point,
    lines: Vec<Vec<Point>>,
}

fn path(d: &str) -> Result<Vec<Vec<Point>>> {
    let mut pen = Pen { at: [0.0; 2], control: [0.0; 2], lines: Vec::new() };
    let mut rest = d.trim();
    while let Some(command) = rest.chars().next() {
        if !command.is_ascii_alphabetic() {
            bail!("a path has {command:?} where a command was expected");
        }
        let after = &rest[1..];
        let exponent = |(i, c): &(usize, char)| {
            let digit = after[..*i].chars().next_back().is_some_and(|c| c.is_ascii_digit());
            c.is_ascii_alphabetic() && !(matches!(c, 'e' | 'E') && digit)
        };
        let end = after.char_indices().find(exponent).map_or(after.len(), |(i, _)| i);
        pen.draw(command, &numbers(&after[..end])?)?;
        rest = after[end..].trim_start();
    }
    Ok(pen.lines)
}

impl Pen {
    fn draw(&mut self, command: char, numbers: &[f64]) -> Result<()> {
        let count = match command.to_ascii_uppercase() {
            'M' | 'L' | 'T' => 2,
            'H' | 'V' => 1,
            'S' | 'Q' => 4,
            'C' => 6,
            'Z' => {
                // The outline closes by itself; the pen is back at its start.
                self.at =
                    self.lines.last().and_then(|line| line.first().copied()).unwrap_or(self.at);
                self.lines.push(vec![self.at]);
                return Ok(());
            }
            'A' => bail!("a path has an arc; convert it to curves first"),
            other => bail!("a path has the command {other:?}, which is not known"),
        };
        if numbers.is_empty() || !numbers.len().is_multiple_of(count) {
            bail!(
                "{} numbers follow {command:?} in a path; expected {count} each time",
                numbers.len()
            );
        }
        for (i, part) in numbers.chunks_exact(count).enumerate() {
            self.segment(command, i == 0, part);
        }
        Ok(())
    }

    fn segment(&mut self, command: char, first: bool, n: &[f64]) {
        let base = if command.is_ascii_lowercase() { self.at } else { [0.0; 2] };
        let point = |i: usize| [base[0] + n[i], base[1] + n[i + 1]];
        let mirrored = [0, 1].map(|i| 2.0 * self.at[i] - self.control[i]);
        match command.to_ascii_uppercase() {
            'M' if first => {
                self.lines.push(Vec::new());
                self.line(point(0));
            }
            'M' | 'L' => self.line(point(0)),
            'H' => self.line([base[0] + n[0], self.at[1]]),
            'V' => self.line([self.at[0], base[1] + n[0]]),
            'C' => self.curve(&[self.at, point(0), point(2), point(4)]),
            'S' => self.curve(&[self.at, mirrored, point(0), point(2)]),
            'Q' => self.curve(&[self.at, point(0), point(2)]),
            _ => self.curve(&[self.at, mirrored, point(0)]),
        }
    }

    fn line(&mut self, to: Point) {
        (self.at, self.control) = (to, to);
        match self.lines.last_mut() {
            Some(line) => line.push(to),
            None => self.lines.push(vec![to]),
        }
    }

    /// Chords of a Bézier curve, by de Casteljau's construction.
    fn curve(&mut self, points: &[Point]) {
        for k in 1..=CHORDS {
            let t = k as f64 / CHORDS as f64;
            let mut level = points.to_vec();
            while level.len() > 1 {
                let between =
                    |pair: &[Point]| [0, 1].map(|i| pair[0][i] + t * (pair[1][i] - pair[0][i]));
                level = level.windows(2).map(between).collect();
            }
            self.line(level[0]);
        }
        self.control = points[points.len() - 2];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_polygons_become_outlines_with_y_up() {
        let text = "<svg><path fill='none' d=\"M0 0h2v1H0z m5,5 l1,0 0,1z\"/>\n<polygon points='0,0 1,0 0.5,1'/></svg>";
        let lines = outlines(text).expect("outlines");
        assert_eq!(lines[0], [[0.0, 0.0], [2.0, 0.0], [2.0, -1.0], [0.0, -1.0]]);
        assert_eq!(lines[1], [[5.0, -5.0], [6.0, -5.0], [6.0, -6.0]]);
        assert_eq!(lines[2].len(), 3);
    }

    /// Four cubic curves with the usual constant are a circle within 3e-4 of its radius.
    #[test]
    fn curves_are_followed() {
        let k = 0.552_284_75;
        let d = format!("M1,0C1,{k} {k},1 0,1S-1,{k}-1,0S{m},-1 0-1S1,{m} 1,0Z", m = -k);
        let lines = outlines(&format!("<path d='{d}'/>")).expect("outlines");
        assert_eq!(lines.len(), 1);
        assert!(lines[0].iter().all(|p| (p[0].hypot(p[1]) - 1.0).abs() < 3e-4), "{:?}", lines[0]);
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let error = |d: &str| outlines(&format!("<path d='{d}'/>")).map_err(|e| e.to_string());
        assert!(error("M0 0A1 1 0 0 1 2 2z").unwrap_err().contains("arc"));
        assert!(error("M0 0L1").unwrap_err().contains("1 numbers"));
        assert!(error("0 0L1 1").unwrap_err().contains("command"));
        assert!(error("M0 zero").is_err());
        let moved = outlines("<g transform='scale(2)'><path d='M0 0h1v1z'/></g>");
        assert!(moved.unwrap_err().to_string().contains("transforms"));
    }
}
