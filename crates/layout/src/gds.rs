//! GDSII in and out, flattened to one layer.
//!
//! Records are parsed and written by the crate `gds21`; hierarchy, arrays, paths, rotation,
//! reflection, magnification and database units are resolved here. Coordinates become nm.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::f64::consts::PI;
use std::path::Path;

use gds21::{GdsElement, GdsLibrary, GdsPath, GdsPoint, GdsStrans, GdsStruct};

use crate::{Layer, Layout, LayoutError, Polygon, ReadOptions};

/// References nested deeper than this are a cycle or a mistake.
const DEEPEST: usize = 64;
/// More flat polygons than this are refused, so that a small file cannot fill the memory.
const MOST_POLYGONS: usize = 20_000_000;
/// Bytes that a GDSII file starts with: a record of 6 bytes, HEADER, two-byte integers.
const MAGIC: [u8; 4] = [0x00, 0x06, 0x00, 0x02];

/// Reads the polygons of one layer under one cell.
///
/// # Errors
///
/// [`LayoutError`] if the bytes are damaged, or the cell or layer is missing or ambiguous.
pub fn parse(path: &Path, bytes: &[u8], options: &ReadOptions) -> Result<Layout, LayoutError> {
    let damaged = |problem: String| damage(path, problem);
    if bytes.get(..4) != Some(&MAGIC[..]) {
        return Err(damaged("it does not begin with a GDSII header".into()));
    }
    // The parser is not ours: whatever it trips over is the file's fault, not the program's.
    let parsed = std::panic::catch_unwind(|| GdsLibrary::from_bytes(bytes));
    let library = match parsed {
        Ok(Ok(library)) => library,
        Ok(Err(error)) => return Err(damaged(problem_of(&error))),
        Err(_) => return Err(damaged("its records are malformed".into())),
    };
    let unit_nm = library.units.db_unit() * 1e9;
    if !(unit_nm.is_finite() && unit_nm > 0.0) {
        return Err(damaged(format!("its database unit is {unit_nm} nm")));
    }
    let cells = Cells::new(&library);
    let top = cells.choose(path, options.cell.as_deref())?;
    let mut flat = Flat { cells: &cells, by_layer: BTreeMap::new(), count: 0, problem: None };
    flat.add_cell(top, &Transform::scale(unit_nm), 0);
    if let Some(problem) = flat.problem {
        return Err(damaged(problem));
    }
    Ok(Layout::new(top.name.clone(), choose_layer(path, flat.by_layer, options.layer)?))
}

fn damage(path: &Path, problem: String) -> LayoutError {
    LayoutError::Damaged { path: path.to_path_buf(), format: "GDSII", problem }
}

/// The parser's errors hold whole structures; one line is enough.
fn problem_of(error: &gds21::GdsError) -> String {
    let text = format!("{error:?}");
    if text.contains("UnexpectedEof") {
        return "it ends in the middle of a record: the file is cut short".into();
    }
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(120).collect()
}

fn choose_layer(
    path: &Path,
    mut by_layer: BTreeMap<Layer, Vec<Polygon>>,
    wanted: Option<Layer>,
) -> Result<Vec<Polygon>, LayoutError> {
    let names = || by_layer.keys().map(Layer::to_string).collect::<Vec<_>>().join(", ");
    let (path, found) = (path.to_path_buf(), names());
    match wanted {
        Some(layer) => by_layer.remove(&layer).ok_or(LayoutError::NoLayer { path, layer, found }),
        None if by_layer.len() > 1 => Err(LayoutError::ManyLayers { path, found }),
        None => Ok(by_layer.pop_first().map(|(_, polygons)| polygons).unwrap_or_default()),
    }
}

/// The cells of a library by name.
struct Cells<'a> {
    by_name: HashMap<&'a str, &'a GdsStruct>,
    tops: Vec<&'a GdsStruct>,
}

impl<'a> Cells<'a> {
    fn new(library: &'a GdsLibrary) -> Self {
        let by_name = library.structs.iter().map(|s| (s.name.as_str(), s)).collect();
        let referenced: BTreeSet<&str> = library.structs.iter().flat_map(references).collect();
        let top = |s: &&GdsStruct| !referenced.contains(s.name.as_str());
        Self { by_name, tops: library.structs.iter().filter(top).collect() }
    }

    fn choose(&self, path: &Path, wanted: Option<&str>) -> Result<&'a GdsStruct, LayoutError> {
        let path = path.to_path_buf();
        let names = |cells: &[&str]| cells.join(", ");
        let all: BTreeSet<&str> = self.by_name.keys().copied().collect();
        let all: Vec<&str> = all.into_iter().collect();
        match (wanted, self.tops.as_slice()) {
            (Some(name), _) => self.by_name.get(name).copied().ok_or_else(|| LayoutError::NoCell {
                path,
                cell: name.to_string(),
                found: names(&all),
            }),
            (None, [only]) => Ok(only),
            (None, []) => Err(LayoutError::Empty(path)),
            (None, tops) => {
                let tops: Vec<&str> = tops.iter().map(|s| s.name.as_str()).collect();
                Err(LayoutError::ManyCells { path, found: names(&tops) })
            }
        }
    }
}

fn references(cell: &GdsStruct) -> impl Iterator<Item = &str> {
    cell.elems.iter().filter_map(|element| match element {
        GdsElement::GdsStructRef(reference) => Some(reference.name.as_str()),
        GdsElement::GdsArrayRef(reference) => Some(reference.name.as_str()),
        _ => None,
    })
}

/// x' = a x + b y + c, y' = d x + e y + f.
#[derive(Clone, Copy)]
struct Transform([f64; 6]);

impl Transform {
    fn scale(by: f64) -> Self {
        Self([by, 0.0, 0.0, 0.0, by, 0.0])
    }

    /// GDSII's order: reflect about x, magnify, rotate, move.
    fn placement(strans: Option<&GdsStrans>, at: [f64; 2]) -> Self {
        let (reflected, mag, angle) = strans.map_or((false, 1.0, 0.0), |s| {
            (s.reflected, s.mag.unwrap_or(1.0), s.angle.unwrap_or(0.0))
        });
        let (sin, cos) = exact_sin_cos(angle);
        let flip = if reflected { -1.0 } else { 1.0 };
        Self([mag * cos, -flip * mag * sin, at[0], mag * sin, flip * mag * cos, at[1]])
    }

    fn apply(&self, p: [f64; 2]) -> [f64; 2] {
        let [a, b, c, d, e, f] = self.0;
        [a * p[0] + b * p[1] + c, d * p[0] + e * p[1] + f]
    }

    /// First `inner`, then this.
    fn after(&self, inner: &Self) -> Self {
        let [c, f] = self.apply([inner.0[2], inner.0[5]]);
        let linear =
            |x: f64, y: f64| [self.0[0] * x + self.0[1] * y, self.0[3] * x + self.0[4] * y];
        let ([a, d], [b, e]) = (linear(inner.0[0], inner.0[3]), linear(inner.0[1], inner.0[4]));
        Self([a, b, c, d, e, f])
    }
}

/// Sine and cosine of an angle in degrees, exact for quarter turns.
fn exact_sin_cos(degrees: f64) -> (f64, f64) {
    match degrees.rem_euclid(360.0) {
        0.0 => (0.0, 1.0),
        90.0 => (1.0, 0.0),
        180.0 => (0.0, -1.0),
        270.0 => (-1.0, 0.0),
        other => (other * PI / 180.0).sin_cos(),
    }
}

/// The flattened polygons so far.
struct Flat<'a> {
    cells: &'a Cells<'a>,
    by_layer: BTreeMap<Layer, Vec<Polygon>>,
    count: usize,
    problem: Option<String>,
}

fn xy(p: &GdsPoint) -> [f64; 2] {
    [f64::from(p.x), f64::from(p.y)]
}

impl Flat<'_> {
    fn fail(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    fn add_cell(&mut self, cell: &GdsStruct, transform: &Transform, depth: usize) {
        if depth > DEEPEST {
            self.fail(format!("cell {:?} is nested more than {DEEPEST} deep: a cycle?", cell.name));
        }
        for element in &cell.elems {
            if self.problem.is_some() {
                return;
            }
            self.add_element(element, transform, depth);
        }
    }

    fn add_element(&mut self, element: &GdsElement, transform: &Transform, depth: usize) {
        match element {
            GdsElement::GdsBoundary(b) => {
                let points = b.xy.iter().map(xy).collect();
                self.add_polygon((b.layer, b.datatype), points, transform);
            }
            GdsElement::GdsBox(b) => {
                self.add_polygon((b.layer, b.boxtype), b.xy.iter().map(xy).collect(), transform);
            }
            GdsElement::GdsPath(p) => {
                for points in path_outlines(p) {
                    self.add_polygon((p.layer, p.datatype), points, transform);
                }
            }
            GdsElement::GdsStructRef(r) => {
                let place = Transform::placement(r.strans.as_ref(), xy(&r.xy));
                self.add_reference(&r.name, &transform.after(&place), depth);
            }
            GdsElement::GdsArrayRef(array) => self.add_array(array, transform, depth),
            GdsElement::GdsTextElem(_) | GdsElement::GdsNode(_) => {}
        }
    }

    fn add_array(&mut self, array: &gds21::GdsArrayRef, transform: &Transform, depth: usize) {
        let [origin, end_column, end_row] = [0, 1, 2].map(|i| xy(&array.xy[i]));
        let (columns, rows) = (array.cols.max(0), array.rows.max(0));
        let step = |end: [f64; 2], count: i16| {
            [0, 1].map(|i| (end[i] - origin[i]) / f64::from(count.max(1)))
        };
        let (dc, dr) = (step(end_column, columns), step(end_row, rows));
        for row in 0..rows {
            for column in 0..columns {
                let at =
                    [0, 1].map(|i| origin[i] + f64::from(column) * dc[i] + f64::from(row) * dr[i]);
                let place = Transform::placement(array.strans.as_ref(), at);
                self.add_reference(&array.name, &transform.after(&place), depth);
                if self.problem.is_some() {
                    return;
                }
            }
        }
    }

    fn add_reference(&mut self, name: &str, transform: &Transform, depth: usize) {
        match self.cells.by_name.get(name) {
            Some(cell) => self.add_cell(cell, transform, depth + 1),
            None => self.fail(format!("it refers to cell {name:?}, which it does not have")),
        }
    }

    fn add_polygon(&mut self, layer: (i16, i16), mut points: Vec<[f64; 2]>, transform: &Transform) {
        if points.first() == points.last() {
            points.pop();
        }
        if points.len() < 3 {
            return;
        }
        self.count += 1;
        if self.count > MOST_POLYGONS {
            return self.fail(format!("it has more than {MOST_POLYGONS} polygons when flattened"));
        }
        let points = points.into_iter().map(|p| transform.apply(p)).collect();
        let layer = Layer { layer: layer.0, datatype: layer.1 };
        self.by_layer.entry(layer).or_default().push(Polygon::new(points));
    }
}

/// A path's area: a box for each segment, and a square at each corner, which together are the
/// path with mitred right angles. Ends by path type: 0 flush, 1 round (drawn as octagon), 2 by half
/// the width, 4 by the path's own extensions.
fn path_outlines(path: &GdsPath) -> Vec<Vec<[f64; 2]>> {
    let half = f64::from(path.width.unwrap_or(0).abs()) / 2.0;
    let points: Vec<[f64; 2]> = path.xy.iter().map(xy).collect();
    if half == 0.0 || points.len() < 2 {
        return Vec::new();
    }
    let kind = path.path_type.unwrap_or(0);
    let ends = match kind {
        2 => [half, half],
        4 => [path.begin_extn, path.end_extn].map(|e| f64::from(e.unwrap_or(0))),
        _ => [0.0, 0.0],
    };
    let last = points.len() - 2;
    let segment = |i: usize| {
        let before = if i == 0 { ends[0] } else { 0.0 };
        let after = if i == last { ends[1] } else { 0.0 };
        segment_outline(points[i], points[i + 1], half, before, after)
    };
    let mut outlines: Vec<_> = (0..=last).filter_map(segment).collect();
    outlines.extend(points.windows(3).filter_map(|p| corner_outline([p[0], p[1], p[2]], half)));
    if kind == 1 {
        outlines.extend([points[0], points[last + 1]].map(|p| octagon(p, half)));
    }
    outlines
}

fn direction(from: [f64; 2], to: [f64; 2]) -> Option<[f64; 2]> {
    let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
    let length = dx.hypot(dy);
    (length > 0.0).then(|| [dx / length, dy / length])
}

fn segment_outline(
    from: [f64; 2],
    to: [f64; 2],
    half: f64,
    before: f64,
    after: f64,
) -> Option<Vec<[f64; 2]>> {
    let [dx, dy] = direction(from, to)?;
    let a = [from[0] - dx * before, from[1] - dy * before];
    let b = [to[0] + dx * after, to[1] + dy * after];
    let side = |p: [f64; 2], s: f64| [p[0] - dy * half * s, p[1] + dx * half * s];
    Some(vec![side(a, 1.0), side(b, 1.0), side(b, -1.0), side(a, -1.0)])
}

/// The outer wedge between two segments: the two outer corners, the mitre's tip and the joint.
fn corner_outline(points: [[f64; 2]; 3], half: f64) -> Option<Vec<[f64; 2]>> {
    let (a, b) = (direction(points[0], points[1])?, direction(points[1], points[2])?);
    let cross = a[0] * b[1] - a[1] * b[0];
    let dot = a[0] * b[0] + a[1] * b[1];
    if cross.abs() < 1e-12 || dot < -0.95 {
        return None; // straight on, or so sharp that a mitre would shoot far out
    }
    let [x, y] = points[1];
    let outer = -cross.signum() * half;
    let one = [x - a[1] * outer, y + a[0] * outer];
    let two = [x - b[1] * outer, y + b[0] * outer];
    let reach = outer / (1.0 + dot);
    let tip = [x - (a[1] + b[1]) * reach, y + (a[0] + b[0]) * reach];
    Some(vec![[x, y], one, tip, two])
}

fn octagon(centre: [f64; 2], radius: f64) -> Vec<[f64; 2]> {
    let corner = |i: u32| {
        let (sin, cos) = ((f64::from(i) + 0.5) * PI / 4.0).sin_cos();
        let r = radius / (PI / 8.0).cos();
        [centre[0] + r * cos, centre[1] + r * sin]
    };
    (0..8).map(corner).collect()
}

/// Encodes polygons as a library with one cell, one layer and a database unit of `unit_nm`.
///
/// # Errors
///
/// [`LayoutError::Damaged`] if a coordinate does not fit GDSII's 32 bits, or a polygon has more
/// corners than its 8,190.
pub fn encode(
    path: &Path,
    layout: &Layout,
    layer: Layer,
    unit_nm: f64,
) -> Result<Vec<u8>, LayoutError> {
    let mut cell = GdsStruct::new(cell_name(&layout.name));
    for polygon in &layout.polygons {
        for part in within_gds_limit(polygon) {
            let xy = closed_points(&part, unit_nm).map_err(|e| damage(path, e))?;
            let Layer { layer, datatype } = layer;
            let boundary = gds21::GdsBoundary { layer, datatype, xy, ..Default::default() };
            cell.elems.push(GdsElement::GdsBoundary(boundary));
        }
    }
    let mut library = GdsLibrary::new("lithoburn");
    library.units = gds21::GdsUnits::new(unit_nm * 1e-3, unit_nm * 1e-9);
    // A fixed date: the same mask is the same file.
    library.set_all_dates(gds21::GdsDateTime {
        year: 100,
        month: 1,
        day: 1,
        hour: 0,
        minute: 0,
        second: 0,
    });
    library.structs.push(cell);
    let mut bytes = Vec::new();
    library.write(&mut bytes).map_err(|e| damage(path, format!("{e:?}")))?;
    Ok(bytes)
}

/// GDSII allows letters, digits and `_?$`, 32 of them.
fn cell_name(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || "_?$".contains(c) { c } else { '_' };
    name.chars().map(legal).take(32).collect()
}

/// A polygon as it is, or its rectangles if it has too many corners for one record.
fn within_gds_limit(polygon: &Polygon) -> Vec<Polygon> {
    const MOST_CORNERS: usize = 8190;
    if polygon.points.len() <= MOST_CORNERS {
        return vec![polygon.clone()];
    }
    let b = polygon.bounds();
    let middle = f64::midpoint(b.min[1], b.max[1]).round();
    let halves =
        [(b.min[1], middle), (middle, b.max[1])].map(|(y0, y1)| clip_rows(polygon, y0, y1));
    halves.iter().flat_map(within_gds_limit).collect()
}

/// The part of a polygon between two heights (Sutherland and Hodgman).
fn clip_rows(polygon: &Polygon, y0: f64, y1: f64) -> Polygon {
    let cut = |points: &[[f64; 2]], y: f64, keep: &dyn Fn(f64) -> bool| {
        let mut out = Vec::new();
        for (a, b) in Polygon::new(points.to_vec()).edges() {
            if keep(a[1]) {
                out.push(a);
            }
            if keep(a[1]) != keep(b[1]) {
                out.push([a[0] + (y - a[1]) * (b[0] - a[0]) / (b[1] - a[1]), y]);
            }
        }
        out
    };
    let above = cut(&polygon.points, y0, &|y| y >= y0);
    Polygon::new(cut(&above, y1, &|y| y <= y1))
}

fn closed_points(polygon: &Polygon, unit_nm: f64) -> Result<Vec<GdsPoint>, String> {
    let coordinate = |nm: f64| {
        let units = (nm / unit_nm).round();
        match units.abs() <= f64::from(i32::MAX) {
            true => Ok(units as i32),
            false => Err(format!("coordinate {nm} nm does not fit 32 bits of {unit_nm} nm")),
        }
    };
    let point = |p: &[f64; 2]| Ok(GdsPoint::new(coordinate(p[0])?, coordinate(p[1])?));
    let mut points = polygon.points.iter().map(point).collect::<Result<Vec<_>, String>>()?;
    points.extend(points.first().cloned());
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gds21::{GdsArrayRef, GdsBoundary, GdsStructRef};

    const PATH: &str = "test.gds";

    fn library(structs: Vec<GdsStruct>) -> Vec<u8> {
        let mut library = GdsLibrary::new("test");
        library.units = gds21::GdsUnits::new(1e-4, 1e-10);
        library.structs = structs;
        let mut bytes = Vec::new();
        library.write(&mut bytes).expect("writing to memory");
        bytes
    }

    fn cell(name: &str, elems: Vec<GdsElement>) -> GdsStruct {
        let mut cell = GdsStruct::new(name);
        cell.elems = elems;
        cell
    }

    fn bar() -> GdsStruct {
        let xy = GdsPoint::vec(&[(0, 0), (1000, 0), (1000, 400), (0, 400), (0, 0)]);
        cell(
            "BAR",
            vec![GdsElement::GdsBoundary(GdsBoundary { layer: 11, xy, ..Default::default() })],
        )
    }

    fn read(bytes: &[u8]) -> Result<Layout, LayoutError> {
        parse(Path::new(PATH), bytes, &ReadOptions::default())
    }

    #[test]
    fn rotation_reflection_magnification_and_database_unit_are_resolved() -> Result<(), LayoutError>
    {
        let strans =
            GdsStrans { reflected: true, mag: Some(2.0), angle: Some(90.0), ..Default::default() };
        let reference = GdsStructRef {
            name: "BAR".into(),
            xy: GdsPoint::new(5000, 0),
            strans: Some(strans),
            ..Default::default()
        };
        let top = cell("TOP", vec![GdsElement::GdsStructRef(reference)]);
        let layout = read(&library(vec![bar(), top]))?;
        // 100 x 40 nm, doubled, reflected about x, turned by 90 degrees, moved by 500 nm.
        let b = layout.polygons[0].bounds();
        assert_eq!((b.min, b.max), ([500.0, 0.0], [580.0, 200.0]));
        Ok(())
    }

    #[test]
    fn an_array_is_repeated() -> Result<(), LayoutError> {
        let array = GdsArrayRef {
            name: "BAR".into(),
            xy: [GdsPoint::new(0, 0), GdsPoint::new(6000, 0), GdsPoint::new(0, 2000)],
            cols: 3,
            rows: 2,
            ..Default::default()
        };
        let top = cell("TOP", vec![GdsElement::GdsArrayRef(array)]);
        let layout = read(&library(vec![bar(), top]))?;
        assert_eq!(layout.polygons.len(), 6);
        let b = layout.bounds().expect("there are polygons");
        assert_eq!((b.min, b.max), ([0.0, 0.0], [500.0, 140.0]));
        Ok(())
    }

    #[test]
    fn a_path_with_a_corner_has_the_area_of_its_outline() -> Result<(), LayoutError> {
        let path = GdsPath {
            layer: 1,
            xy: GdsPoint::vec(&[(0, 0), (10000, 0), (10000, 10000)]),
            width: Some(1000),
            path_type: Some(2),
            ..Default::default()
        };
        let layout = read(&library(vec![cell("TOP", vec![GdsElement::GdsPath(path)])]))?;
        let frame =
            crate::Frame { origin_nm: [-100.0, -100.0], pixel_nm: 10.0, width: 200, height: 200 };
        let area = layout.rasterize(&frame, crate::Coverage::Exact).area_nm2();
        // Two arms of 1100 x 100 nm that share a corner of 100 x 100 nm.
        assert!((area - (2.0 * 1100.0 * 100.0 - 100.0 * 100.0)).abs() < 1.0, "{area}");
        Ok(())
    }

    #[test]
    fn what_is_written_is_read_back() -> Result<(), LayoutError> {
        let shapes = vec![Polygon::rectangle(-10.0, 5.0, 90.0, 500.0)];
        let layout = Layout::new("mask", shapes);
        let layer = Layer { layer: 11, datatype: 10 };
        assert_eq!(read(&encode(Path::new(PATH), &layout, layer, 1.0)?)?.polygons, layout.polygons);
        Ok(())
    }

    #[test]
    fn a_cycle_a_missing_cell_and_a_cut_are_errors() {
        let loops = |name: &str| {
            let reference = GdsStructRef { name: name.into(), ..Default::default() };
            cell("A", vec![GdsElement::GdsStructRef(reference)])
        };
        let with_cell = ReadOptions { cell: Some("A".into()), ..Default::default() };
        let read = |bytes: &[u8]| {
            parse(Path::new(PATH), bytes, &with_cell).expect_err("damaged").to_string()
        };
        assert!(read(&library(vec![loops("A")])).contains("cycle"));
        assert!(read(&library(vec![loops("B")])).contains("\"B\""));
        let whole = library(vec![bar()]);
        assert!(read(&whole[..whole.len() - 10]).contains("cut short"));
    }
}
