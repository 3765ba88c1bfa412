//! Measuring a mask: simulate it at the three corners, and count.
//!
//! In f32 products and sums on every device. Their order differs from device to device, so that a pixel that lies at the threshold to
//! the last digit may print on one and not on another; the CPU is the reference.

mod imager;
mod metrics;
mod unprinted;

use burn::tensor::Device;
use lithoburn_layout::{Bits, Bounds, Frame, Raster};
use lithoburn_litho::metrics::{
    EPE_REACH_NM, EpeFinding, EpeSite, Prints, check_epe, epe_sites, tight_violations,
};
use lithoburn_litho::window::{EDGE_SEARCH_NM, EdgeErrors, Image};
use lithoburn_litho::{KernelSet, PackedImages, Process, ProcessWindow, Resist};
use lithoburn_pool::Chosen;
use tracing::info_span;

use crate::EngineError;
pub(crate) use imager::Exposed;
use imager::{Imager, Part};
pub use metrics::Metrics;
use unprinted::Printed;

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
    /// Shapes of the design of which the nominal print has nothing, in nm from the field's corner.
    pub unprinted: Vec<Bounds>,
}

/// One field with all its images.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// Its place.
    pub frame: Frame,
    /// Of a tile what it answers for, its core: least x and y, greatest x and y, in nm from the frame's corner.
    pub core_nm: Option<[f64; 4]>,
    /// What should print.
    pub target: Raster,
    /// What is exposed.
    pub mask: Raster,
    /// How it prints.
    pub evaluation: Evaluation,
}

/// Measures masks against targets.
pub struct Evaluator {
    imager: Imager,
    process: Process,
    resolution_nm: f64,
}

impl Evaluator {
    /// An evaluator with these kernels and this process, on the CPU.
    pub fn new(kernels: &KernelSet, process: &Process) -> Self {
        Self::on(&Device::flex(), kernels, process)
    }

    /// The same on a device.
    pub fn on(device: &Device, kernels: &KernelSet, process: &Process) -> Self {
        Self::with(Imager::on(device, kernels, process), kernels, process)
    }

    /// On several devices, for many threads that measure: each device has threads that compute images for all of them. What is no
    /// GPU's is computed by who asks.
    pub(crate) fn among(
        devices: &[Chosen],
        kernels: &KernelSet,
        process: &Process,
    ) -> Result<Self, EngineError> {
        let gpus: Vec<Chosen> = devices.iter().filter(|d| d.name != "cpu").cloned().collect();
        Ok(Self::with(Imager::among(&gpus, kernels, process)?, kernels, process))
    }

    fn with(imager: Imager, kernels: &KernelSet, process: &Process) -> Self {
        Self { imager, process: *process, resolution_nm: kernels.half_pitch_nm() }
    }

    /// The corners.
    pub fn window(&self) -> &ProcessWindow {
        &self.process.window
    }

    /// The resist.
    pub fn resist(&self) -> &Resist {
        &self.process.resist
    }

    /// Half of the finest pitch that the optics image at all, in nm.
    pub fn resolution_nm(&self) -> f64 {
        self.resolution_nm
    }

    /// Intensity of a mask on a grid of `pixel_nm`. Mask pixels that are coarser count as blocks of them.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the mask is not one field, or a pixel size does not fit it.
    pub fn aerial(&self, mask: &Raster, pixel_nm: f64) -> Result<[Raster; 2], EngineError> {
        let size = (self.imager.period_nm() / pixel_nm).round() as usize;
        self.imager.images(Exposed::Grey(mask.clone()), Part { pixel_nm, first: 0, size })
    }

    /// Simulates a mask and compares its prints with the target, leaving out `halo` pixels of the
    /// target's raster on each side.
    ///
    /// # Errors
    ///
    /// As [`Evaluator::aerial`], and [`EngineError::Setting`] if the target is not square.
    pub fn evaluate(
        &self,
        mask: &Raster,
        target: &Raster,
        halo: usize,
    ) -> Result<Evaluation, EngineError> {
        let Raster { width, height, pixel_nm, .. } = *target;
        if width != height {
            return Err(EngineError::Setting(format!(
                "the target is {width} x {height} pixels of {pixel_nm} nm; expected a square of them, as the kernels' field is"
            )));
        }
        let design = Design::new(Bits::of_raster(target), pixel_nm, halo, 0);
        self.compare(Exposed::binary(mask), &design)
    }

    /// Simulates a mask and compares its prints with a design.
    ///
    /// # Errors
    ///
    /// As [`Evaluator::aerial`].
    pub(crate) fn compare(
        &self,
        mask: Exposed,
        design: &Design,
    ) -> Result<Evaluation, EngineError> {
        let mut found = self.counted(mask, design)?;
        let lacks = |f: &EpeFinding| matches!(f, EpeFinding::Inside | EpeFinding::Both);
        // A shape that does not print at all lacks its inside at every site.
        if found.sites.iter().any(|(_, finding)| lacks(finding)) {
            found.unprinted = design.unprinted(&found.prints.nominal);
        }
        Ok(found)
    }

    /// The numbers of a mask alone.
    ///
    /// # Errors
    ///
    /// As [`Evaluator::aerial`].
    pub(crate) fn metrics(&self, mask: Exposed, design: &Design) -> Result<Metrics, EngineError> {
        Ok(self.counted(mask, design)?.metrics)
    }

    /// As [`Evaluator::compare`], without looking for shapes that do not print.
    fn counted(&self, mask: Exposed, design: &Design) -> Result<Evaluation, EngineError> {
        let Design { pixel_nm, first, .. } = *design;
        let Process { window, resist, .. } = &self.process;
        let part = Part { pixel_nm, first, size: design.seen.side };
        let [best, defocus] = self.imager.images(mask, part)?;
        let prints = info_span!("prints")
            .in_scope(|| Prints::develop(&best.data, &defocus.data, best.width, window, resist));
        let _span = info_span!("numbers").entered();
        let seen: Vec<EpeSite> = design.sites.iter().map(|site| design.seen(site)).collect();
        let findings = check_epe(prints.nominal.bitmap(0), &seen, EPE_REACH_NM, pixel_nm);
        let tight = tight_violations(prints.nominal.bitmap(0), &seen, pixel_nm);
        let (area, margin) = (pixel_nm * pixel_nm, design.halo - first);
        let metrics = Metrics {
            l2_nm2: prints.l2(design.seen.bitmap(0), margin) as f64 * area,
            pvb_nm2: prints.pv_band(margin) as f64 * area,
            epe_violations: findings.iter().map(|f| f.violations()).sum(),
            epe_violations_1nm: tight[0],
            epe_violations_3nm: tight[1],
            epe_violations_5nm: tight[2],
            epe_sites: design.sites.len(),
            ..Metrics::default()
        };
        let image = Image { data: &best.data, width: best.width, pixel_nm };
        let level = resist.threshold / window.nominal.dose;
        let metrics = metrics.with_edges(&EdgeErrors::measure(image, level, &seen));
        let sites = design.sites.iter().copied().zip(findings).collect();
        Ok(Evaluation { metrics, best, defocus, prints, sites, unprinted: Vec::new() })
    }
}

/// A target as masks are compared with it: what counts of it, and what has to be seen for that.
pub(crate) struct Design {
    pixel_nm: f64,
    /// Pixels on each side that do not count.
    halo: usize,
    /// Pixels on each side that are not simulated.
    first: usize,
    /// All of it.
    whole: Bits,
    /// What is simulated of it.
    seen: PackedImages,
    /// EPE sites that count.
    sites: Vec<EpeSite>,
}

impl Design {
    /// A square target of which `halo` pixels on each side do not count, and the outer `first` of them are not simulated.
    fn new(target: Bits, pixel_nm: f64, halo: usize, first: usize) -> Self {
        let _span = info_span!("sites").entered();
        let packed = |bits: &Bits| PackedImages { side: bits.width(), words: bits.to_words() };
        let side = target.width();
        let within = |v: isize| v >= halo as isize && v < (side - halo) as isize;
        let whole = packed(&target);
        let mut sites = epe_sites(whole.bitmap(0), pixel_nm);
        sites.retain(|site| site.at.into_iter().all(within));
        let seen = if first == 0 { whole } else { packed(&target.unframed(first)) };
        Self { pixel_nm, halo, first, whole: target, seen, sites }
    }

    /// A target all of which counts.
    pub(crate) fn whole(target: &Raster) -> Self {
        Self::new(Bits::of_raster(target), target.pixel_nm, 0, 0)
    }

    /// A target of which nothing is simulated that does not matter for what counts.
    pub(crate) fn core(target: Bits, pixel_nm: f64, halo: usize) -> Self {
        let reach = (EDGE_SEARCH_NM / pixel_nm).ceil() as usize + 1;
        Self::new(target, pixel_nm, halo, halo.saturating_sub(reach))
    }

    /// The design as a mask.
    pub(crate) fn exposed(&self) -> Exposed {
        Exposed::of_bits(&self.whole, self.pixel_nm)
    }

    /// A site in the image.
    fn seen(&self, site: &EpeSite) -> EpeSite {
        EpeSite { at: site.at.map(|v| v - self.first as isize), ..*site }
    }

    /// Shapes of which a print has nothing.
    fn unprinted(&self, print: &PackedImages) -> Vec<Bounds> {
        let _span = info_span!("unprinted").entered();
        let Self { pixel_nm, halo, first, ref whole, .. } = *self;
        let print = Bits::of_words(&print.words, print.side, print.side);
        Printed { design: whole, pixel_nm, halo, first, print: &print }.missing()
    }
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
        let design = Design::core(Bits::of_raster(&target), pixel_nm, halo);
        let core = evaluator.compare(design.exposed(), &design)?;
        assert!(whole.metrics.epe_violations > 0 && whole.metrics.l2_nm2 > 0.0);
        assert!(core.best.width < size * 3 / 4 && whole.best.width == size);
        let exact = |m: &Metrics| (m.epe_sites, m.epe_violations, m.epe_missing);
        assert_eq!(exact(&core.metrics), exact(&whole.metrics));
        assert_eq!(
            (core.metrics.l2_nm2, core.metrics.pvb_nm2),
            (whole.metrics.l2_nm2, whole.metrics.pvb_nm2)
        );
        let mean = |m: &Metrics| m.epe_mean_nm.expect("edges");
        assert!((mean(&core.metrics) - mean(&whole.metrics)).abs() < 1e-3);
        assert_eq!(core.sites.len(), whole.sites.len());
        assert!(core.sites.iter().zip(&whole.sites).all(|(a, b)| a.0.at == b.0.at && a.1 == b.1));
        Ok(())
    }

    /// A square of 30 nm is below what the optics resolve; one of 300 nm prints as it is.
    #[test]
    fn what_does_not_print_is_named() -> Result<(), EngineError> {
        let evaluator = Evaluator::new(&crate::built_in::default_kernels()?, &Process::default());
        let mut target = Raster::new(512, 512, 4.0);
        for (from, to) in [(100, 108), (300, 375)] {
            for row in target.data.chunks_exact_mut(512).skip(from).take(to - from) {
                row[from..to].fill(1.0);
            }
        }
        let found = evaluator.evaluate(&target, &target, 0)?;
        let corners: Vec<[f64; 2]> = found.unprinted.iter().map(|b| b.min).collect();
        assert_eq!(corners, [[400.0, 400.0]]);
        assert!(evaluator.resolution_nm() > 30.0);
        Ok(())
    }

    /// The resist's threshold is the process's, whatever the default: at a third of it more prints.
    #[test]
    fn a_configured_resist_is_the_one_that_prints() -> Result<(), EngineError> {
        let kernels = crate::built_in::default_kernels()?;
        let mut target = Raster::new(256, 256, 8.0);
        target
            .data
            .chunks_exact_mut(256)
            .skip(100)
            .take(50)
            .for_each(|row| row[100..150].fill(1.0));
        let area = |threshold: f64| -> Result<usize, EngineError> {
            let resist = Resist { threshold, ..Resist::default() };
            let process = Process { resist, ..Process::default() };
            let found = Evaluator::new(&kernels, &process).evaluate(&target, &target, 0)?;
            Ok(found.prints.nominal.bitmap(0).count())
        };
        assert!(area(0.075)? > area(Resist::default().threshold)? + 100);
        Ok(())
    }
}
