//! Kernels of a finite reach, for fields of any period.
//!
//! A set's kernels repeat with its period, so a field of that period is imaged as if it repeated too. Cut off smoothly at an
//! *ambit*, a kernel says exactly how far a point of the mask is seen: the image of a large layout is then the same whether
//! it is computed at once or in tiles whose halos are at least the ambit, and the field may have any period that
//! holds the kernel. Beyond 512 nm lies 1 % of the energy of the contest's kernels, beyond 1024 nm nothing that a set with
//! a period of 2048 nm could know.
//!
//! The cut is a box convolved with a Kaiser-Bessel bump: flat in the middle, zero beyond the ambit, and with a spectrum that
//! ends, to 4e-6 of the window's height, a few frequencies after the lens's. Times that window, the kernel of frequencies `H(m)`, `m` multiples of
//! `1/P`, has at a frequency `f` the value `Σ_m H(m) ŵ(f − m/P) / P`, by the convolution theorem.

use std::f64::consts::PI;

use super::kernels::{KernelSet, Kernels};
use crate::LithoError;

/// Shape of the bump: its spectrum's side lobes are `β / sinh β` of its peak at most.
const BETA: f64 = 11.0;
/// Half width of the bump, as a share of the ambit; the box has the rest.
const BUMP: f64 = 0.25;

/// A window on `−ambit..ambit`.
struct Window {
    /// Half width of the box, in nm.
    half_box: f64,
    /// Half width of the bump, in nm.
    half_bump: f64,
}

impl Window {
    fn new(ambit_nm: f64) -> Self {
        Self { half_box: ambit_nm * (1.0 - BUMP), half_bump: ambit_nm * BUMP }
    }

    /// Its Fourier transform at `f` per nm, in nm: that of the box times that of the bump, whose integral is 1.
    fn spectrum(&self, f: f64) -> f64 {
        let angle = 2.0 * PI * f * self.half_box;
        let sinc = if angle.abs() < 1e-9 { 1.0 } else { angle.sin() / angle };
        2.0 * self.half_box * sinc * self.bump(f)
    }

    fn bump(&self, f: f64) -> f64 {
        let left = BETA * BETA - (2.0 * PI * f * self.half_bump).powi(2);
        let root = left.abs().sqrt();
        let ratio = match left {
            l if l.abs() < 1e-12 => 1.0,
            l if l > 0.0 => root.sinh() / root,
            _ => root.sin() / root,
        };
        ratio * BETA / BETA.sinh()
    }

    /// The frequency after which the spectrum has side lobes only, per nm.
    fn last(&self) -> f64 {
        BETA.hypot(PI) / (2.0 * PI * self.half_bump)
    }
}

impl KernelSet {
    /// The same optics for a field of another period, with kernels that end at `ambit_nm`. Images of patterns change by about
    /// 2e-4 at an ambit of 1024 nm; a wholly open mask, of which the far tails matter most, becomes 2 % darker.
    ///
    /// # Errors
    ///
    /// [`LithoError::Grid`] if the ambit is more than half of this set's period, beyond which its kernels repeat, or
    /// more than half of the new one.
    pub fn within_ambit(&self, ambit_nm: f64, period_nm: f64) -> Result<Self, LithoError> {
        let most = self.period_nm.min(period_nm) / 2.0;
        if !(ambit_nm > 0.0 && ambit_nm <= most && period_nm.is_finite()) {
            return Err(LithoError::Grid(format!(
                "kernels of a period of {} nm reach no further than half of it, and a field of {period_nm} nm holds \
                 kernels that reach half of it: expected an ambit of at most {most} nm, got {ambit_nm}",
                self.period_nm
            )));
        }
        let window = Window::new(ambit_nm);
        let cut = |kernels: &Kernels| resampled(kernels, &window, self.period_nm, period_nm);
        let (focus, defocus) = (cut(&self.focus), cut(&self.defocus));
        Ok(Self { period_nm, focus, defocus, recipe: None, ambit_nm: Some(ambit_nm) })
    }
}

/// Kernels times the window, at the frequencies of another period.
fn resampled(kernels: &Kernels, window: &Window, from_nm: f64, to_nm: f64) -> Kernels {
    let half = kernels.side / 2;
    let reach = half as f64 / from_nm + window.last();
    let wide = (reach * to_nm).ceil() as usize;
    let side = 2 * wide + 1;
    let at = |j: usize, m: usize| {
        let f = (j as f64 - wide as f64) / to_nm - (m as f64 - half as f64) / from_nm;
        window.spectrum(f) / from_nm
    };
    let spread: Vec<f64> =
        (0..side * kernels.side).map(|i| at(i / kernels.side, i % kernels.side)).collect();
    let plane = |values: &[f32]| -> Vec<f32> {
        values
            .chunks_exact(kernels.side * kernels.side)
            .flat_map(|plane| spread_twice(plane, &spread, kernels.side, side))
            .collect()
    };
    let (re, im) = (plane(&kernels.re), plane(&kernels.im));
    Kernels { side, re, im, scales: kernels.scales.clone(), kept: kernels.kept }
}

/// `A X Aᵀ` for a square X of side `n` and an A of `m` rows.
fn spread_twice(x: &[f32], a: &[f64], n: usize, m: usize) -> Vec<f32> {
    let mut rows = vec![0.0; m * n];
    for (j, row) in rows.chunks_exact_mut(n).enumerate() {
        for (k, line) in x.chunks_exact(n).enumerate() {
            let share = a[j * n + k];
            row.iter_mut().zip(line).for_each(|(sum, &v)| *sum += share * f64::from(v));
        }
    }
    let value = |i: usize| {
        let (row, column) = (&rows[i / m * n..][..n], &a[i % m * n..][..n]);
        row.iter().zip(column).map(|(a, b)| a * b).sum::<f64>() as f32
    };
    (0..m * m).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Simulator;
    use burn::tensor::{Device, Tensor, TensorData};
    use lithoburn_compare::largest_difference;

    /// Two circles of frequencies, the second weaker, out of focus alike: no lens, but as smooth as one.
    fn optics() -> KernelSet {
        let (side, half) = (9, 4.0);
        let value = |k: usize, i: usize| {
            let [x, y] = [i % side, i / side].map(|v| v as f64 - half);
            let centre = if k == 0 { 0.0 } else { 1.5 };
            if (x - centre).hypot(y) <= 2.6 { 1.0 - 0.1 * (x - 0.5 * y) } else { 0.0 }
        };
        let plane = |f: &dyn Fn(f64) -> f64| {
            (0..2)
                .flat_map(|k| (0..side * side).map(move |i| (k, i)))
                .map(|(k, i)| f(value(k, i)) as f32)
                .collect::<Vec<f32>>()
        };
        let kernels = Kernels {
            side,
            re: plane(&|v| v),
            im: plane(&|v| 0.3 * v * v),
            scales: vec![0.4, 0.2],
            kept: None,
        };
        let defocus = Kernels { im: plane(&|v| -0.4 * v), ..kernels.clone() };
        KernelSet { period_nm: 512.0, focus: kernels, defocus, recipe: None, ambit_nm: None }
    }

    fn image(set: &KernelSet, mask: &dyn Fn(usize, usize) -> f32, size: usize) -> Vec<f32> {
        let device = Device::flex();
        let simulator = Simulator::new(set, &device);
        let grid = simulator.sampling(set.period_nm / size as f64, 1).expect("it fits");
        let data: Vec<f32> = (0..size * size).map(|i| mask(i % size, i / size)).collect();
        let mask = Tensor::from_data(TensorData::new(data, [1, size, size]), &device);
        simulator.aerial(mask, &grid, &grid).defocus.try_into_vec_as::<f32>().expect("f32")
    }

    /// A layout of four tiles at once, and its tiles with a halo of the ambit: equal where the halo protects them.
    #[test]
    fn tiles_with_a_halo_of_the_ambit_image_as_the_whole() {
        let (set, pixel, ambit) = (optics(), 8.0, 192.0);
        // Bars of many widths; a different one for every place, and none that repeats.
        let layout = |x: usize, y: usize| {
            let (a, b) = ((x * x / 97 + y) % 53, (x + y * y / 71) % 41);
            f32::from(u8::from(a < 27 && b < 29))
        };
        let (whole_size, tile_size) = (256, 128);
        let whole = set.within_ambit(ambit, whole_size as f64 * pixel).expect("it fits");
        let tile = set.within_ambit(ambit, tile_size as f64 * pixel).expect("it fits");
        let at_once = image(&whole, &layout, whole_size);
        let halo = (ambit / pixel) as usize;
        let (at, mut range) = ([70, 45], [f32::MAX, 0.0_f32]);
        let mut found = [Vec::new(), Vec::new()];
        let part = image(&tile, &|x, y| layout(x + at[0], y + at[1]), tile_size);
        for y in halo..tile_size - halo {
            for x in halo..tile_size - halo {
                let one = at_once[(y + at[1]) * whole_size + x + at[0]];
                found[0].push(one);
                found[1].push(part[y * tile_size + x]);
                range = [range[0].min(one), range[1].max(one)];
            }
        }
        assert!(range[1] - range[0] > 0.1, "the image has contrast: {range:?}");
        let most = largest_difference(&found[0], &found[1]);
        assert!(most <= 1e-6, "{most} of {range:?}");
    }

    /// Without the window, the same two sets differ: the test above can fail.
    #[test]
    fn a_halo_below_the_ambit_is_seen() {
        let (set, size) = (optics(), 128);
        let tile = set.within_ambit(192.0, 1024.0).expect("it fits");
        let near = |x: usize, _: usize| f32::from(u8::from(x < 64));
        let other = |x: usize, y: usize| if x >= 80 { 1.0 } else { near(x, y) };
        let (a, b) = (image(&tile, &near, size), image(&tile, &other, size));
        // 16 px of 8 nm is within the ambit of 192 nm; 32 px is not, and only f32's rounding is left there.
        let row = 64 * size;
        assert!((a[row + 64] - b[row + 64]).abs() > 1e-5);
        assert!((a[row + 48] - b[row + 48]).abs() <= 3e-6, "{} {}", a[row + 48], b[row + 48]);
    }

    /// Reports named the kernels of the file, uncut.
    #[test]
    fn cut_kernels_are_called_so() {
        let set = optics();
        assert_eq!(set.described("a.safetensors"), "a.safetensors");
        let cut = set.within_ambit(192.0, 1024.0).expect("it fits");
        assert_eq!(cut.described("a.safetensors"), "a.safetensors, cut to an ambit of 192 nm");
    }

    #[test]
    fn a_reach_beyond_the_period_is_refused() {
        let error =
            optics().within_ambit(300.0, 2048.0).expect_err("half of 512 is 256").to_string();
        assert!(error.contains("at most 256"), "{error}");
    }
}
