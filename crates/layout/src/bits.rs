//! Binary images, a bit a pixel: masks on the host.
//!
//! A mask of a million pixels is 128 KB of bits, and what is done to it goes 64 pixels at a time, on one thread: there are many masks.

mod grow;

use crate::Raster;

pub(crate) use grow::MOST_RADIUS;

/// A binary image, a bit a pixel.
///
/// ```
/// use lithoburn_layout::Bits;
///
/// let mut bar = Bits::dark(40, 10);
/// bar.set_run(3, 5, 30);
/// let mut mask = Bits::dark(128, 128);
/// mask.paste(&bar, [100, -1]);
/// assert_eq!((mask.count(), mask.at(105, 2), mask.at(127, 2)), (23, true, true));
/// assert_eq!(Bits::of_words(&mask.to_words(), 128, 128), mask);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bits {
    width: usize,
    height: usize,
    /// Words of a row, with one before it and one after it that are empty: what grows sideways grows into them.
    words: usize,
    data: Vec<u64>,
}

impl Bits {
    /// An image without any pixel.
    pub fn dark(width: usize, height: usize) -> Self {
        let words = width.div_ceil(64) + 2;
        Self { width, height, words, data: vec![0; words * height] }
    }

    /// Packs a row-major image.
    pub fn of_bools(set: &[bool], width: usize) -> Self {
        Self::packed(set, width, |&inside| inside)
    }

    /// The pixels of a raster that are at least half covered.
    pub fn of_raster(raster: &Raster) -> Self {
        Self::packed(&raster.data, raster.width, |&v| v >= 0.5)
    }

    fn packed<T>(pixels: &[T], width: usize, inside: impl Fn(&T) -> bool) -> Self {
        let mut bits = Self::dark(width, pixels.len() / width.max(1));
        for (row, packed) in pixels.chunks(width.max(1)).zip(bits.data.chunks_mut(bits.words)) {
            pack(row, packed, &inside);
        }
        bits
    }

    /// Sets the pixels of a dark row that are at least half covered.
    pub(crate) fn cover_row(&mut self, y: usize, shares: &[f32]) {
        let row = &mut self.data[y * self.words..][..self.words];
        pack(&shares[..self.width], row, &|&v| v >= 0.5);
    }

    /// Makes a row equal to the one before it.
    pub(crate) fn repeat_row(&mut self, y: usize) {
        self.data.copy_within((y - 1) * self.words..y * self.words, y * self.words);
    }

    /// Every `factor`-th pixel in x and y, from the first.
    #[must_use]
    pub fn subsampled(&self, factor: usize) -> Self {
        let mut small = Self::dark(self.width / factor, self.height / factor);
        for y in 0..small.height {
            self.runs(y * factor, |start, end| {
                let ends = [start, end].map(|x| x.div_ceil(factor).min(small.width));
                small.set_run(y, ends[0], ends[1]);
            });
        }
        small
    }

    /// Unpacks words of 32 pixels, of which a row has a whole number, the least bit first: the form of images on devices. Words
    /// that are missing are dark.
    pub fn of_words(words: &[u32], width: usize, height: usize) -> Self {
        let mut bits = Self::dark(width, height);
        let rows = words.chunks(width.div_ceil(32).max(1));
        for (row, packed) in rows.zip(bits.data.chunks_mut(bits.words)) {
            for (pair, word) in row.chunks(2).zip(&mut packed[1..]) {
                *word = pair.iter().rev().fold(0, |w, &half| w << 32 | u64::from(half));
            }
        }
        bits.trimmed()
    }

    /// Words of 32 pixels, as [`Bits::of_words`] takes them.
    pub fn to_words(&self) -> Vec<u32> {
        let each = self.width.div_ceil(32);
        let halves = |&word: &u64| [word as u32, (word >> 32) as u32];
        self.rows().flat_map(|row| row.iter().flat_map(halves).take(each)).collect()
    }

    /// Back to a row-major image.
    pub fn to_bools(&self) -> Vec<bool> {
        let pixel = |row: &[u64], x: usize| row[x / 64] >> (x % 64) & 1 == 1;
        self.rows().flat_map(|row| (0..self.width).map(move |x| pixel(row, x))).collect()
    }

    /// A raster of zeros and ones.
    pub fn to_raster(&self, pixel_nm: f64) -> Raster {
        let mut raster = Raster::new(self.width, self.height, pixel_nm);
        for (y, row) in raster.data.chunks_mut(self.width.max(1)).enumerate() {
            self.runs(y, |start, end| row[start..end].fill(1.0));
        }
        raster
    }

    /// The shares of set pixels in blocks of `factor` by `factor`, for pixels of `pixel_nm`; what does not fill a block is left out.
    pub fn averaged(&self, factor: usize, pixel_nm: f64) -> Raster {
        let (width, height) = (self.width / factor, self.height / factor);
        let mut raster = Raster::new(width, height, pixel_nm * factor as f64);
        let whole = (factor * factor) as f32;
        for (y, shares) in raster.data.chunks_mut(width.max(1)).enumerate() {
            for row in y * factor..(y + 1) * factor {
                self.runs(row, |start, end| add_run(shares, factor, start, end));
            }
            shares.iter_mut().for_each(|share| *share /= whole);
        }
        raster
    }

    /// Pixels in x.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels in y.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Whether a pixel is set.
    ///
    /// # Panics
    ///
    /// If it is not in the image.
    pub fn at(&self, x: usize, y: usize) -> bool {
        self.data[y * self.words + 1 + x / 64] >> (x % 64) & 1 == 1
    }

    /// Sets a pixel.
    ///
    /// # Panics
    ///
    /// If it is not in the image.
    pub fn set(&mut self, x: usize, y: usize) {
        self.data[y * self.words + 1 + x / 64] |= 1 << (x % 64);
    }

    /// Sets the pixels `start..end` of a row.
    ///
    /// # Panics
    ///
    /// If they are not in the image.
    pub fn set_run(&mut self, y: usize, start: usize, end: usize) {
        assert!(end <= self.width, "pixels {start}..{end} of a row of {}", self.width);
        if start >= end {
            return;
        }
        let row = &mut self.data[y * self.words + 1..(y + 1) * self.words];
        let (first, last) = (start / 64, (end - 1) / 64);
        let (head, tail) = (u64::MAX << (start % 64), u64::MAX >> (63 - (end - 1) % 64));
        if first == last {
            row[first] |= head & tail;
            return;
        }
        row[first] |= head;
        row[first + 1..last].fill(u64::MAX);
        row[last] |= tail;
    }

    /// Calls `visit` with the start and end of each run of set pixels of a row.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn runs(&self, y: usize, mut visit: impl FnMut(usize, usize)) {
        let row = &self.data[y * self.words + 1..(y + 1) * self.words];
        let mut x = 0;
        while let Some(start) = next(row, x, 0) {
            // The margin after the row is empty, so that every run ends.
            let end = next(row, start, u64::MAX).unwrap_or(self.width);
            visit(start, end);
            x = end;
        }
    }

    /// Squared distance, in pixels, from a pixel's middle to that of the nearest pixel of the image that is not set; at most `reach`
    /// pixels away in x and y, else `u64::MAX`.
    pub(crate) fn depth(&self, x: usize, y: usize, reach: usize) -> u64 {
        let mut least = u64::MAX;
        for dy in 0..=reach.min(self.height) {
            let far = (dy * dy) as u64;
            if far >= least {
                break;
            }
            let rows = [y.checked_sub(dy), (y + dy < self.height).then_some(y + dy)];
            let beside = rows.into_iter().flatten().filter_map(|y| self.beside(x, y, reach));
            least = beside.fold(least, |least, dx| least.min(far + (dx * dx) as u64));
        }
        least
    }

    /// How far in x the nearest pixel of a row is that is not set, if that is at most `reach`.
    fn beside(&self, x: usize, y: usize, reach: usize) -> Option<usize> {
        let row = &self.data[y * self.words + 1..(y + 1) * self.words];
        let right = next(row, x, u64::MAX).filter(|&end| end < self.width).map(|end| end - x);
        let left = last(row, x, u64::MAX).map(|end| x - end);
        let near = match (left, right) {
            (Some(left), Some(right)) => Some(left.min(right)),
            (left, right) => left.or(right),
        };
        near.filter(|&dx| dx <= reach)
    }

    /// Whether any of the pixels `start..end` of a row is set.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn any_in(&self, y: usize, start: usize, end: usize) -> bool {
        let row = &self.data[y * self.words + 1..(y + 1) * self.words];
        next(row, start, 0).is_some_and(|first| first < end)
    }

    /// Whether no pixel is set.
    pub fn is_dark(&self) -> bool {
        !self.any()
    }

    /// Whether any pixel is set.
    pub fn any(&self) -> bool {
        self.data.iter().any(|&word| word != 0)
    }

    /// Pixels that are set.
    pub fn count(&self) -> usize {
        self.data.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// A window of the image, dark outside it. `at` is the window's first pixel, x then y.
    #[must_use]
    pub fn crop(&self, at: [isize; 2], width: usize, height: usize) -> Self {
        let mut window = Self::dark(width, height);
        window.paste(self, [-at[0], -at[1]]);
        window
    }

    /// Sets the pixels of another image in this one, as far as they fit, with its first pixel at `at`.
    pub fn paste(&mut self, other: &Self, at: [isize; 2]) {
        let (first, shift) = (at[0].div_euclid(64), at[0].rem_euclid(64) as u32);
        let rows = at[1].max(0)..(at[1] + other.height as isize).min(self.height as isize);
        for y in rows {
            let from = &other.data[(y - at[1]) as usize * other.words..][..other.words];
            let to = &mut self.data[y as usize * self.words..][..self.words];
            let last = to.len() as isize;
            // Word 0 of a row is its margin: what gets there is beyond the border.
            for (index, &word) in (first..).zip(from).filter(|(_, word)| **word != 0) {
                if (0..last).contains(&index) {
                    to[index as usize] |= word << shift;
                }
                if shift > 0 && (0..last).contains(&(index + 1)) {
                    to[index as usize + 1] |= word >> (64 - shift);
                }
            }
            trim(to, self.width);
        }
    }

    /// The image with `margin` dark pixels around it.
    #[must_use]
    pub fn framed(&self, margin: usize) -> Self {
        let at = -(margin as isize);
        self.crop([at, at], self.width + 2 * margin, self.height + 2 * margin)
    }

    /// What [`Bits::framed`] put a margin around.
    #[must_use]
    pub fn unframed(&self, margin: usize) -> Self {
        let at = margin as isize;
        self.crop([at, at], self.width - 2 * margin, self.height - 2 * margin)
    }

    /// The words of each row, without margins.
    pub(crate) fn rows(&self) -> impl DoubleEndedIterator<Item = &[u64]> {
        self.data.chunks(self.words).map(|row| &row[1..row.len() - 1])
    }

    /// The words of a row, with one before it and one after it.
    pub(crate) fn row(&self, y: usize) -> &[u64] {
        &self.data[y * self.words..][..self.words]
    }

    /// The same size with no pixel set.
    pub(crate) fn cleared(&self) -> Self {
        Self::dark(self.width, self.height)
    }

    /// The pixels of both.
    pub(crate) fn or(&self, other: &Self) -> Self {
        self.combined(other, |a, b| a | b)
    }

    /// The pixels that are not in the other.
    pub(crate) fn without(&self, other: &Self) -> Self {
        self.combined(other, |a, b| a & !b)
    }

    fn combined(&self, other: &Self, word: impl Fn(u64, u64) -> u64) -> Self {
        let data = self.data.iter().zip(&other.data).map(|(&a, &b)| word(a, b)).collect();
        Self { data, ..*self }
    }

    /// The pixels that are not set.
    pub(crate) fn inverse(&self) -> Self {
        let data = self.data.iter().map(|w| !w).collect();
        Self { data, ..*self }.trimmed()
    }

    /// The image and nothing in its margins.
    fn trimmed(mut self) -> Self {
        self.data.chunks_mut(self.words).for_each(|row| trim(row, self.width));
        self
    }
}

/// Packs the pixels of a row into one with margins.
fn pack<T>(pixels: &[T], row: &mut [u64], inside: &impl Fn(&T) -> bool) {
    let word = |pixels: &[T]| {
        let bits = pixels.iter().enumerate();
        bits.fold(0_u64, |word, (i, pixel)| if inside(pixel) { word | 1 << i } else { word })
    };
    let (whole, rest) = pixels.as_chunks::<64>();
    for (pixels, packed) in whole.iter().zip(&mut row[1..]) {
        *packed = word(pixels);
    }
    row[1 + whole.len()] |= word(rest);
}

/// Clears what is beyond the border of a row with margins.
fn trim(row: &mut [u64], width: usize) {
    let last = row.len() - 1;
    (row[0], row[last]) = (0, 0);
    if !width.is_multiple_of(64) {
        row[last - 1] &= (1 << (width % 64)) - 1;
    }
}

/// Adds a run's pixels to the blocks of `factor` pixels that it touches.
fn add_run(blocks: &mut [f32], factor: usize, start: usize, end: usize) {
    let touched = blocks.iter_mut().enumerate().skip(start / factor);
    for (index, block) in touched.take_while(|(index, _)| index * factor < end) {
        let pixels = end.min((index + 1) * factor) - start.max(index * factor);
        *block += pixels as f32;
    }
}

/// The first pixel from `from` on whose bit, turned round by `flip`, is set.
fn next(row: &[u64], from: usize, flip: u64) -> Option<usize> {
    let mut index = from / 64;
    let mut word = (row.get(index)? ^ flip) & (u64::MAX << (from % 64));
    while word == 0 {
        index += 1;
        word = row.get(index)? ^ flip;
    }
    Some(index * 64 + word.trailing_zeros() as usize)
}

/// The last pixel up to `to` whose bit, turned round by `flip`, is set.
fn last(row: &[u64], to: usize, flip: u64) -> Option<usize> {
    let mut index = to / 64;
    let mut word = (row[index] ^ flip) & (u64::MAX >> (63 - to % 64));
    while word == 0 {
        index = index.checked_sub(1)?;
        word = row[index] ^ flip;
    }
    Some(index * 64 + 63 - word.leading_zeros() as usize)
}

#[cfg(test)]
mod tests;
