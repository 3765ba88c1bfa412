//! Compressed blocks, made on several threads and written in the order of their records: compressing takes several times as long as
//! everything else that a mask's file needs, and blocks know nothing of each other.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, sync_channel};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::record;
use super::records::Records;

/// How hard the compressor tries, of 10.
const LEVEL: u8 = 6;
/// More threads would wait for the one that makes the records.
const MOST_THREADS: usize = 16;

/// Blocks on their way into a file.
#[derive(Default)]
pub(super) struct Compressor {
    /// Begun with the second block: most files have one. None where the system gives none.
    threads: Option<ThreadPool>,
    is_second: bool,
    /// Blocks in the making, the oldest first; at most two a thread.
    waiting: VecDeque<Receiver<Vec<u8>>>,
}

impl Compressor {
    /// Takes the records of a block, and gives the bytes of the oldest one if enough are in the making.
    ///
    /// # Errors
    ///
    /// As [`Compressor::next`].
    pub(super) fn add(&mut self, records: Vec<u8>) -> std::io::Result<Option<Vec<u8>>> {
        if std::mem::replace(&mut self.is_second, true) && self.threads.is_none() {
            self.threads = threads(std::thread::available_parallelism().map_or(1, usize::from));
        }
        let Some(threads) = &self.threads else { return Ok(Some(shorter(records))) };
        let (made, block) = sync_channel(1);
        threads.spawn_fifo(move || {
            // Nobody waits for it if the file was given up.
            let _ = made.send(shorter(records));
        });
        self.waiting.push_back(block);
        match self.waiting.len() > 2 * threads.current_num_threads() {
            true => self.next(),
            false => Ok(None),
        }
    }

    /// Waits for the oldest block; none if there is none.
    ///
    /// # Errors
    ///
    /// If compressing it panicked.
    pub(super) fn next(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let Some(block) = self.waiting.pop_front() else { return Ok(None) };
        let lost = |_| std::io::Error::other("a block of the file could not be compressed");
        block.recv().map(Some).map_err(lost)
    }

    /// By so many threads, from the first block on.
    #[cfg(test)]
    pub(super) fn by(count: usize) -> Self {
        Self { threads: threads(count), ..Self::default() }
    }
}

/// Threads of a file's own; none if one is enough.
fn threads(count: usize) -> Option<ThreadPool> {
    let builder = ThreadPoolBuilder::new().num_threads(count.min(MOST_THREADS));
    // A panic is told to who waits for the block.
    let builder = builder.thread_name(|i| format!("compress {i}")).panic_handler(drop);
    if count > 1 { builder.build().ok() } else { None }
}

/// Records as a compressed block, or as they are if that is shorter.
fn shorter(records: Vec<u8>) -> Vec<u8> {
    let compressed = miniz_oxide::deflate::compress_to_vec(&records, LEVEL);
    let mut block = Records::default();
    block.unsigned(record::CBLOCK);
    block.unsigned(0);
    block.unsigned(records.len() as u64);
    block.unsigned(compressed.len() as u64);
    block.0.extend_from_slice(&compressed);
    if block.0.len() < records.len() { block.0 } else { records }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of very different lengths, so that later ones are done before earlier ones.
    #[test]
    fn blocks_come_in_the_order_of_their_records_whoever_is_done_first() {
        let records = |i: usize| {
            let length = if i.is_multiple_of(7) { 200_000 } else { 10 * i };
            (0..length).map(|k| ((k * k * (i + 3)) >> 5) as u8).collect::<Vec<u8>>()
        };
        let all = |mut compressor: Compressor| {
            let mut blocks = Vec::new();
            for i in 0..40 {
                blocks.extend(compressor.add(records(i)).expect("compressed"));
            }
            while let Some(block) = compressor.next().expect("compressed") {
                blocks.push(block);
            }
            blocks
        };
        let alone: Vec<Vec<u8>> = (0..40).map(|i| shorter(records(i))).collect();
        for compressor in [Compressor::default(), Compressor::by(3)] {
            assert_eq!(all(compressor), alone);
        }
    }
}
