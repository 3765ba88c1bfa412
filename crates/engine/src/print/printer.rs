//! Devices as members of a crew: a mask's tile in, its print out.

use std::borrow::Cow;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use lithoburn_layout::{Raster, TileGrid, contour};
use lithoburn_litho::{Focus, KernelSet, Process, Sampling, Simulator};
use lithoburn_pool::{Failure, Member, Worker};
use rayon::prelude::*;

use super::printed::{Areas, Found, Printed};
use crate::devices::lane::Lane;
use crate::tiles::scan::Tile;

/// Pixels around a core that its contours are traced on.
const MARGIN: usize = 4;
/// Corners of a printed polygon are left out within this distance of its contour, in nm.
const TOLERANCE_NM: f64 = 0.5;

/// A device that simulates.
struct Printer {
    simulator: Simulator,
    sampling: Sampling,
    process: Process,
    grid: TileGrid,
}

/// The devices of a run.
pub(super) fn crew(
    lanes: &[Lane],
    kernels: &KernelSet,
    process: Process,
    grid: TileGrid,
) -> Vec<Member<Tile, Found>> {
    let kernels = Arc::new(kernels.clone());
    let member = |lane: &Lane| {
        let (kernels, device) = (kernels.clone(), lane.device.device.clone());
        let make = move || {
            let simulator = Simulator::new(&kernels, &device).with_diffusion(process.diffusion_nm);
            let sampling = simulator.sampling(grid.pixel_nm, 1);
            let sampling = sampling.map_err(|e| Failure::Task(e.to_string()))?;
            let printer = Printer { simulator, sampling, process, grid };
            Ok(Box::new(printer) as Box<dyn Worker<Tile, Found>>)
        };
        Member {
            name: lane.device.name.clone(),
            batch: lane.batch,
            make: Arc::new(make),
            arrive: lane.arrive(),
        }
    };
    lanes.iter().map(member).collect()
}

impl Worker<Tile, Found> for Printer {
    fn run(&mut self, batch: &[Arc<Tile>]) -> Result<Vec<Found>, Failure> {
        let field = self.grid.field;
        let mut data = Vec::with_capacity(batch.len() * field * field);
        let targets: Vec<Cow<Raster>> = batch.iter().map(|tile| tile.drawing.raster()).collect();
        targets.iter().for_each(|target| data.extend_from_slice(&target.data));
        let data = TensorData::new(data, [batch.len(), field, field]);
        let masks = Tensor::<3>::from_data(data, self.simulator.device());
        let aerial = self.simulator.aerial(masks, &self.sampling, &self.sampling);
        let images = [Focus::Best, Focus::Defocus].map(|focus| self.read(aerial.at(focus)));
        let [best, defocus] = images;
        let (best, defocus) = (best?, defocus?);
        let side = self.around();
        let found = |(i, tile): (usize, &Arc<Tile>)| {
            let part = i * side * side..(i + 1) * side * side;
            let printed = self.printed(&targets[i], &best[part.clone()], &defocus[part]);
            Found { key: tile.key, printed }
        };
        Ok(batch.par_iter().enumerate().map(found).collect())
    }
}

impl Printer {
    /// Pixels around the core that are read.
    fn margin(&self) -> usize {
        MARGIN.min(self.grid.halo)
    }

    fn around(&self) -> usize {
        self.grid.core() + 2 * self.margin()
    }

    /// The part of images that is needed.
    fn read(&self, images: Tensor<3>) -> Result<Vec<f32>, Failure> {
        let (first, side) = (self.grid.halo - self.margin(), self.around());
        let inner = images.narrow(1, first, side).narrow(2, first, side);
        inner.try_into_vec_as::<f32>().map_err(|e| Failure::of_message(&e.to_string()))
    }

    fn printed(&self, mask: &Raster, best: &[f32], defocus: &[f32]) -> Printed {
        let (side, margin, core) = (self.around(), self.margin(), self.grid.core());
        let pixel_nm = self.grid.pixel_nm;
        let shift = -(margin as f64) * pixel_nm;
        let inner = [margin, margin, margin + core, margin + core];
        let threshold = self.process.resist.threshold;
        // The resist's threshold becomes one half.
        let image = |focus: Focus, dose: f64| {
            let values = if focus == Focus::Best { best } else { defocus };
            let factor = (dose * 0.5 / threshold) as f32;
            let data = values.iter().map(|v| v * factor).collect();
            Raster { width: side, height: side, pixel_nm, data }
        };
        let corners = self.process.window.corners();
        let images = corners.map(|(_, corner)| image(corner.focus, corner.dose));
        let contours = images
            .each_ref()
            .map(|image| contour::polygons_within(image, inner, TOLERANCE_NM, [shift; 2]));
        let [nominal, outer, inside] =
            images.each_ref().map(|i| i.crop([margin as isize; 2], core, core));
        let halo = self.grid.halo as isize;
        let areas = Areas::of(&mask.crop([halo, halo], core, core), [&nominal, &outer, &inside]);
        Printed { contours, areas }
    }
}
