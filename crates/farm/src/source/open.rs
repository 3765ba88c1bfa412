//! What a worker believes of all blocks: which are open, and which of those is nearest.

/// A set of block numbers.
#[derive(Clone, Debug)]
pub(super) struct OpenBlocks {
    words: Vec<u64>,
    total: u64,
}

impl OpenBlocks {
    /// All blocks, open.
    pub(super) fn open(total: u64) -> Self {
        let mut words = vec![u64::MAX; total.div_ceil(64) as usize];
        if let (Some(last), rest @ 1..) = (words.last_mut(), total % 64) {
            *last = (1 << rest) - 1;
        }
        Self { words, total }
    }

    /// Blocks, open or not.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// A block is not open.
    pub(super) fn close(&mut self, block: u64) {
        if let Some(word) = self.words.get_mut((block / 64) as usize) {
            *word &= !(1 << (block % 64));
        }
    }

    /// The first open block from `start` on, and else from 0 on.
    pub(super) fn nearest(&self, start: u64) -> Option<u64> {
        let start = if start < self.total { start } else { 0 };
        self.from(start).or_else(|| self.from(0))
    }

    fn from(&self, start: u64) -> Option<u64> {
        let first = (start / 64) as usize;
        let rest = self.words.get(first)? & (u64::MAX << (start % 64));
        let found = |(i, word): (usize, u64)| 64 * i as u64 + u64::from(word.trailing_zeros());
        if rest != 0 {
            return Some(found((first, rest)));
        }
        let later = self.words.iter().copied().enumerate().skip(first + 1);
        later.filter(|(_, word)| *word != 0).map(found).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a search of each block in turn.
    #[test]
    fn the_nearest_open_block_is_found_also_past_the_end() {
        for total in [0_u64, 1, 63, 64, 65, 200] {
            let mut believed = OpenBlocks::open(total);
            let mut open: Vec<u64> = (0..total).collect();
            let mut at = 17;
            while let Some(block) = believed.nearest(at) {
                let later = open.iter().copied().find(|&b| b >= at);
                assert_eq!(Some(block), later.or(open.first().copied()), "{at} of {total}");
                believed.close(block);
                open.retain(|&b| b != block);
                at = (at * 31 + block) % (total + 3);
            }
            assert!(open.is_empty());
        }
    }
}
