//! What solvers and training do to images: resizing, smoothing, rounding corners.

use burn::tensor::module::avg_pool2d;
use burn::tensor::ops::AvgPoolOptions;
use burn::tensor::{Bool, BoolStore, DType, Device, Tensor, TensorData};
use lithoburn_bitmap as bitmap;
use rayon::prelude::*;
use tracing::info_span;

use crate::LithoError;

/// A constant matrix from a function of row and column, computed in f64.
pub(crate) fn matrix(
    rows: usize,
    columns: usize,
    f: impl Fn(usize, usize) -> f64,
    device: &Device,
) -> Tensor<2> {
    let value = |i: usize| f(i / columns, i % columns) as f32;
    let values: Vec<f32> = (0..rows * columns).map(value).collect();
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}

/// A table `[rows, columns]` whose rows follow each other without a gap. CUDA aligns the rows of what is uploaded as a matrix, and kernels that index it
/// themselves would copy it in every call.
pub(crate) fn gapless(values: Vec<f32>, rows: usize, device: &Device) -> Tensor<2> {
    let (count, columns) = (values.len(), values.len() / rows);
    Tensor::<1>::from_data(TensorData::new(values, [count]), device).reshape([rows, columns])
}

/// 1 inside the free square of `n` pixels a side, 0 outside. `[1, n, n]`.
pub(crate) fn free_square(n: usize, pixel_nm: f64, free_nm: f64, device: &Device) -> Tensor<3> {
    let middle = n as f64 / 2.0;
    let open = |i: usize| ((i as f64 + 0.5 - middle) * pixel_nm).abs() <= free_nm / 2.0;
    let line: Vec<f32> = (0..n).map(|i| f32::from(u8::from(open(i)))).collect();
    let line = Tensor::<1>::from_floats(line.as_slice(), device);
    line.clone().reshape([1, n, 1]) * line.reshape([1, 1, n])
}

/// Mean over a box of `side` pixels (odd), zero outside: first along rows, then along columns. It is its own
/// adjoint.
pub fn smoothed(image: Tensor<3>, side: usize) -> Tensor<3> {
    if side <= 1 {
        return image;
    }
    match image.device() == Device::flex() {
        true => window_sums(window_sums(image, 2, side), 1, side) / (side * side) as f64,
        false => pooled(image, side),
    }
}

/// By pooling: two kernels, which is what counts on a GPU. On the CPU it takes twice the solver's time.
fn pooled(image: Tensor<3>, side: usize) -> Tensor<3> {
    let along = |size: [usize; 2]| {
        AvgPoolOptions::new(size)
            .with_stride([1, 1])
            .with_padding([size[0] / 2, size[1] / 2])
            .with_count_include_pad(true)
    };
    let along_x = avg_pool2d(image.unsqueeze_dim::<4>(1), along([1, side]));
    avg_pool2d(along_x, along([side, 1])).squeeze_dim(1)
}

/// Sums over `side` neighbours along a dimension, from sums over 1, 2, 4, … of them.
fn window_sums(image: Tensor<3>, dim: usize, side: usize) -> Tensor<3> {
    let mut shape = image.dims();
    let n = shape[dim];
    shape[dim] = side / 2;
    let zeros = Tensor::zeros(shape, &image.device());
    let mut runs = Tensor::cat(vec![zeros.clone(), image, zeros], dim);
    let (mut length, mut start, mut total) = (1, 0, None);
    loop {
        if side & length != 0 {
            let part = runs.clone().narrow(dim, start, n);
            start += length;
            total = Some(total.map_or(part.clone(), |sum: Tensor<3>| sum + part));
        }
        if 2 * length > side {
            break;
        }
        let size = runs.dims()[dim] - length;
        runs = runs.clone().narrow(dim, 0, size) + runs.narrow(dim, length, size);
        length *= 2;
    }
    total.unwrap_or(runs)
}

/// A square image on another grid of the same field: block means downwards, repetition upwards, and means by area where
/// the grids do not nest.
pub fn resized(image: Tensor<3>, size: usize) -> Tensor<3> {
    let [batch, n, _] = image.dims();
    match (n, size) {
        (n, size) if n == size => image,
        (n, size) if n.is_multiple_of(size) => {
            let factor = n / size;
            if has_kernels(&image) {
                return bitmap::shrunk(image, factor);
            }
            let blocks = image.reshape([batch, size, factor, size * factor]).mean_dim(2);
            blocks.reshape([batch, size, size, factor]).mean_dim(3).reshape([batch, size, size])
        }
        (n, size) if size.is_multiple_of(n) => {
            let factor = size / n;
            let columns = image.reshape([batch, n, n, 1]).repeat_dim(3, factor);
            let rows = columns.reshape([batch, n, 1, size]).repeat_dim(2, factor);
            rows.reshape([batch, size, size])
        }
        (n, size) => {
            let shares = shares(n, size, &image.device());
            let along = |x: Tensor<3>| {
                let [_, rows, _] = x.dims();
                let x = x.reshape([batch * rows, n]).matmul(shares.clone());
                x.reshape([batch, rows, size]).swap_dims(1, 2)
            };
            along(along(image))
        }
    }
}

/// Whether an image's device has kernels of our own for it.
fn has_kernels(image: &Tensor<3>) -> bool {
    bitmap::is_on(&image.device()) && image.dtype() == DType::F32
}

/// The share that each of `n` pixels along a side has in each of `size`: `[n, size]`.
fn shares(n: usize, size: usize, device: &Device) -> Tensor<2> {
    let share = |i: usize, j: usize| {
        // In units of 1 / (n size), so that all borders are whole.
        let (from, to) = ((i * size).max(j * n), ((i + 1) * size).min((j + 1) * n));
        to.saturating_sub(from) as f64 / n as f64
    };
    matrix(n, size, share, device)
}

/// A target with rounded corners: smoothed three times, which is nearly a Gaussian of `sigma_nm`, and
/// cut at one half. Edges stay where they are; corners, which no lens prints, become arcs.
pub(crate) fn rounded(target: Tensor<3>, sigma_nm: f64, pixel_nm: f64) -> Tensor<3> {
    let sigma = sigma_nm / pixel_nm;
    // Three boxes of s pixels have the variance (s² − 1) / 4.
    let side = (((4.0 * sigma * sigma + 1.0).sqrt() - 1.0) / 2.0).round() as usize * 2 + 1;
    if side <= 1 {
        return target;
    }
    if has_kernels(&target) && side / 2 <= bitmap::MOST_REACH {
        return bitmap::rounded(target, side / 2);
    }
    let smooth = (0..3).fold(target, |image, _| smoothed(image, side));
    smooth.greater_equal_elem(0.5).float()
}

/// An image's values; waits for the device.
pub(crate) fn read_back(image: Tensor<3>, doing: &'static str) -> Result<Vec<f32>, LithoError> {
    let _span = info_span!("read", doing).entered();
    image.try_into_vec_as::<f32>().map_err(|e| LithoError::Device { doing, problem: e.to_string() })
}

/// Values of a tensor of the CPU's, which can always be read.
pub(crate) fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.try_into_vec_as::<f32>().unwrap_or_else(|e| unreachable!("it is in memory: {e}"))
}

/// Whether each of an image's values is at least `level`; waits for the device.
pub(crate) fn read_bits(
    image: Tensor<3>,
    level: f64,
    doing: &'static str,
) -> Result<Vec<bool>, LithoError> {
    let _span = info_span!("read", doing).entered();
    let bits = image.greater_equal_elem(level).try_into_data();
    let bits = bits.map_err(|e| LithoError::Device { doing, problem: e.to_string() })?;
    Ok(match bits.dtype() {
        // A byte each, as most devices keep them: a million at a time is worth a faster way.
        DType::Bool(BoolStore::Native | BoolStore::U8) => {
            bits.as_bytes().par_iter().with_min_len(1 << 16).map(|&byte| byte != 0).collect()
        }
        _ => bits.iter::<bool>().collect(),
    })
}

/// An image of 0 and 1.
pub(crate) fn from_bits(bits: Vec<bool>, shape: [usize; 3], device: &Device) -> Tensor<3> {
    Tensor::<3, Bool>::from_data(TensorData::new(bits, shape), device).float()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(values: &[f32], n: usize) -> Tensor<3> {
        Tensor::<1>::from_floats(values, &Device::flex()).reshape([1, n, n])
    }

    fn values(image: Tensor<3>) -> Vec<f32> {
        image.try_into_vec_as::<f32>().expect("f32")
    }

    #[test]
    fn resizing_takes_means_and_repeats() {
        let fine: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let coarse = resized(image(&fine, 4), 2);
        assert_eq!(values(coarse.clone()), [2.5, 4.5, 10.5, 12.5]);
        assert_eq!(values(resized(coarse, 4))[..5], [2.5, 2.5, 4.5, 4.5, 2.5]);
    }

    /// From 3 pixels to 2, the middle one is halved; from 2 to 3, the middle one is the mean; and the whole stays whole.
    #[test]
    fn grids_that_do_not_nest_share_by_area() {
        let near = |found: Tensor<3>, expected: &[f32]| {
            let found = values(found);
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        };
        let row = |v: [f32; 3]| [v, v, v].concat();
        near(resized(image(&row([0.0, 3.0, 6.0]), 3), 2), &[1.0, 5.0, 1.0, 5.0]);
        near(resized(image(&[0.0, 6.0, 0.0, 6.0], 2), 3), &row([0.0, 3.0, 6.0]));
        let fine: Vec<f32> = (0..25).map(|i| ((i * 7) % 5) as f32).collect();
        let mean = |x: Tensor<3>| x.mean().into_scalar::<f32>();
        let fine = image(&fine, 5);
        assert!((mean(resized(fine.clone(), 8)) - mean(fine)).abs() < 1e-6);
    }

    #[test]
    fn smoothing_is_the_mean_over_a_box() {
        let mut point = vec![0.0; 49];
        point[24] = 9.0;
        let smooth = values(smoothed(image(&point, 7), 3));
        let near = |i: usize| (2..5).contains(&(i % 7)) && (2..5).contains(&(i / 7));
        assert!((0..49).all(|i| (smooth[i] - f32::from(u8::from(near(i)))).abs() < 1e-6));
        let pooled = values(pooled(image(&point, 7), 3));
        assert!(smooth.iter().zip(&pooled).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    /// Of a large square only the corners change; a bar four times as wide as sigma keeps its width.
    #[test]
    fn rounding_moves_corners_and_no_edges() {
        let n = 64;
        let inside = |i: usize| {
            let (x, y) = (i % n, i / n);
            (8..36).contains(&x) && (8..36).contains(&y) || (48..60).contains(&x)
        };
        let square: Vec<f32> = (0..n * n).map(|i| f32::from(u8::from(inside(i)))).collect();
        let round = values(rounded(image(&square, n), 6.0, 2.0));
        let changed: Vec<usize> = (0..n * n).filter(|&i| square[i] != round[i]).collect();
        assert!(!changed.is_empty());
        let near_corner = |i: &usize| {
            let near = |v: usize| v.abs_diff(8).min(v.abs_diff(35)) <= 4;
            near(i % n) && near(i / n)
        };
        // Beyond the border it is dark, so the bar ends there, within the boxes' reach.
        let in_bar_end = |i: &usize| i / n < 9 || i / n >= n - 9;
        assert!(changed.iter().all(|i| near_corner(i) || in_bar_end(i)));
    }
}
