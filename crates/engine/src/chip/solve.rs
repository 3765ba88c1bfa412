//! Devices as members of a crew: a target in, the core of its mask out.

use std::sync::Arc;

use lithoburn_pool::{Failure, Member, Worker};
use tracing::info_span;

use super::Chip;
use super::cores::Core;
use crate::devices::failure;
use crate::devices::lane::Lane;
use crate::proposer::{Proposer, Target};
use crate::tiles::Answer;
use crate::tiles::journal::Key;
use crate::tiles::packed::Packed;
use crate::tiles::scan::Tile;

/// The core of a target's mask.
pub(crate) struct Solved {
    key: Key,
    core: Core,
}

impl Answer for Solved {
    fn key(&self) -> &Key {
        &self.key
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.core.to_bytes()
    }
}

/// The devices of a run. Each loads the model on a thread of its own, or on two ([`Lane::hands`]) that share its batch.
pub(crate) fn crew(chip: &Chip) -> Vec<Member<Tile, Solved>> {
    let setup = Arc::new(chip.setup.clone());
    let halo_nm = chip.grid.halo as f64 * chip.grid.pixel_nm;
    let member = |lane: &Lane, batch: usize| {
        let (setup, device, team) = (setup.clone(), lane.device.device.clone(), lane.team.clone());
        let network = chip.network.cloned();
        let make = move || {
            let _span = info_span!("load").entered();
            let readied = network.as_ref().and_then(|network| network.get()).flatten();
            let proposer = Proposer::with(&setup, &device, team.as_ref(), readied);
            let proposer = proposer.map_err(|e| failure(&e))?;
            Ok(Box::new(Corrector { proposer, halo_nm }) as Box<dyn Worker<Tile, Solved>>)
        };
        let name = lane.device.name.clone();
        Member { name, batch, make: Arc::new(make), arrive: lane.arrive() }
    };
    let batches = |lane: &'_ Lane| lane.batches();
    let all = chip.lanes.iter().flat_map(|lane| batches(lane).into_iter().map(move |b| (lane, b)));
    all.map(|(lane, batch)| member(lane, batch)).collect()
}

/// A device at work.
struct Corrector {
    proposer: Proposer,
    halo_nm: f64,
}

impl Worker<Tile, Solved> for Corrector {
    fn run(&mut self, batch: &[Arc<Tile>]) -> Result<Vec<Solved>, Failure> {
        let targets: Vec<Target> = batch.iter().map(|tile| tile.drawing.target()).collect();
        let (cores, pixel_nm) =
            self.proposer.cores(&targets, self.halo_nm).map_err(|e| failure(&e))?;
        let _span = info_span!("pack").entered();
        let solved = |(words, tile): (&[u32], &Arc<Tile>)| {
            let pixels = Packed::of_words(words, cores.side);
            Solved { key: tile.key, core: Core { pixel_nm, pixels } }
        };
        Ok(cores.images().zip(batch).map(solved).collect())
    }
}
