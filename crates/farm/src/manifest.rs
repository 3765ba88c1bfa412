//! The blocks of a job, in one file: neighbouring items, as many as are worth a lease.
//!
//! ```text
//! "LITHOBLK" ─ number of blocks N (8) ─ N + 1 places of blocks (8 each) ─ block ─ block ─ …
//! block: column (4) ─ row (4) ─ items as differences, seven bits a byte, the least first
//! ```
//! All numbers are little endian.

use std::collections::BTreeMap;

const MAGIC: &[u8; 8] = b"LITHOBLK";

/// A block: what one lease is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Column and row of its first item, in squares of the plan.
    pub at: [u32; 2],
    /// What is computed, in rising order.
    pub items: Vec<u64>,
}

/// All blocks of a job.
#[derive(Clone, Debug)]
pub struct Manifest {
    bytes: Vec<u8>,
    blocks: u64,
}

impl Manifest {
    /// A file of blocks.
    pub fn write(blocks: &[Block]) -> Vec<u8> {
        let mut places = Vec::with_capacity(blocks.len() + 1);
        let mut body = Vec::new();
        let head = 16 + 8 * (blocks.len() as u64 + 1);
        for block in blocks {
            places.push(head + body.len() as u64);
            block.at.iter().for_each(|v| body.extend(v.to_le_bytes()));
            let mut last = 0;
            for &item in &block.items {
                put(&mut body, item - last);
                last = item;
            }
        }
        places.push(head + body.len() as u64);
        let mut bytes = [&MAGIC[..], &(blocks.len() as u64).to_le_bytes()].concat();
        places.iter().for_each(|place| bytes.extend(place.to_le_bytes()));
        bytes.extend(body);
        bytes
    }

    /// What [`Manifest::write`] wrote; none if it is something else.
    pub fn of(bytes: Vec<u8>) -> Option<Self> {
        let blocks = number(&bytes, 8)?;
        let manifest = Self { bytes, blocks };
        let head = blocks.checked_add(1)?.checked_mul(8)?.checked_add(16)?;
        let is_whole = manifest.bytes.starts_with(MAGIC)
            && manifest.place(0) == Some(head as usize)
            && manifest.place(blocks) == Some(manifest.bytes.len());
        is_whole.then_some(manifest)
    }

    /// Number of blocks.
    pub fn len(&self) -> u64 {
        self.blocks
    }

    /// Whether there is nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.blocks == 0
    }

    /// A block; none beyond the last, or if its bytes are damaged.
    pub fn block(&self, number: u64) -> Option<Block> {
        // Whoever names a block may name any number.
        let next = number.checked_add(1).filter(|&next| next <= self.blocks)?;
        let bytes = self.bytes.get(self.place(number)?..self.place(next)?)?;
        let at = |i: usize| Some(u32::from_le_bytes(bytes.get(i..i + 4)?.try_into().ok()?));
        let (at, mut rest) = ([at(0)?, at(4)?], &bytes[8..]);
        let (mut items, mut last) = (Vec::new(), 0_u64);
        while !rest.is_empty() {
            last = last.checked_add(take(&mut rest)?)?;
            items.push(last);
        }
        Some(Block { at, items })
    }

    fn place(&self, number: u64) -> Option<usize> {
        let at = 16 + 8 * usize::try_from(number).ok()?;
        usize::try_from(self::number(&self.bytes, at)?).ok()
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

/// Groups items, each with its column and row, into blocks: rectangles of `width` by `height` places, row by row and to and fro, so that
/// neighbours follow each other. Those with few items are joined with the next ones while the whole is no more than a full one.
pub fn blocks(
    items: impl IntoIterator<Item = (u64, [u64; 2])>,
    [width, height]: [u32; 2],
) -> Vec<Block> {
    let mut full: BTreeMap<(u32, u64), (u32, Vec<u64>)> = BTreeMap::new();
    for (item, [column, row]) in items {
        let (x, y) = ((column / u64::from(width)) as u32, (row / u64::from(height)) as u32);
        let order = if y % 2 == 0 { u64::from(x) } else { u64::from(u32::MAX - x) };
        full.entry((y, order)).or_insert_with(|| (x, Vec::new())).1.push(item);
    }
    let most = width as usize * height as usize;
    let mut blocks: Vec<Block> = Vec::new();
    for ((y, _), (x, items)) in full {
        match blocks.last_mut() {
            Some(last) if last.items.len() + items.len() <= most => last.items.extend(items),
            _ => blocks.push(Block { at: [x, y], items }),
        }
    }
    blocks.iter_mut().for_each(|block| block.items.sort_unstable());
    blocks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rectangles_follow_each_other_and_small_ones_are_joined() {
        // 6 by 4 places, all with an item, and a lone one far away.
        let all = (0..24).map(|i| (i, [i % 6, i / 6])).chain([(1000, [90, 3])]);
        let found = blocks(all, [2, 2]);
        let places: Vec<[u32; 2]> = found.iter().map(|block| block.at).collect();
        assert_eq!(places, [[0, 0], [1, 0], [2, 0], [45, 1], [2, 1], [1, 1], [0, 1]]);
        assert_eq!(found[0].items, [0, 1, 6, 7]);
        let few = blocks((0..10).map(|i| (i, [10 * i, 0])), [4, 2]);
        assert_eq!(few.iter().map(|b| b.items.len()).collect::<Vec<_>>(), [8, 2]);
    }

    proptest! {
        #[test]
        fn every_item_is_in_one_block_and_blocks_are_read_as_written(
            places in prop::collection::vec((0_u64..200, 0_u64..50), 0..400),
            side in 1_u32..9,
        ) {
            let items = places.iter().enumerate().map(|(i, &(x, y))| (i as u64 * 37, [x, y]));
            let blocks = blocks(items, [side, side]);
            let manifest = Manifest::of(Manifest::write(&blocks)).expect("whole");
            prop_assert_eq!(manifest.len(), blocks.len() as u64);
            let read: Vec<Block> = (0..manifest.len()).filter_map(|i| manifest.block(i)).collect();
            prop_assert_eq!(&read, &blocks);
            prop_assert_eq!(manifest.block(manifest.len()), None);
            let mut all: Vec<u64> = read.into_iter().flat_map(|b| b.items).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..places.len() as u64).map(|i| i * 37).collect::<Vec<_>>());
        }

        #[test]
        fn damaged_bytes_are_no_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), blocks in 0_u64..9) {
            let _ = Manifest::of(bytes.clone());
            let head = [&MAGIC[..], &blocks.to_le_bytes()].concat();
            bytes.splice(0..0, head);
            if let Some(manifest) = Manifest::of(bytes) {
                (0..=blocks).for_each(|i| drop(manifest.block(i)));
                for beyond in [1 << 60, u64::MAX - 1, u64::MAX] {
                    prop_assert_eq!(manifest.block(beyond), None);
                }
            }
        }
    }
}
