//! Clips as batches, made ahead on the CPU while the device computes.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use lithoburn_layout::generate::ClipRules;
use lithoburn_layout::{Frame, Layout, ReadOptions};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Target, TrainConfig, TrainError};

/// Threads that make batches in turn, each one clip after the other. A generated clip takes some 30 µs of one; layouts of a folder may take longer.
const MAKERS: usize = 3;
/// Batches that each of them keeps ready.
const AHEAD: usize = 2;
/// Attempts per clip when shapes fill the whole field.
const DENSE_ATTEMPTS: usize = 500;

/// A rank's part of each batch of clips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    rank: usize,
    ranks: usize,
    /// Clips of a batch, of all ranks.
    batch: usize,
    /// Equal pieces of a batch of which a rank has its part each.
    pieces: usize,
}

impl Shard {
    /// Of a run's batches: of each half, if one half of a batch can be labelled.
    pub(crate) fn of(config: &TrainConfig, rank: usize, ranks: usize) -> Self {
        let pieces = if config.adversarial.is_some() { 2 } else { 1 };
        Self { rank, ranks, batch: config.batch, pieces }
    }

    /// Of a run's labelled half batches.
    pub(crate) fn labelled(config: &TrainConfig, rank: usize, ranks: usize) -> Self {
        Self { rank, ranks, batch: config.batch / 2, pieces: 1 }
    }

    /// Clips of a batch that are the rank's.
    pub(crate) fn clips(&self) -> usize {
        self.batch / self.ranks
    }

    /// The number, among all clips, of the rank's `own`-th one.
    pub(crate) fn clip(&self, own: u64) -> u64 {
        let part = (self.clips() / self.pieces) as u64;
        let [rank, batch, pieces] = [self.rank, self.batch, self.pieces].map(|n| n as u64);
        let (step, own) = (own / (part * pieces), own % (part * pieces));
        let (piece, own) = (own / part, own % part);
        step * batch + piece * (batch / pieces) + rank * part + own
    }
}

/// An endless stream of batches of targets.
pub struct ClipStream {
    /// Of each maker.
    batches: Vec<Receiver<Vec<Target>>>,
    /// Whose turn it is.
    next: Cell<usize>,
}

/// The clip with number `index` of a seed's stream, on pixels of `pixel_nm` over a field.
///
/// One in four fills the whole field, as a tile of a large layout does; the others are a window in
/// its middle, as the contest's clips are.
pub fn field_clip(
    rules: &ClipRules,
    seed: u64,
    index: u64,
    field_nm: f64,
    pixel_nm: f64,
) -> Target {
    // An odd multiplier keeps different (seed, index) pairs apart.
    let number = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index);
    let full = field_nm as u32;
    let rules = match index % 4 {
        3 => ClipRules { window_nm: [full, full], attempts: DENSE_ATTEMPTS, ..rules.clone() },
        _ => rules.clone(),
    };
    let clip = rules.clip(number);
    let frame = Frame::centred(&clip, field_nm, pixel_nm);
    let frame = frame.unwrap_or_else(|e| unreachable!("clips were checked against the field: {e}"));
    Target::new(&clip, &frame)
}

/// One layout of this many is kept for validation.
const HELD_OUT: usize = 8;

/// Where clips come from.
#[derive(Clone, Debug)]
pub enum ClipSource {
    /// They are made by rules, none twice.
    Generated(ClipRules),
    /// Layouts for training and for validation, placed at random in the field.
    Layouts(Arc<[Vec<Layout>; 2]>),
}

impl ClipSource {
    /// Clips by rules, or the layouts of a folder (.glp, .gds, .oas, .png with pixels of 1 nm), every eighth of which is
    /// only used for validation.
    ///
    /// # Errors
    ///
    /// [`TrainError`] if the folder cannot be read, has fewer than two layouts, or one does not fit the field.
    pub fn open(
        rules: &ClipRules,
        folder: Option<&Path>,
        field_nm: f64,
    ) -> Result<Self, TrainError> {
        let Some(folder) = folder else { return Ok(Self::Generated(rules.clone())) };
        let wrong = |problem: String| {
            TrainError::Config(format!("layouts of {}: {problem}", folder.display()))
        };
        let entries = std::fs::read_dir(folder).map_err(|e| wrong(e.to_string()))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        let known = |p: &PathBuf| {
            let ending = p.extension().and_then(|e| e.to_str()).unwrap_or_default();
            ["glp", "gds", "oas", "png"].contains(&ending.to_lowercase().as_str())
        };
        paths.retain(known);
        paths.sort();
        let mut layouts = [Vec::new(), Vec::new()];
        for (index, path) in paths.iter().enumerate() {
            let layout = Layout::read(path, &ReadOptions { pixel_nm: 1.0, ..Default::default() })?;
            Frame::centred(&layout, field_nm, 1.0)
                .map_err(|e| wrong(format!("{}: {e}", path.display())))?;
            let held_out = index % HELD_OUT == HELD_OUT - 1 || paths.len() < HELD_OUT && index == 0;
            layouts[usize::from(held_out)].push(layout);
        }
        match layouts.iter().any(Vec::is_empty) {
            true => Err(wrong(format!(
                "expected two or more .glp, .gds, .oas or .png, got {}",
                paths.len()
            ))),
            false => Ok(Self::Layouts(Arc::new(layouts))),
        }
    }

    /// The clip with number `index` of a seed's stream, on pixels of `pixel_nm` over a field; of the validation's
    /// layouts if it is `held_out`.
    pub fn clip(
        &self,
        held_out: bool,
        seed: u64,
        index: u64,
        field_nm: f64,
        pixel_nm: f64,
    ) -> Target {
        match self {
            Self::Generated(rules) => field_clip(rules, seed, index, field_nm, pixel_nm),
            Self::Layouts(layouts) => {
                let own = &layouts[usize::from(held_out)];
                let mut dice = ChaCha8Rng::seed_from_u64(seed ^ index.wrapping_mul(0x9e37_79b9));
                let layout = match held_out {
                    true => &own[index as usize % own.len()],
                    false => &own[dice.random_range(0..own.len())],
                };
                placed(layout, &mut dice, field_nm, pixel_nm)
            }
        }
    }
}

/// A layout somewhere in the field: the optics are the same everywhere.
fn placed(layout: &Layout, dice: &mut ChaCha8Rng, field_nm: f64, pixel_nm: f64) -> Target {
    let frame = Frame::centred(layout, field_nm, pixel_nm);
    let mut frame = frame.unwrap_or_else(|e| unreachable!("it was checked against the field: {e}"));
    let extent = layout.extent().map_or([field_nm; 2], |b| [b.width(), b.height()]);
    for (origin, size) in frame.origin_nm.iter_mut().zip(extent) {
        // The centre may be half a pixel off already.
        let room = ((field_nm - size) / 2.0 - pixel_nm).max(0.0);
        *origin += (dice.random_range(-1.0..=1.0) * room).round();
    }
    Target::new(layout, &frame)
}

impl ClipStream {
    /// Starts to make batches of the clips that `clip` makes of their numbers, from `first` on. The threads
    /// end when the stream is dropped.
    pub fn start(
        first: u64,
        batch: usize,
        clip: impl Fn(u64) -> Target + Send + Sync + 'static,
    ) -> Self {
        let clip = Arc::new(clip);
        let maker = |maker: usize| {
            let (sender, batches) = sync_channel(AHEAD);
            let clip = Arc::clone(&clip);
            let first = first + (maker * batch) as u64;
            std::thread::spawn(move || {
                for first in (first..).step_by(MAKERS * batch.max(1)) {
                    let indices = first..first + batch as u64;
                    if sender.send(indices.map(&*clip).collect()).is_err() {
                        return;
                    }
                }
            });
            batches
        };
        Self { batches: (0..MAKERS).map(maker).collect(), next: Cell::new(0) }
    }

    /// The next batch.
    pub fn next_batch(&self) -> Vec<Target> {
        let maker = self.next.replace((self.next.get() + 1) % MAKERS);
        self.batches[maker].recv().unwrap_or_else(|_| unreachable!("the stream is endless"))
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
        assert_eq!(first, [clip(0), clip(1)]);
        assert_eq!(second, [clip(2), clip(3)]);
        assert_ne!(first, second);
        assert_eq!(ClipStream::start(2, 2, clip).next_batch(), second);
        // More batches than there are makers.
        for batch in 2..9 {
            let clips = [clip(2 * batch), clip(2 * batch + 1)];
            assert_eq!(stream.next_batch(), clips, "{batch}");
        }
    }

    /// One rank has all clips in order; several have each clip once, and half of each half.
    #[test]
    fn every_clip_of_a_batch_is_one_ranks() {
        for pieces in [1, 2] {
            let shard = |rank, ranks| Shard { rank, ranks, batch: 12, pieces };
            let own = |s: Shard, count: u64| (0..count).map(move |i| s.clip(i));
            assert_eq!(own(shard(0, 1), 36).collect::<Vec<_>>(), (0..36).collect::<Vec<_>>());
            for ranks in [2, 3] {
                let parts = (0..ranks).map(|rank| shard(rank, ranks));
                let mut all: Vec<u64> = parts.flat_map(|s| own(s, 3 * s.clips() as u64)).collect();
                all.sort_unstable();
                assert_eq!(all, (0..36).collect::<Vec<_>>(), "{ranks} ranks, {pieces} pieces");
            }
        }
        let second = Shard { rank: 1, ranks: 2, batch: 8, pieces: 2 };
        assert_eq!(
            (0..8).map(|i| second.clip(i)).collect::<Vec<_>>(),
            [2, 3, 6, 7, 10, 11, 14, 15]
        );
    }

    #[test]
    fn a_folders_layouts_are_placed_whole_and_some_are_held_out() {
        let folder = std::env::temp_dir().join(format!("lithoburn-layouts-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("temporary folder");
        let open = || ClipSource::open(&ClipRules::default(), Some(&folder), 2048.0);
        assert!(open().expect_err("an empty folder").to_string().contains("two or more"));
        for side in [80, 160] {
            let text = format!("BEGIN\nCELL a PRIME\nRECT N M1 0 0 {side} {side}\nENDMSG\n");
            std::fs::write(folder.join(format!("{side:03}.glp")), text).expect("a layout");
        }
        let source = open().expect("two layouts");
        let area = |clip: Target| clip.shares().iter().sum::<f32>() * 64.0;
        for index in 0..4 {
            let clip = |held_out| source.clip(held_out, 7, index, 2048.0, 8.0);
            // Every clip is its whole square, wherever it lies; the first is the one held out.
            assert!((area(clip(true)) - 6400.0).abs() < 1.0);
            assert!((area(clip(false)) - 25600.0).abs() < 1.0);
        }
        let clips: Vec<_> = (0..2).map(|i| source.clip(false, 7, i, 2048.0, 8.0)).collect();
        assert_ne!(clips[0], clips[1]);
        assert_eq!(clips[0], source.clip(false, 7, 0, 2048.0, 8.0));
    }
}
