//! Devices as members of a pool: a target in, the core of its mask out.

use std::sync::Arc;

use burn::tensor::Device;
use lithoburn_layout::{Raster, TileGrid};
use lithoburn_litho::LithoError;
use lithoburn_pool::{Failure, Member, Worker};

use super::Chip;
use super::scan::Tile;
use crate::proposer::Proposer;
use crate::tiles::journal::Key;
use crate::tiles::packed::Packed;
use crate::{EngineError, Job, Team};

/// The core of a target's mask.
pub(super) struct Solved {
    /// The target.
    pub key: Key,
    pub core: Core,
}

/// The mask's pixels inside a tile's halo.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Core {
    pub pixel_nm: f64,
    pub pixels: Packed,
}

impl Solved {
    /// As the journal keeps it: pixel size, side, runs.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Core { pixel_nm, pixels } = &self.core;
        let side = pixels.side as u32;
        [&pixel_nm.to_le_bytes()[..], &side.to_le_bytes(), &pixels.runs].concat()
    }
}

impl Core {
    /// What [`Solved::to_bytes`] wrote; none if it is something else.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let pixel_nm = f64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
        let side = u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?) as usize;
        let pixels = Packed { side, runs: bytes[12..].to_vec() };
        pixels.is_whole().then_some(Self { pixel_nm, pixels })
    }
}

/// The devices of a chip's run. Each loads the model on a thread of its own, or on two ([`super::Lane::hands`]) that share its batch.
pub(super) fn crew(chip: &Chip, grid: &TileGrid) -> Vec<Member<Tile, Solved>> {
    let job = Arc::new(chip.job.clone());
    let halo_nm = grid.halo as f64 * grid.pixel_nm;
    let member = |lane: &super::Lane, batch: usize| {
        let (job, device, team) = (job.clone(), lane.device.device.clone(), lane.team.clone());
        let make = move || {
            let proposer = proposer(&job, &device, team.as_ref()).map_err(|e| failure(&e))?;
            Ok(Box::new(Corrector { proposer, halo_nm }) as Box<dyn Worker<Tile, Solved>>)
        };
        Member { name: lane.device.name.clone(), batch, make: Arc::new(make) }
    };
    let lanes = chip.lanes.iter();
    lanes
        .flat_map(|lane| lane.batches().into_iter().map(move |batch| member(lane, batch)))
        .collect()
}

fn proposer(job: &Job, device: &Device, team: Option<&Team>) -> Result<Proposer, EngineError> {
    Proposer::new(&job.model, &job.kernels, &job.process, job.band, job.rules, device, team)
}

/// What the pool makes of our errors.
pub(crate) fn failure(error: &EngineError) -> Failure {
    match error {
        EngineError::Litho(LithoError::Device { problem, .. }) => Failure::of_message(problem),
        EngineError::Litho(LithoError::Interrupted) => Failure::Stopped,
        other => Failure::Task(other.to_string()),
    }
}

/// A device at work.
struct Corrector {
    proposer: Proposer,
    halo_nm: f64,
}

impl Worker<Tile, Solved> for Corrector {
    fn run(&mut self, batch: &[Arc<Tile>]) -> Result<Vec<Solved>, Failure> {
        let targets: Vec<&Raster> = batch.iter().map(|tile| &tile.target).collect();
        let masks = self.proposer.propose(&targets, &mut |_| true).map_err(|e| failure(&e))?;
        let solved = |(mask, tile): (&Raster, &Arc<Tile>)| {
            let halo = (self.halo_nm / mask.pixel_nm).round() as usize;
            let pixels = Packed::of(mask, [halo, halo], mask.width - 2 * halo);
            Solved { key: tile.key, core: Core { pixel_nm: mask.pixel_nm, pixels } }
        };
        Ok(masks.iter().zip(batch).map(solved).collect())
    }
}
