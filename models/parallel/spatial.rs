//! Rows of one image on several devices.
//!
//! A convolution sees half its side beyond a rank's rows, so before each one neighbours exchange their outermost rows. Rows are cut
//! at multiples of the network's stride, so that pooling and folding stay within a rank.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use burn::tensor::{DType, Device, Tensor};
use lithoburn_ranks::budget::Reservation;
use lithoburn_ranks::collective::{Peer, Sums, peers};
use lithoburn_ranks::team::Team;
use lithoburn_ranks::transfer::moved;
use lithoburn_ranks::{Make, PipelineError, Work};

use super::cost::Extent;
use super::sharded::{RankOutput, ShardReport};
use super::stage::{layer_within, synced};
use super::{Distributed, ParallelError, Place, Summary, check_image};
use crate::head::Head;
use crate::program::{Activations, Layer, LayerKind, Program};
use crate::resample::doubled_rows;

/// A network that gives each device some rows of every image.
#[derive(Debug)]
pub struct Spatial {
    head: Head,
    stride: usize,
    team: Team<RowTask, RankOutput>,
    report: Mutex<ShardReport>,
}

#[derive(Debug)]
struct RowTask {
    /// A rank's rows; none if there are fewer strides than ranks.
    x: Option<Tensor<4>>,
    /// Those of all ranks.
    rows: Vec<Range<usize>>,
    home: Device,
}

impl Spatial {
    /// Lays all weights on each of the places, in a precision.
    ///
    /// # Errors
    ///
    /// [`ParallelError::Cut`] without places, [`ParallelError::Rank`] if the weights do not fit a place.
    pub fn new(
        program: &Program,
        places: &[Place],
        precision: DType,
    ) -> Result<Self, ParallelError> {
        if places.is_empty() {
            return Err(ParallelError::Cut("rows need a device to be on".into()));
        }
        let devices: Vec<Device> = places.iter().map(|place| place.device.clone()).collect();
        let (peers, board) = peers(&devices, Sums::Portable);
        let whole = Arc::new(program.clone());
        let rank = |(peer, place): (Peer, &Place)| {
            let name = format!("rank {} on {}", peer.rank(), place.budget.device());
            let (program, place) = (Arc::clone(&whole), place.clone());
            let make: Make<RowTask, RankOutput> = Box::new(move || {
                let mut rank = RowRank::new(&program, peer, place, precision)?;
                drop(program);
                let work: Work<RowTask, RankOutput> = Box::new(move |order| rank.run(order));
                Ok(work)
            });
            (name, make)
        };
        let ranks = peers.into_iter().zip(places).map(rank).collect();
        let (head, stride) = (program.head, program.stride);
        Ok(Self { head, stride, team: Team::new(ranks, &board)?, report: Mutex::default() })
    }

    /// How the last pass went.
    pub fn report(&self) -> ShardReport {
        self.report.lock().map(|report| report.clone()).unwrap_or_default()
    }
}

/// Rows of each rank, whole strides, as even as they can be.
fn rows_of(height: usize, stride: usize, ranks: usize) -> Vec<Range<usize>> {
    let bound = |i: usize| i * (height / stride) / ranks * stride;
    (0..ranks).map(|i| bound(i)..bound(i + 1)).collect()
}

struct RowRank {
    layers: Vec<Layer>,
    peer: Peer,
    place: Place,
    /// Of the weights.
    _held: Reservation,
}

/// A rank's rows on their way through the layers.
struct Strip {
    /// None if it has no rows.
    state: Option<Activations>,
    /// Rows of all ranks at this size of the image.
    rows: Vec<Range<usize>>,
    extent: Extent,
    held: Reservation,
}

impl RowRank {
    fn new(
        program: &Program,
        peer: Peer,
        place: Place,
        precision: DType,
    ) -> Result<Self, PipelineError> {
        let count: usize = program.layers.iter().map(Layer::weight_count).sum();
        let held = place.budget.reserve((count * precision.size()) as u64, "weights")?;
        let layers = program.placed(0..program.layers.len(), &place.device, precision);
        synced(&place.device)?;
        Ok(Self { layers, peer, place, _held: held })
    }

    fn run(&mut self, order: RowTask) -> Result<RankOutput, PipelineError> {
        let (before, RowTask { x, rows, home }) = (self.peer.traffic(), order);
        let images = x.as_ref().map_or([0; 4], Tensor::dims);
        let mut strip = Strip {
            state: None,
            rows,
            extent: Extent::of(images),
            held: self.place.budget.reserve(0, "its input")?,
        };
        if let Some(x) = x {
            strip.hold(&x, 1)?;
            let state = Activations { x, skips: Vec::new() };
            strip.state = Some(state.onto(&self.place.device));
        }
        for layer in &self.layers {
            strip.pass(layer, &mut self.peer)?;
        }
        let logits = strip.state.map(|state| moved(state.x, &home));
        synced(&self.place.device)?;
        Ok((logits, self.peer.traffic().since(before)))
    }
}

impl Strip {
    fn hold(&mut self, x: &Tensor<4>, copies: usize) -> Result<(), PipelineError> {
        let (size, more) = (x.dtype().size(), (copies - 1) * x.shape().num_elements());
        Ok(self.held.resize(((self.extent.values() + more) * size) as u64, "rows of neighbours")?)
    }

    fn pass(&mut self, layer: &Layer, peer: &mut Peer) -> Result<(), PipelineError> {
        match &layer.kind {
            LayerKind::Convolve { kernel, .. } if kernel.side > 1 => {
                self.framed(layer, kernel.side / 2, peer)?;
            }
            LayerKind::Double => self.framed(layer, 1, peer)?,
            _ => {
                if let Some(state) = self.state.take() {
                    let state = layer_within(layer, state, &mut self.extent, &mut self.held)?;
                    self.state = Some(state);
                }
            }
        }
        self.rows = self.rows.iter().map(|rows| scaled(rows, &layer.kind)).collect();
        Ok(())
    }

    /// A layer that sees `edge` rows beyond its own.
    fn framed(&mut self, layer: &Layer, edge: usize, peer: &mut Peer) -> Result<(), PipelineError> {
        let (own, total) = (self.rows[peer.rank()].clone(), self.total());
        let Some(Activations { x, skips }) = self.state.take() else {
            // It has nothing to give, and the others wait for it.
            peer.exchange(vec![None; peer.ranks()])?;
            return Ok(());
        };
        self.hold(&x, 2)?;
        let x = self.with_neighbours(x, edge, peer)?;
        let first = own.start.saturating_sub(edge);
        let after = self.extent.after(&layer.kind);
        self.extent.measure(&x, &skips);
        let size = x.dtype().size();
        self.held.resize((self.extent.working(&layer.kind) * size) as u64, &layer.name)?;
        let x = match &layer.kind {
            LayerKind::Double => {
                let x = doubled_rows(x, first, total);
                x.narrow(1, 2 * (own.start - first), 2 * own.len())
            }
            kind => {
                let state = kind.run(Activations { x, skips: Vec::new() });
                state.x.narrow(1, own.start - first, own.len())
            }
        };
        self.extent = after;
        self.hold(&x, 1)?;
        self.state = Some(Activations { x, skips });
        Ok(())
    }

    fn total(&self) -> usize {
        self.rows.last().map_or(0, |rows| rows.end)
    }

    /// The rank's rows with those of others above and below, as far as the image goes.
    fn with_neighbours(
        &self,
        x: Tensor<4>,
        edge: usize,
        peer: &mut Peer,
    ) -> Result<Tensor<4>, PipelineError> {
        let (rank, total) = (peer.rank(), self.total());
        let own = &self.rows[rank];
        let wanted = |rows: &Range<usize>| match rows.is_empty() {
            true => 0..0,
            false => rows.start.saturating_sub(edge)..(rows.end + edge).min(total),
        };
        let given = |(other, rows): (usize, &Range<usize>)| {
            let wanted = wanted(rows);
            let (start, end) = (wanted.start.max(own.start), wanted.end.min(own.end));
            (other != rank && start < end)
                .then(|| x.clone().narrow(1, start - own.start, end - start))
        };
        let outbox = self.rows.iter().enumerate().map(given).collect();
        let mut inbox = peer.exchange(outbox)?;
        inbox[rank] = Some(x);
        Ok(Tensor::cat(inbox.into_iter().flatten().collect(), 1))
    }
}

/// Rows after a layer.
fn scaled(rows: &Range<usize>, kind: &LayerKind) -> Range<usize> {
    match kind {
        LayerKind::Halve | LayerKind::Fold => rows.start / 2..rows.end / 2,
        LayerKind::Double | LayerKind::Unfold => 2 * rows.start..2 * rows.end,
        _ => rows.clone(),
    }
}

impl Distributed for Spatial {
    fn form(&self) -> (Head, usize) {
        (self.head, self.stride)
    }

    fn try_logits(&self, x: Tensor<4>) -> Result<Tensor<4>, ParallelError> {
        let [_, _, height, _] = check_image(&x, self.stride)?;
        let (start, home) = (Instant::now(), x.device());
        let rows = rows_of(height, self.stride, self.team.ranks());
        let order = |own: &Range<usize>| RowTask {
            x: (!own.is_empty()).then(|| x.clone().narrow(2, own.start, own.len())),
            rows: rows.clone(),
            home: home.clone(),
        };
        let orders = rows.iter().map(order).collect();
        // Other threads read them: what this one has asked for has to be done.
        synced(&home)?;
        let answers = self.team.call(orders)?;
        let (mut report, mut parts) = (ShardReport::default(), Vec::new());
        for ((logits, traffic), seconds) in answers {
            parts.extend(logits);
            report.rank_seconds.push(seconds);
            report.traffic.push(traffic);
        }
        report.wall_seconds = start.elapsed().as_secs_f64();
        if let Ok(mut last) = self.report.lock() {
            *last = report;
        }
        Ok(Tensor::cat(parts, 2))
    }

    fn summary(&self) -> Summary {
        self.report().summary()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_whole_strides_and_all_of_them() {
        for (height, stride, ranks) in [(64, 8, 3), (16, 8, 5), (256, 32, 8), (40, 8, 1)] {
            let rows = rows_of(height, stride, ranks);
            assert_eq!(rows.len(), ranks);
            assert!(rows.iter().all(|r| r.start % stride == 0 && r.end % stride == 0));
            let all: Vec<usize> = rows.into_iter().flatten().collect();
            assert_eq!(all, (0..height).collect::<Vec<_>>());
        }
    }
}
