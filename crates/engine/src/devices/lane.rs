//! A device with its share of the tiles.

use std::sync::Arc;

use lithoburn_pool::{Arrive, Chosen, Failure};

use super::team::Team;

/// A device with its share of the tiles.
#[derive(Clone, Debug)]
pub struct Lane {
    /// The device.
    pub device: Chosen,
    /// Tiles that it computes at once.
    pub batch: usize,
    /// Devices that compute the network for it.
    pub team: Option<Team>,
}

impl Lane {
    /// Threads of a lane that shares a batch of tiles: while one packs, checks and sends masks, the other's kernels run. More than
    /// half of a tile's time on an H200 was the host's. On Vulkan both share one queue, which is seldom empty then. The CPU is busy as it is.
    pub fn hands(device: &str) -> usize {
        if ["cuda", "vulkan"].iter().any(|family| device.starts_with(family)) { 2 } else { 1 }
    }

    /// Waits for a card that is still being opened; none for a device that is there.
    pub(crate) fn arrive(&self) -> Option<Arrive> {
        let device = self.device.clone();
        let arrive = move || device.wait().map_err(|e| Failure::Lost(e.to_string()));
        (!self.device.is_there()).then(|| Arc::new(arrive) as Arrive)
    }

    /// Tiles that each of its threads computes at once.
    pub(crate) fn batches(&self) -> Vec<usize> {
        let hands = match self.team {
            Some(_) => 1,
            None => Self::hands(&self.device.name).min(self.batch),
        };
        (0..hands).map(|hand| (self.batch + hand) / hands).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::team::Way;

    /// No tile of a batch is lost or added, and a thread without tiles is none.
    #[test]
    fn threads_of_a_card_share_its_batch() {
        let lane = |name: &str, batch, team| {
            let (name, card, reason) = (name.to_string(), String::new(), String::new());
            let device =
                Chosen { name, card, reason, device: burn::tensor::Device::flex(), opening: None };
            Lane { device, batch, team }.batches()
        };
        assert_eq!(lane("cuda:1", 24, None), [12, 12]);
        assert_eq!(lane("cuda:0", 5, None), [2, 3]);
        assert_eq!(lane("cuda:0", 1, None), [1]);
        assert_eq!(lane("vulkan:0", 96, None), [48, 48]);
        assert_eq!(lane("cpu", 4, None), [4]);
        let team = Team { way: Way::Pipeline, places: Vec::new() };
        assert_eq!(lane("cuda:0", 4, Some(team)), [4]);
    }
}
