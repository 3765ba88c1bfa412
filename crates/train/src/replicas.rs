//! The replicas of a run, each on a thread of its own: a host thread is a stream and a memory pool of a CUDA card.

use std::sync::Arc;
use std::sync::mpsc::channel;

use burn::tensor::Device;
use lithoburn_models::hopper::NotFused;
use lithoburn_ranks::collective::{Peer, Sums, peers};
use lithoburn_ranks::team::Team;
use lithoburn_ranks::{Make, PipelineError, Work};

use crate::TrainError;
use crate::checkpoint::Trainee;
use crate::replica::{Lesson, Replica, Trainable};

/// What a replica's thread is to do.
type Errand<N> = Box<dyn FnOnce(&mut Replica<N>) -> Result<(), TrainError> + Send>;

/// Replicas of a network, one on each device.
pub(crate) struct Replicas<N> {
    team: Team<Errand<N>, ()>,
    native: bool,
}

impl<N: Trainable> Replicas<N> {
    /// Replicas that stand where the run does; `network` makes the module on a device.
    pub(crate) fn new(
        lesson: &Lesson,
        network: impl Fn(&Device) -> N + Clone + Send + 'static,
        devices: &[Device],
        sums: Sums,
    ) -> Result<Self, TrainError> {
        let (peers, meeting) = peers(devices, sums);
        let native = peers.iter().all(Peer::is_native);
        let rank = |peer: Peer| {
            let name = format!("device {} of {}", peer.rank() + 1, peer.ranks());
            let (lesson, network) = (lesson.clone(), network.clone());
            let make: Make<Errand<N>, ()> = Box::new(move || {
                let module = network(&peer.device().clone().autodiff());
                let mut replica = Replica::new(lesson, module, peer).map_err(failed)?;
                let work: Work<Errand<N>, ()> =
                    Box::new(move |order: Errand<N>| order(&mut replica).map_err(failed));
                Ok(work)
            });
            (name, make)
        };
        let team = Team::new(peers.into_iter().map(rank).collect(), &meeting)?;
        Ok(Self { team, native })
    }

    /// Whether gradients are summed by the cards themselves.
    pub(crate) fn is_native(&self) -> bool {
        self.native
    }

    pub(crate) fn count(&self) -> usize {
        self.team.ranks()
    }

    /// The same on all devices at once; what each says, in their order.
    pub(crate) fn all<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Replica<N>) -> Result<T, TrainError> + Send + Sync + 'static,
    ) -> Result<Vec<T>, TrainError> {
        let (sender, answers) = channel();
        let work = Arc::new(work);
        let order = |rank: usize| -> Errand<N> {
            let (sender, work) = (sender.clone(), Arc::clone(&work));
            Box::new(move |replica| {
                // Nobody listens any more if another one failed.
                let _ = sender.send((rank, work(replica)?));
                Ok(())
            })
        };
        self.team.call((0..self.count()).map(order).collect())?;
        let mut found: Vec<(usize, T)> = answers.try_iter().collect();
        found.sort_by_key(|(rank, _)| *rank);
        Ok(found.into_iter().map(|(_, answer)| answer).collect())
    }

    /// On the first device alone, while the others wait.
    pub(crate) fn first<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Replica<N>) -> Result<T, TrainError> + Send + Sync + 'static,
    ) -> Result<T, TrainError> {
        let own = move |replica: &mut Replica<N>| match replica.rank() {
            0 => work(replica).map(Some),
            _ => Ok(None),
        };
        let found = self.all(own)?.into_iter().flatten().next();
        Ok(found.unwrap_or_else(|| unreachable!("the first device has answered")))
    }

    /// Puts the network on all cards as one operation, or on none; then tells why, unless the devices are no such cards.
    pub(crate) fn fuse(&self, trainees: &Arc<Vec<Trainee>>) -> Result<Option<String>, TrainError> {
        let trainees = Arc::clone(trainees);
        let fused = self.all(move |replica| Ok(replica.fuse(&trainees)))?;
        if fused.iter().all(Result::is_ok) {
            return Ok(None);
        }
        self.all(|replica| {
            replica.unfuse();
            Ok(())
        })?;
        let why = fused.into_iter().filter_map(Result::err).find(|why| *why != NotFused::Card);
        Ok(why.map(|why| why.to_string()))
    }

    /// Makes sure that all have the same weights to the last bit. Equal cards keep them so by themselves; devices of several kinds round
    /// apart, and take the first one's.
    pub(crate) fn agree(&self) -> Result<(), TrainError> {
        if self.count() == 1 {
            return Ok(());
        }
        let prints = self.all(|replica| replica.fingerprint())?;
        let Some(other) = prints.iter().position(|print| *print != prints[0]) else {
            return Ok(());
        };
        if self.native {
            let found = self.all(|replica| replica.weights())?;
            let what = self.first(move |replica| Ok(replica.apart([&found[0], &found[other]])))?;
            return Err(TrainError::Apart { device: other + 1, devices: self.count(), what });
        }
        let trainees = self.first(|replica| replica.trainees())?;
        self.all(move |replica| match replica.rank() {
            0 => Ok(()),
            _ => replica.restore(&trainees).map_err(TrainError::Config),
        })?;
        Ok(())
    }
}

/// A replica's failure, in words: it is told to the others.
fn failed(error: TrainError) -> PipelineError {
    match error {
        TrainError::Devices(error) => error,
        TrainError::Lost(lost) => PipelineError::Failed(lost.to_string()),
        other => PipelineError::Failed(other.to_string()),
    }
}
