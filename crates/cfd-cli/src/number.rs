//! Numbers as people read them.

/// A number with six significant digits, without an exponent where that is shorter.
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    if !(1e-3..1e6).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let decimals = (5 - magnitude.log10().floor() as i32).max(0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_six_digits() {
        assert_eq!(number(1.516_845_62), "1.51685");
        assert_eq!(number(123.456_789), "123.457");
        assert_eq!(number(3.2e-12), "3.200e-12");
        assert_eq!(number(0.0), "0");
    }
}
