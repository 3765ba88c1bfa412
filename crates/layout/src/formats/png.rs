//! PNG: a pixel at half brightness or more is inside.

use std::io::Cursor;
use std::path::Path;

use crate::{Bounds, Layout, LayoutError, Raster, trace};

/// Largest image we decode, in pixels: 16384².
const MOST_PIXELS: u64 = 1 << 28;

/// Reads an image as polygons along its pixels' edges. Its window is the whole image.
///
/// # Errors
///
/// [`LayoutError::Damaged`] if the bytes are no PNG, or the image is empty or unreasonably large.
pub fn parse(path: &Path, bytes: &[u8], pixel_nm: f64) -> Result<Layout, LayoutError> {
    let raster = decode(path, bytes, pixel_nm)?;
    let mut layout = Layout::new("image", trace::polygons(&raster, [0.0, 0.0]));
    let max = [raster.width as f64 * pixel_nm, raster.height as f64 * pixel_nm];
    layout.window = Some(Bounds { min: [0.0, 0.0], max });
    Ok(layout)
}

/// Decodes an image to grey values in 0 to 1.
///
/// # Errors
///
/// As [`parse`].
pub fn decode(path: &Path, bytes: &[u8], pixel_nm: f64) -> Result<Raster, LayoutError> {
    let damaged =
        |problem: String| LayoutError::Damaged { path: path.to_path_buf(), format: "PNG", problem };
    check_pixel(pixel_nm)?;
    let reader = || image::ImageReader::with_format(Cursor::new(bytes), image::ImageFormat::Png);
    let (width, height) = reader().into_dimensions().map_err(|e| damaged(e.to_string()))?;
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(damaged(format!("{width} x {height} pixels are more than {MOST_PIXELS}")));
    }
    let grey = reader().decode().map_err(|e| damaged(e.to_string()))?.into_luma8();
    let data = grey.as_raw().iter().map(|&v| f32::from(v) / 255.0).collect();
    Ok(Raster { width: width as usize, height: height as usize, pixel_nm, data })
}

/// Whether a length can be a pixel's side.
pub(crate) fn check_pixel(pixel_nm: f64) -> Result<(), LayoutError> {
    match pixel_nm.is_finite() && pixel_nm > 0.0 {
        true => Ok(()),
        false => Err(LayoutError::Grid(format!("pixel size must be positive, got {pixel_nm} nm"))),
    }
}

/// Encodes a raster as an 8-bit grey image, 1 as white.
pub fn encode(raster: &Raster) -> Vec<u8> {
    let level = |&v: &f32| (v.clamp(0.0, 1.0) * 255.0).round() as u8;
    let grey: Vec<u8> = raster.data.iter().map(level).collect();
    let mut bytes = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    let (width, height) = (raster.width as u32, raster.height as u32);
    let written = image::ImageEncoder::write_image(
        encoder,
        &grey,
        width,
        height,
        image::ExtendedColorType::L8,
    );
    debug_assert!(written.is_ok(), "a raster's data fill its shape, and memory does not fail");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Coverage, Frame};

    #[test]
    fn an_image_comes_back_pixel_for_pixel() -> Result<(), LayoutError> {
        let mut raster = Raster::new(40, 24, 2.0);
        for (i, value) in raster.data.iter_mut().enumerate() {
            *value = f32::from(u8::from((i * i) % 7 < 3));
        }
        let layout = parse(Path::new("x.png"), &encode(&raster), 2.0)?;
        let frame = Frame { origin_nm: [0.0, 0.0], pixel_nm: 2.0, width: 40, height: 24 };
        assert_eq!(layout.rasterize(&frame, Coverage::Exact).data, raster.data);
        Ok(())
    }
}
