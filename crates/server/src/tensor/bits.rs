//! Binary images as words of 32 pixels, as devices take them.

use half::{bf16, f16};

use super::{Datatype, Tensor, TensorError};

/// Pixels of a word.
const WORD: usize = 32;
/// What an element is that is no pixel of a binary image; the least bit of the others is the pixel.
const NEITHER: u32 = 2;

impl Tensor {
    /// Its pixels as bits: row by row, whole words a row, the first pixel in the least bit. `None` if one of them is neither 0 nor 1.
    ///
    /// # Errors
    ///
    /// [`TensorError::Pixels`] if the datatype is none of [`Datatype::PIXELS`], [`TensorError::Read`] if shared memory is gone.
    pub fn to_words(&self) -> Result<Option<Vec<u32>>, TensorError> {
        match self.datatype {
            Datatype::Bool => self.words_of::<1>(|[b]| u32::from(b != 0)),
            Datatype::Uint8 => self.words_of::<1>(|[b]| u32::from(b.min(2))),
            Datatype::Fp16 => self.words_of(|b| code(f16::from_le_bytes(b).to_f32())),
            Datatype::Bf16 => self.words_of(|b| code(bf16::from_le_bytes(b).to_f32())),
            Datatype::Fp32 => self.words_of(|b| code(f32::from_le_bytes(b))),
            Datatype::Bytes => self.words_of_bits().map(Some),
            other => Err(TensorError::Pixels(other)),
        }
    }

    fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1).max(1)
    }

    fn words_of<const N: usize>(
        &self,
        code: impl Fn([u8; N]) -> u32,
    ) -> Result<Option<Vec<u32>>, TensorError> {
        let width = self.width();
        let each = width.div_ceil(WORD);
        let (mut words, mut codes) = (vec![0; self.pixels() / width * each], 0);
        self.data.spans(N, |at, span| {
            let (mut elements, _) = span.as_chunks::<N>();
            let (mut row, mut x) = (at / width, at % width);
            while !elements.is_empty() {
                let count = (WORD - x % WORD).min(width - x).min(elements.len());
                let (now, rest) = elements.split_at(count);
                let mut word = 0;
                for (&element, bit) in now.iter().zip(x % WORD..) {
                    let code = code(element);
                    codes |= code;
                    word |= (code & 1) << bit;
                }
                words[row * each + x / WORD] |= word;
                (elements, x) = (rest, x + count);
                if x == width {
                    (row, x) = (row + 1, 0);
                }
            }
        })?;
        Ok((codes & NEITHER == 0).then_some(words))
    }

    fn words_of_bits(&self) -> Result<Vec<u32>, TensorError> {
        let width = self.width();
        let (each, stride) = (width.div_ceil(WORD), width.div_ceil(8));
        let mut words = vec![0; self.pixels() / width * each];
        // What is beyond a row's end is no pixel.
        let last = u8::MAX >> (8 * stride - width);
        self.data.spans(1, |at, span| {
            let (mut row, mut byte) = (at / stride, at % stride);
            for &bits in span {
                let bits = bits.reverse_bits() & if byte + 1 == stride { last } else { u8::MAX };
                words[row * each + byte / 4] |= u32::from(bits) << (byte % 4 * 8);
                byte += 1;
                if byte == stride {
                    (row, byte) = (row + 1, 0);
                }
            }
        })?;
        Ok(words)
    }

    /// A tensor of pixels that are bits, as [`Tensor::to_words`] gives them.
    ///
    /// # Errors
    ///
    /// [`TensorError::Length`] if there are not as many words as the shape says, [`TensorError::Pixels`] if the datatype is none of
    /// [`Datatype::PIXELS`], [`TensorError::Shape`] if the shape overflows.
    pub fn from_words(
        datatype: Datatype,
        shape: Vec<usize>,
        words: &[u32],
    ) -> Result<Self, TensorError> {
        let pixels = Datatype::Uint8.bytes_of(&shape);
        let pixels = pixels.ok_or_else(|| TensorError::Shape(shape.clone()))?;
        let width = shape.last().copied().unwrap_or(1).max(1);
        let expected = pixels / width * width.div_ceil(WORD);
        if words.len() != expected {
            return Err(TensorError::Length { expected, came: words.len() });
        }
        let bytes = match datatype {
            Datatype::Bool | Datatype::Uint8 => written(words, width, [[0], [1]]),
            Datatype::Fp16 => written(words, width, [f16::ZERO, f16::ONE].map(f16::to_le_bytes)),
            Datatype::Bf16 => written(words, width, [bf16::ZERO, bf16::ONE].map(bf16::to_le_bytes)),
            Datatype::Fp32 => written(words, width, [0.0, 1.0].map(f32::to_le_bytes)),
            Datatype::Bytes => packed(words, width),
            other => return Err(TensorError::Pixels(other)),
        };
        Self::new(datatype, shape, bytes)
    }
}

fn code(value: f32) -> u32 {
    match value {
        0.0 => 0,
        1.0 => 1,
        _ => NEITHER,
    }
}

/// Rows of `width` pixels, an element each: one of these two.
fn written<const N: usize>(words: &[u32], width: usize, elements: [[u8; N]; 2]) -> Vec<u8> {
    let each = width.div_ceil(WORD);
    let mut all = vec![0; words.len() / each * width * N];
    let (slots, _) = all.as_chunks_mut::<N>();
    for (row, slots) in words.chunks_exact(each).zip(slots.chunks_exact_mut(width)) {
        for (word, slots) in row.iter().zip(slots.chunks_mut(WORD)) {
            let bits = slots.iter_mut().enumerate();
            bits.for_each(|(bit, slot)| *slot = elements[(word >> bit & 1) as usize]);
        }
    }
    all
}

/// Rows of `width` pixels, eight to a byte, the most significant bit first.
fn packed(words: &[u32], width: usize) -> Vec<u8> {
    let stride = width.div_ceil(8);
    let bytes = |row: &'_ [u32]| {
        let row = row.to_vec();
        row.into_iter().flat_map(|word| word.to_le_bytes().map(u8::reverse_bits)).take(stride)
    };
    words.chunks_exact(width.div_ceil(WORD)).flat_map(bytes).collect()
}
