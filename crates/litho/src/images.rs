//! What solvers and training do to images: resizing, smoothing, rounding corners.

use burn::tensor::module::avg_pool2d;
use burn::tensor::ops::AvgPoolOptions;
use burn::tensor::{Device, Tensor};

use crate::Sampling;

/// 1 inside the free square, 0 outside. `[1, n, n]`.
pub(crate) fn free_window(grid: &Sampling, free_nm: f64, device: &Device) -> Tensor<3> {
    free_square(grid.size, grid.pixel_nm, free_nm, device)
}

/// As [`free_window`], of `n` pixels a side.
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

/// A square image on another grid: block means downwards, repetition upwards.
///
/// # Panics
///
/// If neither size divides the other: our own grids do.
pub fn resized(image: Tensor<3>, size: usize) -> Tensor<3> {
    let [batch, n, _] = image.dims();
    match (n, size) {
        (n, size) if n == size => image,
        (n, size) if n % size == 0 => {
            let factor = n / size;
            let blocks = image.reshape([batch, size, factor, size * factor]).mean_dim(2);
            blocks.reshape([batch, size, size, factor]).mean_dim(3).reshape([batch, size, size])
        }
        (n, size) => {
            assert_eq!(size % n, 0, "grids of {n} and {size} pixels do not nest");
            let factor = size / n;
            let columns = image.reshape([batch, n, n, 1]).repeat_dim(3, factor);
            let rows = columns.reshape([batch, n, 1, size]).repeat_dim(2, factor);
            rows.reshape([batch, size, size])
        }
    }
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
    let smooth = (0..3).fold(target, |image, _| smoothed(image, side));
    smooth.greater_equal_elem(0.5).float()
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
