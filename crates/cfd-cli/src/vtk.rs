//! Fields for ParaView: `fields.vtr` holds the grid as it is, `fields.vti` the pictures' window on equal pixels.
//!
//! Format: VTK XML, ASCII data in cells, x fastest; points and extents are those of the cells' corners.

use std::fmt::Write;

use crate::pictures::{Fields, Window};

/// A named field: one or three numbers for each cell.
struct Array {
    name: &'static str,
    components: usize,
    values: Vec<f64>,
}

/// The grid of the case, with its cells as they are.
pub(crate) fn rectilinear(fields: &Fields) -> String {
    let grid = fields.grid();
    let arrays = arrays(fields, &fields.velocity, |values| values.to_vec(), &fields.flow.fluid());
    let extent = format!("0 {} 0 {} 0 0", grid.nx(), grid.ny());
    let mut coordinates = String::from("      <Coordinates>\n");
    for (name, places) in [("x", grid.x()), ("y", grid.y()), ("z", &[0.0])] {
        data_array(&mut coordinates, &Array { name, components: 1, values: places.to_vec() });
    }
    coordinates.push_str("      </Coordinates>\n");
    document("RectilinearGrid", &extent, "", &(cells(&arrays) + &coordinates))
}

/// A window on equal cells, about as fine as the grid's finest.
pub(crate) fn image(fields: &Fields, window: Window) -> String {
    let window = window.within(fields.grid());
    let [nx, ny] = pixels(fields, window);
    let spacing = [window.width() / nx as f64, window.height() / ny as f64];
    let middle = |k: usize| {
        let at = [k % nx, k / nx];
        let corner = [window.x[0], window.y[0]];
        [0, 1].map(|i| corner[i] + (at[i] as f64 + 0.5) * spacing[i])
    };
    let places: Vec<[f64; 2]> = (0..nx * ny).map(middle).collect();
    let sampled = |values: &[f64]| places.iter().map(|&p| fields.at(values, p)).collect();
    let velocity: Vec<[f64; 2]> = places.iter().map(|&p| fields.velocity_at(p)).collect();
    let cell = spacing[0].min(spacing[1]);
    let share = |&p: &[f64; 2]| (0.5 + fields.distance(p) / cell).clamp(0.0, 1.0);
    let fluid: Vec<f64> = places.iter().map(share).collect();
    let extent = format!("0 {nx} 0 {ny} 0 0");
    let origin = format!(
        " Origin=\"{} {} 0\" Spacing=\"{} {} 1\"",
        window.x[0], window.y[0], spacing[0], spacing[1]
    );
    document("ImageData", &extent, &origin, &cells(&arrays(fields, &velocity, sampled, &fluid)))
}

/// Cells of the window: as many as the grid's finest would be, within reason.
fn pixels(fields: &Fields, window: Window) -> [usize; 2] {
    let finest = |faces: &[f64]| {
        faces.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min)
    };
    let grid = fields.grid();
    let count = |length: f64, faces: &[f64]| ((length / finest(faces)) as usize).clamp(16, 512);
    [count(window.width(), grid.x()), count(window.height(), grid.y())]
}

fn arrays(
    fields: &Fields,
    velocity: &[[f64; 2]],
    take: impl Fn(&[f64]) -> Vec<f64>,
    fluid: &[f64],
) -> Vec<Array> {
    let one = |name, values| Array { name, components: 1, values };
    let spatial = velocity.iter().flat_map(|v| [v[0], v[1], 0.0]).collect();
    let mut all = vec![
        Array { name: "velocity", components: 3, values: spatial },
        one("pressure", take(&fields.pressure)),
        one("vorticity", take(&fields.vorticity)),
        one("fluid", fluid.to_vec()),
    ];
    if let Some(temperature) = &fields.temperature {
        all.push(one("temperature", take(temperature)));
    }
    if let Some(density) = &fields.flow.case().density {
        all.push(one("density", take(&density.design)));
    }
    all
}

fn cells(arrays: &[Array]) -> String {
    let mut text = String::from("      <CellData Vectors=\"velocity\" Scalars=\"pressure\">\n");
    arrays.iter().for_each(|array| data_array(&mut text, array));
    text + "      </CellData>\n"
}

fn data_array(text: &mut String, array: &Array) {
    let Array { name, components, values } = array;
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "        <DataArray type=\"Float64\" Name=\"{name}\" NumberOfComponents=\"{components}\" format=\"ascii\">"
    );
    for (i, value) in values.iter().enumerate() {
        let gap = if i % 6 == 0 { '\n' } else { ' ' };
        // VTK's reader knows no NaN; a value that is none would make the file unreadable.
        let value = if value.is_finite() { *value } else { 0.0 };
        let _ = write!(text, "{gap}{value:e}");
    }
    text.push_str("\n        </DataArray>\n");
}

fn document(kind: &str, extent: &str, attributes: &str, piece: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n\
         <VTKFile type=\"{kind}\" version=\"1.0\" byte_order=\"LittleEndian\" header_type=\"UInt64\">\n\
         \x20 <{kind} WholeExtent=\"{extent}\"{attributes}>\n\
         \x20   <Piece Extent=\"{extent}\">\n{piece}    </Piece>\n  </{kind}>\n</VTKFile>\n"
    )
}

#[cfg(test)]
mod tests {
    use lithoburn_cfd::{Grid, cases};

    use super::*;

    /// What stands between a tag with a name and its end, as numbers.
    fn read(text: &str, name: &str) -> Vec<f64> {
        let from = text.find(&format!("Name=\"{name}\"")).expect("the array");
        let body = &text[from..];
        let (start, end) = (body.find('>').expect("a tag"), body.find("</").expect("its end"));
        body[start + 1..end].split_whitespace().map(|v| v.parse().expect("a number")).collect()
    }

    #[test]
    fn both_files_hold_every_cell_with_the_flows_own_numbers() {
        let grid = Grid::uniform([0.0, 1.0], [0.0, 1.0], 16, 8).expect("a grid");
        let flow = cases::cavity(10.0, grid).expect("a case").solve().expect("a flow");
        let fields = Fields::of(&flow);
        let text = rectilinear(&fields);
        assert!(text.contains("WholeExtent=\"0 16 0 8 0 0\""));
        assert_eq!(read(&text, "x"), fields.grid().x());
        assert_eq!(read(&text, "pressure"), flow.pressure());
        let velocity = read(&text, "velocity");
        assert_eq!(velocity.len(), 3 * 128);
        assert_eq!([velocity[3 * 77], velocity[3 * 77 + 1]], flow.velocity()[77]);
        // A window that is the grid, on its own cells: the same numbers.
        let image = image(&fields, Window::all(fields.grid()));
        assert!(image.contains("WholeExtent=\"0 16 0 16 0 0\"") && image.contains("ImageData"));
        assert_eq!(read(&image, "pressure").len(), 256);
        let tags = |open: &str| image.matches(open).count();
        assert_eq!(tags("<DataArray"), tags("</DataArray>"));
    }
}
