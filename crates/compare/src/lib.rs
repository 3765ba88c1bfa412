//! How far two results are apart.
//!
//! `fold(0.0, f64::max)` over differences passes over NaN, so that a device that computes nothing but NaN differs from
//! nothing. Here whatever cannot be compared makes the result NaN, which is less than no tolerance:
//!
//! ```
//! use lithoburn_compare::largest_difference;
//!
//! let expected = [1.0_f32, 2.0];
//! assert!(largest_difference([1.0, 2.5], expected) <= 0.5);
//! assert!(!(largest_difference([1.0, f32::NAN], expected) <= 0.5));
//! assert!(!(largest_difference([1.0], expected) <= 0.5)); // one is missing
//! ```

/// A number that can be compared.
pub trait Number {
    /// Its value.
    fn value(self) -> f64;
}

macro_rules! numbers {
    ($($kind:ty),*) => {$(
        impl Number for $kind {
            fn value(self) -> f64 {
                f64::from(self)
            }
        }

        impl Number for &$kind {
            fn value(self) -> f64 {
                f64::from(*self)
            }
        }
    )*};
}

numbers!(f32, f64);

/// The largest distance of a value from what is expected in its place; 0 of no values.
///
/// NaN if a difference is none (NaN on either side, or infinity on both), or if one side has more values.
pub fn largest_difference<F: Number, E: Number>(
    found: impl IntoIterator<Item = F>,
    expected: impl IntoIterator<Item = E>,
) -> f64 {
    let (mut found, mut expected) = (found.into_iter(), expected.into_iter());
    let pairs = std::iter::from_fn(|| match (found.next(), expected.next()) {
        (Some(found), Some(expected)) => Some((found.value() - expected.value()).abs()),
        (None, None) => None,
        _ => Some(f64::NAN),
    });
    largest(pairs)
}

/// The largest of some magnitudes; 0 of none, and NaN if one of them is.
pub fn largest<N: Number>(values: impl IntoIterator<Item = N>) -> f64 {
    // Not `f64::max`, which prefers whatever is not NaN.
    let larger = |most: f64, value: f64| if value > most || value.is_nan() { value } else { most };
    let mut most = 0.0;
    for value in values {
        most = larger(most, value.value());
        if most.is_nan() {
            break;
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nan_on_either_side_and_at_any_place_is_the_difference() {
        let expected = [1.0, 2.0, 3.0];
        assert_eq!(largest_difference(expected, expected), 0.0);
        assert_eq!(largest_difference([1.0, 4.5, 3.5], expected), 2.5);
        for at in 0..3 {
            let mut found = [9.0, 2.0, 3.0];
            found[at] = f64::NAN;
            assert!(largest_difference(found, expected).is_nan(), "{at}");
            assert!(largest_difference(expected, found).is_nan(), "{at}");
        }
        assert!(largest_difference([f32::INFINITY], [f32::INFINITY]).is_nan());
        assert_eq!(largest_difference([f32::INFINITY], [0.0_f64]), f64::INFINITY);
    }

    #[test]
    fn what_is_missing_or_left_over_cannot_be_compared() {
        assert!(largest_difference([1.0, 2.0], [1.0]).is_nan());
        assert!(largest_difference([1.0], [1.0, 2.0]).is_nan());
        assert_eq!(largest_difference([0.0_f32; 0], [0.0_f32; 0]), 0.0);
    }

    #[test]
    fn the_largest_is_nan_once_one_is() {
        assert_eq!(largest([1.0, 3.0, 2.0]), 3.0);
        assert!(largest([1.0, f64::NAN, 2.0]).is_nan());
        assert_eq!(largest([0.0_f64; 0]), 0.0);
    }
}
