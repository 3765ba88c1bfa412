//! Clips as batches, made ahead on the CPU while the device computes.

use std::sync::mpsc::{Receiver, sync_channel};

use lithoburn_layout::generate::ClipRules;
use lithoburn_layout::{Coverage, Frame, Layout};
use rayon::prelude::*;

/// Batches kept ready.
const AHEAD: usize = 4;
/// Attempts per clip when shapes fill the whole field.
const DENSE_ATTEMPTS: usize = 500;

/// An endless stream of batches of target images.
pub struct ClipStream {
    batches: Receiver<Vec<f32>>,
}

/// The clip with number `index` of a seed's stream, as pixels of `pixel_nm` over a field.
///
/// One in four fills the whole field, as a tile of a large layout does; the others are a window in
/// its middle, as the contest's clips are.
pub fn field_clip(
    rules: &ClipRules,
    seed: u64,
    index: u64,
    field_nm: f64,
    pixel_nm: f64,
) -> Vec<f32> {
    // An odd multiplier keeps different (seed, index) pairs apart.
    let number = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index);
    let full = field_nm as u32;
    let rules = match index % 4 {
        3 => ClipRules { window_nm: [full, full], attempts: DENSE_ATTEMPTS, ..rules.clone() },
        _ => rules.clone(),
    };
    raster(&rules.clip(number), field_nm, pixel_nm)
}

fn raster(clip: &Layout, field_nm: f64, pixel_nm: f64) -> Vec<f32> {
    let frame = Frame::centred(clip, field_nm, pixel_nm);
    let frame = frame.unwrap_or_else(|e| unreachable!("rules were checked against the field: {e}"));
    clip.rasterize(&frame, Coverage::Exact).data
}

impl ClipStream {
    /// Starts to make batches of the clips that `clip` makes of their numbers, from `first` on. The threads
    /// end when the stream is dropped.
    pub fn start(
        first: u64,
        batch: usize,
        clip: impl Fn(u64) -> Vec<f32> + Send + Sync + 'static,
    ) -> Self {
        let (sender, batches) = sync_channel(AHEAD);
        std::thread::spawn(move || {
            let mut first = first;
            loop {
                let indices = first..first + batch as u64;
                let data: Vec<Vec<f32>> = indices.into_par_iter().map(&clip).collect();
                if sender.send(data.concat()).is_err() {
                    return;
                }
                first += batch as u64;
            }
        });
        Self { batches }
    }

    /// The next batch, `batch * n * n` values.
    pub fn next_batch(&self) -> Vec<f32> {
        self.batches.recv().unwrap_or_else(|_| unreachable!("the stream is endless"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_its_clips_in_order() {
        let clip = |i| field_clip(&ClipRules::default(), 5, i, 2048.0, 16.0);
        let stream = ClipStream::start(0, 2, clip);
        let (first, second) = (stream.next_batch(), stream.next_batch());
        assert_eq!(first, [clip(0), clip(1)].concat());
        assert_eq!(second, [clip(2), clip(3)].concat());
        assert_ne!(first, second);
        assert_eq!(ClipStream::start(2, 2, clip).next_batch(), second);
    }
}
