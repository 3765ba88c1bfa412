//! Passes of few images as CUDA graphs: recorded once, replayed with one order.
//!
//! The host takes longer to launch sixteen kernels than a card to run them on one image. So the second pass of an extent is recorded, and the
//! ones after it are three orders: the first step, which reads the caller's images; the graph of all steps between, on images of its own; the
//! last step, which writes the caller's logits. Nothing is copied, and the kernels are the same, so are the bits.
//!
//! A caller whose images are in the host's memory and who waits for logits there has a graph of all steps, on an input and logits of its own:
//! images are written where it reads, and logits read where it writes.
//!
//! While CUDA records, no thread of the process may ask another card for memory. So nothing is recorded where several cards were chosen
//! ([`cards_opened`](lithoburn_pool::cards_opened)), and a card that records has its queue to itself.

use burn::backend::ExecutionError;
use burn::tensor::TensorData;

use crate::steps::{Steps, Then, Work};

/// The steps that a graph can hold: all between the first, which reads the input, and the last, which writes the logits. None if the list
/// is another one.
pub(super) fn inner(steps: &Steps) -> Option<std::ops::Range<usize>> {
    let inner = 1..steps.steps.len().checked_sub(1)?;
    let (first, last) = (steps.steps.first()?, steps.steps.last()?);
    let reads = |work: &Work| matches!(work, Work::Stem { .. });
    let writes = |work: &Work| match work {
        Work::Narrow { .. } => true,
        Work::Convolve(work) => matches!(work.then, Then::Last(_) | Then::StoreLast(..)),
        _ => false,
    };
    let closed = |range: std::ops::Range<usize>| {
        steps.steps.get(range)?.iter().all(|s| !reads(&s.work) && !writes(&s.work)).then_some(())
    };
    closed(inner.clone())?;
    (reads(&first.work) && writes(&last.work)).then_some(inner)
}

#[cfg(feature = "gpu")]
pub(crate) use on_card::Recordings;
#[cfg(feature = "gpu")]
pub(super) use on_card::run;

/// What became of images in the host's memory.
pub(super) enum Replayed {
    /// Their logits, if the card made them.
    Made(Result<TensorData, ExecutionError>),
    /// No graph made any: here the images are again.
    Unknown(TensorData),
}

/// A program without GPUs records nothing.
#[cfg(not(feature = "gpu"))]
#[derive(Debug, Default)]
pub(crate) struct Recordings;

#[cfg(not(feature = "gpu"))]
impl Recordings {
    pub(super) fn there_and_back(&self, targets: TensorData) -> Replayed {
        Replayed::Unknown(targets)
    }
}

#[cfg(feature = "gpu")]
mod on_card {
    #![allow(
        unsafe_code,
        reason = "a graph is replayed on the stream that it was recorded on, and what it reads and writes lives as long as it does"
    )]

    use std::collections::HashMap;
    use std::sync::{Arc, Mutex, Once, PoisonError};

    use burn::backend::{ExecutionError, StreamId};
    use burn::tensor::{Bytes, DType, TensorData};
    use burn_cubecl::tensor::CubeTensor;
    use cubecl::client::{Client, Graph};
    use cubecl::server::{Handle, ServerError};
    use lithoburn_pool::cards_opened;

    use super::super::forward::Pass;
    use super::super::{Compiled, Extent};
    use super::Replayed;
    use crate::trial::brief;

    /// Most pixels of a batch that is recorded: beyond four tiles of 2048 nm the card takes longer than the host.
    const MOST_PIXELS: usize = 4 * 256 * 256;
    /// The same in eight bits, whose sixteen tiles a card takes no longer to compute than the host to launch.
    const MOST_PIXELS_IN_EIGHT_BITS: usize = 4 * MOST_PIXELS;
    /// Most extents that are recorded: each keeps its images.
    const MOST_EXTENTS: usize = 8;

    /// What passes of a network were recorded, by stream and extent.
    #[derive(Default)]
    pub(crate) struct Recordings(Mutex<HashMap<(u64, Extent), Known>>);

    impl std::fmt::Debug for Recordings {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Recordings").finish_non_exhaustive()
        }
    }

    /// What is known of an extent on a stream.
    enum Known {
        /// It was met once: its kernels are compiled.
        Met,
        Recorded(Arc<Recording>),
        /// It could not be recorded.
        Refused,
    }

    /// Logits `[batch, 1, height, width]` of such an input, both f32: by what was recorded of such passes, or step by step.
    pub(in super::super) fn run(
        input: CubeTensor,
        weights: [CubeTensor; 2],
        compiled: &Compiled,
        tiled_for: Option<Extent>,
        recordings: &Recordings,
    ) -> CubeTensor {
        let mut pass = Pass::new(input, weights, compiled, tiled_for);
        let recording = match tiled_for {
            None => recordings.of(&mut pass, compiled),
            Some(_) => None,
        };
        if !recording.is_some_and(|recording| recording.makes(&mut pass, compiled)) {
            pass.launched(compiled);
        }
        pass.logits()
    }

    /// A pass of one extent.
    struct Recording {
        /// The inner steps, between a caller's images and logits.
        inner: Graph,
        /// All steps, between an input and logits of their own.
        whole: Graph,
        /// Where those are.
        ends: [Handle; 2],
        /// Memory of the host that the card reads by itself, for the next input: asked for while the card computes.
        staged: Mutex<Option<Bytes>>,
        images: Vec<Handle>,
        client: Client,
        /// What the graphs use besides, kept for them. The images of `whole` are others than those of `inner`, which is one of three orders: a
        /// pass from memory to memory may come between them.
        _own_images: Vec<Handle>,
        _weights: [CubeTensor; 2],
    }

    impl Recording {
        /// All steps of a pass, most of them as one order; false if the card did not take it.
        fn makes(&self, pass: &mut Pass, compiled: &Compiled) -> bool {
            let last = compiled.steps.steps.len() - 1;
            pass.use_images(&self.images);
            pass.launch_all(compiled, 0..1);
            let taken = self.replay(&self.inner).is_ok();
            if taken {
                pass.launch_all(compiled, last..last + 1);
            }
            taken
        }

        /// Puts recorded steps in the queue.
        fn replay(&self, graph: &Graph) -> Result<(), String> {
            // SAFETY: `ends`, both lists of images and `_weights` are all that the graphs read and write, and live in here. Recordings are
            // found by the stream that made them, so all that uses them is in one queue, and what is between the orders of a pass uses
            // nothing of its.
            unsafe { graph.replay() }.map_err(|error| error.to_string())
        }

        /// Logits of such images. What can be done while the card computes is done then, and the caller's own thread waits. Images whose
        /// graph the card does not take are given back.
        fn there_and_back(&self, targets: TensorData) -> Replayed {
            let (mut bytes, shape, _) = targets.into_parts();
            let [input, logits] = &self.ends;
            let staged = || self.staged.lock().unwrap_or_else(PoisonError::into_inner);
            let mut first = staged().take().unwrap_or_else(|| bytes.clone());
            first.copy_from_slice(&bytes);
            self.client.write(input, first);
            if self.replay(&self.whole).is_err() {
                return Replayed::Unknown(TensorData::from_bytes(bytes, shape, DType::F32));
            }
            self.client.staging(std::iter::once(&mut bytes), false);
            *staged() = Some(bytes);
            // Logits do not carry what went wrong with an input that the graph alone knows to be read.
            let read =
                self.client.check([input]).and_then(|()| self.client.read_one(logits.clone()));
            let failed =
                |error: ServerError| ExecutionError::WithContext { reason: error.to_string() };
            let logits = |read| TensorData::from_bytes(read, shape, DType::F32);
            Replayed::Made(read.map(logits).map_err(failed))
        }
    }

    impl Recordings {
        /// Logits of images `[batch, 1, height, width]` in the host's memory, if such a pass of this thread was recorded.
        pub(in super::super) fn there_and_back(&self, targets: TensorData) -> Replayed {
            let (&[batch, 1, height, width], DType::F32) =
                (targets.shape().as_slice(), targets.dtype())
            else {
                return Replayed::Unknown(targets);
            };
            let key = (StreamId::current().value, Extent { batch, height, width });
            let recording = match self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
                Some(Known::Recorded(recording)) => Arc::clone(recording),
                _ => return Replayed::Unknown(targets),
            };
            recording.there_and_back(targets)
        }

        /// How many passes are recorded.
        #[cfg(test)]
        pub(crate) fn count(&self) -> usize {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.values().filter(|known| matches!(known, Known::Recorded(_))).count()
        }

        /// The recording of such a pass, which is made the second time that it is asked for.
        fn of(&self, pass: &mut Pass, compiled: &Compiled) -> Option<Arc<Recording>> {
            let Extent { batch, height, width } = pass.extent();
            let most = match compiled.steps.images.iter().any(|image| image.eight_bits) {
                true => MOST_PIXELS_IN_EIGHT_BITS,
                false => MOST_PIXELS,
            };
            if batch * height * width > most || cards_opened() > 1 {
                return None;
            }
            let key = (pass.stream(), pass.extent());
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let count = all.len();
            match all.get(&key) {
                Some(Known::Recorded(recording)) => return Some(Arc::clone(recording)),
                Some(Known::Refused) => return None,
                None if count >= MOST_EXTENTS => return None,
                None => {
                    all.insert(key, Known::Met);
                    return None;
                }
                Some(Known::Met) => {}
            }
            let known = match recorded(pass, compiled) {
                Ok(recording) => Known::Recorded(Arc::new(recording)),
                Err(why) => {
                    say_once(&why);
                    Known::Refused
                }
            };
            let found =
                if let Known::Recorded(own) = &known { Some(Arc::clone(own)) } else { None };
            all.insert(key, known);
            found
        }
    }

    /// Records both graphs of a pass, after running its steps once on the images of each.
    fn recorded(pass: &mut Pass, compiled: &Compiled) -> Result<Recording, String> {
        let inner = super::inner(&compiled.steps).ok_or("its steps are not known to be closed")?;
        let images = pass.own_images();
        let (client, weights) = (pass.client(), pass.weights());
        let mut own = pass.on_its_own(compiled);
        let own_images = own.own_images();
        let whole = captured(&client, || own.launch_all(compiled, 0..compiled.steps.steps.len()))?;
        let inner = captured(&client, || pass.launch_all(compiled, inner.clone()))?;
        let ends = own.ends();
        Ok(Recording {
            inner,
            whole,
            ends,
            staged: Mutex::default(),
            images,
            client,
            _own_images: own_images,
            _weights: weights,
        })
    }

    /// Records what is launched, after launching it once.
    fn captured(client: &Client, mut launch: impl FnMut() + Send) -> Result<Graph, String> {
        let record = || {
            client.graph_prepare()?;
            launch();
            let opened = client.start_capture();
            if opened.is_ok() {
                launch();
            }
            // What was begun is ended in any case: a stream left open would record all that follows.
            let graph = client.stop_capture();
            opened.and(graph)
        };
        // Nothing of other threads comes between.
        let graph = client.exclusive(record).and_then(|graph| graph);
        graph.map_err(|error| brief(&error.to_string()))
    }

    /// Writes a line on standard error, once a process.
    fn say_once(why: &str) {
        static SAID: Once = Once::new();
        SAID.call_once(|| eprintln!("note: passes of few images are launched step by step: {why}"));
    }
}
