//! What ranks tell each other: gather, sum, exchange.
//!
//! Every rank has a thread of its own ([`crate::team`]) and one [`Peer`], and all ranks call the same functions in the same order. Tensors
//! change hands on a [`Board`]; each rank fetches what is meant for it to its own device. A rank that fails breaks the board, and
//! the others get an error instead of waiting for it.
//!
//! Between CUDA cards Burn copies directly if it can load NCCL, and through the host otherwise. It looks for a file
//! `libnccl.so`, while packages of NCCL bring `libnccl.so.2` alone: a link of the shorter name, in a directory of `LD_LIBRARY_PATH`,
//! is what is needed ([`has_transport`] tells whether it was found; set `NCCL_NVLS_ENABLE=0` where multicast is not available). With it,
//! sums are NCCL's all-reduce; without it, or on other devices, a sum is a scatter of parts, each rank's sum of its part, and a
//! gather, which moves as much as a ring.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[cfg(feature = "cuda")]
use burn::backend::DispatchDevice;
use burn::tensor::distributed::{ReduceOperation, all_reduce};
use burn::tensor::{Device, Tensor, TensorData};
use serde::Serialize;

use crate::pipeline::{PipelineError, caught};
use crate::work::Failure;

/// Longest that a rank waits for the others: longer than the compilation of all kernels.
const PATIENCE: Duration = Duration::from_secs(600);

/// A place where ranks meet and lay down something for all. Clones are the same place.
#[derive(Debug)]
pub struct Board<G>(Arc<Table<G>>);

impl<G> Clone for Board<G> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Table<G> {
    meeting: Mutex<Meeting<G>>,
    bell: Condvar,
}

#[derive(Debug)]
struct Meeting<G> {
    number: u64,
    gifts: Vec<Option<G>>,
    /// Those of the last meeting.
    met: Arc<Vec<G>>,
    broken: Option<String>,
}

impl<G> Board<G> {
    /// A board for so many ranks.
    pub fn new(ranks: usize) -> Self {
        let gifts = (0..ranks).map(|_| None).collect();
        let meeting = Meeting { number: 0, gifts, met: Arc::new(Vec::new()), broken: None };
        Self(Arc::new(Table { meeting: Mutex::new(meeting), bell: Condvar::new() }))
    }

    /// Lays down a gift, waits until all ranks have, and takes all of them, by rank.
    ///
    /// # Errors
    ///
    /// [`PipelineError::Ended`] if a rank failed, or did not come in ten minutes.
    pub fn meet(&self, rank: usize, gift: G) -> Result<Arc<Vec<G>>, PipelineError> {
        let mut meeting = self.lock();
        if let Some(reason) = &meeting.broken {
            return Err(PipelineError::Ended(reason.clone()));
        }
        meeting.gifts[rank] = Some(gift);
        if meeting.gifts.iter().all(Option::is_some) {
            let gifts = meeting.gifts.iter_mut().filter_map(Option::take).collect();
            meeting.met = Arc::new(gifts);
            meeting.number += 1;
            self.0.bell.notify_all();
            return Ok(Arc::clone(&meeting.met));
        }
        // The next meeting needs this rank, so `met` is this one's until it has been taken.
        let (number, start) = (meeting.number, Instant::now());
        while meeting.number == number {
            if start.elapsed() > PATIENCE {
                meeting.broken.get_or_insert_with(|| "a rank did not come".into());
                self.0.bell.notify_all();
            }
            if let Some(reason) = &meeting.broken {
                return Err(PipelineError::Ended(reason.clone()));
            }
            let woken = self.0.bell.wait_timeout(meeting, PATIENCE);
            meeting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(Arc::clone(&meeting.met))
    }

    /// Breaks the board: whoever waits, or comes later, gets an error.
    pub fn fail(&self, reason: &str) {
        self.lock().broken.get_or_insert_with(|| reason.into());
        self.0.bell.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Meeting<G>> {
        self.0.meeting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a device is a CUDA card that copies to others without the host.
#[cfg(feature = "cuda")]
pub fn has_transport(device: &Device) -> bool {
    match device.as_dispatch() {
        DispatchDevice::Cube(device @ cubecl::Device::Cuda(_)) => {
            device.client().has_device_transport()
        }
        _ => false,
    }
}

/// Only CUDA cards copy to others without the host.
#[cfg(not(feature = "cuda"))]
pub fn has_transport(_device: &Device) -> bool {
    false
}

/// A tensor on another device.
///
/// # Panics
///
/// If a device fails, as Burn's own `to_device`.
pub fn moved<const D: usize>(x: Tensor<D>, device: &Device) -> Tensor<D> {
    let from = x.device();
    if from == *device {
        return x;
    }
    if from == Device::flex() {
        return x.to_device(device);
    }
    if has_transport(device) && has_transport(&from) {
        // NCCL's copies wait for each other on both cards, so two that are given to two cards in different orders wait for
        // ever: only one thread gives orders at a time.
        static ORDER: Mutex<()> = Mutex::new(());
        let _order = ORDER.lock().unwrap_or_else(PoisonError::into_inner);
        return x.to_device(device);
    }
    through_host(x, &from, device)
}

/// Waits for a tensor by reading one of its values. It has to live on: one that is dropped may never be computed.
///
/// # Errors
///
/// [`PipelineError`] if its device could not make it, which waiting for the device does not tell.
pub fn computed<const D: usize>(x: &Tensor<D>) -> Result<(), PipelineError> {
    let value = x.clone().slice(std::array::from_fn::<_, D, _>(|_| 0..1));
    let door = door(&x.device());
    let _one = door.lock().unwrap_or_else(PoisonError::into_inner);
    value.try_into_data().map(drop).map_err(|error| match Failure::of_message(&error.to_string()) {
        Failure::OutOfMemory(text) => PipelineError::OutOfMemory(text),
        _ => PipelineError::Failed(error.to_string()),
    })
}

/// A copy by way of memory of our own.
///
/// What CubeCL 0.11 reads lies in a buffer of the device's runtime that a later read of the same device can overwrite while the first
/// one's bytes are still in use: seen on OpenGL, in one of ten sums of a card and the CPU. So one thread reads a device at a time,
/// and copies before the next one does.
fn through_host<const D: usize>(x: Tensor<D>, from: &Device, to: &Device) -> Tensor<D> {
    let (shape, dtype) = (x.shape(), x.dtype());
    let bytes = {
        let door = door(from);
        let _one = door.lock().unwrap_or_else(PoisonError::into_inner);
        match x.try_into_data() {
            Ok(data) => data.as_bytes().to_vec(),
            Err(error) => panic!("cannot read a tensor off {from:?}: {error}"),
        }
    };
    Tensor::from_data(TensorData::from_bytes_vec(bytes, shape, dtype), (to, dtype))
}

/// A device's lock for reading.
fn door(device: &Device) -> Arc<Mutex<()>> {
    type Door = (Device, Arc<Mutex<()>>);
    static DOORS: Mutex<Vec<Door>> = Mutex::new(Vec::new());
    let mut doors = DOORS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, door)) = doors.iter().find(|(known, _)| known == device) {
        return Arc::clone(door);
    }
    let door = Arc::new(Mutex::new(()));
    doors.push((device.clone(), Arc::clone(&door)));
    door
}

/// What a way between two devices carries.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Link {
    /// Bytes a second.
    pub bytes_per_second: f64,
    /// Seconds that even a single value takes.
    pub latency_seconds: f64,
    /// Whether the host has no part in it.
    pub direct: bool,
}

/// Measures the way from one device to another with 32 MiB, some times; the first time does not count.
///
/// # Errors
///
/// [`PipelineError`] if a device fails.
pub fn link(from: &Device, to: &Device) -> Result<Link, PipelineError> {
    const VALUES: usize = 8 << 20;
    let failed = |error: String| PipelineError::Failed(format!("a copy failed: {error}"));
    let seconds = |values: usize| {
        let x = Tensor::<1>::ones([values], from);
        let mut best = f64::INFINITY;
        for _ in 0..4 {
            from.sync().map_err(|e| failed(e.to_string()))?;
            let start = Instant::now();
            let there = moved(x.clone(), to);
            // Reading one value waits for the copy.
            there.narrow(0, 0, 1).try_into_data().map_err(|e| failed(e.to_string()))?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        Ok::<f64, PipelineError>(best)
    };
    caught(|| {
        let (one, many) = (seconds(1)?, seconds(VALUES)?);
        // On one device nothing moves, and the two are alike.
        let bytes_per_second = (4 * VALUES) as f64 / (many - one).max(1e-6);
        let direct = from == to || (has_transport(from) && has_transport(to));
        Ok(Link { bytes_per_second, latency_seconds: one, direct })
    })
}

/// What a rank has for each of the ranks.
type Outbox = Vec<Option<Tensor<4>>>;

/// The board of a group of peers.
pub type Post = Board<Outbox>;

/// One rank's connection to the others.
#[derive(Debug)]
pub struct Peer {
    rank: usize,
    devices: Arc<Vec<Device>>,
    board: Post,
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

/// The ways by which sums may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sums {
    /// NCCL's where it can be used, else our own.
    #[default]
    Fastest,
    /// Our own, on any device.
    Portable,
}

/// Connections for one rank on each of these devices, and their board.
pub fn peers(devices: &[Device], sums: Sums) -> (Vec<Peer>, Post) {
    let board = Board::new(devices.len());
    let distinct = devices.iter().enumerate().all(|(i, device)| !devices[..i].contains(device));
    let native = sums == Sums::Fastest && devices.len() > 1 && distinct;
    let native = native && devices.iter().all(has_transport);
    let devices = Arc::new(devices.to_vec());
    let peer = |rank: usize| Peer {
        rank,
        devices: Arc::clone(&devices),
        board: board.clone(),
        native,
        timed: false,
        traffic: Traffic::default(),
    };
    ((0..devices.len()).map(peer).collect(), board)
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
        let all = self.board.meet(self.rank, outbox)?;
        let mut inbox: Outbox = Vec::with_capacity(all.len());
        for (from, outbox) in all.iter().enumerate() {
            let gift = outbox.get(self.rank).cloned().flatten();
            inbox.push(gift.map(|x| self.fetched(x, from)));
        }
        drop(all);
        // Nobody goes on before all have what they need: cards see every exchange in the same order. And the board lets go
        // of the tensors.
        self.board.meet(self.rank, Vec::new())?;
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
    pub fn all_reduce(&mut self, x: Tensor<4>) -> Result<Tensor<4>, PipelineError> {
        match (self.ranks(), self.native) {
            (1, _) => Ok(x),
            (_, true) => self.native_sum(x),
            (2, false) => {
                let parts = self.exchange(vec![Some(x); 2])?;
                Ok(summed(parts))
            }
            (_, false) => self.sum_by_parts(x),
        }
    }

    fn native_sum(&mut self, x: Tensor<4>) -> Result<Tensor<4>, PipelineError> {
        self.wait()?;
        let (start, ranks) = (Instant::now(), self.ranks() as u64);
        // Once a card waits for the others it cannot be called back, so all have to be here.
        self.board.meet(self.rank, Vec::new())?;
        self.traffic.bytes += 2 * (ranks - 1) * bytes(&x) / ranks;
        let sum = all_reduce(x, ReduceOperation::Sum, self.devices.to_vec()).resolve();
        self.wait()?;
        self.traffic.exchanges += 1;
        self.traffic.seconds += start.elapsed().as_secs_f64();
        Ok(sum)
    }

    /// Each rank sums one part and gives it to all.
    fn sum_by_parts(&mut self, x: Tensor<4>) -> Result<Tensor<4>, PipelineError> {
        let (ranks, shape, count) = (self.ranks(), x.dims(), x.shape().num_elements());
        if count < ranks {
            let parts = self.exchange(vec![Some(x); ranks])?;
            return Ok(summed(parts));
        }
        let flat = x.reshape([1, 1, 1, count]);
        let part = |i: usize| {
            let (start, end) = (i * count / ranks, (i + 1) * count / ranks);
            Some(flat.clone().narrow(3, start, end - start))
        };
        let parts = self.exchange((0..ranks).map(part).collect())?;
        Ok(self.all_gather(summed(parts), 3)?.reshape(shape))
    }
}

fn summed(parts: Outbox) -> Tensor<4> {
    let sum = parts.into_iter().flatten().reduce(|sum, part| sum + part);
    sum.unwrap_or_else(|| unreachable!("every rank has given a part"))
}

fn bytes(x: &Tensor<4>) -> u64 {
    (x.shape().num_elements() * x.dtype().size()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Make, Work};
    use crate::team::Team;

    fn wave(rank: usize, shape: [usize; 4]) -> Tensor<4> {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| ((i + 31 * rank) as f32 * 0.7).sin()).collect();
        Tensor::<1>::from_floats(values.as_slice(), &Device::flex()).reshape(shape)
    }

    fn values(x: Tensor<4>) -> Vec<f32> {
        x.try_into_vec_as::<f32>().expect("f32")
    }

    /// What each of `count` ranks gets when it does this with its own wave.
    fn on_ranks(
        count: usize,
        shape: [usize; 4],
        work: fn(&mut Peer, Tensor<4>) -> Result<Tensor<4>, PipelineError>,
    ) -> Vec<(Vec<f32>, Traffic)> {
        let (peers, board) = peers(&vec![Device::flex(); count], Sums::Fastest);
        let rank = |mut peer: Peer| -> (String, Make<(), (Vec<f32>, Traffic)>) {
            let name = format!("rank {}", peer.rank());
            let make = move || -> Result<Work<(), (Vec<f32>, Traffic)>, PipelineError> {
                Ok(Box::new(move |()| {
                    let mine = wave(peer.rank(), shape);
                    let y = work(&mut peer, mine)?;
                    Ok((values(y), peer.traffic()))
                }))
            };
            (name, Box::new(make))
        };
        let team = Team::new(peers.into_iter().map(rank).collect(), &board).expect("starts");
        let found = team.call(vec![(); count]).expect("runs");
        found.into_iter().map(|(result, _)| result).collect()
    }

    #[test]
    fn a_sum_is_the_sum_and_the_same_on_all_ranks() {
        for (count, shape) in
            [(1, [1, 2, 2, 3]), (2, [2, 3, 4, 5]), (3, [1, 1, 1, 2]), (5, [2, 3, 4, 7])]
        {
            let found = on_ranks(count, shape, |peer, x| peer.all_reduce(x));
            let parts: Vec<Vec<f32>> = (0..count).map(|i| values(wave(i, shape))).collect();
            for (i, &sum) in found[0].0.iter().enumerate() {
                let expected: f32 = parts.iter().map(|part| part[i]).sum();
                assert!((sum - expected).abs() < 1e-6, "{sum} and not {expected}");
            }
            assert!(found.iter().all(|(sum, _)| sum == &found[0].0));
        }
    }

    /// A sum by parts moves 2 (n-1)/n of the tensor to each rank, as a ring does.
    #[test]
    fn a_sum_moves_as_much_as_a_ring() {
        let shape = [1, 4, 4, 4];
        for (_, traffic) in on_ranks(4, shape, |peer, x| peer.all_reduce(x)) {
            assert_eq!((traffic.bytes, traffic.exchanges), (2 * 3 * 64, 2));
        }
    }

    #[test]
    fn a_link_to_itself_is_fast() {
        let link = link(&Device::flex(), &Device::flex()).expect("copies");
        assert!(link.direct && link.bytes_per_second > 1e8 && link.latency_seconds < 1.0);
    }

    #[test]
    fn a_gather_joins_in_the_order_of_ranks() {
        let shape = [1, 2, 2, 3];
        let found = on_ranks(3, shape, |peer, x| peer.all_gather(x, 3));
        let parts = (0..3).map(|i| wave(i, shape)).collect();
        let expected = values(Tensor::cat(parts, 3));
        assert!(found.iter().all(|(y, _)| *y == expected));
    }

    /// Each rank gives its right neighbour its wave, and gets its left neighbour's.
    #[test]
    fn an_exchange_brings_what_is_meant_for_a_rank() {
        let shape = [1, 1, 2, 2];
        let found = on_ranks(3, shape, |peer, x| {
            let mut outbox: Outbox = vec![None; 3];
            outbox[(peer.rank() + 1) % 3] = Some(x);
            let mut inbox = peer.exchange(outbox)?;
            assert_eq!(inbox.iter().flatten().count(), 1);
            inbox.swap_remove((peer.rank() + 2) % 3).ok_or(PipelineError::Failed("lost".into()))
        });
        let expected = [2, 0, 1].map(|i| values(wave(i, shape)));
        assert!(found.iter().zip(&expected).all(|((y, _), expected)| y == expected));
    }
}
