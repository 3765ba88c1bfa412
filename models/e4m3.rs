//! Numbers of eight bits: a sign, four bits of exponent, three of fraction; no infinity, and one number that is none of either sign.
//!
//! Source: Micikevicius et al., "FP8 formats for deep learning", arXiv 2209.05433.

/// The largest number.
pub(crate) const LARGEST: f32 = 448.0;
/// The least number of full precision, and what those below are multiples of.
const LEAST: f32 = 1.0 / 64.0;
const STEP: f32 = 1.0 / 512.0;
/// Bits of a fraction, in f32 and here; the exponent of 1 likewise.
const FRACTIONS: [u32; 2] = [23, 3];
const ONE: [u32; 2] = [127, 7];
/// What is not a number.
const NONE: u8 = 0x7f;

/// The nearest number, of two the even one; the largest for what is beyond. What is not a number stays none.
pub(crate) fn rounded(x: f32) -> f32 {
    let x = x.clamp(-LARGEST, LARGEST);
    let power = x.abs().max(LEAST).to_bits() >> FRACTIONS[0] << FRACTIONS[0];
    let step = f32::from_bits(power) / 8.0;
    (x / step).round_ties_even() * step
}

/// The bits of the nearest number, as a card rounds.
pub(crate) fn byte(x: f32) -> u8 {
    let near = rounded(x);
    if near.is_nan() {
        return NONE;
    }
    let (sign, size) = (u8::from(near.is_sign_negative()) << 7, near.abs());
    if size < LEAST {
        return sign | (size / STEP) as u8;
    }
    let [from, to] = FRACTIONS;
    // Exponent and fraction are one number in both.
    let bits = (size.to_bits() >> (from - to)) - ((ONE[0] - ONE[1]) << to);
    sign | bits as u8
}

/// What bits stand for.
pub(crate) fn number(byte: u8) -> f32 {
    let (bits, sign) = (byte & NONE, if byte >> 7 == 1 { -1.0 } else { 1.0 });
    let [from, to] = FRACTIONS;
    let size = match bits {
        NONE => f32::NAN,
        0..8 => f32::from(bits) * STEP,
        _ => f32::from_bits((u32::from(bits) + ((ONE[0] - ONE[1]) << to)) << (from - to)),
    };
    sign * size
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition's formula is the second implementation, and all numbers in order are what the nearest one is looked for in.
    #[test]
    fn every_byte_is_the_nearest_of_what_it_stands_for_and_of_what_is_near() {
        let defined = |byte: u8| {
            let (exponent, fraction) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
            match exponent {
                0 => fraction / 8.0 * 2_f32.powi(-6),
                _ => (1.0 + fraction / 8.0) * 2_f32.powi(exponent - 7),
            }
        };
        for bits in 0..NONE {
            let value = number(bits);
            assert_eq!(value, defined(bits), "{bits:#x}");
            assert_eq!((byte(value), byte(-value)), (bits, bits | 0x80), "{value}");
            assert_eq!(number(bits | 0x80), -value);
        }
        for bits in 0..NONE - 1 {
            let (low, high) = (number(bits), number(bits + 1));
            let (middle, even) = ((low + high) / 2.0, bits + bits % 2);
            assert_eq!(byte(middle), even, "{middle} is between {low} and {high}");
            assert_eq!(byte(middle - (high - low) / 64.0), bits);
            assert_eq!(byte(middle + (high - low) / 64.0), bits + 1);
        }
    }

    #[test]
    fn what_is_beyond_the_largest_is_the_largest_and_what_is_no_number_stays_none() {
        for beyond in [449.0, 464.0, 1e30, f32::INFINITY] {
            assert_eq!([rounded(beyond), rounded(-beyond)], [LARGEST, -LARGEST]);
            assert_eq!([byte(beyond), byte(-beyond)], [0x7e, 0xfe]);
        }
        assert!(rounded(f32::NAN).is_nan() && number(byte(f32::NAN)).is_nan());
    }
}
