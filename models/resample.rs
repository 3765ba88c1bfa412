//! Images made smaller and larger: pooling, bilinear doubling, and pixels folded into channels.
//!
//! Images have their channels last, `[batch, height, width, channels]`.

use std::ops::Range;

use burn::tensor::Tensor;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;

/// The largest of each two by two pixels.
pub(crate) fn halved(x: Tensor<4>) -> Tensor<4> {
    let pool = MaxPoolOptions::new([2, 2]).with_stride([2, 2]);
    max_pool2d(x.permute([0, 3, 1, 2]), pool).permute([0, 2, 3, 1])
}

/// Twice the size, bilinear with aligned corners.
///
/// Output 2k lies at k - k/(2n-1) and output 2k+1 at k + (n-1-k)/(2n-1), so each is a mix of a pixel and
/// one neighbour. Written out as such, because `interpolate` has no gradient on GPUs in Burn 0.22.
pub(crate) fn doubled(x: Tensor<4>) -> Tensor<4> {
    let height = x.dims()[1];
    doubled_rows(x, 0, height)
}

/// As [`doubled`], of rows `start..` of an image that is `total` rows high. The outermost rows of the result lack a neighbour, unless
/// they are the image's own.
pub(crate) fn doubled_rows(x: Tensor<4>, start: usize, total: usize) -> Tensor<4> {
    let [batch, height, width, channels] = x.dims();
    let wide = enlarged(x, &doubling(0..width, width));
    let wide = wide.reshape([batch, 1, height, 2 * width * channels]);
    let rows = doubling(start..start + height, total);
    enlarged(wide, &rows).reshape([batch, 2 * height, 2 * width, channels])
}

fn doubling(pixels: Range<usize>, n: usize) -> [Vec<f64>; 2] {
    let last = (2 * n - 1) as f64;
    let even = pixels.clone().map(|k| -(k as f64) / last).collect();
    let odd = pixels.map(|k| (n - 1 - k) as f64 / last).collect();
    [even, odd]
}

/// Enlarges dimension 2 of `[a, b, n, c]`: output `f k + j` lies at `k + offsets[j][k]`, between -1 and
/// 1 off pixel k, and is interpolated linearly. Beyond the ends, the end pixels are repeated.
pub(crate) fn enlarged(x: Tensor<4>, offsets: &[Vec<f64>]) -> Tensor<4> {
    let ([a, b, n, c], device, dtype) = (x.dims(), x.device(), x.dtype());
    let part = |start: usize, length: usize| x.clone().narrow(2, start, length);
    let [left, right] = match n {
        1 => [x.clone(), x.clone()],
        _ => [
            Tensor::cat(vec![part(0, 1), part(0, n - 1)], 2),
            Tensor::cat(vec![part(1, n - 1), part(n - 1, 1)], 2),
        ],
    };
    let mixed = offsets.iter().map(|offsets| {
        let neighbour = if offsets.iter().all(|&o| o <= 0.0) { &left } else { &right };
        let share: Vec<f32> = offsets.iter().map(|o| o.abs() as f32).collect();
        let share = Tensor::<1>::from_floats(share.as_slice(), &device).cast(dtype);
        x.clone() + (neighbour.clone() - x.clone()) * share.reshape([1, 1, n, 1])
    });
    let outputs: Vec<Tensor<4>> = mixed.collect();
    let factor = outputs.len();
    Tensor::stack::<5>(outputs, 3).reshape([a, b, n * factor, c])
}

/// Two by two pixels into channels: `[b, 2h, 2w, c]` to `[b, h, w, 4c]`, by rows, columns, channels.
pub(crate) fn folded(x: Tensor<4>) -> Tensor<4> {
    let [batch, height, width, channels] = x.dims();
    let (h, w) = (height / 2, width / 2);
    let blocks = x.reshape([batch, h, 2, w, 2, channels]).permute([0, 1, 3, 2, 4, 5]);
    blocks.reshape([batch, h, w, 4 * channels])
}

/// Channels into two by two pixels, the inverse of [`folded`].
pub(crate) fn unfolded(x: Tensor<4>) -> Tensor<4> {
    let [batch, h, w, channels] = x.dims();
    let c = channels / 4;
    let blocks = x.reshape([batch, h, w, 2, 2, c]).permute([0, 1, 3, 2, 4, 5]);
    blocks.reshape([batch, 2 * h, 2 * w, c])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn folding_keeps_every_pixel_and_unfolding_undoes_it() {
        let values: Vec<f32> = (0..2 * 4 * 6 * 3).map(|i| i as f32).collect();
        let data = TensorData::new(values.clone(), [2, 4, 6, 3]);
        let x = Tensor::<4>::from_data(data, &Device::flex());
        let folded = folded(x);
        assert_eq!(folded.dims(), [2, 2, 3, 12]);
        let first = folded.clone().slice([0..1, 0..1, 0..1]).try_into_vec_as::<f32>().expect("f32");
        // The pixels (0,0), (0,1), (1,0), (1,1) of three channels each; a row is 18 values.
        assert_eq!(first, [0., 1., 2., 3., 4., 5., 18., 19., 20., 21., 22., 23.]);
        assert_eq!(unfolded(folded).try_into_vec_as::<f32>().expect("f32"), values);
    }

    /// Rows of a part, with a neighbour on each side, are rows of the whole.
    #[test]
    fn doubling_some_rows_is_doubling_all() {
        let wave: Vec<f32> = (0..9 * 5 * 2).map(|i| (i as f32 * 0.61).sin()).collect();
        let x = Tensor::<1>::from_floats(wave.as_slice(), &Device::flex()).reshape([1, 9, 5, 2]);
        let values = |x: Tensor<4>| x.try_into_vec_as::<f32>().expect("f32");
        let whole = doubled(x.clone());
        for (start, end) in [(0, 3), (3, 4), (4, 9), (8, 9)] {
            let (first, last) = (start.max(1) - 1, (end + 1).min(9));
            let part = doubled_rows(x.clone().narrow(1, first, last - first), first, 9);
            let part = part.narrow(1, 2 * (start - first), 2 * (end - start));
            let expected = whole.clone().narrow(1, 2 * start, 2 * (end - start));
            assert_eq!(values(part), values(expected), "{start}..{end}");
        }
    }

    /// A ramp is linear, so interpolation keeps it exactly.
    #[test]
    fn doubling_keeps_a_ramp_and_its_ends() {
        let ramp: Vec<f32> = (0..32).map(|i| (i % 8) as f32 + 10.0 * (i / 8) as f32).collect();
        let x = Tensor::<4>::from_data(TensorData::new(ramp, [1, 4, 8, 1]), &Device::flex());
        let y = doubled(x).try_into_vec_as::<f32>().expect("f32");
        for (i, value) in y.iter().enumerate() {
            let (row, column) = (i / 16, i % 16);
            let expected = column as f32 * 7.0 / 15.0 + row as f32 * 30.0 / 7.0;
            assert!((value - expected).abs() < 1e-5, "{value} vs {expected}");
        }
    }
}
