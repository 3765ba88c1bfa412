//! Images that requests carry: files of pixels, and fields of layouts.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use lithoburn_layout::{Bounds, Coverage, Format, Frame, Layout, Library, ReadOptions};

/// How layouts become images.
pub(super) struct Fields {
    /// Height and width of a field, in px.
    pub sides: [usize; 2],
    /// Side of a pixel, in nm.
    pub pixel_nm: f64,
    /// Most fields of a layout.
    pub most: usize,
}

impl Fields {
    /// The images of files: a file of raw pixels is one, a layout as many as fields side by side hold something of it.
    pub(super) fn of(&self, files: &[PathBuf]) -> Result<Vec<Vec<f32>>> {
        let mut all = Vec::new();
        for file in files {
            match Format::of(file) {
                Some(_) => all.extend(self.of_layout(file)?),
                None => all.push(raw(file)?),
            }
        }
        Ok(all)
    }

    fn of_layout(&self, file: &Path) -> Result<Vec<Vec<f32>>> {
        if !(self.pixel_nm.is_finite() && self.pixel_nm > 0.0) {
            bail!("--pixel {}: expected the side of a pixel in nm, such as 2", self.pixel_nm);
        }
        let options = ReadOptions { pixel_nm: self.pixel_nm, ..ReadOptions::default() };
        let library = Library::read(file, &options)?;
        let Bounds { min, max } = library.extent();
        let [height, width] = self.sides;
        let step = [width, height].map(|pixels| pixels as f64 * self.pixel_nm);
        let count = [0, 1].map(|axis| ((max[axis] - min[axis]) / step[axis]).ceil().max(1.0));
        let mut images = Vec::new();
        for place in 0..(count[0] * count[1]) as u64 {
            let [column, row] = [place % count[0] as u64, place / count[0] as u64];
            let origin_nm = [min[0] + column as f64 * step[0], min[1] + row as f64 * step[1]];
            let frame = Frame { origin_nm, pixel_nm: self.pixel_nm, width, height };
            let polygons = library.polygons_in(frame.bounds())?;
            if polygons.is_empty() {
                continue;
            }
            images.push(Layout::new("field", polygons).rasterize(&frame, Coverage::Exact).data);
            if images.len() == self.most {
                break;
            }
        }
        Ok(images)
    }
}

/// The pixels of a file.
fn raw(file: &Path) -> Result<Vec<f32>> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let (pixels, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        let length = bytes.len();
        bail!(
            "{} has {length} bytes; expected raw FP32, four a pixel, or a layout: .gds, .oas, .glp, .png",
            file.display()
        );
    }
    Ok(pixels.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

#[cfg(test)]
mod tests {
    use lithoburn_layout::{Layer, Polygon, gds};

    use super::*;

    #[test]
    fn a_layout_is_cut_into_fields_that_hold_something_and_other_files_are_pixels() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("bars.gds");
        // Fields of 64 by 32 nm: the first, the third of the first row, and one of the second row.
        let bars = [[0.0, 0.0], [130.0, 4.0], [70.0, 40.0]]
            .map(|[x, y]| Polygon::rectangle(x, y, x + 20.0, y + 8.0));
        let layout = Layout::new("bars", bars.into());
        std::fs::write(&path, gds::encode(&path, &layout, Layer::default(), 1.0)?)?;
        let pixels = folder.path().join("a.f32");
        std::fs::write(&pixels, [0.0_f32, 1.0].map(f32::to_le_bytes).concat())?;
        let fields = Fields { sides: [16, 32], pixel_nm: 2.0, most: 9 };
        let images = fields.of(&[path.clone(), pixels])?;
        let covered: Vec<f32> = images.iter().map(|image| image.iter().sum()).collect();
        assert_eq!(covered, [40.0, 40.0, 40.0, 1.0]);
        assert!(images[..3].iter().all(|image| image.len() == 16 * 32));
        assert_eq!(images[0][..12], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(Fields { most: 2, ..fields }.of(&[path])?.len(), 2);
        Ok(())
    }
}
