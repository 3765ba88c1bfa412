//! How values become lengths and labels.

use super::Scale;
use crate::axis::round_step;

/// Values along an axis, and the px that they are drawn over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) scale: Scale,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) px: f32,
}

impl Span {
    /// Around values, with some room.
    pub(super) fn around(scale: Scale, values: impl Iterator<Item = f64>, px: f32) -> Self {
        let fits = |v: &f64| v.is_finite() && (scale == Scale::Linear || *v > 0.0);
        let (low, high) = values
            .filter(fits)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if low <= high { (low, high) } else { (1.0, 2.0) };
        let (low, high) = match scale {
            Scale::Linear => (low.min(0.0), if high > 0.0 { 1.06 * high } else { 1.0 }),
            Scale::Log => {
                let room = (high / low).powf(0.06).max(1.15);
                (low / room, high * room)
            }
        };
        Self { scale, low, high, px }
    }

    /// Place of a value, in px from the axis' start; none where it has no place.
    pub(super) fn place(&self, value: f64) -> Option<f32> {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        share.is_finite().then_some(share as f32 * self.px)
    }

    /// Round values within it.
    pub(super) fn round(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = round_step((self.high - self.low) / 4.0);
                let first = (self.low / step - 1e-6).ceil() as i64;
                (first..).map(|i| i as f64 * step).take_while(|v| *v <= self.high).collect()
            }
            Scale::Log => {
                let decades = (self.high / self.low).log10();
                let steps: &[f64] = if decades < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
                let powers = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
                let all = powers.flat_map(|p| steps.iter().map(move |s| s * 10_f64.powi(p)));
                all.filter(|v| (self.low..=self.high).contains(v)).collect()
            }
        }
    }
}

/// A tick's label; `step` is the distance to the nearest other one.
pub(super) fn number(value: f64, scale: Scale, step: f64) -> String {
    let decimals = match scale {
        Scale::Linear if step.is_finite() => (-step.log10().floor()).max(0.0) as usize,
        Scale::Log if value < 1.0 => (-value.log10().floor()).max(0.0) as usize,
        _ => usize::from(value.fract() != 0.0),
    };
    let text = format!("{value:.decimals$}");
    // Thousands apart, from five digits on.
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    if digits < 5 {
        return text;
    }
    let gap = |(i, c): (usize, char)| {
        let apart = i > 0 && i < digits && (digits - i).is_multiple_of(3);
        apart.then_some('\u{202f}').into_iter().chain([c])
    };
    text.chars().enumerate().flat_map(gap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ratios_are_equal_lengths_on_a_logarithmic_axis() {
        let span = Span::around(Scale::Log, [1.0, 2.0, 256.0].into_iter(), 600.0);
        let place = |v: f64| span.place(v).expect("a place");
        let step = place(2.0) - place(1.0);
        for power in 1..8 {
            let here = 2_f64.powi(power);
            assert!((place(2.0 * here) - place(here) - step).abs() < 1e-3);
        }
        assert_eq!((span.place(0.0), span.place(-1.0)), (None, None));
        assert!(place(1.0) > 0.0 && place(256.0) < 600.0);
    }

    #[test]
    fn labels_have_the_digits_that_tell_them_apart() {
        for (value, scale, step, text) in [
            (0.25, Scale::Linear, 0.05, "0.25"),
            (20_000.0, Scale::Linear, 5_000.0, "20\u{202f}000"),
            (0.002, Scale::Log, 1.0, "0.002"),
            (512.0, Scale::Log, 1.0, "512"),
            (1e6, Scale::Log, 1.0, "1\u{202f}000\u{202f}000"),
        ] {
            assert_eq!(number(value, scale, step), text);
        }
    }
}
