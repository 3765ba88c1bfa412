//! Memory of a way back: one buffer for all that is needed until its gradients are there.
//!
//! A buffer costs the thread that orders a card's work some microseconds, and a way back has forty. For a small network that was a tenth of what this
//! thread has to do in a step, which takes it as long as the card. So a way back notes how much it needed, and the next one of the same extent
//! asks for that at once; spans of it are taken and given back in the order of the launches, which is the card's. What needs more than
//! [`MOST_BYTES`] is no small network's, and goes on asking for each image. So does what a buffer as long as the tape has no room for: CubeCL's pages of
//! memory are as long as the longest buffer so far, and should not become longer.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use super::Extent;

/// Most bytes that are asked for at once.
const MOST_BYTES: usize = 2 << 30;
/// What spans begin at a multiple of: more than any kernel's copies need.
const ALIGNED: usize = 512;

/// What ways back of each extent needed.
#[derive(Debug, Default)]
pub(crate) struct Needs(Mutex<HashMap<Extent, usize>>);

impl Needs {
    /// Bytes for the next one; none if that is not known, or too much.
    pub(super) fn of(&self, extent: Extent) -> Option<usize> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&extent).copied().filter(|bytes| *bytes <= MOST_BYTES)
    }

    pub(super) fn note(&self, extent: Extent, bytes: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(extent, bytes);
    }
}

/// Spans in a buffer, whatever its length.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// Ends of what is taken, by its beginning.
    taken: BTreeMap<usize, usize>,
    most: usize,
}

impl Spans {
    /// Where so many bytes begin, as far in front as there is room.
    pub(super) fn take(&mut self, bytes: usize) -> usize {
        let bytes = bytes.max(1).next_multiple_of(ALIGNED);
        let mut start = 0;
        for (&first, &end) in &self.taken {
            if start + bytes <= first {
                break;
            }
            start = end;
        }
        self.taken.insert(start, start + bytes);
        self.most = self.most.max(start + bytes);
        start
    }

    /// Gives back what begins there: what is launched from here on may have it.
    pub(super) fn give(&mut self, start: usize) {
        self.taken.remove(&start);
    }

    /// Bytes that were needed at most.
    pub(super) fn most(&self) -> usize {
        self.most
    }
}

#[cfg(feature = "gpu")]
pub(super) use on_card::{Held, Room};

#[cfg(feature = "gpu")]
mod on_card {
    use burn::tensor::{DType, Shape};
    use burn_cubecl::tensor::CubeTensor;

    use super::super::Extent;
    use super::super::launch::empty;
    use super::{Needs, Spans};

    /// A tensor in a room, until it is given back.
    #[derive(Clone, Debug)]
    pub(in super::super) struct Held {
        pub(in super::super) values: CubeTensor,
        start: usize,
    }

    /// The memory of one way back.
    pub(in super::super) struct Room<'a> {
        like: CubeTensor,
        buffer: Option<CubeTensor>,
        length: usize,
        spans: Spans,
        needs: &'a Needs,
        extent: Extent,
    }

    impl<'a> Room<'a> {
        /// One beside a tensor, on its card, of no more than so many bytes.
        pub(in super::super) fn new(
            like: &CubeTensor,
            needs: &'a Needs,
            extent: Extent,
            most: usize,
        ) -> Self {
            let length = needs.of(extent).unwrap_or(0).min(most);
            let buffer = (length > 0).then(|| empty(like, Shape::from([length]), DType::U8));
            let spans = Spans::default();
            Self { like: like.clone(), buffer, length, spans, needs, extent }
        }

        /// A tensor that is not yet written.
        pub(in super::super) fn take(&mut self, shape: Shape, dtype: DType) -> Held {
            let bytes = shape.num_elements() * dtype.size();
            let start = self.spans.take(bytes);
            let values = match &self.buffer {
                Some(buffer) if start + bytes <= self.length => {
                    let (client, device) = (buffer.client.clone(), buffer.device.clone());
                    let rest = (self.length - start - bytes) as u64;
                    let handle = buffer.handle.clone().offset_start(start as u64).offset_end(rest);
                    CubeTensor::new_contiguous(client, device, shape, handle, dtype)
                }
                _ => empty(&self.like, shape, dtype),
            };
            Held { values, start }
        }

        /// Gives a tensor back, all of whose readers are launched.
        pub(in super::super) fn give(&mut self, held: Held) {
            self.spans.give(held.start);
        }

        /// Notes what was needed.
        pub(in super::super) fn close(self) {
            self.needs.note(self.extent, self.spans.most());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_do_not_overlap_and_are_taken_again() {
        let mut spans = Spans::default();
        let [first, second, third] = [1000, 512, 1].map(|bytes| spans.take(bytes));
        assert_eq!([first, second, third, spans.most()], [0, 1024, 1536, 2048]);
        spans.give(second);
        assert_eq!(spans.take(513), 2048, "too long for what was given back");
        assert_eq!(spans.take(512), second);
        spans.give(first);
        spans.give(second);
        assert_eq!(spans.take(1536), 0, "what was given back side by side is one");
        assert_eq!(spans.most(), 3072);
    }

    /// Takes and gives as they come: nobody has what another one has.
    #[test]
    fn spans_are_nobody_elses() {
        let (mut spans, mut held) = (Spans::default(), Vec::new());
        for i in 0..500_usize {
            let bytes = 1 + i * 7919 % 5000;
            let start = spans.take(bytes);
            let own = start..start + bytes;
            let apart =
                |other: &std::ops::Range<usize>| own.end <= other.start || other.end <= own.start;
            assert!(held.iter().all(apart) && own.end <= spans.most());
            held.push(own);
            if i % 3 != 0 {
                let gone = held.swap_remove(i * 31 % held.len());
                spans.give(gone.start);
            }
        }
    }

    #[test]
    fn what_is_too_much_is_not_asked_for_at_once() {
        let (needs, extent) = (Needs::default(), Extent { batch: 1, height: 8, width: 8 });
        assert_eq!(needs.of(extent), None);
        needs.note(extent, MOST_BYTES + 1);
        assert_eq!(needs.of(extent), None);
        needs.note(extent, 4096);
        assert_eq!(needs.of(extent), Some(4096));
        assert_eq!(needs.of(Extent { batch: 2, ..extent }), None);
    }
}
