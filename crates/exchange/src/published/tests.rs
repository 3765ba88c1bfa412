//! The identities on plain arrays, each against a second implementation that does what PyTorch's layers say.

use lithoburn_compare::{largest, largest_difference};

use super::layers::{Affine, Convolution};

/// Numbers without a pattern that an index mix-up would keep.
fn wave(count: usize, step: f64) -> Vec<f32> {
    (0..count).map(|i| (1.0 + step * i as f64).sin() as f32).collect()
}

fn convolution(from: usize, to: usize, side: usize) -> Convolution {
    let weight = wave(to * from * side * side, 0.7131);
    Convolution { to, from, side, weight, bias: wave(to, 0.37) }
}

/// `[channels, height, width]`.
#[derive(Clone, Debug)]
struct Image {
    shape: [usize; 3],
    data: Vec<f32>,
}

impl Image {
    fn new(shape: [usize; 3], value: impl Fn(usize, usize, usize) -> f32) -> Self {
        let [_, h, w] = shape;
        let at = |i: usize| value(i / (h * w), i / w % h, i % w);
        Self { shape, data: (0..shape.iter().product()).map(at).collect() }
    }

    /// Zero beyond the border.
    fn at(&self, channel: usize, row: isize, column: isize) -> f32 {
        let [_, h, w] = self.shape;
        let inside = (0..h as isize).contains(&row) && (0..w as isize).contains(&column);
        if inside { self.data[(channel * h + row as usize) * w + column as usize] } else { 0.0 }
    }

    /// `Conv2d(stride, padding = side / 2)`, with f64 sums.
    fn convolved(&self, conv: &Convolution, stride: usize) -> Self {
        let [from, h, w] = self.shape;
        assert_eq!(from, conv.from);
        let (side, pad) = (conv.side, (conv.side / 2) as isize);
        Self::new([conv.to, h / stride, w / stride], |o, y, x| {
            let mut sum = f64::from(conv.bias[o]);
            for i in 0..from {
                for (ky, kx) in (0..side).flat_map(|ky| (0..side).map(move |kx| (ky, kx))) {
                    let row = (y * stride + ky) as isize - pad;
                    let column = (x * stride + kx) as isize - pad;
                    let weight = conv.weight[((o * from + i) * side + ky) * side + kx];
                    sum += f64::from(weight) * f64::from(self.at(i, row, column));
                }
            }
            sum as f32
        })
    }

    /// Ours: channels by row, column, channel of the pixel.
    fn folded(&self) -> Self {
        let [c, h, w] = self.shape;
        Self::new([4 * c, h / 2, w / 2], |channel, y, x| {
            let corner = channel / c;
            self.at(channel % c, (2 * y + corner / 2) as isize, (2 * x + corner % 2) as isize)
        })
    }

    /// Ours, the inverse.
    fn unfolded(&self) -> Self {
        let [c, h, w] = self.shape;
        Self::new([c / 4, 2 * h, 2 * w], |channel, y, x| {
            let corner = 2 * (y % 2) + x % 2;
            self.at(corner * (c / 4) + channel, (y / 2) as isize, (x / 2) as isize)
        })
    }

    /// `PixelShuffle(2)`.
    fn shuffled(&self) -> Self {
        let [c, h, w] = self.shape;
        Self::new([c / 4, 2 * h, 2 * w], |channel, y, x| {
            self.at(4 * channel + 2 * (y % 2) + x % 2, (y / 2) as isize, (x / 2) as isize)
        })
    }

    /// `BatchNorm2d`, not training: scale, shift, mean, variance of each channel.
    fn normalised(&self, [gamma, beta, mean, variance]: &[Vec<f32>; 4]) -> Self {
        Self::new(self.shape, |c, y, x| {
            let [g, b, m, v] = [gamma, beta, mean, variance].map(|values| f64::from(values[c]));
            let value = f64::from(self.at(c, y as isize, x as isize));
            ((value - m) / (v + 1e-5).sqrt() * g + b) as f32
        })
    }

    fn assert_near(&self, other: &Self) {
        assert_eq!(self.shape, other.shape);
        let most = largest(self.data.iter().map(|v| v.abs()));
        let off = largest_difference(&self.data, &other.data);
        // Weights are rounded to f32 once more.
        assert!(off < 2e-6 * most && most > 0.1, "{off} of {most}");
    }
}

fn image(channels: usize) -> Image {
    let values = wave(channels * 48, 1.37);
    Image::new([channels, 6, 8], |c, y, x| values[(c * 6 + y) * 8 + x])
}

fn norm(channels: usize) -> [Vec<f32>; 4] {
    let positive = |v: Vec<f32>| v.iter().map(|v| 0.6 + 0.5 * v * v).collect();
    [wave(channels, 0.9), wave(channels, 0.5), wave(channels, 0.3), positive(wave(channels, 0.7))]
}

fn affine([gamma, beta, mean, variance]: &[Vec<f32>; 4]) -> Affine {
    Affine::normalisation(gamma, beta, mean, variance)
}

#[test]
fn a_strided_convolution_is_a_small_one_of_folded_pixels() {
    let (x, conv) = (image(3), convolution(3, 2, 5));
    let ours = conv.on_folded_pixels();
    assert_eq!((ours.from, ours.to, ours.side), (12, 2, 3));
    x.folded().convolved(&ours, 1).assert_near(&x.convolved(&conv, 2));
}

#[test]
fn normalisation_goes_into_the_convolution_before_it() {
    let (x, conv, norm) = (image(2), convolution(2, 3, 3), norm(3));
    let ours = conv.clone().then(&affine(&norm), 1);
    x.convolved(&ours, 1).assert_near(&x.convolved(&conv, 1).normalised(&norm));
}

#[test]
fn normalisation_after_a_pixel_shuffle_goes_before_ours() {
    let (x, conv, norm) = (image(2), convolution(2, 12, 3), norm(3));
    let ours = conv.clone().then(&affine(&norm), 4).before_unfolding();
    let theirs = x.convolved(&conv, 1).shuffled().normalised(&norm);
    x.convolved(&ours, 1).unfolded().assert_near(&theirs);
}
