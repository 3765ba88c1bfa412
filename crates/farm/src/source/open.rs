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

    /// Whether a block is open.
    pub(super) fn is_open(&self, block: u64) -> bool {
        self.words.get((block / 64) as usize).is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    /// Open blocks from `start` on and before `end`.
    pub(super) fn count(&self, start: u64, end: u64) -> u64 {
        self.words_within(start, end).map(|(_, word)| u64::from(word.count_ones())).sum()
    }

    /// The open block before which, from `start` on and before `end`, there are so many others.
    pub(super) fn nth(&self, start: u64, end: u64, mut others: u64) -> Option<u64> {
        for (first, mut word) in self.words_within(start, end) {
            let here = u64::from(word.count_ones());
            if others >= here {
                others -= here;
                continue;
            }
            (0..others).for_each(|_| word &= word - 1);
            return Some(first + u64::from(word.trailing_zeros()));
        }
        None
    }

    /// The words of a part, each with its first block; what is outside of the part is not open.
    fn words_within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
        let end = end.min(self.total);
        let words = (start / 64) as usize..end.div_ceil(64).max(start / 64) as usize;
        words.map(move |i| {
            let first = 64 * i as u64;
            let from = u64::MAX << start.saturating_sub(first).min(63);
            let to = u64::MAX >> (first + 64).saturating_sub(end).min(63);
            (first, self.words[i] & from & to)
        })
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
                let within: Vec<u64> =
                    open.iter().copied().filter(|b| (at / 2..at + 70).contains(b)).collect();
                let [start, end] = [at / 2, at + 70];
                assert_eq!(believed.count(start, end), within.len() as u64);
                for others in 0..=within.len() {
                    let found = believed.nth(start, end, others as u64);
                    assert_eq!(found, within.get(others).copied(), "{others} in {start}..{end}");
                }
                assert!((0..total + 70).all(|b| believed.is_open(b) == open.contains(&b)));
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
