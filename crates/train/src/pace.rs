//! How long a step of training takes on several devices, the network alone: what a peer measures that has no simulator.

use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use lithoburn_models::hopper::training::{AdamStep, Fault};
use lithoburn_models::{Program, Training};
use lithoburn_ranks::collective::{Peer, Sums, peers};
use lithoburn_ranks::team::Team;
use lithoburn_ranks::{Make, PipelineError, Work};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::fused::precision_of_sums;
use crate::{Lost, TrainError, read};

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
/// device, the same in every run.
///
/// # Errors
///
/// [`TrainError::Devices`] if a device is no Hopper card, or fails; [`TrainError::Lost`] if a gradient was no number, with the first step and
/// parameter, and the devices whose own gradient is none.
pub fn step_seconds(
    program: &Program,
    devices: &[Device],
    load: StepLoad,
) -> Result<f64, TrainError> {
    let (peers, meeting) = peers(devices, Sums::Fastest);
    let rank = |peer: Peer| {
        let name = format!("device {} of {}", peer.rank() + 1, peer.ranks());
        let program = program.clone();
        let make: Make<usize, Option<Lost>> = Box::new(move || {
            let mut own = Rank::new(&program, peer, load)?;
            let work: Work<usize, Option<Lost>> = Box::new(move |steps| own.run(steps));
            Ok(work)
        });
        (name, make)
    };
    let team = Team::new(peers.into_iter().map(rank).collect(), &meeting)?;
    let go = |steps: usize| -> Result<(), TrainError> {
        let lost = team.call(vec![steps; devices.len()])?;
        let lost = Lost::of_all(lost.iter().filter_map(|(lost, _)| lost.as_ref()));
        lost.map_or(Ok(()), |lost| Err(TrainError::Lost(lost)))
    };
    go(WARM)?;
    let mut seconds = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        go(load.steps)?;
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
        let training = Training::new(program, peer.device(), precision_of_sums(&peer));
        let training = training.map_err(failed)?;
        let StepLoad { batch, side, .. } = load;
        let mut dice = ChaCha8Rng::seed_from_u64(peer.rank() as u64);
        let mut image = |low: f32| {
            let shape = [batch, 1, side, side];
            let values = (0..batch * side * side).map(|_| dice.random_range(low..1.0)).collect();
            Tensor::<4>::from_data(TensorData::new::<f32, _>(values, shape), peer.device())
        };
        let (images, of_logits) = (image(0.0), image(-1.0));
        Ok(Self { training, peer, images, of_logits, count: 0 })
    }

    /// Some steps; a gradient that was no number in one of them, if there was one.
    fn run(&mut self, steps: usize) -> Result<Option<Lost>, PipelineError> {
        for _ in 0..steps {
            self.count += 1;
            let gradient = self.peer.all_reduce(self.gradient())?;
            let scale = 1.0 / self.peer.ranks() as f32;
            // The logits' gradient is the same in every step, so weights that moved would go on for ever and become no numbers.
            let (betas, rate, count) = ([0.9, 0.999], 1e-9, self.count);
            let step = AdamStep { betas, epsilon: 1e-5, most_norm: 1.0, scale, rate, count };
            self.training.step(gradient, step);
        }
        match self.training.fault().map_err(PipelineError::Failed)? {
            None => Ok(None),
            Some(fault) => Ok(Some(self.lost(fault)?)),
        }
    }

    fn gradient(&self) -> Tensor<1> {
        let pass = self.training.pass(self.images.clone());
        self.training.gradient(pass, self.of_logits.clone())
    }

    /// Whether its own gradient is none, too, before anything is summed.
    fn lost(&self, Fault { parameter, step }: Fault) -> Result<Lost, PipelineError> {
        let failed = |error: TrainError| PipelineError::Failed(error.to_string());
        let gradient = read(self.gradient(), "read a device's own gradient").map_err(failed)?;
        let own = self.training.unsound(&gradient).map(|_| self.peer.rank() + 1);
        let (what, devices) = (format!("the gradient of {parameter}"), own.into_iter().collect());
        Ok(Lost { what, step: step as usize, devices, of: self.peer.ranks() })
    }
}
