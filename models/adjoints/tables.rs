//! Sums that are made in parts, until one launch adds up those of all: a bias has some dozens of sums, and a launch for each takes longer to order than to
//! do.
#![allow(clippy::manual_div_ceil, reason = "kernels know no div_ceil")]

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use burn::tensor::{DType, Shape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::{UNITS, arg, element, empty};

/// Most parts that a sum is made in.
pub(super) const MOST_PARTS: usize = 512;
/// Runs that a table's parts are added up in, each by a unit of its own, and sums of a cube.
const RUNS: usize = 16;
const SUMS: usize = UNITS as usize / RUNS;
/// Numbers that a table of parts begins at a multiple of.
const ALIGNED: usize = 64;
/// What is said of a table: where its parts begin, how many sums and parts it has, its columns, and where its sums go.
const WORDS: usize = 9;

/// A table of sums, and where it goes among all numbers: entry `(row, column)` of `[rows, columns]`, rows counting `few` first, then taps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Where it begins.
    pub(crate) start: usize,
    /// Its rows, and its columns: channels.
    pub(crate) shape: [usize; 2],
    /// How many values of a thin image a tap has.
    pub(crate) few: usize,
    /// Steps of a tap, of a thin image's value, and of a channel.
    pub(crate) strides: [usize; 3],
}

impl Target {
    /// So many numbers side by side.
    pub(crate) fn run(start: usize, count: usize) -> Self {
        Self { start, shape: [1, count], few: 1, strides: [0, 0, 1] }
    }

    pub(super) fn count(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    /// Where each sum goes, row by row.
    #[cfg(test)]
    pub(crate) fn places(self) -> impl Iterator<Item = usize> {
        let Self { start, shape: [_, columns], few, strides: [tap, of, channel] } = self;
        let place = move |(row, column): (usize, usize)| {
            start + row / few * tap + row % few * of + column * channel
        };
        (0..self.count()).map(move |i| place((i / columns, i % columns)))
    }
}

/// What one card was told of tables so far: those of a step are the ones of the step before, and what is sent anew in each costs the thread that
/// orders the card's work as much as a launch.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<HashMap<Vec<u32>, CubeTensor>>);

impl Told {
    /// These words on a tensor's card.
    fn words(&self, words: Vec<u32>, like: &CubeTensor) -> CubeTensor {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(words).or_insert_with_key(|words| sent(words, like)).clone()
    }
}

fn sent(words: &[u32], like: &CubeTensor) -> CubeTensor {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let (client, shape) = (like.client.clone(), Shape::from([words.len()]));
    let handle = client.create_from_slice(&bytes);
    CubeTensor::new_contiguous(client, like.device.clone(), shape, handle, DType::U32)
}

/// Tables of sums that are made in parts, until the parts are added up.
pub(crate) struct Tables {
    parts: CubeTensor,
    used: usize,
    /// Of each table [`WORDS`] numbers, as `totals` reads them.
    words: Vec<u32>,
    /// Sums of the largest.
    largest: usize,
}

impl Tables {
    /// None yet, with memory for the parts of so many sums.
    pub(crate) fn of(like: &CubeTensor, sums: usize, tables: usize) -> Self {
        let room = sums * MOST_PARTS + tables * ALIGNED;
        let parts = empty(like, Shape::from([room.max(1)]), DType::F32);
        Self { parts, used: 0, words: Vec::new(), largest: 0 }
    }

    /// Memory for a table's parts, each of all its sums.
    pub(super) fn begin(&mut self, parts: usize, target: Target) -> BufferArg {
        let Target { start, shape: [_, columns], few, strides: [tap, of, channel] } = target;
        let (count, from) = (target.count(), self.used);
        let words = [from, count, parts, columns, few, start, tap, of, channel];
        self.words.extend(words.map(|word| word as u32));
        let (end, room) = (from + parts * count, self.parts.meta.num_elements());
        assert!(end <= room, "parts of tables up to {end} in memory for {room}");
        self.used = end.next_multiple_of(ALIGNED);
        self.largest = self.largest.max(count);
        let bytes = |numbers: usize| (size_of::<f32>() * numbers) as u64;
        let handle = self.parts.handle.clone();
        let rest = handle.size_in_used() - bytes(end);
        let handle = handle.offset_start(bytes(from)).offset_end(rest);
        let (client, device) = (self.parts.client.clone(), self.parts.device.clone());
        let shape = Shape::from([parts * count]);
        arg(&CubeTensor::new_contiguous(client, device, shape, handle, DType::F32))
    }

    /// Adds up the parts of all tables, each in order, and leaves the sums where they belong, in the precision of `out`.
    pub(crate) fn total(self, told: &Told, out: &CubeTensor) {
        let tables = self.words.len() / WORDS;
        if tables == 0 {
            return;
        }
        let words = told.words(self.words, &self.parts);
        let cubes = self.largest.div_ceil(SUMS) as u32;
        // SAFETY: units beyond a table read and write nothing.
        unsafe {
            totals::launch_unchecked(
                &self.parts.client,
                CubeCount::Static(cubes, tables as u32, 1),
                CubeDim::new_1d(UNITS),
                arg(&self.parts),
                arg(&words),
                arg(out),
                element(out),
            );
        }
    }
}

/// A cube has [`SUMS`] sums of a table; its units have a run of the parts each, in order, and the runs are added up in order.
#[cube(launch_unchecked)]
fn totals<F: Float>(all: &[f32], tables: &[u32], out: &mut [F], #[define(F)] _element: ElemType) {
    let mut runs = Shared::<[f32]>::new_slice(comptime!(UNITS as usize));
    let unit = UNIT_POS as usize;
    let table = CUBE_POS_Y as usize * WORDS;
    let count = tables[table + 1] as usize;
    let own = CUBE_POS_X as usize * SUMS + unit % SUMS;
    let parts = tables[table + 2] as usize;
    let long = (parts + (RUNS - 1)) / RUNS;
    let mut part = unit / SUMS * long;
    let end = select(own < count, select(part + long < parts, part + long, parts), 0);
    let mut sum = f32::new(0.0);
    while part < end {
        sum += all[tables[table] as usize + part * count + own];
        part += 1;
    }
    runs[unit] = sum;
    sync_cube();
    if unit < SUMS && own < count {
        let mut total = f32::new(0.0);
        for run in 0..RUNS {
            total += runs[run * SUMS + unit];
        }
        let columns = tables[table + 3] as usize;
        let few = tables[table + 4] as usize;
        let row = own / columns;
        let to = tables[table + 5] as usize
            + row / few * tables[table + 6] as usize
            + row % few * tables[table + 7] as usize
            + own % columns * tables[table + 8] as usize;
        out[to] = F::cast_from(total);
    }
}
