//! What ranks tell each other: gather, sum, exchange.
//!
//! Every rank has a thread of its own ([`crate::team`]) and one [`Peer`], and all ranks call the same functions in the same order. Tensors
//! change hands at a [`Rendezvous`]; each rank fetches what is meant for it to its own device. A rank that fails breaks it, and
//! the others get an error instead of waiting.
//!
//! Where cards copy directly ([`has_transport`]), sums are NCCL's all-reduce; elsewhere a sum is a scatter of parts, each rank's sum
//! of its part, and a gather, which moves as much as a ring.

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::distributed::{CollectiveTensor, ReduceOperation, all_reduce};
use burn::tensor::{Device, Tensor};
use serde::Serialize;

use crate::error::PipelineError;
use crate::rendezvous::Rendezvous;
use crate::transfer::{has_transport, moved};

/// What a rank has for each of the ranks.
pub type Outbox = Vec<Option<Tensor<4>>>;

/// One rank's connection to the others.
#[derive(Debug)]
pub struct Peer {
    rank: usize,
    devices: Arc<Vec<Device>>,
    meeting: Rendezvous<Outbox>,
    native: bool,
    timed: bool,
    traffic: Traffic,
}

/// What a rank was told by the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Traffic {
    /// Exchanges, each of all ranks.
    pub exchanges: u64,
    /// Bytes that came.
    pub bytes: u64,
    /// Seconds from asking to having asked for all; work that a card does meanwhile is not waited for.
    pub seconds: f64,
}

impl Traffic {
    /// What came since then.
    #[must_use]
    pub fn since(self, then: Self) -> Self {
        Self {
            exchanges: self.exchanges - then.exchanges,
            bytes: self.bytes - then.bytes,
            seconds: self.seconds - then.seconds,
        }
    }
}

/// A sum that the cards may still be at: what a card is given to do until the sum is [taken up](Pending::taken), it does beside it.
#[must_use]
pub struct Pending<const D: usize>(Stand<D>);

enum Stand<const D: usize> {
    There(Tensor<D>),
    /// NCCL's, in a stream of its own.
    OnCards(CollectiveTensor<D>),
}

impl<const D: usize> std::fmt::Debug for Pending<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let there = matches!(self.0, Stand::There(_));
        f.debug_struct("Pending").field("there", &there).finish_non_exhaustive()
    }
}

impl<const D: usize> Pending<D> {
    /// The sum; what the card is given from here on waits for it. The host does not.
    pub fn taken(self) -> Tensor<D> {
        match self.0 {
            Stand::There(sum) => sum,
            Stand::OnCards(sum) => sum.resolve(),
        }
    }
}

/// The ways by which sums may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sums {
    /// NCCL's where it can be used, else our own.
    #[default]
    Fastest,
    /// Our own, on any device.
    Portable,
}

/// Connections for one rank on each of these devices, and where they meet.
pub fn peers(devices: &[Device], sums: Sums) -> (Vec<Peer>, Rendezvous<Outbox>) {
    let meeting = Rendezvous::new(devices.len());
    let distinct = devices.iter().enumerate().all(|(i, device)| !devices[..i].contains(device));
    let native = sums == Sums::Fastest && devices.len() > 1 && distinct;
    let native = native && devices.iter().all(has_transport);
    let devices = Arc::new(devices.to_vec());
    let peer = |rank: usize| Peer {
        rank,
        devices: Arc::clone(&devices),
        meeting: meeting.clone(),
        native,
        timed: false,
        traffic: Traffic::default(),
    };
    ((0..devices.len()).map(peer).collect(), meeting)
}

impl Peer {
    /// The same, waiting for its card before and after every exchange if `timed` says so: then [`Traffic::seconds`] is the time of
    /// exchanges alone, and they take longer.
    #[must_use]
    pub fn timed(self, timed: bool) -> Self {
        Self { timed, ..self }
    }

    fn wait(&self) -> Result<(), PipelineError> {
        match self.timed {
            true => self.device().sync().map_err(|e| PipelineError::Failed(e.to_string())),
            false => Ok(()),
        }
    }

    /// Its number, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Number of ranks.
    pub fn ranks(&self) -> usize {
        self.devices.len()
    }

    /// Its device.
    pub fn device(&self) -> &Device {
        &self.devices[self.rank]
    }

    /// Whether sums are NCCL's.
    pub fn is_native(&self) -> bool {
        self.native
    }

    /// What came so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Gives each rank what is meant for it, and gets from each what it has for this one, on this one's device.
    ///
    /// # Errors
    ///
    /// [`PipelineError::Ended`] if another rank failed.
    pub fn exchange(&mut self, outbox: Outbox) -> Result<Outbox, PipelineError> {
        self.wait()?;
        let start = Instant::now();
        let all = self.meeting.meet(self.rank, outbox)?;
        let mut inbox: Outbox = Vec::with_capacity(all.len());
        for (from, outbox) in all.iter().enumerate() {
            let gift = outbox.get(self.rank).cloned().flatten();
            inbox.push(gift.map(|x| self.fetched(x, from)));
        }
        drop(all);
        // Nobody goes on before all have what they need: cards see every exchange in the same order. And the rendezvous lets go
        // of the tensors.
        self.meeting.meet(self.rank, Vec::new())?;
        self.wait()?;
        self.traffic.exchanges += 1;
        self.traffic.seconds += start.elapsed().as_secs_f64();
        Ok(inbox)
    }

    fn fetched(&mut self, x: Tensor<4>, from: usize) -> Tensor<4> {
        if from != self.rank {
            self.traffic.bytes += bytes(&x);
        }
        moved(x, &self.devices[self.rank])
    }

    /// All ranks' tensors, joined in their order along a dimension.
    ///
    /// # Errors
    ///
    /// [`PipelineError::Ended`] if another rank failed.
    pub fn all_gather(&mut self, x: Tensor<4>, dim: usize) -> Result<Tensor<4>, PipelineError> {
        if self.ranks() == 1 {
            return Ok(x);
        }
        let parts = self.exchange(vec![Some(x); self.ranks()])?;
        Ok(Tensor::cat(parts.into_iter().flatten().collect(), dim))
    }

    /// The sum of all ranks' tensors, which have the same shape. Every rank gets the same numbers to the last bit.
    ///
    /// # Errors
    ///
    /// [`PipelineError::Ended`] if another rank failed.
    pub fn all_reduce<const D: usize>(&mut self, x: Tensor<D>) -> Result<Tensor<D>, PipelineError> {
        Ok(self.begin_sum(x)?.taken())
    }

    /// The same, begun: cards go on meanwhile, where sums are [NCCL's](Peer::is_native).
    ///
    /// # Errors
    ///
    /// As [`Peer::all_reduce`].
    pub fn begin_sum<const D: usize>(&mut self, x: Tensor<D>) -> Result<Pending<D>, PipelineError> {
        match (self.ranks(), self.native) {
            (1, _) => Ok(Pending(Stand::There(x))),
            (_, true) => self.native_sum(x),
            (_, false) => {
                let (shape, count) = (x.dims(), x.shape().num_elements());
                let sum = self.portable_sum(x.reshape([1, 1, 1, count]))?.reshape(shape);
                Ok(Pending(Stand::There(sum)))
            }
        }
    }

    fn portable_sum(&mut self, x: Tensor<4>) -> Result<Tensor<4>, PipelineError> {
        match self.ranks() {
            2 => Ok(summed(self.exchange(vec![Some(x); 2])?)),
            _ => self.sum_by_parts(x),
        }
    }

    fn native_sum<const D: usize>(&mut self, x: Tensor<D>) -> Result<Pending<D>, PipelineError> {
        self.wait()?;
        let (start, ranks) = (Instant::now(), self.ranks() as u64);
        // Once a card waits for the others it cannot be called back, so all have to be here.
        self.meeting.meet(self.rank, Vec::new())?;
        self.traffic.bytes += 2 * (ranks - 1) * bytes(&x) / ranks;
        let mut sum =
            Pending(Stand::OnCards(all_reduce(x, ReduceOperation::Sum, self.devices.to_vec())));
        if self.timed {
            sum = Pending(Stand::There(sum.taken()));
            self.wait()?;
        }
        self.traffic.exchanges += 1;
        self.traffic.seconds += start.elapsed().as_secs_f64();
        Ok(sum)
    }

    /// Each rank sums one part and gives it to all. `x` is `[1, 1, 1, count]`.
    fn sum_by_parts(&mut self, x: Tensor<4>) -> Result<Tensor<4>, PipelineError> {
        let (ranks, count) = (self.ranks(), x.shape().num_elements());
        if count < ranks {
            let parts = self.exchange(vec![Some(x); ranks])?;
            return Ok(summed(parts));
        }
        let part = |i: usize| {
            let (start, end) = (i * count / ranks, (i + 1) * count / ranks);
            Some(x.clone().narrow(3, start, end - start))
        };
        let parts = self.exchange((0..ranks).map(part).collect())?;
        self.all_gather(summed(parts), 3)
    }
}

fn summed(parts: Outbox) -> Tensor<4> {
    let sum = parts.into_iter().flatten().reduce(|sum, part| sum + part);
    sum.unwrap_or_else(|| unreachable!("every rank has given a part"))
}

fn bytes<const D: usize>(x: &Tensor<D>) -> u64 {
    (x.shape().num_elements() * x.dtype().size()) as u64
}

#[cfg(test)]
mod tests;
