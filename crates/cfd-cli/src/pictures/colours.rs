//! Colour maps: one for magnitudes, two that diverge from zero, one for temperature.

use lithoburn_page::canvas::{Rgb, inferno};

/// Dark to bright at equal steps, after matplotlib's viridis.
const VIRIDIS: [Rgb; 9] = [
    [68, 1, 84],
    [71, 44, 122],
    [59, 81, 139],
    [44, 113, 142],
    [33, 144, 141],
    [39, 173, 129],
    [92, 200, 99],
    [170, 220, 50],
    [253, 231, 37],
];
/// Blue over white to red, after ColorBrewer's RdBu.
const BLUE_RED: [Rgb; 11] = [
    [5, 48, 97],
    [33, 102, 172],
    [67, 147, 195],
    [146, 197, 222],
    [209, 229, 240],
    [250, 250, 250],
    [253, 219, 199],
    [244, 165, 130],
    [214, 96, 77],
    [178, 24, 43],
    [103, 0, 31],
];
/// Purple over white to orange, after ColorBrewer's PuOr.
const PURPLE_ORANGE: [Rgb; 11] = [
    [45, 0, 75],
    [84, 39, 136],
    [128, 115, 172],
    [178, 171, 210],
    [216, 218, 235],
    [250, 250, 250],
    [254, 224, 182],
    [253, 184, 99],
    [224, 130, 20],
    [179, 88, 6],
    [127, 59, 8],
];

/// How values become colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Map {
    /// From nothing to much.
    Magnitude,
    /// Turning one way or the other.
    Turning,
    /// Below and above a middle.
    Level,
    /// Cold and warm.
    Warmth,
}

impl Map {
    /// The colour of a share of the range, 0 to 1.
    pub(crate) fn colour(self, share: f64) -> Rgb {
        match self {
            Self::Magnitude => between(&VIRIDIS, share),
            Self::Turning => between(&BLUE_RED, share),
            Self::Level => between(&PURPLE_ORANGE, share),
            Self::Warmth => inferno(share),
        }
    }
}

fn between(steps: &[Rgb], share: f64) -> Rgb {
    // A value that is none shows as the middle, beside which its outline would be drawn.
    let share = if share.is_nan() { 0.5 } else { share.clamp(0.0, 1.0) };
    let at = share * (steps.len() - 1) as f64;
    let below = (at as usize).min(steps.len() - 2);
    let (low, high, part) = (steps[below], steps[below + 1], at - below as f64);
    std::array::from_fn(|i| {
        (f64::from(low[i]) * (1.0 - part) + f64::from(high[i]) * part).round() as u8
    })
}

/// Brightness of a colour, 0 to 1.
pub(crate) fn brightness([red, green, blue]: Rgb) -> f64 {
    (0.2126 * f64::from(red) + 0.7152 * f64::from(green) + 0.0722 * f64::from(blue)) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_diverging_map_is_nearly_white_and_its_ends_are_dark() {
        for map in [Map::Turning, Map::Level] {
            assert!(brightness(map.colour(0.5)) > 0.95);
            assert!(brightness(map.colour(0.0)) < 0.2 && brightness(map.colour(1.0)) < 0.35);
        }
    }
}
