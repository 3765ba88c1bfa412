//! Measuring a mask: simulate it at the three corners, and count.
//!
//! Always in f32 on the CPU, whatever device proposed the mask, so that a score is the same number on
//! every machine (GPUs may compute f32 products in TF32).

use burn::tensor::{Device, Tensor, TensorData};
use lithoburn_layout::{Raster, fracture, shapes};
use lithoburn_litho::metrics::{Bitmap, EpeFinding, EpeSite, Prints, check_epe, epe_sites};
use lithoburn_litho::window::{EDGE_SEARCH_NM, EdgeErrors, Image};
use lithoburn_litho::{
    Aerial, KernelSet, LithoError, Process, ProcessWindow, Resist, Sampling, Simulator,
};
use serde::{Deserialize, Serialize};

use crate::EngineError;

/// Rasters with more pixels than this are not searched for the smallest shape and gap.
const MOST_SHAPE_PIXELS: usize = 100_000_000;

/// The numbers of a mask. Areas are in nm².
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Area where the nominal print is not the target.
    pub l2_nm2: f64,
    /// Area between the outer and the inner print.
    pub pvb_nm2: f64,
    /// EPE violations; a site can count twice.
    pub epe_violations: usize,
    /// EPE sites.
    pub epe_sites: usize,
    /// Sites near which no edge prints.
    pub epe_missing: usize,
    /// Mean distance of the nominal contour from the design's edge at the sites, in nm, positive outwards.
    pub epe_mean_nm: f64,
    /// Three standard deviations of it.
    pub epe_three_sigma_nm: f64,
    /// The largest, without its sign.
    pub epe_max_nm: f64,
    /// Rectangles of the mask on a 4 nm grid, fractured deterministically.
    pub shots: usize,
    /// Rectangles the way adabox counts them (random, seed 0); for comparison with published counts. 0 of a layout of many
    /// tiles, where they are not counted.
    pub shots_adabox: usize,
    /// Area of the mask's smallest shape; none if the mask is empty, too large to search, or of many tiles.
    pub min_shape_area_nm2: Option<f64>,
    /// Gap between the mask's two nearest shapes; none if it has fewer than two.
    pub min_shape_distance_nm: Option<f64>,
}

impl Metrics {
    /// Adds the counts of another field.
    pub(crate) fn add(&mut self, other: &Self) {
        self.l2_nm2 += other.l2_nm2;
        self.pvb_nm2 += other.pvb_nm2;
        self.epe_violations += other.epe_violations;
        let edges = [&*self, other].map(|m| {
            let count = (m.epe_sites - m.epe_missing) as f64;
            let variance = (m.epe_three_sigma_nm / 3.0).powi(2);
            [count, count * m.epe_mean_nm, count * (variance + m.epe_mean_nm * m.epe_mean_nm)]
        });
        let [count, sum, squares] = [0, 1, 2].map(|i| edges[0][i] + edges[1][i]);
        self.epe_mean_nm = sum / count.max(1.0);
        let variance = squares / count.max(1.0) - self.epe_mean_nm * self.epe_mean_nm;
        self.epe_three_sigma_nm = 3.0 * variance.max(0.0).sqrt();
        self.epe_max_nm = self.epe_max_nm.max(other.epe_max_nm);
        self.epe_sites += other.epe_sites;
        self.epe_missing += other.epe_missing;
    }

    /// Fills in what concerns the mask alone.
    pub(crate) fn measure_mask(&mut self, mask: &Raster) {
        self.shots = fracture::shot_count(mask);
        self.shots_adabox = fracture::adabox_count(mask, 0);
        if mask.data.len() <= MOST_SHAPE_PIXELS {
            self.min_shape_area_nm2 = shapes::smallest_area_nm2(mask);
            self.min_shape_distance_nm = shapes::smallest_distance_nm(mask);
        }
    }
}

/// One field, simulated and measured.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Its numbers within the core.
    pub metrics: Metrics,
    /// Intensity in focus.
    pub best: Raster,
    /// Intensity out of focus.
    pub defocus: Raster,
    /// Prints at the corners.
    pub prints: Prints,
    /// EPE sites within the core, and what the print does there.
    pub sites: Vec<(EpeSite, EpeFinding)>,
}

/// Measures masks against targets.
pub struct Evaluator {
    simulator: Simulator,
    window: ProcessWindow,
    resist: Resist,
}

impl Evaluator {
    /// An evaluator with these kernels and this process.
    pub fn new(kernels: &KernelSet, process: &Process) -> Self {
        let simulator =
            Simulator::new(kernels, &Device::flex()).with_diffusion(process.diffusion_nm);
        Self { simulator, window: process.window, resist: Resist::default() }
    }

    /// The corners.
    pub fn window(&self) -> &ProcessWindow {
        &self.window
    }

    /// The resist.
    pub fn resist(&self) -> &Resist {
        &self.resist
    }

    /// Intensity of a mask on a grid of `pixel_nm`. Mask pixels that are coarser count as blocks of them.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the mask is not one field, or a pixel size does not fit it.
    pub fn aerial(&self, mask: &Raster, pixel_nm: f64) -> Result<[Raster; 2], EngineError> {
        self.images(mask, &self.simulator.sampling(pixel_nm, 1)?)
    }

    fn images(&self, mask: &Raster, image: &Sampling) -> Result<[Raster; 2], EngineError> {
        let points = (mask.pixel_nm / image.pixel_nm).round().max(1.0) as usize;
        let grid = self.simulator.sampling(mask.pixel_nm, points)?;
        if mask.width != grid.size || mask.height != grid.size {
            return Err(EngineError::Setting(format!(
                "the mask is {} x {} pixels of {} nm; expected {} x {} for the kernels' field of {} nm",
                mask.width,
                mask.height,
                mask.pixel_nm,
                grid.size,
                grid.size,
                self.simulator.period_nm()
            )));
        }
        let data = TensorData::new(mask.data.clone(), [1, mask.height, mask.width]);
        let mask = Tensor::from_data(data, self.simulator.device());
        let Aerial { best, defocus } = self.simulator.aerial(mask, &grid, image);
        Ok([raster(best, image.pixel_nm)?, raster(defocus, image.pixel_nm)?])
    }

    /// Simulates a mask and compares its prints with the target, leaving out `halo` pixels of the
    /// target's raster on each side.
    ///
    /// # Errors
    ///
    /// As [`Evaluator::aerial`].
    pub fn evaluate(
        &self,
        mask: &Raster,
        target: &Raster,
        halo: usize,
    ) -> Result<Evaluation, EngineError> {
        self.compare(mask, &Design::new(target, halo, 0))
    }

    /// Simulates a mask and compares its prints with a design.
    ///
    /// # Errors
    ///
    /// As [`Evaluator::aerial`].
    pub(crate) fn compare(
        &self,
        mask: &Raster,
        design: &Design,
    ) -> Result<Evaluation, EngineError> {
        let Design { pixel_nm, first, width, .. } = *design;
        let image = self.simulator.sampling(pixel_nm, 1)?.part(first, width - 2 * first);
        let [best, defocus] = self.images(&mask.binarized(), &image)?;
        let prints =
            Prints::develop(&best.data, &defocus.data, best.width, &self.window, &self.resist);
        let seen: Vec<EpeSite> = design.sites.iter().map(|site| design.seen(site)).collect();
        let nominal = Bitmap { data: &prints.nominal, width: prints.width };
        let findings = check_epe(nominal, &seen, pixel_nm);
        let image = Image { data: &best.data, width: best.width, pixel_nm };
        let level = self.resist.threshold / self.window.nominal.dose;
        let edges = EdgeErrors::measure(image, level, &seen);
        let area = pixel_nm * pixel_nm;
        let metrics = Metrics {
            epe_missing: edges.missing,
            epe_mean_nm: edges.mean_nm,
            epe_three_sigma_nm: edges.three_sigma_nm,
            epe_max_nm: edges.max_nm,
            l2_nm2: design.count(&prints.nominal, |y| design.row(y)) as f64 * area,
            pvb_nm2: design.count(&prints.outer, |y| design.row_of(&prints.inner, y)) as f64 * area,
            epe_violations: findings.iter().map(|f| f.violations()).sum(),
            epe_sites: design.sites.len(),
            ..Metrics::default()
        };
        let sites = design.sites.iter().copied().zip(findings).collect();
        Ok(Evaluation { metrics, best, defocus, prints, sites })
    }
}

/// A target as masks are compared with it: what counts of it, and what has to be seen for that.
pub(crate) struct Design {
    width: usize,
    height: usize,
    pixel_nm: f64,
    /// Pixels on each side that do not count.
    halo: usize,
    /// Pixels on each side that are not simulated.
    first: usize,
    inside: Vec<bool>,
    /// EPE sites that count.
    sites: Vec<EpeSite>,
}

impl Design {
    /// A target of which `halo` pixels on each side do not count, and the outer `first` of them are not simulated.
    fn new(target: &Raster, halo: usize, first: usize) -> Self {
        let (width, height, pixel_nm) = (target.width, target.height, target.pixel_nm);
        let inside = target.binary();
        let within = |v: isize, size: usize| v >= halo as isize && v < (size - halo) as isize;
        let mut sites = epe_sites(Bitmap { data: &inside, width }, pixel_nm);
        sites.retain(|site| within(site.at[0], width) && within(site.at[1], height));
        Self { width, height, pixel_nm, halo, first, inside, sites }
    }

    /// A target of which nothing is simulated that does not matter for what counts.
    pub(crate) fn core(target: &Raster, halo: usize) -> Self {
        let reach = (EDGE_SEARCH_NM / target.pixel_nm).ceil() as usize + 1;
        Self::new(target, halo, halo.saturating_sub(reach))
    }

    /// A site in the image.
    fn seen(&self, site: &EpeSite) -> EpeSite {
        EpeSite { at: site.at.map(|v| v - self.first as isize), ..*site }
    }

    /// A row of what counts of the target.
    fn row(&self, y: usize) -> &[bool] {
        &self.inside[y * self.width..][self.halo..self.width - self.halo]
    }

    /// A row of what counts of an image.
    fn row_of<'a>(&self, image: &'a [bool], y: usize) -> &'a [bool] {
        let (width, halo) = (self.width - 2 * self.first, self.halo - self.first);
        &image[(y - self.first) * width..][halo..width - halo]
    }

    /// Pixels that count in which an image differs from another one's rows.
    fn count<'a>(&self, image: &[bool], other: impl Fn(usize) -> &'a [bool]) -> usize {
        let differing =
            |y: usize| self.row_of(image, y).iter().zip(other(y)).filter(|(a, b)| a != b).count();
        (self.halo..self.height - self.halo).map(differing).sum()
    }
}

fn raster(image: Tensor<3>, pixel_nm: f64) -> Result<Raster, LithoError> {
    let [_, height, width] = image.dims();
    let data = image.try_into_vec_as::<f32>().map_err(|e| LithoError::Device {
        doing: "read the aerial image",
        problem: e.to_string(),
    })?;
    Ok(Raster { width, height, pixel_nm, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A core's numbers do not need what is far from it.
    #[test]
    fn a_core_is_measured_as_in_its_whole_field() -> Result<(), EngineError> {
        let kernels = crate::built_in::default_kernels()?;
        let evaluator = Evaluator::new(&kernels, &Process::default());
        let (size, pixel_nm) = (512, 4.0);
        let mut target = Raster::new(size, size, pixel_nm);
        for (i, value) in target.data.iter_mut().enumerate() {
            let (x, y) = (i % size, i / size);
            *value =
                f32::from(u8::from((x / 16) % 3 == 0 && (y / 90) % 2 == 0 || (y / 20) % 9 == 4));
        }
        let halo = 128;
        let whole = evaluator.evaluate(&target, &target, halo)?;
        let core = evaluator.compare(&target, &Design::core(&target, halo))?;
        assert!(whole.metrics.epe_violations > 0 && whole.metrics.l2_nm2 > 0.0);
        assert!(core.best.width < size * 3 / 4 && whole.best.width == size);
        let exact = |m: &Metrics| (m.epe_sites, m.epe_violations, m.epe_missing);
        assert_eq!(exact(&core.metrics), exact(&whole.metrics));
        assert_eq!(
            (core.metrics.l2_nm2, core.metrics.pvb_nm2),
            (whole.metrics.l2_nm2, whole.metrics.pvb_nm2)
        );
        assert!((core.metrics.epe_mean_nm - whole.metrics.epe_mean_nm).abs() < 1e-3);
        assert_eq!(core.sites.len(), whole.sites.len());
        assert!(core.sites.iter().zip(&whole.sites).all(|(a, b)| a.0.at == b.0.at && a.1 == b.1));
        Ok(())
    }

    /// Errors of 1, 3 and 5 nm at one field, 7 nm at another: mean 4 nm, variance 5 nm².
    #[test]
    fn fields_add_up_to_the_edges_of_all_their_sites() {
        let field = |epe_sites, epe_missing, epe_mean_nm: f64, variance: f64, epe_max_nm| Metrics {
            epe_sites,
            epe_missing,
            epe_mean_nm,
            epe_three_sigma_nm: 3.0 * variance.sqrt(),
            epe_max_nm,
            ..Metrics::default()
        };
        let mut sum = Metrics::default();
        sum.add(&field(4, 1, 3.0, 8.0 / 3.0, 5.0));
        sum.add(&field(1, 0, 7.0, 0.0, 7.0));
        assert_eq!((sum.epe_sites, sum.epe_missing), (5, 1));
        assert!((sum.epe_mean_nm - 4.0).abs() < 1e-12);
        assert!((sum.epe_three_sigma_nm - 3.0 * 5.0_f64.sqrt()).abs() < 1e-9);
        assert!((sum.epe_max_nm - 7.0).abs() < 1e-12);
    }
}
