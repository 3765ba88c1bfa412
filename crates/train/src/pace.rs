//! How long a step of training takes on several devices, the network alone: what a peer measures that has no simulator.

use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use lithoburn_models::hopper::training::AdamStep;
use lithoburn_models::{Program, Training};
use lithoburn_ranks::collective::{Peer, Sums, peers};
use lithoburn_ranks::team::Team;
use lithoburn_ranks::{Make, PipelineError, Work};

use crate::{TrainError, read};

/// Steps before the clock runs.
const WARM: usize = 5;
/// Rounds, of which the middle one counts.
const ROUNDS: usize = 7;

/// What the steps of a network are made of.
#[derive(Clone, Copy, Debug)]
pub struct StepLoad {
    /// Images of a device's batch.
    pub batch: usize,
    /// Pixels of an image on a side.
    pub side: usize,
    /// Steps between two looks at the clock; no device waits for the host in between.
    pub steps: usize,
}

/// Seconds of a step on all devices at once: forward pass, gradients, their sum over the devices, and Adam, on random images that lie on the
/// device.
///
/// # Errors
///
/// [`TrainError::Devices`] if a device is no Hopper card, or fails.
pub fn step_seconds(
    program: &Program,
    devices: &[Device],
    load: StepLoad,
) -> Result<f64, TrainError> {
    let (peers, meeting) = peers(devices, Sums::Fastest);
    let rank = |peer: Peer| {
        let name = format!("device {} of {}", peer.rank() + 1, peer.ranks());
        let program = program.clone();
        let make: Make<usize, ()> = Box::new(move || {
            let mut own = Rank::new(&program, peer, load)?;
            let work: Work<usize, ()> = Box::new(move |steps| own.run(steps));
            Ok(work)
        });
        (name, make)
    };
    let team = Team::new(peers.into_iter().map(rank).collect(), &meeting)?;
    team.call(vec![WARM; devices.len()])?;
    let mut seconds = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        team.call(vec![load.steps; devices.len()])?;
        seconds.push(start.elapsed().as_secs_f64() / load.steps as f64);
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[ROUNDS / 2])
}

/// A card that is measured, its network and its images.
struct Rank {
    training: Training,
    peer: Peer,
    images: Tensor<4>,
    of_logits: Tensor<4>,
    count: i32,
}

impl Rank {
    fn new(program: &Program, peer: Peer, load: StepLoad) -> Result<Self, PipelineError> {
        let failed = |why| PipelineError::Failed(format!("{why}"));
        let training = Training::new(program, peer.device()).map_err(failed)?;
        let StepLoad { batch, side, .. } = load;
        let image = |low: f64| {
            let of = Distribution::Uniform(low, 1.0);
            Tensor::<4>::random([batch, 1, side, side], of, peer.device())
        };
        let (images, of_logits) = (image(0.0), image(-1.0));
        Ok(Self { training, peer, images, of_logits, count: 0 })
    }

    fn run(&mut self, steps: usize) -> Result<(), PipelineError> {
        for _ in 0..steps {
            self.count += 1;
            let pass = self.training.pass(self.images.clone());
            let gradient = self.training.gradient(pass, self.of_logits.clone());
            let gradient = self.peer.all_reduce(gradient)?;
            let scale = 1.0 / self.peer.ranks() as f32;
            let (betas, rate, count) = ([0.9, 0.999], 1e-5, self.count);
            let step = AdamStep { betas, epsilon: 1e-5, most_norm: 1.0, scale, rate, count };
            self.training.step(gradient, step);
        }
        let first = self.training.values().clone().narrow(0, 0, 1);
        let first =
            read(first, "read a weight").map_err(|e| PipelineError::Failed(e.to_string()))?;
        match first[0].is_finite() {
            true => Ok(()),
            false => Err(PipelineError::Failed("a weight is no number any more".into())),
        }
    }
}
