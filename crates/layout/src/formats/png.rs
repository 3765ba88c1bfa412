//! PNG: a pixel at half brightness or more is inside, where it is not transparent.

use std::io::Cursor;
use std::path::Path;

use rayon::prelude::*;

use crate::{Bounds, Layout, LayoutError, Raster, trace};

/// What every file begins with.
pub(crate) const MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Largest image we decode, in pixels: 16384².
const MOST_PIXELS: u64 = 1 << 28;

/// Corners of polygons along an image's pixels that we keep: 512 MiB of them.
const MOST_CORNERS: usize = 1 << 25;

/// Reads an image as polygons along its pixels' edges. Its window is the whole image.
///
/// # Errors
///
/// [`LayoutError::Damaged`] if the bytes are no PNG, or the image is empty or unreasonably large;
/// [`LayoutError::TooMuch`] if its shapes are.
pub fn parse(path: &Path, bytes: &[u8], pixel_nm: f64) -> Result<Layout, LayoutError> {
    let raster = decode(path, bytes, pixel_nm)?;
    let corners = trace::corners(&raster);
    if corners > MOST_CORNERS {
        let problem = format!("{corners} corners of shapes; expected at most {MOST_CORNERS}");
        return Err(LayoutError::TooMuch { path: path.to_path_buf(), problem });
    }
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
    let image = reader().decode().map_err(|e| damaged(e.to_string()))?;
    let data = match image.color().has_alpha() {
        false => image.into_luma8().iter().map(|&v| f32::from(v) / 255.0).collect(),
        true => {
            // What is transparent shows the dark behind it.
            let pixels = image.into_luma_alpha8();
            pixels.pixels().map(|p| f32::from(p.0[0]) * f32::from(p.0[1]) / 65_025.0).collect()
        }
    };
    Ok(Raster { width: width as usize, height: height as usize, pixel_nm, data })
}

/// Whether a length can be a pixel's side.
pub(crate) fn check_pixel(pixel_nm: f64) -> Result<(), LayoutError> {
    match pixel_nm.is_finite() && pixel_nm > 0.0 {
        true => Ok(()),
        false => Err(LayoutError::Grid(format!("pixel size must be positive, got {pixel_nm} nm"))),
    }
}

/// Encodes a raster as an 8-bit grey image, 1 as white; what is no number is black.
///
/// # Errors
///
/// [`LayoutError::Grid`] if the raster has no pixels, or not as many as its width and height say.
pub fn encode(raster: &Raster) -> Result<Vec<u8>, LayoutError> {
    let Raster { width, height, data, .. } = raster;
    let unfit = |problem: &str| {
        let pixels = data.len();
        LayoutError::Grid(format!("no PNG has {width} x {height} pixels of {pixels}: {problem}"))
    };
    let [w, h] = [width, height].map(|&side| u32::try_from(side).unwrap_or(0));
    if w == 0 || h == 0 || width.checked_mul(*height) != Some(data.len()) {
        return Err(unfit("expected as many values as there are pixels, and some"));
    }
    let grey = |v: &f32| (v.clamp(0.0, 1.0) * 255.0).round() as u8;
    let grey: Vec<u8> = data.par_iter().map(grey).collect();
    let mut bytes = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    image::ImageEncoder::write_image(encoder, &grey, w, h, image::ExtendedColorType::L8)
        .map_err(|e| unfit(&e.to_string()))?;
    Ok(bytes)
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
        let layout = parse(Path::new("x.png"), &encode(&raster)?, 2.0)?;
        let frame = Frame { origin_nm: [0.0, 0.0], pixel_nm: 2.0, width: 40, height: 24 };
        assert_eq!(layout.rasterize(&frame, Coverage::Exact).data, raster.data);
        Ok(())
    }

    #[test]
    fn what_is_transparent_is_outside() -> Result<(), LayoutError> {
        let pixels = [[255, 255], [255, 0], [0, 255], [200, 200]].concat();
        let mut bytes = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
        image::ImageEncoder::write_image(encoder, &pixels, 4, 1, image::ExtendedColorType::La8)
            .expect("an image");
        let found = decode(Path::new("x.png"), &bytes, 1.0)?;
        assert_eq!(found.binary(), [true, false, false, true]);
        Ok(())
    }

    #[test]
    fn a_raster_that_is_no_image_is_an_error_instead_of_an_empty_file() {
        assert!(encode(&Raster::new(0, 4, 1.0)).is_err());
        let short = Raster { width: 4, height: 4, pixel_nm: 1.0, data: vec![0.0; 3] };
        let error = encode(&short).expect_err("too short").to_string();
        assert!(error.contains("4 x 4 pixels of 3"), "{error}");
    }
}
